//! Keys that there are not: faults in the file, which is ours alone; warnings in the environment, which is not.

use super::environment::{Environment, PREFIX, variable_of};
use super::error::{Fault, Warning};
use super::file::{FILE_VARIABLE, File};
use crate::task::fields::{likeness, nearest as nearest_of};
use crate::task::name::quoted;

/// The sections with tables for each name, which check themselves.
const NAMED_SECTIONS: [&str; 2] = ["tasks", "schedules"];

/// Variables of ours that are not configuration: those of the command line's clients, and those that a command task
/// gets, which may well be a client itself.
const OTHER_VARIABLES: [&str; 9] = [
    FILE_VARIABLE,
    "TASKRUNNERX_URL",
    "TASKRUNNERX_CA",
    "TASKRUNNERX_TASK_ID",
    "TASKRUNNERX_TASK_NAME",
    "TASKRUNNERX_ATTEMPT",
    "TASKRUNNERX_MAX_ATTEMPTS",
    "TASKRUNNERX_QUEUE",
    "TASKRUNNERX_DEADLINE",
];

/// What the tests of this and of other programs may set.
const TEST_PREFIX: &str = "TASKRUNNERX_TEST_";

/// Faults for what the file has and nobody asked for. Values are not shown: a misspelt key may be that of a secret.
pub(super) fn in_file(file: &File, known: &[&'static str]) -> Vec<Fault> {
    let mut faults = Vec::new();
    visit(&file.table, "", known, &file.origin, &mut faults);
    faults
}

fn visit(table: &toml::Table, prefix: &str, known: &[&'static str], origin: &str, faults: &mut Vec<Fault>) {
    for (name, value) in table {
        let path = format!("{prefix}{name}");
        // A quoted key with a dot in it looks like a path and is none.
        let plain = !name.contains('.');
        if plain && (known.contains(&path.as_str()) || NAMED_SECTIONS.contains(&path.as_str())) {
            continue;
        }
        let section = format!("{path}.");
        if plain && known.iter().any(|key| key.starts_with(&section)) {
            match value.as_table() {
                Some(inner) => visit(inner, &section, known, origin, faults),
                None => faults.push(Fault::new(&path, origin, format!("takes a table: [{path}]"))),
            }
            continue;
        }
        let shown = if plain { path.clone() } else { format!("{prefix}{}", quoted(name)) };
        let hint = nearest(&path, known).map(|near| format!("; the nearest is `{near}`"));
        faults.push(Fault::new(shown, origin, format!("is not a key{}", hint.unwrap_or_default())));
    }
}

/// Warnings for variables with our prefix that are not ours.
pub(super) fn in_environment(environment: &Environment, known: &[&'static str]) -> Vec<Warning> {
    let mut variables: Vec<String> = known.iter().map(|key| variable_of(key)).collect();
    variables.push(FILE_VARIABLE.to_owned());
    let is_known = |name: &str| {
        let name = name.strip_suffix("_FILE").filter(|name| *name != FILE_VARIABLE).unwrap_or(name);
        variables.iter().any(|variable| variable == name)
    };
    let odd = environment
        .ours()
        .filter(|name| !is_known(name) && !OTHER_VARIABLES.contains(name) && !name.starts_with(TEST_PREFIX));
    let (services, others): (Vec<&str>, Vec<&str>) = odd.partition(|name| is_of_a_service(name, environment));
    let mut warnings: Vec<Warning> = others.iter().map(|name| unknown_variable(name, &variables)).collect();
    if !services.is_empty() {
        warnings.push(Warning {
            variables: services.into_iter().map(str::to_owned).collect(),
            detail: "not known, and ignored; Kubernetes sets such for a Service of this name \
                     (`enableServiceLinks: false` stops it)"
                .to_owned(),
        });
    }
    warnings
}

fn unknown_variable(name: &str, variables: &[String]) -> Warning {
    let bare = |name: &str| name.strip_prefix(PREFIX).unwrap_or(name).to_owned();
    let (stem, suffix) = name.strip_suffix("_FILE").map_or((name, ""), |stem| (stem, "_FILE"));
    let stem = bare(stem);
    let near = nearest_of(variables.iter(), |variable| likeness(&stem, &bare(variable)));
    let hint = match near {
        Some(near) if near == FILE_VARIABLE => format!("; the nearest is {near}"),
        Some(near) => format!("; the nearest is {near}{suffix}"),
        None => String::new(),
    };
    Warning { variables: vec![name.to_owned()], detail: format!("not known, and ignored{hint}") }
}

/// Whether it looks like one of the variables by which Kubernetes tells a pod of the Services around it.
fn is_of_a_service(name: &str, environment: &Environment) -> bool {
    let address = || environment.text(name).and_then(Result::ok).is_some_and(|value| value.contains("://"));
    let numbered = name.split("_PORT_").skip(1).any(|after| after.starts_with(|c: char| c.is_ascii_digit()));
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || numbered
        || (name.ends_with("_PORT") && address())
}

/// The known key most like `key`, as a whole or by its last part (`concurrency` is like `worker.concurrency`); None: it
/// is like none.
pub(super) fn nearest(key: &str, known: &[&'static str]) -> Option<&'static str> {
    nearest_of(known.iter().copied(), |candidate| {
        let last = candidate.rsplit('.').next().unwrap_or(candidate);
        // A little less, so that of two equally good ones the whole key wins.
        likeness(key, candidate).max(likeness(key, last) * 0.95)
    })
}
