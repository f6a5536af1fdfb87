//! Doing many alike things at once, carefully: first one, then twice as many each time while all goes well.

use std::future::Future;

use controller_kit::Error;
use futures::future::join_all;

/// Calls `act` for 0..`count`, in batches that double from one; ends with the first batch that had an error.
pub async fn slow_start<F>(count: usize, act: impl Fn(usize) -> F) -> Result<(), Error>
where
    F: Future<Output = Result<(), Error>>,
{
    let (mut done, mut batch) = (0, 1);
    while done < count {
        let size = batch.min(count - done);
        let results = join_all((done..done + size).map(&act)).await;
        results.into_iter().collect::<Result<(), Error>>()?;
        done += size;
        batch *= 2;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use controller_kit::Key;
    use std::cell::RefCell;

    #[tokio::test]
    async fn stops_after_the_batch_with_an_error() {
        let seen = RefCell::new(Vec::new());
        let act = |n: usize| {
            seen.borrow_mut().push(n);
            let failed = Error::Stale { kind: "Pod", key: Key::cluster("x") };
            async move { if n == 2 { Err(failed) } else { Ok(()) } }
        };
        assert!(slow_start(100, act).await.is_err());
        assert_eq!(*seen.borrow(), [0, 1, 2]);
        seen.borrow_mut().clear();
        assert!(slow_start(2, act).await.is_ok());
    }
}
