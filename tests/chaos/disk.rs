//! The disk that is filled: the servers' data on a small tmpfs of their own.

use crate::faults::Kind;
use crate::form::Form;
use crate::waiting::within;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// A small disk of its own for the servers' data, so that it can be filled.
pub(crate) struct Disk {
    mounted: Option<tempfile::TempDir>,
    /// Why there is none.
    pub(crate) not_run: Option<String>,
}

impl Disk {
    pub(crate) fn mount(form: Form) -> Self {
        if form == Form::Short {
            return Self { mounted: None, not_run: Some("only in the long form".to_owned()) };
        }
        let directory = tempfile::Builder::new().prefix("trx-disk-").tempdir().unwrap();
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=900m", "chaos"]).arg(directory.path()).output();
        match mount {
            Ok(output) if output.status.success() => Self { mounted: Some(directory), not_run: None },
            Ok(output) => Self {
                mounted: None,
                not_run: Some(format!("a tmpfs cannot be mounted: {}", String::from_utf8_lossy(&output.stderr).trim())),
            },
            Err(error) => Self { mounted: None, not_run: Some(format!("mount cannot be run: {error}")) },
        }
    }

    pub(crate) fn path(&self) -> Option<&Path> {
        self.mounted.as_ref().map(tempfile::TempDir::path)
    }

    pub(crate) fn kinds(&self) -> &[Kind] {
        if self.mounted.is_some() { &[Kind::DiskFull] } else { &[] }
    }

    /// The servers on it must have ended.
    pub(crate) async fn unmount(mut self) {
        let Some(directory) = self.mounted.take() else { return };
        let path = directory.path().to_owned();
        let unmounted = within(Duration::from_secs(10), async || {
            Command::new("umount").arg(&path).status().is_ok_and(|status| status.success()).then_some(())
        });
        assert!(unmounted.await.is_some(), "{} is still mounted", path.display());
    }
}

/// A trial that fails leaves no mount behind either.
impl Drop for Disk {
    fn drop(&mut self) {
        if let Some(directory) = &self.mounted {
            let _ = Command::new("umount").arg("--lazy").arg(directory.path()).status();
        }
    }
}
