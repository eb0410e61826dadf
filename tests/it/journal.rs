//! What attempts say, over REST: the history of attempts, logs in pages, and events, live.

use crate::guards::Ground;
use crate::harness::{Daemon, World, eventually};
use mysql_async::prelude::Queryable;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use taskrunnerx::lifecycle::Tools;
use taskrunnerx::lifecycle::journal::Keeper;
use taskrunnerx::worker::{self, Served, Settings};
use taskrunnerx::{Context, Registry, TaskError};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// A worker in this process whose `noop` talks: `{"lines": 3, "until": "a file"}`. It says how far it is, and ends
/// when the file is there.
pub(crate) struct Talkers {
    stop: CancellationToken,
    services: JoinSet<()>,
}

#[derive(serde::Deserialize)]
struct Talk {
    lines: u32,
    until: Option<String>,
    fail: Option<String>,
}

async fn talk(context: Context, talk: Talk) -> Result<(), TaskError> {
    for n in 1..=talk.lines {
        context.log(format!("line {n} of attempt {}", context.attempt()));
    }
    context.progress_note(0.5, "half");
    while let Some(file) = &talk.until
        && !std::path::Path::new(file).exists()
    {
        tokio::time::sleep(Duration::from_millis(10)).await;
        if context.is_cancelled() {
            return Err(TaskError::retryable("stopped"));
        }
    }
    context.log("the end");
    context.progress(1.0);
    talk.fail.map_or(Ok(()), |why| Err(TaskError::retryable(why)))
}

impl Talkers {
    pub(crate) async fn hire(ground: &Ground) -> Self {
        let (keeper, mut services) = Keeper::start(ground.store.clone(), ground.world.metrics.clone());
        let mut registry = Registry::new();
        registry.register("noop", talk);
        let tools = Tools { registry: Arc::new(registry), journal: Arc::new(keeper), ..ground.tools() };
        let settings = Settings {
            concurrency: 8,
            queues: Served::All,
            lease: Duration::from_secs(15),
            drain_timeout: Duration::from_secs(10),
            sweep_interval: Duration::from_millis(200),
            max_result: 1 << 20,
        };
        let stop = CancellationToken::new();
        let (ready, mut up) = tokio::sync::mpsc::channel(1);
        let parts = worker::Parts { tools, settings };
        services.spawn(worker::run(parts, stop.clone(), move || _ = ready.try_send(())));
        up.recv().await.unwrap();
        Self { stop, services }
    }
}

impl Drop for Talkers {
    fn drop(&mut self) {
        self.stop.cancel();
        self.services.abort_all();
    }
}

/// An event of a stream.
#[derive(Debug, Clone, PartialEq)]
struct Event {
    name: String,
    id: Option<String>,
    data: Value,
}

/// A client of a stream.
struct Listener {
    response: reqwest::Response,
    buffer: String,
}

impl Listener {
    async fn open(daemon: &Daemon, path: &str, last: Option<&str>) -> Self {
        let mut request = daemon.client.get(format!("{}{path}", daemon.url));
        if let Some(id) = last {
            request = request.header("last-event-id", id);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, buffer: String::new() }
    }

    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((block, rest)) = self.buffer.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.buffer = rest;
                let field = |key: &str| block.lines().find_map(|line| line.strip_prefix(&format!("{key}: ")));
                let Some(name) = field("event") else { continue };
                let data: Vec<&str> = block.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
                let data = serde_json::from_str(&data.join("\n")).unwrap();
                return Some(Event { name: name.to_owned(), id: field("id").map(str::to_owned), data });
            }
            let chunk = self.response.chunk().await.unwrap()?;
            self.buffer.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// Until there is an event of each of these kinds.
    async fn until(&mut self, kinds: &[&dyn Fn(&Event) -> bool]) -> Vec<Event> {
        let mut events: Vec<Event> = Vec::new();
        while !kinds.iter().all(|is| events.iter().any(is)) {
            events.push(self.next().await.expect("the stream goes on"));
        }
        events
    }

    async fn rest(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event);
        }
        events
    }
}

fn lines(events: &[Event]) -> Vec<&str> {
    events.iter().filter(|e| e.name == "log").map(|e| e.data["line"].as_str().unwrap()).collect()
}

fn path(task: &Value, rest: &str) -> String {
    format!("/api/tasks/{}{rest}", task["id"].as_str().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_tells_a_tasks_life_to_the_end_and_goes_on_where_a_client_left_off() {
    let ground = Ground::new().await;
    // With the api role alone, and without Redis.
    let mut api = ground.world.daemon("api");
    api.env("REDIS_URL", "redis+unix:///nowhere/redis.sock");
    let api = api.ready().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("go");
    let body = json!({"name": "noop", "payload": {"lines": 120, "until": file}});
    let task = api.submit(body).await;
    let mut listener = Listener::open(&api, &path(&task, "/events"), None).await;
    let first = listener.next().await.unwrap();
    let mut read = api.task(&task["id"]).await;
    assert_eq!((&*first.name, &first.data), ("task", &read), "as it is read");

    let _talkers = Talkers::hire(&ground).await;
    let events =
        listener.until(&[&|e| e.data["progress"] == 0.5, &|e| e.data["line"] == "line 120 of attempt 1"]).await;
    let statuses: Vec<&Value> = events.iter().filter(|e| e.name == "task").map(|e| &e.data["status"]).collect();
    assert!(statuses.iter().all(|status| **status == "running"), "{statuses:?}");
    assert!(events.iter().all(|e| (e.data["progress"] == 0.5) == (e.data["progress_note"] == "half")));
    let whole: Vec<String> = (1..=120).map(|n| format!("line {n} of attempt 1")).collect();
    assert_eq!(lines(&events), whole);
    read = api.task(&task["id"]).await;
    assert_eq!((&read["progress"], &read["progress_note"]), (&json!(0.5), &json!("half")));

    let id = events.iter().rfind(|e| e.name == "log").unwrap().id.clone().unwrap();
    let mut second = Listener::open(&api, &path(&task, "/events"), Some(&id)).await;
    let began = Instant::now();
    std::fs::write(&file, "").unwrap();
    for listener in [&mut listener, &mut second] {
        let rest = listener.rest().await;
        assert_eq!(lines(&rest), ["the end"], "{rest:?}");
        let last = rest.last().unwrap();
        assert_eq!(
            (&*last.name, &last.data["status"], &last.data["progress"]),
            ("task", &json!("completed"), &json!(1.0))
        );
        assert_eq!(last.data["progress_note"], Value::Null);
        assert!(rest.iter().filter(|e| e.data["status"] == "completed").count() == 1);
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    // One that has ended: as it is, its log, and the end.
    let mut late = Listener::open(&api, &path(&task, "/events"), None).await;
    let all = late.rest().await;
    assert_eq!(lines(&all).len(), 121);
    assert_eq!(
        (&all[0], &all[0]),
        (all.last().unwrap(), &Event { data: api.task(&task["id"]).await, ..all[0].clone() })
    );
    let mut nothing_new = Listener::open(&api, &path(&task, "/events"), all[all.len() - 2].id.as_deref()).await;
    assert_eq!(nothing_new.rest().await, all[..1]);
    assert_eq!(api.metric("taskrunnerx_event_streams").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_are_seen_within_half_a_second() {
    let ground = Ground::new().await;
    let api = ground.world.daemon("api").ready().await;
    let _talkers = Talkers::hire(&ground).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("go");
    let task = api.submit(json!({"name": "noop", "payload": {"lines": 0, "until": file}})).await;
    let mut listener = Listener::open(&api, &path(&task, "/events"), None).await;
    listener.until(&[&|e| e.data["progress"] == 0.5]).await;
    std::fs::write(&file, "").unwrap();
    let events = listener.rest().await;
    let said: chrono::DateTime<chrono::Utc> =
        events.iter().find(|e| e.name == "log").unwrap().data["at"].as_str().unwrap().parse().unwrap();
    let seen = chrono::Utc::now() - said;
    // A busy machine may be late; it is not seconds.
    assert!(seen < chrono::TimeDelta::milliseconds(1500), "{seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_are_listed_with_the_one_that_runs_and_the_one_that_ended_it() {
    let ground = Ground::new().await;
    let api = ground.world.daemon("api").ready().await;
    let waiting = api.submit(json!({"name": "noop", "delay": "1h"})).await;
    assert_eq!(api.get(&path(&waiting, "/attempts")).await, (200, json!({"attempts": []})));
    let _talkers = Talkers::hire(&ground).await;
    let body =
        json!({"name": "noop", "payload": {"lines": 2, "fail": "no luck"}, "max_attempts": 2, "backoff": "10ms"});
    let failed = api.run(body, "failed").await;
    let (_, answer) = api.get(&path(&failed, "/attempts")).await;
    let attempts = answer["attempts"].as_array().unwrap();
    let of = |field: &str| attempts.iter().map(|a| a[field].clone()).collect::<Vec<_>>();
    assert_eq!((of("attempt"), of("outcome")), (vec![json!(1), json!(2)], vec![json!("error"); 2]));
    assert_eq!(of("error"), vec![json!("no luck"); 2]);
    assert!(of("worker_id").iter().chain(&of("started_at")).chain(&of("finished_at")).all(Value::is_string));

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("go");
    let task = api.submit(json!({"name": "noop", "payload": {"lines": 1, "until": file}})).await;
    api.until(&task["id"], "running").await;
    let (_, answer) = api.get(&path(&task, "/attempts")).await;
    let running = answer["attempts"][0].clone();
    assert_eq!(
        (&running["attempt"], &running["outcome"], &running["finished_at"]),
        (&json!(1), &Value::Null, &Value::Null)
    );
    std::fs::write(&file, "").unwrap();
    let done = api.until(&task["id"], "completed").await;
    let (_, answer) = api.get(&path(&task, "/attempts")).await;
    let expected = json!({"attempts": [{"attempt": 1, "worker_id": done["worker_id"], "started_at": done["started_at"],
        "finished_at": done["finished_at"], "outcome": "success", "error": null}]});
    assert_eq!(answer, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_read_in_pages_of_all_attempts_or_of_one() {
    let ground = Ground::new().await;
    let api = ground.world.daemon("api").ready().await;
    let _talkers = Talkers::hire(&ground).await;
    let body = json!({"name": "noop", "payload": {"lines": 249, "fail": "no"}, "max_attempts": 2, "backoff": "10ms"});
    let task = api.run(body, "failed").await;
    let read = async |query: String| {
        let (status, page) = api.get(&path(&task, &format!("/logs{query}"))).await;
        assert_eq!(status, 200, "{page}");
        page
    };
    let mut all = Vec::new();
    let (mut query, mut sizes) = (String::new(), Vec::new());
    loop {
        let page = read(query).await;
        let logs = page["logs"].as_array().unwrap();
        sizes.push(logs.len());
        all.extend(logs.iter().map(|log| (log["attempt"].as_u64().unwrap(), log["line"].as_str().unwrap().to_owned())));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        query = format!("?cursor={cursor}");
    }
    assert_eq!(sizes, [200, 200, 100]);
    let of = |attempt: u64| {
        let said = move |n| if n == 250 { "the end".to_owned() } else { format!("line {n} of attempt {attempt}") };
        (1..=250).map(move |n| (attempt, said(n)))
    };
    assert_eq!(all, of(1).chain(of(2)).collect::<Vec<_>>());
    let second = read("?attempt=2&limit=1000".to_owned()).await;
    assert_eq!((second["logs"].as_array().unwrap().len(), &second["next_cursor"]), (250, &Value::Null));
    assert!(second["logs"].as_array().unwrap().iter().all(|log| log["attempt"] == 2 && log["at"].is_string()));
    assert_eq!(read("?attempt=3".to_owned()).await, json!({"logs": [], "next_cursor": null}));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_wrongly_is_refused_with_every_fault() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    let task = api.submit(json!({"name": "noop"})).await;
    for route in ["attempts", "logs", "events"] {
        let unknown = format!("/api/tasks/{}/{route}", uuid::Uuid::now_v7());
        assert_eq!(api.get(&unknown).await.0, 404, "{route}");
        assert_eq!(api.get(&format!("/api/tasks/7/{route}")).await.0, 422, "{route}");
        assert_eq!(api.post(&path(&task, &format!("/{route}")), &json!({})).await.0, 405, "{route}");
        let (status, problem) = api.get(&path(&task, &format!("/{route}?colour=red&limit=0"))).await;
        assert_eq!((status, problem["errors"].as_array().unwrap().len()), (422, 2), "{route}: {problem}");
    }
    let events = format!("{}{}", api.url, path(&task, "/events"));
    let wrong = api.client.get(&events).header("last-event-id", "7").send().await.unwrap();
    assert_eq!(wrong.status(), 422);
    assert_eq!(api.client.head(&events).send().await.unwrap().status(), 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_end_with_their_client_and_with_the_process() {
    let world = World::new().await;
    let mut api = world.daemon("api").ready().await;
    let task = api.submit(json!({"name": "noop"})).await;
    let mut stays = Listener::open(&api, &path(&task, "/events"), None).await;
    let goes = Listener::open(&api, &path(&task, "/events"), None).await;
    let open = async |count: f64| (api.metric("taskrunnerx_event_streams").await == count).then_some(());
    eventually("both are open", async || open(2.0).await).await;
    drop(goes);
    eventually("one has gone", async || open(1.0).await).await;
    let began = Instant::now();
    api.signal("-TERM");
    assert_eq!(stays.rest().await.len(), 1, "as it was at the beginning");
    assert_eq!(api.ended().await, 0);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sleep_says_how_far_it_is_and_at_its_end_that_it_is_there() {
    let world = World::new().await;
    let daemon = world.daemon("all").ready().await;
    let task = daemon.submit(json!({"name": "sleep", "payload": {"ms": 2500}})).await;
    let mut listener = Listener::open(&daemon, &path(&task, "/events"), None).await;
    let events = listener.rest().await;
    let said: Vec<f64> = events.iter().filter_map(|e| e.data["progress"].as_f64()).collect();
    assert!(said.is_sorted() && said.len() >= 3 && said.iter().all(|p| (0.3..=1.0).contains(p)), "{said:?}");
    assert!(said[0] < 1.0, "{said:?}");
    let done = daemon.task(&task["id"]).await;
    assert_eq!(events.last().unwrap().data, done);
    assert_eq!(done["progress"], 1.0, "{done}");
    let short = daemon.run(json!({"name": "sleep", "payload": {"ms": 5}}), "completed").await;
    assert_eq!(short["progress"], Value::Null);
    // Two words of the long one, and a last one; of logs nothing.
    assert!(daemon.metric("taskrunnerx_store_seconds_count{op=\"progress\"}").await <= 3.0);
    assert_eq!(daemon.metric("taskrunnerx_store_seconds_count{op=\"log\"}").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tasks_outcome_waits_for_its_last_words() {
    let mut ground = Ground::new().await;
    let api = ground.world.daemon("api").ready().await;
    let _talkers = Talkers::hire(&ground).await;
    ground.sql.query_drop("LOCK TABLES task_logs READ").await.unwrap();
    let task = api.submit(json!({"name": "noop", "payload": {"lines": 5}})).await;
    // Its last progress is written once it has ended.
    eventually("it has ended and runs still", async || {
        let task = api.task(&task["id"]).await;
        (task["progress"] == 1.0 && task["status"] == "running").then_some(())
    })
    .await;
    ground.sql.query_drop("UNLOCK TABLES").await.unwrap();
    api.until(&task["id"], "completed").await;
    let (_, page) = api.get(&path(&task, "/logs")).await;
    assert_eq!(page["logs"].as_array().unwrap().len(), 6, "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_moves_of_all_tasks_are_told_to_those_who_listen_as_they_asked() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    let _worker = world.daemon("worker").ready().await;
    let mut all = Listener::open(&api, "/api/events", None).await;
    let mut some = Listener::open(&api, "/api/events?queue=a,b&status=failed,scheduled&name=fail", None).await;
    // Who was silent since nobody listened notices within a second.
    let spoken = async || {
        let task = api.submit(json!({"name": "noop", "queue": "z"})).await;
        let heard = async {
            let mut words = Vec::new();
            while !(words.contains(&json!("queued")) && words.contains(&json!("completed"))) {
                let event = all.next().await.unwrap();
                words.extend((event.data["id"] == task["id"]).then(|| event.data["status"].clone()));
            }
        };
        let heard = tokio::time::timeout(Duration::from_secs(2), heard).await;
        api.until(&task["id"], "completed").await;
        heard.ok()
    };
    eventually("both processes speak", spoken).await;
    let body =
        json!({"name": "fail", "queue": "a", "payload": {"message": "no"}, "max_attempts": 2, "backoff": "10ms"});
    let failed = api.submit(body).await;
    let waiting = api.submit(json!({"name": "noop", "queue": "b", "delay": "1h"})).await;
    api.post(&path(&waiting, "/cancel"), &json!({})).await;
    let mut of: std::collections::BTreeMap<String, Vec<String>> = std::collections::BTreeMap::new();
    let word = |event: &Event| format!("{} {}", event.data["status"].as_str().unwrap(), event.data["attempt"]);
    while of.get(failed["id"].as_str().unwrap()).is_none_or(|words| words.len() < 5)
        || of.get(waiting["id"].as_str().unwrap()).is_none_or(|words| words.len() < 2)
    {
        let event = all.next().await.unwrap();
        assert_eq!(event.name, "move");
        of.entry(event.data["id"].as_str().unwrap().to_owned()).or_default().push(word(&event));
    }
    let mut words = of[failed["id"].as_str().unwrap()].clone();
    // Told by two processes, each in its order.
    words.sort();
    assert_eq!(words, ["failed 2", "queued 0", "running 1", "running 2", "scheduled 1"]);
    assert_eq!(of[waiting["id"].as_str().unwrap()], ["scheduled 0", "cancelled 0"]);
    let (first, second) = (some.next().await.unwrap(), some.next().await.unwrap());
    assert_eq!([word(&first), word(&second)], ["scheduled 1", "failed 2"]);
    let expected = json!({"id": failed["id"], "name": "fail", "queue": "a", "status": "failed", "attempt": 2, "at": second.data["at"]});
    assert_eq!(second.data, expected);
    let (status, problem) = api.get("/api/events?queue=a%20b&status=done&colour=red").await;
    assert_eq!((status, problem["errors"].as_array().unwrap().len()), (422, 3), "{problem}");
    assert_eq!(api.post("/api/events", &json!({})).await.0, 405);
}
