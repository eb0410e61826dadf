-- Rows whose columns contradict each other. 9007199254740992 is the width of a priority's band.
SELECT CONCAT_WS(' ', HEX(id), status, 'lane', lane, 'position', position, 'priority', priority,
    'attempt', attempt, 'forgiven', forgiven, 'crashes', crash_count, 'dispatched', dispatched_at)
FROM tasks
WHERE NOT (
    forgiven <= attempt AND crash_count <= attempt
    AND (finished_at IS NOT NULL) = (status IN ('completed', 'failed', 'cancelled'))
    AND (reason IS NOT NULL) = (status IN ('failed', 'cancelled'))
    AND CASE status
        WHEN 'scheduled' THEN lane = 1 AND dispatched_at IS NULL
            AND position = TIMESTAMPDIFF(MICROSECOND, '1970-01-01', run_at)
        WHEN 'queued' THEN
            lane = 1 AND dispatched_at IS NULL AND position < 9007199254740992
            OR lane = 2 AND dispatched_at IS NULL AND position DIV 9007199254740992 = 9 - priority
            OR lane = 3 AND dispatched_at IS NOT NULL AND position DIV 9007199254740992 = 9 - priority
        WHEN 'running' THEN lane = 3 AND worker_id IS NOT NULL AND started_at IS NOT NULL AND attempt > 0
        ELSE lane = 0
    END)
