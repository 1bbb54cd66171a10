//! What the daemon asks of the host.

use proxima_types::Prefix;

use crate::VipError;

/// The host's VIPs, as far as Proxima has made them.
pub trait Vips {
    /// The prefixes that are local because of us, sorted. Those of a run that crashed are among them.
    fn present(&self) -> impl Future<Output = Result<Vec<Prefix>, VipError>> + Send;

    /// Makes every address of `prefix` local. Nothing happens if we have done so already.
    fn add(&self, prefix: Prefix) -> impl Future<Output = Result<(), VipError>> + Send;

    /// Takes that back. Nothing happens if `prefix` is not there; what others have made stays.
    fn remove(&self, prefix: Prefix) -> impl Future<Output = Result<(), VipError>> + Send;

    /// Makes exactly the `wanted` prefixes local: at the start, on a reload, and with none at the exit. An error with one
    /// prefix does not keep the others from being done.
    fn set(&self, wanted: &[Prefix]) -> impl Future<Output = Changes> + Send
    where
        Self: Sync,
    {
        async move {
            let mut changes = Changes::default();
            let present = match self.present().await {
                Ok(present) => present,
                Err(error) => {
                    changes.errors.push(error);
                    return changes;
                }
            };
            for prefix in present.iter().filter(|prefix| !wanted.contains(prefix)) {
                match self.remove(*prefix).await {
                    Ok(()) => changes.removed.push(*prefix),
                    Err(error) => changes.errors.push(error),
                }
            }
            for prefix in wanted.iter().filter(|prefix| !present.contains(prefix)) {
                match self.add(*prefix).await {
                    Ok(()) => changes.added.push(*prefix),
                    Err(error) => changes.errors.push(error),
                }
            }
            changes
        }
    }
}

/// What [`Vips::set`] has done.
#[derive(Debug, Default)]
#[must_use = "errors must be told to the operator"]
pub struct Changes {
    /// Prefixes that are local now and were not before.
    pub added: Vec<Prefix>,
    /// Prefixes that were local because of us and are not any more.
    pub removed: Vec<Prefix>,
    /// What did not work, prefix by prefix.
    pub errors: Vec<VipError>,
}
