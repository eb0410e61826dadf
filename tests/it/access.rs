//! Who may ask for what: every route by every kind of key, and what becomes of keys.

mod keys;
mod restricted;

use crate::harness::{Daemon, World, eventually};
use futures_util::future::join_all;
use mysql_async::prelude::Queryable;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;
use taskrunnerx::lifecycle::access::{self, Admin, NewKey};
use taskrunnerx::store::Store;
use taskrunnerx::task::{KeyId, Scope};

/// The bootstrap key.
pub(crate) const BOOTSTRAP: &str = "trx_0123456789abcdef";

/// A daemon with a bootstrap key.
pub(crate) async fn with_bootstrap(world: &World, roles: &str) -> Daemon {
    let mut builder = world.daemon(roles);
    builder.env("TASKRUNNERX_API_KEY", BOOTSTRAP);
    builder.ready().await
}

pub(crate) async fn send(
    daemon: &Daemon,
    method: &str,
    path: &str,
    key: Option<&str>,
    body: Option<&Value>,
) -> reqwest::Response {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let mut request = daemon.client.request(method, format!("{}{path}", daemon.url));
    if let Some(key) = key {
        request = request.bearer_auth(key);
    }
    if let Some(body) = body {
        request = request.json(body);
    }
    request.send().await.unwrap()
}

/// The status and the body of an answer.
pub(crate) async fn ask(
    daemon: &Daemon,
    method: &str,
    path: &str,
    key: Option<&str>,
    body: Option<&Value>,
) -> (u16, Value) {
    let answer = send(daemon, method, path, key, body).await;
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// Whether this key is let in.
pub(crate) async fn status(daemon: &Daemon, key: Option<&str>) -> u16 {
    ask(daemon, "GET", "/api/task-types", key, None).await.0
}

pub(crate) fn asked(name: &str, scopes: &[Scope]) -> NewKey {
    NewKey {
        name: name.to_owned(),
        scopes: scopes.to_vec(),
        queues: None,
        names: None,
        expires_in: None,
        rate_limit: None,
        by: "test".to_owned(),
    }
}

/// Makes a key beside every server, as the command line does; gives its id and its secret.
pub(crate) async fn make(store: &Store, key: NewKey) -> (KeyId, String) {
    let made = access::create(store, key, Admin::Elsewhere).await.unwrap();
    (made.key.id, made.secret.expose().to_owned())
}

/// Makes a key over REST; gives its id and its secret.
pub(crate) async fn post_key(daemon: &Daemon, by: Option<&str>, body: Value) -> (String, String) {
    let (status, made) = ask(daemon, "POST", "/api/keys", by, Some(&body)).await;
    assert_eq!(status, 201, "{made}");
    let text = |field: &str| made[field].as_str().unwrap().to_owned();
    (text("id"), text("key"))
}

/// A route's path with something in place of each parameter.
fn filled(pattern: &str) -> String {
    let part = |part: &str| match part.starts_with('{') {
        true => "0190163d-8694-739b-aea5-966c26f8ad91".to_owned(),
        false => part.to_owned(),
    };
    pattern.split('/').map(part).collect::<Vec<_>>().join("/")
}

/// The same path for a router, with its last letter as an escape.
fn escaped(path: &str) -> String {
    match path.char_indices().rev().find(|(_, letter)| letter.is_ascii_alphabetic()) {
        Some((at, letter)) => format!("{}%{:02x}{}", &path[..at], u32::from(letter), &path[at + 1..]),
        None => path.to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_escaped_path_makes_no_key() {
    let world = World::new().await;
    let store = world.store().await;
    let daemon = with_bootstrap(&world, "api").await;
    let (_, reads) = make(&store, asked("reads", &[Scope::Read])).await;
    for path in ["/api/keys", "/api/%6beys", "/api/key%73", "/%61pi/keys", "/api/%6Beys"] {
        let body = json!({"name": "mine", "scopes": ["admin"]});
        let (status, answer) = ask(&daemon, "POST", path, Some(&reads), Some(&body)).await;
        assert_eq!(status, 403, "{path}: {answer}");
    }
    assert_eq!(ask(&daemon, "GET", "/api/keys", Some(BOOTSTRAP), None).await.1["keys"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_wants_a_key_of_its_scope() {
    let world = World::new().await;
    let store = world.store().await;
    let mut builder = world.daemon("api");
    builder.env("TASKRUNNERX_API_KEY", BOOTSTRAP).env("TASKRUNNERX_METRICS__REQUIRE_KEY", "true");
    let daemon = builder.ready().await;
    let of_scopes = join_all(Scope::ALL.map(|scope| make(&store, asked(scope.as_str(), &[scope])))).await;
    let everything = Scope::ALL;
    let expiring = NewKey { expires_in: Some(Duration::from_secs(3600)), ..asked("expired", &everything) };
    let ((revoked, revoked_secret), (_, expired)) =
        tokio::join!(make(&store, asked("revoked", &everything)), make(&store, expiring));
    assert_eq!((status(&daemon, Some(&revoked_secret)).await, status(&daemon, Some(&expired)).await), (200, 200));
    access::revoke(&store, revoked, "test", Admin::Elsewhere).await.unwrap();
    let end = "UPDATE api_keys SET expires_at = NOW(6) WHERE name = 'expired'";
    world.sql().await.query_drop(end).await.unwrap();
    eventually("expired", async || (status(&daemon, Some(&expired)).await == 401).then_some(())).await;

    let mut routes: Vec<(String, &str, Option<Scope>)> = taskrunnerx::api::reference()
        .into_iter()
        .map(|route| (route.method.to_string(), route.path, route.scope.and_then(Scope::parse)))
        .collect();
    assert!(routes.len() > 20, "{routes:?}");
    // Here it wants a key that reads.
    routes.iter_mut().filter(|(_, path, _)| *path == "/metrics").for_each(|(_, _, needs)| *needs = Some(Scope::Read));
    for (method, pattern, needs) in routes {
        let path = filled(pattern);
        let strangers = [None, Some("trx_wrong"), Some(expired.as_str()), Some(revoked_secret.as_str())];
        for key in strangers {
            let answer = send(&daemon, &method, &path, key, None).await;
            let (got, challenge) = (answer.status().as_u16(), answer.headers().get("www-authenticate").cloned());
            match needs {
                None => assert!(![401, 403].contains(&got), "{method} {path} with {key:?}: {got}"),
                Some(_) => {
                    assert_eq!(got, 401, "{method} {path} with {key:?}");
                    assert_eq!(challenge.unwrap(), "Bearer");
                    assert_eq!(answer.headers()["content-type"], "application/problem+json");
                }
            }
        }
        // The router decodes a path before it looks for its route: an escape is no way around.
        let paths = [path.clone(), escaped(&path)];
        for ((scope, (_, secret)), path) in
            Scope::ALL.into_iter().zip(&of_scopes).flat_map(|one| paths.iter().map(move |path| (one, path)))
        {
            let answer = send(&daemon, &method, path, Some(secret), None).await;
            let got = answer.status().as_u16();
            match needs {
                Some(needed) if !scope.includes(needed) => {
                    let problem: Value = answer.json().await.unwrap();
                    assert_eq!(got, 403, "{method} {path} with {scope}: {problem}");
                    let detail = problem["detail"].as_str().unwrap();
                    assert!(
                        detail.contains(&format!("scope {needed};")) && detail.ends_with(&format!("has {scope}")),
                        "{detail}"
                    );
                }
                _ => assert!(![401, 403].contains(&got), "{method} {path} with {scope}: {got}"),
            }
        }
        let got = send(&daemon, &method, &path, Some(BOOTSTRAP), None).await.status().as_u16();
        assert!(![401, 403].contains(&got), "{method} {path} with the bootstrap key: {got}");
        // Its methods are no secret.
        assert_eq!(send(&daemon, "OPTIONS", &path, None, None).await.status().as_u16(), 204, "{path}");
        let got = send(&daemon, "PATCH", &path, None, None).await.status().as_u16();
        assert_eq!(got, 401, "{path}: a method that it does not have");
    }
    assert_eq!(ask(&daemon, "GET", "/api/nothing", None, None).await.0, 401);
    assert_eq!(ask(&daemon, "GET", "/api/nothing", Some(&of_scopes[2].1), None).await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_counted_by_kind_and_logged_now_and_then_without_what_was_sent() {
    let world = World::new().await;
    let store = world.store().await;
    let mut builder = world.daemon("api");
    builder.env("TASKRUNNERX_API_KEY", BOOTSTRAP).env("TASKRUNNERX_LOG__LEVEL", "debug");
    let daemon = builder.ready().await;
    let (_, reader) = make(&store, asked("reader", &[Scope::Read])).await;
    for n in 0..50 {
        assert_eq!(status(&daemon, Some(&format!("trx_guess_{n}"))).await, 401);
    }
    assert_eq!(status(&daemon, None).await, 401);
    assert_eq!(ask(&daemon, "POST", "/api/tasks", Some(&reader), None).await.0, 403);
    for (kind, count) in [("bad_key", 50.0), ("no_key", 1.0), ("scope", 1.0), ("rate", 0.0)] {
        let series = format!("taskrunnerx_http_refused_total{{kind=\"{kind}\"}}");
        assert_eq!(daemon.metric(&series).await, count, "{kind}");
    }
    let lines = daemon.logged("who asks is not known");
    assert!((1..=10).contains(&lines), "{lines} lines for 51 requests");
    for secret in ["trx_guess_", BOOTSTRAP, reader.as_str()] {
        assert_eq!(daemon.logged(secret), 0, "the log has {secret}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_key_it_is_open_to_this_machine_until_the_first_one_and_never_again() {
    let world = World::new().await;
    let (first, second) = (world.daemon("api").ready().await, world.daemon("api").ready().await);
    assert_eq!((status(&first, None).await, status(&second, None).await), (200, 200));
    // Whatever is sent along.
    assert_eq!(status(&first, Some("trx_any")).await, 200);
    let mut live = send(&second, "GET", "/api/events", None, None).await;
    assert_eq!(live.status().as_u16(), 200);
    let (id, secret) = post_key(&first, None, json!({"name": "first", "scopes": ["admin", "work"]})).await;
    for daemon in [&first, &second] {
        assert_eq!(status(daemon, None).await, 401, "closed at once");
        assert_eq!(status(daemon, Some(&secret)).await, 200);
        assert_eq!(send(daemon, "OPTIONS", "/api/tasks", None, None).await.status().as_u16(), 204);
    }
    // Who came in before is shown out.
    while live.chunk().await.unwrap().is_some() {}
    let (_, kept) = ask(&first, "GET", "/api/keys", Some(&secret), None).await;
    assert_eq!((&kept["keys"][0]["created_by"], &kept["keys"][0]["id"]), (&json!("local"), &json!(id)), "{kept}");
    // Over REST the last one stays.
    access::revoke(&world.store().await, id.parse().unwrap(), "test", Admin::Elsewhere).await.unwrap();
    for daemon in [&first, &second, &world.daemon("api").ready().await] {
        assert_eq!((status(daemon, None).await, status(daemon, Some(&secret)).await), (401, 401));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_this_machine_a_key_of_the_database_will_do_and_no_empty_table_opens_it() {
    use mysql_async::prelude::Queryable;
    let world = World::new().await;
    let store = world.store().await;
    let (id, secret) = make(&store, asked("only", &[Scope::Admin])).await;
    let serve = || {
        let mut builder = crate::harness::DaemonBuilder::new(&["serve", "--role", "api", "--bind", "0.0.0.0:0"]);
        builder
            .env("DATABASE_URL", &world.database_url)
            .env("REDIS_URL", &world.redis_url)
            .env("TASKRUNNERX_REDIS_PREFIX", &world.prefix)
            .env("TASKRUNNERX_SCHEDULER__HEARTBEAT", "");
        builder
    };
    let mut daemon = serve().start();
    daemon.url = daemon.url.replace("0.0.0.0", "127.0.0.1");
    daemon.until_ready().await;
    assert_eq!((status(&daemon, Some(&secret)).await, status(&daemon, None).await), (200, 401));
    // Somebody empties the table by hand.
    world.sql().await.query_drop("DELETE FROM api_keys").await.unwrap();
    eventually("nobody", async || (status(&daemon, Some(&secret)).await == 401).then_some(())).await;
    assert_eq!(status(&daemon, None).await, 401, "this listener is not for this machine alone");
    // Nor does it start without one that is valid.
    let (id, _) = {
        _ = id;
        make(&store, asked("revoked", &[Scope::Admin])).await
    };
    access::revoke(&store, id, "test", Admin::Elsewhere).await.unwrap();
    let (code, _, errors) = serve().output();
    assert_eq!(code, 2, "{errors}");
    assert!(errors.contains("TASKRUNNERX_API_KEY") && errors.contains("taskrunnerx apikey create"), "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_read_hears_of_a_keys_holder_only_that_it_is_there() {
    let world = World::new().await;
    let store = world.store().await;
    let daemon = with_bootstrap(&world, "api,worker").await;
    let (_, submits) = make(&store, asked("submits", &[Scope::Submit])).await;
    let (_, reads) = make(&store, asked("reads", &[Scope::Submit, Scope::Read])).await;
    let first = json!({"name": "fail", "payload": {"message": "secret"}, "metadata": {"s": "secret"}, "backoff": "1h",
                       "unique_key": "k", "tags": ["t"]});
    let (status, holder) = ask(&daemon, "POST", "/api/tasks?wait=0", Some(BOOTSTRAP), Some(&first)).await;
    assert_eq!(status, 201, "{holder}");
    let path = format!("/api/tasks/{}", holder["id"].as_str().unwrap());
    eventually("it has failed once", async || {
        let (_, task) = ask(&daemon, "GET", &path, Some(BOOTSTRAP), None).await;
        task["last_error"].is_string().then_some(())
    })
    .await;
    let again = json!({"name": "fail", "payload": {"message": "mine"}, "unique_key": "k"});
    let plain = json!({"name": "noop", "metadata": {"s": "mine"}});
    // As if it had had these too.
    let filled = "UPDATE tasks SET result = '\"secret\"', progress = 0.5, progress_note = 'secret' WHERE name = 'fail'";
    world.sql().await.query_drop(filled).await.unwrap();
    const CONTENTS: [&str; 5] = ["payload", "metadata", "last_error", "result", "progress_note"];
    let contents = |task: &Value| CONTENTS.map(|part| !task[part].is_null());
    for (path, body, at) in [
        ("/api/tasks", again.clone(), ""),
        ("/api/tasks?wait=1ms", again.clone(), ""),
        ("/api/tasks/bulk", json!({"tasks": [plain, again.clone()]}), "/tasks/1"),
    ] {
        for (key, sees) in [(&submits, false), (&reads, true)] {
            let (status, answer) = ask(&daemon, "POST", path, Some(key), Some(&body)).await;
            assert!(status < 300, "{answer}");
            let task = answer.pointer(at).unwrap();
            assert_eq!(contents(task), [sees; 5], "{path}: {task}");
            assert_eq!(
                (&task["id"], &task["tags"], &task["status"]),
                (&holder["id"], &json!(["t"]), &json!("scheduled"))
            );
            // Its own it sees.
            if let Some(own) = answer.pointer("/tasks/0") {
                assert_eq!(own["metadata"], json!({"s": "mine"}));
            }
        }
    }
    // Nor when it says the same once more, under a key of its own.
    for repeated in [false, true] {
        let request = daemon.client.post(format!("{}/api/tasks", daemon.url)).json(&again);
        let request = request.header("authorization", format!("Bearer {submits}")).header("idempotency-key", "i");
        let response = request.send().await.unwrap();
        assert_eq!(response.headers().contains_key("idempotency-replayed"), repeated);
        assert_eq!(contents(&response.json().await.unwrap()), [false; 5]);
    }
}
