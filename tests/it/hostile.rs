//! Clients that mean harm, or are broken in a way that looks like it: each gets an answer or is hung up on, and
//! nobody else notices.

use crate::harness::{Daemon, LIMIT, World, eventually};
use futures_util::future::join_all;
use mysql_async::prelude::Queryable;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An answer to somebody else may take so long meanwhile: a loaded machine is slow.
const AT_ONCE: Duration = Duration::from_secs(5);
/// What all of them together may cost the process.
const SPARE_BYTES: f64 = 96e6;
const MIB: usize = 1 << 20;

async fn connect(daemon: &Daemon) -> TcpStream {
    TcpStream::connect(daemon.url.strip_prefix("http://").unwrap()).await.unwrap()
}

/// All that comes back until the server hangs up.
async fn until_closed(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    // A reset is one way to hang up.
    let _ = tokio::time::timeout(LIMIT, stream.read_to_end(&mut answer)).await.expect("it hangs up");
    String::from_utf8_lossy(&answer).into_owned()
}

/// Sends these bytes, as far as they are taken; gives all that comes back until the server hangs up.
async fn wire(daemon: &Daemon, bytes: &[u8]) -> String {
    let mut stream = connect(daemon).await;
    let _ = stream.write_all(bytes).await;
    until_closed(&mut stream).await
}

/// The statuses of the answers in what came back.
fn statuses(text: &str) -> Vec<u16> {
    text.match_indices("HTTP/1.1 ").map(|(at, word)| text[at + word.len()..][..3].parse().unwrap()).collect()
}

async fn memory(daemon: &Daemon) -> f64 {
    daemon.metric("process_resident_memory_bytes").await
}

/// It answers others at once, and nothing in it broke.
async fn assert_well(daemon: &Daemon) {
    let began = Instant::now();
    assert_eq!(daemon.get("/api/tasks").await.0, 200);
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    assert_eq!(daemon.logged("panicked"), 0, "{:#?}", daemon.log());
}

/// A submission into the queue `smuggled`.
const HIDDEN: &str = "POST /api/tasks HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
     content-length: 36\r\nconnection: close\r\n\r\n{\"name\":\"noop\",\"queue\":\"smuggled\"}  ";
/// Begins a submission; headers follow.
const POST: &str = "POST /api/tasks HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
const BODY: &str = "{\"name\":\"noop\"}";

#[tokio::test(flavor = "multi_thread")]
async fn where_a_request_ends_is_never_in_doubt() {
    let world = World::new().await;
    let daemon = world.daemon("api").ready().await;
    let chunked = format!("f\r\n{BODY}\r\n0\r\n\r\n");
    let headers: &[(&str, &str)] = &[
        ("both lengths", "content-length: 5\r\ntransfer-encoding: chunked\r\n"),
        ("both lengths, the other way", "transfer-encoding: chunked\r\ncontent-length: 5\r\n"),
        ("two lengths", "content-length: 15\r\ncontent-length: 16\r\n"),
        ("two equal lengths", "content-length: 15\r\ncontent-length: 15\r\n"),
        ("a list of lengths", "content-length: 15, 15\r\n"),
        ("a length with a sign", "content-length: +15\r\n"),
        ("a length below nothing", "content-length: -1\r\n"),
        ("a length in hexadecimal", "content-length: 0xf\r\n"),
        ("a length beyond all numbers", "content-length: 99999999999999999999999\r\n"),
        ("an encoding that is none", "transfer-encoding: xchunked\r\n"),
        ("an encoding in quotes", "transfer-encoding: \"chunked\"\r\n"),
        ("an encoding with a control character", "transfer-encoding: chunked\x0b\r\n"),
        ("chunked, but not last", "transfer-encoding: chunked, identity\r\n"),
        ("chunked twice", "transfer-encoding: chunked, chunked\r\n"),
        ("compressed and chunked", "transfer-encoding: gzip, chunked\r\n"),
        ("two encodings", "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n"),
        ("a space before the colon of the length", "content-length : 15\r\n"),
        ("a space before the colon of the encoding", "transfer-encoding : chunked\r\n"),
        ("a length behind a bare CR", "x: y\rcontent-length: 15\r\n"),
        ("a length on a folded line", "x: y\r\n content-length: 15\r\n"),
        ("a NUL", "x: y\0z\r\ncontent-length: 15\r\n"),
        ("two hosts", "host: localhost\r\ncontent-length: 15\r\n"),
    ];
    for (what, headers) in headers {
        for body in [BODY, &chunked] {
            let answer = wire(&daemon, format!("{POST}{headers}\r\n{body}{HIDDEN}").as_bytes()).await;
            assert_eq!(statuses(&answer), [400], "{what}: {answer}");
        }
    }
    let chunks: &[(&str, String)] = &[
        ("a size below nothing", format!("-1\r\n{BODY}\r\n0\r\n\r\n")),
        ("a size beyond all numbers", format!("fffffffffffffffff\r\n{BODY}\r\n0\r\n\r\n")),
        ("a size that is none", format!("g\r\n{BODY}\r\n0\r\n\r\n")),
        ("bare line ends", format!("f\n{BODY}\n0\n\n")),
        ("an extension with a bare line end", format!("f;a=b\n{BODY}\r\n0\r\n\r\n")),
        ("a chunk longer than its size", format!("e\r\n{BODY}\r\n0\r\n\r\n")),
    ];
    for (what, body) in chunks {
        let answer = wire(&daemon, format!("{POST}transfer-encoding: chunked\r\n\r\n{body}{HIDDEN}").as_bytes()).await;
        assert!(statuses(&answer).iter().all(|status| *status == 400), "{what}: {answer}");
    }
    let old =
        format!("POST /api/tasks HTTP/1.0\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n{chunked}{HIDDEN}");
    assert_eq!(statuses(&wire(&daemon, old.as_bytes()).await), [400]);
    let mut sql = world.sql().await;
    let mut rows = async || -> u64 { sql.query_first("SELECT COUNT(*) FROM tasks").await.unwrap().unwrap() };
    assert_eq!(rows().await, 0, "something was smuggled");
    // What is beyond doubt is answered, with what follows it.
    for headers in
        ["content-length: 15\r\n\r\n".to_owned() + BODY, "transfer-encoding: chunked\r\n\r\n".to_owned() + &chunked]
    {
        let answer = wire(&daemon, format!("{POST}{headers}{HIDDEN}").as_bytes()).await;
        assert_eq!(statuses(&answer), [201, 201], "{answer}");
    }
    // A body that nobody reads is no request either.
    let get = format!("GET /livez HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{HIDDEN}", HIDDEN.len());
    let answer =
        wire(&daemon, format!("{get}GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").as_bytes())
            .await;
    assert!(statuses(&answer).iter().all(|status| *status == 200), "{answer}");
    assert_eq!(rows().await, 4);
    assert_well(&daemon).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_request_or_too_much_of_one_is_refused_and_hung_up_on() {
    let world = World::new().await;
    let daemon = world.daemon("api").ready().await;
    assert_well(&daemon).await;
    let before = memory(&daemon).await;
    let get = "GET /livez HTTP/1.1\r\nhost: localhost\r\n";
    let long = "a".repeat(200_000);
    let many: String = (0..200).map(|n| format!("x{n}: y\r\n")).collect();
    let tables: &[(u16, &str, String)] = &[
        (431, "a long target", format!("GET /{long} HTTP/1.1\r\nhost: localhost\r\n\r\n")),
        (431, "a long header", format!("{get}x: {long}\r\n\r\n")),
        (431, "many headers", format!("{get}{many}\r\n")),
        (431, "headers without an end", format!("{get}{}", "x: y\r\n".repeat(100_000))),
        (400, "a space before the method", format!(" {get}\r\n")),
        (400, "another protocol", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned()),
        (400, "no version", "GET /livez\r\n\r\n".to_owned()),
        (400, "a version that there is not", "GET /livez HTTP/1.2\r\nhost: localhost\r\n\r\n".to_owned()),
    ];
    for _ in 0..5 {
        for (status, what, bytes) in tables {
            let answer = wire(&daemon, bytes.as_bytes()).await;
            // Whoever goes on sending may see a reset before the answer.
            let refused = statuses(&answer);
            assert!(refused == [*status] || (refused.is_empty() && bytes.len() > 100_000), "{what}: {answer}");
        }
    }
    let mut noise: Vec<u8> = (0..=255).collect();
    noise.extend_from_slice(b"\r\n\r\n");
    assert_eq!(statuses(&wire(&daemon, &noise).await), [400]);
    let mut hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec();
    hello.extend_from_slice(&[b'a'; 500]);
    assert_eq!(statuses(&wire(&daemon, &hello).await), [400], "TLS where there is none");
    assert_well(&daemon).await;
    assert!(memory(&daemon).await - before < SPARE_BYTES);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_limit_is_refused_however_it_comes() {
    let world = World::new().await;
    let daemon = world.daemon("api").ready().await;
    assert_well(&daemon).await;
    let before = memory(&daemon).await;
    // By what it announces, before any of it is sent.
    let announced = format!("{POST}content-length: 999999999\r\nexpect: 100-continue\r\n\r\n");
    let answers = join_all((0..20).map(|_| wire(&daemon, announced.as_bytes()))).await;
    for answer in answers {
        assert!(statuses(&answer).contains(&413), "{answer}");
    }
    // By what comes, where nothing was announced, and only as far as it may go.
    let endless = async {
        let mut stream = connect(&daemon).await;
        stream.write_all(format!("{POST}transfer-encoding: chunked\r\n\r\n").as_bytes()).await.unwrap();
        let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x1_0000));
        let mut sent = 0;
        let (mut from, mut to) = stream.split();
        let sending = async {
            while to.write_all(chunk.as_bytes()).await.is_ok() && sent < 1 << 30 {
                sent += 0x1_0000;
            }
        };
        let mut answer = Vec::new();
        let reading = async {
            let mut piece = [0; 4096];
            while !answer.ends_with(b"}") {
                match from.read(&mut piece).await {
                    Ok(count) if count > 0 => answer.extend_from_slice(&piece[..count]),
                    _ => break,
                }
            }
        };
        tokio::time::timeout(LIMIT, async {
            tokio::select! { () = sending => {}, () = reading => {} }
        })
        .await
        .expect("an end");
        (sent, String::from_utf8_lossy(&answer).into_owned())
    };
    let (sent, answer) = endless.await;
    assert!(answer.is_empty() || statuses(&answer) == [413], "{answer}");
    assert!(sent < 64 * MIB, "{sent} bytes were taken");
    assert_well(&daemon).await;
    assert!(memory(&daemon).await - before < SPARE_BYTES);
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_bodies_are_refused_and_deep_ones_are_only_text() {
    let world = World::new().await;
    let daemon = world.daemon("api").ready().await;
    assert_well(&daemon).await;
    let before = memory(&daemon).await;
    let post = async |encoding: &str, body: Vec<u8>| {
        let request =
            daemon.client.post(format!("{}/api/tasks", daemon.url)).header("content-type", "application/json");
        let answer = request.header("content-encoding", encoding).body(body).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json::<Value>().await.unwrap())
    };
    // As a bomb would begin: ten bytes of head, and a promise.
    let bomb = [&b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff"[..], &[0xed; 50_000]].concat();
    for encoding in ["gzip", "deflate", "br", "zstd", "identity, gzip", "GZIP", ""] {
        let (status, problem) = post(encoding, bomb.clone()).await;
        assert_eq!(status, 415, "{encoding}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains("Content-Encoding"), "{problem}");
    }
    assert_eq!(post("identity", BODY.into()).await.0, 201);
    let depth = 400_000;
    let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let objects = format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
    for (payload, expected) in [(&deep, 201), (&objects, 201)] {
        let (status, task) = {
            let body = format!("{{\"name\":\"noop\",\"payload\":{payload}}}");
            let request =
                daemon.client.post(format!("{}/api/tasks", daemon.url)).header("content-type", "application/json");
            let answer = request.body(body).send().await.unwrap();
            (answer.status().as_u16(), answer.text().await.unwrap())
        };
        assert_eq!(status, expected, "{task:.300}");
        assert!(task.contains(payload.as_str()), "it comes back as it was");
    }
    for body in [
        deep.clone(),
        format!("{{\"name\":\"noop\",\"metadata\":{deep}}}"),
        format!("{{\"name\":{deep}}}"),
        format!("{{\"name\":\"noop\",\"tags\":{deep}}}"),
        format!("{{\"name\":\"noop\",\"backoff\":{deep}}}"),
        format!("{{\"name\":\"noop\",\"delay\":{deep}}}"),
        format!("{{\"name\":\"noop\",\"unknown\":{deep}}}"),
        "[".repeat(MIB),
        "{\"a\":".repeat(100_000),
        format!("{{\"name\":\"noop\",\"payload\":{}", "[".repeat(depth)),
    ] {
        let (status, problem) = post("identity", body.into_bytes()).await;
        assert!([400, 422].contains(&status), "{status}: {problem}");
    }
    let (status, problem) = daemon.post("/api/tasks/bulk", &json!({"tasks": 1})).await;
    assert_eq!(status, 422, "{problem}");
    assert_well(&daemon).await;
    assert!(memory(&daemon).await - before < SPARE_BYTES);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_slowly_is_hung_up_on_and_holds_up_nobody() {
    let world = World::new().await;
    let daemon = world.daemon("api").ready().await;
    assert_well(&daemon).await;
    let before = memory(&daemon).await;
    let trickle = async |head: String, byte: &[u8]| {
        let mut stream = connect(&daemon).await;
        stream.write_all(head.as_bytes()).await.unwrap();
        let (mut from, mut to) = stream.split();
        let mut answer = Vec::new();
        let reading = async {
            let _ = from.read_to_end(&mut answer).await;
        };
        let writing = async {
            while to.write_all(byte).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
            std::future::pending::<()>().await;
        };
        let both = async {
            tokio::select! { () = reading => {}, () = writing => {} }
        };
        tokio::time::timeout(LIMIT, both).await.expect("it hangs up");
        String::from_utf8_lossy(&answer).into_owned()
    };
    // A byte now and then is no progress.
    let heads = join_all((0..100).map(|_| trickle("GET /livez HTTP/1.1\r\nhost: ".to_owned(), b"a")));
    let body = format!("{POST}content-length: 100000\r\n\r\n");
    let bodies = join_all((0..100).map(|_| trickle(body.clone(), b" ")));
    let chunks = format!("{POST}transfer-encoding: chunked\r\n\r\n");
    let chunks = join_all((0..100).map(|_| trickle(chunks.clone(), b"1\r\n \r\n")));
    // Answered at once, and not read any further.
    let refused = "POST /nothing HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n";
    let refused = join_all((0..10).map(|_| trickle(refused.to_owned(), b"1\r\n \r\n")));
    let silent = join_all((0..100).map(|_| trickle(String::new(), b"")));
    let over = tokio::sync::Notify::new();
    let others = async {
        let mut asked = 0;
        loop {
            tokio::select! {
                () = over.notified() => return asked,
                () = tokio::time::sleep(Duration::from_millis(200)) => {
                    assert_well(&daemon).await;
                    asked += 1;
                }
            }
        }
    };
    let all = async {
        let all = tokio::join!(heads, bodies, chunks, refused, silent);
        over.notify_one();
        all
    };
    let ((heads, bodies, chunks, refused, silent), asked) = tokio::join!(all, others);
    assert!(asked > 10, "others were served {asked} times meanwhile");
    for answer in heads.iter().chain(&bodies).chain(&chunks) {
        assert_eq!(statuses(answer), [408], "{answer}");
    }
    assert!(refused.iter().all(|answer| statuses(answer) == [404]), "{}", refused[0]);
    assert!(silent.iter().all(|answer| statuses(answer) == [408] || answer.is_empty()), "{}", silent[0]);
    assert!(bodies[0].contains("came too slowly"), "{}", bodies[0]);
    assert!(memory(&daemon).await - before < SPARE_BYTES);
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_half_closed_and_idle_connections_are_served_or_dropped() {
    let world = World::new().await;
    let daemon = world.daemon("api").ready().await;
    assert_well(&daemon).await;
    let before = memory(&daemon).await;
    // Fifty in one go, answered in order.
    let get =
        |n: usize, last: &str| format!("GET /livez HTTP/1.1\r\nhost: localhost\r\nx-request-id: n{n}\r\n{last}\r\n");
    let all: String = (0..50).map(|n| get(n, if n == 49 { "connection: close\r\n" } else { "" })).collect();
    let answer = wire(&daemon, all.as_bytes()).await;
    let ids: Vec<&str> = answer.lines().filter_map(|line| line.strip_prefix("x-request-id: ")).collect();
    assert_eq!(ids, (0..50).map(|n| format!("n{n}")).collect::<Vec<_>>());
    // Whoever hangs up in the middle of a request is gone.
    for bytes in [format!("{POST}content-length: 15\r\n\r\n{{\"na"), POST.to_owned(), String::new()] {
        let mut stream = connect(&daemon).await;
        stream.write_all(bytes.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        assert!(!statuses(&until_closed(&mut stream).await).contains(&201));
    }
    // Who has been served may stay for a while; the others are served all the same.
    let mut idle = Vec::new();
    for _ in 0..400 {
        let mut stream = connect(&daemon).await;
        stream.write_all(get(0, "").as_bytes()).await.unwrap();
        idle.push(stream);
    }
    for stream in &mut idle {
        let mut answer = [0; 12];
        tokio::time::timeout(LIMIT, stream.read_exact(&mut answer)).await.unwrap().unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
    }
    assert_well(&daemon).await;
    assert!(memory(&daemon).await - before < SPARE_BYTES);
    drop(idle);
    eventually("the place of those who left is free", async || {
        (daemon.metric("process_open_fds").await < 200.0).then_some(())
    })
    .await;
}
