//! Waiting for a state of the world that nobody announces, with a deadline.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::error::{Error, Result};

/// How often the state is looked at.
const INTERVAL: Duration = Duration::from_millis(20);

/// Looks until nothing is missing. `missing` says what is, in words for the error; empty when all is there.
///
/// # Errors
/// [`Error::Late`] with the last answer after `within`; what `missing` itself fails with, at once.
pub async fn wait_until(within: Duration, mut missing: impl FnMut() -> Result<String>) -> Result<()> {
    let deadline = Instant::now() + within;
    loop {
        let lacks = missing()?;
        if lacks.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(Error::Late { within, missing: lacks });
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// The same, blocking the thread: for what is not on a runtime.
pub fn block_until(within: Duration, mut missing: impl FnMut() -> Result<String>) -> Result<()> {
    let deadline = Instant::now() + within;
    loop {
        let lacks = missing()?;
        if lacks.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(Error::Late { within, missing: lacks });
        }
        thread::sleep(INTERVAL);
    }
}
