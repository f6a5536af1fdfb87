//! The CNI configuration of a node: routed pods (no bridge, so every packet passes the node's nftables), addresses
//! from the node's pod range. Pure text; [`write`] puts it where the runtime looks.

use serde_json::json;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// Name of our file; sorts before those of others.
pub const FILE_NAME: &str = "10-mainstay.conflist";

/// What the configuration says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The node's own part of the pod range.
    pub pod_cidr: ipnet::Ipv4Net,
    /// Where the addresses that are taken are recorded.
    pub state_dir: PathBuf,
    /// Largest packet; that of the node's uplink, less what an overlay needs.
    pub mtu: u32,
}

/// The text of the configuration.
pub fn render(config: &Config) -> String {
    let gateway = Ipv4Addr::from(u32::from(config.pod_cidr.network()) + 1);
    let value = json!({
        "cniVersion": "0.4.0",
        "name": "mainstay",
        "plugins": [{
            "type": "ptp",
            "ipMasq": false,
            "mtu": config.mtu,
            "ipam": {
                "type": "host-local",
                "dataDir": config.state_dir,
                "ranges": [[{"subnet": config.pod_cidr.to_string(), "gateway": gateway.to_string()}]],
                "routes": [{"dst": "0.0.0.0/0"}]
            }
        }]
    });
    format!("{value:#}\n")
}

/// Writes the configuration into `dir`, whole or not at all, unless it stands there already.
///
/// # Errors
/// If the directory or the file cannot be written.
pub fn write(dir: &Path, config: &Config) -> io::Result<()> {
    let text = render(config);
    let path = dir.join(FILE_NAME);
    if std::fs::read_to_string(&path).is_ok_and(|now| now == text) {
        return Ok(());
    }
    std::fs::create_dir_all(dir)?;
    let beside = dir.join(format!(".{FILE_NAME}.new"));
    std::fs::write(&beside, text)?;
    std::fs::rename(beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_s_range_and_its_first_address_are_in_the_configuration() {
        let config = Config { pod_cidr: "10.244.3.0/24".parse().expect("a range"), state_dir: "/s".into(), mtu: 1500 };
        let value: serde_json::Value = serde_json::from_str(&render(&config)).expect("JSON");
        let range = &value["plugins"][0]["ipam"]["ranges"][0][0];
        assert_eq!((range["subnet"].as_str(), range["gateway"].as_str()), (Some("10.244.3.0/24"), Some("10.244.3.1")));
        let dir = tempfile::tempdir().expect("a directory");
        write(dir.path(), &config).expect("written");
        let path = dir.path().join(FILE_NAME);
        let before = std::fs::metadata(&path).and_then(|m| m.modified()).expect("a time");
        write(dir.path(), &config).expect("left alone");
        assert_eq!(std::fs::metadata(&path).and_then(|m| m.modified()).expect("a time"), before);
    }
}
