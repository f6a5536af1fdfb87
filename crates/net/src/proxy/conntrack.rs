//! Forgetting UDP flows to endpoints that are gone: the kernel would go on sending to them as long as the client does.

use super::rules::{Contribution, Target};
use crate::command;
use std::collections::BTreeSet;

/// A flow to forget: service address (`*` for any of the node's) and port, and the endpoint that is gone, or `None` for
/// all flows (those made while there was no endpoint).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stale {
    /// `IP PORT`, or `* PORT`.
    pub service: String,
    /// The endpoint that is gone.
    pub target: Option<Target>,
}

/// What to forget when `old` becomes `new`.
pub fn stale(old: &Contribution, new: &Contribution) -> Vec<Stale> {
    let none = BTreeSet::new();
    let mut out = Vec::new();
    for (service, before) in &old.udp {
        let after = new.udp.get(service).unwrap_or(&none);
        out.extend(before.difference(after).map(|t| Stale { service: service.clone(), target: Some(*t) }));
    }
    for service in new.udp.keys().filter(|service| !old.udp.contains_key(*service)) {
        out.push(Stale { service: service.clone(), target: None });
    }
    out
}

/// Forgets the flows. Needs the `conntrack` program; without it they end by their timeout.
pub async fn forget(stale: &[Stale]) {
    for flow in stale {
        let Some((address, port)) = flow.service.split_once(' ') else { continue };
        let target = flow.target.map(|t| t.ip.to_string());
        let mut arguments = vec!["-D", "-p", "udp", "--orig-port-dst", port];
        if address != "*" {
            arguments.extend(["--orig-dst", address]);
        }
        if let Some(target) = &target {
            arguments.extend(["--dst-nat", target]);
        }
        match command::run("conntrack", &arguments, "").await {
            Ok(_) => {}
            // The program fails when there is no such flow, which is as well.
            Err(error) => tracing::debug!(%error, "no UDP flow was forgotten"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_to_endpoints_that_went_and_flows_from_before_the_first_are_stale() {
        let target = |last| Target { ip: [10, 0, 0, last].into(), port: 53 };
        let state = |targets: &[u8]| Contribution {
            udp: [("10.96.0.10 53".to_owned(), targets.iter().map(|t| target(*t)).collect())].into(),
            ..Contribution::default()
        };
        let service = "10.96.0.10 53".to_owned();
        assert_eq!(
            stale(&state(&[1, 2]), &state(&[2, 3])),
            [Stale { service: service.clone(), target: Some(target(1)) }]
        );
        assert_eq!(stale(&Contribution::default(), &state(&[1])), [Stale { service, target: None }]);
        assert!(stale(&state(&[1]), &state(&[1])).is_empty());
    }
}
