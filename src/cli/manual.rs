//! `completions` and `man`: made from the command line's own definition, so that they cannot differ from it.

use super::terminal::{say, write};
use super::{Cli, EXIT_USAGE, Failure};
use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use std::io;
use std::path::PathBuf;

/// What ends the part of a help text that is examples.
const EXIT_CODES: &str = "Exit codes: ";

/// Print a script that completes commands in a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  taskrunnerx completions bash > /etc/bash_completion.d/taskrunnerx
  taskrunnerx completions zsh > \"${fpath[1]}/_taskrunnerx\"
  taskrunnerx completions fish > ~/.config/fish/completions/taskrunnerx.fish

Exit codes: 0 done, 2 usage.")]
pub(super) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Print a command's manual page, or write all of them
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  taskrunnerx man | man -l -
  taskrunnerx man tasks list | man -l -
  taskrunnerx man --dir /usr/local/share/man/man1

Exit codes: 0 done, 1 a page cannot be written, 2 usage.")]
pub(super) struct ManArgs {
    /// The command [default: the program as a whole]
    #[arg(value_name = "COMMAND", conflicts_with = "dir")]
    command: Vec<String>,
    /// Write the pages of all commands into this directory, which is made
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(super) fn completions(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "taskrunnerx", &mut script);
    write(&script);
    Ok(())
}

pub(super) fn man(args: &ManArgs) -> Result<(), Failure> {
    let whole = whole();
    let Some(directory) = &args.dir else {
        let mut command = &whole;
        for name in &args.command {
            command = command.find_subcommand(name).ok_or_else(|| unknown(command, name))?;
        }
        write(&page(command).map_err(Failure::new)?);
        return Ok(());
    };
    let cannot = |path: &std::path::Path, error| Failure::new(format!("cannot write {}: {error}", path.display()));
    std::fs::create_dir_all(directory).map_err(|error| cannot(directory, error))?;
    let mut written = 0;
    for command in all(&whole) {
        let path = directory.join(Man::new(command.clone()).get_filename());
        let page = page(command).map_err(Failure::new)?;
        std::fs::write(&path, page).map_err(|error| cannot(&path, error))?;
        written += 1;
    }
    say(&format!("wrote {written} pages to {}", directory.display()));
    Ok(())
}

/// The command line with every command's full name.
fn whole() -> Command {
    let mut whole = Cli::command().disable_help_subcommand(true);
    whole.build();
    whole
}

/// A command and all below it.
fn all(command: &Command) -> Vec<&Command> {
    std::iter::once(command).chain(command.get_subcommands().flat_map(all)).collect()
}

fn unknown(command: &Command, name: &str) -> Failure {
    let known: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
    let takes = if known.is_empty() { "nothing below it".to_owned() } else { known.join(", ") };
    let path = command.get_display_name().unwrap_or_else(|| command.get_name());
    Failure::with_code(EXIT_USAGE, format!("{path} has no command {name:?}; it has {takes}"))
}

/// The page of one command. Its examples keep their lines, which the generator would fold.
fn page(command: &Command) -> io::Result<Vec<u8>> {
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let man =
        Man::new(command.clone()).source(concat!("Task Runner X ", env!("CARGO_PKG_VERSION"))).manual("Task Runner X");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    if command.get_opts().next().is_some() || command.get_positionals().next().is_some() {
        man.render_options_section(&mut page)?;
    }
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    let (examples, codes) = help.split_once(EXIT_CODES).unwrap_or((&help, ""));
    if let Some(examples) = examples.strip_prefix("Examples:\n") {
        page.extend_from_slice(verbatim("EXAMPLES", examples).as_bytes());
    }
    if !codes.is_empty() {
        page.extend_from_slice(format!(".SH \"EXIT STATUS\"\n{}\n", escaped(&codes.replace('\n', " "))).as_bytes());
    }
    Ok(page)
}

fn verbatim(title: &str, text: &str) -> String {
    let lines: Vec<String> = text.trim_end().lines().map(escaped).collect();
    format!(".SH {title}\n.nf\n{}\n.fi\n", lines.join("\n"))
}

/// A line as roff shows it: nothing in it is a command or an escape.
fn escaped(line: &str) -> String {
    let text = line.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq");
    if text.starts_with('.') { format!("\\&{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn every_command_has_a_page_with_its_examples_line_by_line() {
        let whole = whole();
        let commands = all(&whole);
        assert!(commands.len() > 25);
        let mut names = std::collections::BTreeSet::new();
        for command in commands {
            let page = String::from_utf8(page(command).unwrap()).unwrap();
            let name = Man::new(command.clone()).get_filename();
            assert!(page.contains(".SH NAME\n") && page.contains(".SH SYNOPSIS\n"), "{name}: {page}");
            if !command.has_subcommands() {
                assert!(page.contains(".SH EXAMPLES\n.nf\n  "), "{name}: {page}");
                assert!(page.contains(".SH \"EXIT STATUS\"\n0 "), "{name}: {page}");
            }
            assert!(names.insert(name.clone()), "{name} stands twice");
        }
        assert!(names.contains("taskrunnerx.1") && names.contains("taskrunnerx-tasks-list.1"), "{names:?}");
    }

    #[test]
    fn what_roff_would_take_as_its_own_is_escaped() {
        assert_eq!(escaped("  submit echo '{}' --wait"), "  submit echo \\(aq{}\\(aq \\-\\-wait");
        assert_eq!(escaped(".TH \\fB"), "\\&.TH \\efB");
    }

    #[test]
    fn every_shell_gets_a_script_that_knows_all_commands() {
        for shell in Shell::value_variants() {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "taskrunnerx", &mut script);
            let script = String::from_utf8(script).unwrap();
            for word in ["task-types", "explain", "idempotency-key"] {
                assert!(script.contains(word), "{shell} does not know {word}");
            }
        }
    }
}
