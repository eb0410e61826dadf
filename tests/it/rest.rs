//! What the REST interface and the command line around it promise: answers, faults, pages,
//! access, configuration.

use crate::harness::{DIGITS, Daemon, DaemonBuilder, LIMIT, World, eventually, noop, root};
use chrono::DateTime;
use mysql_async::prelude::Queryable;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const JSON: &str = "application/json";
const MIB: usize = 1 << 20;

/// A whole answer.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    async fn of(request: reqwest::RequestBuilder) -> Self {
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Self { status, headers, text: answer.text().await.unwrap() }
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// It is a problem of this status in the shape that every problem has; gives it.
    fn problem(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        assert!(!self.header("x-request-id").is_empty(), "{self:?}");
        let body = self.json();
        assert_eq!(body["type"], "about:blank", "{body}");
        assert!(!body["title"].as_str().unwrap().is_empty(), "{body}");
        assert_eq!(body["status"], status, "{body}");
        assert!(!body["detail"].as_str().unwrap().is_empty(), "{body}");
        assert_eq!(body["errors"].is_array(), status == 422 && body.get("errors").is_some(), "{body}");
        body
    }

    /// It is a 422 with faults at exactly these places; gives their details.
    fn faults(&self, pointers: &[&str]) -> Vec<String> {
        let body = self.problem(422);
        let errors = body["errors"].as_array().unwrap();
        let at: Vec<&str> = errors.iter().map(|error| error["pointer"].as_str().unwrap()).collect();
        assert_eq!(at, pointers, "{body}");
        errors.iter().map(|error| error["detail"].as_str().unwrap().to_owned()).collect()
    }
}

async fn get(daemon: &Daemon, path: &str) -> Answer {
    Answer::of(daemon.client.get(format!("{}{path}", daemon.url))).await
}

/// `POST /api/tasks` with exactly this body.
async fn post(daemon: &Daemon, media_type: Option<&str>, body: impl Into<Vec<u8>>) -> Answer {
    let mut request = daemon.client.post(format!("{}/api/tasks", daemon.url)).body(body.into());
    if let Some(media_type) = media_type {
        request = request.header("content-type", media_type);
    }
    Answer::of(request).await
}

/// Sends exactly these bytes (which ask for the connection to be closed); gives all that comes back.
async fn wire(daemon: &Daemon, bytes: &[u8]) -> String {
    let mut stream = tokio::net::TcpStream::connect(daemon.url.strip_prefix("http://").unwrap()).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(LIMIT, stream.read_to_end(&mut answer)).await.expect("an answer").unwrap();
    String::from_utf8(answer).unwrap()
}

fn assert_alive(daemon: &Daemon) {
    assert_eq!(daemon.logged("panicked"), 0, "{:#?}", daemon.log());
}

fn nested(depth: usize) -> String {
    format!("{}{}", "[".repeat(depth), "]".repeat(depth))
}

// --- submissions that are refused ---

#[tokio::test]
async fn an_unknown_task_name_is_refused_and_the_known_ones_are_listed() {
    let world = World::new().await;
    let daemon = world.daemon("api").ready().await;
    let details = post(&daemon, Some(JSON), r#"{"name": "nopp"}"#).await.faults(&["#/name"]);
    for part in ["\"nopp\"", "echo, fail, heartbeat, noop, sleep"] {
        assert!(details[0].contains(part), "{details:?}");
    }
    let details = post(&daemon, Some(JSON), "{}").await.faults(&["#/name"]);
    assert!(details[0].contains("is missing"), "{details:?}");
    // Nothing of it reached the database.
    let rows: u64 = world.sql().await.query_first("SELECT COUNT(*) FROM tasks").await.unwrap().unwrap();
    assert_eq!(rows, 0);
}

#[tokio::test]
async fn every_fault_of_a_submission_is_reported_with_its_place() {
    let world = World::new().await;
    let daemon = world.daemon("api").ready().await;
    let table: &[(&str, &[&str])] = &[
        (r#"{"name": "noop", "prioritty": 1}"#, &["#/prioritty"]),
        (r#"{"name": "noop", "a/b~c": 1, "": 2}"#, &["#/a~1b~0c", "#/"]),
        (
            r#"{"name": "nope", "queue": "a b", "priority": 10, "delay": "soon", "colour": "red"}"#,
            &["#/name", "#/queue", "#/priority", "#/delay", "#/colour"],
        ),
        (r#"{"name": 5}"#, &["#/name"]),
        (r#"{"name": ""}"#, &["#/name"]),
        (r#"{"name": "noop", "queue": 7}"#, &["#/queue"]),
        (r#"{"name": "noop", "queue": ["default"]}"#, &["#/queue"]),
        (r#"{"name": "noop", "queue": "\ud800"}"#, &["#/queue"]),
        (r#"{"name": "noop", "priority": "1"}"#, &["#/priority"]),
        (r#"{"name": "noop", "priority": -1}"#, &["#/priority"]),
        (r#"{"name": "noop", "priority": 1.5}"#, &["#/priority"]),
        (r#"{"name": "noop", "max_attempts": 0}"#, &["#/max_attempts"]),
        (r#"{"name": "noop", "max_attempts": 1e99}"#, &["#/max_attempts"]),
        (r#"{"name": "noop", "timeout": "0s"}"#, &["#/timeout"]),
        (r#"{"name": "noop", "timeout": "31d"}"#, &["#/timeout"]),
        (r#"{"name": "noop", "timeout": true}"#, &["#/timeout"]),
        (r#"{"name": "noop", "delay": -1}"#, &["#/delay"]),
        (r#"{"name": "noop", "delay": "99999999999d"}"#, &["#/delay"]),
        (r#"{"name": "noop", "delay": 99999999999999999999}"#, &["#/delay"]),
        (r#"{"name": "noop", "run_at": "2030-01-01"}"#, &["#/run_at"]),
        (r#"{"name": "noop", "run_at": "9999-01-01T00:00:00Z"}"#, &["#/run_at"]),
        (r#"{"name": "noop", "run_at": 1893456000}"#, &["#/run_at"]),
        (r#"{"name": "noop", "run_at": "2030-01-01T00:00:00Z", "delay": "1s"}"#, &["#/delay"]),
        (r#"{"name": "noop", "backoff": {"kind": "cubic", "base": "x"}}"#, &["#/backoff/kind", "#/backoff/base"]),
        (r#"{"name": "noop", "expires_in": "0s"}"#, &["#/expires_in"]),
        (r#"{"name": "noop", "tags": "a"}"#, &["#/tags"]),
        (r#"{"name": "noop", "tags": ["a", "", 5, "a"]}"#, &["#/tags/1", "#/tags/2", "#/tags/3"]),
        (r#"{"name": "noop", "metadata": [1]}"#, &["#/metadata"]),
        (r#"{"name": "noop", "queue": "a", "queue": "b"}"#, &["#/queue"]),
        (r#"{"name": "noop", "name": "echo"}"#, &["#/name"]),
        // The body is JSON and no submission.
        ("[]", &["#"]),
        (r#"[{"name": "noop"}]"#, &["#"]),
        ("null", &["#"]),
        ("\"noop\"", &["#"]),
        ("12", &["#"]),
    ];
    for (body, pointers) in table {
        let details = post(&daemon, Some(JSON), *body).await.faults(pointers);
        assert!(details.iter().all(|detail| !detail.is_empty()), "{body} -> {details:?}");
    }
    let details = post(&daemon, Some(JSON), r#"{"name": "noop", "prioritty": 1}"#).await.faults(&["#/prioritty"]);
    assert!(details[0].contains("did you mean priority?"), "{details:?}");
    let many: Vec<String> = (0..17).map(|i| format!("\"t{i}\"")).collect();
    let body = format!(r#"{{"name": "noop", "tags": [{}]}}"#, many.join(","));
    post(&daemon, Some(JSON), body).await.faults(&["#/tags"]);
    let body = format!(r#"{{"name": "noop", "metadata": {{"a": "{}"}}}}"#, "x".repeat(16 * 1024));
    post(&daemon, Some(JSON), body).await.faults(&["#/metadata"]);
    let names: Vec<String> = (0..1000).map(|i| format!("\"f{i}\": 1")).collect();
    post(&daemon, Some(JSON), format!("{{{}}}", names.join(","))).await.faults(&["#"]);
    assert_alive(&daemon);
}

#[tokio::test]
async fn what_is_no_json_of_ours_is_400_or_415_and_says_why() {
    let world = World::new().await;
    let daemon = world.daemon("api").ready().await;
    let good = r#"{"name": "noop"}"#;
    let malformed: &[&[u8]] = &[
        b"",
        b"{",
        b"{\"name\": \"noop\"",
        b"{\"name\": \"noop\",}",
        b"{\"name\": \"noop\"} {}",
        b"{'name': 'noop'}",
        b"{\"name\": \"noop\", \"payload\": [1,}",
        b"{\"name\": \"noop\", \"payload\": NaN}",
        b"{\"name\": \"noop\", \"payload\": \"a\nb\"}",
        b"{\"name\": \"noop\", \"payload\": 01}",
        b"name=noop",
        b"\xef\xbb\xbf{\"name\": \"noop\"}",
        b"{\"name\": \"noop\", \"payload\": \"\xff\xfe\"}",
        b"{\"name\": \"\xc3\x28\"}",
        b"\x00",
    ];
    for body in malformed {
        let problem = post(&daemon, Some(JSON), *body).await.problem(400);
        assert!(problem["detail"].as_str().unwrap().contains("the body is not"), "{problem}");
    }
    for media_type in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", "json", ""] {
        let problem = post(&daemon, Some(media_type), good).await.problem(415);
        assert!(problem["detail"].as_str().unwrap().contains("application/json"), "{problem}");
    }
    let twice = daemon.client.post(format!("{}/api/tasks", daemon.url)).header("content-type", "application/json");
    let twice = twice.header("content-type", "text/plain").body(good).send().await.unwrap();
    assert_eq!(twice.status(), 415, "neither the first nor the last one counts");
    let problem = post(&daemon, None, good).await.problem(415);
    assert!(problem["detail"].as_str().unwrap().contains("no Content-Type"), "{problem}");
    for media_type in ["application/json", "application/json; charset=utf-8", "Application/JSON"] {
        assert_eq!(post(&daemon, Some(media_type), good).await.status, 201, "{media_type}");
    }
    assert_alive(&daemon);
}

#[tokio::test]
async fn sizes_are_bounded_by_bytes_and_a_large_body_never_hurts() {
    let world = World::new().await;
    let mut builder = world.daemon("api");
    builder.env("TASKRUNNERX_LIMITS__PAYLOAD", "1KiB");
    let daemon = builder.ready().await;
    let body = |bytes: usize| format!(r#"{{"name": "echo", "payload": "{}"}}"#, "x".repeat(bytes - 2));
    assert_eq!(post(&daemon, Some(JSON), body(1024)).await.status, 201);
    let details = post(&daemon, Some(JSON), body(1025)).await.faults(&["#/payload"]);
    assert_eq!(details, ["has 1025 bytes; takes at most 1024"]);
    // Beyond the payload's limit and the slack for the other fields the body is not even read.
    for bytes in [70_000, 5 * MIB] {
        let problem = post(&daemon, Some(JSON), body(bytes)).await.problem(413);
        assert!(problem["detail"].as_str().unwrap().contains("66560 bytes"), "{problem}");
    }
    // The same without an announced length.
    let chunk = format!("{:x}\r\n{}\r\n", 70_000, "[".repeat(70_000));
    let request = format!(
        "POST /api/tasks HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nconnection: close\r\n\
         transfer-encoding: chunked\r\n\r\n{chunk}0\r\n\r\n"
    );
    let answer = wire(&daemon, request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("application/problem+json"), "{answer}");
    assert_eq!(post(&daemon, Some(JSON), body(10)).await.status, 201);
    assert_alive(&daemon);
}

#[tokio::test]
async fn deep_nesting_is_an_answer_and_never_a_crash() {
    let world = World::new().await;
    let daemon = world.daemon("all").ready().await;
    let deep = nested(100_000);
    // A payload is text to us, whatever its depth: it runs and comes back.
    let answer = post(&daemon, Some(JSON), format!(r#"{{"name": "echo", "payload": {deep}}}"#)).await;
    assert_eq!(answer.status, 201, "{:.200}", answer.text);
    let location = answer.header("location").to_owned();
    let done = eventually("completed", async || {
        let text = get(&daemon, &location).await.text;
        text.contains("\"status\":\"completed\"").then_some(text)
    })
    .await;
    assert!(done.contains(&format!("\"result\":{deep},")));
    // A handler that cannot read it fails the task, at once and for good.
    let answer = post(&daemon, Some(JSON), format!(r#"{{"name": "sleep", "payload": {deep}}}"#)).await;
    let location = answer.header("location").to_owned();
    eventually("failed", async || {
        let text = get(&daemon, &location).await.text;
        text.contains("\"reason\":\"permanent\"").then_some(())
    })
    .await;
    for field in ["name", "queue", "priority", "delay", "run_at", "timeout", "max_attempts", "backoff", "expires_in"] {
        let name = if field == "name" { "" } else { "\"name\": \"noop\", " };
        let body = format!("{{{name}\"{field}\": {deep}}}");
        let details = post(&daemon, Some(JSON), body).await.faults(&[&format!("#/{field}")]);
        assert!(details[0].len() < 500, "{details:?}");
    }
    for field in ["tags", "unknown"] {
        let body = format!(r#"{{"name": "noop", "{field}": {deep}}}"#);
        assert_eq!(post(&daemon, Some(JSON), body).await.status, 422, "{field}");
    }
    // The whole body, and one that never ends.
    post(&daemon, Some(JSON), deep).await.faults(&["#"]);
    post(&daemon, Some(JSON), "[".repeat(100_000)).await.problem(422);
    post(&daemon, Some(JSON), format!(r#"{{"name": "noop", "payload": {}"#, "[".repeat(100_000))).await.problem(400);
    assert_eq!(post(&daemon, Some(JSON), r#"{"name": "noop"}"#).await.status, 201);
    assert_alive(&daemon);
}

#[tokio::test]
async fn one_queue_too_many_is_refused_and_the_others_go_on() {
    let world = World::new().await;
    let mut builder = world.daemon("api");
    builder.env("TASKRUNNERX_LIMITS__QUEUES", "3");
    let daemon = builder.ready().await;
    // `default` is there from the start.
    for queue in ["a", "b", "default", "a"] {
        daemon.submit(noop(queue)).await;
    }
    let details = post(&daemon, Some(JSON), noop("c").to_string()).await.faults(&["#/queue"]);
    for part in ["\"c\"", "limits.queues", "3"] {
        assert!(details[0].contains(part), "{details:?}");
    }
    daemon.submit(noop("b")).await;
}

// --- around every request ---

#[tokio::test]
async fn unknown_routes_wrong_methods_and_wrong_ids_are_problems() {
    let world = World::new().await;
    let daemon = world.daemon("api").ready().await;
    for path in ["/nothing", "/api", "/api/task", "/api/tasks/", "/api/tasks/1/2", "/api/tasks/%2e%2e/x", "/livez/"] {
        get(&daemon, path).await.problem(404);
    }
    let unknown = uuid::Uuid::now_v7();
    let problem = get(&daemon, &format!("/api/tasks/{unknown}")).await.problem(404);
    assert!(problem["detail"].as_str().unwrap().contains(&unknown.to_string()), "{problem}");
    for id in ["7", "abc", "%ff", "%00", "0190163d8694739baea5966c26f8ad91", "0190163d-8694-739b-aea5-966c26f8ad9z"] {
        let problem = get(&daemon, &format!("/api/tasks/{id}")).await.problem(422);
        assert!(problem["detail"].as_str().unwrap().contains("is not a UUID"), "{problem}");
    }
    // An id in capitals is the same id.
    let task = daemon.submit(noop("default")).await;
    let id = task["id"].as_str().unwrap();
    assert_eq!(get(&daemon, &format!("/api/tasks/{}", id.to_uppercase())).await.json()["id"], id);

    for (method, path, allow) in [
        ("DELETE", "/api/tasks", "GET, HEAD, POST, OPTIONS"),
        ("PUT", "/api/tasks", "GET, HEAD, POST, OPTIONS"),
        ("POST", &*format!("/api/tasks/{id}"), "GET, HEAD, DELETE, OPTIONS"),
        ("PATCH", &*format!("/api/tasks/{id}"), "GET, HEAD, DELETE, OPTIONS"),
        ("GET", &*format!("/api/tasks/{id}/retry"), "POST, OPTIONS"),
        ("GET", &*format!("/api/tasks/{id}/run"), "POST, OPTIONS"),
        ("GET", "/api/tasks/cancel", "POST, OPTIONS"),
        ("DELETE", "/api/tasks/retry", "POST, OPTIONS"),
        ("POST", "/api/failures", "GET, HEAD, OPTIONS"),
        ("POST", "/livez", "GET, HEAD, OPTIONS"),
        ("POST", "/readyz", "GET, HEAD, OPTIONS"),
        ("POST", "/health", "GET, HEAD, OPTIONS"),
        ("DELETE", "/metrics", "GET, HEAD, OPTIONS"),
        ("BREW", "/api/tasks", "GET, HEAD, POST, OPTIONS"),
    ] {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let answer = Answer::of(daemon.client.request(method, format!("{}{path}", daemon.url))).await;
        answer.problem(405);
        assert_eq!(answer.header("allow"), allow, "{path}");
    }
    for (path, allow) in [
        ("/api/tasks", "GET, HEAD, POST, OPTIONS"),
        ("/api/events", "GET, OPTIONS"),
        ("/api/tasks/bulk", "POST, OPTIONS"),
        ("/livez", "GET, HEAD, OPTIONS"),
    ] {
        let answer = Answer::of(daemon.client.request(reqwest::Method::OPTIONS, format!("{}{path}", daemon.url))).await;
        assert_eq!((answer.status, answer.header("allow")), (204, allow), "{path}");
    }
}

#[tokio::test]
async fn a_process_without_the_api_role_says_so() {
    let world = World::new().await;
    let daemon = world.daemon("worker").ready().await;
    for path in ["/api/tasks", "/api/tasks/7"] {
        let problem = get(&daemon, path).await.problem(404);
        assert!(problem["detail"].as_str().unwrap().contains("does not have the api role"), "{problem}");
    }
    for path in ["/livez", "/readyz", "/health", "/metrics"] {
        assert_eq!(get(&daemon, path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn a_sensible_request_id_comes_back_and_another_is_replaced() {
    let world = World::new().await;
    let daemon = world.daemon("api").ready().await;
    let asked = async |path: &str, id: &str| {
        let request = daemon.client.get(format!("{}{path}", daemon.url)).header("x-request-id", id);
        Answer::of(request).await.header("x-request-id").to_owned()
    };
    for path in ["/api/tasks", "/api/tasks/7", "/nothing", "/livez"] {
        assert_eq!(asked(path, "trace-1:a_b.c").await, "trace-1:a_b.c", "{path}");
    }
    // Its own: the process, and a count.
    let hex = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c));
    let own = |id: &str| id.split_once('-').is_some_and(|(process, n)| process.len() == 16 && hex(process) && hex(n));
    let mut seen = BTreeSet::new();
    for strange in ["", "a b", "<script>", "a/b", &"x".repeat(65)] {
        let given = asked("/livez", strange).await;
        assert!(own(&given), "{strange:?} -> {given}");
        assert!(seen.insert(given));
    }
    let another = world.daemon("api").ready().await;
    for process in [&daemon, &daemon, &another] {
        let given = get(process, "/livez").await.header("x-request-id").to_owned();
        assert!(own(&given) && seen.insert(given.clone()), "{given}");
    }
}

// --- submissions that are taken ---

/// The shape `2030-01-31T12:00:00.123456Z`.
fn assert_time(value: &Value) {
    let text = value.as_str().unwrap_or_else(|| panic!("{value} is no time"));
    assert_eq!(text.len(), 27, "{text}");
    assert!(text.ends_with('Z') && text.as_bytes()[19] == b'.', "{text}");
    assert!(DateTime::parse_from_rfc3339(text).is_ok(), "{text}");
}

#[tokio::test]
async fn a_submission_that_says_nothing_gets_the_defaults() {
    let world = World::new().await;
    let daemon = world.daemon("api").ready().await;
    let answer = post(&daemon, Some(JSON), r#"{"name": "noop"}"#).await;
    assert_eq!(answer.status, 201);
    assert_eq!(answer.header("content-type"), JSON);
    let task = answer.json();
    assert_eq!(answer.header("location"), format!("/api/tasks/{}", task["id"].as_str().unwrap()));
    let backoff = json!({"kind": "exponential", "base": "1s", "factor": 2, "max": "1h", "jitter": "full"});
    for (field, value) in [
        ("name", json!("noop")),
        ("queue", json!("default")),
        ("priority", json!(0)),
        ("status", json!("queued")),
        ("reason", Value::Null),
        ("payload", Value::Null),
        ("attempt", json!(0)),
        ("max_attempts", json!(5)),
        ("timeout", json!("10m")),
        ("backoff", backoff),
        ("run_at", task["created_at"].clone()),
        ("expires_at", Value::Null),
        ("started_at", Value::Null),
        ("finished_at", Value::Null),
        ("worker_id", Value::Null),
        ("result", Value::Null),
        ("last_error", Value::Null),
        ("progress", Value::Null),
        ("progress_note", Value::Null),
        ("tags", json!([])),
        ("metadata", Value::Null),
        ("unique_key", Value::Null),
        ("schedule", Value::Null),
        ("cancel_requested_at", Value::Null),
    ] {
        assert_eq!(task.get(field), Some(&value), "{field} of {task}");
    }
    assert_time(&task["created_at"]);
    let (_, mut read) = daemon.get(answer.header("location")).await;
    read["warnings"] = task["warnings"].clone();
    assert_eq!(read, task);
}

#[tokio::test]
async fn a_submission_that_says_everything_gets_what_it_says() {
    let world = World::new().await;
    let daemon = world.daemon("api").ready().await;
    let task = daemon
        .submit(json!({
            "name": "echo", "payload": {"to": "a"}, "queue": "mail:out", "priority": 9, "delay": "1h30m", "timeout": 90,
            "max_attempts": 1, "backoff": {"kind": "fixed", "base": 2}, "expires_in": "2h", "tags": ["b", "a.1"],
            "metadata": {"z": 1, "a": [null]},
        }))
        .await;
    for (field, value) in [
        ("payload", json!({"to": "a"})),
        ("queue", json!("mail:out")),
        ("priority", json!(9)),
        ("status", json!("scheduled")),
        ("timeout", json!("1m30s")),
        ("max_attempts", json!(1)),
        ("tags", json!(["b", "a.1"])),
        ("metadata", json!({"z": 1, "a": [null]})),
    ] {
        assert_eq!(task.get(field), Some(&value), "{field} of {task}");
    }
    assert_eq!((&task["backoff"]["kind"], &task["backoff"]["base"]), (&json!("fixed"), &json!("2s")), "{task}");
    let at = |field: &str| DateTime::parse_from_rfc3339(task[field].as_str().unwrap()).unwrap();
    assert_eq!((at("run_at") - at("created_at")).num_milliseconds(), 5_400_000);
    assert_eq!((at("expires_at") - at("created_at")).num_milliseconds(), 7_200_000);
    for field in ["created_at", "run_at", "expires_at"] {
        assert_time(&task[field]);
    }
    // An instant with an offset is the same instant in UTC; one that has passed is now.
    let task = daemon.submit(json!({"name": "noop", "run_at": "2100-01-01T02:00:00+02:00"})).await;
    assert_eq!((&task["run_at"], &task["status"]), (&json!("2100-01-01T00:00:00.000000Z"), &json!("scheduled")));
    let task = daemon.submit(json!({"name": "noop", "run_at": "2001-01-01T00:00:00Z"})).await;
    assert_eq!((&task["run_at"], &task["status"]), (&task["created_at"], &json!("queued")));
}

#[tokio::test]
async fn defaults_come_from_the_task_type_then_from_the_configuration() {
    let world = World::new().await;
    let mut builder = world.daemon("api");
    builder.file(
        r#"
        [defaults]
        timeout = "1m"
        max_attempts = 9
        backoff = "3s"

        [tasks.echo]
        queue = "mail"
        timeout = "30s"
        max_attempts = 2
        backoff = { kind = "exponential", base = "5s", jitter = "none" }
        priority = 7
        "#,
    );
    builder.env("TASKRUNNERX_DEFAULTS__MAX_ATTEMPTS", "8");
    let daemon = builder.ready().await;
    let fields =
        |task: &Value| ["queue", "timeout", "max_attempts", "priority"].map(|field| task[field].clone()).to_vec();
    let echo = daemon.submit(json!({"name": "echo"})).await;
    assert_eq!(fields(&echo), [json!("mail"), json!("30s"), json!(2), json!(7)]);
    assert_eq!((&echo["backoff"]["base"], &echo["backoff"]["jitter"]), (&json!("5s"), &json!("none")), "{echo}");
    let own = json!({"name": "echo", "queue": "other", "timeout": "2s", "max_attempts": 4, "priority": 0});
    assert_eq!(fields(&daemon.submit(own).await), [json!("other"), json!("2s"), json!(4), json!(0)]);
    let noop = daemon.submit(json!({"name": "noop"})).await;
    assert_eq!(fields(&noop), [json!("default"), json!("1m"), json!(8), json!(0)]);
    assert_eq!((&noop["backoff"]["kind"], &noop["backoff"]["base"]), (&json!("fixed"), &json!("3s")), "{noop}");
}

#[tokio::test]
async fn a_task_that_expired_before_it_started_is_cancelled_and_never_runs() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    let short = api.submit(json!({"name": "echo", "payload": 1, "expires_in": "50ms"})).await;
    let long = api.submit(json!({"name": "echo", "payload": 2, "expires_in": "1h"})).await;
    let mut sql = world.sql().await;
    eventually("it has expired", async || {
        let over: Option<u64> =
            sql.query_first("SELECT COUNT(*) FROM tasks WHERE expires_at < UTC_TIMESTAMP(6)").await.unwrap();
        (over == Some(1)).then_some(())
    })
    .await;
    let _worker = world.daemon("worker").ready().await;
    let gone = api.until(&short["id"], "cancelled").await;
    assert_eq!((&gone["reason"], &gone["attempt"]), (&json!("expired"), &json!(0)), "{gone}");
    assert_eq!(gone["last_error"], "expired before it started");
    assert_eq!((&gone["started_at"], &gone["result"]), (&Value::Null, &Value::Null), "{gone}");
    assert_time(&gone["finished_at"]);
    let done = api.until(&long["id"], "completed").await;
    assert_eq!(done["result"], 2);
    for field in ["created_at", "run_at", "expires_at", "started_at", "finished_at"] {
        assert_time(&done[field]);
    }
}

#[tokio::test]
async fn payloads_of_every_script_and_size_come_back_as_they_were() {
    let world = World::new().await;
    let daemon = world.daemon("all").ready().await;
    let largest = format!("\"{}\"", "é".repeat((MIB - 2) / 2));
    assert_eq!(largest.len(), MIB);
    // Around the bound up to which a payload travels in its stream entry (4096 bytes), too.
    let at_bound = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
    let payloads = [
        r#""👩‍👩‍👧‍👦 日本語 العربية ẞ \u0000 \ud83d\ude00 \\ \" ' ; -- ?""#.to_owned(),
        r#"{"ключ": "значение", "🔑": ["🚀", null, true, 1e400, -0.0, 1.10]}"#.to_owned(),
        "\"\u{7f}\u{80}\u{2028}\u{fffd}\u{10ffff}\"".to_owned(),
        "null".to_owned(),
        "\"\"".to_owned(),
        at_bound(4095),
        at_bound(4096),
        at_bound(4097),
        largest,
    ];
    for payload in payloads {
        let body = format!(r#"{{"name": "echo", "payload": {payload}, "metadata": {{"m": "🎈"}}}}"#);
        let answer = post(&daemon, Some(JSON), body).await;
        assert_eq!(answer.status, 201, "{:.300}", answer.text);
        assert!(answer.text.contains(&format!("\"payload\":{payload},")), "{:.300}", answer.text);
        let location = answer.header("location").to_owned();
        let done = eventually("completed", async || {
            let text = get(&daemon, &location).await.text;
            text.contains("\"status\":\"completed\"").then_some(text)
        })
        .await;
        assert!(done.contains(&format!("\"payload\":{payload},")), "{done:.300}");
        let result = if payload == "null" { "null".to_owned() } else { payload };
        assert!(done.contains(&format!("\"result\":{result},")), "{done:.300}");
        assert!(done.contains(r#""metadata":{"m": "🎈"},"#), "{done:.300}");
    }
}

#[tokio::test]
async fn ids_of_many_at_once_are_distinct_and_carry_the_time_of_creation() {
    let world = World::new().await;
    let (one, other) = (world.daemon("api").ready().await, world.daemon("api").ready().await);
    let mut tasks = Vec::new();
    for _ in 0..20 {
        let mut submissions = tokio::task::JoinSet::new();
        for i in 0..50 {
            let daemon = if i % 2 == 0 { &one } else { &other };
            let request = daemon.client.post(format!("{}/api/tasks", daemon.url)).json(&noop("default"));
            submissions.spawn(async move { request.send().await.unwrap().json::<Value>().await.unwrap() });
        }
        while let Some(task) = submissions.join_next().await {
            let task = task.unwrap();
            let text = |field: &str| task[field].as_str().unwrap().to_owned();
            tasks.push((text("id").parse::<uuid::Uuid>().unwrap(), text("created_at")));
        }
    }
    tasks.sort();
    assert_eq!(tasks.iter().map(|(id, _)| id).collect::<BTreeSet<_>>().len(), 1000);
    for (id, created_at) in &tasks {
        let millis = DateTime::parse_from_rfc3339(created_at).unwrap().timestamp_millis();
        assert_eq!(i64::try_from(id.as_u128() >> 80).unwrap(), millis, "{id} was made at {created_at}");
    }
    // So newest first by id is newest first by time, whoever accepted the task.
    assert!(tasks.is_sorted_by_key(|(_, created_at)| created_at), "{tasks:#?}");
}

// --- pages ---

/// `count` finished rows straight into the table, made a millisecond each, the last one `age` ago.
async fn insert_history(sql: &mut mysql_async::Conn, count: u32, age_seconds: u32, queue: &str, name: &str) {
    sql.query_drop("SET time_zone = '+00:00'").await.unwrap();
    let base = format!("CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS UNSIGNED) - {age_seconds} * 1000 - {count}");
    let base: u64 = sql.query_first(format!("SELECT {base}")).await.unwrap().unwrap();
    sql.query_drop(format!(
        "INSERT INTO tasks (id, name, queue, priority, status, lane, position, attempt, max_attempts, timeout_ms, backoff, \
           run_at, created_at, started_at, finished_at, payload) \
         SELECT UNHEX(CONCAT(LPAD(HEX({base} + n), 12, '0'), '70008000', LPAD(HEX(n), 12, '0'))), '{name}', '{queue}', 0, \
           'completed', 0, 0, 1, 5, 600000, '{{}}', made, made, made, made, 'null' \
         FROM (SELECT n, FROM_UNIXTIME(({base} + n) / 1000) made FROM \
           (SELECT a.d + 10 * b.d + 100 * c.d + 1000 * d.d + 10000 * e.d n \
            FROM {DIGITS} a, {DIGITS} b, {DIGITS} c, {DIGITS} d, {DIGITS} e) numbers WHERE n < {count}) rows_to_be",
    ))
    .await
    .unwrap();
}

/// Follows the cursors of a listing; gives the tasks of each page.
async fn pages(daemon: &Daemon, query: &str) -> Vec<Vec<Value>> {
    let mut pages = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = get(daemon, &format!("/api/tasks?{query}{cursor}")).await;
        assert_eq!(page.status, 200, "{page:?}");
        let mut page = page.json();
        let Value::Array(tasks) = page["tasks"].take() else { panic!("{page}") };
        pages.push(tasks);
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return pages,
        }
        assert!(pages.len() < 1000, "the pages of {query} do not end");
    }
}

fn ids(tasks: &[Value]) -> Vec<String> {
    tasks.iter().map(|task| task["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_listing_filters_by_each_parameter_and_by_all_together() {
    let world = World::new().await;
    let daemon = world.daemon("api").ready().await;
    let a = daemon.submit(json!({"name": "noop", "queue": "q1", "tags": ["red", "big_1"]})).await;
    let b = daemon.submit(json!({"name": "echo", "queue": "q1", "tags": ["blue"], "delay": "1h"})).await;
    let c = daemon.submit(json!({"name": "noop", "queue": "q2", "tags": ["red", "blue"], "delay": "1h"})).await;
    let d = daemon.submit(json!({"name": "fail", "tags": ["Red", "bigX1", "re"]})).await;
    let id = |task: &Value| task["id"].as_str().unwrap().to_owned();
    let (a_id, d_id) = (id(&a), id(&d));
    let created = |task: &Value| task["created_at"].as_str().unwrap().to_owned();
    let table: Vec<(String, Vec<&Value>)> = vec![
        (String::new(), vec![&d, &c, &b, &a]),
        ("status=scheduled".into(), vec![&c, &b]),
        ("status=queued".into(), vec![&d, &a]),
        ("status=queued,scheduled".into(), vec![&d, &c, &b, &a]),
        ("status=queued&status=scheduled".into(), vec![&d, &c, &b, &a]),
        ("status=completed".into(), vec![]),
        ("queue=q1".into(), vec![&b, &a]),
        ("queue=q1,q2".into(), vec![&c, &b, &a]),
        ("queue=none".into(), vec![]),
        ("name=noop".into(), vec![&c, &a]),
        ("name=noop&name=fail".into(), vec![&d, &c, &a]),
        ("tag=red".into(), vec![&c, &a]),
        ("tag=re".into(), vec![&d]),
        ("tag=big_1".into(), vec![&a]),
        // Several values of one parameter mean any of them, for tags as for the others.
        ("tag=red,blue".into(), vec![&c, &b, &a]),
        ("tag=Red&tag=blue".into(), vec![&d, &c, &b]),
        (format!("id={a_id},{d_id}"), vec![&d, &a]),
        (format!("id={a_id}&id={}", uuid::Uuid::now_v7()), vec![&a]),
        (format!("id={a_id}&status=scheduled"), vec![]),
        (format!("created_after={}", created(&b)), vec![&d, &c, &b]),
        (format!("created_before={}", created(&b)), vec![&a]),
        (format!("created_after={}&created_before={}", created(&b), created(&d)), vec![&c, &b]),
        ("created_after=2100-01-01T00:00:00Z".into(), vec![]),
        ("created_before=2001-01-01T00:00:00Z".into(), vec![]),
        ("status=scheduled&queue=q1,q2&name=noop&tag=blue".into(), vec![&c]),
        ("limit=2".into(), vec![&d, &c]),
    ];
    for (query, expected) in table {
        let (status, page) = daemon.get(&format!("/api/tasks?{query}")).await;
        assert_eq!(status, 200, "{query}: {page}");
        let expected: Vec<String> = expected.into_iter().map(id).collect();
        assert_eq!(ids(page["tasks"].as_array().unwrap()), expected, "{query}");
        assert_eq!(page["next_cursor"].is_null(), query != "limit=2", "{query}");
    }
    // A task in a listing is the task.
    let (_, page) = daemon.get(&format!("/api/tasks?id={a_id}")).await;
    assert_eq!(page["tasks"][0], daemon.task(&a["id"]).await);
}

#[tokio::test]
async fn every_wrong_parameter_of_a_listing_is_reported() {
    let world = World::new().await;
    let daemon = world.daemon("api").ready().await;
    for query in [
        "status=done",
        "status=",
        "status=queued,",
        "queue=a%20b",
        "name=",
        "tag=%25",
        "tag=a%22b",
        "id=7",
        "id=%ff",
        "created_after=yesterday",
        "created_before=2030-01-01",
        "created_after=9999-12-31T23:59:59Z",
        "limit=0",
        "limit=501",
        "limit=-1",
        "limit=ten",
        "cursor=abc",
        "cursor=",
        "cursor=b1.7",
        "cursor=b2.0190163d-8694-739b-aea5-966c26f8ad91",
        "colour=red",
        "Status=queued",
    ] {
        let key = query.split('=').next().unwrap();
        let details = get(&daemon, &format!("/api/tasks?{query}")).await.faults(&[&format!("?{key}")]);
        // What was got is in quotes, so that one sees it even where it is empty.
        assert!(
            key == "colour" || key == "Status" || details[0].contains('"') || details[0].contains("empty"),
            "{details:?}"
        );
    }
    get(&daemon, "/api/tasks?status=done&limit=x&colour=1&%zz=").await.problem(422);
    let many = vec![uuid::Uuid::nil().to_string(); 501].join(",");
    get(&daemon, &format!("/api/tasks?id={many}")).await.faults(&["?id"]);
    assert_alive(&daemon);
}

#[tokio::test]
async fn pages_cover_everything_once_newest_first_while_rows_arrive() {
    let world = World::new().await;
    let daemon = world.daemon("api").ready().await;
    let mut sql = world.sql().await;
    insert_history(&mut sql, 1234, 60, "old", "noop").await;
    for _ in 0..6 {
        daemon.submit(json!({"name": "noop", "queue": "new"})).await;
    }
    let before: Vec<String> = sql.query("SELECT LOWER(HEX(id)) FROM tasks ORDER BY id DESC").await.unwrap();
    assert_eq!(before.len(), 1240);
    for query in ["limit=100", "limit=500", "limit=40&status=completed,queued", "limit=62&queue=old,new"] {
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let (status, page) = daemon.get(&format!("/api/tasks?{query}{cursor}")).await;
            assert_eq!(status, 200, "{page}");
            seen.extend(ids(page["tasks"].as_array().unwrap()).into_iter().map(|id| id.replace('-', "")));
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
            // They are newer than every page after the first.
            daemon.submit(json!({"name": "noop", "queue": "late"})).await;
        }
        let known: BTreeSet<&String> = before.iter().collect();
        seen.retain(|id| known.contains(id));
        assert_eq!(seen, before, "{query}");
    }
    // A default page has fifty.
    assert_eq!(daemon.get("/api/tasks").await.1["tasks"].as_array().unwrap().len(), 50);
    // A last page that is exactly full is the last.
    let exact = pages(&daemon, "limit=3&queue=new").await;
    assert_eq!(exact.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3]);
}

#[tokio::test]
async fn a_rare_match_gives_short_pages_until_the_cursors_reach_it() {
    let world = World::new().await;
    let daemon = world.daemon("api").ready().await;
    let mut sql = world.sql().await;
    insert_history(&mut sql, 3, 3600, "rare", "echo").await;
    insert_history(&mut sql, 25_000, 60, "common", "noop").await;
    for query in ["queue=rare", "name=echo&limit=2", "status=completed&queue=rare,none"] {
        let found = pages(&daemon, query).await;
        // Each page looked at 10,000 rows at most.
        assert!(found[0].is_empty() && found[1].is_empty(), "{query}");
        assert!((3..=4).contains(&found.len()), "{query}: {} pages", found.len());
        let all: Vec<Value> = found.into_iter().flatten().collect();
        assert_eq!(all.len(), 3, "{query}");
        assert!(ids(&all).is_sorted_by(|newer, older| newer > older));
        assert!(all.iter().all(|task| task["queue"] == "rare"));
    }
    // Without such a filter every page is full, and a range in time needs no walk.
    let (_, page) = daemon.get("/api/tasks?limit=500").await;
    assert_eq!(page["tasks"].as_array().unwrap().len(), 500);
    let hour_ago: String = sql
        .query_first("SELECT DATE_FORMAT(UTC_TIMESTAMP(6) - INTERVAL 1800 SECOND, '%Y-%m-%dT%H:%i:%s.%fZ')")
        .await
        .unwrap()
        .unwrap();
    let (_, page) = daemon.get(&format!("/api/tasks?queue=rare&created_before={hour_ago}")).await;
    assert_eq!((page["tasks"].as_array().unwrap().len(), &page["next_cursor"]), (3, &Value::Null));
}

#[tokio::test]
async fn a_page_of_large_payloads_is_a_short_one_and_nothing_is_left_out() {
    let world = World::new().await;
    let daemon = world.daemon("api").ready().await;
    let mut sql = world.sql().await;
    insert_history(&mut sql, 40, 60, "large", "noop").await;
    sql.query_drop(format!("UPDATE tasks SET payload = CONCAT('\"', REPEAT('x', {}), '\"')", MIB - 2)).await.unwrap();
    let found = pages(&daemon, "limit=500&queue=large").await;
    assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [16, 16, 8]);
    let all: Vec<Value> = found.into_iter().flatten().collect();
    assert_eq!(all.len(), 40);
    assert!(ids(&all).is_sorted_by(|newer, older| newer > older));
}

// --- who may ask ---

const KEY: &str = "trx_0123456789abcdef";

#[tokio::test]
async fn with_a_key_every_route_but_the_open_ones_wants_it() {
    let world = World::new().await;
    let mut builder = world.daemon("api");
    builder.env("TASKRUNNERX_API_KEY", KEY).env("TASKRUNNERX_METRICS__REQUIRE_KEY", "true");
    let daemon = builder.ready().await;
    let asked = async |path: &str, authorization: Option<&str>| {
        let mut request = daemon.client.get(format!("{}{path}", daemon.url));
        if let Some(value) = authorization {
            request = request.header("authorization", value);
        }
        Answer::of(request).await
    };
    for path in ["/api/tasks", "/api/tasks/7", "/nothing", "/metrics"] {
        for wrong in [None, Some("Bearer wrong"), Some("Bearer "), Some(KEY), Some("Basic dXNlcjpwYXNz")] {
            let answer = asked(path, wrong).await;
            answer.problem(401);
            assert_eq!(answer.header("www-authenticate"), "Bearer", "{path}");
            assert!(!answer.text.contains(KEY), "{}", answer.text);
        }
    }
    let right = format!("Bearer {KEY}");
    assert_eq!(asked("/api/tasks", Some(&right)).await.status, 200);
    assert_eq!(asked("/api/tasks", Some(&format!("bearer {KEY}"))).await.status, 200);
    assert_eq!(asked("/metrics", Some(&right)).await.status, 200);
    asked("/api/tasks/7", Some(&right)).await.problem(422);
    for path in ["/livez", "/readyz", "/health"] {
        assert_eq!(asked(path, None).await.status, 200, "{path}");
    }
    // A submission without the key leaves nothing behind; with it, any Host will do.
    post(&daemon, Some(JSON), r#"{"name": "noop"}"#).await.problem(401);
    let rows: u64 = world.sql().await.query_first("SELECT COUNT(*) FROM tasks").await.unwrap().unwrap();
    assert_eq!(rows, 0);
    let request = format!(
        "GET /api/tasks HTTP/1.1\r\nhost: tasks.example.com\r\nauthorization: {right}\r\nconnection: close\r\n\r\n"
    );
    assert!(wire(&daemon, request.as_bytes()).await.starts_with("HTTP/1.1 200 "));
    assert_eq!(daemon.logged(KEY), 0, "the log has the key");
}

#[tokio::test]
async fn without_a_key_a_foreign_host_or_origin_is_refused() {
    let world = World::new().await;
    let daemon = world.daemon("api").ready().await;
    let asked = async |path: &str, headers: &str| {
        let request = format!("GET {path} HTTP/1.1\r\n{headers}connection: close\r\n\r\n");
        wire(&daemon, request.as_bytes()).await
    };
    for headers in
        ["host: localhost\r\n", "host: 127.0.0.1:1\r\n", "host: localhost\r\norigin: http://127.0.0.1:3000\r\n"]
    {
        let answer = asked("/api/tasks", headers).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{headers}: {answer}");
    }
    for headers in [
        "host: evil.example\r\n",
        "host: localhost.evil.example\r\n",
        "host: 192.0.2.1\r\n",
        "host: localhost\r\norigin: http://evil.example\r\n",
        "host: localhost\r\norigin: null\r\n",
    ] {
        let answer = asked("/api/tasks", headers).await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{headers}: {answer}");
        assert!(answer.contains("application/problem+json") && answer.contains("TASKRUNNERX_API_KEY"), "{answer}");
        let answer = asked("/livez", headers).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{headers}: {answer}");
    }
    // Without a Host at all, as HTTP/1.0 may.
    let answer = wire(&daemon, b"GET /api/tasks HTTP/1.0\r\n\r\n").await;
    assert!(answer.contains(" 403 "), "{answer}");
    // `metrics.require_key` is off: anybody may read them.
    assert!(asked("/metrics", "host: evil.example\r\n").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn listening_beyond_this_machine_needs_a_key_or_no_api_role() {
    let world = World::new().await;
    let serve = |roles: &str| {
        let mut builder = DaemonBuilder::new(&["serve", "--role", roles, "--bind", "0.0.0.0:0"]);
        builder
            .env("DATABASE_URL", &world.database_url)
            .env("REDIS_URL", &world.redis_url)
            .env("TASKRUNNERX_REDIS_PREFIX", &world.prefix)
            .env("TASKRUNNERX_SCHEDULER__HEARTBEAT", "");
        builder
    };
    for roles in ["api", "all", "worker,api"] {
        let (code, _, errors) = serve(roles).output();
        assert_eq!(code, 2, "{errors}");
        assert!(errors.contains("TASKRUNNERX_API_KEY") && errors.contains("127.0.0.1"), "{errors}");
    }
    let reachable = |mut daemon: Daemon| {
        daemon.url = daemon.url.replace("0.0.0.0", "127.0.0.1");
        daemon
    };
    let mut with_key = serve("api");
    with_key.env("TASKRUNNERX_API_KEY", KEY);
    let daemon = reachable(with_key.start());
    daemon.until_ready().await;
    get(&daemon, "/api/tasks").await.problem(401);
    let daemon = reachable(serve("worker").start());
    daemon.until_ready().await;
}

// --- the command line around it ---

#[tokio::test]
async fn every_wrong_value_of_the_configuration_is_named_at_once() {
    let faulty = |args: &[&str]| {
        let mut builder = DaemonBuilder::new(args);
        builder
            .env("DATABASE_URL", "postgres://user:hunter2hunter2@db/x")
            .env("REDIS_URL", "redis://localhost")
            .env("TASKRUNNERX_BIND", "nowhere")
            .env("TASKRUNNERX_WORKER__CONCURRENCY", "many")
            .env("TASKRUNNERX_API_KEY", "short")
            .file("log.format = \"xml\"\ncolour = \"red\"\n[worker]\nlease = \"0s\"\n[tasks.noop]\npriority = 10\n");
        builder.output()
    };
    for args in [&["serve"][..], &["config"], &["migrate"], &["migrate", "--status"]] {
        let (code, _, errors) = faulty(args);
        assert_eq!(code, 2, "{args:?}: {errors}");
        for key in [
            "database_url",
            "bind",
            "worker.concurrency",
            "api_key",
            "log.format",
            "colour",
            "worker.lease",
            "tasks.noop.priority",
        ] {
            assert!(errors.contains(&format!("{key} (")), "{args:?}: {key} in {errors}");
        }
        for secret in ["hunter2", "\"short\""] {
            assert!(!errors.contains(secret), "{args:?}: {errors}");
        }
    }
    // What is missing is named with its variable; a wrong flag has the same exit code.
    let (code, _, errors) = DaemonBuilder::new(&["serve"]).output();
    assert_eq!(code, 2, "{errors}");
    assert!(errors.contains("DATABASE_URL") && errors.contains("REDIS_URL"), "{errors}");
    for args in [&["serve", "--role", "boss"][..], &["serve", "--nope"], &["nope"], &["serve", "--config", "/no/such"]]
    {
        let (code, _, errors) = DaemonBuilder::new(args).output();
        assert_eq!(code, 2, "{args:?}: {errors}");
    }
    let mut builder = DaemonBuilder::new(&["serve"]);
    builder.env("DATABASE_URL", "mysql://root@localhost/x").env("REDIS_URL", "redis://localhost");
    builder.file("[tasks.nope]\nqueue = \"x\"\n");
    let (code, _, errors) = builder.output();
    assert_eq!(code, 2, "{errors}");
    assert!(errors.contains("tasks.nope") && errors.contains("echo, fail, heartbeat, noop, sleep"), "{errors}");
}

#[tokio::test]
async fn config_shows_every_value_and_its_origin_and_no_secret() {
    let shown = |args: &[&str]| {
        let mut builder = DaemonBuilder::new(args);
        builder
            .env("DATABASE_URL", "mysql://trx:hunter2hunter2@db:3306/trx")
            .env("REDIS_URL", "redis://:s3cr3ts3cr3t@cache:6379/1")
            .env("TASKRUNNERX_API_KEY", KEY)
            .env("TASKRUNNERX_WORKER__CONCURENCY", "5")
            .file("[worker]\nconcurrency = 7\n[tasks.noop]\nqueue = \"bulk\"\n");
        let (code, text, errors) = builder.output();
        assert_eq!(code, 0, "{errors}");
        for secret in ["hunter2", "s3cr3t", KEY] {
            assert!(!text.contains(secret) && !errors.contains(secret), "{text}{errors}");
        }
        (text, errors)
    };
    let (table, aside) = shown(&["config"]);
    let line = |key: &str| {
        table
            .lines()
            .find(|line| line.split_whitespace().next() == Some(key))
            .unwrap_or_else(|| panic!("{key}: {table}"))
    };
    assert!(line("worker.concurrency").contains("7") && line("worker.concurrency").contains("taskrunnerx.toml"));
    assert!(
        line("database_url").contains("mysql://trx:***@db:3306/trx") && line("database_url").contains("DATABASE_URL")
    );
    assert!(line("api_key").contains("***"), "{table}");
    assert!(line("limits.payload").ends_with("default"), "{table}");
    assert!(line("tasks.noop.queue").contains("bulk"), "{table}");
    assert!(aside.contains("warning: environment variable TASKRUNNERX_WORKER__CONCURENCY"), "{aside}");

    let rows: Vec<Value> =
        shown(&["config", "--json"]).0.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let row = |key: &str| rows.iter().find(|row| row["key"] == key).unwrap_or_else(|| panic!("{key}"));
    assert_eq!(row("worker.concurrency")["value"], "7");
    assert_eq!(row("worker.concurrency")["default"], "64");
    assert_eq!(row("api_key")["value"], "***");
    assert_eq!(row("limits.payload")["origin"], "default");
}

#[tokio::test]
async fn migrate_brings_the_schema_and_its_status_says_what_is_there() {
    let world = World::new().await;
    let migrate = |args: &[&str]| {
        let mut builder = DaemonBuilder::new(args);
        builder.env("DATABASE_URL", &world.database_url);
        builder.output()
    };
    let count = std::fs::read_dir(root().join("migrations")).unwrap().count();
    let (code, text, errors) = migrate(&["migrate", "--status"]);
    assert_eq!((code, text.matches("pending").count()), (1, count), "{text}{errors}");
    assert!(errors.contains(&format!("{count} of {count} migrations")), "{errors}");
    let (code, text, errors) = migrate(&["migrate"]);
    assert_eq!(code, 0, "{errors}");
    assert!(text.starts_with("applied ") && text.contains("foundation"), "{text}");
    let (code, text, _) = migrate(&["migrate"]);
    assert_eq!((code, &*text), (0, "the database is up to date\n"));
    let (code, text, errors) = migrate(&["migrate", "--status"]);
    assert_eq!((code, text.matches("applied").count(), &*errors), (0, count, ""), "{text}");

    let mut nowhere = DaemonBuilder::new(&["migrate"]);
    nowhere.env("DATABASE_URL", "mysql://root@127.0.0.1:1/x");
    let (code, _, errors) = nowhere.output();
    assert_eq!(code, 3, "{errors}");
    assert!(errors.contains("the database cannot be reached"), "{errors}");
    let (code, _, errors) = DaemonBuilder::new(&["migrate"]).output();
    assert_eq!(code, 2, "{errors}");
    assert!(errors.contains("DATABASE_URL"), "{errors}");
}
