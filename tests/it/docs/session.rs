//! Where the blocks of one document are run: a shell, a working directory, a server, and the other terminals that the
//! document asks for.
//!
//! A port that the document names (127.0.0.1:8000) is another one here, the same throughout: documents are run at the
//! same time, on machines where 8000 may be taken.

use super::document::Block;
use super::output::is_as_said;
use crate::harness::{LIMIT, World, eventually, root};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};

/// What the shell says when a block has ended.
const ENDED: &str = "the block has ended";
/// What documents call the machine itself.
const HERE: &str = "127.0.0.1:";
/// What stands before a port: in a URL, and in Python.
const WRITTEN: [&str; 2] = [HERE, "\"127.0.0.1\", "];
/// The port of the document's server.
const SERVER: u16 = 8000;
/// The shell's own setting up: a failure says the document's line, and ends everything.
const SET_UP: &str = r#"set -eEuo pipefail
trap 'echo "${BASH_SOURCE[0]:-the block}: line $LINENO: exit status $?: $BASH_COMMAND" >&2' ERR
"#;

pub(super) struct Session {
    document: String,
    world: World,
    directory: tempfile::TempDir,
    ports: BTreeMap<u16, Port>,
    shell: Shell,
    server: Option<Terminal>,
    terminals: Vec<Terminal>,
    /// What the last block printed, and its line.
    printed: Option<(usize, String)>,
    /// How many scripts there are: a shell may still be reading an earlier one.
    scripts: usize,
}

/// The shell that the blocks are run in, one after another.
struct Shell {
    child: Child,
    said: Receiver<String>,
}

/// A port that stands for one of the document's. It is this session's for as long as the socket is there, which is one of
/// UDP: what the document starts may still listen on it.
struct Port {
    number: u16,
    _claim: UdpSocket,
}

/// Another terminal, with one command in it.
struct Terminal {
    child: Child,
    log: PathBuf,
}

impl Session {
    pub(super) async fn begin(document: &str) -> Self {
        let world = World::new().await;
        let directory = tempfile::tempdir().unwrap();
        for name in ["work", "home", "bin", "blocks"] {
            std::fs::create_dir(directory.path().join(name)).unwrap();
        }
        let link = |from: PathBuf, to: &str| std::os::unix::fs::symlink(from, directory.path().join(to)).unwrap();
        link(env!("CARGO_BIN_EXE_taskrunnerx").into(), "bin/taskrunnerx");
        link(root().join("examples"), "work/examples");
        std::fs::write(directory.path().join("home/.my.cnf"), client_options(&world.database_url)).unwrap();
        let mut ports = BTreeMap::new();
        let port = port_of(SERVER, &mut ports);
        let mut command = Command::new("bash");
        command.args(["--noprofile", "--norc"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = in_surroundings(&mut command, &world, directory.path(), port).spawn().unwrap();
        let (sender, said) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        child.stdin.as_mut().unwrap().write_all(SET_UP.as_bytes()).unwrap();
        let shell = Shell { child, said };
        let (document, terminals) = (document.to_owned(), Vec::new());
        Self { document, world, directory, ports, shell, server: None, terminals, printed: None, scripts: 0 }
    }

    /// A file that the document shows, under the name that it gives it.
    pub(super) fn write(&mut self, block: &Block, name: &str) {
        let path = self.directory.path().join("work").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let text = self.mapped(&block.text);
        std::fs::write(path, text).unwrap();
    }

    /// Runs a block in the shell.
    pub(super) async fn run(&mut self, block: &Block) {
        if self.server.is_none() {
            let plain = Block { text: "exec taskrunnerx serve".to_owned(), ..block.clone() };
            self.server(&plain).await;
        }
        let (script, out) = (self.script(block), self.directory.path().join("out"));
        let command = match block.language.as_str() {
            "python" => format!("python3 {}", quoted(&script)),
            _ => format!(". {}", quoted(&script)),
        };
        let line = format!("{command} >{} 2>&1 </dev/null; echo '{ENDED}'\n", quoted(&out));
        // A shell that has ended already says so below.
        let _ = self.shell.child.stdin.as_mut().unwrap().write_all(line.as_bytes());
        let ended = match self.shell.said.recv_timeout(LIMIT) {
            Ok(said) => {
                assert_eq!(said, ENDED);
                None
            }
            Err(RecvTimeoutError::Timeout) => Some(format!("has not ended within {LIMIT:?}")),
            Err(RecvTimeoutError::Disconnected) => Some("failed".to_owned()),
        };
        let printed = self.as_written(&String::from_utf8_lossy(&std::fs::read(&out).unwrap_or_default()));
        if let Some(how) = ended {
            self.give_up(block.line, &format!("this block {how}; it said:\n{printed}"));
        }
        self.printed = Some((block.line, printed));
    }

    /// Compares what the last block printed with what the document says.
    pub(super) fn compare(&mut self, block: &Block) {
        let (line, printed) =
            self.printed.take().unwrap_or_else(|| self.give_up(block.line, "nothing was run that could print this"));
        if !is_as_said(&block.text, &printed) {
            self.give_up(block.line, &format!("the block in line {line} did not print this; it printed:\n{printed}"));
        }
    }

    /// Starts the document's server, in a terminal of its own; one that is there is stopped by Ctrl-C.
    pub(super) async fn server(&mut self, block: &Block) {
        if let Some(before) = self.server.take() {
            self.stop(block.line, before).await;
        }
        self.server = Some(self.open(block));
        let url = format!("http://{HERE}{}/readyz", self.ports[&SERVER].number);
        let client = reqwest::Client::builder().no_proxy().timeout(LIMIT).build().unwrap();
        eventually(&format!("{}:{}: the server is ready", self.document, block.line), async || {
            if let Some(status) = self.server.as_mut().unwrap().child.try_wait().unwrap() {
                self.give_up(block.line, &format!("the server ended: {status}"));
            }
            client.get(&url).send().await.ok()?.status().is_success().then_some(())
        })
        .await;
    }

    /// Runs a block in a terminal of its own to the end of the document, once it has said something.
    pub(super) async fn terminal(&mut self, block: &Block) {
        let terminal = self.open(block);
        let what = format!("{}:{}: a first word", self.document, block.line);
        eventually(&what, async || (!terminal.said().is_empty()).then_some(())).await;
        self.terminals.push(terminal);
    }

    /// Ctrl-C everywhere; the server must end well.
    pub(super) async fn end(mut self) {
        drop(std::mem::take(&mut self.terminals));
        if let Some(server) = self.server.take() {
            self.stop(0, server).await;
        }
    }

    async fn stop(&self, line: usize, mut terminal: Terminal) {
        terminal.signal(rustix::process::Signal::INT);
        let what = format!("{}:{line}: the server's end", self.document);
        let status: ExitStatus = eventually(&what, async || terminal.child.try_wait().unwrap()).await;
        assert!(status.success(), "{}:{line}: the server ended with {status}:\n{}", self.document, terminal.said());
    }

    fn open(&mut self, block: &Block) -> Terminal {
        let script = self.script(block);
        let log = self.directory.path().join(format!("terminal-{}", block.line));
        let file = std::fs::File::create(&log).unwrap();
        let mut command = Command::new("bash");
        command.args(["--noprofile", "--norc", "-euo", "pipefail"]).arg(script);
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        let port = self.ports[&SERVER].number;
        let child = in_surroundings(&mut command, &self.world, self.directory.path(), port).spawn().unwrap();
        Terminal { child, log }
    }

    /// A block as a file, on the lines that it has in its document: so a shell's own words name the document's line.
    fn script(&mut self, block: &Block) -> PathBuf {
        self.scripts += 1;
        let path = self.directory.path().join(format!("blocks/{}", self.scripts)).join(&self.document);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let text = format!("{}{}", "\n".repeat(block.line - 1), self.mapped(&block.text));
        std::fs::write(&path, text).unwrap();
        path
    }

    /// With the ports of this session.
    fn mapped(&mut self, text: &str) -> String {
        WRITTEN.iter().fold(text.to_owned(), |text, before| {
            let mut parts = text.split(before);
            let mut mapped = parts.next().unwrap_or_default().to_owned();
            for part in parts {
                let digits = part.bytes().take_while(u8::is_ascii_digit).count();
                let port = part[..digits].parse().ok().map(|port| port_of(port, &mut self.ports));
                let port = port.map_or(String::new(), |port| port.to_string());
                write!(mapped, "{before}{port}{}", &part[digits..]).unwrap();
            }
            mapped
        })
    }

    /// With the document's ports, and without the session's own paths.
    fn as_written(&self, text: &str) -> String {
        let directory = self.directory.path().display();
        let mut written = text.replace(&format!("{directory}/work"), "/work");
        for script in (1..=self.scripts).rev() {
            written = written.replace(&format!("{directory}/blocks/{script}/"), "");
        }
        for (port, Port { number, .. }) in &self.ports {
            written = written.replace(&format!("{HERE}{number}"), &format!("{HERE}{port}"));
        }
        written
    }

    fn give_up(&self, line: usize, why: &str) -> ! {
        let mut terminals = String::new();
        for terminal in self.server.iter().chain(&self.terminals) {
            let said = terminal.said();
            let last: Vec<&str> = said.lines().rev().take(40).collect();
            writeln!(terminals, "--- {}, its last lines", terminal.log.display()).unwrap();
            last.iter().rev().for_each(|line| writeln!(terminals, "{line}").unwrap());
        }
        panic!("{}:{line}: {why}\n{terminals}", self.document);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // What blocks have left in the background goes too.
        kill(&mut self.shell.child);
    }
}

impl Terminal {
    fn said(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let _ = rustix::process::kill_process_group(rustix::process::Pid::from_child(&self.child), signal);
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        kill(&mut self.child);
    }
}

fn kill(child: &mut Child) {
    let group = rustix::process::Pid::from_child(child);
    let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    let _ = child.wait();
}

/// The surroundings of every command of a session: the reader's machine, with servers and without a past.
fn in_surroundings<'a>(command: &'a mut Command, world: &World, directory: &Path, port: u16) -> &'a mut Command {
    for (name, _) in std::env::vars() {
        if name.starts_with("TASKRUNNERX_") || name.starts_with("RUST_") || name.starts_with("CARGO") {
            command.env_remove(name);
        }
    }
    let path = format!("{}:{}", directory.join("bin").display(), std::env::var("PATH").unwrap_or_default());
    command
        .current_dir(directory.join("work"))
        .process_group(0)
        .env("PATH", path)
        .env("HOME", directory.join("home"))
        .env_remove("XDG_DATA_HOME")
        .env("LC_ALL", "C.UTF-8")
        .env("TZ", "UTC")
        .env("DATABASE_URL", &world.database_url)
        // For the programs of the database, which take the rest from ~/.my.cnf.
        .env("DATABASE", database(&world.database_url))
        .env("REDIS_URL", &world.redis_url)
        .env("TASKRUNNERX_REDIS_PREFIX", &world.prefix)
        .env("TASKRUNNERX_BIND", format!("{HERE}{port}"))
        .env("TASKRUNNERX_URL", format!("http://{HERE}{port}"))
        // Its tasks would stand among those of the document.
        .env("TASKRUNNERX_SCHEDULER__HEARTBEAT", "")
}

/// The name of the database in its URL.
fn database(url: &str) -> &str {
    let path = url.split('?').next().unwrap();
    &path[path.rfind('/').unwrap() + 1..]
}

/// `~/.my.cnf` for the server of this URL.
fn client_options(url: &str) -> String {
    let url = url::Url::parse(url).unwrap();
    let mut options = format!("[client]\nuser={}\n", url.username());
    let mut option = |name: &str, value: &str| writeln!(options, "{name}={value}").unwrap();
    match url.query_pairs().find(|(name, _)| name == "socket") {
        Some((_, socket)) => option("socket", &socket),
        None => {
            option("host", url.host_str().unwrap_or_default());
            option("port", &url.port().unwrap_or(3306).to_string());
        }
    }
    if let Some(password) = url.password() {
        option("password", password);
    }
    options
}

/// The port that stands for one of the document's, below those that the system gives to connections.
fn port_of(port: u16, ports: &mut BTreeMap<u16, Port>) -> u16 {
    let free = || {
        let number = 20_000 + rand::random::<u16>() % 12_000;
        let claim = UdpSocket::bind(("127.0.0.1", number)).ok()?;
        TcpListener::bind(("127.0.0.1", number)).ok().map(|_| Port { number, _claim: claim })
    };
    ports.entry(port).or_insert_with(|| std::iter::repeat_with(free).flatten().next().unwrap()).number
}

fn quoted(path: &Path) -> String {
    format!("'{}'", path.display())
}
