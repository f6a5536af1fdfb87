//! What goes wrong at the command line: one sentence, exit code 1, nothing half-started.

use anyhow::{Context as _, Result, ensure};
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use testbed::{ApiServer, Cluster, Ended, ServerOptions, Traces, run};

const BINARY: &str = env!("CARGO_BIN_EXE_mainstay");
const API: &[&str] = &["server", "--roles", "api", "--bind-address", "127.0.0.1"];

/// More than an object of the store's first ones and its head take.
const OBJECT_BYTES_MAX: usize = 64 << 10;

/// Exit code 1 and one line on standard error that begins with our name and contains all of `words`.
fn one_sentence(ended: &Ended, words: &[&str]) -> Result<()> {
    let last = ended.stderr.lines().last().unwrap_or_default();
    let sentences = ended.stderr.lines().filter(|line| line.starts_with("mainstay: ")).count();
    ensure!(ended.code == 1, "exit code {}: {}{}", ended.code, ended.stdout, ended.stderr);
    ensure!(last.starts_with("mainstay: ") && sentences == 1, "not one sentence: {}", ended.stderr);
    // Besides it there may be steps of the progress display and log lines, but no traces of a panic.
    ensure!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    for word in words {
        ensure!(last.contains(word), "{last:?} lacks {word:?}");
    }
    Ok(())
}

fn mainstay(arguments: &[&str]) -> Result<Ended> {
    run(Command::new(BINARY).args(arguments), "")
}

fn server(root: &Path, more: &[&str]) -> Result<Ended> {
    run(Command::new(BINARY).args(API).arg("--root").arg(root).args(["--secure-port", "0"]).args(more), "")
}

/// A server that has run and was ended, with its store.
fn stopped_server() -> Result<(ApiServer, std::path::PathBuf)> {
    let mut server = ApiServer::start(BINARY, ServerOptions::default())?;
    server.process().terminate()?;
    let store = server.root().join("var/lib/mainstay/store.redb");
    Ok((server, store))
}

#[test]
fn mistakes_on_the_command_line() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let broken = dir.path().join("broken.yaml");
    fs::write(&broken, "securePort: [")?;
    let broken = broken.to_string_lossy().into_owned();
    for (arguments, words) in [
        (&["server", "--roles", "apis"][..], &["no role \"apis\""][..]),
        (&["server", "--config", &broken], &["broken.yaml", "not valid"]),
        (&["server", "--config", "/nowhere.yaml"], &["/nowhere.yaml"]),
        (&["server", "--service-cidr", "x"], &["--service-cidr"]),
        (&["up", "--root", "/"], &["--root"]),
        (&["status", "--root", "/nowhere"], &["no cluster", "/nowhere"]),
        (&["kubeconfig", "--root", "/nowhere"], &["no cluster", "/nowhere"]),
        (&["server", "--roles", "node", "--kubeconfig", "/nowhere.conf"], &["/nowhere.conf"]),
    ] {
        one_sentence(&mainstay(arguments)?, words).with_context(|| arguments.join(" "))?;
    }
    assert_eq!(mainstay(&["server", "--nonsense"])?.code, 2);
    let down = mainstay(&["down", "--root", "/nowhere"])?;
    assert_eq!((down.code, down.stdout.trim()), (0, "No cluster runs at /nowhere."));
    assert!(!Path::new("/nowhere").exists());
    Ok(())
}

#[test]
fn a_taken_port_is_found_before_anything_is_made() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let port = taken.local_addr()?.port().to_string();
    let root = dir.path().join("root");
    let ended = run(Command::new(BINARY).args(API).arg("--root").arg(&root).args(["--secure-port", &port]), "")?;
    one_sentence(&ended, &[&port, "already in use"])?;
    assert!(!root.exists());
    Ok(())
}

#[test]
fn others_than_root_are_refused() -> Result<()> {
    let dir = tempfile::tempdir()?;
    // Where others may look the program up, but not write.
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
    let program = dir.path().join("mainstay");
    fs::copy(BINARY, &program)?;
    let nobody = |arguments: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program).args(arguments);
        run(&mut command, "")
    };
    let root = dir.path().join("root");
    let root = root.to_string_lossy();
    one_sentence(&nobody(&["up", "--root", &root])?, &["root", "sudo mainstay up"])?;
    one_sentence(&nobody(&["down", "--root", &root])?, &["root", "sudo mainstay down"])?;
    one_sentence(
        &nobody(&["server", "--roles", "api", "--secure-port", "0", "--root", &root])?,
        &["Permission denied"],
    )?;
    assert!(!Path::new(&*root).exists());
    // Where it could begin, it does not.
    let open = dir.path().join("open");
    fs::create_dir(&open)?;
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777))?;
    let root = open.join("root");
    one_sentence(
        &nobody(&["server", "--secure-port", "0", "--root", &root.to_string_lossy()])?,
        &["node role", "root"],
    )?;
    assert!(!root.exists());
    Ok(())
}

#[test]
fn roots_that_cannot_be_written() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("file");
    fs::write(&file, "")?;
    one_sentence(&server(&file.join("root"), &[])?, &["file/root", "Not a directory"])?;
    let half = dir.path().join("half");
    fs::create_dir_all(half.join("etc/kubernetes/pki"))?;
    fs::write(half.join("etc/kubernetes/pki/ca.crt"), "x")?;
    one_sentence(&server(&half, &[])?, &["ca.crt exists", "ca.key does not"])?;
    assert_eq!(fs::read_dir(half.join("etc/kubernetes/pki"))?.count(), 1);
    Ok(())
}

#[test]
fn stores_that_are_refused() -> Result<()> {
    let mut first = ApiServer::start(BINARY, ServerOptions::default())?;
    one_sentence(&server(first.root(), &[])?, &["store.redb", "in use by another process"])?;
    first.process().terminate()?;

    let (newer, path) = stopped_server()?;
    let database = redb::Database::open(&path)?;
    let write = database.begin_write()?;
    write.open_table(redb::TableDefinition::<&str, i64>::new("facts"))?.insert("format", 1000)?;
    write.commit()?;
    drop(database);
    one_sentence(&server(newer.root(), &[])?, &["store.redb", "format version 1000"])?;

    let (damaged, path) = stopped_server()?;
    let mut file = File::options().read(true).write(true).open(&path)?;
    // An object's bytes in the middle of the file, not a page that is free.
    let mut content = Vec::new();
    file.read_to_end(&mut content)?;
    let object = b"\"kind\":\"ClusterRole\"";
    let places: Vec<usize> =
        content.windows(object.len()).enumerate().filter(|(_, w)| w == object).map(|(i, _)| i).collect();
    ensure!(!places.is_empty(), "no object in the store");
    for place in &places {
        file.seek(SeekFrom::Start(u64::try_from(*place)?))?;
        file.write_all(b"\"kind\":\"Clusterrole\"")?;
    }
    drop(file);
    let ended = server(damaged.root(), &[])?;
    one_sentence(&ended, &["store.redb", "offset", "corrupt"])?;
    let offset = ended.stderr.split("offset ").nth(1).map(|rest| rest.chars().take_while(char::is_ascii_digit));
    let offset: usize = offset.context("no offset")?.collect::<String>().parse()?;
    // The object that begins there is one of those that were damaged.
    let near = places.iter().any(|place| (offset..offset + OBJECT_BYTES_MAX).contains(place));
    ensure!(near, "offset {offset}, but the damage is at {places:?}");
    ensure!(server(damaged.root(), &[])?.stderr.contains(&format!("offset {offset}")), "not the same place again");

    // Half a file.
    let (cut, path) = stopped_server()?;
    File::options().write(true).open(&path)?.set_len(fs::metadata(&path)?.len() / 2)?;
    one_sentence(&server(cut.root(), &[])?, &["store.redb"])
}

#[test]
fn up_leaves_nothing_when_it_fails() -> Result<()> {
    let mut cluster = Cluster::prepare(BINARY)?;
    cluster.take_down_later();
    let traces = Traces::before(&cluster)?;
    let root = cluster.root();
    let up = |path: &str, flags: &[&str]| {
        let mut command = cluster.namespace().command("env");
        command.arg(format!("PATH={path}")).arg(BINARY).args(["up", "--root"]).arg(&root).args(flags);
        run(&mut command, "")
    };
    let path = std::env::var("PATH")?;
    one_sentence(&up("/nowhere", &[])?, &["containerd is not installed", "apt-get install containerd"])?;

    let fake = |name: &str, script: &str| -> Result<String> {
        let dir = cluster.scratch().join(name);
        fs::create_dir(&dir)?;
        fs::write(dir.join("containerd"), format!("#!/bin/sh\n{script}\n"))?;
        fs::set_permissions(dir.join("containerd"), fs::Permissions::from_mode(0o755))?;
        Ok(format!("{}:{path}", dir.display()))
    };
    let ending = fake("ending", "echo notify=${NOTIFY_SOCKET-none}; exit 3")?;
    one_sentence(&up(&ending, &[])?, &["containerd ended while starting", "exit status: 3", "containerd.log"])?;
    ensure!(!root.join("run").exists() && !root.join("etc").exists(), "up has left files");
    // What tells `up` that the server is ready is not for containerd, which would say so in its stead.
    let log = fs::read_to_string(root.join("var/log/containerd.log"))?;
    ensure!(log == "notify=none\n", "containerd sees {log}");
    let silent = fake("silent", "exec sleep 1000")?;
    one_sentence(&up(&silent, &[])?, &["containerd did not answer", "containerd.log"])?;
    ensure!(!root.join("run").exists() && !root.join("etc").exists(), "up has left files");

    let mut taken = cluster.namespace().command("busybox").args(["nc", "-l", "-p", "6443"]).spawn()?;
    cluster.namespace().shell("until ss -ltn | grep -q :6443; do sleep 0.02; done")?;
    let ended = up(&path, &[])?;
    taken.kill()?;
    taken.wait()?;
    one_sentence(&ended, &["6443", "already in use"])?;
    let full = up(&path, &["--no-demo", "--", "--eviction-hard=nodefs.available<100%"])?;
    one_sentence(&full, &["DiskPressure", "takes no pods", "GB are free", "--eviction-hard"])?;
    ensure!(!root.join("run").exists() && !root.join("etc").exists(), "up has left files");
    let unread = up(&path, &["--", "--eviction-hard=nodefs<1%"])?;
    one_sentence(&unread, &["--eviction-hard", "\"nodefs\" is no signal"])?;
    cluster.namespace().shell("ip link del up0")?;
    one_sentence(&up(&path, &[])?, &["address"])?;
    fs::remove_dir_all(cluster.root())?;
    let left: Vec<String> = traces.left(&cluster, true)?.into_iter().filter(|l| !l.starts_with("network: ")).collect();
    ensure!(left.is_empty(), "left behind:\n{}", left.join("\n"));
    Ok(())
}

/// A file system in memory; unmounted when dropped.
struct Tmpfs {
    dir: tempfile::TempDir,
}

impl Tmpfs {
    fn new(size: &str) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let size = format!("size={size}");
        let ended = run(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "none"]).arg(dir.path()), "")?;
        ensure!(ended.code == 0, "mount: {}", ended.stderr);
        Ok(Self { dir })
    }

    fn resize(&self, size: &str) -> Result<()> {
        let options = format!("remount,size={size}");
        let ended = run(Command::new("mount").args(["-o", &options]).arg(self.dir.path()), "")?;
        ensure!(ended.code == 0, "mount: {}", ended.stderr);
        Ok(())
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        match run(Command::new("umount").arg("-l").arg(self.dir.path()), "") {
            Ok(ended) if ended.code == 0 => {}
            other => eprintln!("cannot unmount {}: {other:?}", self.dir.path().display()),
        }
    }
}

#[test]
fn no_space_to_start() -> Result<()> {
    // There is none for a directory, for a key, for a certificate, for the store.
    for size in ["8k", "16k", "24k", "36k", "52k", "400k"] {
        let small = Tmpfs::new(size)?;
        let options = ServerOptions { parent: Some(small.dir.path().into()), ..ServerOptions::default() };
        let mut api = ApiServer::prepare(BINARY, options)?;
        one_sentence(&server(api.root(), &[])?, &["o space left"]).context(size)?;
        // What it began is no hindrance once there is space.
        small.resize("160m")?;
        api.restart().with_context(|| format!("{size}, then more"))?;
        api.kubectl()?.ok("create configmap works");
    }
    Ok(())
}

#[test]
fn no_space_any_more() -> Result<()> {
    let disk = Tmpfs::new("160m")?;
    let options = ServerOptions { parent: Some(disk.dir.path().into()), ..ServerOptions::default() };
    let server = ApiServer::start(BINARY, options)?;
    let kubectl = server.kubectl()?;
    kubectl.ok("create configmap before");
    let filler = disk.dir.path().join("filler");
    let filled = run(Command::new("dd").arg("if=/dev/zero").arg(format!("of={}", filler.display())).arg("bs=64k"), "")?;
    ensure!(filled.code != 0, "the disk has no end");
    kubectl.fails("create configmap refused");
    kubectl.ok("get configmap before");
    ensure!(kubectl.fails("get configmap refused").contains("not found"));
    fs::remove_file(&filler)?;
    kubectl.ok("create configmap after");
    Ok(())
}
