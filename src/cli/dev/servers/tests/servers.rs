//! Life and death of the servers, with the real programs.

use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::super::leash::Abandonment;
use super::super::programs::{DatabaseProgram, Programs};
use super::super::server::{Answer, Recipe};
use super::super::{DATABASE, Durability, Options, Server, Servers, ServersError};
use super::{LIMIT, alive, eventually, options};

fn kill_9(pid: u32) {
    let kill = Command::new("/bin/sh").args(["-c", "kill -9 \"$1\"", "kill", &pid.to_string()]).status();
    assert!(kill.unwrap().success(), "no process {pid}");
}

/// Sends one statement as root without a password. Returns the number of rows it affected.
async fn execute(socket: &Path, sql: &str) -> Result<u8, String> {
    let mut stream = UnixStream::connect(socket).await.map_err(|error| error.to_string())?;
    receive(&mut stream).await.unwrap();
    let mut login = vec![];
    // CLIENT_CONNECT_WITH_DB, PROTOCOL_41, SECURE_CONNECTION and PLUGIN_AUTH; packets up to 16 MiB; utf8mb4.
    login.extend(0x0008_8208_u32.to_le_bytes());
    login.extend(0x0100_0000_u32.to_le_bytes());
    login.push(45);
    login.extend([0; 23]);
    login.extend(format!("root\0\0{DATABASE}\0mysql_native_password\0").bytes());
    send(&mut stream, 1, &login).await;
    let mut answer = receive(&mut stream).await.unwrap();
    if answer[0] == 0xfe {
        // Another way of authentication; an empty password is an empty packet in each.
        send(&mut stream, 3, &[]).await;
        answer = receive(&mut stream).await.unwrap();
    }
    assert_eq!(answer[0], 0, "login: {}", String::from_utf8_lossy(&answer));
    let query: Vec<u8> = [3].into_iter().chain(sql.bytes()).collect();
    send(&mut stream, 0, &query).await;
    let answer = receive(&mut stream).await.unwrap();
    if answer[0] == 0 { Ok(answer[1]) } else { Err(String::from_utf8_lossy(&answer).into_owned()) }
}

async fn send(stream: &mut UnixStream, sequence: u8, payload: &[u8]) {
    let [a, b, c, _] = u32::try_from(payload.len()).unwrap().to_le_bytes();
    stream.write_all(&[&[a, b, c, sequence], payload].concat()).await.unwrap();
}

async fn receive(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut header = [0; 4];
    stream.read_exact(&mut header).await?;
    let mut payload = vec![0; usize::from(u16::from_le_bytes([header[0], header[1]]))];
    stream.read_exact(&mut payload).await?;
    Ok(payload)
}

async fn redis(socket: &Path, command: &str) -> String {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    stream.write_all(format!("{command}\r\n").as_bytes()).await.unwrap();
    let mut answer = [0; 100];
    let length = stream.read(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

#[tokio::test]
async fn servers_keep_their_data_over_kills_and_starts() {
    let directory = TempDir::new().unwrap();
    // Everything in this path must be escaped in a URL.
    let data_dir = directory.path().join("a b?é");
    let options = Options { data_dir: data_dir.clone(), ephemeral: false, durability: Durability::Full };
    let mut servers = Servers::start(&options).await.unwrap();
    assert!(
        servers.database_url.starts_with("mysql://root@localhost/taskrunnerx?socket=/"),
        "{}",
        servers.database_url
    );
    assert!(servers.database_url.ends_with("/a%20b%3F%C3%A9/run/mysql.sock"), "{}", servers.database_url);
    assert!(servers.redis_url.starts_with("redis+unix:///"), "{}", servers.redis_url);
    assert!(servers.redis_url.ends_with("/a%20b%3F%C3%A9/run/redis.sock"), "{}", servers.redis_url);
    assert!(servers.database_url_for("t-1").contains("@localhost/t-1?socket=/"));
    let (database, cache) = (servers.database.socket().to_owned(), servers.redis.socket().to_owned());

    execute(&database, "CREATE TABLE numbers (n INT PRIMARY KEY)").await.unwrap();
    assert_eq!(execute(&database, "INSERT INTO numbers VALUES (1), (2), (3)").await, Ok(3));
    assert_eq!(redis(&cache, "SET key value").await, "+OK\r\n");

    // Killed by us: nobody is told. The data are there when they are back, on the same sockets.
    servers.redis.kill().await;
    servers.database.kill().await;
    assert_eq!((servers.redis.pid(), servers.database.pid()), (None, None));
    assert!(timeout(Duration::from_millis(50), servers.ended()).await.is_err());
    servers.redis.start().await.unwrap();
    servers.database.start().await.unwrap();
    assert_eq!(redis(&cache, "GET key").await, "$5\r\nvalue\r\n");
    assert_eq!(execute(&database, "DELETE FROM numbers WHERE n > 1").await, Ok(2));

    // Killed by somebody else: that is said.
    kill_9(servers.redis.pid().unwrap());
    let error = timeout(LIMIT, servers.ended()).await.unwrap().to_string();
    assert!(error.contains("Redis was ended by signal 9"), "{error}");
    assert!(error.contains("eady to accept connections"), "{error}");
    servers.redis.start().await.unwrap();

    let refused = Servers::start(&options).await.unwrap_err();
    assert!(matches!(refused, ServersError::InUse { .. }), "{refused}");

    let pids = [servers.database.pid().unwrap(), servers.redis.pid().unwrap()];
    servers.stop().await;
    assert!(!pids.into_iter().any(alive));

    let servers = Servers::start(&options).await.unwrap();
    assert_eq!(execute(&database, "DELETE FROM numbers").await, Ok(1));
    assert_eq!(redis(&cache, "GET key").await, "$5\r\nvalue\r\n");
    servers.stop().await;
    assert!(data_dir.exists());
}

#[tokio::test]
async fn data_of_the_other_server_are_refused() {
    let directory = TempDir::new().unwrap();
    let programs = Programs::find().await.unwrap();
    let (theirs, name) = match programs.database {
        DatabaseProgram::MariaDb { .. } => ("mysql", "MySQL"),
        DatabaseProgram::MySql { .. } => ("mariadb", "MariaDB"),
    };
    fs::create_dir_all(directory.path().join(theirs).join("data")).unwrap();
    let refused = Servers::start(&options(directory.path(), false)).await.unwrap_err().to_string();
    assert!(refused.contains(&format!("holds the data of a {name} server")), "{refused}");
}

#[tokio::test]
async fn a_failed_initialisation_quotes_its_log_and_leaves_nothing() {
    let directory = TempDir::new().unwrap();
    let data_dir = directory.path().join("data");
    let mut programs = Programs::find().await.unwrap();
    programs.database = DatabaseProgram::MySql { server: PathBuf::from("/bin/cat") };
    let error = Servers::start_with(&programs, &options(&data_dir, true)).await.unwrap_err();
    assert!(matches!(error, ServersError::Initialise { .. }), "{error}");
    assert!(error.to_string().contains("/bin/cat ended with exit status 1"), "{error}");
    assert!(error.to_string().contains("cat: "), "{error}");
    assert!(!data_dir.exists());
}

#[tokio::test]
async fn a_server_that_ends_at_once_is_not_waited_for() {
    let directory = TempDir::new().unwrap();
    let recipe = Recipe {
        name: "Redis",
        directory: directory.path().to_owned(),
        program: PathBuf::from("/bin/sh"),
        arguments: ["-c", "i=0; while [ $i -lt 50 ]; do i=$((i + 1)); echo line $i; done; exit 3"]
            .map(Into::into)
            .into(),
        socket: directory.path().join("socket"),
        answer: Answer::Pong,
        initialisation: None,
        abandonment: Abandonment::default(),
    };
    let mut server = Server::new(recipe);
    for _earlier_lines_are_not_quoted in 0..2 {
        let error = timeout(LIMIT, server.start()).await.unwrap().unwrap_err().to_string();
        assert!(error.contains("Redis ended with exit status 3"), "{error}");
        assert!(error.ends_with("line 49\n  line 50") && !error.contains("line 35\n"), "{error}");
    }
    assert_eq!(server.pid(), None);
}

// The death of the parent

const HOLDER: &str = "TASKRUNNERX_TEST_HOLDS_SERVERS_IN";

/// Not a test of its own: the process that the tests below start and kill.
#[tokio::test]
async fn holds_servers_until_it_is_killed() {
    let Some(data_dir) = env::var_os(HOLDER) else { return };
    let ephemeral = data_dir.to_string_lossy().ends_with("ephemeral");
    let mut servers = Servers::start(&options(data_dir, ephemeral)).await.unwrap();
    let (database, redis) = (servers.database.pid().unwrap(), servers.redis.pid().unwrap());
    writeln!(io::stdout(), "\npids {database} {redis}").unwrap();
    panic!("{}", servers.ended().await);
}

fn start_holder(data_dir: &Path) -> Child {
    let (_, module) = module_path!().split_once("::").unwrap();
    Command::new(env::current_exe().unwrap())
        .args([&format!("{module}::holds_servers_until_it_is_killed"), "--exact", "--nocapture"])
        .env(HOLDER, data_dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn pids_of_servers(holder: &mut Child) -> Vec<u32> {
    let lines = BufReader::new(holder.stdout.take().unwrap()).lines().map_while(Result::ok);
    let pids = lines.into_iter().find_map(|line| Some(line.strip_prefix("pids ")?.to_owned()));
    pids.expect("the servers have started").split(' ').map(|pid| pid.parse().unwrap()).collect()
}

/// On every system `Child::kill` is SIGKILL.
fn kill_holder(mut holder: Child) {
    holder.kill().unwrap();
    holder.wait().unwrap();
}

fn is_initialising(data_dir: &Path) -> bool {
    ["mariadb", "mysql"].iter().any(|kind| data_dir.join(kind).join("data.new").exists())
}

#[tokio::test]
async fn servers_and_an_ephemeral_directory_go_with_a_killed_parent() {
    let directory = TempDir::new().unwrap();
    let data_dir = directory.path().join("ephemeral");
    let mut holder = start_holder(&data_dir);
    let servers = pids_of_servers(&mut holder);
    assert!(servers.iter().copied().all(alive) && data_dir.exists());
    kill_holder(holder);
    eventually("the servers are gone", || !servers.iter().copied().any(alive)).await;
    eventually("the directory is gone", || !data_dir.exists()).await;
}

#[tokio::test]
async fn a_start_waits_for_the_servers_of_a_killed_parent() {
    let directory = TempDir::new().unwrap();
    let data_dir = directory.path().join("kept");
    let mut holder = start_holder(&data_dir);
    let abandoned = pids_of_servers(&mut holder);
    let refused = Servers::start(&options(&data_dir, false)).await.unwrap_err().to_string();
    assert!(refused.contains(&format!("process {}", holder.id())), "{refused}");
    kill_holder(holder);
    let servers = Servers::start(&options(&data_dir, false)).await.unwrap();
    assert!(!abandoned.into_iter().any(alive));
    assert_eq!(execute(servers.database.socket(), "CREATE TABLE works (n INT)").await, Ok(0));
    servers.stop().await;
}

#[tokio::test]
async fn a_first_start_that_is_killed_leaves_nothing_half_made() {
    let directory = TempDir::new().unwrap();
    let (kept, ephemeral) = (directory.path().join("kept"), directory.path().join("ephemeral"));
    let holders = [start_holder(&kept), start_holder(&ephemeral)];
    eventually("data are being made", || is_initialising(&kept) && is_initialising(&ephemeral)).await;
    holders.into_iter().for_each(kill_holder);
    eventually("the ephemeral directory is gone", || !ephemeral.exists()).await;
    let servers = Servers::start(&options(&kept, false)).await.unwrap();
    assert_eq!(execute(servers.database.socket(), "CREATE TABLE works (n INT)").await, Ok(0));
    servers.stop().await;
    assert!(!is_initialising(&kept));
}

#[tokio::test]
async fn dropped_servers_go_too() {
    let directory = TempDir::new().unwrap();
    let data_dir = directory.path().join("data");
    let servers = Servers::start(&options(&data_dir, true)).await.unwrap();
    let pids = [servers.database.pid().unwrap(), servers.redis.pid().unwrap()];
    drop(servers);
    eventually("the servers are gone", || !pids.into_iter().any(alive)).await;
    eventually("the directory is gone", || !data_dir.exists()).await;
}
