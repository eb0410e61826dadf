//! What each route answers, in a line for people.

/// The call, and its answer in Markdown. Each route has to have one.
pub(super) const ANSWERS: &[(&str, &str)] = &[
    ("GET /", "307, to `/docs`"),
    ("GET /livez", "200: the process is there"),
    ("GET /readyz", "200: it would accept submissions, also without Redis; 503: not yet, or no more"),
    (
        "GET /health",
        "200 `{status, version, roles, parts}`, each part with its `status` and, where there are any, `warnings`; `ok` or `degraded`; 503 `down`",
    ),
    ("GET /metrics", "200, the text format of Prometheus: [metrics](metrics.md)"),
    (
        "GET /api/tasks",
        "200 `{tasks, next_cursor}`, newest first. Filters: `status`, `queue`, `name`, `tag`, `id`, each also a comma list, `created_after`, `created_before`; `limit` (50, at most 500), `cursor`",
    ),
    (
        "POST /api/tasks",
        "201 with `Location` and the task, once its row is committed; `name` and, where wanted, `payload`, `queue`, `priority`, `delay` or `run_at`, `timeout`, `max_attempts`, `backoff`, `expires_in`, `unique_key`, `unique_for`, `tags`, `metadata`. With `Idempotency-Key` or `unique_key` 200 and the task that is there already: [idempotency](../how-to/idempotency.md). With `Prefer: wait=N` or `?wait=N` when it has ended: [waiting](../how-to/waiting.md)",
    ),
    (
        "POST /api/tasks/bulk",
        "201 `{tasks}`, of `{tasks: [...]}`, up to 1,000 in their order, committed together; 422 if one is wrong, with its place (`#/tasks/3/name`), and none is accepted",
    ),
    (
        "POST /api/tasks/cancel",
        "202 `{matched, changed, held, dry_run, complete, next_cursor}`, of `{filter or all, dry_run?, limit?, cursor?}`: [many](../how-to/many.md#many-tasks)",
    ),
    ("POST /api/tasks/retry", "the same; the filter may have a `fingerprint`"),
    (
        "GET /api/tasks/{id}",
        "200, the task, with an `ETag`; 304 where `If-None-Match` has it. With `?wait=N` when it has ended, or after N seconds (at most 60)",
    ),
    ("DELETE /api/tasks/{id}", "204, gone with its attempts and its log; 409 unless it has ended"),
    (
        "GET /api/tasks/{id}/attempts",
        "200 `{attempts}`, oldest first: worker, start, end, outcome and error of each; the one that runs has no end yet",
    ),
    (
        "GET /api/tasks/{id}/logs",
        "200 `{logs, next_cursor}`, oldest first: what its attempts have logged. `attempt`, `limit`, `cursor`",
    ),
    (
        "GET /api/tasks/{id}/events",
        "a stream of server-sent events: `task`, as it is and at each change of status, attempt or progress; `log`, each line, which a client goes on from with `Last-Event-ID`. Ends with the task",
    ),
    (
        "GET /api/tasks/{id}/explain",
        "200 `{status, summary, causes, next}`: [why it does not run](../how-to/explain.md)",
    ),
    (
        "POST /api/tasks/{id}/cancel",
        "200, cancelled: it waited, or was cancelled before; 202, it runs and its worker ends it; 409, it has completed or failed",
    ),
    ("POST /api/tasks/{id}/retry", "200, the task, queued again; 409 unless it has failed or was cancelled"),
    ("POST /api/tasks/{id}/run", "200, the task, due now; 409 unless it is scheduled"),
    (
        "POST /api/tasks/{id}/complete",
        "200, the task, of `{worker_id, attempt, result?}`, also when said again; 409, the attempt is no longer this worker's",
    ),
    ("POST /api/tasks/{id}/fail", "the same, of `{worker_id, attempt, error, permanent?}`"),
    (
        "GET /api/workers",
        "200 `{workers, next_cursor}`: processes and workers outside, what each serves and runs, its lease",
    ),
    (
        "POST /api/workers/claim",
        "200 `{worker_id, lease_duration, tasks}`, of `{worker_id?, queues, max, wait}`: [workers in any language](../how-to/pull-workers.md#the-protocol)",
    ),
    (
        "POST /api/workers/{id}/heartbeat",
        "200 `{cancel, lost}`, of `{tasks: [{id, attempt, progress?, progress_note?, logs?}]}`; 409, its lease is over",
    ),
    (
        "GET /api/queues",
        "200 `{queues}`, each with its depths (at most seconds old), the oldest task's age, how many worker processes start a second (`rates`), who serves it, its pause",
    ),
    ("GET /api/queues/{queue}", "200, the queue"),
    (
        "POST /api/queues/{queue}/pause",
        "200, the queue, of `{reason?, resume_in?}`: what has not been handed to a worker's stream by now waits. Makes the queue where it is missing",
    ),
    ("POST /api/queues/{queue}/resume", "200, the queue, which goes on at once"),
    (
        "GET /api/schedules",
        "200 `{schedules, next_cursor}`, in order of their names; `limit` (50, at most 500), `cursor`: [schedules](../how-to/schedules.md)",
    ),
    (
        "GET /api/schedules/{name}",
        "200, the schedule: its definition, its next and its last instant, its latest task with the result",
    ),
    (
        "PUT /api/schedules/{name}",
        "201 with `Location`, or 200 where it was there; `cron` or `every`, `task`, and where wanted `timezone`, `misfire`, `catch_up`, `overlap`, `jitter`, `starts_at`, `ends_at`, `max_fires`, `pause_after_failures`, `managed_by`. 409: the configuration manages it",
    ),
    (
        "DELETE /api/schedules/{name}",
        "204; its ledger stays for as long as ledgers are kept. 409: the configuration manages it",
    ),
    (
        "POST /api/schedules/{name}/pause",
        "200, the schedule, of `{reason?, resume_in?}`: what comes meanwhile is in the ledger as `skipped_paused`",
    ),
    ("POST /api/schedules/{name}/resume", "200, the schedule, which goes on with the next instant"),
    ("POST /api/schedules/{name}/run", "201 with `Location` and the task: now, also while it is paused"),
    (
        "POST /api/schedules/{name}/backfill",
        "200 `{dry_run, instants, tasks}`, of `{from, to, dry_run?}`: a task for each instant in between that has none, at most 1,000",
    ),
    (
        "GET /api/schedules/{name}/fires",
        "200 `{fires, next_cursor}`, the ledger, newest first; `limit` (50, at most 500), `cursor`",
    ),
    ("GET /api/schedules/{name}/next", "200 `{next}`, the next `n` instants (5, at most 1,000)"),
    (
        "GET /api/failures",
        "200 `{failures, next_cursor}`: failed tasks by the kind of their failure. `queue`, `name`, `limit`, `cursor`",
    ),
    ("GET /api/stats", "200, totals of everything, and this process's own"),
    ("GET /api/task-types", "200 `{task_types}`: every type with its defaults and schema"),
    (
        "GET /api/events",
        "a stream of every task's moves, as they happen (`move`), over Redis. `queue`, `name`, `status`. Nothing of it is stored",
    ),
    ("GET /api/keys", "200 `{keys}`, without their secrets"),
    (
        "POST /api/keys",
        "201, the key with its secret, of `{name, scopes, queues?, names?, expires_in?, rate_limit?}`: [keys](../how-to/keys.md)",
    ),
    ("DELETE /api/keys/{id}", "204, revoked in every process"),
    (
        "POST /api/keys/{id}/rotate",
        "200, the key with another secret, of `{overlap?}`: for so long the one before works too",
    ),
    // What the specification brings.
    ("GET /api/openapi.json", "200, the OpenAPI specification of all this"),
    ("GET /docs", "200, a page to read it on"),
];
