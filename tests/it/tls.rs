//! HTTPS at the listener: who is let in, what a start refuses, a renewal without a restart, and clients that dawdle.

use crate::harness::{Daemon, DaemonBuilder, LIMIT, World, eventually};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use taskrunnerx::client::{Client, Target};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// An answer to somebody else may take so long meanwhile: a loaded machine is slow.
const AT_ONCE: Duration = Duration::from_secs(5);
const NAMES: &str = "subjectAltName=DNS:localhost";
const LEAF: &str = "basicConstraints=critical,CA:FALSE";

/// Certificates and keys in a directory of their own.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn openssl(&self, args: &[&str]) {
        let output = Command::new("openssl").args(args).current_dir(self.0.path()).output().expect("openssl");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// A certificate that has signed itself, valid for so many days: NAME.pem and NAME.key.
    fn self_signed(&self, name: &str, days: &str, more: &[&str]) -> &Self {
        let (cert, key) = (format!("{name}.pem"), format!("{name}.key"));
        let mut args = vec!["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
        args.extend([
            "-days",
            days,
            "-subj",
            "/CN=a server of tests",
            "-addext",
            NAMES,
            "-out",
            &cert,
            "-keyout",
            &key,
        ]);
        args.extend(more);
        self.openssl(&args);
        self
    }

    /// What the daemon's variables say of it.
    fn of<'a>(&self, builder: &'a mut DaemonBuilder, cert: &str, key: &str) -> &'a mut DaemonBuilder {
        builder.env("TASKRUNNERX_TLS__CERT", &self.text(cert)).env("TASKRUNNERX_TLS__KEY", &self.text(key))
    }
}

/// As clients call it.
fn https(daemon: &Daemon) -> String {
    daemon.url.replace("http://127.0.0.1", "https://localhost")
}

fn client(daemon: &Daemon, ca: &Path) -> Client {
    Client::new(https(daemon).parse::<Target>().unwrap(), None, Some(ca)).unwrap()
}

async fn until_ready(daemon: &Daemon, ca: &Path) {
    eventually("ready", async || client(daemon, ca).ready().await.ok()).await;
}

/// A command of the client against the daemon, with these variables.
fn command(daemon: &Daemon, args: &[&str], variables: &[(&str, &str)]) -> (i32, String, String) {
    let mut builder = DaemonBuilder::new(args);
    builder.env("TASKRUNNERX_URL", &https(daemon));
    for (name, value) in variables {
        builder.env(name, value);
    }
    builder.output()
}

async fn connect(daemon: &Daemon) -> TcpStream {
    TcpStream::connect(daemon.url.strip_prefix("http://").unwrap()).await.unwrap()
}

async fn wrapped(daemon: &Daemon, ca: &Path) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(ServerName::try_from("localhost").unwrap(), connect(daemon).await).await.unwrap()
}

/// A daemon with a certificate that has signed itself, ready.
async fn serving(world: &World, files: &Files, roles: &str) -> Daemon {
    files.self_signed("server", "30", &["-addext", LEAF]);
    let mut builder = world.daemon(roles);
    files.of(&mut builder, "server.pem", "server.key");
    let daemon = builder.start();
    until_ready(&daemon, &files.path("server.pem")).await;
    daemon
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_reach_a_listener_with_tls_by_the_authority_that_they_are_told() {
    let (world, files) = (World::new().await, Files::new());
    let daemon = serving(&world, &files, "all").await;
    let ca = files.text("server.pem");
    // As in the health check of a container.
    let (code, said, errors) = command(&daemon, &["health", "--ready", "--ca", &ca], &[]);
    assert_eq!((code, said.trim()), (0, "ready"), "{errors}");
    let given = [("TASKRUNNERX_CA", &*ca)];
    // With the daemon's own configuration it need not be told where.
    let mut health = DaemonBuilder::new(&["health", "--ready"]);
    files.of(&mut health, "server.pem", "server.key");
    let everywhere = format!("0.0.0.0:{}", daemon.url.rsplit_once(':').unwrap().1);
    health.env("TASKRUNNERX_BIND", &everywhere).env("TASKRUNNERX_CA", &ca);
    let (code, said, errors) = tokio::task::spawn_blocking(move || health.output()).await.unwrap();
    assert_eq!((code, said.trim()), (0, "ready"), "{errors}");
    let (code, result, errors) = command(&daemon, &["submit", "echo", "{\"a\": 1}", "--wait"], &given);
    assert_eq!((code, result.trim()), (0, "{\"a\": 1}"), "{errors}");
    // Whoever is not told does not believe it, and is told what to do.
    let (code, _, errors) = command(&daemon, &["health"], &[]);
    assert!(
        code == 3 && errors.contains("invalid peer certificate") && errors.contains("TASKRUNNERX_CA"),
        "{code}: {errors}"
    );
    let (code, _, errors) = command(&daemon, &["health", "--ca", "/nowhere.pem"], &[]);
    assert!(code == 2 && errors.contains("--ca") && errors.contains("/nowhere.pem"), "{code}: {errors}");
    // Nor is a server believed by another name than its own.
    let elsewhere = daemon.url.replace("http://", "https://");
    let (code, _, errors) = command(&daemon, &["health", "--url", &elsewhere], &given);
    assert!(code == 3 && errors.contains("not valid for name"), "{code}: {errors}");
    // Plain HTTP is hung up on, and the other way round, each with a word on what it may be.
    let (code, _, errors) = command(&daemon, &["health", "--url", &daemon.url], &[]);
    assert!(code == 1 && errors.contains("https:// in the URL reaches it"), "{code}: {errors}");
    let plain = world.daemon("scheduler").ready().await;
    let (code, _, errors) = command(&plain, &["health"], &given);
    assert!(code == 3 && errors.contains("http:// in the URL reaches it"), "{code}: {errors}");
    assert_eq!(daemon.logged("panicked"), 0);
    assert_eq!(daemon.logged("can be read or written by others"), 0, "openssl makes keys that only their owner reads");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_of_a_private_authority_is_sent_whole() {
    let (world, files) = (World::new().await, Files::new());
    files.self_signed("ca", "30", &["-addext", "keyUsage=critical,keyCertSign"]);
    let sign = |name: &str, issuer: &str, extensions: &str| {
        let (csr, key, cert, file) =
            (format!("{name}.csr"), format!("{name}.key"), format!("{name}.pem"), format!("{name}.ext"));
        std::fs::write(files.path(&file), extensions).unwrap();
        files.openssl(&[
            "req",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-subj",
            &format!("/CN={name}"),
            "-keyout",
            &key,
            "-out",
            &csr,
        ]);
        let (ca, ca_key) = (format!("{issuer}.pem"), format!("{issuer}.key"));
        files.openssl(&[
            "x509",
            "-req",
            "-in",
            &csr,
            "-CA",
            &ca,
            "-CAkey",
            &ca_key,
            "-CAcreateserial",
            "-days",
            "30",
            "-extfile",
            &file,
            "-out",
            &cert,
        ]);
    };
    sign("middle", "ca", "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n");
    sign("leaf", "middle", &format!("{NAMES}\n{LEAF}\n"));
    let chain = ["leaf.pem", "middle.pem"].map(|name| std::fs::read_to_string(files.path(name)).unwrap()).concat();
    std::fs::write(files.path("chain.pem"), chain).unwrap();
    let mut builder = world.daemon("api");
    files.of(&mut builder, "chain.pem", "leaf.key");
    let daemon = builder.start();
    until_ready(&daemon, &files.path("ca.pem")).await;
    let (code, said, errors) = command(&daemon, &["health", "--ready", "--ca", &files.text("ca.pem")], &[]);
    assert_eq!((code, said.trim()), (0, "ready"), "{errors}");
    // Of TLS, the versions that are safe; of HTTP, 1.1.
    let address = daemon.url.strip_prefix("http://").unwrap();
    let hello = |args: &[&str]| {
        let output = Command::new("openssl")
            .args(["s_client", "-connect", address, "-alpn", "h2,http/1.1"])
            .args(args)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    for version in ["-tls1_2", "-tls1_3"] {
        let said = hello(&[version]);
        assert!(said.contains("ALPN protocol: http/1.1"), "{version}: {said}");
    }
    for version in ["-tls1", "-tls1_1"] {
        let said = hello(&[version, "-cipher", "ALL:@SECLEVEL=0"]);
        assert!(said.contains("no peer certificate available"), "{version}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_refuses_files_that_are_none_or_do_not_go_together_and_says_which() {
    let (world, files) = (World::new().await, Files::new());
    files.self_signed("a", "30", &["-addext", LEAF]).self_signed("b", "30", &["-addext", LEAF]);
    files.openssl(&["pkey", "-in", "a.key", "-aes256", "-passout", "pass:secret", "-out", "locked.key"]);
    std::fs::write(files.path("empty"), "").unwrap();
    std::fs::write(files.path("torn.pem"), "-----BEGIN CERTIFICATE-----\nMIIB\n").unwrap();
    std::fs::write(files.path("odd.pem"), "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n").unwrap();
    for (cert, key, says) in [
        (
            "none.pem",
            "a.key",
            &["tls.cert: cannot read ", "none.pem", "No such file", "takes a PEM file with the certificate"][..],
        ),
        ("a.pem", "none.key", &["tls.key: cannot read ", "none.key", "takes a PEM file with an RSA, ECDSA"]),
        ("empty", "a.key", &["tls.cert: ", "empty holds no certificate; takes"]),
        ("a.key", "a.pem", &["tls.cert: ", "but a private key: is it that of tls.key?"]),
        ("torn.pem", "a.key", &["tls.cert: ", "torn.pem is no proper PEM file"]),
        ("odd.pem", "a.key", &["tls.cert: ", "odd.pem cannot be read"]),
        ("a.pem", "b.pem", &["tls.key: ", "but a certificate: is it that of tls.cert?"]),
        ("a.pem", "locked.key", &["tls.key: ", "but an encrypted one", "openssl pkey"]),
        ("a.pem", "b.key", &["tls.key: ", "b.key is not the private key of the first certificate in ", "a.pem"]),
    ] {
        let mut builder = world.daemon("api");
        files.of(&mut builder, cert, key);
        let (code, _, errors) = builder.output();
        assert_eq!(code, 2, "{cert} {key}: {errors}");
        assert!(says.iter().all(|part| errors.contains(part)), "{cert} {key}: {says:?} in {errors}");
        assert!(!errors.contains("listening"), "{errors}");
        let mut builder = DaemonBuilder::new(&["doctor", "--json"]);
        files.of(&mut builder, cert, key);
        let (code, said, _) = builder.output();
        assert!(code == 2 && said.contains(says[0]), "{cert} {key}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_warns_of_a_certificate_whose_end_cannot_be_read() {
    let files = Files::new();
    files.self_signed("good", "30", &["-addext", LEAF]);
    files.openssl(&["x509", "-in", "good.pem", "-outform", "der", "-out", "good.der"]);
    let mut der = std::fs::read(files.path("good.der")).unwrap();
    // The second of its two times loses the sign of UTC; a listener takes it all the same.
    let time = |at: &usize| der[*at..].starts_with(&[0x17, 13]) && der[at + 14] == b'Z';
    let end = (0..der.len() - 14).filter(time).nth(1).unwrap() + 14;
    der[end] = b'X';
    std::fs::write(files.path("odd.der"), der).unwrap();
    let pem = {
        let output = Command::new("openssl").args(["base64", "-in", &files.text("odd.der")]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    std::fs::write(files.path("odd.pem"), format!("-----BEGIN CERTIFICATE-----\n{pem}-----END CERTIFICATE-----\n"))
        .unwrap();
    for (cert, expected) in [("good.pem", "ok"), ("odd.pem", "warning")] {
        let mut doctor = DaemonBuilder::new(&["doctor", "--json"]);
        files.of(&mut doctor, cert, "good.key");
        let (_, said, errors) = doctor.output();
        let said: serde_json::Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}{errors}"));
        let check = said["checks"].as_array().unwrap().iter().find(|check| check["name"] == "tls").unwrap();
        assert_eq!(check["status"], expected, "{check}");
        let warns = check["detail"].as_str().unwrap().contains("odd.pem's validity cannot be read");
        assert_eq!(warns, expected == "warning", "{check}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_taken_without_a_restart_and_a_broken_one_is_not() {
    let (world, files) = (World::new().await, Files::new());
    files.self_signed("old", "3", &["-addext", LEAF]).self_signed("new", "300", &["-addext", LEAF]);
    let put = |from: &str, to: &str| {
        // As renewals do it: the new file takes the place of the old one.
        std::fs::copy(files.path(from), files.path("fresh")).unwrap();
        std::fs::rename(files.path("fresh"), files.path(to)).unwrap();
    };
    put("old.pem", "live.pem");
    put("old.key", "live.key");
    std::fs::set_permissions(files.path("live.key"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let mut builder = world.daemon("api");
    files.of(&mut builder, "live.pem", "live.key");
    let daemon = builder.start();
    let (old, new) = (files.path("old.pem"), files.path("new.pem"));
    let mut doctor = DaemonBuilder::new(&["doctor", "--json"]);
    files.of(&mut doctor, "live.pem", "live.key");
    let (_, said, _) = doctor.output();
    assert!(said.contains("live.pem expires in ") && said.contains("chmod 600"), "{said}");
    until_ready(&daemon, &old).await;
    assert_eq!(daemon.logged("live.key can be read or written by others than its owner (mode 644)"), 1);
    let mut before = wrapped(&daemon, &old).await;
    before.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut answered = [0; 12];
    before.read_exact(&mut answered).await.unwrap();
    assert_eq!(&answered, b"HTTP/1.1 200");
    let expiry = async |ca: &Path| -> f64 {
        let mut stream = wrapped(&daemon, ca).await;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("taskrunnerx_tls_not_after_timestamp_seconds "));
        line.unwrap().parse().unwrap()
    };
    let days = |at: f64| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        ((at - now) / 86_400.0).round()
    };
    assert_eq!(days(expiry(&old).await), 3.0);
    // One of two, and then nonsense: what it has is used on.
    put("new.pem", "live.pem");
    eventually("it says that they do not go together", async || {
        (daemon.logged("certificate of the listener: trouble") == 1).then_some(())
    })
    .await;
    client(&daemon, &old).ready().await.expect("the old one is used on");
    put("new.key", "live.key");
    eventually("the new one is taken", async || client(&daemon, &new).ready().await.ok()).await;
    assert!(client(&daemon, &old).ready().await.is_err(), "the old one is no longer shown");
    assert_eq!(daemon.logged("the listener has a new certificate"), 1);
    eventually("its expiry", async || (days(expiry(&new).await) == 300.0).then_some(())).await;
    // Who was connected is not cut off.
    before.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    before.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("HTTP/1.1 200"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_dawdles_within_tls_is_hung_up_on_and_holds_up_nobody() {
    let (world, files) = (World::new().await, Files::new());
    let daemon = serving(&world, &files, "api").await;
    let ca = files.path("server.pem");
    let until_closed = async |stream: &mut (dyn AsyncReadWrite + Unpin)| {
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(LIMIT, stream.read_to_end(&mut answer)).await.expect("it hangs up");
        String::from_utf8_lossy(&answer).into_owned()
    };
    // More than the handshakes that are usually under way at once: they say nothing, or only begin to.
    let mut silent = Vec::new();
    // On a machine of many threads there are not as many ports.
    let threads = std::thread::available_parallelism().map_or(2, usize::from).min(16);
    for number in 0..600 * threads {
        let mut stream = connect(&daemon).await;
        if number % 2 == 0 {
            stream.write_all(b"\x16\x03\x01\x02\x00\x01").await.unwrap();
        }
        silent.push(stream);
    }
    // While all of them are there: others are answered.
    for _ in 0..5 {
        let began = Instant::now();
        client(&daemon, &ca).ready().await.unwrap();
        assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    }
    for stream in &mut silent {
        until_closed(stream).await;
    }
    // Behind the handshake the listener is as strict as it is without.
    let mut slow = wrapped(&daemon, &ca).await;
    slow.write_all(b"GET /livez HTTP/1.1\r\nhost: ").await.unwrap();
    assert!(until_closed(&mut slow).await.starts_with("HTTP/1.1 408"));
    let mut long = wrapped(&daemon, &ca).await;
    let _ = long.write_all(format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "a".repeat(150_000)).as_bytes()).await;
    let answer = until_closed(&mut long).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    let mut noise = connect(&daemon).await;
    noise.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    until_closed(&mut noise).await;
    client(&daemon, &ca).ready().await.unwrap();
    assert_eq!(daemon.logged("panicked"), 0);
}

trait AsyncReadWrite: tokio::io::AsyncRead + tokio::io::AsyncWrite {}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite> AsyncReadWrite for T {}
