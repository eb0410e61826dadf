//! A user's crontab, as crontab(5) has it: lines, variables, `%`, and what a shell has to run for each line.

use crate::task::cron::Cron;
use crate::task::name::quoted;

/// Fields before the command.
const FIELDS: usize = 5;
/// The shell that cron takes where `SHELL` says no other.
const SHELL: &str = "/bin/sh";
/// The zone that a line is checked in where none is named.
const ANY_ZONE: &str = "UTC";
/// Minutes that `RANDOM_DELAY` may have.
const MAX_DELAY: u32 = 1440;
/// What cron does with a job's output; here it is the task's log and result.
const OF_MAIL: [&str; 4] = ["MAILTO", "MAILFROM", "CONTENT_TYPE", "CONTENT_TRANSFER_ENCODING"];

/// What a crontab says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Crontab {
    pub(super) jobs: Vec<Job>,
    pub(super) refused: Vec<Refused>,
    /// Variables that are passed over, with their lines.
    pub(super) unused: Vec<(usize, String)>,
}

/// A line that says when and what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Job {
    /// Counted from 1.
    pub(super) line: usize,
    /// The line as it stands.
    pub(super) text: String,
    pub(super) expression: String,
    /// None: that of the machine that the crontab is from.
    pub(super) zone: Option<String>,
    /// It starts up to so many minutes later.
    pub(super) delay: u32,
    /// The command as it stands, without what it reads.
    pub(super) command: String,
    /// What `/bin/sh -c` has to run, its variables and what it reads included.
    pub(super) script: String,
}

/// A line that cannot be taken, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) line: usize,
    pub(super) why: String,
}

/// What the lines above have set.
#[derive(Debug, Default)]
struct Setting {
    zone: Option<String>,
    shell: Option<String>,
    delay: u32,
    variables: Vec<(String, String)>,
}

/// `zone`: of the lines that have no `CRON_TZ` above them.
pub(super) fn parse(text: &str, zone: Option<&str>) -> Crontab {
    let mut crontab = Crontab::default();
    let mut setting = Setting { zone: zone.map(str::to_owned), ..Setting::default() };
    for (number, text) in (1..).zip(text.lines()) {
        let line = text.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let read = match variable(line) {
            Some((name, _)) if OF_MAIL.contains(&name) => {
                crontab.unused.push((number, name.to_owned()));
                Ok(None)
            }
            Some((name, value)) => setting.set(name, value, zone).map(|()| None),
            None => setting.job(number, line).map(Some),
        };
        match read {
            Ok(job) => crontab.jobs.extend(job),
            Err(why) => crontab.refused.push(Refused { line: number, why }),
        }
    }
    crontab
}

/// `NAME = value`, the value without the quotes around it.
fn variable(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once('=')?;
    let (name, value) = (unquoted(name.trim()), unquoted(value.trim()));
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let named = begins && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    named.then_some((name, value))
}

fn unquoted(text: &str) -> &str {
    let within = |quote: char| text.strip_prefix(quote)?.strip_suffix(quote);
    within('"').or_else(|| within('\'')).unwrap_or(text)
}

impl Setting {
    /// `zone`: where the crontab has none.
    fn set(&mut self, name: &str, value: &str, zone: Option<&str>) -> Result<(), String> {
        match name {
            "CRON_TZ" if value.is_empty() => self.zone = zone.map(str::to_owned),
            "CRON_TZ" => self.zone = Some(value.to_owned()),
            "SHELL" => self.shell = Some(value.to_owned()).filter(|shell| shell != SHELL),
            "RANDOM_DELAY" => {
                let minutes = value.parse().ok().filter(|minutes| *minutes <= MAX_DELAY);
                self.delay = minutes.ok_or_else(|| {
                    format!("RANDOM_DELAY: got {}; takes minutes from 0 to {MAX_DELAY}", quoted(value))
                })?;
            }
            _ => {
                self.variables.retain(|(earlier, _)| earlier != name);
                self.variables.push((name.to_owned(), value.to_owned()));
            }
        }
        Ok(())
    }

    fn job(&self, number: usize, line: &str) -> Result<Job, String> {
        let (expression, rest) = expression(line)?;
        if expression.eq_ignore_ascii_case("@reboot") {
            return Err("@reboot is not a time: what runs when a machine starts belongs to its service manager".into());
        }
        if let Some(user) = rest.strip_prefix("root").filter(|rest| rest.starts_with([' ', '\t'])) {
            return Err(format!(
                "root stands where the command is: a system crontab, whose lines name users; take them out, and have \
                 workers that run as them for {}",
                quoted(user.trim())
            ));
        }
        if let Err(faults) = Cron::parse(&expression, self.zone.as_deref().unwrap_or(ANY_ZONE)) {
            return Err(faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "));
        }
        let (command, input) = split_at_percent(rest);
        let command = command.trim_end().to_owned();
        if command.is_empty() {
            return Err("has no command".to_owned());
        }
        let script = self.script(&command, input.as_deref());
        let (text, zone) = (line.to_owned(), self.zone.clone());
        Ok(Job { line: number, text, expression, zone, delay: self.delay, command, script })
    }

    /// The command with all that cron would have done for it.
    fn script(&self, command: &str, input: Option<&str>) -> String {
        let mut script = String::new();
        for (name, value) in &self.variables {
            script.push_str(&format!("export {name}={}; ", shell_quoted(value)));
            if name == "HOME" {
                script.push_str("cd \"$HOME\" || exit; ");
            }
        }
        let run = match &self.shell {
            None => command.to_owned(),
            Some(shell) => format!("exec {} -c {}", shell_quoted(shell), shell_quoted(command)),
        };
        match input {
            None => script.push_str(&run),
            Some(input) => {
                let lines: Vec<String> = input.split('\n').map(shell_quoted).collect();
                // On a line of its own: it may end with a comment.
                script.push_str(&format!("printf '%s\\n' {} | {{\n{run}\n}}", lines.join(" ")));
            }
        }
        script
    }
}

/// The fields, or the word with `@`, and what is behind them.
fn expression(line: &str) -> Result<(String, &str), String> {
    let wanted = if line.starts_with('@') { 1 } else { FIELDS };
    let mut fields = Vec::new();
    let mut rest = line;
    while fields.len() < wanted && !rest.is_empty() {
        let (field, behind) = rest.split_once([' ', '\t']).unwrap_or((rest, ""));
        fields.push(field);
        rest = behind.trim_start_matches([' ', '\t']);
    }
    if fields.len() < wanted || rest.is_empty() {
        return Err(format!(
            "got {}; takes five fields (minute hour day-of-month month day-of-week) or a word such as @daily, and a \
             command",
            quoted(line)
        ));
    }
    Ok((fields.join(" "), rest))
}

/// The command, and what it reads: each `%` that no backslash stands before is a line's end, and the first one ends
/// the command.
fn split_at_percent(text: &str) -> (String, Option<String>) {
    let mut parts = vec![String::new()];
    let mut escaped = false;
    for c in text.chars() {
        let Some(part) = parts.last_mut() else { break };
        match c {
            '%' if escaped => {
                part.pop();
                part.push('%');
            }
            '%' => parts.push(String::new()),
            c => part.push(c),
        }
        escaped = c == '\\' && !escaped;
    }
    let command = parts.remove(0);
    if parts.is_empty() {
        return (command, None);
    }
    let input = parts.join("\n");
    // The last line has an end, and one only.
    let input = input.strip_suffix('\n').unwrap_or(&input).to_owned();
    (command, Some(input))
}

/// As one word of a shell.
pub(super) fn shell_quoted(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./:=@,+".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scripts(text: &str) -> Vec<String> {
        let crontab = parse(text, None);
        assert_eq!(crontab.refused, [], "{text}");
        crontab.jobs.into_iter().map(|job| job.script).collect()
    }

    /// What a shell makes of it.
    fn run(script: &str) -> String {
        let output = std::process::Command::new("/bin/sh").args(["-c", script]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn lines_are_read_as_cron_reads_them() {
        let text = "# a comment\n\n  # another\nMAILTO=\"ops@example.com\"\n\
                    0 3 * * *  /usr/bin/backup --full  # all of it\r\n\
                    \t*/5 9-17 * JAN,feb mon-fri\techo a = b\n\
                    CRON_TZ = Europe/Berlin\n@Daily x\nCRON_TZ=\n@hourly y\nRANDOM_DELAY=7\n1 1 1 1 1 z";
        let Crontab { jobs, refused, unused } = parse(text, Some("Asia/Kolkata"));
        assert_eq!(refused, []);
        assert_eq!(unused, [(4, "MAILTO".to_owned())]);
        let found: Vec<_> =
            jobs.iter().map(|job| (job.line, &*job.expression, &*job.command, job.zone.as_deref().unwrap())).collect();
        assert_eq!(
            found,
            [
                (5, "0 3 * * *", "/usr/bin/backup --full  # all of it", "Asia/Kolkata"),
                (6, "*/5 9-17 * JAN,feb mon-fri", "echo a = b", "Asia/Kolkata"),
                (8, "@Daily", "x", "Europe/Berlin"),
                (10, "@hourly", "y", "Asia/Kolkata"),
                (12, "1 1 1 1 1", "z", "Asia/Kolkata"),
            ]
        );
        assert_eq!(jobs.iter().map(|job| job.delay).collect::<Vec<_>>(), [0, 0, 0, 0, 7]);
        assert_eq!(parse("@daily x", None).jobs[0].zone, None);
    }

    #[test]
    fn each_line_that_cannot_be_taken_says_why() {
        let text = "@reboot /usr/bin/start\n0 3 * * * root /usr/bin/x\n61 * * * * x\n0 3 * *\n* * * * *\n@daily\n\
                    @fortnightly x\n0 0 31 2 * x\nRANDOM_DELAY=soon\n0 3 * * * %in\nCRON_TZ=Europe/Berlinn\n@daily x\n\
                    0 3 * * ~ x\n0 4 * * * rooted x";
        let Crontab { jobs, refused, .. } = parse(text, None);
        assert_eq!(jobs, [], "the zone is none");
        let whys = [
            (1, "@reboot is not a time"),
            (2, "root stands where the command is"),
            (3, "61"),
            (4, "takes five fields"),
            (5, "takes five fields"),
            (6, "takes five fields"),
            (7, "@fortnightly"),
            (8, "never"),
            (9, "takes minutes from 0 to 1440"),
            (10, "has no command"),
            (12, "Europe/Berlin"),
            (13, "~"),
            (14, "Europe/Berlin"),
        ];
        assert_eq!(refused.iter().map(|refused| refused.line).collect::<Vec<_>>(), whys.map(|(line, _)| line));
        for ((_, part), Refused { why, .. }) in whys.iter().zip(&refused) {
            assert!(why.contains(part), "{part} is not in {why}");
        }
    }

    #[test]
    fn a_percent_sign_is_a_lines_end_of_what_is_read_unless_a_backslash_stands_before_it() {
        let split = |text: &str| {
            let (command, input) = split_at_percent(text);
            (command, input.unwrap_or_else(|| "nothing".to_owned()))
        };
        let expected = |command: &str, input: &str| (command.to_owned(), input.to_owned());
        assert_eq!(split(r"date +\%F"), expected("date +%F", "nothing"));
        assert_eq!(split(r"a\b\\%in"), expected(r"a\b\\", "in"));
        assert_eq!(split("cat%one%%three"), expected("cat", "one\n\nthree"));
        assert_eq!(split(r"cat%10\%%"), expected("cat", "10%"));
        assert_eq!(split("cat%"), expected("cat", ""));
        assert_eq!(scripts(r"@daily cat # all%it's%100\%"), ["printf '%s\\n' 'it'\\''s' '100%' | {\ncat # all\n}"]);
        assert_eq!(run(&scripts(r"@daily cat # all%it's%100\%")[0]), "it's\n100%\n");
        assert_eq!(run(&scripts("@daily wc -l%")[0]).trim(), "1");
    }

    #[test]
    fn variables_shell_and_home_are_as_the_lines_above_say() {
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path().join("it's home");
        std::fs::create_dir(&home).unwrap();
        let text = format!(
            "A=1\n@daily echo $A$B\nA='two words'\nB=\"x\"\n@daily echo \"$A$B\"\nSHELL=/bin/bash\n\
             @daily echo ${{BASH_VERSION:+bash}}%\nHOME={}\n@daily pwd\n",
            home.display()
        );
        let said: Vec<String> = scripts(&text).iter().map(|script| run(script)).collect();
        assert_eq!(said, ["1\n", "two wordsx\n", "bash\n", &format!("{}\n", home.display())]);
        assert_eq!(scripts("SHELL=/bin/sh\n@daily x"), ["x"]);
        assert_eq!(scripts("SHELL=/bin/bash\n@daily x y"), ["exec /bin/bash -c 'x y'"]);
    }

    proptest! {
        #[test]
        fn a_word_is_one_word_to_a_shell(text in "[^\\x00]{0,20}") {
            let said = std::process::Command::new("/bin/sh")
                .args(["-c", &format!("printf '%s' {}", shell_quoted(&text))]).output().unwrap().stdout;
            prop_assert_eq!(String::from_utf8(said).unwrap(), text);
        }

        #[test]
        fn every_line_is_a_job_or_has_a_reason_and_none_is_lost(text in "([@0-9*/, a-z%\\\\=#]{0,20}\n){0,8}") {
            let crontab = parse(&text, None);
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
            let said = lines.filter(|line| variable(line).is_none()).count();
            let refused_variables = crontab.refused.iter().filter(|refused| refused.why.starts_with("RANDOM_DELAY"));
            prop_assert_eq!(crontab.jobs.len() + crontab.refused.len() - refused_variables.count(), said);
        }
    }
}
