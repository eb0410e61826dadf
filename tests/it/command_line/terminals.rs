//! What a person sees on a terminal, and what Ctrl-C does.

use super::{done, id};
use crate::harness::{World, eventually};
use crate::terminal::Terminal;
use mysql_async::prelude::Queryable;
use serde_json::json;

const LONG: &str = "the error that this task has is told in so many words that no terminal has the room for them";

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_gets_colours_and_lines_that_fit_and_no_color_is_heard() {
    let world = World::new().await;
    let all = world.daemon("all").ready().await;
    let body = json!({"name": "fail", "payload": {"message": LONG}, "max_attempts": 1});
    let task = all.run(body, "failed").await;
    let args = ["tasks", "list", "--url", &all.url];
    let shown = async |columns, env: &[(&str, &str)]| {
        let (code, text) = Terminal::run(&args, columns, env).ended().await;
        assert_eq!(code, 0, "{text}");
        text
    };
    let text = shown(130, &[]).await;
    assert!(text.contains("\u{1b}[31mfailed") && text.contains('…'), "{text:?}");
    let text = shown(130, &[("NO_COLOR", "1")]).await;
    assert!(!text.contains('\u{1b}') && text.contains('…'), "{text:?}");
    let widths: Vec<usize> = text.lines().map(|line| line.chars().count()).collect();
    assert!(widths.contains(&130) && widths.iter().all(|width| *width <= 130), "{widths:?}: {text}");
    let wide = shown(250, &[("NO_COLOR", "1")]).await;
    assert!(wide.contains(LONG) && wide.contains(id(&task)), "{wide}");
    assert_eq!(wide.trim_end(), done(&all, &["tasks", "list"]).await.trim_end(), "the same columns in a pipe");
}

#[tokio::test(flavor = "multi_thread")]
async fn submit_says_what_was_accepted_and_ctrl_c_leaves_the_terminal_as_it_was() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    let (code, text) = Terminal::run(&["submit", "noop", "--url", &api.url], 100, &[]).ended().await;
    assert_eq!(code, 0, "{text}");
    assert!(text.contains(": noop queued in queue default, priority 0\n") && text.contains("warning: "), "{text}");

    let mut waiting = Terminal::run(&["submit", "noop", "--wait", "--url", &api.url], 100, &[]);
    waiting.until_shown("noop queued, attempt 0 of 5").await;
    waiting.press("\u{3}");
    let (code, text) = waiting.ended().await;
    assert_eq!(code, 130, "{text:?}");
    // The bar is gone from its line, and the cursor was never hidden.
    let last = text.trim_end_matches(['\r', '\n']);
    assert!(last.ends_with("\u{1b}[2K") || last.ends_with('\r') || last.ends_with("\u{1b}[K"), "{last:?}");
    assert!(!text.contains("\u{1b}[?25l") || text.contains("\u{1b}[?25h"), "{text:?}");
    let (_, page) = api.get("/api/tasks?status=queued").await;
    assert_eq!(page["tasks"].as_array().unwrap().len(), 2, "the task goes on");

    // What is followed without end, too.
    let mut following = Terminal::run(&["tasks", "list", "--follow", "--url", &api.url], 100, &[]);
    eventually("it follows", async || (api.metric("taskrunnerx_event_streams").await >= 1.0).then_some(())).await;
    following.press("\u{3}");
    assert_eq!(following.ended().await.0, 130);

    // What is typed is waited for no longer.
    let mut typing = Terminal::run(&["submit", "echo", "-", "--url", &api.url], 100, &[]);
    typing.until_it_minds_ctrl_c().await;
    typing.press("{\"half\": \u{3}");
    assert_eq!(typing.ended().await.0, 130);

    // Nor is a pipe into which nobody writes.
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let payload = format!("@{}", pipe.display());
    let mut reading = Terminal::run(&["submit", "echo", &payload, "--url", &api.url], 100, &[]);
    reading.until_it_minds_ctrl_c().await;
    reading.press("\u{3}");
    assert_eq!(reading.ended().await.0, 130);
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_a_migration_at_once_and_the_next_one_goes_on() {
    let world = World::new().await;
    world.store().await;
    let mut sql = world.sql().await;
    // As before the migration of the schedules, whose last step has to wait for whoever reads the table.
    sql.query_drop("DELETE FROM __diesel_schema_migrations WHERE version = '20261128000001'").await.unwrap();
    sql.query_drop("ALTER TABLE schedule_fires DROP KEY fired, DROP COLUMN since, DROP COLUMN instants").await.unwrap();
    sql.query_drop("LOCK TABLES schedule_fires READ").await.unwrap();
    let env = [("DATABASE_URL", &*world.database_url)];
    let mut migrating = Terminal::run(&["migrate"], 100, &env);
    let mut other = world.sql().await;
    eventually("it waits for the table", async || {
        let waits = "SELECT id FROM information_schema.processlist \
                     WHERE db = DATABASE() AND state LIKE 'Waiting for table metadata lock%'";
        other.query_first::<u64, _>(waits).await.unwrap()
    })
    .await;
    migrating.press("\u{3}");
    let (code, text) = migrating.ended().await;
    assert_eq!(code, 130, "{text}");
    assert!(text.contains("taskrunnerx migrate goes on with the rest"), "{text}");
    sql.query_drop("UNLOCK TABLES").await.unwrap();
    let (code, text) = Terminal::run(&["migrate"], 100, &env).ended().await;
    assert!(code == 0 && text.contains("schedules"), "{code}: {text}");
    let (code, text) = Terminal::run(&["migrate", "--status"], 100, &env).ended().await;
    assert_eq!(code, 0, "{text}");
}
