//! Which addresses of a name are called, and when.

use super::super::guard::Network;
use super::{Arc, AsyncReadExt, AsyncWriteExt, CancellationToken, TcpListener};
use super::{Calls, Canary, HttpHandler, TaskError, attempt, attempt_until, configured, to};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Mutex;
use tokio::net::TcpStream;

/// A resolver that says the next thing each time, and a network on which one public address is this machine's.
struct Played {
    answers: Mutex<VecDeque<Vec<&'static str>>>,
    connected: Mutex<Vec<SocketAddr>>,
    server: u16,
}

impl Played {
    fn new(server: u16, answers: &[&[&'static str]]) -> Arc<Self> {
        let answers = Mutex::new(answers.iter().map(|answer| answer.to_vec()).collect());
        Arc::new(Self { answers, connected: Mutex::default(), server })
    }

    fn connected(&self) -> Vec<String> {
        self.connected.lock().unwrap().iter().map(|address| address.ip().to_string()).collect()
    }
}

const PUBLIC: &str = "93.184.215.14";
const DEAD: &str = "93.184.215.15";

impl Network for Played {
    fn look_up(&self, _: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        let answer = match self.answers.lock().unwrap().pop_front() {
            Some(answer) => Ok(answer.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), port)).collect()),
            None => Err(io::Error::other("asked once more than there are answers")),
        };
        std::future::ready(answer).boxed()
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<TcpStream>> {
        self.connected.lock().unwrap().push(address);
        let server = self.server;
        async move {
            match address.ip().to_string().as_str() {
                PUBLIC => TcpStream::connect(("127.0.0.1", server)).await,
                DEAD => std::future::pending().await,
                // The real way, for what the guard lets through.
                _ => TcpStream::connect(address).await,
            }
        }
        .boxed()
    }
}

/// A server on the played network that takes one call a connection.
async fn closing_server(answer: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await.unwrap();
            stream.write_all(answer).await.unwrap();
        }
    });
    port
}

fn over(network: &Arc<Played>, port: u16, allow_private: &str) -> HttpHandler {
    let (call, allowed) = configured(&to(&format!("http://hooks.example.com:{port}/")), allow_private).unwrap();
    let network: Arc<dyn Network> = Arc::<Played>::clone(network);
    Calls::new(allowed, 1024).handler_over("x", &call, network).unwrap()
}

const DONE: &[u8] = b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn a_name_that_turns_to_loopback_is_refused_and_loopback_is_never_connected_to() {
    let canary = Canary::start().await;
    let server = closing_server(DONE).await;
    let network = Played::new(server, &[&[PUBLIC], &["127.0.0.1"], &[PUBLIC]]);
    let handler = over(&network, canary.port, "");
    // The one answer is both checked and connected to: nobody asks again in between.
    assert_eq!(attempt(&handler).await, Ok(None));
    assert_eq!(network.connected(), [PUBLIC]);
    let Err(TaskError::Permanent(said)) = attempt(&handler).await else { panic!("it was called") };
    assert_eq!(
        said,
        format!(
            "POST http://hooks.example.com:{}: not called: hooks.example.com has an address that tasks may not call: \
             127.0.0.1 is a loopback address (127.0.0.0/8), and http.allow_private does not list it",
            canary.port
        )
    );
    assert_eq!(attempt(&handler).await, Ok(None));
    assert_eq!(network.connected(), [PUBLIC, PUBLIC]);
    assert_eq!(canary.came(), 0);
}

#[tokio::test]
async fn one_private_address_among_public_ones_condemns_the_name() {
    let canary = Canary::start().await;
    let answers: [&[&str]; 4] =
        [&[PUBLIC, "127.0.0.1"], &["::1", PUBLIC], &["::ffff:127.0.0.1"], &[PUBLIC, "64:ff9b::7f00:1"]];
    let network = Played::new(canary.port, &answers);
    let handler = over(&network, canary.port, "");
    for answer in answers {
        let ended = attempt(&handler).await;
        assert!(matches!(ended, Err(TaskError::Permanent(_))), "{answer:?}: {ended:?}");
    }
    assert_eq!((canary.came(), network.connected()), (0, Vec::new()));
}

#[tokio::test]
async fn a_listed_name_may_stand_for_a_private_address() {
    let canary = Canary::start().await;
    for (list, called) in [
        ("HOOKS.example.com.", true),
        ("127.0.0.1", true),
        ("example.com", false),
        ("xhooks.example.com", false),
        ("127.0.0.2", false),
    ] {
        let network = Played::new(0, &[&["127.0.0.1"]]);
        assert_eq!(attempt(&over(&network, canary.port, list)).await.is_ok(), called, "{list}");
    }
    assert_eq!(canary.came(), 2);
}

#[tokio::test]
async fn a_redirect_leads_nowhere() {
    let canary = Canary::start().await;
    let location = format!("http://127.0.0.1:{}/", canary.port);
    for status in [301, 302, 303, 307, 308] {
        let answer =
            format!("HTTP/1.1 {status} X\r\nlocation: {location}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        let server = closing_server(answer.leak().as_bytes()).await;
        let network = Played::new(server, &[&[PUBLIC]]);
        let Err(TaskError::Permanent(said)) = attempt(&over(&network, 80, "")).await else { panic!("{status}") };
        assert!(said.contains(&status.to_string()) && said.contains("redirects are not followed"), "{said}");
    }
    assert_eq!(canary.came(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_address_that_does_not_answer_leaves_time_for_the_next() {
    let server = closing_server(DONE).await;
    let network = Played::new(server, &[&[DEAD, PUBLIC], &[DEAD, DEAD], &[]]);
    let handler = over(&network, 80, "");
    assert_eq!(attempt(&handler).await, Ok(None));
    assert_eq!(network.connected(), [DEAD, PUBLIC]);
    for said in ["no connection", "hooks.example.com has no address", "cannot be looked up: asked once more"] {
        let ended = attempt(&handler).await;
        assert!(matches!(&ended, Err(TaskError::Retryable(text)) if text.contains(said)), "{said}: {ended:?}");
    }
}

#[tokio::test]
async fn a_stop_ends_the_attempt_and_closes_its_connection_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let network = Played::new(listener.local_addr().unwrap().port(), &[&[PUBLIC]]);
    let (handler, stop) = (over(&network, 80, ""), CancellationToken::new());
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
        stop.cancel();
        // The rest of the request may come, and then the end.
        while stream.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {}
    };
    let (ended, ()) = tokio::join!(attempt_until(&handler, stop.clone()), server);
    assert_eq!(ended, Err(TaskError::retryable("stopped before the answer was there")));
}
