//! The system calls that no safe library offers, each behind a safe function. The only crate with `unsafe` in it.
//!
//! | module | what for | manual |
//! |---|---|---|
//! | `md5` | TCP MD5 signatures (RFC 2385) | tcp(7), `TCP_MD5SIG_EXT` |
//! | `ttl` | GTSM: a least TTL for what is received (RFC 5082) | ip(7), `IP_MINTTL` |
//! | `arrival` | by which interface a connection came | ip(7), `IP_PKTOPTIONS` |
//! | `udp` | IPv6 datagrams with a zero checksum (RFC 6936) | `UDP_NO_CHECK6_RX` |
//! | `rights` | descriptors that go to another process | unix(7), `SCM_RIGHTS` |
//! | `schedule` | priority of the calling thread | sched(7), setpriority(2) |

mod arrival;
mod md5;
mod option;
mod rights;
mod schedule;
mod ttl;
mod udp;

pub use arrival::arrival_interface;
pub use md5::{MAX_MD5_KEY, Md5Scope, set_tcp_md5};
pub use rights::{MAX_RIGHTS, receive_with_rights, send_with_rights};
pub use schedule::{FIFO_PRIORITIES, lower_nice, nice, set_fifo, set_least_nice, set_nice};
pub use ttl::set_least_ttl;
pub use udp::accept_zero_checksum;
