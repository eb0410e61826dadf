//! Waiting for a condition instead of for a time.

use std::time::{Duration, Instant};

/// Every wait's limit: generous, since a loaded machine is slow and a hang is a fault anyway.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);
/// Between two looks at a condition.
const LOOK: Duration = Duration::from_millis(10);

/// Waits until a condition gives a value.
pub(crate) async fn eventually<T>(what: &str, condition: impl AsyncFnMut() -> Option<T>) -> T {
    let found = within(LIMIT, condition).await;
    assert!(found.is_some(), "not within {LIMIT:?}: {what}");
    found.unwrap()
}

/// Waits until a condition gives a value, for so long.
pub(crate) async fn within<T>(limit: Duration, mut condition: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let until = Instant::now() + limit;
    loop {
        if let Some(value) = condition().await {
            return Some(value);
        }
        if Instant::now() >= until {
            return None;
        }
        tokio::time::sleep(LOOK).await;
    }
}
