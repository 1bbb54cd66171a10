//! From the configuration's peers to the speaker's.

use proxima_bgp_speaker::{
    AllowList, BestPathRules, BmpConfig, Distance, FORGET_AFTER, GracefulRestart, LimitAction, MaxPrefixes,
    MrtConfig, Password, PeerConfig, Remote, SpeakerConfig,
};
use proxima_bgp_wire::Role;
use proxima_config::{Bmp, Config, Mrt, Peer, PrefixAction};

use crate::{
    reload::Peers,
    secret::{self, SecretError},
};

/// What the kernel takes as the key of TCP MD5 signatures, in octets.
const PASSWORD_MAX: usize = 80;

/// Everything the speaker is told at the start.
pub(crate) fn speaker_config(config: &Config, peers: &Peers) -> SpeakerConfig {
    let bgp = &config.bgp;
    SpeakerConfig {
        local_as: bgp.local_as,
        router_id: config.pop.router_id,
        hold_time: bgp.hold_time,
        connect_retry: bgp.connect_retry,
        listen: bgp.listen.clone(),
        // In the order of the file.
        peers: bgp.peers.iter().filter_map(|peer| peers.sessions.get(&peer.name).cloned()).collect(),
        allow_list: AllowList::new(config.prefixes()),
        best_path: best_path(config),
        bmp: bgp.bmp.iter().map(bmp_config).collect(),
        mrt: bgp.mrt.as_ref().map(mrt_config),
    }
}

/// How paths are compared.
pub(crate) fn best_path(config: &Config) -> BestPathRules {
    let configured = config.bgp.best_path;
    BestPathRules {
        always_compare_med: configured.always_compare_med,
        missing_med_worst: configured.missing_med_worst,
        ignore_as_path_length: configured.ignore_as_path_length,
        prefer_oldest_external: configured.prefer_oldest,
        ..BestPathRules::default()
    }
}

/// One peer, its password read from its file.
///
/// # Errors
/// When that can't be read.
pub(crate) fn peer_config(peer: &Peer) -> Result<PeerConfig, SecretError> {
    let password = match &peer.password_file {
        Some(path) => {
            let key = secret::read("TCP MD5 password", path, PASSWORD_MAX)?;
            Some(Password::new(&key).expect("read within the same limits"))
        }
        None => None,
    };
    Ok(PeerConfig {
        name: peer.name.clone(),
        remote: remote(&peer.remote),
        port: peer.port,
        remote_as: peer.remote_as,
        families: peer.families.clone(),
        passive: peer.passive,
        source: peer.source,
        hold_time: Some(peer.hold_time),
        connect_retry: Some(peer.connect_retry),
        next_hop_ipv4: peer.next_hop_ipv4,
        next_hop_ipv6: peer.next_hop_ipv6,
        max_prefixes: Some(MaxPrefixes {
            limit: peer.max_prefixes.limit.get(),
            warn_at: peer.max_prefixes.warn_at,
            action: match peer.max_prefixes.action {
                PrefixAction::Close => LimitAction::Close,
                PrefixAction::Warn => LimitAction::Warn,
                PrefixAction::Discard => LimitAction::Discard,
            },
            restart: peer.max_prefixes.restart,
        }),
        password,
        distance: match (peer.ttl_security, peer.multihop) {
            (Some(hops), _) => Distance::Security(hops),
            (None, Some(ttl)) => Distance::Multihop(ttl),
            (None, None) => Distance::Usual,
        },
        tcp_user_timeout: peer.tcp_user_timeout,
        keepalive: peer.tcp_keepalive,
        role: peer.role.map(role),
        role_strict: peer.role_strict,
        graceful_restart: peer.graceful_restart.map(|restart| GracefulRestart {
            restart_time: restart.restart_time,
            stale_time: restart.stale_time,
            forwarding: restart.forwarding,
        }),
        add_path: peer.add_path,
        extended_next_hop: peer.extended_next_hop,
        extended_messages: peer.extended_messages,
        enforce_first_as: peer.enforce_first_as,
        import: peer.import == proxima_config::Import::All,
        shutdown: peer.shutdown.clone(),
        forget_after: FORGET_AFTER,
    })
}

fn remote(remote: &proxima_config::Remote) -> Remote {
    match remote {
        proxima_config::Remote::Address { address, interface } => {
            Remote::Address { address: *address, interface: interface.clone() }
        }
        proxima_config::Remote::Range { prefix, max_peers } => {
            Remote::Range { prefix: *prefix, max: *max_peers }
        }
        proxima_config::Remote::Interface(interface) => Remote::Interface { interface: interface.clone() },
    }
}

fn role(role: proxima_config::Role) -> Role {
    match role {
        proxima_config::Role::Provider => Role::Provider,
        proxima_config::Role::RouteServer => Role::RouteServer,
        proxima_config::Role::RouteServerClient => Role::RouteServerClient,
        proxima_config::Role::Customer => Role::Customer,
        proxima_config::Role::Peer => Role::Peer,
    }
}

/// One monitoring station.
pub(crate) fn bmp_config(bmp: &Bmp) -> BmpConfig {
    BmpConfig { name: bmp.name.clone(), address: bmp.address, retry: bmp.retry, statistics: bmp.statistics }
}

/// The table dumps.
pub(crate) fn mrt_config(mrt: &Mrt) -> MrtConfig {
    MrtConfig { directory: mrt.directory.clone(), interval: mrt.interval }
}
