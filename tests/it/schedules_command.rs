//! `taskrunnerx schedules`, as a person and as a script use it.

use crate::harness::{Daemon, DaemonBuilder, World, eventually};
use serde_json::{Value, json};
use std::io::{BufRead, Write};
use std::process::{Command, Stdio};

/// Its exit code, and both outputs.
async fn run(daemon: &Daemon, args: &[&str]) -> (i32, String, String) {
    let args = [&["schedules"], args, &["--url", &daemon.url]].concat();
    let builder = DaemonBuilder::new(&args);
    tokio::task::spawn_blocking(move || builder.output()).await.unwrap()
}

/// What must work: its standard output.
async fn done(daemon: &Daemon, args: &[&str]) -> String {
    let (code, text, errors) = run(daemon, args).await;
    assert_eq!(code, 0, "{args:?}: {text}{errors}");
    text
}

async fn json(daemon: &Daemon, args: &[&str]) -> Value {
    let text = done(daemon, &[args, &["--json"]].concat()).await;
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{args:?}: {error}: {text}"))
}

/// With something on standard input.
async fn fed(daemon: &Daemon, args: &[&str], input: &str) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_taskrunnerx"));
    command.arg("schedules").args(args).args(["--url", &daemon.url]).env_remove("TASKRUNNERX_API_KEY");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

async fn put(daemon: &Daemon, name: &str, definition: &Value) {
    let url = format!("{}/api/schedules/{name}", daemon.url);
    let answer = daemon.client.put(url).json(definition).send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

const YEARLY: &str = "0 3 1 1 *";

fn yearly() -> Value {
    json!({"cron": YEARLY, "timezone": "Europe/Berlin", "task": {"name": "echo", "payload": {"n": 1.5}}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_is_looked_at_run_paused_resumed_and_removed() {
    let world = World::new().await;
    let mut all = world.daemon("all").ready().await;
    put(&all, "yearly", &yearly()).await;
    put(&all, "often", &json!({"every": "300d", "task": {"name": "noop"}})).await;

    let id = done(&all, &["run", "yearly"]).await;
    let task = all.until(&json!(id.trim()), "completed").await;
    assert_eq!((&task["schedule"], &task["result"]), (&json!("yearly"), &json!({"n": 1.5})));
    assert_eq!(json(&all, &["run", "often"]).await["name"], "noop");

    let text = done(&all, &["list"]).await;
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("NAME ") && lines[0].ends_with("  MANAGED BY  PAUSED"), "{text}");
    assert_eq!(words(lines[1])[..3], ["often", "every", "300d"]);
    let line = lines[2];
    assert!(line.starts_with("yearly  0 3 1 1 *") && line.contains("  Europe/Berlin  "), "{line}");
    assert!(line.ends_with("manual   completed  api         -"), "{line}");
    let page = json(&all, &["list", "--limit", "1"]).await;
    assert_eq!((page["schedules"].as_array().unwrap().len(), &page["schedules"][0]["name"]), (1, &json!("often")));
    let cursor = page["next_cursor"].as_str().unwrap();
    let rest = json(&all, &["list", "--cursor", cursor]).await;
    assert_eq!((&rest["schedules"][0]["name"], &rest["next_cursor"]), (&json!("yearly"), &Value::Null));
    assert_eq!(run(&all, &["list", "--cursor", "nonsense"]).await.0, 2);

    let text = done(&all, &["pause", "yearly", "--reason", "moving", "--resume-in", "2h"]).await;
    assert!(text.contains("\nreason ") && text.contains("  moving") && text.contains("\nresumes at "), "{text}");
    assert!(done(&all, &["list"]).await.contains(" by local until "));
    // As it was called before.
    assert!(json(&all, &["pause", "yearly", "--for", "2h"]).await["pause"]["resume_at"].is_string());
    assert_eq!(json(&all, &["resume", "yearly"]).await["pause"], Value::Null);
    let (_, as_it_is) = all.get("/api/schedules/yearly").await;
    assert_eq!(json(&all, &["get", "yearly"]).await, as_it_is);
    let text = done(&all, &["get", "yearly"]).await;
    let lines: Vec<Vec<&str>> = text.lines().map(words).collect();
    assert!(lines.contains(&vec!["last", "task", id.trim()]), "{text}");
    assert!(lines.contains(&vec!["its", "result", "{\"n\":1.5}"]), "{text}");

    let (code, text, errors) = run(&all, &["delete", "yearly", "nowhere"]).await;
    assert_eq!((code, &*text), (1, "yearly deleted\n"), "{errors}");
    assert!(errors.contains("nowhere: 404") && errors.contains("1 of 2 schedules refused"), "{errors}");
    assert_eq!(json(&all, &["delete", "often"]).await, serde_json::json!({"name": "often", "deleted": true}));
    for args in [
        &["get", "yearly"][..],
        &["run", "yearly"],
        &["pause", "yearly"],
        &["resume", "yearly"],
        &["delete", "yearly"],
        &["next", "yearly"],
        &["fires", "nowhere"],
        &["export", "yearly"],
        &["backfill", "yearly", "--from", "2h", "--to", "1h"],
    ] {
        let (code, text, errors) = run(&all, args).await;
        assert_eq!((code, &*text), (1, ""), "{args:?}: {errors}");
        assert!(errors.contains("there is no schedule"), "{args:?}: {errors}");
    }
    for args in [&["get", "a/b"][..], &["delete"], &["next", "x", "-n", "0"], &["pause", "x", "--resume-in", "soon"]] {
        assert_eq!(run(&all, args).await.0, 2, "{args:?}");
    }
    all.kill();
    let (code, _, errors) = run(&all, &["list"]).await;
    assert_eq!(code, 3, "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn instants_are_told_that_have_come_that_will_and_that_are_made_up_for() {
    let world = World::new().await;
    let all = world.daemon("all").ready().await;
    let hourly = json!({"cron": "0 * * * *", "task": {"name": "noop"}});
    put(&all, "hourly", &hourly).await;

    let text = done(&all, &["next", "hourly", "-n", "3"]).await;
    let (_, next) = all.get("/api/schedules/hourly/next?n=3").await;
    let next: Vec<&str> = next["next"].as_array().unwrap().iter().map(|at| at.as_str().unwrap()).collect();
    assert_eq!(text.lines().count(), 3);
    for (said, at) in text.lines().zip(&next) {
        assert_eq!(&said[..19], &at[..19]);
    }
    assert_eq!(json(&all, &["next", "hourly"]).await["next"].as_array().unwrap().len(), 5);

    let range = ["--from", "2025-01-31T10:00:00Z", "--to", "2025-01-31T13:00:00Z"];
    let backfill = [&["backfill", "hourly"], &range[..]].concat();
    let (code, text, errors) = run(&all, &[&backfill[..], &["--dry-run"]].concat()).await;
    let instants = "2025-01-31T10:00:00Z\n2025-01-31T11:00:00Z\n2025-01-31T12:00:00Z\n";
    assert_eq!((code, &*text), (0, instants), "{errors}");
    assert!(errors.contains("3 instants in the range"), "{errors}");
    let ids = done(&all, &backfill).await;
    assert_eq!(ids.lines().count(), 3);
    for id in ids.lines() {
        all.until(&json!(id), "completed").await;
    }
    let (code, text, errors) = run(&all, &backfill).await;
    assert_eq!((code, &*text), (0, ""), "{errors}");
    assert!(errors.contains("3 instants in the range, 0 tasks submitted"), "{errors}");

    let text = done(&all, &["fires", "hourly"]).await;
    let lines: Vec<Vec<&str>> = text.lines().map(words).collect();
    assert_eq!(lines[0], ["INSTANT", "OUTCOME", "TASK", "RECORDED", "INSTANTS", "SINCE"]);
    let old: Vec<&Vec<&str>> = lines.iter().filter(|line| line[0].starts_with("2025-01-31T")).collect();
    let ids: Vec<&str> = ids.lines().collect();
    for (line, (at, id)) in old.iter().zip([("12", ids[2]), ("11", ids[1]), ("10", ids[0])]) {
        assert_eq!((line[0], line[1], line[2]), (&*format!("2025-01-31T{at}:00:00Z"), "backfill", id));
    }
    assert_eq!(old.len(), 3, "{text}");
    let page = json(&all, &["fires", "hourly", "--limit", "2"]).await;
    assert_eq!(page["fires"].as_array().unwrap().len(), 2);
    let cursor = page["next_cursor"].as_str().unwrap();
    assert!(!json(&all, &["fires", "hourly", "--cursor", cursor]).await["fires"].as_array().unwrap().is_empty());

    let (code, text, errors) = run(&all, &["backfill", "hourly", "--from", "1h", "--to", "2h"]).await;
    assert_eq!((code, &*text), (1, ""), "{errors}");
    assert!(errors.contains("is not after from"), "{errors}");
    assert_eq!(run(&all, &["backfill", "hourly", "--from", "soon", "--to", "1h"]).await.0, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn follow_tells_of_each_row_when_it_is_recorded_and_of_none_twice() {
    let world = World::new().await;
    let all = world.daemon("all").ready().await;
    put(&all, "hourly", &json!({"cron": "0 * 31 1 *", "task": {"name": "noop"}})).await;
    done(&all, &["run", "hourly"]).await;
    let follow = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_taskrunnerx"));
        command.args(["schedules", "fires", "hourly", "--follow", "--url", &all.url]).args(more);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (said, lines) = std::sync::mpsc::channel();
        let output = std::io::BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| said.send(line)));
        (child, lines)
    };
    let (mut plain, table) = follow(&[]);
    let (mut programs, objects) = follow(&["--json"]);
    // Both look: what is recorded from here on is new to them.
    let asked = "taskrunnerx_http_requests_total{method=\"GET\",route=\"/api/schedules/{name}/fires\",status=\"200\"}";
    eventually("both have looked", async || (all.metric(asked).await >= 4.0).then_some(())).await;
    let backfill = ["backfill", "hourly", "--from", "2025-01-31T10:00:00Z", "--to", "2025-01-31T12:00:00Z"];
    let ids = done(&all, &backfill).await;
    let ids: Vec<&str> = ids.lines().collect();
    let mut told: Vec<Value> = Vec::new();
    let mut rows = Vec::new();
    eventually("both rows", async || {
        told.extend(objects.try_iter().map(|line| serde_json::from_str::<Value>(&line).unwrap()));
        rows.extend(table.try_iter());
        (told.len() >= 2 && rows.len() >= 3).then_some(())
    })
    .await;
    let looks = all.metric(asked).await;
    eventually("they have looked again", async || (all.metric(asked).await >= looks + 4.0).then_some(())).await;
    told.extend(objects.try_iter().map(|line| serde_json::from_str::<Value>(&line).unwrap()));
    let found: Vec<&str> = told.iter().map(|row| row["task_id"].as_str().unwrap()).collect();
    assert_eq!(found, ids, "the oldest first, and each once");
    assert_eq!(words(&rows[0]), ["INSTANT", "OUTCOME", "TASK", "RECORDED", "INSTANTS", "SINCE"]);
    assert_eq!(words(&rows[1])[..3], ["2025-01-31T10:00:00Z", "backfill", ids[0]]);
    for child in [&mut plain, &mut programs] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let (code, _, errors) = run(&all, &["fires", "nowhere", "--follow"]).await;
    assert_eq!(code, 1, "{errors}");
    assert_eq!(run(&all, &["fires", "hourly", "--follow", "--limit", "5"]).await.0, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_applied_with_a_difference_that_people_and_programs_can_read() {
    let world = World::new().await;
    let mut api = world.daemon("all");
    api.file("[schedules.configured]\nevery = \"300d\"\ntask = { name = \"noop\" }\n");
    let api = api.ready().await;
    eventually("the configuration's own", async || (api.get("/api/schedules/configured").await.0 == 200).then_some(()))
        .await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.toml");
    let file = |text: &str| std::fs::write(&path, text).unwrap();
    let apply = ["apply", "-f", path.to_str().unwrap()];
    let dry = [&apply[..], &["--dry-run"]].concat();
    let two = "[schedules.one]\ncron = \"0 3 1 1 *\"\n[schedules.one.task]\nname = \"echo\"\npayload = { n = 1.5 }\n\
               [schedules.two]\nevery = \"300d\"\ntask = { name = \"noop\", queue = \"mail\" }\n";
    file(two);

    let (code, text, errors) = run(&api, &dry).await;
    assert_eq!((code, &*text), (1, "+ one\n+ two\n"), "{errors}");
    assert!(errors.contains("2 schedules: 2 to create"), "{errors}");
    assert_eq!(api.get("/api/schedules/one").await.0, 404, "nothing is changed");
    let (code, text, errors) = run(&api, &apply).await;
    assert_eq!((code, &*text), (0, "+ one\n+ two\n"), "{errors}");
    assert!(errors.contains("2 schedules: 2 created"), "{errors}");
    let (_, one) = api.get("/api/schedules/one").await;
    assert_eq!((&one["managed_by"], &one["task"]["payload"]), (&json!("file"), &json!({"n": 1.5})));
    for args in [&dry[..], &apply] {
        let (code, text, errors) = run(&api, args).await;
        assert_eq!((code, &*text), (0, ""), "{errors}");
        assert!(errors.contains("2 schedules: 2 unchanged"), "{errors}");
    }
    assert_eq!(api.get("/api/schedules/one").await.1["version"], one["version"]);

    // Somebody else's becomes the file's; the configuration's does not.
    put(&api, "three", &json!({"every": "300d", "task": {"name": "noop"}})).await;
    let four = two.replace("0 3 1 1 *", "0 4 1 1 *").replace(", queue = \"mail\"", "")
        + "[schedules.three]\nevery = \"300d\"\ntask = { name = \"noop\" }\n\
           [schedules.configured]\nevery = \"1h\"\ntask = { name = \"noop\" }\n";
    file(&four);
    let expected = "! configured\n    the configuration manages it; it is left as it is\n\
                    ~ one\n    cron: \"0 3 1 1 *\" -> \"0 4 1 1 *\"\n~ three\n    managed_by: \"api\" -> \"file\"\n\
                    ~ two\n    task.queue: \"mail\" -> (none)\n";
    for args in [&dry[..], &apply] {
        let (code, text, errors) = run(&api, args).await;
        assert_eq!((code, &*text), (1, expected), "{errors}");
        assert!(errors.contains("1 left to the configuration"), "{errors}");
    }
    assert_eq!(api.get("/api/schedules/configured").await.1["every"], "300d");
    assert_eq!(api.get("/api/schedules/one").await.1["cron"], "0 4 1 1 *");
    assert_eq!(api.get("/api/schedules/three").await.1["managed_by"], "file");

    // What is in no file any more goes if it is asked for, and only what a file has put.
    put(&api, "theirs", &json!({"every": "300d", "task": {"name": "noop"}})).await;
    file("[schedules.two]\nevery = \"300d\"\ntask = { name = \"noop\" }\n");
    assert_eq!(run(&api, &apply).await.0, 0);
    assert_eq!(api.get("/api/schedules/one").await.0, 200, "nobody asked for it");
    let prune = [&apply[..], &["--prune", "--json"]].concat();
    let (code, text, errors) = run(&api, &[&prune[..], &["--dry-run"]].concat()).await;
    let step = |name: &str, action: &str| json!({"name": name, "action": action, "changes": [], "refused": null});
    let steps = [step("two", "none"), step("one", "prune"), step("three", "prune")];
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, value), (1, json!({"dry_run": true, "schedules": steps})), "{errors}");
    assert_eq!(api.get("/api/schedules/one").await.0, 200, "nothing is changed");
    let (code, text, errors) = run(&api, &prune).await;
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, value), (0, json!({"dry_run": false, "schedules": steps})), "{errors}");
    let left = json(&api, &["list"]).await;
    let names: Vec<&str> =
        left["schedules"].as_array().unwrap().iter().map(|schedule| schedule["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["configured", "theirs", "two"]);
    let (code, _, errors) = fed(&api, &["apply", "-f", "-", "--prune"], "").await;
    assert_eq!(code, 2, "{errors}");
    assert!(errors.contains("the files have no schedules"), "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_changed_when_a_file_is_wrong_and_one_refusal_keeps_no_other_back() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    let wrong = "[schedules.good]\nevery = \"300d\"\ntask = { name = \"noop\" }\n\
                 [schedules.bad]\ncron = \"61 * * * *\"\ntimezone = \"Europe/Berlinn\"\ntask = { name = \"a b\" }\n";
    let (code, text, errors) = fed(&api, &["apply", "-f", "-", "-f", "/no/such/file"], wrong).await;
    assert_eq!((code, &*text), (2, ""), "{errors}");
    for place in ["bad.cron: ", "bad.timezone: ", "bad.task.name: "] {
        assert!(errors.contains(&format!("\nstandard input: schedules.{place}")), "{place}: {errors}");
    }
    assert!(errors.contains("nothing was changed") && errors.contains("\n/no/such/file: cannot be read"), "{errors}");
    assert_eq!(api.get("/api/schedules/good").await.0, 404);

    // What only the server knows: the types that it has.
    let half = r#"{"schedules": {"a": {"every": "300d", "task": {"name": "unheard-of"}},
        "b": {"every": "300d", "task": {"name": "noop"}}}}"#;
    let (code, text, errors) = fed(&api, &["apply", "-f", "-"], half).await;
    assert_eq!(code, 1, "{errors}");
    assert!(text.starts_with("! a\n    refused: 422") && text.ends_with("\n+ b\n"), "{text}");
    assert!(text.contains("unheard-of") && errors.contains("1 created, 1 refused"), "{text}{errors}");
    assert_eq!(api.get("/api/schedules/b").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_applied_also_where_nobody_reads_what_is_said_of_it() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.toml");
    let table = |name| format!("[schedules.{name}]\nevery = \"300d\"\ntask = {{ name = \"noop\" }}\n");
    std::fs::write(&path, ["a", "b", "c"].map(table).concat()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_taskrunnerx"));
    command.args(["schedules", "apply", "-f", path.to_str().unwrap(), "--url", &api.url]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let ended = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();
    assert_eq!(ended.status.code(), Some(0), "{}", String::from_utf8_lossy(&ended.stderr));
    for name in ["a", "b", "c"] {
        assert_eq!(api.get(&format!("/api/schedules/{name}")).await.0, 200, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_exported_is_applied_without_a_difference() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    let full = json!({"every": "300d", "misfire": "all", "catch_up": "2d", "overlap": "queue_one", "jitter": "90s",
        "starts_at": "2026-01-31T12:00:00.5+01:00", "ends_at": "2090-01-01T00:00:00Z", "max_fires": 7,
        "pause_after_failures": 3, "managed_by": "file",
        "task": {"name": "echo", "queue": "mail", "priority": 3, "timeout": "90s", "max_attempts": 2, "tags": ["a", "b"],
                 "payload": {"it's \"quoted\"\n\u{1}": [1, -2.5e-7, true, "\\ 日本", {}, [[]]]}}});
    put(&api, "full:of.things", &full).await;
    let mut filed = yearly();
    filed["managed_by"] = "file".into();
    put(&api, "yearly", &filed).await;
    for flags in [&[][..], &["--json"]] {
        let text = done(&api, &[&["export"], flags].concat()).await;
        let (code, same, errors) = fed(&api, &["apply", "-f", "-", "--dry-run"], &text).await;
        assert_eq!((code, &*same), (0, ""), "{errors}\n{text}");
        // Also where nothing is there yet.
        let before = api.get("/api/schedules/full:of.things").await.1;
        done(&api, &["delete", "full:of.things"]).await;
        let (code, created, errors) = fed(&api, &["apply", "-f", "-"], &text).await;
        assert_eq!((code, &*created), (0, "+ full:of.things\n"), "{errors}");
        let after = api.get("/api/schedules/full:of.things").await.1;
        for field in ["task", "every", "misfire", "catch_up", "overlap", "jitter", "starts_at", "ends_at", "max_fires"]
        {
            assert_eq!(before[field], after[field]);
        }
    }
    assert!(!done(&api, &["export", "yearly"]).await.contains("full"));

    put(&api, "null", &json!({"every": "300d", "task": {"name": "echo", "payload": {"a": [null]}}})).await;
    let (code, text, errors) = run(&api, &["export"]).await;
    assert_eq!((code, &*text), (1, ""), "all of them or nothing: {errors}");
    assert!(errors.contains("null: task.payload.a.0 is null"), "{errors}");
    let text = done(&api, &["export", "null", "--json"]).await;
    assert!(text.contains("{\"a\":[null]}"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crontab_becomes_schedules_that_do_what_its_lines_say() {
    let world = World::new().await;
    let crontab = "MAILTO=ops\nGREETING='hello there'\n\n# the first of the year\n\
                   CRON_TZ=Europe/Berlin\n0 3 1 1 * echo \"$GREETING\"; cat%it's 100\\%%\n@reboot start\n61 * * * * x\n";
    let nobody = world.daemon("api").ready().await;
    let (code, text, errors) = fed(&nobody, &["import-crontab", "-", "--queue", "cron"], crontab).await;
    assert_eq!(code, 1, "{errors}");
    for said in
        ["line 1: MAILTO is passed over", "line 7: @reboot is not a time", "line 8: ", "2 lines cannot be taken"]
    {
        assert!(errors.contains(said), "{said}: {errors}");
    }
    assert!(!errors.contains("--timezone"), "it names a zone: {errors}");
    let table: toml::Table = text.parse().unwrap();
    let (name, schedule) = table["schedules"].as_table().unwrap().iter().next().unwrap();
    assert!(name.starts_with("echo-"), "{text}");
    assert_eq!(schedule["timezone"].as_str(), Some("Europe/Berlin"));
    assert!(schedule["task"]["queue"].as_str() == Some("cron"), "{text}");
    // The types stand there as comments, for the workers.
    let types: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# "))
        .filter(|line| line.starts_with("[tasks.") || line.starts_with("command = "))
        .collect();
    let mut all = world.daemon("all");
    all.file(&types.join("\n"));
    let all = all.ready().await;
    let (code, applied, errors) = fed(&all, &["import-crontab", "-", "--queue", "cron", "--apply"], crontab).await;
    assert_eq!((code, &applied), (1, &text), "{errors}");
    assert!(errors.contains(&format!("+ {name}\n")), "{errors}");
    let id = done(&all, &["run", name]).await;
    let task = all.until(&json!(id.trim()), "completed").await;
    assert_eq!(task["result"], "hello there\nit's 100%", "{task}");
    // And again: nothing new.
    let (_, same, errors) = fed(&all, &["apply", "-f", "-", "--dry-run"], &text).await;
    assert_eq!(same, "", "{errors}");

    let (code, text, errors) = fed(&all, &["import-crontab", "-", "--task", "shell"], "@daily x\n").await;
    assert_eq!(code, 0, "{errors}");
    assert!(text.contains("payload = { command = \"x\" }") && errors.contains("taken as UTC"), "{text}{errors}");
    let (code, _, errors) = run(&all, &["import-crontab", "/no/such/file"]).await;
    assert_eq!(code, 2, "{errors}");
    assert_eq!(run(&all, &["import-crontab", "-", "--timezone", "Berlin"]).await.0, 2);
}
