//! What every backend must do, run against each of them.

mod cases;

use store::{Embedded, Limits, Store};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

#[test]
fn embedded() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Embedded::open(dir.path().join("state"), Limits::default()).expect("a new store");
    runtime().block_on(async {
        let first = cases::put(&store, "first", "1").await;
        assert_eq!(first, 2, "the first write has revision 2");
        cases::all(&store).await;
    });
    assert!(runtime().block_on(store.size_bytes()).expect("a size") > 0);
}
