//! Health probes over TCP and HTTP/1.1, and the standing connection that sees a killed app.
//!
//! ```text
//! Prober::start ──► one task per backend ──► ProbeEvent (bounded channel) ──► control thread
//!                    │  owns the backend's BackendTracker, which says what to do when
//!                    ├─ probe      at most one: over the standing connection if the app kept it alive, else a new one
//!                    ├─ confirm    at most one: a bare connect, when hard evidence came in
//!                    └─ standing   at most one idle connection, watched for its end
//! ```
//!
//! When an app is killed the kernel closes its sockets. The standing connection ends, the confirming connect is refused,
//! and the verdict is there within a millisecond or two, whatever the probe interval.
//!
//! The standing connection is one an HTTP probe has used and the app has kept alive; the next probe uses it again, so it
//! is never idle for longer than the probe interval. Apps that answer `Connection: close` get none: such apps often serve one
//! connection at a time, and an idle one would block them. They are noticed by the next probe. TCP probes leave their own
//! connection standing in place of the one before.

mod checks;
mod connect;
mod event;
mod http;
mod prober;
mod rtt;
mod shortage;
mod standing;
mod target;
mod task;

pub use checks::Checks;
pub use event::ProbeEvent;
pub use prober::{Prober, ProberHandle};
pub use target::{ProbeKind, ProbeTarget};
