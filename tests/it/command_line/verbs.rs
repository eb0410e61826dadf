//! What is done to tasks.

use super::{done, id, json, run};
use crate::harness::World;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn cancel_takes_several_and_one_that_cannot_be_does_not_keep_the_others() {
    let world = World::new().await;
    let all = world.daemon("all").ready().await;
    let later = json!({"name": "noop", "delay": "1h"});
    let (a, b) = (all.submit(later.clone()).await, all.submit(later.clone()).await);
    let over = all.run(json!({"name": "noop"}), "completed").await;
    let (code, text, errors) = run(&all, &["tasks", "cancel", id(&a), id(&over), id(&b)]).await;
    assert_eq!(code, 1, "{errors}");
    assert_eq!(text, format!("{} cancelled\n{} cancelled\n", id(&a), id(&b)));
    assert!(errors.contains(id(&over)) && errors.contains("is completed"), "{errors}");
    assert!(errors.ends_with("1 of 3 tasks refused\n"), "{errors}");
    // Again: it is so already.
    assert_eq!(done(&all, &["tasks", "cancel", id(&a)]).await, format!("{} cancelled\n", id(&a)));
    let task = json(&all, &["tasks", "cancel", id(&all.submit(later).await)]).await;
    assert_eq!(task["status"], "cancelled");
    let running = all.run(json!({"name": "sleep", "payload": {"ms": 60_000}}), "running").await;
    let text = done(&all, &["tasks", "cancel", id(&running)]).await;
    assert_eq!(text, format!("{} runs, and has been asked to stop\n", id(&running)));
    all.until(&running["id"], "cancelled").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_done_to_many_by_mistake() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    let task = api.submit(json!({"name": "noop"})).await;
    for verb in ["cancel", "retry"] {
        let wrong: [&[&str]; 4] = [&[], &["--all", "--queue", "a"], &["--queue", "default"], &[id(&task), "--all"]];
        for args in wrong {
            let (code, text, errors) = run(&api, &[&["tasks", verb], args].concat()).await;
            assert_eq!((code, &*text), (2, ""), "{args:?}: {errors}");
        }
        let (_, _, errors) = run(&api, &["tasks", verb, "--queue", "default"]).await;
        assert!(errors.contains("--yes") && errors.contains("--dry-run"), "{errors}");
    }
    assert_eq!(api.task(&task["id"]).await["status"], "queued");
}
