//! Names for commands: what a person would call them, and a few digits that tell them from each other. A command keeps
//! its name whatever stands around it and whenever it runs.

use std::collections::HashMap;

/// Characters that are taken from the command.
const MAX_BASE: usize = 40;
/// What is called when nothing in a command is a name.
const UNNAMED: &str = "job";
/// These prepare, and are not what it is about.
const PREPARES: [&str; 11] = ["cd", "test", "[", "[[", "export", "set", "source", ".", "sleep", "umask", "ulimit"];
/// These run another program, after so many words that are neither options nor numbers.
const RUNS_ANOTHER: [(&str, usize); 19] = [
    ("bash", 0),
    ("chronic", 0),
    ("command", 0),
    ("dash", 0),
    ("env", 0),
    ("exec", 0),
    ("flock", 1),
    ("ionice", 0),
    ("nice", 0),
    ("node", 0),
    ("nohup", 0),
    ("perl", 0),
    ("php", 0),
    ("ruby", 0),
    ("setsid", 0),
    ("sh", 0),
    ("sudo", 0),
    ("time", 0),
    ("timeout", 1),
];
const ENDINGS: [&str; 7] = [".sh", ".bash", ".py", ".pl", ".rb", ".php", ".js"];

/// A name for each of these commands, in their order. Equal commands are numbered.
pub(super) fn names<'a>(commands: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let name = |command| {
        let name = format!("{}-{:06x}", base(command), digits(command));
        let count = seen.entry(name.clone()).or_default();
        *count += 1;
        if *count == 1 { name } else { format!("{name}-{count}") }
    };
    commands.into_iter().map(name).collect()
}

/// FNV-1a, folded to 24 bits.
fn digits(command: &str) -> u64 {
    let hash = command
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    (hash ^ (hash >> 24) ^ (hash >> 48)) & 0x00ff_ffff
}

fn base(command: &str) -> String {
    let parts = command.split(['&', ';', '|', '(', ')', '{', '}']).map(str::trim).filter(|part| !part.is_empty());
    let about = parts.filter_map(program).find(|word| !PREPARES.contains(word));
    let word = about.unwrap_or_default();
    let last = word.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let last = ENDINGS.into_iter().find_map(|ending| last.strip_suffix(ending)).unwrap_or(last);
    let fitting = |c: char| if c.is_ascii_alphanumeric() || "._".contains(c) { c } else { '-' };
    let base: String = last.chars().map(fitting).collect();
    let base = base.trim_matches(['-', '.', '_']);
    let base: String = base.chars().take(MAX_BASE).collect();
    if base.is_empty() { UNNAMED.to_owned() } else { base }
}

/// The word that says what one simple command runs.
fn program(part: &str) -> Option<&str> {
    let mut passed = 0;
    let mut last = None;
    for word in part.split_whitespace().map(|word| word.trim_matches(['"', '\''])) {
        let assigns = word.split_once('=').is_some_and(|(name, _)| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        });
        if assigns || word.starts_with(['-', '>', '<']) || word.starts_with(|c: char| c.is_ascii_digit()) {
            continue;
        }
        if passed > 0 {
            passed -= 1;
            continue;
        }
        last = Some(word);
        let called = word.rsplit('/').next().unwrap_or_default();
        // python3.12 is python.
        let called = if called.starts_with("python") { "sh" } else { called };
        match RUNS_ANOTHER.into_iter().find(|(name, _)| *name == called) {
            Some((_, words)) => passed = words,
            None => break,
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::name::{self, MAX_NAME};
    use proptest::prelude::*;

    #[test]
    fn a_command_is_called_by_what_it_runs() {
        for (command, expected) in [
            ("/usr/bin/backup --full", "backup"),
            ("cd /srv/app && bin/rake db:cleanup >> log 2>&1", "rake"),
            ("PATH=/bin:/usr/bin FOO=1 nice -n 10 /opt/report.sh weekly", "report"),
            ("flock -n /tmp/lock timeout 5m /usr/bin/env python3.12 -u /srv/sync_all.py", "sync_all"),
            ("test -x /usr/sbin/anacron || run-parts /etc/cron.daily", "run-parts"),
            ("[ -f /x ] && '/opt/my tool/go' now", "my"),
            ("php artisan schedule:run", "artisan"),
            ("curl -s https://example.com/ping?x=1", "curl"),
            ("( umask 077; pg_dump db )", "pg_dump"),
            ("bash", "bash"),
            ("$(which x)", "job"),
            ("日本", "job"),
        ] {
            assert_eq!(base(command), expected, "{command}");
        }
    }

    #[test]
    fn a_name_stays_whatever_stands_around_it() {
        let alone = names(["/usr/bin/backup --full"]);
        assert_eq!(alone, ["backup-85024d"], "what has been imported once keeps its name");
        let among = names(["/usr/bin/backup --less", "x", "/usr/bin/backup --full", "/usr/bin/backup --full"]);
        assert_eq!(among[2], alone[0]);
        assert_eq!(among[3], format!("{}-2", alone[0]));
        assert_ne!(among[0], among[2]);
    }

    proptest! {
        #[test]
        fn every_command_has_a_name_of_its_own(commands in proptest::collection::vec(any::<String>(), 0..8)) {
            let names = names(commands.iter().map(String::as_str));
            prop_assert_eq!(names.len(), commands.len());
            for one in &names {
                prop_assert!(name::check(one, MAX_NAME).is_ok(), "{}", one);
            }
            let different: std::collections::BTreeSet<&String> = names.iter().collect();
            prop_assert_eq!(different.len(), names.len());
        }
    }
}
