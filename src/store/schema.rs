//! The tables as Diesel sees them, kept by hand. The test `schema_matches_migrations` compares
//! this file with the migrated database's `information_schema`.

diesel::table! {
    tasks (id) {
        id -> Binary,
        name -> Text,
        queue -> Text,
        priority -> Unsigned<Tinyint>,
        status -> Text,
        reason -> Nullable<Text>,
        lane -> Unsigned<Tinyint>,
        position -> Unsigned<Bigint>,
        attempt -> Unsigned<Integer>,
        forgiven -> Unsigned<Integer>,
        max_attempts -> Unsigned<Integer>,
        crash_count -> Unsigned<Integer>,
        timeout_ms -> Unsigned<Bigint>,
        backoff -> Nullable<Text>,
        run_at -> Datetime,
        expires_at -> Nullable<Datetime>,
        dispatched_at -> Nullable<Datetime>,
        worker_id -> Binary,
        cancel_requested_at -> Nullable<Datetime>,
        created_at -> Datetime,
        started_at -> Datetime,
        finished_at -> Datetime,
        schedule -> Nullable<Text>,
        tags -> Nullable<Text>,
        metadata -> Nullable<Text>,
        payload -> Text,
        result -> Nullable<Text>,
        last_error -> Nullable<Text>,
        progress -> Nullable<Double>,
        progress_note -> Nullable<Text>,
        unique_key -> Nullable<Text>,
    }
}

diesel::table! {
    task_attempts (task_id, attempt) {
        task_id -> Binary,
        attempt -> Unsigned<Integer>,
        worker_id -> Nullable<Binary>,
        started_at -> Nullable<Datetime>,
        finished_at -> Datetime,
        outcome -> Text,
        error -> Nullable<Text>,
    }
}

diesel::table! {
    task_logs (task_id, attempt, seq) {
        task_id -> Binary,
        attempt -> Unsigned<Integer>,
        seq -> Unsigned<Bigint>,
        at -> Datetime,
        line -> Text,
    }
}

diesel::table! {
    task_failures (task_id) {
        task_id -> Binary,
        fingerprint -> Unsigned<Bigint>,
        queue -> Text,
        failed_at -> Datetime,
    }
}

diesel::table! {
    failure_groups (fingerprint) {
        fingerprint -> Unsigned<Bigint>,
        name -> Text,
        message -> Text,
        first_seen -> Datetime,
    }
}

diesel::table! {
    task_keys (hash) {
        hash -> Binary,
        request_hash -> Nullable<Binary>,
        task_id -> Binary,
        more_ids -> Nullable<Binary>,
        expires_at -> Datetime,
    }
}

diesel::table! {
    task_expiries (due_at, task_id) {
        due_at -> Datetime,
        task_id -> Binary,
    }
}

diesel::table! {
    workers (id) {
        id -> Binary,
        host -> Text,
        pid -> Unsigned<Integer>,
        queues -> Text,
        slots -> Unsigned<Integer>,
        started_at -> Datetime,
        lease_until -> Datetime,
        dead_at -> Nullable<Datetime>,
    }
}

diesel::table! {
    queues (name) {
        name -> Text,
        created_at -> Datetime,
        dispatcher_id -> Nullable<Binary>,
        dispatcher_until -> Nullable<Datetime>,
        paused_at -> Nullable<Datetime>,
        pause_reason -> Nullable<Text>,
        paused_by -> Nullable<Text>,
        resume_at -> Nullable<Datetime>,
    }
}

diesel::table! {
    schedules (name) {
        name -> Text,
        managed_by -> Text,
        version -> Unsigned<Integer>,
        next_fire_at -> Nullable<Datetime>,
        created_at -> Datetime,
        updated_at -> Datetime,
        definition -> Text,
        fires -> Unsigned<Integer>,
        pause_after -> Nullable<Unsigned<Integer>>,
        failures_from -> Nullable<Datetime>,
        waiting_fire_at -> Nullable<Datetime>,
        last_fire_at -> Nullable<Datetime>,
        last_outcome -> Nullable<Text>,
        last_task_id -> Nullable<Binary>,
        paused_at -> Nullable<Datetime>,
        pause_reason -> Nullable<Text>,
        paused_by -> Nullable<Text>,
        resume_at -> Nullable<Datetime>,
    }
}

diesel::table! {
    schedule_fires (schedule, fire_at) {
        schedule -> Text,
        fire_at -> Datetime,
        outcome -> Text,
        task_id -> Nullable<Binary>,
        recorded_at -> Datetime,
        instants -> Unsigned<Integer>,
        since -> Nullable<Datetime>,
    }
}

diesel::table! {
    api_keys (id) {
        id -> Binary,
        name -> Text,
        hash -> Binary,
        previous_hash -> Nullable<Binary>,
        previous_until -> Nullable<Datetime>,
        scopes -> Text,
        queues -> Nullable<Text>,
        names -> Nullable<Text>,
        rate_limit -> Nullable<Unsigned<Integer>>,
        created_at -> Datetime,
        created_by -> Text,
        expires_at -> Nullable<Datetime>,
        last_used_at -> Nullable<Datetime>,
        revoked_at -> Nullable<Datetime>,
    }
}
