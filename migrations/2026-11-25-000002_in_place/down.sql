ALTER TABLE tasks
    MODIFY worker_id   BINARY(16)  NULL,
    MODIFY started_at  DATETIME(6) NULL,
    MODIFY finished_at DATETIME(6) NULL;
UPDATE tasks SET worker_id = NULL WHERE worker_id = UNHEX(REPEAT('00', 16));
UPDATE tasks SET started_at = NULL WHERE started_at = '1970-01-01 00:00:00';
UPDATE tasks SET finished_at = NULL WHERE finished_at = '1970-01-01 00:00:00';
UPDATE tasks SET backoff = '{"kind":"exponential","base":"1s","factor":2,"max":"1h","jitter":"full"}' WHERE backoff IS NULL;
ALTER TABLE tasks MODIFY backoff VARCHAR(255) NOT NULL;
