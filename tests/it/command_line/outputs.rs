//! What becomes of a command whose output cannot be written, or is read no further.

use super::{done, id};
use crate::harness::{Daemon, World};
use serde_json::{Value, json};
use std::fs::OpenOptions;
use std::process::{Command, Stdio};
use taskrunnerx::lifecycle::access;

/// Where standard output goes.
#[derive(Debug, Clone, Copy)]
enum Output {
    /// To a disk that is full.
    Full,
    /// To a reader that has gone, as behind `head`.
    Gone,
}

/// The exit code, and what it says on standard error.
async fn into(output: Output, args: &[&str]) -> (i32, String) {
    into_with(output, args, &[]).await
}

/// The same with these variables.
async fn into_with(output: Output, args: &[&str], variables: &[(&str, &str)]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_taskrunnerx"));
    command.envs(variables.iter().copied());
    command.args(args).env_remove("TASKRUNNERX_API_KEY").stdin(Stdio::null()).stderr(Stdio::piped());
    command.stdout(match output {
        Output::Full => Stdio::from(OpenOptions::new().write(true).open("/dev/full").unwrap()),
        Output::Gone => Stdio::from(std::io::pipe().unwrap().1),
    });
    let ended = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    (ended.status.code().unwrap_or(-1), String::from_utf8_lossy(&ended.stderr).into_owned())
}

async fn waiting(daemon: &Daemon) -> Value {
    daemon.submit(json!({"name": "noop", "delay": "1h"})).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_a_failure_and_a_reader_that_has_gone_is_none() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    let commands: [&[&str]; 3] = [&["completions", "bash"], &["openapi"], &["tasks", "list", "--url", &api.url]];
    for args in commands {
        let (code, errors) = into(Output::Full, args).await;
        assert_eq!(code, 1, "{args:?}: {errors}");
        assert!(errors.contains("standard output cannot be written: No space left"), "{args:?}: {errors}");
        assert_eq!(into(Output::Gone, args).await, (0, String::new()), "{args:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_go_on_though_what_was_done_cannot_be_told() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    for (output, expected) in [(Output::Gone, 0), (Output::Full, 1)] {
        let (a, b) = (waiting(&api).await, waiting(&api).await);
        let (code, errors) = into(output, &["tasks", "cancel", id(&a), id(&b), "--url", &api.url]).await;
        assert_eq!(code, expected, "{output:?}: {errors}");
        assert_eq!(errors.contains("standard output cannot be written"), expected == 1, "{errors}");
        for task in [a, b] {
            assert_eq!(api.task(&task["id"]).await["status"], "cancelled", "{output:?}");
        }
        for name in ["one", "two"] {
            let url = format!("{}/api/schedules/{name}", api.url);
            let definition = json!({"every": "300d", "task": {"name": "noop"}});
            assert!(api.client.put(url).json(&definition).send().await.unwrap().status().is_success());
        }
        let (code, errors) = into(output, &["schedules", "delete", "one", "two", "--url", &api.url]).await;
        assert_eq!(code, expected, "{output:?}: {errors}");
        assert_eq!(done(&api, &["schedules", "list"]).await.lines().count(), 1, "{output:?}");
    }
    // One that is refused is told of where nobody reads either.
    let task = waiting(&api).await;
    let unknown = uuid::Uuid::now_v7().to_string();
    let (code, errors) = into(Output::Gone, &["tasks", "cancel", id(&task), &unknown, "--url", &api.url]).await;
    assert!(code == 1 && errors.contains("1 of 2 tasks refused"), "{code}: {errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_reaches_nobody_is_a_failure_that_names_the_key() {
    let world = World::new().await;
    let store = world.store().await;
    let url = [("DATABASE_URL", &*world.database_url)];
    for output in [Output::Gone, Output::Full] {
        for more in [&[][..], &["--json"]] {
            let before = access::list(&store).await.unwrap().len();
            let create = [&["apikey", "create", "ops", "--scope", "admin"][..], more].concat();
            let (code, errors) = into_with(output, &create, &url).await;
            assert_eq!(code, 1, "{output:?} {more:?}: {errors}");
            let keys = access::list(&store).await.unwrap();
            assert_eq!(keys.len(), before + 1, "it was made");
            let named =
                |errors: &str| keys.iter().map(|key| key.id.to_string()).find(|id| errors.contains(id.as_str()));
            let id = named(&errors).unwrap_or_else(|| panic!("{errors}"));
            for said in [format!("apikey rotate {id}"), format!("apikey revoke {id}"), "secret is lost".to_owned()] {
                assert!(errors.contains(&said), "{said}: {errors}");
            }
            assert!(!errors.contains("trx_"), "{errors}");
            let (code, errors) = into_with(output, &[&["apikey", "rotate", &id][..], more].concat(), &url).await;
            assert!(code == 1 && named(&errors) == Some(id), "{output:?} {more:?}: {errors}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_in_the_servers_url_is_nowhere_repeated() {
    let url = "http://me:hunter2@127.0.0.1:1";
    for args in [&["tasks", "list", "--url", url][..], &["stats", "--url", "me:hunter2@host"], &["bench", "--url", url]]
    {
        let (code, errors) = into(Output::Gone, args).await;
        assert_eq!(code, 2, "{args:?}: {errors}");
        assert!(errors.contains("--key") && !errors.contains("hunter2"), "{args:?}: {errors}");
    }
    let mut help = Command::new(env!("CARGO_BIN_EXE_taskrunnerx"));
    help.args(["tasks", "list", "--help"]).env("TASKRUNNERX_URL", url).env("TASKRUNNERX_API_KEY", "hunter2");
    let said = help.output().unwrap().stdout;
    let said = String::from_utf8_lossy(&said);
    assert!(said.contains("TASKRUNNERX_URL") && !said.contains("hunter2"), "{said}");
}
