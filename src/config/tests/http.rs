//! `http` of a `[tasks.NAME]`. What its URL may stand for is tested where it is called, in `executor::http`.

use std::time::Duration;

use http::Method;

use super::super::{Executor, HttpCall};
use super::{World, effective, file};

fn call(world: World) -> HttpCall {
    match world.config().tasks.get("x").and_then(|task| task.executor.clone()) {
        Some(Executor::Http(call)) => call,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_call_arrives_whole() {
    let world = file(
        r#"
        [tasks.x]
        max_attempts = 12
        [tasks.x.http]
        url = "https://Hooks.Example.com/in/${TOKEN}?v=1#part"
        method = "PUT"
        secret = ["${file:/run/secrets/new}", "whsec_b2xk"]
        headers = { authorization = "Bearer ${TOKEN}", X-Team = "jobs" }
        connect_timeout = "2s"
        response_timeout = 15
        total_timeout = "5m"
        "#,
    )
    .with("TOKEN", "t0ken")
    .at("/run/secrets/new", "whsec_bmV3\n");
    let config = world.clone().config();
    let call = call(world);
    assert_eq!(call.endpoint.uri, "https://hooks.example.com/in/t0ken?v=1");
    assert_eq!((call.endpoint.port, call.endpoint.https, call.endpoint.to_string()), {
        (443, true, "https://hooks.example.com".to_owned())
    });
    assert_eq!(call.method, Method::PUT);
    assert_eq!(call.keys.iter().map(|key| key.expose()).collect::<Vec<_>>(), [b"new", b"old"]);
    assert_eq!(call.headers.get("authorization").unwrap(), "Bearer t0ken");
    assert_eq!(call.headers.get("x-team").unwrap(), "jobs");
    assert_eq!(
        (call.connect_timeout, call.response_timeout, call.total_timeout),
        (Duration::from_secs(2), Duration::from_secs(15), Duration::from_secs(300))
    );
    for (key, shown) in [
        ("url", "https://hooks.example.com/***"),
        ("method", "PUT"),
        ("secret", "*** (2 secrets)"),
        ("headers", "x-team=***,authorization=***"),
        ("response_timeout", "15s"),
    ] {
        assert_eq!(effective(&config, &format!("tasks.x.http.{key}")).0, shown);
    }
    let said = format!("{config:?} {:?}", config.effective());
    for secret in ["t0ken", "bmV3", "b2xk", "110, 101, 119"] {
        assert!(!said.contains(secret), "{secret}: {said}");
    }
}

#[test]
fn a_call_needs_its_url_alone() {
    let call = call(file("[tasks.x]\nhttp = { url = \"http://example.com:8080\" }"));
    assert_eq!((call.method, call.endpoint.port, call.endpoint.https), (Method::POST, 8080, false));
    assert!(call.keys.is_empty() && call.headers.is_empty());
    assert_eq!(
        (call.connect_timeout, call.response_timeout, call.total_timeout),
        (Duration::from_secs(10), Duration::from_secs(30), Duration::from_secs(60))
    );
}

#[test]
fn calls_refuse_the_rest() {
    const URL: &str = "url = \"http://example.com\"";
    let with = |rest: &str| format!("http = {{ {URL}, {rest} }}");
    for (text, key, said) in [
        ("http = \"http://example.com\"".to_owned(), "http", "takes a table with at least a url"),
        ("http = {}".to_owned(), "http.url", "is missing; takes an http or https URL"),
        ("http = { url = 5 }".to_owned(), "http.url", "got a hidden value; takes an http or https URL"),
        ("http = { url = \"\" }".to_owned(), "http.url", "is no URL"),
        ("http = { url = \"example.com/hook\" }".to_owned(), "http.url", "is no URL"),
        ("http = { url = \"http://\" }".to_owned(), "http.url", "is no URL"),
        ("http = { url = \"http://a b/\" }".to_owned(), "http.url", "has white space in it"),
        ("http = { url = \"http://h:65536/\" }".to_owned(), "http.url", "is no URL"),
        ("http = { url = \"http://1.2.3.4.5/\" }".to_owned(), "http.url", "is no URL"),
        ("http = { url = \"http://[fe80::1%25eth0]/\" }".to_owned(), "http.url", "is no URL"),
        ("http = { url = \"ftp://example.com/\" }".to_owned(), "http.url", "does not start with http:// or https://"),
        ("http = { url = \"file:///etc/passwd\" }".to_owned(), "http.url", "does not start with http:// or https://"),
        ("http = { url = \"http://user@example.com/\" }".to_owned(), "http.url", "holds a user name or a password"),
        ("http = { url = \"http://:pw@example.com/\" }".to_owned(), "http.url", "holds a user name or a password"),
        ("http = { url = \"http://10.0.0.1/\" }".to_owned(), "http.url", "10.0.0.1 is a private address (10.0.0.0/8)"),
        ("http = { url = \"${NOPE}\" }".to_owned(), "http.url", "names ${NOPE}, which is not set in the environment"),
        (with("secret = \"${NOPE}\""), "http.secret", "names ${NOPE}, which is not set in the environment"),
        (with("secret = [\"a\", \"${NOPE}\"]"), "http.secret", "names ${NOPE}, which is not set"),
        (with("secret = \"${file:/none}\""), "http.secret", "names ${file:/none}, which cannot be read"),
        (with("secret = \"\""), "http.secret", "is empty"),
        (with("secret = \"whsec_\""), "http.secret", "is empty"),
        (with("secret = \"whsec_*\""), "http.secret", "has no base64 behind whsec_"),
        (with("secret = []"), "http.secret", "holds none"),
        (with("secret = [\"a\", \"b\", \"c\", \"d\", \"e\"]"), "http.secret", "holds too many"),
        (with("secret = 5"), "http.secret", "got a hidden value; takes a secret"),
        (with("method = \"post\""), "http.method", "takes one of POST, PUT, PATCH, DELETE and GET"),
        (with("method = \"CONNECT\""), "http.method", "takes one of POST"),
        (with("headers = [\"a\"]"), "http.headers", "got a hidden value; takes a table of up to 64 header names"),
        (with("headers = { a = 1 }"), "http.headers.a", "takes a text"),
        (with("headers = { \"a b\" = \"c\" }"), "http.headers.\"a b\"", "is no header name"),
        (with("headers = { a = \"b\\r\\nc: d\" }"), "http.headers.a", "holds a control character"),
        (with("headers = { A = \"1\", a = \"2\" }"), "http.headers.a", "is there twice"),
        (with("headers = { a = \"${NOPE}\" }"), "http.headers.a", "names ${NOPE}, which is not set"),
        (with("headers = { Host = \"h\" }"), "http.headers.Host", "is set by the call itself"),
        (with("headers = { webhook-id = \"1\" }"), "http.headers.webhook-id", "is set by the call itself"),
        (with("headers = { taskrunnerx-x = \"1\" }"), "http.headers.taskrunnerx-x", "is set by the call itself"),
        (with("connect_timeout = 0"), "http.connect_timeout", "takes a duration from 1ms"),
        (with("total_timeout = \"31d\""), "http.total_timeout", "takes a duration from 1ms to 30d"),
        (with("timeout = 5"), "http.timeout", "is not a key; the nearest is `total_timeout`"),
        (
            format!("{}\ncommand = [\"a\"]", with("method = \"PUT\"")),
            "http",
            "command and http are given; takes exactly one",
        ),
        (format!("{}\npull = true", with("method = \"PUT\"")), "pull", "http and pull are given; takes exactly one of"),
        (format!("{}\ncwd = \"/\"", with("method = \"PUT\"")), "cwd", "goes with `command`"),
    ] {
        let faults = file(&format!("[tasks.x]\n{text}")).faults();
        assert_eq!(faults.len(), 1, "{text}: {faults:?}");
        assert!(faults[0].starts_with(&format!("tasks.x.{key} (file taskrunnerx.toml): ")), "{text}: {faults:?}");
        assert!(faults[0].contains(said), "{text}: {faults:?}");
    }
}

#[test]
fn calls_say_all_that_is_wrong_at_once_and_no_secret() {
    let faults = file(
        r#"
        [tasks.a]
        http = { url = "ftp://hunter2@h", secret = "whsec_hunter2!", method = "hunter2x", headers = { a = "hunter2\n", host = "hunter2" }, tiemout = "hunter2" }
        [tasks.b]
        http = { url = "http://169.254.169.254/hunter2", secret = "hunter2${NO}${NEITHER}" }
        command = ["hunter2"]
        "#,
    )
    .faults();
    let keys = ["a.http.url", "a.http.method", "a.http.headers.a", "a.http.headers.host", "a.http.secret"];
    let keys = keys.into_iter().chain(["a.http.tiemout", "b.http.url", "b.http.secret", "b.http.secret", "b.http"]);
    let keys: Vec<String> = keys.map(|key| format!("tasks.{key} (file")).collect();
    assert_eq!(faults.len(), keys.len(), "{faults:#?}");
    assert!(faults.iter().zip(&keys).all(|(fault, key)| fault.starts_with(key.as_str())), "{faults:#?}");
    let method = "hunter2x"; // no place for a secret, and shown
    assert!(!faults.join("\n").replace(method, "").contains("hunter2"), "{faults:#?}");
}
