//! BFD over UDP: one real-time thread for all sessions of the host (RFC 5881, RFC 5883).
//!
//! ```text
//!  BfdHandle ──requests, eventfd──▶ ┌──────────── thread "bfd" ────────────┐ ──BfdEvent, bounded──▶ whoever asked
//!  udp 3784, 4784 ────────────────▶ │ sockets ─▶ Sessions ─▶ sockets, events │ ─▶ udp from one port per family
//!                                   └───────────────────────────────────────┘
//! ```
//!
//! | module     | holds                                                                                        |
//! |------------|----------------------------------------------------------------------------------------------|
//! | `handle`   | [`Bfd::start`], [`BfdHandle`]: what the daemon calls                                         |
//! | `worker`   | the thread: wait, read, judge, send                                                          |
//! | `handover` | [`HandedOver`]: sessions and sockets on their way to another process                         |
//! | `socket`   | receiving and sending sockets (RFC 5881 §4, §5)                                              |
//! | `control`  | the source address and interface of a datagram, as `sendmsg` takes them                      |
//! | `outbox`   | events on their way to a reader that may be slow                                             |
//! | `priority` | real-time scheduling, or the best there is                                                   |
//! | `settings` | [`SessionConfig`], [`BfdOptions`], [`BfdEvent`], [`BfdStatus`]                               |
//!
//! # Time
//!
//! The thread runs before all ordinary ones (`SCHED_FIFO`), so that a data plane which takes every core delays neither its
//! packets nor its judgement. It neither allocates nor locks for a packet.
//!
//! Each round reads the clock, then what has arrived, and only then judges silences by that clock: what arrived in time is
//! never overlooked. When the thread itself was away (stopped by a signal, its virtual machine paused,
//! its core taken), the time it did not look is not taken for the neighbour's silence: once per silence, a neighbour gets
//! one more interval. So after SIGSTOP and SIGCONT
//!
//! - shorter than the neighbour's detection time, nothing happens;
//! - longer, the neighbour has ended the session and its packets say so: the session goes down with
//!   [`Cause::NeighborDown`](proxima_bfd::Cause::NeighborDown), never with an expired detection time, and comes up again;
//! - a neighbour that died meanwhile is noticed a detection time after the thread is back.
//!
//! # Handing over
//!
//! ```text
//!  predecessor          hand_over ─▶ HandedOver ─┐     sends on as a lame duck ─▶ end_silently, or take_back
//!                                                ▼
//!  successor    Bfd::prepare ─▶ PreparedBfd::start_with ─▶ add … add ─▶ end_unclaimed
//! ```
//!
//! The successor has the same sockets, so the neighbour sees the same port and discriminators, and what arrives while nobody
//! reads waits for it in their buffers. At no time do both processes read.
#![allow(clippy::disallowed_methods, reason = "a driver: reads the clock and hands it to the core")]

mod control;
mod draws;
mod handle;
mod handover;
mod outbox;
mod priority;
mod settings;
mod socket;
mod worker;

pub use handle::{Bfd, BfdHandle, PreparedBfd};
pub use handover::{HandedOver, HandedSession};
pub use priority::Priority;
pub use proxima_bfd::{
    Authentication, AuthenticationKind, Cause, Change, Diagnostic, Key, Meaning, Settings, State, Status,
};
pub use settings::{BfdError, BfdEvent, BfdOptions, BfdStatus, HostStatus, SessionConfig};
