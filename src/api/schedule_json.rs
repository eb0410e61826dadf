//! A schedule, and an instant of it, as JSON.

use super::openapi::{ReasonWord, Span, StatusWord};
use super::queues::PauseJson;
use super::task_json::{Id, Raw, Time};
use crate::store::schedules::{LedgerRow, ScheduleRow};
use crate::task::cron::Cron;
use crate::task::schedule::{Definition, Rhythm};
use crate::task::{Task, duration};

/// A schedule with everything that its definition leaves to the defaults.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[schema(as = Schedule)]
pub(super) struct ScheduleJson<'a> {
    name: &'a str,
    cron: Option<&'a str>,
    #[schema(value_type = Option<Span>)]
    every: Option<String>,
    timezone: Option<&'a str>,
    task: Option<Raw<'a>>,
    misfire: Option<&'static str>,
    #[schema(value_type = Option<Span>)]
    catch_up: Option<String>,
    overlap: Option<&'static str>,
    #[schema(value_type = Option<Span>)]
    jitter: Option<String>,
    starts_at: Option<Time>,
    ends_at: Option<Time>,
    max_fires: Option<u32>,
    pause_after_failures: Option<u32>,
    managed_by: &'a str,
    version: u32,
    pause: Option<PauseJson>,
    /// The first instant that has not come; null: it has ended.
    next_fire_at: Option<Time>,
    /// The instant that waits for the task of an earlier one.
    waiting_fire_at: Option<Time>,
    /// Fires that count towards `max_fires`.
    fires: u32,
    last_fire_at: Option<Time>,
    last_outcome: Option<&'a str>,
    /// The latest task that it submitted; null: there is none, or it has been purged.
    last_task: Option<Latest<'a>>,
    created_at: Time,
    updated_at: Time,
}

/// What became of the latest task.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[schema(as = LatestTask)]
pub(super) struct Latest<'a> {
    id: Id,
    #[schema(value_type = StatusWord)]
    status: &'static str,
    #[schema(value_type = Option<ReasonWord>)]
    reason: Option<&'static str>,
    finished_at: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Raw)]
    result: Option<Raw<'a>>,
    last_error: Option<&'a str>,
}

impl<'a> Latest<'a> {
    /// `whole`: with its result, which may be large.
    fn new(task: &'a Task, whole: bool) -> Self {
        Self {
            id: Id(task.id.0),
            status: task.status.as_str(),
            reason: task.reason.map(|reason| reason.as_str()),
            finished_at: task.finished_at.map(Time),
            result: task.result.as_deref().filter(|_| whole).map(Raw),
            last_error: task.last_error.as_deref(),
        }
    }
}

impl<'a> ScheduleJson<'a> {
    /// `definition`: of the row, where it can be read. `whole`: with the result of the latest task.
    pub(super) fn new(
        row: &'a ScheduleRow,
        definition: Option<&'a Definition>,
        latest: Option<&'a Task>,
        whole: bool,
    ) -> Self {
        let (cron, every) = match definition.map(|definition| &definition.rhythm) {
            Some(Rhythm::Cron(cron)) => (Some(cron), None),
            Some(Rhythm::Every { interval, .. }) => (None, Some(duration::format(*interval))),
            None => (None, None),
        };
        Self {
            name: &row.name,
            cron: cron.map(Cron::expression),
            every,
            timezone: cron.map(Cron::zone),
            task: definition.map(|definition| Raw(&definition.task)),
            misfire: definition.map(|definition| definition.misfire.as_str()),
            catch_up: definition.map(|definition| duration::format(definition.catch_up)),
            overlap: definition.map(|definition| definition.overlap.as_str()),
            jitter: definition.map(|definition| duration::format(definition.jitter)),
            starts_at: definition.and_then(|definition| definition.starts_at).map(Time),
            ends_at: definition.and_then(|definition| definition.ends_at).map(Time),
            max_fires: definition.and_then(|definition| definition.max_fires),
            pause_after_failures: definition.and_then(|definition| definition.pause_after_failures),
            managed_by: &row.managed_by,
            version: row.version,
            pause: row.pause.clone().map(PauseJson::from),
            next_fire_at: row.next_fire_at.map(Time),
            waiting_fire_at: row.waiting.map(Time),
            fires: row.fires,
            last_fire_at: row.last.as_ref().map(|last| Time(last.at)),
            last_outcome: row.last.as_ref().map(|last| last.outcome.as_str()),
            last_task: latest.map(|task| Latest::new(task, whole)),
            created_at: Time(row.created_at),
            updated_at: Time(row.updated_at),
        }
    }
}

/// A row of the ledger.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[schema(as = ScheduleFire)]
pub(super) struct FireJson<'a> {
    schedule: &'a str,
    /// Of a row that stands for several instants a microsecond after the last of them.
    fire_at: Time,
    outcome: &'a str,
    task_id: Option<Id>,
    recorded_at: Time,
    /// How many instants the row stands for.
    instants: u32,
    /// Of several the first.
    since: Option<Time>,
}

impl<'a> FireJson<'a> {
    pub(super) fn new(schedule: &'a str, row: &'a LedgerRow) -> Self {
        let LedgerRow { fire_at, outcome, task, recorded_at, instants, since } = row;
        Self {
            schedule,
            fire_at: Time(*fire_at),
            outcome,
            task_id: task.map(|id| Id(id.0)),
            recorded_at: Time(*recorded_at),
            instants: *instants,
            since: since.map(Time),
        }
    }
}
