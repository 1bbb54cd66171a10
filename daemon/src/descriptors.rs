//! File descriptors: as many as the process may have, and how many of them are for clients.
//!
//! What the control plane needs is set aside first, so that no number of clients takes the descriptors of BGP, probes
//! and the admin interface.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use proxima_config::{Config, Pool, ProbeKind, Protocol, Service, Via};

/// Standard streams, sockets of the admin interface and the metrics endpoint and their clients, netlink, the catchment's
/// devices, orders of certificates, timers and the like, with room to spare.
const BASE: usize = 64;
/// The standing connection, a probe, a confirming connect, and one being closed.
const PER_BACKEND: usize = 4;
/// Where they go through a worker: its two ends of each.
const PER_BACKEND_VIA_SERVICE: usize = 2 * PER_BACKEND;
/// The look for it.
const PER_NOTICE: usize = 1;
/// Thirty-two programs at once, each with both ends of a pipe and what watches it.
const PROGRAMS: usize = 32 * 3;
/// Listeners and connections under way in both directions.
const PER_PEER: usize = 8;
/// A socket of a worker's: its own descriptor, the one kept for an upgrade, and one on its way to another process.
const PER_SOCKET: usize = 3;
/// Over UDP both ends of the lane of an upgrade too, and what leads to a process before this one, twice.
const PER_UDP_SOCKET: usize = PER_SOCKET + 4;
/// The event loop, and a connection that was accepted to be turned away.
const PER_WORKER: usize = 8;

/// Raises the limit of open files as far as this process may, and returns it.
pub(crate) fn raise_limit() -> usize {
    let limit = match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((soft, hard)) if soft < hard => match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
            Ok(()) => {
                tracing::info!(from = soft, to = hard, "limit of open files raised to the hard limit");
                hard
            }
            Err(error) => {
                tracing::warn!(soft, hard, %error, "the limit of open files can't be raised to the hard limit");
                soft
            }
        },
        Ok((soft, hard)) => {
            tracing::info!(soft, hard, "limit of open files");
            soft
        }
        Err(error) => {
            tracing::warn!(%error, "the limit of open files is unknown; taken for unlimited");
            return usize::MAX;
        }
    };
    usize::try_from(limit).unwrap_or(usize::MAX)
}

/// How many of `limit` descriptors the data plane of `workers` may take for clients and backends.
pub(crate) fn for_clients(limit: usize, config: &Config, workers: usize) -> usize {
    let backends = |of: fn(&Pool) -> bool| -> usize {
        config.pools.values().filter(|pool| of(pool)).map(|pool| pool.backends.len()).sum()
    };
    let reserve = Needs {
        backends: backends(|_| true),
        via_service: backends(|pool| pool.probe.via == Via::Service),
        notices: backends(|pool| pool.notice.is_some()),
        has_programs: config.pools.values().any(|pool| matches!(pool.probe.kind, ProbeKind::Exec(_))),
        peers: config.bgp.peers.len(),
        listeners: config.services.values().map(listeners).sum(),
        workers,
    }
    .reserve();
    let share = share(limit, reserve);
    if share + reserve > limit {
        tracing::warn!(
            limit,
            reserve,
            clients = share,
            "the limit of open files is low for this configuration; raise LimitNOFILE"
        );
    } else {
        tracing::info!(limit, reserve, clients = share, "open files are set aside for the control plane");
    }
    share
}

/// A quarter is for clients even where the control plane's needs would leave none: a reserve is on the safe side.
fn share(limit: usize, reserve: usize) -> usize {
    limit.saturating_sub(reserve).max(limit / 4)
}

struct Needs {
    backends: usize,
    /// Backends that are probed through the workers.
    via_service: usize,
    /// Backends that may be announced to go away.
    notices: usize,
    /// Some backends are probed by programs.
    has_programs: bool,
    peers: usize,
    /// Descriptors of what each worker listens on.
    listeners: usize,
    workers: usize,
}

impl Needs {
    fn reserve(&self) -> usize {
        let Self { backends, via_service, notices, has_programs, peers, listeners, workers } = self;
        let straight = PER_BACKEND * backends + PER_NOTICE * notices;
        let probes = straight + PER_BACKEND_VIA_SERVICE * via_service + PROGRAMS * usize::from(*has_programs);
        let listeners = listeners + usize::from(*via_service > 0);
        BASE + probes + PER_PEER * peers + (PER_WORKER + listeners) * workers
    }
}

/// How many descriptors each worker needs for what a service listens on.
fn listeners(service: &Service) -> usize {
    let http3 = matches!(&service.protocol, Protocol::Http(http) if http.http3);
    service.listen.len() * (PER_SOCKET + if http3 { PER_UDP_SOCKET } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_get_what_the_control_plane_leaves_and_a_quarter_at_least() {
        let needs = Needs {
            backends: 10,
            via_service: 0,
            notices: 0,
            has_programs: false,
            peers: 2,
            listeners: 3,
            workers: 4,
        };
        let reserve = needs.reserve();
        assert_eq!(reserve, 64 + 40 + 16 + 44);
        let more = Needs { notices: 5, has_programs: true, ..needs };
        assert_eq!(more.reserve(), reserve + 5 + 96);
        let through = Needs { via_service: 10, ..more };
        assert_eq!(through.reserve(), reserve + 5 + 96 + 80 + 4, "and a listener for each worker");
        for (limit, expected) in [(1_048_576, 1_048_412), (1024, 860), (200, 50), (64, 16), (0, 0)] {
            assert_eq!(share(limit, reserve), expected, "of {limit}");
        }
    }

    #[test]
    fn what_an_upgrade_needs_of_each_socket_is_set_aside() {
        let http = include_str!("../tests/two-jurisdictions.toml");
        let tls = "protocol = \"https\"\ntls = { certificate = \"/a.pem\", key = \"/a.key\" }";
        let https = http.replace("protocol = \"http\"", tls);
        for (text, sockets) in [(http, PER_SOCKET), (&https, PER_SOCKET + PER_UDP_SOCKET)] {
            let config =
                Config::parse(text, "two-jurisdictions.toml").unwrap_or_else(|errors| panic!("{errors}"));
            let clients = |workers| for_clients(1 << 20, &config, workers);
            assert_eq!(clients(1) - clients(3), 2 * (PER_WORKER + sockets));
        }
    }
}
