//! The real `proximad` as its surroundings see it: routers by bytes on TCP, apps and clients by HTTP, operators by the
//! admin socket and by standard error.
//!
//! | module | what it proves |
//! |---|---|
//! | [`announce`] | what goes over BGP, and when |
//! | [`hold`] | what holds a group back: least time announced, damping, the cap; what is no longer believed |
//! | [`guard`] | never the last announcer to leave |
//! | [`orders`] | orders for groups, which end by themselves |
//! | [`supervise`] | what the service manager is told, and threads that stand still |
//! | [`stop`] | the ways a daemon ends, and what peers and clients see of it |
//! | [`reload`] | the configuration read again: what changes, what is refused |
//! | [`regroup`] | the same for announcement groups |
//! | [`redeploy`] | the same for services, pools and backends, under load |
//! | [`peering`] | commands to peers, what they sent, restart |
//! | [`bfd`] | a neighbour that falls silent |
//! | [`probes`] | what probes of other kinds than HTTP find out, and notices |
//! | [`traffic`] | what real traffic says about backends and objectives, and what comes of it |
//! | [`serve`] | requests: nearest first, inside the fence |
//! | [`tls`] | certificates: served, read again, refused; sessions that go on elsewhere |
//! | [`acme`] | certificates that are ordered: by either challenge, renewed, kept, and when none can be had |
//! | [`clients`] | clients that others have written, over TLS |
//! | [`priority`] | who goes first when every core is busy |
//! | [`upgrade`] | another process takes over, and nobody notices; or it can't, and nobody notices either |
//! | [`systemd`] | the unit that comes with the product, under a real systemd |
//! | [`operate`] | status, drain, metrics, the command line |
//! | [`bad_start`] | what keeps it from starting, each with its remedy |
//! | [`bad_peer`] | routers that are away, silent or talk nonsense |
//! | [`bad_http`] | clients and apps that talk nonsense |
//!
//! Every test has its own daemon, apps and routers on ports of its own, and waits for events, never for a time.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

mod acme;
mod announce;
mod bad_http;
mod bad_peer;
mod bad_start;
mod bfd;
mod clients;
mod guard;
mod hold;
mod operate;
mod orders;
mod peering;
mod priority;
mod probes;
mod redeploy;
mod regroup;
mod reload;
mod serve;
mod stop;
mod supervise;
mod support;
mod systemd;
mod tls;
mod traffic;
mod upgrade;
