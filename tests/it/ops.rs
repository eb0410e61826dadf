//! What `ops` prints: a dashboard and alert rules that ask for series that there are, rules that fire when they are to,
//! and a runbook for each.

use crate::harness::{Daemon, DaemonBuilder, World, eventually, noop, root};
use crate::schedules::skew::{AHEAD, BEHIND};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use taskrunnerx::telemetry::Metrics;
use taskrunnerx::telemetry::metrics::{Described, process};

/// A file name of its own: the tests of rules name it.
const RULES: &str = "alerts.yml";

/// What a command of `ops` prints.
fn printed(args: &[&str]) -> String {
    let args: Vec<&str> = ["ops"].iter().chain(args).copied().collect();
    let (code, out, errors) = DaemonBuilder::new(&args).output();
    assert_eq!((code, &*errors), (0, ""), "{args:?}");
    out
}

fn dashboard() -> Value {
    serde_json::from_str(&printed(&["grafana"])).unwrap()
}

/// Of the package `prometheus`, in the path or where scripts/setup.sh puts it.
fn promtool() -> PathBuf {
    let found = std::env::var_os("PATH").into_iter().flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
    let mut places = found.map(|directory| directory.join("promtool")).chain([root().join("target/tools/promtool")]);
    places.find(|program| program.exists()).unwrap_or_else(|| {
        panic!("promtool is not installed: scripts/setup.sh --tests gets it, or the package `prometheus`")
    })
}

/// Runs promtool on a file in this directory; gives what it says when it finds nothing wrong.
fn finds_nothing(directory: &Path, args: &[&str]) -> String {
    let output = Command::new(promtool()).args(args).current_dir(directory).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "promtool {}: {said}", args.join(" "));
    said
}

/// The alerts, each with the lines that belong to it.
fn alerts(rules: &str) -> Vec<(&str, &str)> {
    rules.split("- alert: ").skip(1).map(|part| part.split_once('\n').unwrap()).collect()
}

/// Every expression of the dashboard, with its panel's title.
fn expressions(dashboard: &Value) -> Vec<(String, String)> {
    let panels = dashboard["panels"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let targets = panels.iter().flat_map(|panel| {
        let targets = panel["targets"].as_array().cloned().unwrap_or_default();
        targets.into_iter().map(move |target| (text(&panel["title"]), text(&target["expr"])))
    });
    targets.collect()
}

/// The names in an expression that are those of series: ours, and the process's own.
fn names(expression: &str) -> BTreeSet<&str> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("taskrunnerx_") || word.starts_with("process_")).collect()
}

/// The series that a name in an expression is one of.
fn series<'a>(known: &'a [Described], name: &str) -> Option<&'a Described> {
    known.iter().find(|series| {
        let rest = name.strip_prefix(series.name.as_str());
        rest == Some("") || series.kind == "histogram" && ["_bucket", "_sum", "_count"].map(Some).contains(&rest)
    })
}

#[test]
fn the_dashboard_and_the_alerts_ask_for_series_that_there_are() {
    let metrics = Metrics::new().unwrap();
    let rendered = String::from_utf8(metrics.render().unwrap()).unwrap();
    let (dashboard, rules) = (dashboard(), printed(&["alerts"]));
    let mut asked = expressions(&dashboard);
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    asked.extend(
        variables.iter().filter_map(|one| Some(("a variable".to_owned(), one["definition"].as_str()?.to_owned()))),
    );
    let lines = rules.lines().filter_map(|line| line.trim().strip_prefix("expr: "));
    asked.extend(lines.map(|line| ("an alert".to_owned(), line.to_owned())));
    assert!(asked.len() > 40, "{}", asked.len());
    let mut used = BTreeSet::new();
    for (whose, expression) in &asked {
        let names = names(expression);
        assert!(!names.is_empty(), "{whose} asks for nothing: {expression}");
        for name in names {
            if name.starts_with("process_") {
                assert!(rendered.contains(&format!("\n{name} ")), "{whose}: no process has {name}");
                continue;
            }
            let series = series(metrics.described(), name).unwrap_or_else(|| panic!("{whose}: there is no {name}"));
            used.insert(series.name.as_str());
        }
    }
    // And of all that there is, none is forgotten.
    let forgotten: Vec<&str> =
        metrics.described().iter().map(|series| series.name.as_str()).filter(|name| !used.contains(name)).collect();
    assert_eq!(forgotten, Vec::<&str>::new(), "neither in the dashboard nor in an alert");
    assert!(rendered.contains(process::CPU));
}

#[test]
fn promtool_accepts_the_rules_and_every_expression_of_the_dashboard() {
    let directory = tempfile::tempdir().unwrap();
    for (file, args) in [("plain.yml", &["alerts"][..]), ("scoped.yml", &["alerts", "--selector", "job=jobs eu"])] {
        std::fs::write(directory.path().join(file), printed(args)).unwrap();
        let said = finds_nothing(directory.path(), &["check", "rules", file]);
        assert!(said.contains("rules found"), "{said}");
    }
    let (code, _, errors) = DaemonBuilder::new(&["ops", "alerts", "--selector", "job=it's"]).output();
    assert!(code == 2 && errors.contains("takes LABEL=VALUE"), "{code}: {errors}");
    // As rules: promtool reads nothing else before a server does.
    let mut rules = "groups: [{name: dashboard, rules: [\n".to_owned();
    for (number, (_, expression)) in expressions(&dashboard()).iter().enumerate() {
        let expression = expression.replace("$__rate_interval", "5m").replace("$queue", ".*").replace('\'', "''");
        rules.push_str(&format!("  {{record: 'd:{number}', expr: '{expression}'}},\n"));
    }
    std::fs::write(directory.path().join("dashboard.yml"), rules + "]}]\n").unwrap();
    finds_nothing(directory.path(), &["check", "rules", "dashboard.yml"]);
}

#[test]
fn every_alert_fires_when_it_is_to_and_not_otherwise() {
    let directory = tempfile::tempdir().unwrap();
    let rules = printed(&["alerts"]);
    std::fs::write(directory.path().join(RULES), &rules).unwrap();
    let file = root().join("tests/it/ops/alerts.test.yml");
    let tests = std::fs::read_to_string(&file).unwrap();
    for (alert, _) in alerts(&rules) {
        for how in ["fires", "does not fire"] {
            assert!(tests.contains(&format!("# {alert} {how}: ")), "no test says when {alert} {how}");
        }
    }
    std::fs::write(directory.path().join("alerts.test.yml"), tests).unwrap();
    let said = finds_nothing(directory.path(), &["test", "rules", "alerts.test.yml"]);
    assert!(said.contains("SUCCESS"), "{said}");
}

#[test]
fn every_alert_says_how_grave_it_is_and_what_to_do_next() {
    let (rules, operations) = (printed(&["alerts"]), root().join("docs/operations.md"));
    let operations = std::fs::read_to_string(operations).unwrap();
    let found = alerts(&rules);
    assert_eq!(found.len(), 16);
    for (alert, lines) in &found {
        for part in ["expr: '", "for: ", "severity: ", "summary: '", "description: '"] {
            assert!(lines.contains(part), "{alert} has no {part}");
        }
        let anchor = format!("runbook_url: 'docs/operations.md#{}'", alert.to_ascii_lowercase());
        assert!(lines.contains(&anchor), "{alert}: {lines}");
        assert!(operations.contains(&format!("\n### {alert}\n")), "docs/operations.md has no runbook for {alert}");
    }
    let headings = operations.lines().filter_map(|line| line.strip_prefix("### "));
    for heading in headings.filter(|heading| heading.starts_with("TaskRunnerX")) {
        assert!(
            found.iter().any(|(alert, _)| *alert == heading),
            "docs/operations.md has a runbook for no alert: {heading}"
        );
    }
    let elsewhere = printed(&["alerts", "--runbooks", "https://wiki.internal/trx", "--selector", "job=eu"]);
    assert!(elsewhere.contains("runbook_url: 'https://wiki.internal/trx#taskrunnerxdown'"), "{elsewhere}");
    assert!(elsewhere.contains("absent(taskrunnerx_build_info{job=\"eu\"})"), "{elsewhere}");
}

#[test]
fn a_selector_stands_at_every_series() {
    let scoped: Value = serde_json::from_str(&printed(&["grafana", "--selector", "job=eu"])).unwrap();
    let rules = printed(&["alerts", "--selector", "job=eu"]);
    let rules = rules.lines().filter_map(|line| line.trim().strip_prefix("expr: ")).map(str::to_owned);
    let variables = scoped["templating"]["list"].as_array().unwrap();
    let asked = variables.iter().filter_map(|one| Some(one["definition"].as_str()?.to_owned()));
    for expression in expressions(&scoped).into_iter().map(|(_, expression)| expression).chain(asked).chain(rules) {
        let selected = expression.matches("{job=\"eu\"").count();
        assert!(selected > 0, "{expression}");
        let asked = expression.matches("taskrunnerx_").count() + expression.matches("process_").count();
        assert_eq!(selected, asked, "{expression}");
    }
}

#[test]
fn the_dashboard_is_one_that_grafana_can_show() {
    let dashboard = dashboard();
    assert_eq!((&dashboard["uid"], &dashboard["id"]), (&Value::from("taskrunnerx"), &Value::Null));
    let variables: Vec<&str> =
        dashboard["templating"]["list"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(variables, ["datasource", "queue"]);
    let panels = dashboard["panels"].as_array().unwrap();
    let (mut ids, mut taken) = (BTreeSet::new(), BTreeSet::new());
    let mut rows = 0;
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "an id twice: {panel}");
        let place = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        assert!(place("x") + place("w") <= 24 && place("h") > 0, "{panel}");
        for cell in (place("x")..place("x") + place("w"))
            .flat_map(|x| (place("y")..place("y") + place("h")).map(move |y| (x, y)))
        {
            assert!(taken.insert(cell), "it stands on another one: {panel}");
        }
        assert!(!panel["title"].as_str().unwrap().is_empty());
        if panel["type"] == "row" {
            rows += 1;
            continue;
        }
        assert!(["stat", "timeseries"].contains(&panel["type"].as_str().unwrap()), "{panel}");
        assert!(panel["description"].as_str().unwrap().ends_with('.'), "{panel}");
        assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{panel}");
        assert_eq!(panel["datasource"]["uid"], "${datasource}");
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{panel}");
        let names: BTreeSet<&str> = targets.iter().map(|target| target["refId"].as_str().unwrap()).collect();
        assert_eq!(names.len(), targets.len(), "{panel}");
        assert!(targets.iter().all(|target| target["datasource"]["uid"] == "${datasource}"), "{panel}");
    }
    assert!(rows >= 8 && panels.len() - rows > 30, "{rows} rows, {} panels", panels.len() - rows);
    // Nothing of it changes from one run to the next.
    assert_eq!(dashboard, self::dashboard());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_process_says_how_many_workers_live_and_the_scheduler_when_it_looked() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    let live = async |count: f64| {
        eventually(&format!("{count} live workers"), async || {
            (api.metric("taskrunnerx_workers{kind=\"process\"}").await == count).then_some(())
        })
        .await;
    };
    let last_pass = "taskrunnerx_scheduler_last_pass_timestamp_seconds";
    let mut worker = world.daemon("worker,scheduler");
    worker.env("TASKRUNNERX_WORKER__LEASE", "2s");
    let mut worker = worker.ready().await;
    live(1.0).await;
    assert_eq!(api.metric("taskrunnerx_workers{kind=\"pull\"}").await, 0.0);
    assert_eq!(api.metric(last_pass).await, 0.0, "it has no such role");
    let first = eventually("a look", async || Some(worker.metric(last_pass).await).filter(|at| *at > 0.0)).await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    assert!((now - first).abs() < 60.0, "{first}");
    eventually("another look", async || (worker.metric(last_pass).await > first).then_some(())).await;
    worker.kill();
    live(0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduler_says_by_its_own_clock_when_it_looked_and_not_by_the_databases() {
    let world = World::new().await;
    for (skew, off) in [(AHEAD, 3600.0), (BEHIND, -3600.0)] {
        let mut scheduler = world.daemon("scheduler");
        for (name, value) in skew.environment() {
            scheduler.env(&name, &value);
        }
        let scheduler = scheduler.ready().await;
        skew.assert_shown(&scheduler.log()[0]);
        let last_pass = "taskrunnerx_scheduler_last_pass_timestamp_seconds";
        let at = eventually("a look", async || Some(scheduler.metric(last_pass).await).filter(|at| *at > 0.0)).await;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        assert!((now + off - at).abs() < 600.0, "{off}: {at}, and it is {now}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_nobody_dispatches_is_seen_by_who_is_left_and_by_its_dispatcher_alone_when_there_is_one() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    api.submit(noop("lonely")).await;
    let seen = async |daemon: &Daemon| {
        let (_, text) = daemon.get("/metrics").await;
        text.as_str().unwrap().contains("taskrunnerx_queue_oldest_seconds{queue=\"lonely\"}")
    };
    eventually("it is seen", async || seen(&api).await.then_some(())).await;
    let queued = "taskrunnerx_queue_depth{queue=\"lonely\",status=\"queued\"}";
    assert_eq!(api.metric(queued).await, 1.0);
    let worker = world.daemon("worker").ready().await;
    eventually("its dispatcher says it", async || seen(&worker).await.then_some(())).await;
    eventually("and nobody else", async || (!seen(&api).await).then_some(())).await;
}
