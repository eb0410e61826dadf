//! `GET /api/failures`, and the retry of one of its groups.

use crate::harness::{Daemon, World, eventually};
use serde_json::{Value, json};

async fn failures(api: &Daemon, query: &str) -> Vec<Value> {
    let (status, answer) = api.get(&format!("/api/failures{query}")).await;
    assert_eq!(status, 200, "{answer}");
    answer["failures"].as_array().unwrap().clone()
}

fn fail(message: &str, queue: &str) -> Value {
    json!({"name": "fail", "queue": queue, "payload": {"message": message, "permanent": true}})
}

#[tokio::test]
async fn failed_tasks_are_grouped_and_exactly_one_group_is_retried() {
    let world = World::new().await;
    let api = world.daemon("all").ready().await;
    assert_eq!(failures(&api, "").await, [] as [Value; 0]);
    let mut bad = Vec::new();
    for n in 0..3 {
        bad.push(api.run(fail(&format!("row {n} is bad"), "default"), "failed").await);
    }
    let missing = api.run(fail("no such file", "q"), "failed").await;
    let groups = failures(&api, "").await;
    let [newest, oldest] = groups.as_slice() else { panic!("{groups:#?}") };
    assert_eq!((&newest["message"], &newest["count"]), (&json!("no such file"), &json!(1)));
    assert_eq!((&oldest["message"], &oldest["count"]), (&json!("row 0 is bad"), &json!(3)));
    assert_eq!((&oldest["name"], &oldest["count_capped"]), (&json!("fail"), &json!(false)));
    assert_eq!((&oldest["first_seen"], &oldest["last_seen"]), (&bad[0]["finished_at"], &bad[2]["finished_at"]));
    assert_eq!(oldest["task_ids"], json!([bad[2]["id"], bad[1]["id"], bad[0]["id"]]));
    // One after another, and by queue.
    let (_, page) = api.get("/api/failures?limit=1").await;
    assert_eq!(page["failures"], json!([newest]));
    let cursor = page["next_cursor"].as_str().unwrap();
    assert_eq!(failures(&api, &format!("?limit=1&cursor={cursor}")).await, std::slice::from_ref(oldest));
    assert_eq!(failures(&api, "?queue=q").await, std::slice::from_ref(newest));
    assert_eq!(failures(&api, "?queue=q&name=noop").await, [] as [Value; 0]);

    let body = json!({"filter": {"fingerprint": oldest["fingerprint"]}});
    let (status, done) = api.post("/api/tasks/retry", &body).await;
    assert_eq!((status, &done["matched"], &done["changed"]), (202, &json!(3), &json!(3)), "{done}");
    for task in &bad {
        eventually("it has failed again", async || {
            let task = api.task(&task["id"]).await;
            (task["status"] == "failed" && task["attempt"] == 2).then_some(())
        })
        .await;
    }
    assert_eq!(api.task(&missing["id"]).await, missing, "of the other group");
    let again = failures(&api, "").await;
    assert_eq!((&again[1]["fingerprint"], &again[1]["count"]), (&oldest["fingerprint"], &json!(3)));
    assert_eq!(again[1]["first_seen"], oldest["first_seen"], "since when it has been so");

    for (query, faults) in [("?limit=0", 1), ("?queue=a%20b&colour=red", 2)] {
        let (status, problem) = api.get(&format!("/api/failures{query}")).await;
        assert_eq!((status, problem["errors"].as_array().unwrap().len()), (422, faults), "{problem}");
    }
}
