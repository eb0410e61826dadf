-- Rows whose columns contradict each other. 9007199254740992 is the width of a priority's band;
-- 1970 and zeros say "not yet".
SELECT CONCAT_WS(' ', HEX(id), status, 'lane', lane, 'position', position, 'priority', priority,
    'attempt', attempt, 'forgiven', forgiven, 'crashes', crash_count, 'dispatched', dispatched_at)
FROM tasks
WHERE NOT (
    (worker_id <> UNHEX(REPEAT('00', 16))) = (attempt > 0) AND (started_at > '1970-01-01') = (attempt > 0)
    AND forgiven <= attempt AND crash_count <= attempt
    AND (finished_at > '1970-01-01') = (status IN ('completed', 'failed', 'cancelled'))
    AND (reason IS NOT NULL) = (status IN ('failed', 'cancelled'))
    AND CASE status
        WHEN 'scheduled' THEN lane = 1 AND dispatched_at IS NULL
            AND position = TIMESTAMPDIFF(MICROSECOND, '1970-01-01', run_at)
        WHEN 'queued' THEN
            lane = 1 AND dispatched_at IS NULL AND position < 9007199254740992
            OR lane = 2 AND dispatched_at IS NULL AND position DIV 9007199254740992 = 9 - priority
            OR lane = 3 AND dispatched_at IS NOT NULL AND position DIV 9007199254740992 = 9 - priority
            OR lane = 4 AND dispatched_at IS NULL AND position DIV 9007199254740992 = 9 - priority
        WHEN 'running' THEN lane = 3 AND worker_id <> UNHEX(REPEAT('00', 16)) AND started_at > '1970-01-01' AND attempt > 0
        ELSE lane = 0
    END)
