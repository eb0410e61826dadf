ALTER TABLE tasks DROP COLUMN progress, DROP COLUMN progress_note;
DROP TABLE task_logs;
