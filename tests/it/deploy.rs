//! What `deploy/`, the Dockerfile and the workflows say is what the program takes, and what they say of the same thing
//! is the same. That a service manager is heard is in `notify.rs`.

mod setups;

use crate::harness::{DaemonBuilder, World, noop, root};
use mysql_async::prelude::Queryable;
use serde_json::{Value, json};
use setups::{document, documents, instructions, objects, of_unit, set_ups};
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;
use taskrunnerx::task::duration;

/// Of the drain's end: interrupted attempts are recorded, tasks handed over, the last words sent.
const AFTER_THE_DRAIN: Duration = Duration::from_secs(15);

/// Every file of a folder of the repository, but for the secrets that somebody has made there.
fn files(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root().join(folder)).unwrap() {
        let name = format!("{folder}/{}", entry.unwrap().file_name().to_str().unwrap());
        match root().join(&name).is_dir() {
            true if name == "deploy/secrets" => {}
            true => found.extend(files(&name)),
            false => found.push(name),
        }
    }
    found
}

fn yaml_files() -> Vec<String> {
    let all = files("deploy").into_iter().chain(files(".github"));
    all.filter(|name| name.ends_with(".yaml") || name.ends_with(".yml")).collect()
}

/// Every text behind a key, however deep.
fn under(value: &Value, key: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if name == key {
                    found.extend(value.as_str().map(str::to_owned));
                }
                under(value, key, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| under(item, key, found)),
        _ => {}
    }
}

#[test]
fn every_yaml_file_can_be_read() {
    let files = yaml_files();
    assert!(files.len() > 12, "{files:?}");
    for path in files {
        let documents = documents(&path);
        assert!(!documents.is_empty() && documents.iter().all(Value::is_object), "{path}");
    }
}

#[test]
fn each_process_that_is_set_up_has_a_command_and_a_configuration_that_the_program_takes() {
    let made = setups::secrets();
    let set_ups = set_ups(&made.path().join("secrets"));
    let names: Vec<&str> = set_ups.iter().map(|set_up| &*set_up.name).collect();
    assert_eq!(names.len(), 14, "{names:?}");
    for set_up in &set_ups {
        let mut arguments: Vec<&str> = set_up.arguments.iter().map(String::as_str).collect();
        arguments.push("--help");
        let (code, _, err) = set_up.program(&arguments).output();
        assert_eq!(code, 0, "{}: {err}", set_up.name);
        // Nothing unknown in its file, and nothing wrong.
        let configuration = set_up.configuration();
        assert_eq!(configuration["database_url"].as_str().map(|url| url.starts_with("mysql://")), Some(true));
        let Some(role) = set_up.role() else { continue };
        let bind = configuration["bind"].as_str().unwrap();
        let open = !bind.starts_with("127.0.0.1:");
        let key = set_up.environment.iter().any(|(name, _)| name.starts_with("TASKRUNNERX_API_KEY"));
        // It would not start without one.
        assert!(!open || key || !["api", "all"].contains(&role), "{}: {bind} without a key", set_up.name);
    }
}

#[test]
fn variables_of_ours_that_are_named_anywhere_are_known() {
    let variable = |text: &str| {
        let names = text.split("TASKRUNNERX_").skip(1);
        let end = |rest: &str| rest.find(|c: char| !c.is_ascii_uppercase() && c != '_').unwrap_or(rest.len());
        names.map(|rest| format!("TASKRUNNERX_{}", &rest[..end(rest)])).collect::<Vec<_>>()
    };
    let mut known: BTreeSet<String> = taskrunnerx::config::reference()
        .iter()
        .flat_map(|key| key.variables.clone())
        .flat_map(|name| [format!("{name}_FILE"), name])
        .collect();
    // Of compose: which image it is. Of the tests: their database. Of the client commands: the server.
    known.extend(["TASKRUNNERX_IMAGE", "TASKRUNNERX_TEST_DATABASE_URL", "TASKRUNNERX_URL"].map(str::to_owned));
    for path in files("deploy").into_iter().chain(files(".github")).chain(["Dockerfile".to_owned()]) {
        for name in variable(&std::fs::read_to_string(root().join(&path)).unwrap()) {
            assert!(known.contains(&name), "{path}: there is no {name}");
        }
    }
}

#[test]
fn whoever_runs_tasks_has_longer_to_stop_than_its_drain_takes() {
    let made = setups::secrets();
    let mut seen = 0;
    for set_up in set_ups(&made.path().join("secrets")).iter().filter(|set_up| set_up.works()) {
        let drain = set_up.configuration()["worker.drain_timeout"].as_str().map(|text| duration::parse(text).unwrap());
        let needed = drain.unwrap() + AFTER_THE_DRAIN;
        assert!(set_up.grace.is_some_and(|grace| grace >= needed), "{}: {:?} < {needed:?}", set_up.name, set_up.grace);
        seen += 1;
    }
    assert_eq!(seen, 5);
}

#[test]
fn the_processes_find_each_other_by_one_port() {
    let [bind] = &*instructions("ENV") else { panic!("one variable") };
    let port = bind.rsplit_once(':').unwrap().1;
    assert_eq!(instructions("EXPOSE"), [port]);
    // Where the commands look unless they are told.
    assert_eq!(port, "8000");
    for (path, service) in [("deploy/compose.yaml", "api"), ("deploy/compose.single.yaml", "taskrunnerx")] {
        let published = &document(path)["services"][service]["ports"][0];
        assert_eq!(*published, format!("127.0.0.1:{port}:{port}"), "{path}");
    }
    for object in objects().iter().filter(|object| object["kind"] == "Deployment") {
        let container = object.pointer("/spec/template/spec/containers/0/ports/0/containerPort");
        assert_eq!(container.map(Value::to_string).as_deref(), Some(port));
        let scraped = &object.pointer("/spec/template/metadata/annotations").unwrap()["prometheus.io/port"];
        assert_eq!(scraped, port);
    }
    let scraped = &document("deploy/prometheus/compose.yml")["scrape_configs"][0]["dns_sd_configs"][0];
    assert_eq!(scraped["port"].to_string(), port);
    for name in scraped["names"].as_array().unwrap() {
        assert!(document("deploy/compose.yaml")["services"].get(name.as_str().unwrap()).is_some(), "{name}");
    }

    // On one host each unit has its own, and Prometheus knows them all.
    let scraped = std::fs::read_to_string(root().join("deploy/prometheus.yml")).unwrap();
    let mut binds = BTreeSet::new();
    for role in ["api", "worker", "scheduler"] {
        let bind = of_unit(role, "Environment").concat().replace("TASKRUNNERX_BIND=", "");
        assert!(scraped.contains(&format!("\"{bind}\"")), "{bind}");
        binds.insert(bind);
    }
    assert_eq!(binds.len(), 3, "{binds:?}");
    let nginx = std::fs::read_to_string(root().join("deploy/nginx.conf")).unwrap();
    assert!(nginx.contains(&format!("server {} ", binds.first().unwrap())));
}

#[test]
fn probes_ask_for_what_there_is() {
    let (_, specification, _) = DaemonBuilder::new(&["openapi"]).output();
    let paths: Value = serde_json::from_str::<Value>(&specification).unwrap()["paths"].clone();
    for object in objects().iter().filter(|object| object["kind"] == "Deployment") {
        let container = object.pointer("/spec/template/spec/containers/0").unwrap();
        for (probe, path) in [("livenessProbe", "/livez"), ("readinessProbe", "/readyz")] {
            assert_eq!(container[probe]["httpGet"], json!({"path": path, "port": "http"}));
            assert!(paths.get(path).is_some(), "{path}");
        }
    }
    let [check] = &*instructions("HEALTHCHECK") else { panic!("one check") };
    let command: Vec<String> = serde_json::from_str(check.split_once("CMD ").unwrap().1).unwrap();
    let arguments: Vec<&str> = command[1..].iter().map(String::as_str).chain(["--help"]).collect();
    assert_eq!((&*command[0], DaemonBuilder::new(&arguments).output().0), ("taskrunnerx", 0));
}

#[test]
fn images_and_actions_are_of_a_version() {
    let numbered = |version: &str| version.trim_start_matches('v').starts_with(|c: char| c.is_ascii_digit());
    let mut images = instructions("FROM");
    let mut actions = Vec::new();
    for document in yaml_files().iter().flat_map(|path| documents(path)) {
        under(&document, "image", &mut images);
        under(&document, "container", &mut images);
        under(&document, "uses", &mut actions);
    }
    // A matrix has its own list; kustomization.yaml has the tag of what the manifests only name.
    images.retain(|image| !image.contains("matrix.") && image != "taskrunnerx");
    images.push(format!(
        "taskrunnerx:{}",
        document("deploy/kubernetes/kustomization.yaml")["images"][0]["newTag"].as_str().unwrap()
    ));
    let matrix = document(".github/workflows/ci.yml");
    let matrix = matrix.pointer("/jobs/databases/strategy/matrix/database").unwrap().as_array().unwrap();
    images.extend(matrix.iter().map(|image| image.as_str().unwrap().to_owned()));
    assert!(images.len() > 10, "{images:?}");
    for image in images {
        let image = image.split(" AS ").next().unwrap().trim_end_matches('}').to_owned();
        let tag = image.rsplit_once(':').unwrap_or_else(|| panic!("{image} has no tag")).1;
        let named = tag.strip_prefix("bookworm").is_some();
        assert!(named || (numbered(tag) && tag.contains('.')), "{image}");
        assert!(!image.contains("taskrunnerx") || tag == env!("CARGO_PKG_VERSION"), "{image} is not this version");
    }
    for action in actions {
        // A workflow of our own.
        if let Some(path) = action.strip_prefix("./") {
            assert!(root().join(path).is_file(), "{action}");
            continue;
        }
        let version = action.rsplit_once('@').unwrap().1;
        assert!(numbered(version) && version.split('.').count() == 3, "{action}");
    }
}

#[test]
fn a_release_is_made_of_what_has_passed_every_test_and_advisories_are_asked_for_each_week() {
    let (ci, release) = (document(".github/workflows/ci.yml"), document(".github/workflows/release.yml"));
    assert!(ci["on"].get("workflow_call").is_some());
    let jobs = release["jobs"].as_object().unwrap();
    assert_eq!(jobs["ci"]["uses"], "./.github/workflows/ci.yml");
    for (name, job) in jobs.iter().filter(|(name, _)| *name != "ci") {
        let needs = job["needs"].as_str().unwrap();
        assert!(needs == "ci" || jobs[needs]["needs"] == "ci", "{name} waits for no test");
    }
    assert!(ci["on"]["schedule"][0]["cron"].is_string());
    let mut steps = Vec::new();
    under(&ci["jobs"]["check"], "run", &mut steps);
    assert!(steps.iter().any(|step| step.contains("check advisories")), "{steps:?}");
}

#[test]
fn the_secrets_are_made_once_and_the_folder_is_its_owners() {
    let made = setups::secrets();
    let folder = made.path().join("secrets");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let key = read("api_key");
    assert_eq!(key.trim().len(), 52, "{key}");
    assert!(std::process::Command::new(made.path().join("secrets.sh")).output().unwrap().status.success());
    assert_eq!(read("api_key"), key, "what is there stays");
    for path in ["deploy/compose.yaml", "deploy/compose.single.yaml"] {
        for (name, secret) in document(path)["secrets"].as_object().unwrap() {
            let file = secret["file"].as_str().unwrap().strip_prefix("./secrets/").unwrap();
            assert_eq!(mode(&folder.join(file)), 0o444, "{name}: each container reads it as a user of its own");
        }
    }
    assert!(std::fs::read_to_string(root().join(".gitignore")).unwrap().lines().any(|line| line == "/deploy/secrets"));
}

#[test]
fn a_key_that_nobody_has_put_in_is_refused() {
    for path in ["deploy/kubernetes/secret.yaml", "deploy/systemd/environment"] {
        let text = std::fs::read_to_string(root().join(path)).unwrap();
        let key = text
            .lines()
            .find_map(|line| line.trim().strip_prefix("api_key: ").or(line.strip_prefix("TASKRUNNERX_API_KEY=")));
        assert_eq!(key, Some(setups::PLACEHOLDER), "{path}");
    }
    let mut config = DaemonBuilder::new(&["config"]);
    config.env("DATABASE_URL", "mysql://h/d").env("REDIS_URL", "redis://h");
    config.env("TASKRUNNERX_API_KEY", setups::PLACEHOLDER);
    let (code, _, errors) = config.output();
    assert!(code == 2 && errors.contains("api_key"), "{code}: {errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_account_of_the_documents_is_enough_to_migrate_and_to_serve() {
    let world = World::new().await;
    let page = std::fs::read_to_string(root().join("docs/how-to/deploy.md")).unwrap();
    let (_, rest) = page.split_once("<<'SQL'\n").unwrap();
    // Names of this test's own, of 32 characters at most.
    let name = format!("a{}", &world.prefix[12..]);
    // And a password that nobody knows, should anything of it stay.
    let password = uuid::Uuid::now_v7().simple().to_string();
    let statements = rest.split_once("SQL\n").unwrap().0.replace("trx", &name).replace("CHANGE-ME", &password);
    let mut administrator = world.sql().await;
    for statement in statements.lines() {
        administrator.query_drop(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
    let (_, place) = world.database_url.split_once('@').unwrap();
    let query = place.split_once('?').map_or(String::new(), |(_, query)| format!("?{query}"));
    let url = format!("mysql://{name}:{password}@{}/{name}{query}", place.split_once('/').unwrap().0);
    // It migrates at its start.
    let mut daemon = world.daemon("all");
    daemon.env("DATABASE_URL", &url);
    let daemon = daemon.ready().await;
    daemon.run(noop("mail"), "completed").await;
    let mut doctor = DaemonBuilder::new(&["doctor", "--json"]);
    doctor.env("DATABASE_URL", &url).env("REDIS_URL", &world.redis_url);
    let (_, report, _) = tokio::task::spawn_blocking(move || doctor.output()).await.unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    let checks = report["checks"].as_array().unwrap();
    let privileges: Vec<&Value> = checks.iter().filter(|check| check["name"] == "privileges").collect();
    assert!(matches!(&*privileges, [check] if check["status"] == "ok"), "{privileges:?}");
    drop(daemon);
    // What is migrated is served without the rights that only migrations need.
    let revoked = format!("REVOKE CREATE, ALTER, INDEX, DROP ON {name}.* FROM '{name}'@'%'");
    administrator.query_drop(revoked).await.unwrap();
    let mut daemon = world.daemon("all");
    daemon.env("DATABASE_URL", &url);
    daemon.ready().await.run(noop("mail"), "completed").await;
    administrator.query_drop(format!("DROP DATABASE {name}")).await.unwrap();
    administrator.query_drop(format!("DROP USER '{name}'@'%'")).await.unwrap();
}

#[test]
fn a_process_that_takes_its_time_to_migrate_is_not_taken_for_ill() {
    for path in ["deploy/compose.yaml", "deploy/compose.single.yaml"] {
        let file = document(path);
        for (name, service) in file["services"].as_object().unwrap() {
            let image = service["image"].as_str().unwrap_or_default();
            if !image.contains("TASKRUNNERX_IMAGE") || service["command"][0] != "serve" {
                continue;
            }
            let after = &service["depends_on"]["migrate"]["condition"];
            assert_eq!(after, "service_completed_successfully", "{path}: {name}");
        }
        assert!(file["services"].get("migrate").is_some(), "{path}");
    }
}

#[test]
fn the_proxy_lets_through_what_the_daemon_takes() {
    let nginx = std::fs::read_to_string(root().join("deploy/nginx.conf")).unwrap();
    let value = |name: &str| {
        let found = nginx.lines().find_map(|line| line.trim().strip_prefix(name)?.trim().strip_suffix(';'));
        found.unwrap_or_else(|| panic!("there is no {name}")).to_owned()
    };
    let mebibytes: u64 = value("client_max_body_size").strip_suffix('m').unwrap().parse().unwrap();
    assert!(mebibytes > 16, "limits.bulk_body, whose refusal is the daemon's");
    assert!(duration::parse(&value("proxy_read_timeout")).unwrap() > Duration::from_secs(60), "the longest wait");
    // The daemon's 503 is for the client, and no reason to leave the daemon out.
    assert_eq!(value("proxy_next_upstream"), "error timeout");
    // The daemon keeps an idle connection for 120 s.
    assert!(duration::parse(&value("keepalive_timeout")).unwrap() < Duration::from_secs(120));
    assert!(nginx.contains("proxy_buffering off;") && nginx.contains("^/api/(events|tasks/[^/]+/events)$"));
}
