-- Schedules that are managed over REST too, and a ledger without holes. Safe to run again after an interrupted start:
-- each step looks first, and one ALTER does all of its part or none.
--
-- What a schedule is stands in `definition`, as `PUT /api/schedules/{name}` takes it; what the ticker asks for in SQL, and
-- what has become of the schedule, has columns of its own.
--   fires               those that count towards max_fires
--   pause_after         pause_after_failures, of which the ticker asks
--   failures_from       failures before it no longer count: the schedule was resumed
--   waiting_fire_at     the instant that waits until the task of an earlier one has ended (overlap: queue_one)
--   last_*              the latest instant in the ledger, and the latest task
SET @ddl = IF(
    EXISTS(
        SELECT 1 FROM information_schema.columns
        WHERE table_schema = DATABASE() AND table_name = 'schedules' AND column_name = 'definition'
    ),
    'DO 0',
    'ALTER TABLE schedules
        ADD COLUMN definition      MEDIUMTEXT   NULL,
        ADD COLUMN fires           INT UNSIGNED NOT NULL DEFAULT 0,
        ADD COLUMN pause_after     INT UNSIGNED NULL,
        ADD COLUMN failures_from   DATETIME(6)  NULL,
        ADD COLUMN waiting_fire_at DATETIME(6)  NULL,
        ADD COLUMN last_fire_at    DATETIME(6)  NULL,
        ADD COLUMN last_outcome    VARCHAR(32)  NULL,
        ADD COLUMN last_task_id    BINARY(16)   NULL,
        ADD COLUMN paused_at       DATETIME(6)  NULL,
        ADD COLUMN pause_reason    VARCHAR(500) NULL,
        ADD COLUMN paused_by       VARCHAR(128) NULL,
        ADD COLUMN resume_at       DATETIME(6)  NULL,
        ADD KEY waiting (waiting_fire_at)'
);
PREPARE schedules_columns FROM @ddl;
EXECUTE schedules_columns;
DEALLOCATE PREPARE schedules_columns;

SET @ddl = IF(
    EXISTS(
        SELECT 1 FROM information_schema.columns
        WHERE table_schema = DATABASE() AND table_name = 'schedules' AND column_name = 'cron'
    ),
    'UPDATE schedules SET definition = CONCAT(
        ''{"cron":'', JSON_QUOTE(cron), '',"timezone":'', JSON_QUOTE(timezone), '',"task":'', task, ''}'')
        WHERE definition IS NULL',
    'DO 0'
);
PREPARE schedules_definitions FROM @ddl;
EXECUTE schedules_definitions;
DEALLOCATE PREPARE schedules_definitions;

SET @ddl = IF(
    EXISTS(
        SELECT 1 FROM information_schema.columns
        WHERE table_schema = DATABASE() AND table_name = 'schedules' AND column_name = 'cron'
    ),
    'ALTER TABLE schedules
        DROP COLUMN cron, DROP COLUMN timezone, DROP COLUMN task,
        MODIFY definition MEDIUMTEXT NOT NULL',
    'DO 0'
);
PREPARE schedules_move FROM @ddl;
EXECUTE schedules_move;
DEALLOCATE PREPARE schedules_move;

-- A row that stands for several instants, of a long outage: how many, and since when. Its `fire_at` is a microsecond
-- after the last of them, where no instant is. The key is for the purge.
SET @ddl = IF(
    EXISTS(
        SELECT 1 FROM information_schema.columns
        WHERE table_schema = DATABASE() AND table_name = 'schedule_fires' AND column_name = 'instants'
    ),
    'DO 0',
    'ALTER TABLE schedule_fires
        ADD COLUMN instants INT UNSIGNED NOT NULL DEFAULT 1,
        ADD COLUMN since    DATETIME(6)  NULL,
        ADD KEY fired (fire_at)'
);
PREPARE schedules_ledger FROM @ddl;
EXECUTE schedules_ledger;
DEALLOCATE PREPARE schedules_ledger;
