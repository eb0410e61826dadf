ALTER TABLE queues DROP COLUMN paused_at, DROP COLUMN pause_reason, DROP COLUMN paused_by, DROP COLUMN resume_at;
