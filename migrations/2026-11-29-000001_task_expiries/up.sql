-- Where a task with an expiry is looked for when that comes: `due_at` is its `expires_at`, or later where it was running
-- then. `tasks` has one index, which each task pays for at each change of its state; this table costs nothing to those that
-- have no expiry, and to the others one short row that is inserted with them, and deleted when it is due or they are.
CREATE TABLE IF NOT EXISTS task_expiries (
    due_at  DATETIME(6) NOT NULL,
    task_id BINARY(16)  NOT NULL,
    PRIMARY KEY (due_at, task_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- The tasks that live now. Safe to run again: a row that is there already is passed over.
--
-- It reads what lives, queue by queue, from the lanes of `agenda` (0 is what has ended), and each of these rows by its primary
-- key. So it costs nothing for what has ended, and for a backlog of millions about as long as reading those rows once. It locks no task: READ COMMITTED, and tasks are submitted and run meanwhile.
INSERT IGNORE INTO task_expiries (due_at, task_id)
SELECT STRAIGHT_JOIN t.expires_at, t.id
FROM queues q JOIN tasks t FORCE INDEX (agenda) ON t.queue = q.name AND t.lane > 0
WHERE t.expires_at IS NOT NULL;
