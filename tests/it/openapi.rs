//! The specification against a real daemon: the fields that its readers know, and everything that schemathesis can
//! think of. What the document itself must be is tested beside it (`src/api/openapi/tests.rs`).

use crate::harness::{Daemon, World, eventually, root};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

const KEY: &str = "trx_0123456789abcdef0123456789abcdef";
/// Streams, one of which has no end: the tests of `journal.rs` and `queues.rs` read them.
const STREAMS: [&str; 2] = ["/api/events", "/api/tasks/{id}/events"];
/// Test cases of the long form, at least; the short one has a tenth.
const MANY: u64 = 10_000;

/// A daemon with task types of each kind.
async fn daemon(world: &World, key: Option<&str>) -> Daemon {
    let mut builder = world.daemon("all");
    builder.file(
        "[tasks.transcode]\npull = true\nqueue = 'video'\n\
         [tasks.limited]\ncommand = ['cat']\nconcurrency = 1\n\
         [tasks.mail]\ncommand = ['cat']\nqueue = 'mail'\n\
         [tasks.mail.schema]\ntype = 'object'\nrequired = ['to']\nproperties.to = { type = 'string' }\n",
    );
    // Queues that the cases name are made.
    builder.env("TASKRUNNERX_LIMITS__QUEUES", "10000");
    if let Some(key) = key {
        builder.env("TASKRUNNERX_API_KEY", key);
    }
    builder.ready().await
}

async fn specification(daemon: &Daemon) -> Value {
    daemon.get("/api/openapi.json").await.1
}

/// A schema without the references to others, and without the null beside it.
fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(reference) => resolved(document, document.pointer(&reference[1..]).unwrap()),
        None => schema,
    }
}

fn keys(object: &Value) -> BTreeSet<String> {
    object.as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect()
}

/// What `(known: a, b, c)` in a fault's detail lists; `takes none` is an empty list.
fn known(fault: &Value) -> BTreeSet<String> {
    let detail = fault["detail"].as_str().unwrap();
    if detail.ends_with(" takes none)") {
        return BTreeSet::new();
    }
    let listed = detail.split_once("(known: ").unwrap_or_else(|| panic!("{detail}")).1.trim_end_matches(')');
    listed.split(", ").filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// Objects with a field that nobody knows, within this schema: each with its pointer and the fields it should have.
fn probes(document: &Value, schema: &Value, pointer: &str, found: &mut Vec<(String, BTreeSet<String>)>) -> Value {
    let schema = resolved(document, schema);
    if schema["type"] == "object" && schema["properties"].is_object() || schema["additionalProperties"] == false {
        found.push((format!("#{pointer}/zz"), keys(&schema["properties"])));
        let mut object = json!({"zz": 1});
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            let field = resolved(document, field);
            let items = resolved(document, &field["items"]);
            if items["properties"].is_object() {
                object[name] = json!([probes(document, items, &format!("{pointer}/{name}/0"), found)]);
            } else if field["properties"].is_object() && name != "backoff" {
                object[name] = probes(document, field, &format!("{pointer}/{name}"), found);
            }
        }
        return object;
    }
    panic!("{pointer} is no object: {schema}");
}

#[tokio::test]
async fn each_body_and_query_has_the_fields_that_its_reader_knows() {
    let world = World::new().await;
    let daemon = daemon(&world, None).await;
    let document = specification(&daemon).await;
    let (mut bodies, mut queries) = (0, 0);
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let at = format!("{method} {path}");
            let concrete = path
                .replace("{id}", "0190163d-8694-739b-aea5-966c26f8ad91")
                .replace("{queue}", "q")
                .replace("{name}", "s");
            let url = format!("{}{concrete}", daemon.url);
            let method = reqwest::Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            if !schema.is_null() {
                let mut expected = Vec::new();
                let body = probes(&document, schema, "", &mut expected);
                let answer = daemon.client.request(method.clone(), url).json(&body).send().await.unwrap();
                let answer: Value = answer.json().await.unwrap();
                let errors = answer["errors"].as_array().unwrap_or_else(|| panic!("{at}: {answer}"));
                for (pointer, fields) in expected {
                    let fault = errors.iter().find(|fault| fault["pointer"] == pointer);
                    let fault = fault.unwrap_or_else(|| panic!("{at}: {pointer} is taken: {answer}"));
                    assert_eq!(known(fault), fields, "{at} {pointer}");
                }
                bodies += 1;
            }
            if method != reqwest::Method::HEAD && operation["x-required-scope"].is_string() {
                let parameters = operation["parameters"].as_array().into_iter().flatten();
                let fields: BTreeSet<String> = parameters
                    .filter(|parameter| parameter["in"] == "query")
                    .map(|parameter| parameter["name"].as_str().unwrap().to_owned())
                    .collect();
                let url = format!("{}{concrete}?zz=1", daemon.url);
                let answer = daemon.client.request(method, url).send().await.unwrap();
                assert_eq!(answer.status(), 422, "{at}");
                let answer: Value = answer.json().await.unwrap();
                let errors = answer["errors"].as_array().unwrap_or_else(|| panic!("{at}: {answer}"));
                assert_eq!((errors.len(), &errors[0]["pointer"]), (1, &json!("?zz")), "{at}: {answer}");
                assert_eq!(known(&errors[0]), fields, "{at}");
                queries += 1;
            }
        }
    }
    assert!(bodies >= 20 && queries >= 40, "{bodies} bodies and {queries} queries");
}

#[tokio::test]
async fn the_specification_and_its_page_are_open_cached_and_need_nothing_from_elsewhere() {
    let world = World::new().await;
    let daemon = daemon(&world, Some(KEY)).await;
    for (path, media_type) in [("/api/openapi.json", "application/json"), ("/docs", "text/html; charset=utf-8")] {
        let url = format!("{}{path}", daemon.url);
        let first = daemon.client.get(&url).send().await.unwrap();
        assert_eq!((first.status().as_u16(), &first.headers()["content-type"]), (200, &media_type.parse().unwrap()));
        let etag = first.headers()["etag"].clone();
        for (known, status) in [(etag.clone(), 304), ("\"other\"".parse().unwrap(), 200), ("*".parse().unwrap(), 304)] {
            let again = daemon.client.get(&url).header("if-none-match", &known).send().await.unwrap();
            assert_eq!((again.status().as_u16(), &again.headers()["etag"]), (status, &etag), "{path} {known:?}");
        }
        let head = daemon.client.head(&url).send().await.unwrap();
        assert_eq!((head.status().as_u16(), &head.headers()["etag"]), (200, &etag));
    }
    let page = daemon.client.get(format!("{}/docs", daemon.url)).send().await.unwrap();
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    let html = page.text().await.unwrap();
    for elsewhere in ["http://", "https://", "src=", "@import", "url(", "innerHTML", "eval("] {
        assert!(!html.contains(elsewhere), "the page has {elsewhere}");
    }
    // It may stand behind a proxy, below a path; and what curl sends may begin with an @.
    for rooted in ["href=\"/", "href: '/", "fetch('/", "-d ${"] {
        assert!(!html.contains(rooted), "the page has {rooted}");
    }
    assert!(html.contains("<noscript>") && !html.contains("{{"), "{}", &html[..600]);
}

/// What the cases can meet: tasks in each state, a paused queue, a worker with a task.
async fn furnish(daemon: &Daemon) {
    let client = &daemon.client;
    let call = async |path: &str, body: Value| {
        let answer = client.post(format!("{}{path}", daemon.url)).bearer_auth(KEY).json(&body).send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{path} {body}: {status} {text}");
        serde_json::from_str::<Value>(&text).unwrap()
    };
    let submissions = [
        json!({"name": "echo", "payload": [1], "tags": ["a"]}),
        json!({"name": "fail", "payload": {"message": "broken", "permanent": true}}),
        json!({"name": "echo", "delay": "1h"}),
        json!({"name": "sleep", "payload": {"ms": 600_000}}),
        json!({"name": "mail", "payload": {"to": "ann"}}),
        json!({"name": "limited"}),
        json!({"name": "echo", "queue": "paused"}),
    ];
    call("/api/queues/paused/pause", json!({"reason": "a test"})).await;
    for submission in submissions {
        call("/api/tasks", submission).await;
    }
    for schedule in ["hourly", "yearly"] {
        let body = json!({"cron": format!("@{schedule}"), "task": {"name": "echo"}});
        let url = format!("{}/api/schedules/{schedule}", daemon.url);
        let put = client.put(url).bearer_auth(KEY).json(&body).send().await.unwrap();
        assert_eq!(put.status().as_u16(), 201);
    }
    let pulled: Vec<Value> = (0..500).map(|n| json!({"name": "transcode", "payload": n})).collect();
    call("/api/tasks/bulk", json!({"tasks": pulled})).await;
    eventually("a claim", async || {
        let claimed = call("/api/workers/claim", json!({"queues": ["video"], "max": 2, "wait": "1s"})).await;
        (!claimed["tasks"].as_array().unwrap().is_empty()).then_some(())
    })
    .await;
}

/// The program, where `scripts/setup.sh` installs it.
fn schemathesis() -> PathBuf {
    let program = root().join("target/tools/schemathesis/bin/schemathesis");
    let remedy = "`make setup` installs it with pip, which needs python3 (with venv) and a network";
    assert!(program.exists(), "schemathesis is not installed at {}: {remedy}", program.display());
    program
}

/// Runs it with a seed, in its short or its long form; gives its report.
fn run(daemon: &Daemon, directory: &Path, long: bool) -> Value {
    let files = root().join("tests/it/openapi");
    let report = directory.join("report.json");
    // The short form repeats what it did before: it guards what was found. The long form looks for more.
    let fresh = || if long { std::process::id().to_string() } else { "1".to_owned() };
    let seed = std::env::var("SCHEMATHESIS_SEED").unwrap_or_else(|_| fresh());
    let mut command = Command::new(schemathesis());
    command
        .current_dir(directory)
        .env("SCHEMATHESIS_HOOKS", files.join("hooks.py"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("TASKRUNNERX_URL", &daemon.url)
        .env("TASKRUNNERX_API_KEY", KEY)
        .arg(format!("--config-file={}", files.join("schemathesis.toml").display()))
        .args(["run", &format!("{}/api/openapi.json", daemon.url), "--checks", "all", "--request-timeout", "20"])
        .args(["-H", &format!("Authorization: Bearer {KEY}"), "--no-color", "--report", "json"])
        .arg(format!("--report-json-path={}", report.display()))
        .args(STREAMS.iter().flat_map(|path| ["--exclude-path", *path]))
        .args(["--max-examples", if long { "220" } else { "8" }, "--seed", &seed]);
    let output = command.output().unwrap();
    eprintln!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "its findings are above; SCHEMATHESIS_SEED={seed} repeats them");
    serde_json::from_str(&std::fs::read_to_string(report).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn schemathesis_finds_nothing() {
    let world = World::new().await;
    let daemon = daemon(&world, Some(KEY)).await;
    furnish(&daemon).await;
    let long = std::env::var("SCHEMATHESIS").is_ok_and(|form| form == "long");
    let directory = tempfile::tempdir().unwrap();
    let report = tokio::task::block_in_place(|| run(&daemon, directory.path(), long));
    // It did what it was to do.
    for phase in ["examples", "coverage", "fuzzing", "stateful"] {
        assert_eq!(report["phases"][phase]["status"], "success", "{phase}: {report:#}");
    }
    let operations = &report["operations"];
    assert_eq!(operations["tested"], operations["selected"], "{report:#}");
    let selected = operations["total"].as_u64().unwrap() - u64::try_from(STREAMS.len()).unwrap();
    assert_eq!(operations["selected"], selected, "{report:#}");
    let cases = report["test_cases"]["generated"].as_u64().unwrap();
    assert!(cases >= if long { MANY } else { MANY / 10 }, "{cases} cases");
    assert_eq!(daemon.logged("a request failed"), 0, "it was answered 500");
}
