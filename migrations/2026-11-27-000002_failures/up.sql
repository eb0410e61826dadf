-- Failed tasks by the kind of their failure. A fingerprint is a hash over the task's name and its error
-- with what varies taken out of it (src/task/fingerprint.rs).
--
-- One row for each task that is failed now, written with its move to `failed` and removed with its retry, its
-- deletion or its purge. Tasks that failed before this table was there are not in it.
CREATE TABLE IF NOT EXISTS task_failures (
    task_id     BINARY(16)      NOT NULL,
    fingerprint BIGINT UNSIGNED NOT NULL,
    queue       VARCHAR(64)     NOT NULL,
    failed_at   DATETIME(6)     NOT NULL,
    PRIMARY KEY (task_id),
    KEY kind (fingerprint, failed_at, queue)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- What a fingerprint stands for. A row is inserted once and never changed, so that many who fail alike at the same
-- time do not wait for each other; it goes when no task is left of its kind.
CREATE TABLE IF NOT EXISTS failure_groups (
    fingerprint BIGINT UNSIGNED NOT NULL,
    name        VARCHAR(128)    NOT NULL,
    message     VARCHAR(500)    NOT NULL,
    first_seen  DATETIME(6)     NOT NULL,
    PRIMARY KEY (fingerprint),
    KEY newest (first_seen)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
