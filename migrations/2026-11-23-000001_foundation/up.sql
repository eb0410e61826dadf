-- DDL is not transactional: each statement may be run again after an interrupted start.

-- The state of every task. docs/architecture.md explains the layout.
--
-- One secondary index (`agenda`) serves the dispatcher, the sweep and the rescuer; every
-- state change pays for each index it touches, so there is no second one.
--   lane 0: finished                   position: what it was before
--   lane 1: scheduled                  position: run_at in microseconds
--   lane 2: queued, in the backlog     position: priority, then run_at
--   lane 3: queued in the stream, or running (a claim moves no index entry)
--   lane 4: queued, for workers outside   position: as in lane 2
CREATE TABLE IF NOT EXISTS tasks (
    id                  BINARY(16)        NOT NULL,
    name                VARCHAR(128)      NOT NULL,
    queue               VARCHAR(64)       NOT NULL,
    priority            TINYINT UNSIGNED  NOT NULL,
    status              ENUM('scheduled', 'queued', 'running', 'completed', 'failed', 'cancelled') NOT NULL,
    reason              ENUM('error', 'permanent', 'timeout', 'poisoned', 'cancelled', 'expired') NULL,
    lane                TINYINT UNSIGNED  NOT NULL,
    position            BIGINT UNSIGNED   NOT NULL,
    attempt             INT UNSIGNED      NOT NULL DEFAULT 0,
    forgiven            INT UNSIGNED      NOT NULL DEFAULT 0,
    max_attempts        INT UNSIGNED      NOT NULL,
    crash_count         INT UNSIGNED      NOT NULL DEFAULT 0,
    timeout_ms          BIGINT UNSIGNED   NOT NULL,
    backoff             VARCHAR(255)      NOT NULL,
    run_at              DATETIME(6)       NOT NULL,
    expires_at          DATETIME(6)       NULL,
    dispatched_at       DATETIME(6)       NULL,
    worker_id           BINARY(16)        NULL,
    cancel_requested_at DATETIME(6)       NULL,
    created_at          DATETIME(6)       NOT NULL,
    started_at          DATETIME(6)       NULL,
    finished_at         DATETIME(6)       NULL,
    schedule            VARCHAR(128)      NULL,
    tags                TEXT              NULL,
    metadata            TEXT              NULL,
    payload             MEDIUMTEXT        NOT NULL,
    result              MEDIUMTEXT        NULL,
    last_error          TEXT              NULL,
    PRIMARY KEY (id),
    KEY agenda (queue, lane, position)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- One row for each attempt that did not simply succeed.
CREATE TABLE IF NOT EXISTS task_attempts (
    task_id     BINARY(16)   NOT NULL,
    attempt     INT UNSIGNED NOT NULL,
    worker_id   BINARY(16)   NULL,
    started_at  DATETIME(6)  NULL,
    finished_at DATETIME(6)  NOT NULL,
    outcome     VARCHAR(16)  NOT NULL,
    error       TEXT         NULL,
    PRIMARY KEY (task_id, attempt)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- One row a worker process. Its lease covers every task that it runs.
CREATE TABLE IF NOT EXISTS workers (
    id          BINARY(16)   NOT NULL,
    host        VARCHAR(255) NOT NULL,
    pid         INT UNSIGNED NOT NULL,
    queues      TEXT         NOT NULL,
    slots       INT UNSIGNED NOT NULL,
    started_at  DATETIME(6)  NOT NULL,
    lease_until DATETIME(6)  NOT NULL,
    dead_at     DATETIME(6)  NULL,
    PRIMARY KEY (id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- The queues there are, and who dispatches each.
CREATE TABLE IF NOT EXISTS queues (
    name             VARCHAR(64) NOT NULL,
    created_at       DATETIME(6) NOT NULL,
    dispatcher_id    BINARY(16)  NULL,
    dispatcher_until DATETIME(6) NULL,
    PRIMARY KEY (name)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- What fires when. `version` rises with every change of the definition.
CREATE TABLE IF NOT EXISTS schedules (
    name         VARCHAR(128) NOT NULL,
    cron         VARCHAR(255) NOT NULL,
    timezone     VARCHAR(64)  NOT NULL,
    task         MEDIUMTEXT   NOT NULL,
    managed_by   VARCHAR(16)  NOT NULL,
    version      INT UNSIGNED NOT NULL,
    next_fire_at DATETIME(6)  NULL,
    created_at   DATETIME(6)  NOT NULL,
    updated_at   DATETIME(6)  NOT NULL,
    PRIMARY KEY (name),
    KEY due (next_fire_at)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- The ledger: one row a schedule and instant. The key is what makes a second fire impossible.
CREATE TABLE IF NOT EXISTS schedule_fires (
    schedule    VARCHAR(128) NOT NULL,
    fire_at     DATETIME(6)  NOT NULL,
    outcome     VARCHAR(32)  NOT NULL,
    task_id     BINARY(16)   NULL,
    recorded_at DATETIME(6)  NOT NULL,
    PRIMARY KEY (schedule, fire_at)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- The queue of tasks that name none: there from the start, so that the first task finds it served.
INSERT IGNORE INTO queues (name, created_at) VALUES ('default', UTC_TIMESTAMP(6));
