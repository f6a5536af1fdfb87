//! The command line: what can be said, and which function does it.

use crate::config::ServerConfig;
use crate::{bench, local, serve};
use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::cell::Cell;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use store::embedded::Activity;
use telemetry::logs::Format;

/// Kubernetes in one binary.
#[derive(Debug, Parser)]
#[command(name = "mainstay", version, about, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a cluster on this machine, with a demo workload in it, and return when it is usable.
    Up(Up),
    /// Stop the cluster that `up` started and remove all that belongs to it.
    Down(Down),
    /// Show what runs.
    Status(Status),
    /// Print the administrator's kubeconfig.
    Kubeconfig(Kubeconfig),
    /// Run the components of a node or of a control plane in the foreground.
    Server(Box<Server>),
    /// Measure an API server, ours or another.
    Bench(bench::Bench),
    /// Print the version.
    Version(Version),
}

/// Where a cluster of `up` keeps its files.
#[derive(Debug, Clone, Args)]
pub struct Place {
    /// Directory that holds every file of the cluster.
    #[arg(long, default_value = "/var/lib/mainstay", value_name = "DIR")]
    pub root: PathBuf,
}

/// `mainstay up`.
#[derive(Debug, Args)]
pub struct Up {
    #[command(flatten)]
    pub place: Place,
    /// Port of the API server.
    #[arg(long, default_value_t = 6443, value_name = "PORT")]
    pub secure_port: u16,
    /// Name of the node; the host name by default.
    #[arg(long, value_name = "NAME")]
    pub node_name: Option<String>,
    /// Do not deploy the demo web application.
    #[arg(long)]
    pub no_demo: bool,
    /// Flags for `mainstay server`, after `--`.
    #[arg(last = true, value_name = "SERVER FLAGS")]
    pub server_flags: Vec<String>,
}

/// `mainstay down`.
#[derive(Debug, Args)]
pub struct Down {
    #[command(flatten)]
    pub place: Place,
    /// Keep the store, the keys and the images, so that the next `up` finds them.
    #[arg(long)]
    pub keep_data: bool,
}

/// `mainstay status`.
#[derive(Debug, Args)]
pub struct Status {
    #[command(flatten)]
    pub place: Place,
    /// `text` or `json`.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// `mainstay kubeconfig`.
#[derive(Debug, Args)]
pub struct Kubeconfig {
    #[command(flatten)]
    place: Place,
    /// Print its path and not its content.
    #[arg(long)]
    path: bool,
}

/// How a command prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

#[derive(Debug, Args)]
struct Version {
    /// `text` or `json`.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// `mainstay server`. A flag wins over the configuration file.
#[derive(Debug, Args, Default)]
pub struct Server {
    /// YAML file with the same settings in camelCase (`securePort: 6443`).
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Components to run: api, controllers, scheduler, node, network, dns; all by default.
    #[arg(long, value_delimiter = ',', value_name = "ROLES")]
    pub roles: Option<Vec<String>>,
    /// Directory that every file and socket lies under; `/` by default.
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Port of the API server; 6443 by default, 0 takes a free one.
    #[arg(long, value_name = "PORT")]
    pub secure_port: Option<u16>,
    /// Address that the API server listens on; 0.0.0.0 by default.
    #[arg(long, value_name = "ADDRESS")]
    pub bind_address: Option<IpAddr>,
    /// Address that others reach this machine at; that of the default route by default.
    #[arg(long, value_name = "ADDRESS")]
    pub advertise_address: Option<IpAddr>,
    /// Where objects are kept: embedded or etcd.
    #[arg(long, value_name = "STORE")]
    pub store: Option<String>,
    /// Addresses of etcd, such as https://10.0.0.1:2379.
    #[arg(long, value_delimiter = ',', value_name = "URLS")]
    pub etcd_servers: Option<Vec<String>>,
    /// Authority of etcd's certificates.
    #[arg(long, value_name = "FILE")]
    pub etcd_cafile: Option<PathBuf>,
    /// Client certificate for etcd.
    #[arg(long, value_name = "FILE")]
    pub etcd_certfile: Option<PathBuf>,
    /// Key of the client certificate for etcd.
    #[arg(long, value_name = "FILE")]
    pub etcd_keyfile: Option<PathBuf>,
    /// How long events are kept, such as 1h30m; 1h by default.
    #[arg(long, value_name = "DURATION")]
    pub event_ttl: Option<String>,
    /// What must stay free on the node, as the kubelet's flag, such as nodefs.available<5%,memory.available<100Mi; below
    /// it no pod comes to the node.
    #[arg(long, value_name = "THRESHOLDS")]
    pub eviction_hard: Option<String>,
    /// Authority of the certificates that kubelets serve with; the cluster's by default. Empty: they are not verified, so
    /// that kubelets may sign their own, as upstream's do if they are not told otherwise.
    #[arg(long, value_name = "FILE")]
    pub kubelet_certificate_authority: Option<String>,
    /// Range of service addresses; 10.96.0.0/16 by default.
    #[arg(long, value_name = "CIDR")]
    pub service_cidr: Option<String>,
    /// Range of pod addresses; 10.244.0.0/16 by default.
    #[arg(long, value_name = "CIDR")]
    pub cluster_cidr: Option<String>,
    /// DNS domain of services; cluster.local by default.
    #[arg(long, value_name = "DOMAIN")]
    pub cluster_domain: Option<String>,
    /// Name of the node; the host name by default.
    #[arg(long, value_name = "NAME")]
    pub node_name: Option<String>,
    /// Port of the node agent's API; 10250 by default.
    #[arg(long, value_name = "PORT")]
    pub kubelet_port: Option<u16>,
    /// Kubeconfig of the cluster, for a server without the api role.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// File that a line for each request is appended to (audit.k8s.io/v1 events, level Metadata); none by default.
    #[arg(long, value_name = "FILE")]
    pub audit_log_path: Option<PathBuf>,
    /// Requests at once that only read; with those that write, the seats that priority levels share. 400 by default.
    #[arg(long, value_name = "N")]
    pub max_requests_inflight: Option<usize>,
    /// Requests at once that write; 200 by default.
    #[arg(long, value_name = "N")]
    pub max_mutating_requests_inflight: Option<usize>,
    /// Whether flow schemas and priority levels are in effect; on by default.
    #[arg(long, value_name = "BOOL")]
    pub enable_priority_and_fairness: Option<bool>,
    /// How long a request may take, such as `1m30s`, or in seconds; 1m by default.
    #[arg(long, value_name = "DURATION")]
    pub request_timeout: Option<String>,
    /// How long the server goes on serving after it has said that it is not ready any more; 0s by default.
    #[arg(long, value_name = "DURATION")]
    pub shutdown_delay_duration: Option<String>,
    /// While the server ends, tell new requests to come again (429) until all that is under way is done, instead of taking no
    /// new connections.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub shutdown_send_retry_after: Option<bool>,
    /// Which log lines to write, such as `info` or `info,apiserver=debug`.
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,
    /// `text` or `json`.
    #[arg(long, value_enum)]
    pub log_format: Option<Output>,
}

/// Does what the command line says.
///
/// # Errors
/// Whatever the command could not do; the error's chain reads as one sentence.
pub fn run(cli: Cli) -> Result<()> {
    match cli.command {
        Command::Up(up) => small_runtime()?.block_on(local::up(&up)),
        Command::Down(down) => small_runtime()?.block_on(local::down(&down)),
        Command::Status(status) => small_runtime()?.block_on(local::status(&status)),
        Command::Kubeconfig(args) => local::print_kubeconfig(&args.place.root, args.path),
        Command::Server(flags) => server(&flags),
        Command::Bench(args) => bench::run(args),
        Command::Version(args) => print_version(args.output),
    }
}

/// After so many polls of tasks a busy thread looks for what has arrived; a poll of one that writes takes as long as many others.
const POLLS_PER_LOOK: u32 = 8;

fn server(flags: &Server) -> Result<()> {
    let config = ServerConfig::from_flags(flags)?;
    let format = if config.log_json { Format::Json } else { Format::Text };
    telemetry::logs::init(&config.log, format)?;
    let activity = Arc::new(Activity::default());
    let (parked, unparked) = (activity.clone(), activity.clone());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("mainstay")
        .event_interval(POLLS_PER_LOOK)
        .on_thread_park(move || at_work(false, &parked))
        .on_thread_unpark(move || at_work(true, &unparked))
        .build()
        .context("cannot start the async runtime")?;
    let result = runtime.block_on(serve::run(config, activity));
    // All is drained. What a thread still waits for outlives us: the end of a containerd that we have found running.
    runtime.shutdown_background();
    result
}

/// Tells that the calling thread of the runtime goes to work, or has nothing more to do.
fn at_work(now: bool, activity: &Activity) {
    thread_local!(static AT_WORK: Cell<bool> = const { Cell::new(false) });
    match (AT_WORK.replace(now), now) {
        (false, true) => activity.begin(),
        (true, false) => activity.end(),
        _ => {}
    }
}

fn small_runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the async runtime")
}

fn print_version(output: Output) -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    match output {
        Output::Text => println!("mainstay {version} (Kubernetes {})", apiserver::KUBERNETES_VERSION),
        Output::Json => {
            let value = serde_json::json!({"mainstay": version, "kubernetes": apiserver::KUBERNETES_VERSION});
            println!("{}", serde_json::to_string_pretty(&value)?);
        }
    }
    Ok(())
}
