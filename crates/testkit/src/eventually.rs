//! Waiting for what comes true by itself.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How long anything may take to come true; far above what it takes, since machines are shared.
const LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// Asks again until there is an answer.
///
/// # Panics
/// When there is none after a minute.
#[expect(clippy::panic, reason = "a test fails by panicking")]
pub async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        if Instant::now() > deadline {
            panic!("after {} s still not true: {what}", LIMIT.as_secs());
        }
        sleep(POLL).await;
    }
}
