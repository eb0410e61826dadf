//! An address that stays while the process behind it is another one: as a load balancer's, or a service's name.

use crate::harness::Daemon;
use std::sync::{Arc, Mutex};
use tokio::net::{TcpListener, TcpStream};

pub(crate) struct Front {
    pub(crate) url: String,
    /// The address behind it.
    behind: Arc<Mutex<String>>,
}

impl Front {
    /// Connections to it are connections to this process; where that one is gone, they end.
    pub(crate) async fn of(daemon: &Daemon) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let behind = Arc::new(Mutex::new(address(daemon)));
        let to = Arc::clone(&behind);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let to = to.lock().unwrap().clone();
                tokio::spawn(async move {
                    let mut server = TcpStream::connect(to).await?;
                    tokio::io::copy_bidirectional(&mut client, &mut server).await
                });
            }
        });
        Self { url, behind }
    }

    /// New connections are to this process.
    pub(crate) fn turn_to(&self, daemon: &Daemon) {
        *self.behind.lock().unwrap() = address(daemon);
    }
}

fn address(daemon: &Daemon) -> String {
    daemon.url.trim_start_matches("http://").to_owned()
}
