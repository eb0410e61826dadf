-- What an attempt says while it runs.
--
-- Its lines, in the order of `seq`, which the process that writes them makes: a batch that is sent
-- twice is in once. They go with their task.
CREATE TABLE IF NOT EXISTS task_logs (
    task_id BINARY(16)      NOT NULL,
    attempt INT UNSIGNED    NOT NULL,
    seq     BIGINT UNSIGNED NOT NULL,
    at      DATETIME(6)     NOT NULL,
    line    TEXT            NOT NULL,
    PRIMARY KEY (task_id, attempt, seq)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- How far it is, 0 to 1, and a word about it. NULL for who reports none, which is nearly everybody: such a
-- row is no longer than before. One ALTER adds both or none, and a start that was interrupted after it looks first.
SET @ddl = IF(
    EXISTS(
        SELECT 1 FROM information_schema.columns
        WHERE table_schema = DATABASE() AND table_name = 'tasks' AND column_name = 'progress'
    ),
    'DO 0',
    'ALTER TABLE tasks
        ADD COLUMN progress      DOUBLE       NULL,
        ADD COLUMN progress_note VARCHAR(255) NULL'
);
PREPARE journal FROM @ddl;
EXECUTE journal;
DEALLOCATE PREPARE journal;
