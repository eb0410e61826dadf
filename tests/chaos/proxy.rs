//! A TCP proxy before a server: it passes on, and it cuts, delays, swallows, or does what a
//! request asks for and never says so.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;

/// Of the requests in an ambiguous stretch, every third is done and not answered.
const AMBIGUOUS_EACH: u64 = 3;
/// How long the answer of a request that is not to be answered is waited for: it has been done then.
const DONE_LIMIT: Duration = Duration::from_millis(500);

/// What happens to what goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    Open,
    /// Each packet waits this long.
    Slow(Duration),
    /// What is sent is swallowed; nobody is told.
    Hole,
    /// Some requests are done, and their connections are cut before the answer.
    Ambiguous,
}

#[derive(Debug, Clone, Copy)]
struct State {
    flow: Flow,
    /// Rises with each cut: connections of an older age end.
    age: u64,
}

#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) port: u16,
    state: watch::Sender<State>,
    /// Requests of ambiguous stretches.
    ambiguous: Arc<AtomicU64>,
}

impl Proxy {
    /// Before the server behind this socket, for as long as the runtime lives.
    pub(crate) async fn before(socket: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (state, watched) = watch::channel(State { flow: Flow::Open, age: 0 });
        let ambiguous = Arc::new(AtomicU64::new(0));
        tokio::spawn(accept(listener, socket.to_owned(), watched, Arc::clone(&ambiguous)));
        Self { port, state, ambiguous }
    }

    /// From now on.
    pub(crate) fn set(&self, flow: Flow) {
        self.state.send_modify(|state| state.flow = flow);
    }

    /// Ends every connection.
    pub(crate) fn cut(&self) {
        self.state.send_modify(|state| state.age += 1);
    }

    /// How many requests were done and not answered.
    pub(crate) fn unanswered(&self) -> u64 {
        self.ambiguous.load(Ordering::Relaxed) / AMBIGUOUS_EACH
    }
}

async fn accept(listener: TcpListener, socket: PathBuf, state: watch::Receiver<State>, ambiguous: Arc<AtomicU64>) {
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        let mut connection = Connection { age: state.borrow().age, state: state.clone(), ambiguous: ambiguous.clone() };
        let socket = socket.clone();
        tokio::spawn(async move {
            let _ = client.set_nodelay(true);
            // A server that is away: the client's connection ends at once.
            if let Ok(server) = UnixStream::connect(&socket).await {
                connection.pass_on(client, server).await;
            }
        });
    }
}

struct Connection {
    age: u64,
    state: watch::Receiver<State>,
    ambiguous: Arc<AtomicU64>,
}

impl Connection {
    /// Until either side ends, or it is cut.
    async fn pass_on(&mut self, mut client: TcpStream, mut server: UnixStream) {
        let (mut request, mut answer) = (vec![0; 1 << 16], vec![0; 1 << 16]);
        let mut cut = self.state.clone();
        let age = self.age;
        let cut = async move {
            let _ = cut.wait_for(|state| state.age != age).await;
        };
        tokio::pin!(cut);
        loop {
            tokio::select! {
                () = &mut cut => return,
                sent = client.read(&mut request) => {
                    let Ok(sent @ 1..) = sent else { return };
                    if !self.admit().await {
                        continue;
                    }
                    let lose = self.is_lost();
                    if server.write_all(&request[..sent]).await.is_err() {
                        return;
                    }
                    if lose {
                        let _ = tokio::time::timeout(DONE_LIMIT, server.read(&mut answer)).await;
                        return;
                    }
                }
                answered = server.read(&mut answer) => {
                    let Ok(answered @ 1..) = answered else { return };
                    if self.admit().await && client.write_all(&answer[..answered]).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Waits as it must; false: what came is swallowed.
    async fn admit(&self) -> bool {
        let flow = self.state.borrow().flow;
        match flow {
            Flow::Open | Flow::Ambiguous => true,
            Flow::Slow(time) => {
                tokio::time::sleep(time).await;
                true
            }
            Flow::Hole => false,
        }
    }

    fn is_lost(&self) -> bool {
        self.state.borrow().flow == Flow::Ambiguous
            && self.ambiguous.fetch_add(1, Ordering::Relaxed) % AMBIGUOUS_EACH == AMBIGUOUS_EACH - 1
    }
}
