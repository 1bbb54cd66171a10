//! What really happened, seen from outside the daemon and measured by the kernel's clock.
//!
//! ```text
//!  clients ── router eu ──(PoP link)── PoP eu ── apps
//!               │  │          │
//!               │  │          └ wire:  BGP messages on TCP/179, kernel receive timestamps
//!               │  │                     └ events:  what the daemon itself says
//!               │  └ fib:   route notifications of the router's kernel
//!               └ fence:  every byte on the WAN links, searched for a marker
//! ```
//!
//! Nothing here shares code with the product's BGP or HTTP: an error there must not hide itself here.

pub mod bgp;
pub mod capture;
pub mod clock;
pub mod events;
pub mod fence;
pub mod fib;
pub mod journal;
pub mod packet;
pub mod reassembly;
pub mod selfcheck;
pub mod wire;

pub use events::Follower;
pub use fence::MarkerWatch;
pub use fib::FibWatch;
pub use journal::Journal;
pub use wire::WireWatch;
