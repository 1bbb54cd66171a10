//! When a certificate is ordered from an ACME server (RFC 8555), and when again.
//!
//! ```text
//!               none, or one lacks a name                        ┌─ Obtained ─▶ held: renewed at 2/3 of its life,
//! start ─┬──────────────────────────────▶ Order at once ─────────┤              or when the server says (RFC 9773)
//!        └─ held ─▶ Order when it is due ─────────────────────── ┤
//!                          ▲                                     └─ Failed ─▶ backs off, or as long as the server says
//!                          └────────────────────────────────────────────────────┘
//! ```
//!
//! [`Renewal`] decides for one certificate. Times are the calendar's, as those in certificates are: whoever waits for one has to
//! look again from time to time, for the clock may be set. When it was set back pauses are as long as before. Nothing here does I/O,
//! reads a clock or draws a random number.

mod renewal;

pub use renewal::{BACKOFF_LEAST, BACKOFF_MOST, Held, Input, Output, RETRY_AFTER_MOST, Renewal, Window};
