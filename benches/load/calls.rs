//! http tasks: a backlog of calls to a server in this process, which answers with what it got, against the same backlog
//! of no-ops. What a call costs above a no-op is the call, on both sides of it. And commands: a backlog of programs
//! that do nothing, against the same programs started bare.

use crate::http::head;
use crate::phases::{self, Rate};
use crate::rig::{Rig, Usage};
use mysql_async::Conn;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What one of each gave, and how many connections the calls took.
pub(crate) struct Calls {
    pub(crate) noops: Rate,
    pub(crate) calls: Rate,
    pub(crate) connections: usize,
    /// The bare server and a bare client, 64 at a time.
    pub(crate) bare: Rate,
    pub(crate) commands: Rate,
    /// Their program alone, as often, started by this process two at a time.
    pub(crate) programs: Rate,
}

/// A command costs some thousand times as much as a no-op: so many fewer of them.
const COMMANDS_PART: usize = 50;
const PROGRAM: &str = "/bin/true";

pub(crate) async fn measure(rig: &Rig, sql: &mut Conn, tasks: usize) -> Calls {
    let (address, connections) = echo().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("taskrunnerx.toml");
    let text = format!(
        "[tasks.call]\nhttp = {{ url = \"http://{address}/\", secret = \"whsec_c2VjcmV0\" }}\n\
         [tasks.program]\ncommand = [\"{PROGRAM}\"]\n"
    );
    std::fs::write(&file, text).unwrap();
    let settings = [("TASKRUNNERX_CONFIG", file.to_str().unwrap()), ("TASKRUNNERX_HTTP__ALLOW_PRIVATE", "127.0.0.1")];
    let api = rig.daemon_with("api", &settings);
    let mut rates = Vec::new();
    for (name, tasks) in [("noop", tasks), ("call", tasks), ("program", tasks / COMMANDS_PART)] {
        phases::submit_bulk_of(&api, tasks, &format!(r#"{{"name":"{name}","payload":{{"n":1}}}}"#)).await;
        let (rate, _) = phases::drain_with(rig, sql, &settings).await;
        rates.push(rate);
    }
    let made = connections.load(std::sync::atomic::Ordering::SeqCst);
    let usage = Usage::now();
    let one = crate::http::request("POST", "/", r#"{"n":1}"#);
    let time: Duration = crate::http::closed_loop(&address, 64, tasks, move |_| one.clone()).await;
    let bare = Rate { tasks, time, cost: usage.each(tasks) };
    let programs = programs(tasks / COMMANDS_PART).await;
    let mut rates = rates.into_iter();
    let (noops, calls) = (rates.next().unwrap(), rates.next().unwrap());
    Calls { noops, calls, connections: made, bare, commands: rates.next().unwrap(), programs }
}

async fn programs(times: usize) -> Rate {
    let (usage, began) = (Usage::now(), std::time::Instant::now());
    let run = async || {
        for _ in 0..times / 2 {
            assert!(tokio::process::Command::new(PROGRAM).status().await.unwrap().success());
        }
    };
    tokio::join!(run(), run());
    Rate { tasks: times / 2 * 2, time: began.elapsed(), cost: usage.each(times) }
}

/// A server that answers with the body it got; its address, and how many connections were made to it.
async fn echo() -> (String, std::sync::Arc<std::sync::atomic::AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let connections = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = std::sync::Arc::clone(&connections);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            tokio::spawn(serve(stream));
        }
    });
    (address, connections)
}

async fn serve(mut stream: TcpStream) {
    stream.set_nodelay(true).unwrap();
    let mut buffer = vec![0; 64 * 1024];
    let mut read = 0;
    loop {
        match stream.read(&mut buffer[read..]).await {
            Ok(0) | Err(_) => return,
            Ok(more) => read += more,
        }
        let Some((body, length)) = head(&buffer[..read]).filter(|(body, length)| read >= body + length) else {
            continue;
        };
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
        let answer = [head.as_bytes(), &buffer[body..body + length]].concat();
        if stream.write_all(&answer).await.is_err() {
            return;
        }
        read = 0;
    }
}
