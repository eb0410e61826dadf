//! Judges the configuration, in the words of those who read it.

use super::check::{Group, Section};
use crate::api::Certificate;
use crate::cli::daemon;
use crate::config::{Config, ConfigError, Tls, Warning};
use crate::executor::Registry;

const ADVICE: &str = "`taskrunnerx config` shows each value and where it came from";

/// Of one that cannot be used at all.
pub(super) fn faults(error: &ConfigError) -> Section {
    let mut section = Section::new(Group::Configuration);
    add_faults(&mut section, error);
    section
}

pub(super) fn judge(config: &Config, warnings: &[Warning], registry: Registry) -> Section {
    let mut section = Section::new(Group::Configuration);
    let set = config.effective().iter().filter(|row| row.origin != "default").count();
    section.ok("values", format!("well-formed; {set} set, the others are defaults"));
    for warning in warnings {
        section.warning("environment", warning.to_string(), ADVICE);
    }
    match daemon::check(registry, config) {
        Ok(()) => section.ok("task types", "every type that the configuration names is there"),
        Err(error) => section.error("task types", error.to_string().replace('\n', "; "), ADVICE),
    }
    if let Some(tls) = &config.tls {
        certificate(&mut section, tls);
    }
    if let Err(error) = config.require_servers() {
        add_faults(&mut section, &error);
    }
    // Only a warning: this process may be meant for another role, by a flag.
    if config.roles.api && config.api_key.is_none() && !config.bind.ip().is_loopback() {
        section.warning(
            "api key",
            format!("none, and bind is {}: unless the database has one, `serve` with the api role refuses to start", config.bind),
            "set TASKRUNNERX_API_KEY to a secret of your choice, make a key with `taskrunnerx apikey create ops --scope admin`, or bind to 127.0.0.1",
        );
    } else {
        let detail =
            if config.api_key.is_some() { "set" } else { "none: without keys in the database, this machine only" };
        section.ok("api key", detail);
    }
    section
}

/// A certificate that expires sooner is worth a word: those that are renewed by programs have a month left then.
const SOON: i64 = 14 * 86_400;

fn certificate(section: &mut Section, files: &Tls) {
    let found = match Certificate::load(files) {
        Ok(found) => found,
        Err(error) => {
            return section.error("tls", error.to_string(), "docs/how-to/tls.md shows how to make and renew them");
        }
    };
    if let Some(warning) = found.warning() {
        section.warning("tls", warning, "whoever reads the key can pass for this server");
    }
    let left = found.not_after().map(|end| end - chrono::Utc::now().timestamp());
    match left {
        Some(left) if left < 0 => section.error(
            "tls",
            format!("{} has expired: clients refuse it", files.cert.display()),
            "renew it: it is read again without a restart",
        ),
        Some(left) if left < SOON => section.warning(
            "tls",
            format!("{} expires in {} days", files.cert.display(), left / 86_400),
            "renew it: it is read again without a restart",
        ),
        // The metric is 0 then, and no alert says that it expires.
        None => section.warning(
            "tls",
            format!(
                "the end of {}'s validity cannot be read: nothing will warn before it expires",
                files.cert.display()
            ),
            "`openssl x509 -noout -enddate -in FILE` shows it; have it issued anew if that cannot either",
        ),
        Some(_) => section.ok("tls", format!("{} with its key", files.cert.display())),
    }
}

fn add_faults(section: &mut Section, error: &ConfigError) {
    for fault in &error.faults {
        section.error(&fault.key, format!("{} ({})", fault.problem, fault.origin), ADVICE);
    }
}
