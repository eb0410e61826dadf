//! The leanest client that is still one: keep-alive connections that send requests made beforehand
//! and look at nothing but the status and the length of each answer. The client shares the machine
//! with what it measures.

use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Room for the answer to a large bulk request.
const BUFFER: usize = 1 << 20;

/// A request, ready to be sent.
pub(crate) fn request(method: &str, path: &str, body: &str) -> Vec<u8> {
    let head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n");
    if body.is_empty() {
        return format!("{head}\r\n").into_bytes();
    }
    format!("{head}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// One keep-alive connection.
pub(crate) struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub(crate) async fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: vec![0; 16 * 1024] }
    }

    /// Sends a request and reads the whole answer; gives its body.
    pub(crate) async fn call(&mut self, request: &[u8]) -> &str {
        self.stream.write_all(request).await.unwrap();
        let mut read = 0;
        loop {
            if read == self.buffer.len() {
                assert!(read < BUFFER * 4, "an answer larger than {} bytes", BUFFER * 4);
                self.buffer.resize(read * 2, 0);
            }
            let n = self.stream.read(&mut self.buffer[read..]).await.unwrap();
            assert!(n > 0, "the connection was closed");
            read += n;
            if let Some((body, length)) = head(&self.buffer[..read])
                && read >= body + length
            {
                let head = std::str::from_utf8(&self.buffer[..body]).unwrap();
                assert!(head.starts_with("HTTP/1.1 2"), "{}", String::from_utf8_lossy(&self.buffer[..read]));
                return std::str::from_utf8(&self.buffer[body..body + length]).unwrap();
            }
        }
    }
}

/// Where the body of a message begins, and its length. None: the head is not complete yet.
pub(crate) fn head(bytes: &[u8]) -> Option<(usize, usize)> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    let length = head.split("content-length: ").nth(1).unwrap().split("\r\n").next().unwrap();
    Some((end + 4, length.parse().unwrap()))
}

/// Sends `total` requests over so many connections, each as soon as its last one is answered; says
/// how long that took. `request` makes the n-th.
pub(crate) async fn closed_loop<F>(address: &str, connections: usize, total: usize, request: F) -> Duration
where
    F: Fn(usize) -> Vec<u8> + Send + Sync + Clone + 'static,
{
    let mut clients = Vec::new();
    for _ in 0..connections {
        clients.push(Client::connect(address).await);
    }
    let began = Instant::now();
    let mut calls = tokio::task::JoinSet::new();
    for (at, mut client) in clients.into_iter().enumerate() {
        let request = request.clone();
        calls.spawn(async move {
            for n in (at..total).step_by(connections) {
                client.call(&request(n)).await;
            }
        });
    }
    while let Some(done) = calls.join_next().await {
        done.unwrap();
    }
    began.elapsed()
}
