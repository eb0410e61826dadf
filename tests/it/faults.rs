//! Faults at the seams: the services run in this process, against the real servers, and a few
//! percent of their calls fail, or are done and never answered, or are done when nobody waits
//! for them any more. Then it is over, and everything that was accepted has to come right.

mod answers;
mod crew;
mod deliveries;
mod weather;

use crate::guards::Ground;
use crate::harness::eventually;
use crew::{Crew, fired_once, until_streams_are_empty};
use mysql_async::prelude::Queryable;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use taskrunnerx::lifecycle::submit::Submitter;
use taskrunnerx::scheduler::ScheduleSpec;
use taskrunnerx::store::tasks::{Filter, Idempotency};
use taskrunnerx::task::schedule::Definition;
use taskrunnerx::task::{Backoff, KeyHash, NewTask, RequestHash, Status, Task, TaskId, Unique, When};
use tokio_util::sync::CancellationToken;
use weather::{Dice, Storm};

const QUEUES: [&str; 3] = ["default", "one", "two"];
const CLIENTS: u64 = 6;
const TASKS_EACH: u64 = 70;
/// Of a hundred calls.
const PERCENT: u64 = 5;

/// A `play` that goes like this.
fn play(plan: &[&str]) -> NewTask {
    NewTask {
        name: "play".into(),
        payload: serde_json::json!({"plan": plan}).to_string().into(),
        max_attempts: 50,
        ..crate::guards::noop()
    }
}

/// Something different each time.
fn any(dice: &Dice, number: u64) -> NewTask {
    let plans: [&[&str]; 8] = [
        &["ok"],
        &["ok"],
        &["ok"],
        &["slow"],
        &["fail", "slow"],
        &["fail", "fail", "ok"],
        &["fail", "give up"],
        &["hang", "ok"],
    ];
    let pick = |sides: usize| usize::try_from(dice.roll(u64::try_from(sides).unwrap())).unwrap();
    let plan = plans[pick(plans.len())];
    NewTask {
        queue: QUEUES[pick(3)].into(),
        priority: u8::try_from(pick(10)).unwrap(),
        when: if pick(4) == 0 { When::After(Duration::from_millis(dice.roll(500))) } else { When::Now },
        timeout: Duration::from_millis(if plan[0] == "hang" { 100 } else { 60_000 }),
        backoff: Backoff::fixed(Duration::from_millis(dice.roll(100))),
        metadata: Some(format!("{{\"number\":{number}}}").into()),
        ..play(plan)
    }
}

/// Everything there is.
async fn tasks(ground: &Ground) -> Vec<Task> {
    ground.store.list(Filter::default(), None, 10_000).await.unwrap().tasks
}

/// Waits until every task has ended.
async fn until_ended(ground: &mut Ground) {
    eventually("everything has ended", async || {
        let query = "SELECT COUNT(*) FROM tasks WHERE lane > 0";
        (ground.number(query).await == 0).then_some(())
    })
    .await;
}

/// Every row's last word is its owner's, and the history says what became of the attempts
/// before it.
async fn is_consistent(ground: &mut Ground, crew: &Crew) {
    // One that was inserted late, for nobody, may come at any time: what is looked at has ended.
    let all = eventually("everything has ended", async || {
        let all = tasks(ground).await;
        all.iter().all(|task| task.status.is_terminal()).then_some(all)
    })
    .await;
    let ids: HashSet<TaskId> = all.iter().map(|task| task.id).collect();
    let rows: Vec<(Vec<u8>, u32, String)> =
        ground.sql.query("SELECT task_id, attempt, outcome FROM task_attempts").await.unwrap();
    let mut histories: HashMap<TaskId, HashMap<u32, String>> = HashMap::new();
    for (id, attempt, outcome) in rows {
        let id = TaskId(uuid::Uuid::from_slice(&id).unwrap());
        // A history of no task is wrong as well.
        if ids.contains(&id) || ground.store.task(id).await.unwrap().is_none() {
            histories.entry(id).or_default().insert(attempt, outcome);
        }
    }
    assert_eq!(crew.begun().1, [], "no attempt began twice");
    let starts = crew.starts.lock().unwrap().clone();
    for task in all {
        let history = histories.remove(&task.id).unwrap_or_default();
        let at = format!("{task:?}\n{history:?}");
        let began = |attempt: u32| starts.contains_key(&(task.id, attempt));
        assert!(began(task.attempt), "its last attempt began: {at}");
        match task.status {
            Status::Completed => assert_eq!(task.result, Some(task.attempt.to_string().into()), "its own result: {at}"),
            _ => assert_eq!((task.result, &*history[&task.attempt]), (None, "permanent"), "{at}"),
        }
        // Each attempt has one ending: in the history, or it is the one that succeeded.
        for attempt in 1..=task.attempt {
            let succeeded = task.status == Status::Completed && attempt == task.attempt;
            assert_eq!(history.contains_key(&attempt), !succeeded, "{attempt}: {at}");
            let forgiven = history.get(&attempt).is_some_and(|word| word == "interrupted");
            assert!(!(forgiven && began(attempt)), "what began was not forgiven: {attempt}: {at}");
        }
        assert_eq!(history.keys().filter(|attempt| **attempt > task.attempt).count(), 0, "{at}");
        let forgiven = history.values().filter(|word| *word == "interrupted").count();
        assert_eq!(u32::try_from(forgiven).unwrap(), task.forgiven, "{at}");
    }
    assert!(histories.is_empty(), "history of nothing: {histories:?}");
}

/// Repeats a submission under a key until it is answered. Each of its tasks has a unique key besides.
async fn insist(submitter: &Submitter, tasks: Vec<NewTask>, number: u64) -> Vec<Task> {
    let key = Idempotency {
        hash: KeyHash::idempotency("client", &number.to_string()),
        request: RequestHash::of(b"body"),
        retain: Duration::from_secs(3600),
    };
    let named = |task: NewTask| {
        let unique = task.metadata.clone().map(|key| Unique { key, held_for: None });
        NewTask { unique, ..task }
    };
    let tasks: Vec<NewTask> = tasks.into_iter().map(named).collect();
    loop {
        if let Ok(receipt) = submitter.submit_keyed(tasks.clone(), Some(key)).await {
            return receipt.tasks;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Submits, some alone and some together, some under a key until they are accepted. Says what was accepted (what was not may be in all the
/// same), and the numbers of those that went together.
async fn submit_all(crew: &mut Crew, seed: u64) -> (Vec<Task>, Vec<Vec<u64>>) {
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..CLIENTS {
        let submitter = crew.submitter();
        clients.spawn(async move {
            let dice = Dice::new(seed ^ client);
            let (mut accepted, mut groups) = (Vec::new(), Vec::new());
            let mut numbers = client * TASKS_EACH..(client + 1) * TASKS_EACH;
            while !numbers.is_empty() {
                let several = usize::try_from(dice.roll(3)).unwrap();
                let group: Vec<u64> = numbers.by_ref().take(1 + several).collect();
                let tasks = group.iter().map(|number| any(&dice, *number)).collect();
                let answer = match dice.roll(3) {
                    0 => Ok(insist(&submitter, tasks, group[0]).await),
                    _ => submitter.submit(tasks).await,
                };
                assert!(answer.iter().all(|tasks| tasks.len() == group.len()));
                accepted.extend(answer.into_iter().flatten());
                groups.push(group);
                tokio::time::sleep(Duration::from_millis(dice.roll(120))).await;
            }
            (accepted, groups)
        });
    }
    let (accepted, groups): (Vec<_>, Vec<_>) = clients.join_all().await.into_iter().unzip();
    (accepted.concat(), groups.concat())
}

async fn weather_a_storm(seed: u64) {
    eprintln!("FAULTS_SEED={seed}");
    let mut ground = Ground::new().await;
    let storm = Arc::new(Storm::new(seed, PERCENT));
    let mut crew = Crew::new(&ground, storm.clone());
    (0..3).for_each(|_| crew.hire(8));
    let ticking = CancellationToken::new();
    let tick = r#"{"cron":"* * * * * *","task":{"name":"play","payload":{"plan":["ok"]}}}"#;
    let read = Definition::from_json(tick, 1 << 20).unwrap();
    crew.schedule(vec![ScheduleSpec { name: "tick".into(), read }], ticking.clone());
    crew.ready().await;
    let (accepted, groups) = submit_all(&mut crew, seed).await;
    storm.end();
    ticking.cancel();
    eprintln!("{} accepted, struck: {:?}", accepted.len(), storm.struck());
    storm.landed().await;
    until_ended(&mut ground).await;
    let all = tasks(&ground).await;
    let ids: HashSet<TaskId> = all.iter().map(|task| task.id).collect();
    assert!(accepted.iter().all(|task| ids.contains(&task.id)), "what was accepted is there");
    let numbers: Vec<&str> = all.iter().filter_map(|task| task.metadata.as_deref()).collect();
    let once: HashSet<&str> = numbers.iter().copied().collect();
    assert_eq!(once.len(), numbers.len(), "each submission is there once");
    for group in groups {
        let there = group.iter().filter(|number| once.contains(&*format!("{{\"number\":{number}}}"))).count();
        assert!([0, group.len()].contains(&there), "all or none: {there} of {group:?}");
    }
    is_consistent(&mut ground, &crew).await;
    fired_once(&mut ground).await;
    until_streams_are_empty(&ground, &QUEUES).await;
    crew.dismiss().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_was_accepted_comes_right_after_a_storm() {
    let seed = std::env::var("FAULTS_SEED").ok().map(|seed| seed.parse().unwrap());
    weather_a_storm(seed.unwrap_or_else(rand::random)).await;
}
