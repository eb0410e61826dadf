//! What readers ask: workers, totals, and the manners of answers.

use crate::harness::{Daemon, World, eventually, noop};
use mysql_async::prelude::Queryable;
use reqwest::header::HeaderMap;
use reqwest::redirect::Policy;
use serde_json::{Value, json};
use std::io::Write;
use std::process::{Command, Stdio};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A GET with these headers: status, headers, body.
async fn get(api: &Daemon, path: &str, headers: &[(&str, &str)]) -> (u16, HeaderMap, Vec<u8>) {
    let client = reqwest::Client::builder().no_proxy().redirect(Policy::none()).build().unwrap();
    let request = client.get(format!("{}{path}", api.url));
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let answer = request.send().await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    (status, headers, answer.bytes().await.unwrap().to_vec())
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap())
}

#[tokio::test]
async fn workers_say_what_they_serve_and_run_and_whether_they_live() {
    let world = World::new().await;
    let mut builder = world.daemon("api");
    builder.file("[tasks.dig]\npull = true\n");
    let api = builder.ready().await;
    assert_eq!(api.get("/api/workers").await, (200, json!({"workers": [], "next_cursor": null})));
    let mut builder = world.daemon("worker");
    builder.env("TASKRUNNERX_WORKER__CONCURRENCY", "3").env("TASKRUNNERX_WORKER__QUEUES", "q,default");
    let _worker = builder.ready().await;
    for _ in 0..2 {
        api.run(json!({"name": "sleep", "queue": "q", "payload": {"ms": 600_000}}), "running").await;
    }
    api.submit(json!({"name": "dig", "queue": "far"})).await;
    let (_, given) = api.post("/api/workers/claim", &json!({"queues": ["far"], "max": 1, "wait": "10s"})).await;
    let mut sql = world.sql().await;
    sql.query_drop(
        "INSERT INTO workers (id, host, pid, queues, slots, started_at, lease_until, dead_at) VALUES \
         (UNHEX(REPEAT('01', 16)), 'was', 1, '[\"*\"]', 5, NOW(6), NOW(6) + INTERVAL 1 DAY, NOW(6))",
    )
    .await
    .unwrap();
    let found = eventually("they are counted", async || {
        let (status, found) = api.get("/api/workers").await;
        assert_eq!(status, 200, "{found}");
        let workers = found["workers"].as_array().unwrap();
        (workers.len() == 3 && workers[1]["running"] == 2 && workers[2]["running"] == 1).then(|| workers.clone())
    })
    .await;
    let status = |n: usize| (found[n]["kind"].as_str().unwrap(), found[n]["status"].as_str().unwrap());
    assert_eq!([status(0), status(1), status(2)], [("process", "dead"), ("process", "live"), ("pull", "live")]);
    let ours = &found[1];
    let mut queues: Vec<&str> = ours["queues"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    queues.sort_unstable();
    assert_eq!((queues, &ours["slots"]), (vec!["default", "q"], &json!(3)));
    assert!(ours["pid"].is_u64() && ours["host"].is_string() && ours["started_at"].is_string(), "{ours}");
    assert_eq!((&found[2]["id"], &found[2]["pid"]), (&given["worker_id"], &Value::Null));
    assert_eq!((found[0]["dead_at"].is_string(), &ours["dead_at"]), (true, &Value::Null));
    // In pages.
    let mut paged = Vec::new();
    let mut path = "/api/workers?limit=2".to_owned();
    loop {
        let (_, page) = api.get(&path).await;
        paged.extend(page["workers"].as_array().unwrap().iter().map(|worker| worker["id"].clone()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/api/workers?limit=2&cursor={cursor}");
    }
    assert_eq!(paged, found.iter().map(|worker| worker["id"].clone()).collect::<Vec<_>>());
    assert_eq!(api.get("/api/workers?limit=0&cursor=x&colour=red").await.1["errors"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn totals_are_of_everything_and_the_process_speaks_for_itself() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    let mut builder = world.daemon("worker");
    builder.env("TASKRUNNERX_WORKER__CONCURRENCY", "3");
    let _worker = builder.ready().await;
    for _ in 0..4 {
        api.run(noop("a"), "completed").await;
    }
    api.run(json!({"name": "fail", "queue": "b", "payload": {"permanent": true}}), "failed").await;
    api.run(json!({"name": "sleep", "queue": "b", "payload": {"ms": 600_000}}), "running").await;
    api.submit(json!({"name": "noop", "queue": "a", "delay": "1h"})).await;
    api.post("/api/queues/c/pause", &json!({})).await;
    api.submit(noop("c")).await;
    let found = eventually("it is counted", async || {
        let (status, found) = api.get("/api/stats").await;
        assert_eq!(status, 200, "{found}");
        let live = found["tasks"] == json!({"scheduled": 1, "queued": 1, "running": 1});
        (live && found["recent"]["accepted"] == 8 && found["workers"]["busy"] == 1).then_some(found)
    })
    .await;
    let recent = &found["recent"];
    assert_eq!((&recent["completed"], &recent["failed"], &recent["cancelled"]), (&json!(4), &json!(1), &json!(0)));
    assert_eq!(found["queues"], json!({"total": 4, "paused": 1}), "{found}");
    assert_eq!(found["workers"], json!({"live": 1, "processes": 1, "pull": 0, "slots": 3, "busy": 1}));
    assert!(found["oldest_age"].is_string(), "{found}");
    let process = &found["process"];
    assert_eq!((&process["roles"], &process["version"]), (&json!(["api"]), &json!(env!("CARGO_PKG_VERSION"))));
    assert!(process["uptime"].is_string(), "{found}");
    assert_eq!(api.get("/api/stats?x=1").await.0, 422);
}

#[tokio::test]
async fn however_often_totals_are_asked_for_they_are_counted_once_a_second() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    let began = std::time::Instant::now();
    futures_util::future::join_all((0..50).map(|_| api.get("/api/stats"))).await;
    let counted = api.metric(r#"taskrunnerx_store_seconds_count{op="stats"}"#).await;
    assert!((1.0..=1.0 + began.elapsed().as_secs_f64()).contains(&counted), "{counted}");
}

#[tokio::test]
async fn a_task_that_has_not_changed_is_not_sent_again() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    let task = api.submit(json!({"name": "noop", "delay": "1h"})).await;
    let path = format!("/api/tasks/{}", task["id"].as_str().unwrap());
    let (status, headers, _) = get(&api, &path, &[]).await;
    let tag = text(&headers, "etag").unwrap().to_owned();
    assert_eq!((status, text(&headers, "cache-control")), (200, Some("private, no-cache")));
    assert!(tag.starts_with("W/\""), "{tag}");
    for known in [&*tag, "*", &format!("\"other\", {tag}")] {
        let (status, headers, body) = get(&api, &path, &[("if-none-match", known)]).await;
        assert_eq!((status, text(&headers, "etag"), body.len()), (304, Some(&*tag), 0), "{known}");
        assert!(headers.contains_key("x-request-id"));
    }
    assert_eq!(get(&api, &path, &[("if-none-match", "\"other\"")]).await.0, 200);
    // Each change makes another one, one that no state shows included.
    let mut sql = world.sql().await;
    let key = format!("UNHEX('{}')", task["id"].as_str().unwrap().replace('-', ""));
    let mut tags = std::collections::BTreeSet::from([tag.clone()]);
    for change in ["progress = 0.5", "progress_note = 'half'", "attempt = attempt + 1", "cancel_requested_at = NOW(6)"]
    {
        sql.query_drop(format!("UPDATE tasks SET {change} WHERE id = {key}")).await.unwrap();
        let (status, headers, _) = get(&api, &path, &[("if-none-match", &tag)]).await;
        assert_eq!(status, 200, "{change}");
        assert!(tags.insert(text(&headers, "etag").unwrap().to_owned()), "{change}");
    }
    // Another process makes the same one.
    let other = world.daemon("api").ready().await;
    assert!(tags.contains(text(&get(&other, &path, &[]).await.1, "etag").unwrap()));
    // With a wait it is the task as it was then that is compared.
    let (_, cancelled) = api.post(&format!("{path}/cancel"), &json!({})).await;
    assert_eq!(cancelled["status"], "cancelled");
    assert_eq!(get(&api, &format!("{path}?wait=30"), &[("if-none-match", &tag)]).await.0, 200);
}

fn unzip(packed: &[u8]) -> Vec<u8> {
    let mut child = Command::new("gzip").arg("-dc").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut input, packed) = (child.stdin.take().unwrap(), packed.to_vec());
    let writer = std::thread::spawn(move || input.write_all(&packed).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    output.stdout
}

#[tokio::test]
async fn large_answers_are_packed_for_who_takes_that_and_small_ones_and_streams_never() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    let small = api.submit(noop("q")).await["id"].as_str().unwrap().to_owned();
    let many = vec![json!({"name": "echo", "queue": "q", "payload": "x".repeat(3000)}); 20];
    api.post("/api/tasks/bulk", &json!({"tasks": many})).await;
    let plain = get(&api, "/api/tasks", &[]).await;
    assert_eq!((text(&plain.1, "content-encoding"), text(&plain.1, "vary")), (None, Some("accept-encoding")));
    for takes in ["gzip", "br, gzip;q=0.5", "*"] {
        let (status, headers, body) = get(&api, "/api/tasks", &[("accept-encoding", takes)]).await;
        assert_eq!((status, text(&headers, "content-encoding")), (200, Some("gzip")), "{takes}");
        assert_eq!(headers.get_all("vary").iter().collect::<Vec<_>>(), ["accept-encoding"]);
        assert_eq!(text(&headers, "content-type"), Some("application/json"));
        assert!(headers.contains_key("x-request-id"));
        assert!(body.len() < plain.2.len() / 10, "{} of {}", body.len(), plain.2.len());
        assert_eq!(unzip(&body), plain.2);
    }
    for takes in ["gzip;q=0", "identity", "br", "gzip;q=0.1, identity", "nonsense;;;="] {
        let (status, headers, body) = get(&api, "/api/tasks", &[("accept-encoding", takes)]).await;
        assert_eq!((status, text(&headers, "content-encoding")), (200, None), "{takes}");
        assert_eq!((text(&headers, "vary"), &body), (Some("accept-encoding"), &plain.2), "{takes}");
    }
    // One small task, and its problem, as they are.
    for path in [format!("/api/tasks/{small}"), "/api/tasks/7".to_owned()] {
        let (_, headers, body) = get(&api, &path, &[("accept-encoding", "gzip")]).await;
        assert_eq!((text(&headers, "content-encoding"), text(&headers, "vary")), (None, None), "{path}");
        assert_eq!(text(&headers, "content-length"), Some(&*body.len().to_string()), "{path}");
    }
    // Metrics are text too.
    let (_, headers, body) = get(&api, "/metrics", &[("accept-encoding", "gzip")]).await;
    assert_eq!(text(&headers, "content-encoding"), Some("gzip"));
    assert!(String::from_utf8(unzip(&body)).unwrap().contains("taskrunnerx_build_info"));
    for path in ["/api/events".to_owned(), format!("/api/tasks/{small}/events")] {
        let answer =
            api.client.get(format!("{}{path}", api.url)).header("accept-encoding", "gzip").send().await.unwrap();
        assert_eq!((answer.status().as_u16(), text(answer.headers(), "content-encoding")), (200, None), "{path}");
        assert_eq!(text(answer.headers(), "cache-control"), Some("no-store"));
    }
}

#[tokio::test]
async fn head_tells_the_size_and_sends_nothing() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    let task = api.submit(json!({"name": "echo", "delay": "1h", "payload": "x".repeat(3000)})).await;
    let id = task["id"].as_str().unwrap();
    let paths: Vec<String> =
        ["", "/attempts", "/logs", "/explain", "?wait=0"].map(|more| format!("/api/tasks/{id}{more}")).into();
    let fixed = ["/", "/livez", "/readyz", "/health", "/metrics", "/api/tasks", "/api/queues", "/api/queues/default"];
    let fixed =
        fixed.into_iter().chain(["/api/workers", "/api/stats", "/api/task-types", "/api/nothing"]).map(str::to_owned);
    let mut stream = tokio::net::TcpStream::connect(api.url.strip_prefix("http://").unwrap()).await.unwrap();
    for path in paths.into_iter().chain(fixed) {
        let (status, headers, body) = get(&api, &path, &[]).await;
        // A body would be taken for the beginning of the next answer.
        for packed in ["identity", "gzip"] {
            let asked = format!("HEAD {path} HTTP/1.1\r\nhost: 127.0.0.1\r\naccept-encoding: {packed}\r\n\r\n");
            stream.write_all(asked.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            while !answer.ends_with(b"\r\n\r\n") {
                answer.push(stream.read_u8().await.unwrap());
            }
            let answer = String::from_utf8(answer).unwrap().to_ascii_lowercase();
            assert!(answer.starts_with(&format!("http/1.1 {status} ")), "{path}: {answer}");
            let length = answer.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            // Metrics and totals go on changing.
            let same = length.parse::<usize>().unwrap() == body.len();
            assert!(
                same || ["/metrics", "/api/stats"].contains(&&*path) || path.ends_with("/explain"),
                "{path}: {answer}"
            );
            assert_eq!(answer.contains("etag: "), headers.contains_key("etag"), "{path}");
            assert!(!answer.contains("content-encoding"), "{path}: {answer}");
        }
    }
}

#[tokio::test]
async fn every_answer_has_its_request_id_and_is_nobodys_to_keep() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    let send = async |method: &str, path: &str, headers: &[(&str, &str)], body: &'static str| {
        let request = api.client.request(method.parse().unwrap(), format!("{}{path}", api.url));
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.body(body).send().await.unwrap()
    };
    let json = [("content-type", "application/json"), ("x-request-id", "mine-7")];
    let plain = [("content-type", "text/plain"), ("x-request-id", "mine-7")];
    let foreign = [("host", "example.com"), ("x-request-id", "mine-7")];
    for (method, path, headers, body, status) in [
        ("GET", "/livez", &json, "", 200),
        ("GET", "/api/tasks", &json, "", 200),
        ("GET", "/api/tasks?limit=0", &json, "", 422),
        ("GET", "/api/tasks/%FF", &json, "", 422),
        ("GET", "/nothing", &json, "", 404),
        ("DELETE", "/api/tasks", &json, "", 405),
        ("OPTIONS", "/api/workers", &json, "", 204),
        ("POST", "/api/tasks", &json, "{", 400),
        ("POST", "/api/tasks", &json, "{}", 422),
        ("POST", "/api/tasks", &plain, "{}", 415),
        ("GET", "/api/tasks", &foreign, "", 403),
    ] {
        let answer = send(method, path, headers, body).await;
        assert_eq!(answer.status(), status, "{method} {path}");
        assert_eq!(text(answer.headers(), "x-request-id"), Some("mine-7"), "{method} {path}");
        let kept = if method == "GET" { Some("no-store") } else { None };
        assert_eq!(text(answer.headers(), "cache-control"), kept, "{method} {path}");
    }
    let (status, headers, _) = get(&api, "/", &[]).await;
    assert_eq!((status, text(&headers, "location")), (307, Some("docs")));
}
