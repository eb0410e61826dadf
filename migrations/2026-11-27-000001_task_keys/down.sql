ALTER TABLE tasks DROP COLUMN unique_key;
DROP TABLE task_keys;
