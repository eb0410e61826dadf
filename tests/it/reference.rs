//! `docs/reference/`, and what `deploy/` has of the binary: made from the code, and compared with it. `make reference`
//! writes it anew.

mod answers;

use crate::harness::{DaemonBuilder, root};
use answers::ANSWERS;
use std::fmt::Write as _;
use taskrunnerx::telemetry::Metrics;
use taskrunnerx::{api, config};

/// A page of the reference as it is to be.
fn is_current(name: &str, page: &str) {
    is_made(&format!("docs/reference/{name}"), page);
}

/// A file as it is to be; with `UPDATE` in the environment it is written.
fn is_made(name: &str, page: &str) {
    let path = root().join(name);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, page).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    for (line, (found, made)) in found.lines().chain([""]).zip(page.lines().chain([""])).enumerate() {
        assert_eq!(found, made, "{name}:{} is old: make reference", line + 1);
    }
    assert_eq!(found, page, "{name} is old: make reference");
}

/// In a table's cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// What a key takes, without what is said once for the whole page.
fn takes(text: &str) -> String {
    let said_once = [", such as \"250ms\", ", " (bytes), as a number of bytes"];
    let end = said_once.iter().filter_map(|known| text.find(known)).min().unwrap_or(text.len());
    cell(&text[..end])
}

/// As code, where there is something.
fn code(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("`{}`", cell(text)) }
}

/// A default: none of it is in parentheses, and in words.
fn default(text: &str) -> String {
    match text.strip_prefix('(').and_then(|text| text.strip_suffix(')')) {
        Some(words) => words.to_owned(),
        None if text.is_empty() => "empty".to_owned(),
        None => code(text),
    }
}

#[test]
fn the_dashboard_and_the_alerts_of_the_composition_are_those_of_the_binary() {
    for (command, file) in
        [("grafana", "deploy/grafana/dashboards/taskrunnerx.json"), ("alerts", "deploy/prometheus/alerts.yml")]
    {
        let (code, printed, errors) = DaemonBuilder::new(&["ops", command]).output();
        assert_eq!((code, &*errors), (0, ""), "{command}");
        is_made(file, &printed);
    }
}

#[test]
fn the_page_of_the_configuration_is_current() {
    let mut page = "# Configuration

Made from the code by `make reference`; a test fails when it is old.

A value is that of the flag, else of the environment, else of the file (`--config`, `TASKRUNNERX_CONFIG`, else
`taskrunnerx.toml` in the working directory), else the default. Every variable has a twin that ends in `_FILE` and names a
file with the value. A wrong value and an unknown key in the file stop the start, all of them at once; an unknown
`TASKRUNNERX_*` variable is a warning. `taskrunnerx config` shows what is in force and where each value came from.

`${NAME}` and `${file:PATH}` stand for a variable and for a file's text in the file's `database_url`, `redis_url` and `api_key`, and in
`url`, `headers` and `secret` of a task type.

A **duration** is a text of `d h m s ms`, such as `\"250ms\"`, `\"30s\"` or `\"1h30m\"`, or in the file a number of seconds; a **size** is a number of bytes, or such as `\"512KiB\"` or
`\"1MiB\"`.

## Keys

| key | default | what it does | takes | variable, flag |
|---|---|---|---|---|
"
    .to_owned();
    let (keys, tables): (Vec<_>, Vec<_>) = config::reference().into_iter().partition(|key| key.default.is_some());
    for key in keys {
        let set_by: Vec<String> = key.variables.iter().map(String::as_str).chain(key.flag).map(code).collect();
        let (name, default) = (code(&key.key), default(&key.default.unwrap()));
        writeln!(page, "| {name} | {default} | {} | {} | {} |", key.does, takes(&key.takes), set_by.join(", "))
            .unwrap();
    }
    for (section, title, about) in [
        ("tasks.", "Task types", "`[tasks.NAME]`, in the file alone: see [task types](../task-types.md)."),
        (
            "schedules.",
            "Schedules",
            "`[schedules.NAME]`, in the file alone. Schedules are not only here: others are put over REST or by `taskrunnerx schedules apply`, with the same \
             fields. See [schedules](../how-to/schedules.md).",
        ),
    ] {
        write!(page, "\n## {title}\n\n{about}\n\n| key | what it does | takes |\n|---|---|---|\n").unwrap();
        for key in tables.iter().filter(|key| key.key.starts_with(section)) {
            writeln!(page, "| {} | {} | {} |", code(&key.key), key.does, takes(&key.takes)).unwrap();
        }
    }
    is_current("configuration.md", &page);
}

#[test]
fn the_page_of_the_metrics_is_current() {
    let mut page = "# Metrics

Made from the code by `make reference`; a test fails when it is old.

`GET /metrics` of every process has them in the text format of Prometheus. Names begin with `taskrunnerx_`, units are
base units, labels are bounded: `name` is a known task type, or `other`. A series that has labels appears with its first value. How to read
them: [metrics](../how-to/metrics.md).

| series | type | labels | what it is | role |
|---|---|---|---|---|
"
    .to_owned();
    for series in Metrics::new().unwrap().described() {
        let (help, roles) = series.help.rsplit_once(" (").unwrap_or((&series.help, "all roles)"));
        let labels: Vec<String> = series.labels.iter().map(|label| code(label)).collect();
        let (name, labels) = (code(&series.name), labels.join(", "));
        let role = roles.trim_end_matches(')');
        writeln!(page, "| {name} | {} | {labels} | {} | {role} |", series.kind, cell(help)).unwrap();
    }
    page.push_str(
        "\nOn Linux each process also has the usual `process_cpu_seconds_total`, `process_open_fds`, `process_max_fds`,
`process_virtual_memory_bytes`, `process_resident_memory_bytes`, `process_start_time_seconds` and `process_threads`.\n",
    );
    is_current("metrics.md", &page);
}

#[test]
fn the_page_of_the_command_line_is_current() {
    let mut page = "# Command line

Made from the program's own `--help` by `make reference`; a test fails when it is old.
"
    .to_owned();
    commands(&mut Vec::new(), &mut page);
    is_current("command-line.md", &page);
}

/// A command's help, then that of the commands below it.
fn commands(path: &mut Vec<String>, page: &mut String) {
    let args: Vec<&str> = path.iter().map(String::as_str).chain(["--help"]).collect();
    let (code, help, errors) = DaemonBuilder::new(&args).output();
    assert_eq!((code, &*errors), (0, ""), "{args:?}");
    let name = ["taskrunnerx"].into_iter().chain(path.iter().map(String::as_str)).collect::<Vec<_>>().join(" ");
    let help: Vec<&str> = help.trim_end().lines().map(str::trim_end).collect();
    write!(page, "\n{} {name}\n\n```help\n{}\n```\n", "#".repeat(2 + path.len().min(2)), help.join("\n")).unwrap();
    let listed = help.iter().skip_while(|line| **line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    for below in listed.filter_map(|line| line.strip_prefix("  ")?.split([' ', ',']).next()) {
        // A line that goes on is indented further.
        if !below.is_empty() && below != "help" {
            path.push(below.to_owned());
            commands(path, page);
            path.pop();
        }
    }
}

#[test]
fn the_page_of_the_api_is_current() {
    let mut page = "# REST API

Made from the code by `make reference`; a test fails when it is old.

JSON in and out. Times are RFC 3339 in UTC; durations are texts such as `\"250ms\"`, `\"30s\"` or `\"1h30m\"`, or a number of seconds; ids are UUIDs.

## Routes

`admin` includes `operate`, `operate` includes `submit` and `read`; `work` and `submit` stand alone. Every GET that is no stream also
answers HEAD, and every route answers OPTIONS with the methods that it takes. Lists that may be long have pages: `next_cursor` is the `cursor` of the next one, or `null`.

Where `metrics.require_key` is set, `/metrics` wants a key of the scope `read` that is not restricted to queues or task types.

| call | scope | answer |
|---|---|---|
"
    .to_owned();
    for route in api::reference() {
        let call = format!("{} {}", route.method, route.path);
        let (_, answer) = ANSWERS
            .iter()
            .find(|(known, _)| *known == call)
            .unwrap_or_else(|| panic!("tests/it/reference/answers.rs does not say what {call} answers"));
        writeln!(page, "| {} | {} | {answer} |", code(&call), route.scope.unwrap_or("none")).unwrap();
    }
    page.push_str(PROBLEMS);
    is_current("api.md", &page);
}

const PROBLEMS: &str = "
## Problems

What is refused or fails is answered as [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457) has it, with the content type `application/problem+json`:

```json
{
  \"type\": \"about:blank\",
  \"title\": \"Unprocessable Entity\",
  \"status\": 422,
  \"detail\": \"2 faults; errors lists each\",
  \"errors\": [
    {\"pointer\": \"#/delay\", \"detail\": \"got \\\"soon\\\"; takes a duration such as \\\"30s\\\"\"},
    {\"pointer\": \"#/nme\", \"detail\": \"is not a field\"}
  ]
}
```

`errors` is there with a 422 alone: every fault of the input at once, each with the place that it is at as a JSON pointer.

| status | means |
|---|---|
| 400 | the body is not JSON, or the query cannot be read |
| 401 | a key is needed, or this one is not valid |
| 403 | the key lacks the scope, or is restricted to other queues or task types; without any key, the request did not come from this machine |
| 404 | there is no such route, or no such task, queue, schedule, worker or key; so is what the key's restriction leaves out |
| 405 | the route does not take this method; `Allow` has those that it does |
| 409 | the state that it is in does not allow it, a request with the same `Idempotency-Key` is under way, or the configuration manages the schedule |
| 408 | the body did not come in time |
| 410 | the task that holds this `Idempotency-Key` or `unique_key` is there no longer |
| 413 | the body is larger than the limit |
| 415 | the body is not `application/json` |
| 422 | the input was understood and is wrong |
| 429 | the key has sent more requests than its limit lets it; `Retry-After` says when to go on |
| 500 | a fault of the program. The answer says nothing but its `x-request-id`, under which the log says the rest |
| 503 | the database cannot be reached, or the process is starting or stopping; `Retry-After` says when to try again |
";
