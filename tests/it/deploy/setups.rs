//! The processes that the files of `deploy/` start: with which command, which environment, and how long they have to
//! stop.

use crate::harness::{DaemonBuilder, root};
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use taskrunnerx::task::duration;

/// A process of ours, as a file of `deploy/` starts it.
#[derive(Debug)]
pub(super) struct SetUp {
    /// The file and the name in it.
    pub(super) name: String,
    /// Behind the program's name.
    pub(super) arguments: Vec<String>,
    pub(super) environment: Vec<(String, String)>,
    /// `taskrunnerx.toml`
    file: Option<String>,
    /// Between TERM and KILL.
    pub(super) grace: Option<Duration>,
}

impl SetUp {
    /// What follows `--role`; nothing for another command than `serve`.
    pub(super) fn role(&self) -> Option<&str> {
        let at = self.arguments.iter().position(|argument| argument == "--role")?;
        Some(&self.arguments[at + 1])
    }

    /// Whether tasks run in it.
    pub(super) fn works(&self) -> bool {
        self.role().is_some_and(|role| ["worker", "all"].contains(&role))
    }

    /// The program in this set-up's surroundings.
    pub(super) fn program(&self, arguments: &[&str]) -> DaemonBuilder {
        let mut builder = DaemonBuilder::new(arguments);
        for (name, value) in &self.environment {
            builder.env(name, value);
        }
        if let Some(text) = &self.file {
            builder.file(text);
        }
        builder
    }

    /// The configuration in force, as `taskrunnerx config` has it, by key.
    pub(super) fn configuration(&self) -> Value {
        let mut builder = self.program(&["config", "--json"]);
        if let Some(role) = self.role() {
            builder.env("TASKRUNNERX_ROLES", role);
        }
        let (code, out, err) = builder.output();
        assert_eq!((code, &*err), (0, ""), "{}: {err}", self.name);
        let rows = out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        rows.map(|row| (row["key"].as_str().unwrap().to_owned(), row["value"].clone())).collect()
    }
}

/// The documents of a YAML file of the repository.
pub(super) fn documents(path: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(root().join(path)).unwrap();
    serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
}

pub(super) fn document(path: &str) -> Value {
    let documents = documents(path);
    let [document] = documents.as_slice() else { panic!("{path}: {} documents", documents.len()) };
    document.clone()
}

/// What the instructions of the Dockerfile with this name are given.
pub(super) fn instructions(name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(root().join("Dockerfile")).unwrap().replace("\\\n", " ");
    let given = text.lines().filter_map(|line| Some(line.strip_prefix(name)?.strip_prefix(' ')?.trim().to_owned()));
    given.collect()
}

/// What stands for a key until there is one.
pub(super) const PLACEHOLDER: &str = "CHANGE-ME";

/// Every one. `secrets`: where `deploy/secrets.sh` has made its files.
pub(super) fn set_ups(secrets: &Path) -> Vec<SetUp> {
    let mut found = Vec::new();
    for path in ["deploy/compose.yaml", "deploy/compose.single.yaml"] {
        found.extend(compose(path, secrets));
    }
    found.extend(kubernetes());
    found.extend(["all", "api", "worker", "scheduler"].map(systemd));
    found
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|item| item.as_str().unwrap().to_owned()).collect()
}

fn pair(text: &str) -> (String, String) {
    let (name, value) = text.split_once('=').unwrap();
    (name.to_owned(), value.to_owned())
}

/// The image's own variables, then these.
fn in_image(own: Vec<(String, String)>) -> Vec<(String, String)> {
    instructions("ENV").iter().map(|text| pair(text)).chain(own).collect()
}

fn compose(path: &str, secrets: &Path) -> Vec<SetUp> {
    let file = document(path);
    let services = file["services"].as_object().unwrap().iter();
    let ours =
        services.filter(|(_, service)| service["image"].as_str().is_some_and(|image| image.contains("taskrunnerx")));
    let set_up = |(name, service): (&String, &Value)| {
        let mounted = strings(&service["secrets"]);
        let value = |value: &Value| {
            let value = value.as_str().unwrap();
            let Some(secret) = value.strip_prefix("/run/secrets/") else { return value.to_owned() };
            assert!(mounted.iter().any(|name| name == secret), "{path}: {name} does not mount {secret}");
            assert!(file["secrets"].get(secret).is_some(), "{path}: there is no secret {secret}");
            secrets.join(secret).to_str().unwrap().to_owned()
        };
        let own = service["environment"].as_object().unwrap();
        let own = own.iter().map(|(name, given)| (name.clone(), value(given))).collect();
        SetUp {
            name: format!("{path}: {name}"),
            arguments: strings(&service["command"]),
            environment: in_image(own),
            file: None,
            grace: service["stop_grace_period"].as_str().map(|text| duration::parse(text).unwrap()),
        }
    };
    ours.map(set_up).collect()
}

/// Every object of `deploy/kubernetes`.
pub(super) fn objects() -> Vec<Value> {
    let kustomization = document("deploy/kubernetes/kustomization.yaml");
    let files = strings(&kustomization["resources"]);
    files.iter().flat_map(|file| documents(&format!("deploy/kubernetes/{file}"))).collect()
}

fn kubernetes() -> Vec<SetUp> {
    let objects = objects();
    let secret = objects.iter().find(|object| object["kind"] == "Secret").unwrap();
    let set_up = |object: &Value| {
        let pod = object.pointer("/spec/template/spec")?;
        let name = format!("deploy/kubernetes: {}", object["metadata"]["name"].as_str().unwrap());
        let container = &pod["containers"][0];
        let own = container["env"].as_array().unwrap().iter().map(|variable| {
            let from = &variable["valueFrom"]["secretKeyRef"];
            assert_eq!(from["name"], secret["metadata"]["name"], "{name}");
            let value = secret["stringData"][from["key"].as_str().unwrap()].as_str();
            (variable["name"].as_str().unwrap().to_owned(), filled_in(value.unwrap()))
        });
        let mounts = container.pointer("/volumeMounts/0/mountPath").is_some_and(|path| path == "/etc/taskrunnerx");
        let file = root().join("deploy/kubernetes/taskrunnerx.toml");
        Some(SetUp {
            arguments: strings(&container["args"]),
            environment: in_image(own.collect()),
            file: mounts.then(|| std::fs::read_to_string(file).unwrap()),
            grace: pod["terminationGracePeriodSeconds"].as_u64().map(Duration::from_secs),
            name,
        })
    };
    objects.iter().filter_map(set_up).collect()
}

/// The values of a key of a unit, with its drop-ins.
pub(super) fn of_unit(instance: &str, key: &str) -> Vec<String> {
    let units = root().join("deploy/systemd");
    let mut text = std::fs::read_to_string(units.join("taskrunnerx@.service")).unwrap();
    if let Ok(drop_in) = std::fs::read_to_string(units.join(format!("taskrunnerx@{instance}.service.d/role.conf"))) {
        text += &drop_in;
    }
    let values = text.lines().filter_map(|line| line.split_once('=')).filter(|(name, _)| *name == key);
    values.map(|(_, value)| value.replace("%i", instance)).collect()
}

fn systemd(instance: &str) -> SetUp {
    let only = |key: &str| of_unit(instance, key).pop().unwrap();
    let start = only("ExecStart");
    let arguments = start.strip_prefix("/usr/local/bin/taskrunnerx ").unwrap().split(' ').map(str::to_owned);
    let text = std::fs::read_to_string(root().join("deploy/systemd/environment")).unwrap();
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut environment: Vec<_> = of_unit(instance, "Environment").iter().map(|line| pair(line)).collect();
    environment.extend(lines.map(pair).map(|(name, value)| (name, filled_in(&value))));
    SetUp {
        name: format!("taskrunnerx@{instance}.service"),
        arguments: arguments.collect(),
        environment,
        file: None,
        grace: Some(duration::parse(&only("TimeoutStopSec")).unwrap()),
    }
}

/// The key that somebody has put in, for the placeholder, which is none: `a_key_that_nobody_has_put_in_is_refused`.
fn filled_in(value: &str) -> String {
    if value == PLACEHOLDER { "0123456789abcdef".to_owned() } else { value.to_owned() }
}

/// A folder with what `deploy/secrets.sh` makes.
pub(super) fn secrets() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("secrets.sh");
    std::fs::copy(root().join("deploy/secrets.sh"), &script).unwrap();
    let made = Command::new(&script).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    directory
}
