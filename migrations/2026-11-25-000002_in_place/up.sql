-- A claim and a finish change the row where it lies: a column that goes from NULL to a value makes
-- its row longer, and InnoDB then takes the row out of its page and puts it in again, which costs
-- more than all the rest of a claim (docs/performance.md). So what every task gets in its life has its
-- place from the start: 1970 in `started_at` and `finished_at`, and zeros in `worker_id`, mean "not yet".
-- Safe to run again after an interrupted start.
UPDATE tasks SET worker_id = UNHEX(REPEAT('00', 16)) WHERE worker_id IS NULL;
UPDATE tasks SET started_at = '1970-01-01 00:00:00' WHERE started_at IS NULL;
UPDATE tasks SET finished_at = '1970-01-01 00:00:00' WHERE finished_at IS NULL;
ALTER TABLE tasks
    MODIFY worker_id   BINARY(16)  NOT NULL DEFAULT 0x00000000000000000000000000000000,
    MODIFY started_at  DATETIME(6) NOT NULL DEFAULT '1970-01-01 00:00:00',
    MODIFY finished_at DATETIME(6) NOT NULL DEFAULT '1970-01-01 00:00:00',
    -- NULL: exponential from 1 s, doubled, to 1 h, with full jitter. Hardly a task has another.
    MODIFY backoff     VARCHAR(255) NULL;
