//! A connection to the database that loses an answer at the worst moment (what was sent is
//! done, and who sent it is cut off), or that holds a request up between two statements.

use crate::harness::World;
use mysql_async::Opts;
use std::sync::{Arc, Mutex};
use taskrunnerx::store::Store;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::Semaphore;

trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// The answers to this many requests that contain these bytes are lost: when they come, or
/// before the server has even begun.
#[derive(Default)]
struct Loss {
    part: Vec<u8>,
    times: u32,
    at_once: bool,
}

type Rule = Arc<Mutex<Loss>>;

/// A request that contains these bytes waits until it may go on.
struct Gate {
    part: Mutex<Vec<u8>>,
    reached: Semaphore,
    open: Semaphore,
    request: Mutex<Vec<u8>>,
}

pub(super) struct Proxy {
    rule: Rule,
    gate: Arc<Gate>,
    /// A store that reaches the database through here.
    pub(super) store: Store,
}

impl Proxy {
    pub(super) async fn new(world: &World) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let opts = Opts::from_url(&world.database_url).unwrap();
        let port = listener.local_addr().unwrap().port();
        let url = format!("mysql://root@127.0.0.1:{port}/{}?prefer_socket=false", opts.db_name().unwrap());
        let rule = Rule::default();
        let gate = Gate {
            part: Mutex::default(),
            reached: Semaphore::new(0),
            open: Semaphore::new(0),
            request: Mutex::default(),
        };
        let gate = Arc::new(gate);
        tokio::spawn(accept(listener, opts, Arc::clone(&rule), Arc::clone(&gate)));
        Self { rule, gate, store: Store::new(&url, Some(4), world.metrics.clone()).unwrap() }
    }

    /// Loses the answers to the next `times` requests that contain `part`.
    pub(super) fn lose(&self, part: &[u8], times: u32) {
        *self.rule.lock().unwrap() = Loss { part: part.to_vec(), times, at_once: false };
    }

    /// Cuts off who sends the next request that contains `part`, and leaves the server to do it.
    pub(super) fn cut_off(&self, part: &[u8]) {
        *self.rule.lock().unwrap() = Loss { part: part.to_vec(), times: 1, at_once: true };
    }

    /// Holds up the next request that contains `part`.
    pub(super) fn hold(&self, part: &[u8]) {
        *self.gate.part.lock().unwrap() = part.to_vec();
    }

    /// Waits until it is there; gives it.
    pub(super) async fn held(&self) -> Vec<u8> {
        self.gate.reached.acquire().await.unwrap().forget();
        self.gate.request.lock().unwrap().clone()
    }

    /// Lets it go on.
    pub(super) fn go_on(&self) {
        self.gate.open.add_permits(1);
    }

    /// How many are still to be lost.
    pub(super) fn left(&self) -> u32 {
        self.rule.lock().unwrap().times
    }
}

async fn accept(listener: TcpListener, opts: Opts, rule: Rule, gate: Arc<Gate>) {
    while let Ok((client, _)) = listener.accept().await {
        let server: Box<dyn Wire> = match opts.socket() {
            Some(path) => Box::new(UnixStream::connect(path).await.unwrap()),
            None => Box::new(TcpStream::connect((opts.ip_or_hostname(), opts.tcp_port())).await.unwrap()),
        };
        tokio::spawn(pass_on(client, server, Arc::clone(&rule), Arc::clone(&gate)));
    }
}

/// Until either side ends, or an answer is to be lost.
async fn pass_on(mut client: TcpStream, mut server: Box<dyn Wire>, rule: Rule, gate: Arc<Gate>) {
    let (mut request, mut answer) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        tokio::select! {
            sent = client.read(&mut request) => {
                let Ok(sent @ 1..) = sent else { return };
                gate.pass(&request[..sent]).await;
                let (lose, at_once) = matches(&rule, &request[..sent]);
                server.write_all(&request[..sent]).await.unwrap();
                if lose {
                    if at_once {
                        drop(client);
                    }
                    // It has been done when it is answered.
                    let _ = server.read(&mut answer).await;
                    return;
                }
            }
            answered = server.read(&mut answer) => {
                let Ok(answered @ 1..) = answered else { return };
                if client.write_all(&answer[..answered]).await.is_err() {
                    return;
                }
            }
        }
    }
}

impl Gate {
    async fn pass(&self, request: &[u8]) {
        let held = {
            let mut part = self.part.lock().unwrap();
            let held = !part.is_empty() && contains(request, &part);
            if held {
                part.clear();
            }
            held
        };
        if held {
            *self.request.lock().unwrap() = request.to_vec();
            self.reached.add_permits(1);
            self.open.acquire().await.unwrap().forget();
        }
    }
}

fn contains(request: &[u8], part: &[u8]) -> bool {
    request.windows(part.len()).any(|window| window == part)
}

fn matches(rule: &Rule, request: &[u8]) -> (bool, bool) {
    let Loss { part, times, at_once } = &mut *rule.lock().unwrap();
    let found = *times > 0 && contains(request, part);
    *times -= u32::from(found);
    (found, *at_once)
}
