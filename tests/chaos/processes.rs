//! Daemons as real processes: this binary, run with `serve`. Each life has its log in a file of
//! its own, which is read when its address, its worker's ids or its manners are asked for.

use crate::handler::{JOURNAL, now_ms};
use crate::skew::Skew;
use crate::waiting::eventually;
use serde_json::Value;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, RwLock};

/// What a process is started with, each time.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Names its log files.
    pub(crate) name: String,
    pub(crate) roles: &'static str,
    pub(crate) environment: Vec<(String, String)>,
    /// Its `taskrunnerx.toml`.
    pub(crate) file: Option<String>,
}

impl Plan {
    pub(crate) fn env(mut self, name: &str, value: impl ToString) -> Self {
        self.environment.push((name.to_owned(), value.to_string()));
        self
    }

    pub(crate) fn file(mut self, text: &str) -> Self {
        self.file = Some(text.to_owned());
        self
    }

    /// On a host whose clock is wrong.
    pub(crate) fn skewed(mut self, skew: Skew) -> Self {
        self.environment.extend(skew.environment());
        self
    }
}

/// One life of a process, from its start to its end.
#[derive(Debug, Clone)]
pub(crate) struct Life {
    pub(crate) pid: u32,
    pub(crate) log: PathBuf,
    pub(crate) born: u64,
    /// None: it lives.
    pub(crate) died: Option<u64>,
    /// When it stood still, from and until.
    pub(crate) pauses: Vec<(u64, u64)>,
}

impl Life {
    /// The lines of its log that are events.
    pub(crate) fn events(&self) -> impl Iterator<Item = Value> {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        lines.into_iter()
    }

    /// The ids under which its worker was registered.
    pub(crate) fn worker_ids(&self) -> Vec<uuid::Uuid> {
        self.events()
            .filter(|event| event["message"] == "worker registered")
            .filter_map(|event| event["worker.id"].as_str()?.parse().ok())
            .collect()
    }
}

/// A daemon that can be killed, stopped, paused and started again. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    plan: Plan,
    directory: PathBuf,
    child: Option<Child>,
    lives: Vec<Life>,
    /// Where it listens, as of its last start.
    pub(crate) url: Arc<RwLock<String>>,
    /// Ends that nobody asked for.
    pub(crate) surprises: Vec<String>,
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Process {
    /// Starts it; waits for its listener.
    pub(crate) async fn start(plan: Plan, directory: &Path) -> Self {
        let directory = directory.join(&plan.name);
        std::fs::create_dir_all(&directory).unwrap();
        if let Some(file) = &plan.file {
            std::fs::write(directory.join("taskrunnerx.toml"), file).unwrap();
        }
        let (child, lives, surprises) = (None, Vec::new(), Vec::new());
        let mut process = Self { plan, directory, child, lives, url: Arc::default(), surprises };
        process.again().await;
        process
    }

    /// Starts it again; waits for its listener, which comes before everything else.
    pub(crate) async fn again(&mut self) {
        let log = self.directory.join(format!("{:03}.log", self.lives.len() + 1));
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["serve", "--role", self.plan.roles, "--bind", "127.0.0.1:0"])
            .current_dir(&self.directory)
            // Held by the child's handle: when this process is gone, so is the daemon.
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap());
        for (name, _) in std::env::vars() {
            if name.starts_with("TASKRUNNERX_") || ["DATABASE_URL", "REDIS_URL", "RUST_LOG", JOURNAL].contains(&&*name)
            {
                command.env_remove(name);
            }
        }
        command.envs(self.plan.environment.iter().map(|(name, value)| (name, value)));
        let child = command.spawn().unwrap();
        let (pid, born) = (child.id(), now_ms());
        self.child = Some(child);
        self.lives.push(Life { pid, log, born, died: None, pauses: Vec::new() });
        let life = self.life();
        let address = eventually("the address that it listens on", async || {
            life.events().find(|event| event["message"] == "listening")?["address"].as_str().map(str::to_owned)
        })
        .await;
        *self.url.write().unwrap() = format!("http://{address}");
    }

    /// The life that it lives, or lived last.
    pub(crate) fn life(&self) -> Life {
        self.lives.last().unwrap().clone()
    }

    pub(crate) fn lives(&self) -> &[Life] {
        &self.lives
    }

    /// Waits until its roles are up.
    pub(crate) async fn until_ready(&self, client: &reqwest::Client) {
        let url = self.url.read().unwrap().clone();
        eventually("ready", async || {
            client.get(format!("{url}/readyz")).send().await.ok()?.status().is_success().then_some(())
        })
        .await;
    }

    /// kill -9.
    pub(crate) async fn kill(&mut self) {
        self.notice();
        if let Some(child) = &mut self.child {
            child.kill().unwrap();
        }
        self.gone().await;
    }

    /// SIGTERM, and waits for the end of its drain.
    pub(crate) async fn stop(&mut self) {
        self.notice();
        if self.child.is_some() {
            signal(self.life().pid, "TERM");
        }
        self.gone().await;
    }

    pub(crate) fn pause(&mut self) {
        self.notice();
        if self.child.is_some() {
            signal(self.life().pid, "STOP");
            self.lives.last_mut().unwrap().pauses.push((now_ms(), u64::MAX));
        }
    }

    pub(crate) fn resume(&mut self) {
        if self.child.is_some() {
            signal(self.life().pid, "CONT");
            if let Some(pause) = self.lives.last_mut().unwrap().pauses.last_mut() {
                pause.1 = now_ms();
            }
        }
    }

    async fn gone(&mut self) {
        if let Some(mut child) = self.child.take() {
            eventually("the end of a process", async || child.try_wait().unwrap()).await;
            self.lives.last_mut().unwrap().died = Some(now_ms());
        }
    }

    /// Notes an end that nobody asked for.
    pub(crate) fn notice(&mut self) {
        let Some(child) = &mut self.child else { return };
        if let Some(status) = child.try_wait().unwrap() {
            let log = self.life().log;
            self.surprises.push(format!("{} ended by itself: {status}; see {}", self.plan.name, log.display()));
            self.child = None;
            self.lives.last_mut().unwrap().died = Some(now_ms());
        }
    }

    /// The largest resident set that it has had, in KiB.
    pub(crate) fn peak_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.life().pid)).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches("kB").trim().parse().unwrap()
    }
}

/// Sends a signal to a process that we started.
pub(crate) fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status().unwrap();
    assert!(status.success(), "kill -{name} {pid}");
}
