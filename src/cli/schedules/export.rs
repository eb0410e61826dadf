//! `schedules export`.

use super::diff::Kept;
use super::written;
use crate::cli::Failure;
use crate::cli::connection::Connection;
use crate::cli::terminal::{say, say_aside, write};
use crate::cli::values;
use crate::client::ClientError;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, HashMap};

/// Print schedules as a file that `apply` takes
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  taskrunnerx schedules export > schedules.toml
  taskrunnerx schedules export nightly hourly
  taskrunnerx schedules export --json | jq '.schedules | keys'

Without names all but those that the configuration manages: it has them already. `apply` takes what is
printed, and finds nothing to change but that those of others are then managed by the file.

Exit codes: 0 done, 1 one of them is not there, or TOML cannot hold it, 2 usage, 3 the server cannot be
reached.")]
pub(super) struct Args {
    /// These schedules [default: all but the configuration's]
    #[arg(value_name = "NAME", value_parser = values::word)]
    names: Vec<String>,
    /// JSON, which `apply` takes too: {schedules: {NAME: {...}}}
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let Args { names, json, connection } = args;
    let client = connection.client()?;
    let mut found = Vec::new();
    if names.is_empty() {
        for row in client.schedules(u32::MAX, None).await?.read::<HashMap<String, Box<RawValue>>>()? {
            found.push(Kept::read(row).map_err(ClientError::Broken)?);
        }
        let (own, others): (Vec<_>, Vec<_>) = found.into_iter().partition(Kept::is_configured);
        if !own.is_empty() {
            let names: Vec<&str> = own.iter().map(|kept| kept.name.as_str()).collect();
            say_aside(&format!("left out, because the configuration has them: {}", names.join(", ")));
        }
        found = others;
    } else {
        for name in &names {
            found.push(Kept::of(&client.schedule(name).await?)?);
        }
    }
    if json {
        say(&as_json(&found)?);
    } else {
        write(as_toml(&found)?.as_bytes());
    }
    Ok(())
}

/// All of them or nothing: what is in no file any more might be pruned.
fn as_toml(schedules: &[Kept]) -> Result<String, Failure> {
    let mut tables = Vec::new();
    let mut faults = Vec::new();
    for Kept { name, definition, .. } in schedules {
        let written = match definition {
            Some(definition) => written::schedule(name, definition),
            None => Err(vec!["the server cannot read its definition".to_owned()]),
        };
        match written {
            Ok(table) => tables.push(table),
            Err(these) => faults.extend(these.into_iter().map(|fault| format!("{name}: {fault}"))),
        }
    }
    if faults.is_empty() {
        return Ok(tables.join("\n"));
    }
    Err(Failure::new(format!("nothing was exported; --json takes every payload:\n{}", faults.join("\n"))))
}

fn as_json(schedules: &[Kept]) -> Result<String, Failure> {
    #[derive(serde::Serialize)]
    struct File<'a> {
        schedules: BTreeMap<&'a str, Box<RawValue>>,
    }
    let mut file = File { schedules: BTreeMap::new() };
    for Kept { name, definition, .. } in schedules {
        let definition = definition.as_ref().ok_or_else(|| {
            Failure::new(format!("nothing was exported: the server cannot read the definition of {name}"))
        })?;
        file.schedules.insert(name, RawValue::from_string(definition.to_json()).map_err(Failure::new)?);
    }
    serde_json::to_string(&file).map_err(Failure::new)
}

#[cfg(test)]
mod tests {
    use super::super::{diff, files};
    use super::*;
    use serde_json::{Value, json};

    fn kept(name: &str, definition: Value) -> Kept {
        let mut answer = definition;
        answer["name"] = name.into();
        answer["managed_by"] = "file".into();
        Kept::read(serde_json::from_value(answer).unwrap()).unwrap()
    }

    #[test]
    fn what_is_exported_is_what_apply_finds_no_difference_in() {
        let schedules = [
            kept("a", json!({"every": "5m", "task": {"name": "x"}})),
            kept("b.c", json!({"cron": "@daily", "timezone": "Asia/Kolkata", "task": {"name": "y", "payload": [1]}})),
        ];
        for text in [as_toml(&schedules).unwrap(), as_json(&schedules).unwrap()] {
            let read = files::parse(&text).unwrap();
            assert_eq!(read.len(), 2, "{text}");
            for kept in &schedules {
                assert_eq!(diff::action(Some(kept), &read[&kept.name]), diff::Action::Nothing, "{text}");
            }
        }
    }

    #[test]
    fn all_of_them_or_nothing() {
        let bad = kept("b", json!({"every": "5m", "task": {"name": "x", "payload": [null]}}));
        let unread = kept("c", json!({"cron": null, "task": null}));
        let schedules = [kept("a", json!({"every": "5m", "task": {"name": "x"}})), bad, unread];
        let failure = as_toml(&schedules).unwrap_err();
        assert_eq!(failure.code, 1);
        let lines: Vec<&str> = failure.message.lines().skip(1).collect();
        let null = "b: task.payload.0 is null, which TOML does not have";
        assert_eq!(lines, [null, "c: the server cannot read its definition"]);
        assert!(as_json(&schedules[..2]).is_ok() && as_json(&schedules).is_err());
    }
}
