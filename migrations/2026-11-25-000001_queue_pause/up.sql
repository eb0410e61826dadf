-- Pausing a queue: since when, why, by whom, and until when. A queue is paused while `paused_at`
-- is set and `resume_at` is not over; what has run out may stay as it is.
--
-- A start may be interrupted after this and before it is recorded, and nothing portable adds a
-- column only where it is missing: so it is looked up. One ALTER adds all or none.
SET @ddl = IF(
    EXISTS(
        SELECT 1 FROM information_schema.columns
        WHERE table_schema = DATABASE() AND table_name = 'queues' AND column_name = 'paused_at'
    ),
    'DO 0',
    'ALTER TABLE queues
        ADD COLUMN paused_at    DATETIME(6)  NULL,
        ADD COLUMN pause_reason VARCHAR(500) NULL,
        ADD COLUMN paused_by    VARCHAR(128) NULL,
        ADD COLUMN resume_at    DATETIME(6)  NULL'
);
PREPARE queue_pause FROM @ddl;
EXECUTE queue_pause;
DEALLOCATE PREPARE queue_pause;
