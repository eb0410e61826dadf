//! `apikey`: on the database itself, before any server lets anybody in.

use super::fields;
use crate::harness::{Daemon, DaemonBuilder, World};
use serde_json::{Value, json};

/// On the test's database.
async fn on(world: &World, args: &[&str]) -> (i32, String, String) {
    let mut builder = DaemonBuilder::new(&[&["apikey"], args].concat());
    builder.env("DATABASE_URL", &world.database_url);
    tokio::task::spawn_blocking(move || builder.output()).await.unwrap()
}

/// A client command with a key.
async fn with(key: &str, daemon: &Daemon, args: &[&str]) -> (i32, String, String) {
    let mut builder = DaemonBuilder::new(&[args, &["--url", &daemon.url]].concat());
    builder.env("TASKRUNNERX_API_KEY", key);
    tokio::task::spawn_blocking(move || builder.output()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_key_is_made_on_an_empty_database_and_opens_it_to_itself_alone() {
    let world = World::new().await;
    let (code, _, errors) = on(&world, &["create", "shop", "--scope", "submit,read"]).await;
    assert!(code == 1 && errors.contains("the first key must have the scope admin"), "{errors}");
    let (code, first, errors) = on(&world, &["create", "ops", "--scope", "admin"]).await;
    assert_eq!(code, 0, "{errors}");
    assert!(first.starts_with("trx_") && first.lines().count() == 1, "the key alone");
    assert!(errors.contains(" of ops, which may admin") && !errors.contains(first.trim()), "{errors}");
    let api = world.daemon("api").ready().await;
    let (code, _, errors) = with("", &api, &["tasks", "list"]).await;
    assert!(code == 1 && errors.contains("TASKRUNNERX_API_KEY"), "{errors}");
    assert_eq!(with(first.trim(), &api, &["tasks", "list"]).await.0, 0);

    let args = ["create", "shop", "--scope", "submit", "--queue", "mail", "--name", "noop", "--expires-in", "90d"];
    let (code, text, errors) = on(&world, &[&args[..], &["--rate", "100", "--json"]].concat()).await;
    assert_eq!((code, &*errors), (0, ""));
    let shop: Value = serde_json::from_str(&text).unwrap();
    let expected =
        json!({"name": "shop", "scopes": ["submit"], "queues": ["mail"], "names": ["noop"], "rate_limit": 100});
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&shop[field], value, "{field}");
    }
    let (id, key) = (shop["id"].as_str().unwrap(), shop["key"].as_str().unwrap());
    assert_eq!(with(key, &api, &["submit", "noop", "--queue", "mail"]).await.0, 0);
    let (code, _, errors) = with(key, &api, &["tasks", "list"]).await;
    assert!(code == 1 && errors.contains("a key that may do this"), "{errors}");

    // It may submit, and not look at what becomes of it.
    let (code, text, errors) = with(key, &api, &["submit", "noop", "--queue", "mail", "--wait"]).await;
    assert_eq!((code, &*text), (4, ""), "{errors}");
    let accepted = errors.lines().find_map(|line| line.strip_prefix("task ")?.split(':').next()).unwrap();
    assert!(errors.contains(&format!("task {accepted} was accepted, and cannot be waited for")), "{errors}");
    assert!(errors.contains("a key of the scope read; this one has submit"), "{errors}");
    let (code, text, errors) = with(key, &api, &["tasks", "cancel", accepted, id]).await;
    assert_eq!((code, &*text), (1, ""), "{errors}");
    assert!(errors.contains("scope operate") && errors.contains("2 of 2 tasks refused"), "{errors}");

    let (code, second, errors) = on(&world, &["rotate", id, "--overlap", "1h"]).await;
    assert_eq!(code, 0, "{errors}");
    for key in [key, second.trim()] {
        assert_eq!(with(key, &api, &["submit", "noop", "--queue", "mail"]).await.0, 0);
    }
    let (_, text, _) = on(&world, &["list"]).await;
    let line = text.lines().find(|line| line.contains("shop")).unwrap();
    assert_eq!(fields(line)[..7], [id, "shop", "active", "submit", "mail", "noop", "100"], "{text}");
    assert!(!text.contains("trx_"), "{text}");
    let (code, text, errors) = on(&world, &["revoke", id]).await;
    assert_eq!((code, text), (0, format!("{id} shop revoked\n")), "{errors}");
    // One that there is none of keeps no other back.
    let unknown = uuid::Uuid::now_v7().to_string();
    let (code, text, errors) = on(&world, &["revoke", &unknown, id]).await;
    assert_eq!((code, text), (1, format!("{id} shop revoked\n")), "{errors}");
    assert!(errors.contains("there is no key") && errors.contains("1 of 2 keys refused"), "{errors}");
    let (_, text, _) = on(&world, &["list"]).await;
    let ops = fields(text.lines().find(|line| line.contains("ops")).unwrap())[0];
    let (code, _, errors) = on(&world, &["revoke", ops]).await;
    assert!(code == 1 && errors.contains("is the last admin key") && errors.contains("--force"), "{errors}");
    // It holds at once.
    assert_eq!(with(second.trim(), &api, &["submit", "noop", "--queue", "mail"]).await.0, 1);
    let (_, text, _) = on(&world, &["list", "--json"]).await;
    let keys: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(keys["keys"].as_array().unwrap().iter().filter(|key| key["revoked_at"].is_string()).count(), 1);
    assert!(keys["keys"].as_array().unwrap().iter().all(|key| key.get("key").is_none()), "{text}");
    let (code, text, errors) = on(&world, &["revoke", ops, "--force"]).await;
    assert_eq!((code, text), (0, format!("{ops} ops revoked\n")), "{errors}");
    let (code, _, errors) = on(&world, &["create", "shop", "--scope", "read", "--force"]).await;
    assert_eq!(code, 0, "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_key_is_said_with_what_to_do() {
    let world = World::new().await;
    let unknown = uuid::Uuid::now_v7().to_string();
    let (code, _, errors) = on(&world, &["list"]).await;
    assert!(code == 1 && errors.contains("taskrunnerx migrate"), "no tables yet: {errors}");
    world.store().await;
    let usage: [&[&str]; 5] = [
        &["create", "x"],
        &["create", "x", "--scope", "reed"],
        &["create", "x", "--scope", "admin", "--queue", "q"],
        &["create", "x", "--scope", "read", "--expires-in", "0s"],
        &["revoke", "7"],
    ];
    for args in usage {
        let (code, text, errors) = on(&world, args).await;
        assert_eq!((code, &*text), (2, ""), "{args:?}: {errors}");
    }
    for args in [["rotate", &unknown], ["revoke", &unknown]] {
        let (code, text, errors) = on(&world, &args).await;
        assert_eq!((code, &*text), (1, ""), "{errors}");
        assert!(errors.contains("taskrunnerx apikey list"), "{errors}");
    }
    // Whichever command uses the database itself.
    for args in [&["apikey", "list"][..], &["migrate"], &["migrate", "--status"]] {
        for (url, expected) in [
            ("mysql://nobody@127.0.0.1:1/nothing", 3),
            ("mysql://nobody@127.0.0.1:1/nothing?nonsense=1", 2),
            ("postgres://nobody@127.0.0.1:1/nothing", 2),
        ] {
            let mut command = DaemonBuilder::new(args);
            command.env("DATABASE_URL", url);
            let (code, _, errors) = tokio::task::spawn_blocking(move || command.output()).await.unwrap();
            assert_eq!(code, expected, "{args:?} {url}: {errors}");
        }
    }
}
