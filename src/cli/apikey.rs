//! `apikey`: directly on the database, as `migrate`: the first key is made before any server lets one in.

use super::each::each;
use super::table::{Cell, Column, Table, Tone};
use super::terminal::{Style, deliver, say, say_aside, unwritten};
use super::values::{self, Span};
use super::{EXIT_UNREACHABLE, EXIT_USAGE, Failure, database, words};
use crate::lifecycle::access::{self, AccessError, Admin, Made, NewKey};
use crate::store::api_keys::{KeyRow, MAX_KEY_NAME, MAX_SPAN};
use crate::store::{Store, StoreError};
use crate::task::{KeyId, Scope, Timestamp, duration};
use chrono::{SecondsFormat, Utc};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;

/// Most requests a second that a key may be limited to.
const MAX_RATE: i64 = 1_000_000;

/// Make, list, rotate and revoke API keys, directly on the database
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  taskrunnerx apikey create ops --scope admin
  taskrunnerx apikey list

Each command has its own --help.")]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a key, and print it this once
    Create(CreateArgs),
    /// Show every key, and when it was used last
    List(ListArgs),
    /// Give a key another secret, and print it this once
    Rotate(RotateArgs),
    /// Revoke keys: when it is done, no server lets them in
    Revoke(RevokeArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  taskrunnerx apikey create ops --scope admin
  taskrunnerx apikey create shop --scope submit,read --queue mail --name notify --rate 100
  taskrunnerx apikey create encoder-7 --scope work --queue media --expires-in 90d

The key alone goes to standard output, the rest to standard error. The database keeps only its hash.
admin includes operate, operate includes submit and read; submit and work stand alone.

The first key must have the scope admin. Where the servers have a bootstrap key (TASKRUNNERX_API_KEY), which
makes others too, --force makes it without.

Exit codes: 0 done, 1 failed, also where the key was made and its secret could not be written out,
2 usage or configuration, 3 the database cannot be reached.")]
struct CreateArgs {
    /// Whose it is; it need not be unique
    #[arg(value_name = "NAME", value_parser = label)]
    label: String,
    /// What it may do: read, submit, work, operate, admin
    #[arg(long = "scope", value_name = "SCOPE", value_delimiter = ',', required = true, value_parser = scope)]
    scopes: Vec<Scope>,
    /// Only these queues [default: every one]
    #[arg(long = "queue", value_name = "QUEUE", value_delimiter = ',', value_parser = values::queue)]
    queues: Vec<String>,
    /// Only these task types [default: every one]
    #[arg(long = "name", value_name = "TYPE", value_delimiter = ',', value_parser = values::word)]
    names: Vec<String>,
    /// How long it works [default: until it is revoked]
    #[arg(long, value_name = "DURATION", value_parser = life)]
    expires_in: Option<Span>,
    /// Requests a second of one process [default: as limits.rate says]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=MAX_RATE))]
    rate: Option<u32>,
    /// Also where no key may make others: with the bootstrap key, or here, that can be done still
    #[arg(long)]
    force: bool,
    /// One JSON object: {key, id, name, scopes, ...}
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  taskrunnerx apikey list
  taskrunnerx apikey list --json | jq -r '.keys[] | select(.last_used_at == null).name'

Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 the database cannot be reached.")]
struct ListArgs {
    /// One JSON object: {keys: [...]}
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  taskrunnerx apikey rotate 0190163d-8694-739b-aea5-966c26f8ad91 --overlap 1h

Exit codes: 0 done, 1 there is no such key, or it is revoked or has expired, or its new secret could not be
written out, 2 usage or configuration, 3 the database cannot be reached.")]
struct RotateArgs {
    /// The key's id, as in the list
    id: KeyId,
    /// How long the old secret works beside the new one [default: no longer]
    #[arg(long, value_name = "DURATION", value_parser = life)]
    overlap: Option<Span>,
    /// One JSON object: {key, id, name, scopes, ...}
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  taskrunnerx apikey revoke 0190163d-8694-739b-aea5-966c26f8ad91

Exit codes: 0 done, also when it was revoked before, 1 there is no such key, or it is the last admin key,
2 usage or configuration, 3 the database cannot be reached.")]
struct RevokeArgs {
    /// The keys' ids, as in the list
    #[arg(value_name = "ID", required = true)]
    ids: Vec<KeyId>,
    /// Also the last one that may make others: with the bootstrap key, or here, that can be done still
    #[arg(long)]
    force: bool,
}

/// Whoever has the database makes another key at any time; it is asked for all the same.
fn admin(force: bool) -> Admin {
    if force { Admin::Elsewhere } else { Admin::Kept }
}

pub(super) async fn run(args: Args, config: Option<PathBuf>) -> Result<(), Failure> {
    let store = database::open(config)?;
    match args.command {
        Command::Create(args) => create(&store, args).await,
        Command::List(ListArgs { json }) => list(&store, json).await,
        Command::Rotate(RotateArgs { id, overlap, json }) => {
            let overlap = overlap.map_or(Duration::ZERO, |span| span.length);
            give(&access::rotate(&store, id, overlap, &by()).await?, json)
        }
        Command::Revoke(RevokeArgs { ids, force }) => {
            let call = async |id| {
                let KeyRow { name, .. } = access::revoke(&store, id, &by(), admin(force)).await?;
                Ok::<_, AccessError>(format!("{id} {name} revoked"))
            };
            each(&ids, "key", call).await
        }
    }
}

async fn create(store: &Store, args: CreateArgs) -> Result<(), Failure> {
    let CreateArgs { label, scopes, queues, names, expires_in, rate, force, json } = args;
    if scopes.contains(&Scope::Admin) && !(queues.is_empty() && names.is_empty()) {
        return Err(Failure::with_code(
            EXIT_USAGE,
            "a key of scope admin may make others: it takes no --queue and no --name",
        ));
    }
    // It may be the first thing that is done with a database.
    database::migrate(store).await?;
    let mut kept = Vec::new();
    for scope in scopes {
        if !kept.contains(&scope) {
            kept.push(scope);
        }
    }
    let some = |words: Vec<String>| Some(words).filter(|words| !words.is_empty());
    let key = NewKey {
        name: label,
        scopes: kept,
        queues: some(queues),
        names: some(names),
        expires_in: expires_in.map(|span| span.length),
        rate_limit: rate,
        by: by(),
    };
    give(&access::create(store, key, admin(force)).await?, json)
}

/// The key on standard output, so that a script may take it; what it is aside. Where that goes nowhere, the secret is
/// lost, and the key is there.
fn give(made: &Made, json: bool) -> Result<(), Failure> {
    let Made { key, secret } = made;
    let delivered = if json {
        let mut object = shown(key);
        if let Some(fields) = object.as_object_mut() {
            fields.insert("key".to_owned(), secret.expose().into());
        }
        deliver(&object.to_string())
    } else {
        let scopes: Vec<&str> = key.scopes.iter().map(|scope| scope.as_str()).collect();
        say_aside(&format!(
            "key {} of {}, which may {}; keep it, it is not shown again:",
            key.id,
            key.name,
            scopes.join(", ")
        ));
        deliver(secret.expose())
    };
    delivered.map_err(|error| {
        let id = key.id;
        Failure::new(format!(
            "{}\nThe secret is lost, and the key exists: taskrunnerx apikey rotate {id} gives it another one, \
             taskrunnerx apikey revoke {id} ends it.",
            unwritten(&error)
        ))
    })
}

async fn list(store: &Store, json: bool) -> Result<(), Failure> {
    let keys = access::list(store).await.map_err(AccessError::from)?;
    if json {
        say(&json!({ "keys": keys.iter().map(shown).collect::<Vec<_>>() }).to_string());
        return Ok(());
    }
    say(&table(&keys, Utc::now()).render(Style::detect()));
    Ok(())
}

/// `now` is this machine's clock: it only says what is shown.
fn table(keys: &[KeyRow], now: Timestamp) -> Table {
    let mut table = Table::new(&[
        Column::Text("ID"),
        Column::Text("NAME"),
        Column::Text("STATE"),
        Column::Text("SCOPES"),
        Column::Long("QUEUES"),
        Column::Long("TYPES"),
        Column::Number("RATE"),
        Column::Text("LAST USED"),
        Column::Text("EXPIRES"),
    ]);
    let every = ["*".to_owned()];
    for key in keys {
        let state = match (key.revoked_at, key.expires_at) {
            (Some(_), _) => Cell::toned("revoked", Tone::Faint),
            (None, Some(at)) if at <= now => Cell::toned("expired", Tone::Bad),
            _ => Cell::toned("active", Tone::Good),
        };
        let scopes: Vec<&str> = key.scopes.iter().map(|scope| scope.as_str()).collect();
        table.row(vec![
            Cell::new(key.id),
            Cell::new(&key.name),
            state,
            Cell::list(&scopes),
            Cell::list(key.queues.as_deref().unwrap_or(&every)),
            Cell::list(key.names.as_deref().unwrap_or(&every)),
            Cell::maybe(key.rate_limit),
            Cell::maybe(key.last_used_at.map(time)),
            Cell::maybe(key.expires_at.map(time)),
        ]);
    }
    table
}

/// As the API gives it.
fn shown(key: &KeyRow) -> Value {
    let KeyRow {
        id,
        name,
        scopes,
        queues,
        names,
        rate_limit,
        created_at,
        created_by,
        expires_at,
        last_used_at,
        revoked_at,
        previous_until,
    } = key;
    let time = |at: &Timestamp| at.to_rfc3339_opts(SecondsFormat::Micros, true);
    json!({
        "id": id.to_string(),
        "name": name,
        "scopes": scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>(),
        "queues": queues,
        "names": names,
        "rate_limit": rate_limit,
        "created_at": time(created_at),
        "created_by": created_by,
        "expires_at": expires_at.as_ref().map(time),
        "last_used_at": last_used_at.as_ref().map(time),
        "revoked_at": revoked_at.as_ref().map(time),
        "previous_until": previous_until.as_ref().map(time),
    })
}

fn time(at: Timestamp) -> String {
    words::time(&at.to_rfc3339_opts(SecondsFormat::Secs, true))
}

/// Who does it: whoever may use the database is not asked for a key.
fn by() -> String {
    let user = ["USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok()).unwrap_or_default();
    let user: String = user.chars().filter(|c| !c.is_control()).take(64).collect();
    if user.is_empty() { "command line".to_owned() } else { format!("command line: {user}") }
}

fn scope(word: &str) -> Result<Scope, String> {
    Scope::parse(word).ok_or_else(|| format!("takes {}", Scope::ALL.map(Scope::as_str).join(", ")))
}

fn label(text: &str) -> Result<String, String> {
    let fits = (1..=MAX_KEY_NAME).contains(&text.chars().count());
    if fits && text.trim() == text && !text.chars().any(char::is_control) {
        return Ok(text.to_owned());
    }
    Err(format!("takes 1 to {MAX_KEY_NAME} characters that say whose it is"))
}

fn life(text: &str) -> Result<Span, String> {
    let span = values::span(text)?;
    if (Duration::from_secs(1)..=MAX_SPAN).contains(&span.length) {
        return Ok(span);
    }
    Err(format!("takes a duration from 1s to {}", duration::format(MAX_SPAN)))
}

impl From<AccessError> for Failure {
    /// With what to do next.
    fn from(error: AccessError) -> Self {
        match &error {
            AccessError::Store(store) if store.is_transient() => Self::with_code(EXIT_UNREACHABLE, error),
            AccessError::Store(StoreError::Unexpected(_)) => {
                Self::new(format!("{error}\nIs the schema up to date? See taskrunnerx migrate --status."))
            }
            AccessError::NoAdmin | AccessError::LastAdmin(_) => Self::new(format!("{error}, or say --force")),
            AccessError::Unknown(_) => Self::new(format!("{error}; taskrunnerx apikey list shows those there are")),
            _ => Self::new(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_shown_with_what_it_may_and_how_it_is() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let key = KeyRow {
            id: "0190163d-8694-739b-aea5-966c26f8ad91".parse().unwrap(),
            name: "shop".to_owned(),
            scopes: vec![Scope::Submit, Scope::Read],
            queues: Some(vec!["mail".to_owned()]),
            names: None,
            rate_limit: Some(100),
            created_at: at("2026-11-25T10:00:00Z"),
            created_by: "ops".to_owned(),
            expires_at: Some(at("2026-12-01T00:00:00Z")),
            last_used_at: None,
            revoked_at: None,
            previous_until: None,
        };
        let line = |now: &str| table(std::slice::from_ref(&key), at(now)).render(Style::PLAIN);
        let expected = "0190163d-8694-739b-aea5-966c26f8ad91  shop  active  submit,read  mail    *       100  -          \
                        2026-12-01T00:00:00Z";
        assert_eq!(line("2026-11-30T00:00:00Z").lines().nth(1), Some(expected));
        assert!(line("2026-12-01T00:00:00Z").contains("  expired  "));
        assert_eq!(shown(&key)["created_at"], "2026-11-25T10:00:00.000000Z");
    }

    #[test]
    fn slips_are_faults_of_usage() {
        assert!(scope("reed").unwrap_err().contains("read, submit, work"));
        assert!(label(" x").is_err() && label("").is_err() && label("the shop").is_ok());
        assert!(life("0s").is_err() && life("90d").is_ok());
    }
}
