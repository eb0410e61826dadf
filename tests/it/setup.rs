//! `scripts/setup.sh` on a machine that is made up: its programs are those of one directory.

use crate::harness::root;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

/// What the script itself is written with.
const OWN: [&str; 12] =
    ["dirname", "paste", "sed", "xargs", "echo", "head", "awk", "sort", "cat", "mkdir", "env", "bash"];
/// What building and running need.
const NEEDED: [&str; 6] = ["cc", "curl", "mariadbd", "mariadb-install-db", "my_print_defaults", "redis-server"];

struct Machine {
    directory: tempfile::TempDir,
}

impl Machine {
    /// With these programs, and of a user that is not root. The script looks in /usr/sbin too, as it should: what the
    /// made-up machine lacks must not be there.
    fn with(programs: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let machine = Self { directory };
        for name in OWN {
            let found = ["/usr/bin", "/bin"].map(|place| Path::new(place).join(name));
            symlink(found.iter().find(|path| path.exists()).unwrap(), machine.path(name)).unwrap();
        }
        for name in programs {
            machine.script(name, "exit 0");
        }
        machine.script("cargo", "exit 0");
        machine.script("rustc", "echo rustc 99.0.0");
        machine.script("id", "echo 1000");
        machine
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    fn script(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    }

    /// The exit code, and all that is said.
    fn setup(&self, args: &[&str]) -> (i32, String) {
        let mut command = Command::new("/bin/bash");
        command.arg(root().join("scripts/setup.sh")).args(args).stdin(Stdio::null());
        let output = command.env("PATH", self.directory.path()).env("HOME", self.directory.path()).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&said).into_owned())
    }
}

#[test]
fn to_run_it_takes_no_more_than_a_compiler_curl_and_the_two_servers() {
    let machine = Machine::with(&NEEDED);
    assert_eq!(machine.setup(&[]), (0, String::new()), "everything is there");
    let (code, said) = machine.setup(&["--test"]);
    assert!(code == 2 && said.contains("--tests"), "{said}");
}

#[test]
fn what_only_the_tests_want_is_asked_for_with_the_tests_alone() {
    let (code, said) = Machine::with(&NEEDED).setup(&["--tests"]);
    assert_eq!(code, 1, "{said}");
    for wanted in ["faketime", "jq", "python3", "mariadb-dump"] {
        assert!(said.contains(&format!("{wanted} ")), "{wanted}: {said}");
    }
    let (code, said) = Machine::with(&NEEDED[2..]).setup(&[]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("missing: a C compiler; curl\n") && !said.contains("jq"), "{said}");
}

#[test]
fn who_is_not_root_is_told_what_to_run_before_anything_is_tried() {
    let machine = Machine::with(&[&NEEDED[1..], &["apt-cache"]].concat());
    machine.script("apt-get", "echo apt-get was called");
    let (code, said) = machine.setup(&[]);
    assert_eq!(code, 1, "{said}");
    let install = "apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev";
    assert!(said.contains("there is no sudo. As root run") && said.contains(install), "{said}");
    machine.script("sudo", "exit 1");
    let (code, said) = machine.setup(&[]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains(&format!("\n  sudo sh -c '{install}'")), "{said}");
    assert!(!said.contains("was called"), "{said}");
}

#[test]
fn a_machine_without_lists_of_packages_gets_them_once() {
    let machine = Machine::with(&[&NEEDED[1..], &["apt-cache"]].concat());
    machine.script("id", "echo 0");
    // The first installation fails, and after the update there is a compiler.
    machine.script(
        "apt-get",
        r#"here=${0%/*}
echo "called: $1"
case "$1" in
update) : >"$here/lists" ;;
install) [ -e "$here/lists" ] || exit 100; cat "$here/curl" >"$here/cc"; /bin/chmod +x "$here/cc" ;;
esac"#,
    );
    let (code, said) = machine.setup(&[]);
    assert_eq!(code, 0, "{said}");
    let calls: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("called: ")).collect();
    assert_eq!(calls, ["install", "update", "install"], "{said}");
    assert_eq!(machine.setup(&[]), (0, String::new()), "and then all is there");
}
