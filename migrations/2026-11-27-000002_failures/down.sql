DROP TABLE failure_groups;
DROP TABLE task_failures;
