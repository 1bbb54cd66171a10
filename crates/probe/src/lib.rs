//! Health probes of many kinds, and the standing connection that sees a killed app.
//!
//! ```text
//! Prober::start ──► one task per backend ──► ProbeEvent (bounded channel) ──► control thread
//!                    │  owns the backend's BackendTracker, which says what to do when
//!                    ├─ probe      at most one: over the standing connection if the app kept it alive, else a new one
//!                    ├─ confirm    at most one: a bare connect, when hard evidence came in
//!                    ├─ standing   at most one idle connection, watched for its end
//!                    └─ notice     a file or an endpoint that says when the backend goes away, where one is configured
//! ```
//!
//! When an app is killed the kernel closes its sockets. The standing connection ends, the confirming connect is refused,
//! and the verdict is there within a millisecond or two, whatever the probe interval.
//!
//! The standing connection is one that a probe has used and the app has kept alive; the next probe uses it again, so it
//! is never idle for longer than the probe interval. HTTP apps that answer `Connection: close` get none: such apps often serve
//! one connection at a time, and an idle one would block them. They are noticed by the next probe. TCP and TLS probes leave
//! their own connection standing in place of the one before.
//!
//! A probe goes straight to its backend, or [through the data plane](Via), where there is one to go through: then all its
//! connections do, the confirming ones too.
//!
//! A kind of probe is one file in `kind`, which implements `Check`: all else is the same for all of them. No probe waits for
//! another but for a [slot](slots), of which those that hang take no more than their share.

mod answers;
mod checks;
mod event;
mod kind;
mod lacking;
mod notice;
mod passive;
mod password;
mod path;
mod prober;
mod rtt;
mod said;
mod shared;
mod shortage;
mod slots;
mod standing;
mod tally;
mod target;
mod task;
mod tls;
mod via;
mod wire;

pub use checks::{Blind, Checks, Found};
pub use event::ProbeEvent;
pub use lacking::{Lacking, is_lacking};
pub use passive::PassiveSender;
pub use prober::{Prober, ProberHandle};
pub use proxima_probe_kind::{ProbeKind, Role};
pub use tally::{Spread, Tally};
pub use target::ProbeTarget;
pub use tls::TrustFiles;
pub use via::{Carries, Connecting, Via};
