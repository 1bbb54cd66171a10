//! What every decoder of bytes from outside must hold, whatever the bytes.
//!
//! ```text
//!  fuzz_targets/NAME.rs (libFuzzer, nightly) ──▶ src/MODULE.rs ◀── tests/corpus.rs of the decoder's crate (every test run)
//!                     │                                                  │
//!                     └──────────────── corpus/NAME/ ────────────────────┘
//! ```
//!
//! | target | input | module |
//! |---|---|---|
//! | `message` | a session (one octet), then the octets of a stream | [`bgp`] |
//! | `update` | a session (one octet), then the body of an UPDATE | [`bgp`] |
//! | `open` | the body of an OPEN | [`bgp`] |
//! | `capabilities` | capabilities, one after the other | [`bgp`] |
//! | `notification` | the body of a NOTIFICATION | [`bgp`] |
//! | `bfd` | datagrams, each with when and to which session it comes | [`bfd`] |
//! | `mrt` | a file | [`dump`] |
//! | `neighbour` | a hop limit and a kind of source (one octet each), then an ICMPv6 message | [`neighbour`] |
//! | `handover` | what another process hands over, then what comes on the connection | [`handover`] |
//! | `http1` | a kind (one octet), then what came on the connection | [`http1`] |
//! | `http3` | a kind (one octet), then a field section or what came on a stream | [`http3`] |
//! | `quic_lb` | a configuration (one octet), then a datagram | [`quic_lb`] |
//!
//! Seeds are named after what they are: `bird-…`, `frr-…`, `gobgp-…`, `openbgpd-…` and `exabgp-…` are what these routers
//! sent, `golden-…` is written by hand after the RFCs, `bad-…` likewise but faulty, and `found-…` is what the fuzzer came
//! by on its way through the code.

pub mod bfd;
pub mod bgp;
pub mod dump;
pub mod handover;
pub mod http1;
pub mod http3;
pub mod neighbour;
pub mod quic_lb;

/// The reader of MRT files, which is the command line's own and in no library.
#[path = "../../../crates/cli/src/mrt.rs"]
#[allow(dead_code, unreachable_pub)]
mod mrt;
