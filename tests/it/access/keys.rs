//! The life of a key: made, used, rotated, revoked, expired; and what is kept of it.

use super::{BOOTSTRAP, ask, asked, make, post_key, send, status, with_bootstrap};
use crate::guards::Ground;
use crate::harness::{DIGITS, Daemon, World, eventually, noop, on, private_servers};
use futures_util::future::join_all;
use mysql_async::prelude::Queryable;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use taskrunnerx::lifecycle::access::{self, AccessError, Admin, NewKey};
use taskrunnerx::store::api_keys::{MAX_KEYS, MAX_REVOKED};
use taskrunnerx::task::Scope;

/// Asks both processes with a key again and again; gives each answer with when it was asked for.
async fn hammer(daemons: [&Daemon; 2], secret: &str, over: &AtomicBool, rounds: &AtomicUsize) -> Vec<(Instant, u16)> {
    let mut seen = Vec::new();
    while !over.load(Ordering::SeqCst) {
        for daemon in daemons {
            let began = Instant::now();
            seen.push((began, status(daemon, Some(secret)).await));
        }
        rounds.fetch_add(1, Ordering::SeqCst);
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_answered_about_a_key_holds_in_every_process() {
    let world = World::new().await;
    let (first, second) = (with_bootstrap(&world, "api").await, with_bootstrap(&world, "api").await);
    for _ in 0..3 {
        // Both have just read the keys, and are asked for others all the time.
        let over = Arc::new(AtomicBool::new(false));
        let nobody = AtomicUsize::new(0);
        let bystander = hammer([&first, &second], "trx_nobody", &over, &nobody);
        let life = async {
            let (id, secret) = post_key(&first, Some(BOOTSTRAP), json!({"name": "k", "scopes": ["read"]})).await;
            assert_eq!((status(&second, Some(&secret)).await, status(&first, Some(&secret)).await), (200, 200));
            let (revoked, rounds) = (AtomicBool::new(false), AtomicUsize::new(0));
            let path = format!("/api/keys/{id}");
            let revocation = async {
                let once = async || (rounds.load(Ordering::SeqCst) > 0).then_some(());
                eventually("both were asked", once).await;
                let (code, _) = ask(&first, "DELETE", &path, Some(BOOTSTRAP), None).await;
                let at = Instant::now();
                assert_eq!(code, 204);
                // One is under way; then both have answered several times more.
                let so_far = rounds.load(Ordering::SeqCst);
                let more = async || (rounds.load(Ordering::SeqCst) >= so_far + 10).then_some(());
                eventually("both were asked again", more).await;
                revoked.store(true, Ordering::SeqCst);
                at
            };
            let (at, seen) = tokio::join!(revocation, hammer([&first, &second], &secret, &revoked, &rounds));
            let (after, before): (Vec<_>, Vec<_>) = seen.into_iter().partition(|(began, _)| *began >= at);
            assert!(before.iter().any(|(_, status)| *status == 200));
            assert!(!after.is_empty() && after.iter().all(|(_, status)| *status == 401), "{after:?}");
            over.store(true, Ordering::SeqCst);
        };
        let (_, seen) = tokio::join!(life, bystander);
        assert!(seen.iter().all(|(_, status)| *status == 401));
    }
    // Once more, and of one that there is not.
    let (_, kept) = ask(&first, "GET", "/api/keys", Some(BOOTSTRAP), None).await;
    let kept = kept["keys"].as_array().unwrap();
    assert_eq!(kept.len(), 3);
    assert!(kept.iter().all(|key| key["revoked_at"].is_string()));
    let path = format!("/api/keys/{}", kept[0]["id"].as_str().unwrap());
    assert_eq!(ask(&first, "DELETE", &path, Some(BOOTSTRAP), None).await.0, 204);
    assert_eq!(ask(&first, "POST", &format!("{path}/rotate"), Some(BOOTSTRAP), None).await.0, 409);
    for (method, path) in
        [("DELETE", "0190163d-8694-739b-aea5-966c26f8ad91"), ("POST", "0190163d-8694-739b-aea5-966c26f8ad91/rotate")]
    {
        assert_eq!(ask(&first, method, &format!("/api/keys/{path}"), Some(BOOTSTRAP), None).await.0, 404, "{method}");
    }
    assert_eq!(ask(&first, "DELETE", "/api/keys/7", Some(BOOTSTRAP), None).await.0, 422);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_key_has_its_old_secret_until_the_overlap_is_over() {
    let world = World::new().await;
    let (first, second) = (with_bootstrap(&world, "api").await, with_bootstrap(&world, "api").await);
    let (id, old) = post_key(&first, Some(BOOTSTRAP), json!({"name": "k", "scopes": ["read"]})).await;
    let rotate = async |body: Value| {
        let answer = send(&first, "POST", &format!("/api/keys/{id}/rotate"), Some(BOOTSTRAP), Some(&body)).await;
        assert_eq!(answer.status().as_u16(), 200);
        assert_eq!(answer.headers()["cache-control"], "no-store");
        let made: Value = answer.json().await.unwrap();
        assert_eq!(
            (&made["id"], made["previous_until"].is_string()),
            (&json!(id), body["overlap"].is_string()),
            "{made}"
        );
        made["key"].as_str().unwrap().to_owned()
    };
    let began = Instant::now();
    let new = rotate(json!({"overlap": "4s"})).await;
    assert_ne!(old, new);
    for daemon in [&first, &second] {
        assert_eq!(status(daemon, Some(&new)).await, 200);
        let of_old = status(daemon, Some(&old)).await;
        assert!(of_old == 200 || began.elapsed() > Duration::from_secs(4), "{of_old}");
    }
    for daemon in [&first, &second] {
        eventually("the overlap is over", async || (status(daemon, Some(&old)).await == 401).then_some(())).await;
        assert_eq!(status(daemon, Some(&new)).await, 200);
    }
    assert!(began.elapsed() > Duration::from_millis(3900));
    // Without an overlap, and for the one before the last in any case: at once.
    let newer = rotate(json!({"overlap": "1h"})).await;
    let newest = rotate(json!({})).await;
    for daemon in [&first, &second] {
        let all = [&new, &newer, &newest].map(|secret| status(daemon, Some(secret)));
        assert_eq!(join_all(all).await, [401, 401, 200]);
    }
    // A revoked key takes its previous one along.
    let last = rotate(json!({"overlap": "1h"})).await;
    assert_eq!((status(&first, Some(&newest)).await, status(&first, Some(&last)).await), (200, 200));
    assert_eq!(ask(&first, "DELETE", &format!("/api/keys/{id}"), Some(BOOTSTRAP), None).await.0, 204);
    assert_eq!((status(&second, Some(&newest)).await, status(&second, Some(&last)).await), (401, 401));
}

#[tokio::test(flavor = "multi_thread")]
async fn at_rest_there_is_only_the_hash_of_a_key() {
    let world = World::new().await;
    let mut builder = world.daemon("api");
    builder.env("TASKRUNNERX_API_KEY", BOOTSTRAP).env("TASKRUNNERX_LOG__LEVEL", "trace");
    let daemon = builder.ready().await;
    let body = json!({"name": "ci of the shop", "scopes": ["submit", "read"], "queues": ["a"], "rate_limit": 100,
                      "expires_in": "30d"});
    let answer = send(&daemon, "POST", "/api/keys", Some(BOOTSTRAP), Some(&body)).await;
    assert_eq!((answer.status().as_u16(), &answer.headers()["cache-control"]), (201, &"no-store".parse().unwrap()));
    let made: Value = answer.json().await.unwrap();
    let first = made["key"].as_str().unwrap().to_owned();
    assert!(first.starts_with("trx_") && first.len() == 47, "{first}");
    let path = format!("/api/keys/{}/rotate", made["id"].as_str().unwrap());
    let (_, rotated) = ask(&daemon, "POST", &path, Some(BOOTSTRAP), Some(&json!({"overlap": "1h"}))).await;
    let second = rotated["key"].as_str().unwrap().to_owned();
    for secret in [&first, &second] {
        assert_eq!(status(&daemon, Some(secret)).await, 200);
        assert_eq!(ask(&daemon, "DELETE", "/api/keys/7", Some(secret), None).await.0, 403);
    }
    let mut sql = world.sql().await;
    let (hash, previous): (String, String) =
        sql.query_first("SELECT LOWER(HEX(hash)), LOWER(HEX(previous_hash)) FROM api_keys").await.unwrap().unwrap();
    let hex = |secret: &str| access::hash(secret).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!((hash, previous), (hex(&second), hex(&first)));
    let columns: Vec<String> = sql
        .query("SELECT column_name FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = 'api_keys'")
        .await
        .unwrap();
    let everything = format!("SELECT CONCAT_WS('|', {}) FROM api_keys", columns.join(", "));
    let dump: Vec<Vec<u8>> = sql.query(everything).await.unwrap();
    let (_, listed) = ask(&daemon, "GET", "/api/keys", Some(BOOTSTRAP), None).await;
    let row = &listed["keys"][0];
    assert_eq!(row["name"], "ci of the shop");
    assert_eq!(
        (&row["scopes"], &row["queues"], &row["names"]),
        (&json!(["submit", "read"]), &json!(["a"]), &Value::Null)
    );
    assert_eq!((&row["rate_limit"], &row["created_by"]), (&json!(100), &json!("key")));
    assert!(row["expires_at"].is_string() && row["revoked_at"].is_null() && row.get("key").is_none(), "{row}");
    for secret in [&first, &second] {
        let part = &secret[4..24];
        assert!(!String::from_utf8_lossy(&dump.concat()).contains(part), "the table has the key");
        assert_eq!(daemon.logged(part), 0, "the log has the key");
        assert!(!listed.to_string().contains(part));
    }
    eventually("its use is written", async || {
        let (_, listed) = ask(&daemon, "GET", "/api/keys", Some(BOOTSTRAP), None).await;
        listed["keys"][0]["last_used_at"].is_string().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_of_a_new_key_is_said_at_once() {
    let world = World::new().await;
    let daemon = with_bootstrap(&world, "api").await;
    let faults = async |body: Value| -> Vec<(String, String)> {
        let (status, problem) = ask(&daemon, "POST", "/api/keys", Some(BOOTSTRAP), Some(&body)).await;
        assert_eq!(status, 422, "{body} -> {problem}");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        problem["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|fault| (text(&fault["pointer"]), text(&fault["detail"])))
            .collect()
    };
    let pointers = async |body: Value| faults(body).await.into_iter().map(|(pointer, _)| pointer).collect::<Vec<_>>();
    assert_eq!(pointers(json!({})).await, ["#/name", "#/scopes"]);
    let all = json!({"name": " ", "scopes": ["read", "root", 7], "queues": [], "names": ["a b"], "expires_in": "0s",
                     "rate_limit": 0, "scope": "read"});
    let all = faults(all).await;
    let places: Vec<&str> = all.iter().map(|(pointer, _)| pointer.as_str()).collect();
    assert_eq!(
        places,
        ["#/name", "#/scopes/1", "#/scopes/2", "#/queues", "#/names/0", "#/expires_in", "#/rate_limit", "#/scope"]
    );
    assert!(all[1].1.contains("\"root\"") && all[1].1.contains("read, submit, work, operate, admin"), "{all:?}");
    assert_eq!(pointers(json!({"name": "a\nb", "scopes": []})).await, ["#/name", "#/scopes"]);
    let admin = json!({"name": "k", "scopes": ["admin"], "queues": ["a"], "names": ["noop"]});
    assert_eq!(pointers(admin).await, ["#/queues", "#/names"]);
    let many: Vec<String> = (0..65).map(|n| format!("q{n}")).collect();
    assert_eq!(pointers(json!({"name": "k", "scopes": ["read"], "queues": many})).await, ["#/queues"]);
    let (_, listed) = ask(&daemon, "GET", "/api/keys", Some(BOOTSTRAP), None).await;
    assert_eq!(listed["keys"], json!([]));
}

/// Keys numbered from 0 on, so many; those from `live` on are revoked.
async fn fill(sql: &mut mysql_async::Conn, live: u64, count: u64) {
    let fill = format!(
        "INSERT INTO api_keys (id, name, hash, scopes, created_at, created_by, revoked_at) \
         SELECT UNHEX(LPAD(HEX(n), 32, '0')), 'k', UNHEX(SHA2(n, 256)), '[\"read\"]', NOW(6), 'test', \
         IF(n < {live}, NULL, NOW(6) - INTERVAL n SECOND) \
         FROM (SELECT a.d + 10 * b.d + 100 * c.d + 1000 * d.d n FROM {DIGITS} a, {DIGITS} b, {DIGITS} c, {DIGITS} d) all_n \
         WHERE n < {count}"
    );
    sql.query_drop(fill).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_makes_a_key_waits_for_whoever_is_making_the_last_one() {
    let mut ground = Ground::new().await;
    let mut other = ground.world.sql().await;
    fill(&mut other, MAX_KEYS - 1, MAX_KEYS - 1).await;
    for statement in [
        "START TRANSACTION",
        "SELECT id FROM api_keys ORDER BY id LIMIT 1 FOR UPDATE",
        "INSERT INTO api_keys (id, name, hash, scopes, created_at, created_by) \
         VALUES (REPEAT('a', 16), 'last', UNHEX(SHA2('last', 256)), '[\"read\"]', NOW(6), 'test')",
    ] {
        other.query_drop(statement).await.unwrap();
    }
    let store = ground.store.clone();
    let mut making =
        tokio::spawn(async move { access::create(&store, asked("k", &[Scope::Read]), Admin::Elsewhere).await });
    tokio::select! {
        () = ground.until_blocked(1) => {}
        made = &mut making => panic!("it did not wait: {made:?}"),
    }
    other.query_drop("COMMIT").await.unwrap();
    let made = making.await.unwrap();
    assert!(matches!(made, Err(AccessError::TooMany)), "{made:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn there_are_no_more_keys_than_every_process_can_have_at_hand() {
    let world = World::new().await;
    let store = world.store().await;
    let mut sql = world.sql().await;
    fill(&mut sql, MAX_KEYS - 1, MAX_KEYS + MAX_REVOKED + 9).await;
    // Room for one, and five who want it.
    let made = join_all((0..5).map(|_| access::create(&store, asked("k", &[Scope::Read]), Admin::Elsewhere))).await;
    assert_eq!(made.iter().filter(|made| made.is_ok()).count(), 1, "{made:?}");
    assert!(made.iter().all(|made| !matches!(made, Err(AccessError::Store(_)))));
    let daemon = with_bootstrap(&world, "api").await;
    let body = json!({"name": "k", "scopes": ["read"]});
    let (status, problem) = ask(&daemon, "POST", "/api/keys", Some(BOOTSTRAP), Some(&body)).await;
    assert_eq!(status, 409, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("1000 keys"), "{problem}");
    // Of the revoked ones the latest are kept.
    let (count, oldest): (u64, u64) = sql
        .query_first("SELECT COUNT(*), CAST(CONV(HEX(MAX(id)), 16, 10) AS UNSIGNED) FROM api_keys WHERE revoked_at IS NOT NULL AND id < x'01'")
        .await
        .unwrap()
        .unwrap();
    assert_eq!((count, oldest), (MAX_REVOKED, MAX_KEYS - 1 + MAX_REVOKED - 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_may_ask_as_often_as_its_limit_says_and_hears_how_it_stands() {
    let world = World::new().await;
    let store = world.store().await;
    let mut builder = world.daemon("api");
    builder.env("TASKRUNNERX_API_KEY", BOOTSTRAP).env("TASKRUNNERX_LIMITS__RATE", "3");
    let daemon = builder.ready().await;
    let own = NewKey { rate_limit: Some(2), ..asked("own", &[Scope::Read]) };
    let ((_, own), (_, wide)) = tokio::join!(make(&store, own), make(&store, asked("wide", &[Scope::Read])));
    for (secret, quota) in [(&own, 2_u64), (&wide, 3)] {
        let began = Instant::now();
        let answers = join_all((0..30).map(|_| send(&daemon, "GET", "/api/task-types", Some(secret), None))).await;
        let most = quota * (began.elapsed().as_secs() + 2);
        let passed = answers.iter().filter(|answer| answer.status() == 200).count() as u64;
        assert!(passed >= quota && passed <= most, "{passed} of 30 with {quota} a second");
        for answer in answers {
            let header = |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
            assert_eq!(header("ratelimit-policy").unwrap(), format!("\"key\";q={quota};w=1"));
            let standing = header("ratelimit").unwrap();
            match answer.status().as_u16() {
                200 => assert!(standing.starts_with("\"key\";r=") && header("retry-after").is_none(), "{standing}"),
                429 => {
                    assert_eq!((standing.as_str(), header("retry-after").as_deref()), ("\"key\";r=0;t=1", Some("1")));
                    assert_eq!(header("content-type").unwrap(), "application/problem+json");
                }
                other => panic!("{other}"),
            }
        }
        eventually("room again", async || (status(&daemon, Some(secret)).await == 200).then_some(())).await;
    }
    // The administrator gets in.
    let answers = join_all((0..30).map(|_| send(&daemon, "GET", "/api/task-types", Some(BOOTSTRAP), None))).await;
    assert!(answers.iter().all(|answer| answer.status() == 200 && !answer.headers().contains_key("ratelimit")));
    assert!(daemon.metric("taskrunnerx_http_refused_total{kind=\"rate\"}").await > 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_end_with_their_key() {
    let world = World::new().await;
    let store = world.store().await;
    let daemon = with_bootstrap(&world, "api").await;
    let (_, task) = ask(&daemon, "POST", "/api/tasks", Some(BOOTSTRAP), Some(&noop("q"))).await;
    let of_task = format!("/api/tasks/{}/events", task["id"].as_str().unwrap());
    let expiring = NewKey { expires_in: Some(Duration::from_secs(3600)), ..asked("expiring", &[Scope::Read]) };
    let ((id, revoked), (_, expiring), (turned, rotated)) = tokio::join!(
        make(&store, asked("revoked", &[Scope::Read])),
        make(&store, expiring),
        make(&store, asked("rotated", &[Scope::Read]))
    );
    let mut streams = Vec::new();
    for secret in [&revoked, &expiring, &rotated] {
        for path in [of_task.as_str(), "/api/events"] {
            let stream = send(&daemon, "GET", path, Some(secret), None).await;
            assert_eq!(stream.status().as_u16(), 200);
            streams.push(stream);
        }
    }
    let mut bootstrap = send(&daemon, "GET", &of_task, Some(BOOTSTRAP), None).await;
    let end = "UPDATE api_keys SET expires_at = NOW(6) WHERE name = 'expiring'";
    world.sql().await.query_drop(end).await.unwrap();
    access::revoke(&store, id, "test", Admin::Elsewhere).await.unwrap();
    // Its secret is another from now on: whoever has the one before is shown the door, though the key lives.
    access::rotate(&store, turned, Duration::ZERO, "test").await.unwrap();
    let began = Instant::now();
    for mut stream in streams {
        while stream.chunk().await.unwrap().is_some() {}
    }
    // A stream that says it is still there would do so every 15 s.
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
    assert!(bootstrap.chunk().await.unwrap().is_some());
    let more = tokio::time::timeout(Duration::from_millis(300), bootstrap.chunk()).await;
    assert!(!matches!(more, Ok(Ok(None))), "the bootstrap key's goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_database_is_away_nobody_is_let_in_by_a_stored_key() {
    let (mut servers, _directory) = private_servers().await;
    let mut builder = on(&servers, "api");
    builder.env("TASKRUNNERX_API_KEY", BOOTSTRAP);
    let daemon = builder.ready().await;
    let (_, secret) = post_key(&daemon, Some(BOOTSTRAP), json!({"name": "k", "scopes": ["read"]})).await;
    assert_eq!(status(&daemon, Some(&secret)).await, 200);
    servers.database.kill().await;
    let answer = eventually("nobody", async || {
        let answer = send(&daemon, "GET", "/api/task-types", Some(&secret), None).await;
        (answer.status() != 200).then_some(answer)
    })
    .await;
    assert_eq!(answer.status().as_u16(), 503);
    assert!(answer.headers().contains_key("retry-after"));
    // Who needs no database to be known is known.
    assert_eq!((status(&daemon, Some(BOOTSTRAP)).await, status(&daemon, None).await), (200, 401));
    servers.database.start().await.unwrap();
    eventually("let in again", async || (status(&daemon, Some(&secret)).await == 200).then_some(())).await;
    assert_eq!(status(&daemon, Some("trx_wrong")).await, 401);
    servers.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_may_make_others_is_always_left() {
    let world = World::new().await;
    let store = world.store().await;
    let daemon = world.daemon("api").ready().await;
    let create = async |key: Option<&str>, scope: &str| {
        ask(&daemon, "POST", "/api/keys", key, Some(&json!({"name": "k", "scopes": [scope]}))).await
    };
    let detail = |problem: &Value| problem["detail"].as_str().unwrap().to_owned();
    for scope in ["read", "operate", "work"] {
        let (status, problem) = create(None, scope).await;
        assert_eq!(status, 409, "{problem}");
        assert!(detail(&problem).contains("the first key must have the scope admin"), "{problem}");
    }
    // Nobody is locked out: it is open still.
    assert_eq!(status(&daemon, None).await, 200);
    let (id, first) = post_key(&daemon, None, json!({"name": "ops", "scopes": ["admin"]})).await;
    let revoke = async |id: &str| ask(&daemon, "DELETE", &format!("/api/keys/{id}"), Some(&first), None).await;
    let (other, _) = post_key(&daemon, Some(&first), json!({"name": "reader", "scopes": ["read"]})).await;
    // One that has expired makes no other.
    let spent = NewKey { expires_in: Some(Duration::from_millis(1)), ..asked("spent", &[Scope::Admin]) };
    let (spent, _) = make(&store, spent).await;
    let (status, problem) = revoke(&id).await;
    assert_eq!(status, 409, "{problem}");
    assert!(detail(&problem).contains("is the last admin key"), "{problem}");
    assert_eq!((revoke(&other).await.0, revoke(&spent.to_string()).await.0), (204, 204));
    let (second, _) = post_key(&daemon, Some(&first), json!({"name": "second", "scopes": ["admin"]})).await;
    assert_eq!(revoke(&second).await.0, 204);
    // Again, as every revocation may be.
    assert_eq!((revoke(&second).await.0, revoke(&id).await.0), (204, 409));

    // Two that are revoked at once by two: one is left.
    for _ in 0..8 {
        let ids = join_all((0..2).map(|_| make(&store, asked("one of two", &[Scope::Admin])))).await;
        let mut sql = world.sql().await;
        sql.query_drop("UPDATE api_keys SET revoked_at = NOW(6) WHERE name NOT LIKE 'one of two'").await.unwrap();
        let both = join_all(ids.iter().map(|(id, _)| access::revoke(&store, *id, "test", Admin::Kept))).await;
        assert_eq!(both.iter().filter(|done| matches!(done, Err(AccessError::LastAdmin(_)))).count(), 1, "{both:?}");
        sql.query_drop("UPDATE api_keys SET revoked_at = NOW(6)").await.unwrap();
    }

    // The bootstrap key makes others whatever there is.
    let with = with_bootstrap(&world, "api").await;
    let (id, _) = post_key(&with, Some(BOOTSTRAP), json!({"name": "k", "scopes": ["admin"]})).await;
    assert_eq!(ask(&with, "DELETE", &format!("/api/keys/{id}"), Some(BOOTSTRAP), None).await.0, 204);
    post_key(&with, Some(BOOTSTRAP), json!({"name": "k", "scopes": ["read"]})).await;
}
