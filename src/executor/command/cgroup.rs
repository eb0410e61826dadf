//! A cgroup (version 2) for one program's family, where this process may make one: the kernel then ends all of it in
//! one step, however fast it forks. Everywhere else the leash does it process by process.

use rustix::process::getpid;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Between two looks at whether it is empty.
const LOOK: Duration = Duration::from_millis(2);
/// Looks; a process that the kernel cannot end stays, and the cgroup with it.
const LOOKS: u32 = 500;
/// Its folder's name begins so, and ends with the leash's process id.
const PREFIX: &str = "trx-";

/// The program and all that it starts are in it; the leash is not.
#[derive(Debug)]
pub(super) struct Cgroup {
    folder: PathBuf,
}

impl Cgroup {
    /// Makes one below the cgroup of this process. None: this host has none, or this process may not.
    pub(super) fn make() -> Option<Self> {
        let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
        let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
        let parent = place(&mounts, &own)?;
        clear(&parent);
        let folder = parent.join(format!("{PREFIX}{}", getpid().as_raw_nonzero()));
        std::fs::create_dir(&folder).ok()?;
        let cgroup = Self { folder };
        if cgroup.folder.join("cgroup.kill").exists() {
            return Some(cgroup);
        }
        let _ = std::fs::remove_dir(&cgroup.folder);
        None
    }

    /// For who goes into it.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Ends all that is still in it.
    pub(super) fn kill(self) {
        let _ = std::fs::write(self.folder.join("cgroup.kill"), "1");
        for _ in 0..LOOKS {
            // Fails while somebody is in it.
            if std::fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            std::thread::sleep(LOOK);
        }
    }
}

/// Goes into a cgroup. Only once for each program: the kernel lets one process after the other change, each for
/// milliseconds.
pub(super) fn enter(folder: &Path) -> std::io::Result<()> {
    std::fs::write(folder.join("cgroup.procs"), "0")
}

/// What leashes have left that were killed. A folder with somebody in it stays.
fn clear(parent: &Path) {
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else { continue };
        if !Path::new("/proc").join(pid).exists() {
            let _ = std::fs::remove_dir(entry.path());
        }
    }
}

/// The folder of this process's cgroup.
fn place(mounts: &str, own: &str) -> Option<PathBuf> {
    let mount = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let (_, folder, kind) = (fields.next()?, fields.next()?, fields.next()?);
        (kind == "cgroup2").then_some(folder)
    })?;
    let path = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    Some(Path::new(mount).join(path.trim_start_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_found_in_both_layouts_and_nowhere_else() {
        let unified = "proc /proc proc rw 0 0\ncgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n";
        let own = "0::/system.slice/taskrunnerx.service\n";
        assert_eq!(place(unified, own), Some("/sys/fs/cgroup/system.slice/taskrunnerx.service".into()));
        let hybrid = "cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(place(hybrid, "1:cpu:/\n0::/\n"), Some("/sys/fs/cgroup/unified/".into()));
        assert_eq!(place("proc /proc proc rw 0 0\n", own), None);
        assert_eq!(place(unified, "1:cpu:/\n"), None);
    }
}
