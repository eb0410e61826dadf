//! `completions`, `man` and `--help`: without any server.

use crate::harness::DaemonBuilder;
use std::process::Command;

fn run(args: &[&str]) -> (i32, String, String) {
    DaemonBuilder::new(args).output()
}

#[test]
fn every_command_has_a_manual_page_that_man_can_show() {
    let directory = tempfile::tempdir().unwrap();
    let pages = directory.path().join("man1");
    let (code, text, errors) = run(&["man", "--dir", pages.to_str().unwrap()]);
    assert_eq!(code, 0, "{errors}");
    let mut names: Vec<String> =
        std::fs::read_dir(&pages).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert!(text.starts_with(&format!("wrote {} pages", names.len())), "{text}");
    for name in ["taskrunnerx.1", "taskrunnerx-submit.1", "taskrunnerx-tasks-list.1", "taskrunnerx-queues-pause.1"] {
        assert!(names.iter().any(|found| found == name), "{name}: {names:?}");
    }
    let written = std::fs::read_to_string(pages.join("taskrunnerx-tasks-list.1")).unwrap();
    assert_eq!(run(&["man", "tasks", "list"]).1, written);
    assert!(written.contains(".SH EXAMPLES\n.nf\n  taskrunnerx tasks list\n"), "{written}");
    let (code, _, errors) = run(&["man", "tasks", "nope"]);
    assert_eq!(code, 2);
    assert!(errors.contains("it has list, get,"), "{errors}");
}

#[test]
fn the_script_for_bash_is_one() {
    let (code, script, _) = run(&["completions", "bash"]);
    assert_eq!(code, 0);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &script).unwrap();
    let command =
        "COMP_WORDS=(taskrunnerx tasks l); COMP_CWORD=2; _taskrunnerx taskrunnerx l tasks; echo ${COMPREPLY[*]}";
    let shell = format!("source {}; {command}", file.path().display());
    let output = Command::new("bash").args(["-c", &shell]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(text.trim(), "list logs", "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(run(&["completions", "cmd"]).0, 2);
}

#[test]
fn help_goes_to_a_pipe_that_nobody_reads() {
    let shell = format!("{} man | true", env!("CARGO_BIN_EXE_taskrunnerx"));
    let output = Command::new("bash").args(["-c", &format!("set -o pipefail; {shell}")]).output().unwrap();
    assert_eq!((output.status.code(), &*String::from_utf8_lossy(&output.stderr)), (Some(0), ""));
}
