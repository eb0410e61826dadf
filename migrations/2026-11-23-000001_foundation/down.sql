DROP TABLE schedule_fires;
DROP TABLE schedules;
DROP TABLE queues;
DROP TABLE workers;
DROP TABLE task_attempts;
DROP TABLE tasks;
