//! The `taskrunnerx` binary: the command line with the built-in task types.

use std::process::ExitCode;

/// A task costs some hundred small allocations, made on one thread and freed on another: that is what this
/// allocator is good at (docs/performance.md).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    taskrunnerx::cli::main(taskrunnerx::Registry::new())
}
