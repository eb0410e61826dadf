-- What may be submitted once only: the keys of tasks, each under a hash of what it is, of whom, and its text.
--
-- An idempotency key (`request_hash` is set) names the tasks that its first submission was answered
-- with: `task_id`, and in `more_ids` those of a bulk submission after the first, 16 bytes each. It holds
-- until `expires_at`. A unique key (`request_hash` is NULL) is held by `task_id` while that lives, and
-- until `expires_at` in any case.
CREATE TABLE IF NOT EXISTS task_keys (
    hash         BINARY(32)  NOT NULL,
    request_hash BINARY(32)  NULL,
    task_id      BINARY(16)  NOT NULL,
    more_ids     MEDIUMBLOB  NULL,
    expires_at   DATETIME(6) NOT NULL,
    PRIMARY KEY (hash),
    KEY expiry (expires_at)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- The unique key a task was submitted with, for readers and for a manual retry. NULL for nearly
-- everybody: such a row is no longer than before. A start that was interrupted after it looks first.
SET @ddl = IF(
    EXISTS(
        SELECT 1 FROM information_schema.columns
        WHERE table_schema = DATABASE() AND table_name = 'tasks' AND column_name = 'unique_key'
    ),
    'DO 0',
    'ALTER TABLE tasks ADD COLUMN unique_key VARCHAR(255) NULL'
);
PREPARE task_keys FROM @ddl;
EXECUTE task_keys;
DEALLOCATE PREPARE task_keys;
