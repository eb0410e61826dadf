//! A program on a terminal of its own: what a person sees, and what Ctrl-C does.

use crate::waiting::eventually;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// A program that has this terminal for its input and both outputs, and for its signals.
pub(crate) struct Terminal {
    child: Child,
    keyboard: File,
    shown: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Terminal {
    /// Starts this program with these arguments on a terminal of so many columns.
    pub(crate) fn run(args: &[&str], columns: u16, env: &[(&str, &str)]) -> Self {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let path = ptsname(&terminal, Vec::new()).unwrap().into_string().unwrap();
        tcsetwinsize(&terminal, Winsize { ws_row: 40, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let side = || Stdio::from(OwnedFd::from(OpenOptions::new().read(true).write(true).open(&path).unwrap()));
        // Of util-linux: it makes the terminal the one whose Ctrl-C the program gets.
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait", env!("CARGO_BIN_EXE_taskrunnerx")]).args(args);
        for name in ["NO_COLOR", "COLUMNS", "TASKRUNNERX_URL", "TASKRUNNERX_API_KEY"] {
            command.env_remove(name);
        }
        command.env("TERM", "xterm-256color").envs(env.iter().copied());
        let child = command.stdin(side()).stdout(side()).stderr(side()).spawn().unwrap();
        let shown = Arc::new(Mutex::new(Vec::new()));
        let mut screen = File::from(terminal.try_clone().unwrap());
        let kept = Arc::clone(&shown);
        let reader = std::thread::spawn(move || {
            let mut piece = [0; 4096];
            // An error is the end: nobody has the other side open any more.
            while let Ok(count @ 1..) = screen.read(&mut piece) {
                kept.lock().unwrap().extend_from_slice(&piece[..count]);
            }
        });
        Self { child, keyboard: File::from(terminal), shown, reader }
    }

    /// All that it has written until now.
    pub(crate) fn shown(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).replace("\r\n", "\n")
    }

    /// Waits until it has written this.
    pub(crate) async fn until_shown(&self, text: &str) {
        eventually(&format!("{text:?} on the terminal"), async || self.shown().contains(text).then_some(())).await;
    }

    /// Waits until it has heard that it wants to know of Ctrl-C itself.
    pub(crate) async fn until_it_minds_ctrl_c(&self) {
        let status = format!("/proc/{}/status", self.child.id());
        eventually("it has a handler for SIGINT", async || {
            let text = std::fs::read_to_string(&status).ok()?;
            let caught = text.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
            let caught = u64::from_str_radix(caught.trim(), 16).unwrap();
            (caught & 0b10 != 0).then_some(())
        })
        .await;
    }

    pub(crate) fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits for its end; gives the exit code and all that was written.
    pub(crate) async fn ended(&mut self) -> (i32, String) {
        let status = eventually("the end of the program", async || self.child.try_wait().unwrap()).await;
        eventually("the end of what it wrote", async || self.reader.is_finished().then_some(())).await;
        (status.code().unwrap_or(-1), self.shown())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
