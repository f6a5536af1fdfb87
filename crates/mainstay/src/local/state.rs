//! What a cluster of `up` leaves on disk so that later commands find it.

use super::process::Process;
use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

/// Paths of a cluster under its root.
#[derive(Debug, Clone)]
pub struct Paths {
    /// The root itself.
    pub root: PathBuf,
}

impl Paths {
    /// Paths under `root`, made absolute.
    ///
    /// # Errors
    /// If it is `/`, which is for `mainstay server` alone: a cluster of `up` must be removable as a whole.
    pub fn new(root: &Path) -> Result<Self> {
        let root = std::path::absolute(root).with_context(|| format!("cannot make {} absolute", root.display()))?;
        if root.parent().is_none() {
            bail!("a cluster of `mainstay up` needs a directory of its own; give another --root than /");
        }
        Ok(Self { root })
    }

    /// Sockets and process ids.
    pub fn run(&self) -> PathBuf {
        self.root.join("run/mainstay")
    }

    /// What runs.
    pub fn state(&self) -> PathBuf {
        self.run().join("up.json")
    }

    /// Where the server tells `up` how far it is.
    pub fn notify_socket(&self) -> PathBuf {
        self.run().join("notify.sock")
    }

    /// The server's log.
    pub fn log(&self) -> PathBuf {
        self.root.join("var/log/mainstay/server.log")
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.root.join("etc/kubernetes/admin.conf")
    }

    /// How the server had to adapt to this machine.
    pub fn adaptations(&self) -> PathBuf {
        self.run().join("adaptations.json")
    }
}

/// A cluster that `up` started.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct State {
    /// The server.
    pub server: Process,
    /// Port of the API server.
    pub secure_port: u16,
    /// Name of the node.
    pub node_name: String,
    /// Kernel settings that were changed, with the values they had.
    pub sysctls_before: Vec<(String, String)>,
}

impl State {
    /// The state under `paths`; `None` if no cluster was started there.
    ///
    /// # Errors
    /// If the file is there but not readable.
    pub fn load(paths: &Paths) -> Result<Option<Self>> {
        let path = paths.state();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e).with_context(|| format!("cannot read {}", path.display())),
        };
        serde_json::from_str(&text)
            .map(Some)
            .with_context(|| format!("{} is damaged; remove it if no cluster runs", path.display()))
    }

    /// Writes the state.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, paths: &Paths) -> Result<()> {
        pki::write_atomic(&paths.state(), &serde_json::to_vec_pretty(self)?, 0o600).context("cannot record the cluster")
    }
}

/// Parent of the pods' cgroups of the cluster at `root`: `/kubepods` on a machine of its own, else a name that other
/// clusters on the machine do not have.
pub fn cgroup_root(root: &Path) -> String {
    let name: Vec<_> = root.components().filter_map(|c| c.as_os_str().to_str()).filter(|c| *c != "/").collect();
    if name.is_empty() { "/kubepods".into() } else { format!("/mainstay-{}", name.join("-")) }
}

/// Prints the administrator's kubeconfig, or its path.
///
/// # Errors
/// If there is no cluster at `root`.
pub fn print_kubeconfig(root: &Path, only_path: bool) -> Result<()> {
    let path = Paths::new(root)?.kubeconfig();
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            bail!("there is no cluster at {}; start one with: mainstay up", root.display())
        }
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
            bail!("{} is for root alone; try: sudo mainstay kubeconfig", path.display())
        }
        Err(e) => return Err(e).with_context(|| format!("cannot read {}", path.display())),
    };
    if only_path {
        println!("{}", path.display());
    } else {
        print!("{text}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_on_one_machine_have_cgroups_of_their_own() {
        assert_eq!(cgroup_root(Path::new("/")), "/kubepods");
        assert_eq!(cgroup_root(Path::new("/var/lib/mainstay")), "/mainstay-var-lib-mainstay");
    }

    #[test]
    fn a_damaged_state_is_named_and_an_absent_one_is_none() {
        let dir = tempfile::tempdir().expect("a directory");
        let paths = Paths::new(dir.path()).expect("paths");
        assert!(State::load(&paths).expect("absent").is_none());
        fs::create_dir_all(paths.run()).expect("made");
        fs::write(paths.state(), "{").expect("written");
        assert!(State::load(&paths).expect_err("damaged").to_string().contains("up.json is damaged"));
    }
}
