//! The `taskrunnerx` binary: the command line with the built-in task types.

use std::process::ExitCode;

fn main() -> ExitCode {
    taskrunnerx::cli::main(taskrunnerx::Registry::new())
}
