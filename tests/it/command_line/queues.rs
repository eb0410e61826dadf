//! `queues`.

use super::{done, fields, json, run};
use crate::harness::{World, noop};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_is_paused_with_a_reason_and_resumed() {
    let world = World::new().await;
    let all = world.daemon("all").ready().await;
    let text = done(&all, &["queues", "pause", "mail", "--reason", "no luck", "--resume-in", "1h"]).await;
    assert!(text.contains("state         paused\n") && text.contains("reason        no luck\n"), "{text}");
    assert!(text.contains("paused by     local\n") && text.contains("resumes at    2"), "{text}");
    let task = all.submit(noop("mail")).await;
    let text = done(&all, &["queues", "list"]).await;
    let line = text.lines().find(|line| line.starts_with("mail ")).unwrap();
    assert_eq!(fields(line)[1], "paused");
    assert!(line.contains(" by local until ") && line.ends_with(": no luck"), "{line}");
    assert_eq!(all.task(&task["id"]).await["status"], "queued");

    let queue = json(&all, &["queues", "resume", "mail"]).await;
    assert_eq!((&queue["name"], &queue["pause"]), (&json!("mail"), &json!(null)));
    all.until(&task["id"], "completed").await;
    let text = done(&all, &["queues", "get", "mail"]).await;
    assert!(text.contains("state       active\n") && !text.contains("reason"), "{text}");
    assert_eq!(json(&all, &["queues", "get", "mail"]).await["name"], "mail");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_queue_is_said_before_or_by_the_server() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    for verb in ["get", "resume"] {
        let (code, text, errors) = run(&api, &["queues", verb, "nowhere"]).await;
        assert_eq!((code, &*text), (1, ""), "{errors}");
        assert!(errors.contains("there is no queue nowhere"), "{errors}");
        assert_eq!(run(&api, &["queues", verb, "../tasks"]).await.0, 2);
    }
    assert_eq!(run(&api, &["queues", "pause", "mail", "--resume-in", "soon"]).await.0, 2);
}
