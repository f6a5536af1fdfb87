//! One etcd, two makes of servers: what a kube-apiserver v1.30 has stored is served, watched, changed and deleted here, and
//! what is stored here is as it would have stored it. Its part is played by what a real one was seen to store, written as
//! messages of types that others have generated from upstream's definitions.

mod kinds;
mod ranges;
#[path = "../../../api-kinds/tests/protobuf/types.rs"]
#[macro_use]
mod types;
mod values;
mod world;
