DROP TABLE task_expiries;
