ALTER TABLE schedule_fires DROP KEY fired, DROP COLUMN instants, DROP COLUMN since;
DELETE FROM schedules;
ALTER TABLE schedules
    ADD COLUMN cron VARCHAR(255) NOT NULL, ADD COLUMN timezone VARCHAR(64) NOT NULL, ADD COLUMN task MEDIUMTEXT NOT NULL,
    DROP KEY waiting, DROP COLUMN definition, DROP COLUMN fires, DROP COLUMN pause_after, DROP COLUMN failures_from,
    DROP COLUMN waiting_fire_at, DROP COLUMN last_fire_at, DROP COLUMN last_outcome, DROP COLUMN last_task_id,
    DROP COLUMN paused_at, DROP COLUMN pause_reason, DROP COLUMN paused_by, DROP COLUMN resume_at;
