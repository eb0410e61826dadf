//! A server that http tasks call: it keeps what came and answers as it is told.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A request that came.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// Counted from 1.
    pub(crate) connection: usize,
    /// Method and path.
    pub(crate) line: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

/// What a request gets.
pub(crate) enum Answer {
    /// A status, headers with their line breaks, a body.
    Whole(u16, String, String),
    /// Nothing, until the other side goes.
    Silence,
    /// Less than it announces, and then nothing until the other side goes.
    Half,
    /// A body of one byte again and again, for as long as somebody reads.
    Endless,
}

impl Answer {
    pub(crate) fn status(status: u16) -> Self {
        Self::Whole(status, String::new(), String::new())
    }

    pub(crate) fn body(body: &str) -> Self {
        Self::Whole(200, String::new(), body.to_owned())
    }
}

#[derive(Default)]
struct Seen {
    calls: Mutex<Vec<Call>>,
    connections: AtomicUsize,
    /// Answers in the middle of which the other side went.
    left: AtomicUsize,
    /// Bytes of endless answers.
    sent: AtomicU64,
}

/// A server on a port of its own. It ends with the test's runtime.
pub(crate) struct Receiver {
    pub(crate) port: u16,
    seen: Arc<Seen>,
}

type Rule = Arc<dyn Fn(&Call) -> Answer + Send + Sync>;

impl Receiver {
    pub(crate) async fn start(rule: impl Fn(&Call) -> Answer + Send + Sync + 'static) -> Self {
        Self::listen("127.0.0.1", Arc::new(rule), None).await
    }

    /// With the certificate for `localhost` and 127.0.0.1 that `authority.pem` vouches for; listens on every address.
    pub(crate) async fn start_tls(rule: impl Fn(&Call) -> Answer + Send + Sync + 'static) -> Self {
        let certificate = CertificateDer::from_pem_slice(include_bytes!("server.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_slice(include_bytes!("server.key")).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        Self::listen("0.0.0.0", Arc::new(rule), Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn listen(host: &str, rule: Rule, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind((host, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Seen::default());
        let kept = Arc::clone(&seen);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let connection = kept.connections.fetch_add(1, Ordering::SeqCst) + 1;
                let (rule, seen, tls) = (Arc::clone(&rule), Arc::clone(&kept), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, connection, &rule, &seen).await,
                        Some(tls) => {
                            // The other side may not like the certificate.
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, connection, &rule, &seen).await;
                            }
                        }
                    }
                });
            }
        });
        Self { port, seen }
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.seen.calls.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn left(&self) -> usize {
        self.seen.left.load(Ordering::SeqCst)
    }

    pub(crate) fn sent(&self) -> u64 {
        self.seen.sent.load(Ordering::SeqCst)
    }
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, connection: usize, rule: &Rule, seen: &Seen) {
    while let Some(call) = read(&mut stream, connection).await {
        let answer = rule(&call);
        seen.calls.lock().unwrap().push(call);
        let head = match answer {
            Answer::Whole(status, headers, body) => {
                let length = body.len();
                let text = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n{headers}\r\n{body}");
                if stream.write_all(text.as_bytes()).await.is_err() {
                    return;
                }
                continue;
            }
            Answer::Silence => "",
            Answer::Half => "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{\"half\":",
            Answer::Endless => "HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n",
        };
        let endless = matches!(answer, Answer::Endless);
        let _ = stream.write_all(head.as_bytes()).await;
        while endless && stream.write_all(&[b'x'; 4096]).await.is_ok() {
            seen.sent.fetch_add(4096, Ordering::SeqCst);
        }
        // Until the other side goes.
        while stream.read(&mut [0; 64]).await.is_ok_and(|read| read > 0) {}
        seen.left.fetch_add(1, Ordering::SeqCst);
        return;
    }
}

/// The next request. None: the other side has gone.
async fn read(stream: &mut (impl AsyncRead + Unpin), connection: usize) -> Option<Call> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = std::str::from_utf8(&bytes[..end]).unwrap().to_owned();
    let (line, headers) = head.split_once("\r\n").unwrap();
    let headers: BTreeMap<String, String> = headers
        .split("\r\n")
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let length: usize = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    while bytes.len() < end + 4 + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    let body = String::from_utf8(bytes.split_off(end + 4)).unwrap();
    Some(Call { connection, line: line.trim_end_matches(" HTTP/1.1").to_owned(), headers, body })
}
