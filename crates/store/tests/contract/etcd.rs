//! A real etcd on free loopback ports, gone when it is dropped.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use store::{Etcd, EtcdConfig};

pub struct Server {
    process: Option<Child>,
    dir: tempfile::TempDir,
    client_port: u16,
    peer_port: u16,
}

impl Server {
    /// Starts one. `make test` installs it.
    pub fn start() -> Self {
        let (client_port, peer_port) = (free_port(), free_port());
        let dir = tempfile::tempdir().expect("a directory");
        let mut server = Self { process: None, dir, client_port, peer_port };
        server.run();
        server
    }

    /// Runs it (again) on its data.
    pub fn run(&mut self) {
        let client = format!("http://127.0.0.1:{}", self.client_port);
        let peer = format!("http://127.0.0.1:{}", self.peer_port);
        let process = Command::new("/usr/bin/etcd")
            .arg("--data-dir")
            .arg(self.dir.path())
            .args(["--name", "test", "--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("test={peer}"), "--heartbeat-interval", "20"])
            .args(["--election-timeout", "200", "--log-level", "error"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.process = Some(process.expect("/usr/bin/etcd can be run; `make test` installs it"));
    }

    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("a process of ours");
            process.wait().expect("its end");
        }
    }

    /// Passes bytes on between a port of its own and etcd, until told to break all connections.
    pub fn proxy(&self) -> Proxy {
        Proxy::start(self.client_port)
    }

    pub async fn connect(&self) -> Etcd {
        connect(self.client_port).await
    }
}

pub async fn connect(port: u16) -> Etcd {
    let endpoints = vec![format!("http://127.0.0.1:{port}")];
    let config = EtcdConfig { endpoints, request_timeout: Duration::from_secs(3), ..EtcdConfig::default() };
    let mut attempts = 0;
    loop {
        match Etcd::connect(config.clone()).await {
            Ok(store) => return store,
            Err(error) => {
                attempts += 1;
                assert!(attempts < 100, "etcd does not come up: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address").port()
}

/// See [`Server::proxy`].
pub struct Proxy {
    pub port: u16,
    refuses: Arc<AtomicBool>,
    connections: Arc<Mutex<Vec<TcpStream>>>,
}

impl Proxy {
    fn start(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let connections = Arc::<Mutex<Vec<TcpStream>>>::default();
        let refuses = Arc::new(AtomicBool::new(false));
        let (all, refused) = (connections.clone(), refuses.clone());
        std::thread::spawn(move || {
            for inbound in listener.incoming().flatten() {
                if refused.load(Ordering::Acquire) {
                    continue;
                }
                let Ok(outbound) = TcpStream::connect(("127.0.0.1", target)) else { continue };
                let pairs = [(&inbound, &outbound), (&outbound, &inbound)];
                for (from, to) in pairs {
                    let (from, to) = (from.try_clone().expect("a socket"), to.try_clone().expect("a socket"));
                    std::thread::spawn(move || pass_on(from, to));
                }
                all.lock().expect("the list").extend([inbound, outbound]);
            }
        });
        Self { port, refuses, connections }
    }

    /// Whether new connections are refused.
    pub fn refuse(&self, refuse: bool) {
        self.refuses.store(refuse, Ordering::Release);
    }

    pub fn break_connections(&self) {
        for connection in self.connections.lock().expect("the list").drain(..) {
            // It may have ended by itself.
            if connection.shutdown(Shutdown::Both).is_err() {
                continue;
            }
        }
    }
}

fn pass_on(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = [0; 16 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..read]).is_err() {
            return;
        }
    }
}
