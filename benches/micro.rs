//! What one task costs in the parts that run for each: group commit without a database, the way of a submission from
//! its body to its answer, a stream entry written and read. `cargo bench --bench micro`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_debug_implementations,
    reason = "a benchmark that meets what it does not expect should stop there"
)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use redis::Value;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;
use taskrunnerx::api::to_json;
use taskrunnerx::executor::Registry;
use taskrunnerx::lifecycle::submit::{Defaults, admit};
use taskrunnerx::store::batcher::{Batcher, Bounds, Size};
use taskrunnerx::stream::{Entry, packed, unpacked};
use taskrunnerx::task::{Backoff, Status, Task, TaskId, Timestamp, submission};

const BODY: &str = r#"{"name":"noop","payload":{"customer":4711,"items":["a","b","c"],"total":12.5}}"#;
const MAX_PAYLOAD: usize = 1 << 20;
/// Callers at once, entries in a pipeline.
const MANY: usize = 256;

fn task() -> Task {
    let now = Timestamp::from_timestamp(1_780_000_000, 0).unwrap();
    Task {
        id: TaskId("0190163d-8694-739b-aea5-966c26f8ad91".parse().unwrap()),
        name: "noop".into(),
        queue: "default".into(),
        priority: 0,
        status: Status::Queued,
        reason: None,
        payload: r#"{"customer":4711,"items":["a","b","c"],"total":12.5}"#.into(),
        attempt: 0,
        forgiven: 0,
        max_attempts: 5,
        timeout: Duration::from_secs(600),
        backoff: Backoff::default(),
        run_at: now,
        expires_at: None,
        dispatched_at: Some(now),
        worker_id: None,
        cancel_requested_at: None,
        created_at: now,
        started_at: None,
        finished_at: None,
        schedule: None,
        tags: Vec::new(),
        metadata: None,
        result: None,
        last_error: None,
        progress: None,
        progress_note: None,
        unique_key: None,
    }
}

fn batcher(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let bounds = Bounds { rows: 512, bytes: 4 << 20, waiting: 8192, lanes: 2, beside: 64 };
    let (batcher, _service) = {
        let _in = runtime.enter();
        Batcher::start(bounds, async |items: Vec<usize>| items)
    };
    let mut group = c.benchmark_group("batcher");
    group.throughput(Throughput::Elements(u64::try_from(MANY).unwrap()));
    group.bench_function("256 callers at once", |b| {
        b.iter(|| {
            runtime.block_on(async {
                let calls = (0..MANY).map(|n| batcher.submit(n, Size { rows: 1, bytes: 100 }));
                black_box(futures_util::future::join_all(calls).await)
            })
        });
    });
    group.finish();
}

fn submission_and_answer(c: &mut Criterion) {
    let registry = Registry::new();
    let defaults = Defaults { max_attempts: 5, timeout: Duration::from_secs(600), backoff: Backoff::default() };
    let mut group = c.benchmark_group("submission");
    group.throughput(Throughput::Elements(1));
    group.bench_function("body to task", |b| {
        b.iter(|| {
            let (read, _) = submission::read(black_box(BODY), MAX_PAYLOAD).unwrap();
            black_box(admit(read, &registry, &defaults, &|_| true).unwrap())
        });
    });
    let task = task();
    group.bench_function("task to answer", |b| b.iter(|| to_json(black_box(&task)).unwrap()));
    group.finish();
}

fn entries(c: &mut Criterion) {
    let task = task();
    let queue: Arc<str> = "default".into();
    let entry = Entry {
        queue: Arc::clone(&queue),
        id: task.id,
        name: task.name,
        attempt: 0,
        max_attempts: 5,
        timeout: task.timeout,
        run_at: task.run_at,
        dispatched_at: task.created_at,
        payload: Some(task.payload),
    };
    let many = vec![entry; MANY];
    let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
    let fields = [
        "id",
        "0190163d-8694-739b-aea5-966c26f8ad91",
        "name",
        "noop",
        "attempt",
        "0",
        "dispatched_at",
        "1780000000000000",
        "plan",
        "5 600000 1780000000000000",
        "payload",
        r#"{"customer":4711}"#,
    ];
    let one = Value::Array(vec![text("1780000000000-0"), Value::Array(fields.map(text).into())]);
    let answer = Value::Array(vec![one; MANY]);
    assert!(unpacked(&queue, &answer).iter().all(|delivered| delivered.entry.is_some()));
    let mut group = c.benchmark_group("entries");
    group.throughput(Throughput::Elements(u64::try_from(MANY).unwrap()));
    group.bench_function("256 written", |b| b.iter(|| packed(black_box(&many), "trx:{default}")));
    group.bench_function("256 read", |b| b.iter(|| unpacked(&queue, black_box(&answer))));
    group.finish();
}

criterion_group!(benches, batcher, submission_and_answer, entries);
criterion_main!(benches);
