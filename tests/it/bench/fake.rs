//! A server on a real socket that answers as the API does, keeps tasks in memory, and can be told
//! to refuse, to hang, and to have another clock.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

#[derive(Default)]
struct Inner {
    calls: Vec<String>,
    /// By id: when it was created and when it has ended, by this server's clock.
    tasks: HashMap<String, (DateTime<Utc>, Option<DateTime<Utc>>)>,
    backlog: Vec<String>,
    task_counts: Vec<usize>,
    paused: bool,
    /// What a task takes; they run one after the other.
    each: Duration,
    ahead: Duration,
    /// By call: the status, and how often.
    refusals: HashMap<String, (u16, usize)>,
    held: Option<String>,
}

pub(crate) struct Fake {
    pub(crate) url: String,
    inner: Arc<Mutex<Inner>>,
}

impl Fake {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let inner = Arc::new(Mutex::new(Inner::default()));
        let shared = Arc::clone(&inner);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Self { url, inner }
    }

    fn with<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        change(&mut self.inner.lock().unwrap())
    }

    /// What a task takes.
    pub(crate) fn each(&self, each: Duration) {
        self.with(|inner| inner.each = each);
    }

    pub(crate) fn ahead(&self, ahead: Duration) {
        self.with(|inner| inner.ahead = ahead);
    }

    pub(crate) fn refuse(&self, call: &str, status: u16) {
        self.fail_some(call, status, usize::MAX);
    }

    /// 0 as a status: the connection is cut.
    pub(crate) fn fail_some(&self, call: &str, status: u16, times: usize) {
        self.with(|inner| inner.refusals.insert(call.to_owned(), (status, times)));
    }

    /// This call is never answered.
    pub(crate) fn hold(&self, call: &str) {
        self.with(|inner| inner.held = Some(call.to_owned()));
    }

    pub(crate) fn calls(&self) -> Vec<String> {
        self.with(|inner| inner.calls.clone())
    }

    /// How many tasks each submission had.
    pub(crate) fn task_counts(&self) -> Vec<usize> {
        self.with(|inner| inner.task_counts.clone())
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.with(|inner| inner.paused)
    }
}

/// One keep-alive connection.
async fn serve(stream: TcpStream, inner: Arc<Mutex<Inner>>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut first = String::new();
        stream.read_line(&mut first).await.ok().filter(|read| *read > 0)?;
        let mut length = 0;
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await.ok()?;
            if line.trim().is_empty() {
                break;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.ok()?;
        let mut words = first.split(' ');
        let (method, target) = (words.next()?, words.next()?);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let call = format!("{method} {path}");
        let (status, answer) = {
            let mut inner = inner.lock().unwrap();
            inner.calls.push(call.clone());
            inner.answer(&call, query, &body)
        };
        match status {
            None => std::future::pending().await,
            Some(0) => return None,
            Some(status) => {
                let text = answer.to_string();
                let head = format!(
                    "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                    text.len()
                );
                stream.write_all(format!("{head}{text}").as_bytes()).await.ok()?;
            }
        }
    }
}

impl Inner {
    /// No status: no answer.
    fn answer(&mut self, call: &str, query: &str, body: &[u8]) -> (Option<u16>, Value) {
        if self.held.as_deref() == Some(call) {
            return (None, Value::Null);
        }
        if let Some((status, left)) = self.refusals.get_mut(call).filter(|(_, left)| *left > 0) {
            *left -= 1;
            return (Some(*status), json!({"title": "Refused", "detail": "as told"}));
        }
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        match call {
            "GET /readyz" => (Some(200), json!({})),
            "POST /api/tasks" => {
                assert_eq!(body["queue"], "bench");
                (Some(201), self.submit(1).remove(0))
            }
            "POST /api/tasks/bulk" => {
                let tasks = body["tasks"].as_array().unwrap();
                (Some(201), json!({"tasks": self.submit(tasks.len())}))
            }
            "POST /api/queues/bench/pause" => {
                assert!(body["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{body}");
                self.paused = true;
                (Some(200), json!({"name": "bench"}))
            }
            "POST /api/queues/bench/resume" => {
                self.paused = false;
                self.run();
                (Some(200), json!({"name": "bench"}))
            }
            "GET /api/tasks" => (Some(200), self.list(query)),
            _ => (Some(404), json!({"detail": "no such route"})),
        }
    }

    fn now(&self) -> DateTime<Utc> {
        Utc::now() + self.ahead
    }

    fn submit(&mut self, count: usize) -> Vec<Value> {
        self.task_counts.push(count);
        let now = self.now();
        let ids: Vec<String> = (0..count).map(|_| uuid::Uuid::now_v7().to_string()).collect();
        for id in &ids {
            self.tasks.insert(id.clone(), (now, None));
            self.backlog.push(id.clone());
        }
        if !self.paused {
            self.run();
        }
        ids.iter().map(|id| json!({"id": id, "name": "noop", "created_at": time(now)})).collect()
    }

    /// Settles when each waiting task ends.
    fn run(&mut self) {
        let mut at = self.now();
        for id in std::mem::take(&mut self.backlog) {
            at += self.each;
            self.tasks.get_mut(&id).unwrap().1 = Some(at);
        }
    }

    fn list(&self, query: &str) -> Value {
        let ids = query.split('&').find_map(|pair| pair.strip_prefix("id=")).unwrap();
        let row = |id: &str| {
            let (created, ends) = self.tasks.get(id)?;
            let ended = ends.filter(|at| *at <= self.now()).map(time);
            let status = if ended.is_some() { "completed" } else { "queued" };
            Some(json!({
                "id": id, "status": status, "created_at": time(*created), "started_at": ended, "finished_at": ended,
                "last_error": null, "attempt": 1,
            }))
        };
        json!({"tasks": ids.split(',').filter_map(row).collect::<Vec<Value>>(), "next_cursor": null})
    }
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}
