//! Keys, certificates, signing requests and kubeconfigs. Pure: no network.
