//! What a schedule is, over REST and from the configuration.

use super::{call, put, schedule, time};
use crate::harness::World;
use mysql_async::prelude::Queryable;
use serde_json::{Value, json};

fn faults(problem: &Value) -> Vec<(&str, &str)> {
    let errors = problem["errors"].as_array().unwrap_or_else(|| panic!("{problem}"));
    errors.iter().map(|fault| (fault["pointer"].as_str().unwrap(), fault["detail"].as_str().unwrap())).collect()
}

#[tokio::test]
async fn a_schedule_is_made_replaced_left_as_it_is_and_removed() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    let path = "/api/schedules/nightly";
    let body = json!({"cron": "30 2 * * *", "timezone": "Europe/Berlin", "task": {"name": "echo", "payload": 1.0}});
    let sent = api.client.put(format!("{}{path}", api.url)).json(&body).send().await.unwrap();
    assert_eq!((sent.status().as_u16(), &sent.headers()["location"]), (201, &path.parse().unwrap()));
    let made: Value = sent.json().await.unwrap();
    assert_eq!(schedule(&api, "nightly").await, made);
    for (field, value) in [
        ("misfire", json!("once")),
        ("catch_up", json!("1d")),
        ("overlap", json!("allow")),
        ("jitter", json!("0s")),
        ("managed_by", json!("api")),
        ("version", json!(1)),
        ("fires", json!(0)),
        ("pause", Value::Null),
        ("last_task", Value::Null),
        ("task", body["task"].clone()),
    ] {
        assert_eq!(made[field], value, "{field}: {made}");
    }
    assert!(time(&made["next_fire_at"]) > chrono::Utc::now(), "{made}");
    let (status, same) = call(&api, "PUT", path, Some(&body)).await;
    assert_eq!((status, &same), (200, &made));
    let changed = json!({"every": "1h30m", "task": {"name": "noop"}, "managed_by": "files"});
    let (status, changed) = call(&api, "PUT", path, Some(&changed)).await;
    assert_eq!((status, &changed["version"], &changed["every"]), (200, &json!(2), &json!("1h30m")), "{changed}");
    assert_eq!(
        (&changed["cron"], &changed["timezone"], &changed["managed_by"]),
        (&Value::Null, &Value::Null, &json!("files"))
    );
    assert_eq!(call(&api, "DELETE", path, None).await.0, 204);
    for (method, rest) in [
        ("GET", ""),
        ("DELETE", ""),
        ("GET", "/fires"),
        ("GET", "/next"),
        ("POST", "/run"),
        ("POST", "/pause"),
        ("POST", "/resume"),
    ] {
        let (status, problem) = call(&api, method, &format!("{path}{rest}"), None).await;
        assert_eq!(status, 404, "{method} {rest}: {problem}");
    }
}

#[tokio::test]
async fn a_page_of_large_definitions_is_a_short_one() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    for name in ["a", "b", "c", "d"] {
        put(&api, name, json!({"cron": "@yearly", "task": {"name": "echo", "payload": "large"}})).await;
    }
    // Two of them in one page are as much as it may have, and three are more; the last one is small.
    let large = "UPDATE schedules SET definition = REPLACE(definition, 'large', REPEAT('x', 8000000)) WHERE name < 'd'";
    world.sql().await.query_drop(large).await.unwrap();
    let (mut pages, mut cursor) = (Vec::new(), String::new());
    loop {
        let (status, page) = api.get(&format!("/api/schedules{cursor}")).await;
        assert_eq!(status, 200);
        let names = page["schedules"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned());
        pages.push(names.collect::<Vec<_>>().concat());
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("?cursor={next}");
    }
    assert_eq!(pages, ["ab", "cd"]);
}

#[tokio::test]
async fn every_fault_is_said_at_once_with_its_place_and_what_would_do() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    let refused = async |body: Value| {
        let (status, problem) = call(&api, "PUT", "/api/schedules/bad", Some(&body)).await;
        assert_eq!(status, 422, "{body} -> {problem}");
        problem
    };
    let problem = refused(json!({
        "cron": "61 * * * 9", "timezone": "Europe/Berln", "misfire": "twice", "catch_up": "500d", "overlap": "no",
        "jitter": "2d", "starts_at": "2030-01-02T00:00:00Z", "ends_at": "2030-01-01T00:00:00Z", "max_fires": 0,
        "pause_after_failures": 101, "managed_by": "config", "jiter": "1m",
        "task": {"name": "noop", "priority": 1000, "delay": "1h"},
    }))
    .await;
    let found = faults(&problem);
    let mut places: Vec<&str> = found.iter().map(|(pointer, _)| *pointer).collect();
    places.sort_unstable();
    assert_eq!(
        places,
        [
            "#/catch_up",
            "#/cron",
            "#/cron",
            "#/ends_at",
            "#/jiter",
            "#/jitter",
            "#/managed_by",
            "#/max_fires",
            "#/misfire",
            "#/overlap",
            "#/pause_after_failures",
            "#/task/delay",
            "#/task/priority",
            "#/timezone",
        ],
        "{problem:#}"
    );
    let over = refused(json!({"cron": "0 0 1 1 *", "ends_at": "2001-01-01T00:00:00Z", "task": {"name": "noop"}})).await;
    assert_eq!(faults(&over).iter().map(|(pointer, _)| *pointer).collect::<Vec<_>>(), ["#/ends_at"], "{over:#}");
    // What only the program knows of the task comes with the rest.
    let both = refused(json!({"cron": "* * *", "task": {"name": "ecko", "priority": 1000}})).await;
    let mut places: Vec<&str> = faults(&both).iter().map(|(pointer, _)| *pointer).collect();
    places.sort_unstable();
    assert_eq!(places, ["#/cron", "#/task/name", "#/task/priority"], "{both:#}");
    let said = |place: &str| found.iter().find(|(pointer, _)| *pointer == place).unwrap().1;
    assert!(said("#/timezone").contains("Europe/Berlin"), "{}", said("#/timezone"));
    assert!(
        said("#/misfire").contains("twice") && said("#/misfire").contains("skip, once, all"),
        "{}",
        said("#/misfire")
    );
    assert!(said("#/jiter").contains("did you mean jitter"), "{}", said("#/jiter"));
    for (body, place, part) in [
        (json!({"cron": "0 0 30 2 *", "task": {"name": "noop"}}), "#/cron", "never"),
        (json!({"cron": "@daily", "every": "1h", "task": {"name": "noop"}}), "#/every", "cron"),
        (json!({"every": "1h", "timezone": "UTC", "task": {"name": "noop"}}), "#/timezone", "every"),
        (json!({"every": "10ms", "task": {"name": "noop"}}), "#/every", "1s"),
        (json!({"task": {"name": "noop"}}), "#/cron", "missing"),
        (json!({"cron": "@daily"}), "#/task", "missing"),
        (json!({"cron": "@daily", "task": 3}), "#/task", "object"),
        (json!({"cron": "@daily", "task": {"name": "nooop"}}), "#/task/name", "noop"),
    ] {
        let problem = refused(body).await;
        let found = faults(&problem);
        assert!(matches!(&*found, [(pointer, said)] if *pointer == place && said.contains(part)), "{problem:#}");
    }
    assert_eq!(api.get("/api/schedules").await.1["schedules"], json!([]), "nothing of it is there");
    let (status, _) =
        call(&api, "PUT", "/api/schedules/-bad-", Some(&json!({"cron": "@daily", "task": {"name": "noop"}}))).await;
    assert_eq!(status, 422);
}

#[tokio::test]
async fn a_list_has_pages_and_instants_to_come_are_told() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    for name in ["e", "b", "a", "d", "c"] {
        put(&api, name, json!({"cron": "@daily", "task": {"name": "noop"}})).await;
    }
    let (mut names, mut path) = (Vec::new(), "/api/schedules?limit=2".to_owned());
    loop {
        let (status, page) = api.get(&path).await;
        assert_eq!(status, 200, "{page}");
        let listed = page["schedules"].as_array().unwrap();
        names.push(listed.iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>().concat());
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/api/schedules?limit=2&cursor={cursor}");
    }
    assert_eq!(names, ["ab", "cd", "e"]);
    for bad in ["?limit=0", "?limit=501", "?cursor=x", "?what=1"] {
        assert_eq!(api.get(&format!("/api/schedules{bad}")).await.0, 422, "{bad}");
    }
    let next = async |name: &str, query: &str| -> Vec<String> {
        let (status, page) = api.get(&format!("/api/schedules/{name}/next{query}")).await;
        assert_eq!(status, 200, "{page}");
        page["next"].as_array().unwrap().iter().map(|at| at.as_str().unwrap()[..16].to_owned()).collect()
    };
    // Over a change of the clocks.
    let body = json!({"cron": "30 2 * * *", "timezone": "Europe/Berlin", "starts_at": "2030-03-30T00:00:00Z",
        "ends_at": "2030-04-02T00:00:00Z", "task": {"name": "noop"}});
    put(&api, "berlin", body).await;
    assert_eq!(next("berlin", "?n=9").await, ["2030-03-30T01:30", "2030-03-31T01:00", "2030-04-01T00:30"]);
    assert_eq!(next("berlin", "?n=1").await, ["2030-03-30T01:30"]);
    put(&api, "three", json!({"every": "1h", "max_fires": 3, "task": {"name": "noop"}})).await;
    assert_eq!((next("three", "").await.len(), next("a", "").await.len()), (3, 5));
    for bad in ["?n=0", "?n=1001", "?n=x"] {
        assert_eq!(api.get(&format!("/api/schedules/a/next{bad}")).await.0, 422, "{bad}");
    }
}

#[tokio::test]
async fn the_configurations_schedules_are_the_same_thing_and_changed_there_alone() {
    let world = World::new().await;
    let mut daemon = world.daemon("api,scheduler");
    daemon.file(
        "[schedules.files]\nevery = '2h'\nmisfire = 'all'\ncatch_up = '6h'\noverlap = 'queue_one'\njitter = '5m'\n\
         max_fires = 9\npause_after_failures = 2\nstarts_at = '2030-01-01T00:00:00Z'\nends_at = '2031-01-01T00:00:00Z'\n\
         [schedules.files.task]\nname = 'noop'\nqueue = 'files'\n",
    );
    let daemon = daemon.ready().await;
    let made = schedule(&daemon, "files").await;
    for (field, value) in [
        ("every", json!("2h")),
        ("misfire", json!("all")),
        ("catch_up", json!("6h")),
        ("overlap", json!("queue_one")),
        ("jitter", json!("5m")),
        ("max_fires", json!(9)),
        ("pause_after_failures", json!(2)),
        ("managed_by", json!("config")),
        ("next_fire_at", json!("2030-01-01T00:00:00.000000Z")),
        ("task", json!({"name": "noop", "queue": "files"})),
    ] {
        assert_eq!(made[field], value, "{field}: {made}");
    }
    let body = json!({"cron": "@daily", "task": {"name": "noop"}});
    for (method, body) in [("PUT", Some(&body)), ("DELETE", None)] {
        let (status, problem) = call(&daemon, method, "/api/schedules/files", body).await;
        assert_eq!(status, 409, "{method}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains("[schedules.files]"), "{problem}");
    }
    let (status, paused) = daemon.post("/api/schedules/files/pause", &json!({"reason": "a test"})).await;
    assert_eq!((status, &paused["pause"]["reason"]), (200, &json!("a test")), "{paused}");
    assert_eq!(schedule(&daemon, "files").await["version"], made["version"]);
}
