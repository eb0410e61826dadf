//! http tasks: a daemon with a configuration file calls a server of the test. What no call may reach is tested beside
//! the guard too (`src/executor/http/tests.rs`), where the resolver and the network can be played.

mod receiver;

use crate::harness::{Daemon, DaemonBuilder, World, eventually, root};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, TimeDelta, Utc};
use hmac::{Hmac, Mac};
use receiver::{Answer, Call, Receiver};
use serde_json::{Value, json};
use sha2::Sha256;

/// A daemon with a type `hook` that calls a server on this machine, which is allowed. `more` is what its `http` has
/// besides the URL.
fn hooked(world: &World, url: &str, more: &str) -> DaemonBuilder {
    let mut builder = world.daemon("all");
    builder.env("TASKRUNNERX_HTTP__ALLOW_PRIVATE", "127.0.0.1");
    builder.file(&format!("[tasks.hook]\nbackoff = \"1ms\"\nmax_attempts = 2\nhttp = {{ url = \"{url}\"{more} }}\n"));
    builder
}

async fn start(world: &World, receiver: &Receiver, more: &str) -> Daemon {
    hooked(world, &format!("http://127.0.0.1:{}/in?v=1", receiver.port), more).ready().await
}

fn hook(payload: Value) -> Value {
    json!({"name": "hook", "payload": payload})
}

/// What a task's payload tells the server to do.
fn as_told(call: &Call) -> Answer {
    let told: Value = serde_json::from_str(&call.body).unwrap();
    let text = |key: &str| told[key].as_str().unwrap_or_default().to_owned();
    Answer::Whole(told["status"].as_u64().unwrap_or(200).try_into().unwrap(), text("headers"), text("body"))
}

fn signature(key: &[u8], call: &Call) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(
        format!("{}.{}.{}", call.headers["webhook-id"], call.headers["webhook-timestamp"], call.body).as_bytes(),
    );
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[tokio::test]
async fn a_call_carries_the_payload_signed_and_its_answer_is_the_result() {
    let world = World::new().await;
    let receiver = Receiver::start(|call| match call.headers["taskrunnerx-attempt"].as_str() {
        "1" => Answer::status(503),
        _ => Answer::body("{\"big\": 12345678901234567890, \"b\": 1.0}\n"),
    })
    .await;
    let more = r#", secret = ["whsec_bmV3", "${OLD_SECRET}"], headers = { authorization = "Bearer ${TOKEN}" }"#;
    let mut builder = hooked(&world, &format!("http://127.0.0.1:{}/in?v=1", receiver.port), more);
    builder.env("OLD_SECRET", "old").env("TOKEN", "t0ken");
    let daemon = builder.ready().await;
    let task = daemon.run(hook(json!({"x": [1, "ü"]})), "completed").await;
    assert_eq!((&task["attempt"], &task["last_error"]), (&json!(2), &Value::Null));
    let (_, text) = daemon.get(&format!("/api/tasks/{}", task["id"].as_str().unwrap())).await;
    assert_eq!(text["result"], serde_json::from_str::<Value>(r#"{"big": 12345678901234567890, "b": 1.0}"#).unwrap());
    let calls = receiver.calls();
    assert_eq!(calls.len(), 2);
    for (attempt, call) in (1..).zip(&calls) {
        assert_eq!((call.line.as_str(), call.body.as_str()), ("POST /in?v=1", r#"{"x":[1,"ü"]}"#));
        let header = |name: &str| call.headers[name].as_str();
        assert_eq!(header("webhook-id"), task["id"]);
        assert_eq!(header("host"), format!("127.0.0.1:{}", receiver.port));
        assert_eq!(header("content-type"), "application/json");
        assert_eq!(header("user-agent"), format!("taskrunnerx/{}", env!("CARGO_PKG_VERSION")));
        assert_eq!(header("authorization"), "Bearer t0ken");
        assert_eq!((header("taskrunnerx-task-name"), header("taskrunnerx-max-attempts")), ("hook", "2"));
        assert_eq!(header("taskrunnerx-attempt"), attempt.to_string());
        let age = Utc::now().timestamp() - header("webhook-timestamp").parse::<i64>().unwrap();
        assert!((0..120).contains(&age), "{age}");
        assert_eq!(header("webhook-signature"), format!("{} {}", signature(b"new", call), signature(b"old", call)));
    }
}

#[tokio::test]
async fn each_status_ends_its_attempt_as_it_should() {
    let world = World::new().await;
    let receiver = Receiver::start(as_told).await;
    let daemon = start(&world, &receiver, "").await;
    for (status, ended, reason, attempts) in [
        (200, "completed", Value::Null, 1),
        (202, "completed", Value::Null, 1),
        (204, "completed", Value::Null, 1),
        (301, "failed", json!("permanent"), 1),
        (304, "failed", json!("permanent"), 1),
        (307, "failed", json!("permanent"), 1),
        (400, "failed", json!("permanent"), 1),
        (401, "failed", json!("permanent"), 1),
        (404, "failed", json!("permanent"), 1),
        (410, "failed", json!("permanent"), 1),
        (422, "failed", json!("permanent"), 1),
        (499, "failed", json!("permanent"), 1),
        (408, "failed", json!("error"), 2),
        (425, "failed", json!("error"), 2),
        (429, "failed", json!("error"), 2),
        (500, "failed", json!("error"), 2),
        (502, "failed", json!("error"), 2),
        (599, "failed", json!("error"), 2),
        (600, "failed", json!("permanent"), 1),
    ] {
        let body = if matches!(status, 204 | 304) { "" } else { "so\nsaid" };
        let task = daemon.run(hook(json!({"status": status, "body": body})), ended).await;
        assert_eq!((&task["reason"], &task["attempt"]), (&reason, &json!(attempts)), "{status}: {task}");
        match task["last_error"].as_str() {
            None => assert_eq!(task["result"], if status == 204 { Value::Null } else { json!("so\nsaid") }),
            Some(error) => {
                let begin = format!("POST http://127.0.0.1:{} answered {status}", receiver.port);
                assert!(error.starts_with(&begin), "{error}");
                assert!(error.ends_with(": so said") || body.is_empty(), "{error}");
            }
        }
    }
}

#[tokio::test]
async fn a_wait_that_the_receiver_asks_for_takes_the_place_of_the_backoff() {
    let world = World::new().await;
    let receiver = Receiver::start(as_told).await;
    let daemon = start(&world, &receiver, "").await;
    let date = |at: DateTime<Utc>| at.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let begun = Utc::now();
    for (status, headers, wait) in [
        (503, "retry-after: 3600\r\n".to_owned(), TimeDelta::hours(1)),
        (429, format!("retry-after: {}\r\n", date(begun + TimeDelta::hours(2))), TimeDelta::hours(2)),
        // Nobody puts a task off for ever.
        (503, "retry-after: 99999999999999999999\r\n".to_owned(), TimeDelta::hours(24)),
    ] {
        let task = daemon.run(hook(json!({"status": status, "headers": headers})), "scheduled").await;
        let run_at: DateTime<Utc> = task["run_at"].as_str().unwrap().parse().unwrap();
        let off = (run_at - begun - wait).abs();
        assert!(off < TimeDelta::minutes(2), "{headers}: {run_at}");
        assert_eq!(task["attempt"], 1);
    }
    // It is over, or there is none to keep: at once, and after the backoff.
    for headers in ["retry-after: 0\r\n", "retry-after: Sun, 06 Nov 1994 08:49:37 GMT\r\n", "retry-after: soon\r\n"] {
        let task = daemon.run(hook(json!({"status": 503, "headers": headers})), "failed").await;
        assert_eq!((&task["reason"], &task["attempt"]), (&json!("error"), &json!(2)));
    }
}

#[tokio::test]
async fn who_takes_too_long_is_left_and_tried_again() {
    let world = World::new().await;
    let silent = Receiver::start(|_| Answer::Silence).await;
    let half = Receiver::start(|_| Answer::Half).await;
    let mut builder = world.daemon("all");
    builder.env("TASKRUNNERX_HTTP__ALLOW_PRIVATE", "127.0.0.1");
    builder.env("SSL_CERT_FILE", root().join("tests/it/http/authority.pem").to_str().unwrap());
    let (silent_port, half_port) = (silent.port, half.port);
    builder.file(&format!(
        r#"
        [tasks.first]
        http = {{ url = "http://127.0.0.1:{silent_port}", response_timeout = "200ms" }}
        [tasks.whole]
        http = {{ url = "http://127.0.0.1:{half_port}", total_timeout = "200ms" }}
        [tasks.connect]
        http = {{ url = "https://127.0.0.1:{silent_port}", connect_timeout = "200ms" }}
        [tasks.attempt]
        timeout = "200ms"
        http = {{ url = "http://127.0.0.1:{silent_port}" }}
        "#
    ));
    let daemon = builder.ready().await;
    for (name, reason, said) in [
        ("first", "error", "no answer within 200ms (http.response_timeout)"),
        ("whole", "error", "no whole answer within 200ms (http.total_timeout)"),
        ("connect", "error", "no connection within 200ms (http.connect_timeout)"),
        ("attempt", "timeout", "the attempt exceeded its timeout of 200ms"),
    ] {
        let task = daemon.run(json!({"name": name, "max_attempts": 2, "backoff": "1ms"}), "failed").await;
        assert_eq!((&task["reason"], &task["attempt"]), (&json!(reason), &json!(2)), "{name}");
        assert!(task["last_error"].as_str().unwrap().ends_with(said), "{name}: {task}");
    }
    // `connect` sent no request, but no connection of its is left open either.
    eventually("every connection is closed", async || (silent.left() == 4 && half.left() == 2).then_some(())).await;
}

#[tokio::test]
async fn a_cancelled_task_drops_its_call() {
    let world = World::new().await;
    let receiver = Receiver::start(|_| Answer::Silence).await;
    let daemon = start(&world, &receiver, "").await;
    let task = daemon.submit(hook(Value::Null)).await;
    eventually("the call", async || (receiver.calls().len() == 1).then_some(())).await;
    assert_eq!(receiver.left(), 0);
    let (status, _) = daemon.post(&format!("/api/tasks/{}/cancel", task["id"].as_str().unwrap()), &json!({})).await;
    assert_eq!(status, 202);
    eventually("the connection is closed", async || (receiver.left() == 1).then_some(())).await;
    assert_eq!(daemon.until(&task["id"], "cancelled").await["attempt"], 1);
    assert_eq!((receiver.calls().len(), receiver.connections()), (1, 1));
}

#[tokio::test]
async fn of_a_large_body_only_the_limit_is_read_and_kept_as_text() {
    let world = World::new().await;
    let receiver = Receiver::start(|call| match call.body.as_str() {
        "\"endless\"" => Answer::Endless,
        _ => Answer::body(&format!("[{}]", "1,".repeat(600))),
    })
    .await;
    let mut builder = hooked(&world, &format!("http://127.0.0.1:{}", receiver.port), "");
    builder.env("TASKRUNNERX_LIMITS__RESULT", "1000");
    let daemon = builder.ready().await;
    let task = daemon.run(hook(json!("endless")), "completed").await;
    assert_eq!(task["result"], "x".repeat(998));
    eventually("the connection is closed", async || (receiver.left() == 1).then_some(())).await;
    // What the kernel took while nobody read it.
    assert!(receiver.sent() < 32 << 20, "{}", receiver.sent());
    let task = daemon.run(hook(json!("long")), "completed").await;
    assert_eq!(task["result"], format!("[{}", "1,".repeat(600))[..998]);
}

#[tokio::test]
async fn neither_redirects_nor_proxies_lead_anywhere() {
    let world = World::new().await;
    // Even to where a call may go.
    let canary = Receiver::start(|_| Answer::body("here")).await;
    let location = format!("location: http://127.0.0.1:{}/\r\n", canary.port);
    let receiver = Receiver::start(as_told).await;
    let mut builder = hooked(&world, &format!("http://127.0.0.1:{}", receiver.port), "");
    let proxy = format!("http://127.0.0.1:{}", canary.port);
    for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        builder.env(name, &proxy);
    }
    let daemon = builder.ready().await;
    for status in [301, 302, 303, 307, 308] {
        let task = daemon.run(hook(json!({"status": status, "headers": location})), "failed").await;
        assert_eq!((&task["reason"], &task["attempt"]), (&json!("permanent"), &json!(1)));
        assert!(task["last_error"].as_str().unwrap().contains("redirects are not followed"), "{task}");
    }
    assert_eq!((receiver.calls().len(), canary.connections()), (5, 0));
}

#[tokio::test]
async fn a_name_that_stands_for_this_machine_is_called_only_where_it_is_listed() {
    let world = World::new().await;
    let receiver = Receiver::start(|_| Answer::body("here")).await;
    let url = format!("http://localhost:{}", receiver.port);
    let mut builder = hooked(&world, &url, "");
    builder.env("TASKRUNNERX_HTTP__ALLOW_PRIVATE", "10.0.0.0/8");
    let daemon = builder.ready().await;
    let task = daemon.run(hook(Value::Null), "failed").await;
    assert_eq!((&task["reason"], &task["attempt"]), (&json!("permanent"), &json!(1)));
    let error = task["last_error"].as_str().unwrap();
    assert!(error.starts_with(&format!("POST {url}: not called: localhost has an address")), "{error}");
    assert!(error.ends_with(", and http.allow_private does not list it"), "{error}");
    assert_eq!(receiver.connections(), 0);
    drop(daemon);
    let mut builder = hooked(&world, &url, "");
    builder.env("TASKRUNNERX_HTTP__ALLOW_PRIVATE", "localhost");
    let daemon = builder.ready().await;
    assert_eq!(daemon.run(hook(Value::Null), "completed").await["result"], "here");
}

#[tokio::test]
async fn a_configuration_that_must_not_run_names_every_fault_and_no_secret() {
    let world = World::new().await;
    let mut builder = world.daemon("all");
    builder.env("GIVEN", "hunter2");
    builder.file(
        r#"
        [tasks.inside]
        http = { url = "http://169.254.169.254/latest", secret = "${NOT_GIVEN}" }
        [tasks.twice]
        http = { url = "https://example.com/${GIVEN}", headers = { authorization = "${GIVEN}\n" } }
        pull = true
        "#,
    );
    let (code, _, said) = builder.output();
    assert_eq!(code, 2, "{said}");
    for fault in [
        "tasks.inside.http.url (file taskrunnerx.toml): 169.254.169.254 is a link-local address",
        "tasks.inside.http.secret (file taskrunnerx.toml): names ${NOT_GIVEN}, which is not set in the environment",
        "tasks.twice.http.headers.authorization (file taskrunnerx.toml): got a hidden value",
        "tasks.twice.pull (file taskrunnerx.toml): http and pull are given",
    ] {
        assert!(said.contains(fault), "{fault}\n{said}");
    }
    assert!(!said.contains("hunter2"), "{said}");
}

#[tokio::test]
async fn secrets_are_in_no_error_log_or_output() {
    const SECRETS: [&str; 3] = ["hunter2-signs", "hunter2-knocks", "hunter2-path"];
    let world = World::new().await;
    // It says all that it was told.
    let receiver = Receiver::start(|call| {
        Answer::Whole(
            400,
            String::new(),
            format!("{} may not: {}", call.headers["authorization"], call.headers["x-key"]),
        )
    })
    .await;
    let url = format!("http://127.0.0.1:{}/{}", receiver.port, SECRETS[2]);
    let more = r#", secret = "hunter2-signs", headers = { authorization = "Bearer hunter2-knocks", x-key = "${KEY}" }"#;
    let mut builder = hooked(&world, &url, more);
    builder.env("RUST_LOG", "trace").env("KEY", "hunter2-knocks");
    let daemon = builder.ready().await;
    let task = daemon.run(hook(Value::Null), "failed").await;
    assert_eq!(
        task["last_error"],
        format!("POST http://127.0.0.1:{} answered 400 Bad Request: *** may not: ***", receiver.port)
    );
    assert_eq!(receiver.calls()[0].line, "POST /hunter2-path");
    let mut said = daemon.log();
    assert!(said.len() > 10);
    let mut shown = DaemonBuilder::new(&["config"]);
    shown.env("TASKRUNNERX_HTTP__ALLOW_PRIVATE", "127.0.0.1").env("KEY", "hunter2-knocks");
    shown.file(&format!("[tasks.hook]\nhttp = {{ url = \"{url}\"{more} }}\n"));
    let (code, out, err) = shown.output();
    assert_eq!(code, 0, "{err}");
    assert!(out.contains(&format!("http://127.0.0.1:{}/***", receiver.port)), "{out}");
    said.extend([out, err]);
    for secret in SECRETS {
        assert!(said.iter().all(|line| !line.contains(secret)), "{secret}");
    }
}

#[tokio::test]
async fn https_is_spoken_with_who_has_a_certificate_for_the_name() {
    let world = World::new().await;
    let receiver = Receiver::start_tls(|_| Answer::body("\"secret\"")).await;
    let port = receiver.port;
    let start = async |authority: &str| {
        let mut builder = world.daemon("all");
        builder.env("TASKRUNNERX_HTTP__ALLOW_PRIVATE", "127.0.0.0/8,localhost");
        builder.env("SSL_CERT_FILE", root().join("tests/it/http").join(authority).to_str().unwrap());
        let types = [("ip", "127.0.0.1"), ("name", "localhost"), ("other", "127.0.0.2")].map(|(name, host)| {
            format!(
                "[tasks.{name}]\nmax_attempts = 2\nbackoff = \"1ms\"\nhttp = {{ url = \"https://{host}:{port}\" }}\n"
            )
        });
        builder.file(&types.join(""));
        builder.ready().await
    };
    let refused = async |daemon: &Daemon, name: &str, said: &str| {
        let task = daemon.run(json!({"name": name}), "failed").await;
        // It may get another certificate.
        assert_eq!((&task["reason"], &task["attempt"]), (&json!("error"), &json!(2)), "{task}");
        assert!(task["last_error"].as_str().unwrap().contains(said), "{task}");
    };
    let daemon = start("authority.pem").await;
    for name in ["ip", "name"] {
        assert_eq!(daemon.run(json!({"name": name}), "completed").await["result"], "secret");
    }
    refused(&daemon, "other", &format!("no TLS with 127.0.0.2:{port}: invalid peer certificate")).await;
    drop(daemon);
    // It knows another authority only.
    let daemon = start("server.pem").await;
    refused(&daemon, "ip", &format!("no TLS with 127.0.0.1:{port}: invalid peer certificate")).await;
    assert_eq!(receiver.calls().len(), 2);
}

#[tokio::test]
async fn calls_that_follow_each_other_share_a_connection() {
    let world = World::new().await;
    let receiver = Receiver::start(|_| Answer::body("1")).await;
    let daemon = start(&world, &receiver, "").await;
    for _ in 0..20 {
        daemon.run(hook(Value::Null), "completed").await;
    }
    let calls = receiver.calls();
    assert_eq!(calls.len(), 20);
    // A pause between two of them may have been one too long.
    assert!(receiver.connections() <= 3, "{}", receiver.connections());
    assert!(calls.iter().filter(|call| call.connection == 1).count() > 1);
}

#[tokio::test]
async fn a_get_sends_no_payload() {
    let world = World::new().await;
    let receiver = Receiver::start(|_| Answer::status(204)).await;
    let daemon = start(&world, &receiver, r#", method = "GET", secret = "key""#).await;
    daemon.run(hook(json!({"x": 1})), "completed").await;
    let call = receiver.calls().remove(0);
    assert_eq!((call.line.as_str(), call.body.as_str()), ("GET /in?v=1", ""));
    assert_eq!(call.headers["webhook-signature"], signature(b"key", &call));
    assert!(!call.headers.contains_key("content-type"));
}

#[tokio::test]
async fn a_receiver_that_is_away_is_tried_again() {
    let world = World::new().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let daemon = hooked(&world, &format!("http://127.0.0.1:{port}"), "").ready().await;
    let task = daemon.run(hook(Value::Null), "failed").await;
    assert_eq!((&task["reason"], &task["attempt"]), (&json!("error"), &json!(2)));
    let error = task["last_error"].as_str().unwrap();
    let (_, logs) = daemon.get(&format!("/api/tasks/{}/logs", task["id"].as_str().unwrap())).await;
    let logs = logs["logs"].as_array().unwrap();
    assert_eq!(
        (logs.len(), &logs.last().unwrap()["line"]),
        (task["attempt"].as_u64().unwrap() as usize, &task["last_error"])
    );
    assert!(
        error.starts_with(&format!("POST http://127.0.0.1:{port}: no connection to 127.0.0.1:{port}: ")),
        "{error}"
    );
}
