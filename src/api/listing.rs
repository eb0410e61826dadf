//! `GET /api/tasks`: filters, pages, the cursor.

use super::State;
use super::caller::Caller;
use super::openapi::TaskFilter;
use super::parameters::{self, Pairs, count, cursor, instant, named, several, status, unknown};
use super::problem::Problem;
use super::task_json::TaskJson;
use crate::store::tasks::Filter;
use crate::task::{TaskId, name};
use actix_web::HttpResponse;
use actix_web::web::Data;

pub(super) const DEFAULT_LIMIT: u32 = 50;
pub(super) const MAX_LIMIT: u32 = 500;
/// Tells a cursor from other text.
const CURSOR_PREFIX: &str = "b1.";
/// What a cursor looks like: the prefix and an id.
pub(super) const CURSOR: &str = r"^b1\.[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$";

const KNOWN: &str = "status, queue, name, tag, id, created_after, created_before, limit, cursor";

/// A page of tasks, newest first.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[schema(as = TaskPage)]
pub(super) struct PageJson<'a> {
    tasks: Vec<TaskJson<'a>>,
    /// For the next page; null: this was the last.
    next_cursor: Option<String>,
}

/// A page of tasks, newest first.
#[utoipa::path(
    get, path = "/api/tasks", tag = "Tasks", operation_id = "listTasks",
    summary = "List tasks",
    description = "Newest first, page by page, also while tasks arrive. Several values of one parameter mean any of them; different parameters must all hold. No filter reads the whole table: what is rare may give a short page with a `next_cursor`.",
    params(TaskFilter),
    responses((status = 200, description = "A page of tasks.", body = PageJson))
)]
pub(super) async fn list(state: Data<State>, caller: Caller, query: Pairs) -> Result<HttpResponse, Problem> {
    let services = state.services()?;
    let mut asked = Asked::read(&query)?;
    if !caller.narrow(&mut asked.filter) {
        return Ok(HttpResponse::Ok().json(PageJson { tasks: Vec::new(), next_cursor: None }));
    }
    let page = services.tools.store.list(asked.filter, asked.before, asked.limit).await?;
    let tasks = page.tasks.iter().map(|task| TaskJson::new(task, Vec::new())).collect();
    Ok(HttpResponse::Ok().json(PageJson { tasks, next_cursor: page.next.map(cursor_of) }))
}

#[derive(Debug, Default, PartialEq)]
struct Asked {
    filter: Filter,
    before: Option<TaskId>,
    limit: u32,
}

impl Asked {
    fn read(pairs: &[(String, String)]) -> Result<Self, Problem> {
        let mut asked = Self { limit: DEFAULT_LIMIT, ..Self::default() };
        parameters::read(pairs, |key, value| asked.take(key, value))?;
        Ok(asked)
    }

    fn take(&mut self, key: &str, value: &str) -> Result<(), String> {
        let filter = &mut self.filter;
        match key {
            "status" => several(&mut filter.statuses, value, status),
            "queue" => several(&mut filter.queues, value, |word| named(word, name::MAX_QUEUE)),
            "name" => several(&mut filter.names, value, |word| named(word, name::MAX_NAME)),
            "tag" => several(&mut filter.tags, value, |word| named(word, name::MAX_NAME)),
            "id" => {
                several(&mut filter.ids, value, |word| word.parse().map_err(|e| format!("{} {e}", name::quoted(word))))
            }
            "created_after" => instant(value).map(|at| filter.created_after = Some(at)),
            "created_before" => instant(value).map(|at| filter.created_before = Some(at)),
            "limit" => count(value, MAX_LIMIT).map(|limit| self.limit = limit),
            "cursor" => cursor(value, place).map(|id| self.before = Some(id)),
            _ => unknown(KNOWN),
        }
    }
}

/// A place in the list as text.
fn cursor_of(id: TaskId) -> String {
    format!("{CURSOR_PREFIX}{id}")
}

fn place(text: &str) -> Option<TaskId> {
    text.strip_prefix(CURSOR_PREFIX)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::Status;

    fn pairs(text: &[(&str, &str)]) -> Vec<(String, String)> {
        text.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn a_cursor_reads_back_and_values_add_up() {
        let id: TaskId = "0190163d-8694-739b-aea5-966c26f8ad91".parse().unwrap();
        let asked =
            pairs(&[("cursor", &cursor_of(id)), ("status", "queued,running"), ("status", "failed"), ("limit", "7")]);
        let asked = Asked::read(&asked).unwrap();
        assert_eq!((asked.before, asked.limit), (Some(id), 7));
        assert_eq!(asked.filter.statuses, [Status::Queued, Status::Running, Status::Failed]);
    }

    #[test]
    fn every_wrong_parameter_is_reported() {
        let wrong = pairs(&[
            ("status", "done"),
            ("queue", "a b"),
            ("id", "7"),
            ("created_after", "yesterday"),
            ("limit", "0"),
            ("limit", "501"),
            ("cursor", "abc"),
            ("cursor", "b1.x"),
            ("colour", "red"),
        ]);
        let problem = Asked::read(&wrong).unwrap_err();
        assert!(problem.to_string().contains("9 faults"), "{problem}");
    }
}
