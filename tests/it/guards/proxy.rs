//! A connection to the database that loses an answer at the worst moment: what was sent is
//! done, and who sent it is cut off.

use crate::harness::World;
use mysql_async::Opts;
use std::sync::{Arc, Mutex};
use taskrunnerx::store::Store;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};

trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// What to lose: the answers to this many requests that contain these bytes.
type Rule = Arc<Mutex<(Vec<u8>, u32)>>;

pub(super) struct Proxy {
    rule: Rule,
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
        tokio::spawn(accept(listener, opts, Arc::clone(&rule)));
        Self { rule, store: Store::new(&url, Some(4), world.metrics.clone()).unwrap() }
    }

    /// Loses the answers to the next `times` requests that contain `part`.
    pub(super) fn lose(&self, part: &[u8], times: u32) {
        *self.rule.lock().unwrap() = (part.to_vec(), times);
    }

    /// How many are still to be lost.
    pub(super) fn left(&self) -> u32 {
        self.rule.lock().unwrap().1
    }
}

async fn accept(listener: TcpListener, opts: Opts, rule: Rule) {
    while let Ok((client, _)) = listener.accept().await {
        let server: Box<dyn Wire> = match opts.socket() {
            Some(path) => Box::new(UnixStream::connect(path).await.unwrap()),
            None => Box::new(TcpStream::connect((opts.ip_or_hostname(), opts.tcp_port())).await.unwrap()),
        };
        tokio::spawn(pass_on(client, server, Arc::clone(&rule)));
    }
}

/// Until either side ends, or an answer is to be lost.
async fn pass_on(mut client: TcpStream, mut server: Box<dyn Wire>, rule: Rule) {
    let (mut request, mut answer) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        tokio::select! {
            sent = client.read(&mut request) => {
                let Ok(sent @ 1..) = sent else { return };
                let lose = matches(&rule, &request[..sent]);
                server.write_all(&request[..sent]).await.unwrap();
                if lose {
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

fn matches(rule: &Rule, request: &[u8]) -> bool {
    let (part, times) = &mut *rule.lock().unwrap();
    let found = *times > 0 && request.windows(part.len()).any(|window| window == part);
    *times -= u32::from(found);
    found
}
