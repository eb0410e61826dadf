//! What a service manager hears of the daemon (`Type=notify` of systemd).

use crate::harness::{DaemonBuilder, LIMIT, World};
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

/// A service manager's socket.
struct Manager {
    socket: UnixDatagram,
    path: String,
    _directory: tempfile::TempDir,
}

impl Manager {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify").to_str().unwrap().to_owned();
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        Self { socket, path, _directory: directory }
    }

    /// The lines of the next message.
    fn hears(&self) -> Vec<String> {
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap().lines().map(str::to_owned).collect()
    }

    /// The lines of the first message with this one.
    fn hears_of(&self, line: &str) -> Vec<String> {
        let until = Instant::now() + LIMIT;
        while Instant::now() < until {
            let lines = self.hears();
            if lines.iter().any(|found| found == line) {
                return lines;
            }
        }
        panic!("not within {LIMIT:?}: {line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_manager_hears_when_the_daemon_is_ready_lives_and_stops() {
    const WATCHDOG: Duration = Duration::from_millis(400);
    let world = World::new().await;
    let manager = Manager::new();
    let mut daemon = world.daemon("all");
    daemon.env("NOTIFY_SOCKET", &manager.path).env("WATCHDOG_USEC", &WATCHDOG.as_micros().to_string());
    daemon.env("TASKRUNNERX_WORKER__DRAIN_TIMEOUT", "10m");
    let mut daemon = daemon.start();
    let ready = manager.hears_of("READY=1");
    assert!(ready.iter().any(|line| line.starts_with("STATUS=ready on 127.0.0.1:")), "{ready:?}");
    // Not before it was so.
    assert_eq!(daemon.get("/readyz").await.0, 200);

    manager.hears_of("WATCHDOG=1");
    let began = Instant::now();
    let gap = || {
        let at = Instant::now();
        manager.hears_of("WATCHDOG=1");
        at.elapsed()
    };
    let gaps: Vec<Duration> = (0..4).map(|_| gap()).collect();
    assert!(began.elapsed() >= WATCHDOG, "twice an interval, not all the time: {gaps:?}");
    assert!(gaps.iter().min().is_some_and(|gap| *gap < WATCHDOG), "before the manager's patience ends: {gaps:?}");

    daemon.signal("-TERM");
    let stopping = manager.hears_of("STOPPING=1");
    // TimeoutStopSec of the unit is shorter than this drain and the 15 s after it.
    assert!(stopping.contains(&"EXTEND_TIMEOUT_USEC=615000000".to_owned()), "{stopping:?}");
    assert_eq!(daemon.ended().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_waits_for_its_database_is_not_ready_and_says_what_for() {
    let manager = Manager::new();
    let mut daemon = DaemonBuilder::new(&["serve", "--bind", "127.0.0.1:0"]);
    // A port that is taken, and nobody answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    daemon.env("DATABASE_URL", &format!("mysql://x@{}/x", silent.local_addr().unwrap()));
    daemon.env("REDIS_URL", "redis://127.0.0.1:1");
    daemon.env("NOTIFY_SOCKET", &manager.path).env("WATCHDOG_USEC", "200000");
    let mut daemon = daemon.start();
    let mut heard = vec![manager.hears_of("STATUS=waiting for the database")];
    // It lives all the same.
    heard.extend((0..3).map(|_| manager.hears_of("WATCHDOG=1")));
    daemon.signal("-TERM");
    heard.push(manager.hears_of("STOPPING=1"));
    assert!(!heard.concat().contains(&"READY=1".to_owned()), "{heard:?}");
    assert_eq!(daemon.ended().await, 0);
}
