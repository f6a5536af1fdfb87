//! A real etcd on free loopback ports, gone when it is dropped.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use store::{Etcd, EtcdConfig};

pub struct Server {
    process: Option<Child>,
    dir: tempfile::TempDir,
    client_port: u16,
    peer_port: u16,
    tls: Option<Tls>,
}

/// What it takes to be let in.
pub struct Tls {
    ca: pki::Pair,
    client: pki::Pair,
}

impl Server {
    /// Starts one. `make test` installs it.
    pub fn start() -> Self {
        Self::start_with(|_| None)
    }

    /// Starts one that takes only clients with a certificate.
    pub fn start_tls() -> Self {
        Self::start_with(|dir| Some(Tls::make(dir)))
    }

    fn start_with(tls: impl FnOnce(&Path) -> Option<Tls>) -> Self {
        let (client_port, peer_port) = (free_port(), free_port());
        let dir = tempfile::tempdir().expect("a directory");
        let tls = tls(dir.path());
        let mut server = Self { process: None, dir, client_port, peer_port, tls };
        server.run();
        server
    }

    /// Runs it (again) on its data.
    pub fn run(&mut self) {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let client = format!("{scheme}://127.0.0.1:{}", self.client_port);
        let peer = format!("http://127.0.0.1:{}", self.peer_port);
        let process = Command::new("/usr/bin/etcd")
            .arg("--data-dir")
            .arg(self.dir.path().join("data"))
            .args(self.tls.iter().flat_map(|_| Tls::arguments(self.dir.path())))
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
        connect_with(self.config()).await
    }

    /// How to reach it.
    pub fn config(&self) -> EtcdConfig {
        let config = config(self.client_port);
        let Some(tls) = &self.tls else { return config };
        EtcdConfig {
            endpoints: vec![format!("https://127.0.0.1:{}", self.client_port)],
            ca: Some(tls.ca.cert_pem.clone()),
            cert: Some(tls.client.cert_pem.clone()),
            key: Some(tls.client.key_pem.clone()),
            ..config
        }
    }
}

impl Tls {
    fn make(dir: &Path) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970");
        let now = i64::try_from(since.as_secs()).expect("a time before the end");
        let ca = pki::certificate_authority("etcd", now, 1).expect("a CA");
        let leaf = |name: &str, usage: pki::Usage| {
            let spec = pki::LeafSpec {
                common_name: name.to_owned(),
                organizations: Vec::new(),
                dns_names: Vec::new(),
                ip_addresses: vec!["127.0.0.1".parse().expect("an address")],
                usage,
                valid_days: 1,
            };
            pki::leaf(&ca, &spec, now).expect("a certificate")
        };
        // etcd calls itself, so that its certificate is also a client's.
        let server = leaf("server", pki::Usage::Both);
        let client = leaf("client", pki::Usage::Client);
        for (name, content) in [("ca", &ca.cert_pem), ("cert", &server.cert_pem), ("key", &server.key_pem)] {
            std::fs::write(dir.join(name), content).expect("a file");
        }
        Self { ca, client }
    }

    fn arguments(dir: &Path) -> Vec<String> {
        let file = |name| dir.join(name).display().to_string();
        [["--cert-file", &file("cert")], ["--key-file", &file("key")], ["--trusted-ca-file", &file("ca")]]
            .concat()
            .into_iter()
            .chain(["--client-cert-auth"])
            .map(str::to_owned)
            .collect()
    }
}

pub async fn connect(port: u16) -> Etcd {
    connect_with(config(port)).await
}

fn config(port: u16) -> EtcdConfig {
    let endpoints = vec![format!("http://127.0.0.1:{port}")];
    EtcdConfig { endpoints, request_timeout: Duration::from_secs(3), ..EtcdConfig::default() }
}

async fn connect_with(config: EtcdConfig) -> Etcd {
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
