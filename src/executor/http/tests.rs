//! The guard against every address that a call must not reach, each beside a listener on this machine that counts who
//! comes; and the parts that need no network. The rest is in `tests/it/http.rs`, over real processes.

use super::guard::Network;
use super::sign::Signer;
use super::{Calls, HttpHandler, answer};
use crate::config::{AllowPrivate, Config, Environment, Executor, Flags, HttpCall};
use crate::executor::output;
use crate::executor::{Context, Handler, Silent, TaskError, TaskResult};
use crate::task::{Claimed, TaskId, WorkerId};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use hyper::header::{HeaderMap, HeaderValue};
use std::collections::VecDeque;
use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
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

/// Every host that must not be called, as somebody might write it. Most of them are this machine's loopback or reach
/// it on Linux: a guard that misses one is told on by the canary.
const LITERALS: [&str; 93] = [
    // 127.0.0.1, in every way that a URL knows.
    "127.0.0.1",
    "127.0.0.1.",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0X7F000001",
    "0x7f.0.0.1",
    "0x7f.1",
    "0x7f.0x0.0x0.0x1",
    "017700000001",
    "0177.0.0.1",
    "0177.0.0.01",
    "0177.0x0.1",
    "0000177.0.0.1",
    "127.0.0.0x1",
    "127.000.000.001",
    "%31%32%37.0.0.1",
    "127%2e0%2e0%2e1",
    "127。0。0。1",
    "１２７．０．０．１",
    "①②⑦.⓪.⓪.①",
    "𝟏𝟐𝟕.𝟎.𝟎.𝟏",
    "127.255.255.254",
    "127.127.127.127",
    "0",
    "0.0.0.0",
    "0x0",
    "00",
    "0.0.0.1",
    "0.255.255.255",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[0000:0000:0000:0000:0000:0000:0000:0001]",
    "[::0001]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::FFFF:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[0:0:0:0:0:ffff:7f00:0001]",
    "[::ffff:0.0.0.0]",
    "[::127.0.0.1]",
    "[::7f00:1]",
    "[::ffff:0:127.0.0.1]",
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b:1::1]",
    "[64:ff9b:1:ffff::8.8.8.8]",
    "[2002:7f00:1::]",
    "[2002:808:808::1]",
    "[2001:0:4136:e378:8000:63bf:3fff:fdd2]",
    "[2001::1]",
    // Networks of one's own.
    "10.0.0.1",
    "10.255.255.255",
    "167772161",
    "0xa.0.0.1",
    "012.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.0.1",
    "0xc0a80001",
    "[::ffff:10.0.0.1]",
    "[64:ff9b::10.0.0.1]",
    "100.64.0.1",
    "100.127.255.255",
    "[fc00::1]",
    "[fdff:ffff::1]",
    // Metadata services.
    "169.254.169.254",
    "0xa9fea9fe",
    "2852039166",
    "0251.0376.0251.0376",
    "169.254.170.2",
    "[::ffff:169.254.169.254]",
    "[64:ff9b::a9fe:a9fe]",
    "[fd00:ec2::254]",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "[fe80::1]",
    "[febf::1]",
    "[fec0::1]",
    // What nobody has.
    "192.0.2.1",
    "198.51.100.7",
    "203.0.113.255",
    "198.18.0.1",
    "198.19.255.255",
    "192.88.99.1",
    "224.0.0.1",
    "255.255.255.255",
    "240.0.0.1",
    "[ff02::1]",
    "[2001:db8::1]",
    "[100::1]",
];

#[tokio::test]
async fn no_spelling_of_an_address_that_is_not_public_starts_or_is_called() {
    let canary = Canary::start().await;
    for host in LITERALS {
        let table = to(&format!("http://{host}:{}/", canary.port));
        let faults = configured(&table, "").expect_err(host);
        assert!(faults.starts_with("tasks.x.http.url (file taskrunnerx.toml): "), "{host}: {faults}");
        assert!(faults.contains(" and http.allow_private does not list it"), "{host}: {faults}");
        assert_eq!(faults.lines().count(), 1, "{host}: {faults}");

        // Were it to start, the guard at the connection would still stand.
        let (call, _) = configured(&table, "0.0.0.0/0, ::/0").expect(host);
        let handler = Calls::new(AllowPrivate::default(), 1024).handler("x", &call).unwrap();
        let ended = attempt(&handler).await;
        let Err(TaskError::Permanent(said)) = ended else { panic!("{host}: {ended:?}") };
        assert!(said.contains("http.allow_private"), "{host}: {said}");
    }
    assert_eq!(canary.came(), 0);

    // The canary sees who comes.
    let (call, allowed) = configured(&to(&format!("http://0x7f.1:{}/", canary.port)), "127.0.0.0/8").unwrap();
    let handler = Calls::new(allowed, 1024).handler("x", &call).unwrap();
    assert_eq!(attempt(&handler).await, Ok(Some("\"here\"".into())));
    assert_eq!(canary.came(), 1);
}

#[test]
fn public_addresses_may_be_called() {
    for host in [
        "1.1.1.1",
        "8.8.8.8",
        "0x08080808",
        "11.0.0.1",
        "100.63.255.255",
        "100.128.0.1",
        "126.255.255.255",
        "128.0.0.1",
        "169.253.1.1",
        "172.15.255.255",
        "172.32.0.1",
        "192.167.1.1",
        "192.0.1.1",
        "198.17.255.255",
        "198.20.0.1",
        "223.255.255.255",
        "[2606:4700:4700::1111]",
        "[2a00:1450::1]",
        "[2001:200::1]",
        "[2001:4860:4860::8888]",
        "[2003::1]",
        "[::ffff:8.8.8.8]",
        "[64:ff9b::8.8.8.8]",
        "example.com",
    ] {
        configured(&to(&format!("https://{host}/")), "").expect(host);
    }
}

#[test]
fn what_is_listed_may_be_called_and_nothing_else() {
    for (list, host, allowed) in [
        ("10.1.2.3", "10.1.2.3", true),
        ("10.1.2.3", "0x0a.1.2.3", true),
        ("10.1.2.3", "[::ffff:10.1.2.3]", true),
        ("::ffff:10.1.2.3", "10.1.2.3", true),
        ("::ffff:10.0.0.0/104", "10.1.2.3", true),
        ("0x0a.1.2.3", "10.1.2.3", true),
        ("10.1.2.3", "10.1.2.4", false),
        ("10.1.0.0/16, 192.168.7.0/24", "192.168.7.255", true),
        ("10.1.0.0/16, 192.168.7.0/24", "192.168.8.0", false),
        ("10.1.0.0/16", "[64:ff9b::10.1.0.1]", false),
        ("64:ff9b::/96", "[64:ff9b::10.1.0.1]", true),
        ("fd00::/8", "[fd12::1]", true),
        ("fd00::/8", "[fc12::1]", false),
        ("[::1]", "[::1]", true),
        ("billing.internal", "10.1.2.3", false),
        ("0.0.0.0/0", "127.0.0.1", true),
        ("0.0.0.0/0", "[::1]", false),
    ] {
        assert_eq!(configured(&to(&format!("http://{host}/")), list).is_ok(), allowed, "{list} {host}");
    }
    for list in ["10.0.0.0/33", "10.0.0.0/", "a b", "*", "*.internal", "http://10.0.0.1", "10.0.0.1:80", "::1/129", "."]
    {
        let faults = configured(&to("http://example.com/"), list).expect_err(list);
        assert!(faults.contains("which is neither; takes a list of addresses, networks and host names"), "{faults}");
    }
}

/// A resolver that says the next thing each time, and a network on which one public address is this machine's.
struct Played {
    answers: Mutex<VecDeque<Vec<&'static str>>>,
    connected: Mutex<Vec<SocketAddr>>,
    server: u16,
}

impl Played {
    fn new(server: u16, answers: &[&[&'static str]]) -> Arc<Self> {
        let answers = Mutex::new(answers.iter().map(|answer| answer.to_vec()).collect());
        Arc::new(Self { answers, connected: Mutex::default(), server })
    }

    fn connected(&self) -> Vec<String> {
        self.connected.lock().unwrap().iter().map(|address| address.ip().to_string()).collect()
    }
}

const PUBLIC: &str = "93.184.215.14";
const DEAD: &str = "93.184.215.15";

impl Network for Played {
    fn look_up(&self, _: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        let answer = match self.answers.lock().unwrap().pop_front() {
            Some(answer) => Ok(answer.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), port)).collect()),
            None => Err(io::Error::other("asked once more than there are answers")),
        };
        std::future::ready(answer).boxed()
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<TcpStream>> {
        self.connected.lock().unwrap().push(address);
        let server = self.server;
        async move {
            match address.ip().to_string().as_str() {
                PUBLIC => TcpStream::connect(("127.0.0.1", server)).await,
                DEAD => std::future::pending().await,
                // The real way, for what the guard lets through.
                _ => TcpStream::connect(address).await,
            }
        }
        .boxed()
    }
}

/// A server on the played network that takes one call a connection.
async fn closing_server(answer: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await.unwrap();
            stream.write_all(answer).await.unwrap();
        }
    });
    port
}

fn over(network: &Arc<Played>, port: u16, allow_private: &str) -> HttpHandler {
    let (call, allowed) = configured(&to(&format!("http://hooks.example.com:{port}/")), allow_private).unwrap();
    let network: Arc<dyn Network> = Arc::<Played>::clone(network);
    Calls::new(allowed, 1024).handler_over("x", &call, network).unwrap()
}

const DONE: &[u8] = b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn a_name_that_turns_to_loopback_is_refused_and_loopback_is_never_connected_to() {
    let canary = Canary::start().await;
    let server = closing_server(DONE).await;
    let network = Played::new(server, &[&[PUBLIC], &["127.0.0.1"], &[PUBLIC]]);
    let handler = over(&network, canary.port, "");
    // The one answer is both checked and connected to: nobody asks again in between.
    assert_eq!(attempt(&handler).await, Ok(None));
    assert_eq!(network.connected(), [PUBLIC]);
    let Err(TaskError::Permanent(said)) = attempt(&handler).await else { panic!("it was called") };
    assert_eq!(
        said,
        format!(
            "POST http://hooks.example.com:{}: not called: hooks.example.com has an address that tasks may not call: \
             127.0.0.1 is a loopback address (127.0.0.0/8), and http.allow_private does not list it",
            canary.port
        )
    );
    assert_eq!(attempt(&handler).await, Ok(None));
    assert_eq!(network.connected(), [PUBLIC, PUBLIC]);
    assert_eq!(canary.came(), 0);
}

#[tokio::test]
async fn one_private_address_among_public_ones_condemns_the_name() {
    let canary = Canary::start().await;
    let answers: [&[&str]; 4] =
        [&[PUBLIC, "127.0.0.1"], &["::1", PUBLIC], &["::ffff:127.0.0.1"], &[PUBLIC, "64:ff9b::7f00:1"]];
    let network = Played::new(canary.port, &answers);
    let handler = over(&network, canary.port, "");
    for answer in answers {
        let ended = attempt(&handler).await;
        assert!(matches!(ended, Err(TaskError::Permanent(_))), "{answer:?}: {ended:?}");
    }
    assert_eq!((canary.came(), network.connected()), (0, Vec::new()));
}

#[tokio::test]
async fn a_listed_name_may_stand_for_a_private_address() {
    let canary = Canary::start().await;
    for (list, called) in [
        ("HOOKS.example.com.", true),
        ("127.0.0.1", true),
        ("example.com", false),
        ("xhooks.example.com", false),
        ("127.0.0.2", false),
    ] {
        let network = Played::new(0, &[&["127.0.0.1"]]);
        assert_eq!(attempt(&over(&network, canary.port, list)).await.is_ok(), called, "{list}");
    }
    assert_eq!(canary.came(), 2);
}

#[tokio::test]
async fn a_redirect_leads_nowhere() {
    let canary = Canary::start().await;
    let location = format!("http://127.0.0.1:{}/", canary.port);
    for status in [301, 302, 303, 307, 308] {
        let answer =
            format!("HTTP/1.1 {status} X\r\nlocation: {location}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        let server = closing_server(answer.leak().as_bytes()).await;
        let network = Played::new(server, &[&[PUBLIC]]);
        let Err(TaskError::Permanent(said)) = attempt(&over(&network, 80, "")).await else { panic!("{status}") };
        assert!(said.contains(&status.to_string()) && said.contains("redirects are not followed"), "{said}");
    }
    assert_eq!(canary.came(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_address_that_does_not_answer_leaves_time_for_the_next() {
    let server = closing_server(DONE).await;
    let network = Played::new(server, &[&[DEAD, PUBLIC], &[DEAD, DEAD], &[]]);
    let handler = over(&network, 80, "");
    assert_eq!(attempt(&handler).await, Ok(None));
    assert_eq!(network.connected(), [DEAD, PUBLIC]);
    for said in ["no connection", "hooks.example.com has no address", "cannot be looked up: asked once more"] {
        let ended = attempt(&handler).await;
        assert!(matches!(&ended, Err(TaskError::Retryable(text)) if text.contains(said)), "{said}: {ended:?}");
    }
}

#[tokio::test]
async fn a_stop_ends_the_attempt_and_closes_its_connection_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let network = Played::new(listener.local_addr().unwrap().port(), &[&[PUBLIC]]);
    let (handler, stop) = (over(&network, 80, ""), CancellationToken::new());
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
        stop.cancel();
        // The rest of the request may come, and then the end.
        while stream.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {}
    };
    let (ended, ()) = tokio::join!(attempt_until(&handler, stop.clone()), server);
    assert_eq!(ended, Err(TaskError::retryable("stopped before the answer was there")));
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
