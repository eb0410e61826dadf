//! The guard against every address that a call must not reach, each beside a listener on this machine that counts who
//! comes (`addresses`); names and connections over a network that is played (`network`); and the parts that need no
//! network. The rest is in `tests/it/http.rs`, over real processes.

mod addresses;
mod network;

use super::sign::Signer;
use super::{Calls, HttpHandler, answer};
use crate::config::{AllowPrivate, Config, Environment, Executor, Flags, HttpCall};
use crate::executor::output;
use crate::executor::{Context, Handler, Silent, TaskError, TaskResult};
use crate::task::{Claimed, TaskId, WorkerId};
use hyper::header::{HeaderMap, HeaderValue};
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The configuration of one type, and its list of private addresses; or all faults.
fn configured(table: &str, allow_private: &str) -> Result<(HttpCall, AllowPrivate), String> {
    let text = format!("[tasks.x]\nhttp = {table}");
    let variables = [("TASKRUNNERX_HTTP__ALLOW_PRIVATE", allow_private)];
    let environment = Environment::new(variables, move |_| Ok(text.clone()));
    let config = Config::load(&Flags::default(), &environment, |_, _| Ok(())).map_err(|error| error.to_string())?.0;
    match config.tasks.get("x").and_then(|task| task.executor.clone()) {
        Some(Executor::Http(call)) => Ok((call, config.http.allow_private)),
        other => panic!("{other:?}"),
    }
}

fn to(url: &str) -> String {
    format!(r#"{{ url = "{url}", connect_timeout = "5s" }}"#)
}

/// Runs one attempt.
async fn attempt(handler: &HttpHandler) -> TaskResult {
    attempt_until(handler, CancellationToken::new()).await
}

/// Runs one attempt that may be stopped.
async fn attempt_until(handler: &HttpHandler, stop: CancellationToken) -> TaskResult {
    let claimed = Claimed {
        id: TaskId(uuid::Uuid::nil()),
        attempt: 1,
        worker: WorkerId::fresh(),
        name: "x".into(),
        queue: "default".into(),
        payload: "{}".into(),
        timeout: Duration::from_secs(60),
        max_attempts: 3,
        run_at: chrono::Utc::now(),
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    let context = Context::new(Arc::new(claimed), deadline, stop, Arc::new(Silent));
    handler.run(context, "{}".into()).await
}
/// A listener on this machine, on IPv4 and IPv6, that counts its connections and answers each with 200 and a word.
struct Canary {
    port: u16,
    came: Arc<AtomicUsize>,
}

impl Canary {
    async fn start() -> Self {
        let v4 = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let port = v4.local_addr().unwrap().port();
        let came = Arc::new(AtomicUsize::new(0));
        // The same port; where there is no IPv6 nothing can be reached over it either.
        let v6 = std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, port)).ok();
        let v6 = v6.map(|listener| {
            listener.set_nonblocking(true).unwrap();
            TcpListener::from_std(listener).unwrap()
        });
        for listener in [Some(v4), v6].into_iter().flatten() {
            let came = Arc::clone(&came);
            tokio::spawn(async move {
                loop {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    came.fetch_add(1, Ordering::SeqCst);
                    tokio::spawn(async move {
                        let mut request = [0; 4096];
                        while stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nhere").await.unwrap();
                        }
                    });
                }
            });
        }
        Self { port, came }
    }

    fn came(&self) -> usize {
        self.came.load(Ordering::SeqCst)
    }
}

fn keys(secret: &str) -> Result<HttpCall, String> {
    configured(&format!(r#"{{ url = "http://example.com", secret = {secret} }}"#), "").map(|(call, _)| call)
}

/// The example that Standard Webhooks publishes.
const EXAMPLE: (&str, &str, &[u8]) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", br#"{"test": 2432232314}"#);
const EXAMPLE_KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const EXAMPLE_SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

#[test]
fn signs_as_the_published_example_does() {
    let (id, timestamp, body) = EXAMPLE;
    let sign = |secret: &str| Signer::new(&keys(secret).unwrap().keys).unwrap().sign(id, timestamp, body);
    assert_eq!(sign(&format!("\"{EXAMPLE_KEY}\"")), EXAMPLE_SIGNATURE);
    // Without the prefix, the text's own bytes are the key.
    let plain = "v1,gke7k785FD6W2FuaDcrvG3sQcmFE9YVaaAmarK4oi68=";
    assert_eq!(sign("\"plain secret\""), plain);
    assert_eq!(sign(&format!(r#"["plain secret", "{EXAMPLE_KEY}"]"#)), format!("{plain} {EXAMPLE_SIGNATURE}"));
    // Base64 with its padding and without.
    assert_eq!(sign("\"whsec_cGxhaW4gc2VjcmV0\""), plain);
    assert_eq!(sign("\"whsec_YQ==\""), sign("\"whsec_YQ\""));
    assert_eq!(sign("\"whsec_YQ==\""), sign("\"a\""));
}

#[test]
fn retry_after_is_a_number_of_seconds_or_a_date() {
    let now = UNIX_EPOCH + Duration::from_secs(784_111_777); // Sun, 06 Nov 1994 08:49:37 GMT
    let wait = |text: &'static str, date: Option<&'static str>| {
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", HeaderValue::from_static(text));
        headers.extend(date.map(|date| (hyper::header::DATE, HeaderValue::from_static(date))));
        answer::retry_after(&headers, now).map(|wait| wait.as_secs())
    };
    for (text, seconds) in [
        ("0", Some(0)),
        ("120", Some(120)),
        (" 7 ", Some(7)),
        ("99999999999999999999999", Some(u64::MAX)),
        ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
        ("Sunday, 06-Nov-94 08:50:37 GMT", Some(60)),
        ("Sun Nov  6 08:50:37 1994", Some(60)),
        ("Sun, 06 Nov 1994 08:40:37 GMT", Some(0)),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
    ] {
        assert_eq!(wait(text, None), seconds, "{text}");
    }
    // Their clock is an hour ahead.
    let theirs = Some("Sun, 06 Nov 1994 09:49:37 GMT");
    assert_eq!(wait("Sun, 06 Nov 1994 09:50:37 GMT", theirs), Some(60));
    assert_eq!(answer::retry_after(&HeaderMap::new(), SystemTime::now()), None);
}

#[test]
fn a_body_becomes_json_and_never_more_than_its_limit() {
    for (body, cut, max, result) in [
        (&b""[..], false, 100, None),
        (b" \r\n", false, 100, None),
        (b"{\"a\": 1.0, \"b\":12345678901234567890}\n", false, 100, Some("{\"a\": 1.0, \"b\":12345678901234567890}")),
        (b"null", false, 100, Some("null")),
        (b"done", false, 100, Some("\"done\"")),
        (b"say \"hi\"\n", false, 100, Some("\"say \\\"hi\\\"\\n\"")),
        (b"\xff\xfe", false, 100, Some("\"\u{fffd}\u{fffd}\"")),
        // Cut JSON is no JSON, and cut in a character loses that.
        (b"[1,2,3", true, 6, Some("\"[1,2\"")),
        (b"1234", true, 4, Some("\"12\"")),
        ("ab\u{e4}".as_bytes(), false, 6, Some("\"ab\u{e4}\"")),
        ("ab\u{e4}".as_bytes(), false, 5, Some("\"ab\"")),
        (b"ab\xc3", true, 100, Some("\"ab\"")),
        // What JSON escapes takes more room than it had.
        (b"\"\"\"\"", false, 6, Some("\"\\\"\\\"\"")),
        (b"\x01\x01", false, 8, Some("\"\\u0001\"")),
        (b"\x01\x01", false, 7, Some("\"\"")),
        (b"x", false, 1, None),
    ] {
        let made = output::result(body, cut, max);
        assert_eq!(made.as_deref(), result, "{body:?}");
        assert!(made.is_none_or(|text| text.len() <= max), "{body:?}");
    }
}
