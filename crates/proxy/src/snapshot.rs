//! What the data plane serves: made by the control plane, read by the workers, never changed in place.

use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};

use proxima_balance::{Levels, PolicyKind};
use proxima_http1::{Hop, RequestHead};
use proxima_types::{BackendId, ServiceName};

use crate::{Challenges, TlsClient, TlsServer};

/// Everything the workers need to serve. Put into the `ArcSwap` that [`crate::DataPlane::start`] was given;
/// each worker takes it over before its next request or connection. Exchanges under way keep the one they
/// began with.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The services by name. Listeners of a service that is missing here, or has another protocol here than they, go on with what
    /// they served before: they are about to go. Those that never had one answer that nothing is served.
    pub services: HashMap<ServiceName, Service>,
    /// Every backend there is, usable or not, and where. Others are gone: nothing is sent there any more, what was counted for
    /// them is forgotten, and what still runs there is cut when connections of [listeners that are
    /// gone](crate::DataPlane::reconfigure) are.
    pub backends: Arc<HashMap<BackendId, SocketAddr>>,
    /// The backends that probes may reach [through](crate::DataPlane::entrance) the workers, by name and address: upstreams of one
    /// candidate each. What they are probed with counts for no service and no backend.
    pub probed: HashMap<(BackendId, SocketAddr), Upstream>,
    /// What ACME servers are answered.
    pub challenges: Arc<Challenges>,
}

/// What a service does with its connections.
#[derive(Debug, Clone)]
pub enum Service {
    /// HTTP requests go by route; the first that matches takes the request.
    Http(Vec<Route>),
    /// The same over TLS. A new [`TlsServer`] is for new connections.
    Https(TlsServer, Vec<Route>),
    /// TCP connections are relayed.
    Tcp(Upstream),
}

/// Which requests go where.
#[derive(Debug, Clone)]
pub struct Route {
    /// Which requests.
    pub matches: Match,
    /// Where.
    pub upstream: Upstream,
}

/// Which requests a route takes: all that is given must hold.
#[derive(Debug, Clone, Default)]
pub struct Match {
    /// The request's host without its port; compared without regard to case. `None`: any.
    pub host: Option<String>,
    /// The beginning of the path, in whole segments. Compared with the path as a backend resolves it:
    /// escapes decoded, slashes merged, dot segments removed. `None`: any.
    pub path_prefix: Option<String>,
    /// The methods, in upper case. Empty: any.
    pub methods: Vec<String>,
}

/// Where requests or connections go.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// The usable backends inside the route's fence, in the order they are tried.
    pub levels: Arc<Levels>,
    /// How the backends of a level share the load.
    pub policy: PolicyKind,
    /// What the backends speak. HTTP only.
    pub protocol: UpstreamProtocol,
    /// What is spoken over to the backends; `None`: plain text. HTTP only.
    pub tls: Option<TlsClient>,
    /// The deadlines.
    pub timeouts: Timeouts,
    /// An answer whose first byte takes longer is a bad one of its backend, though it is passed on. `None`: none is. HTTP
    /// only.
    pub late: Option<Duration>,
}

/// The version of HTTP that backends speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UpstreamProtocol {
    /// One request at a time on a connection.
    #[default]
    Http1,
    /// Many at once, by prior knowledge (RFC 9113 §3.3).
    Http2,
    /// Many at once, over QUIC (RFC 9114); there has to be TLS.
    Http3,
}

impl UpstreamProtocol {
    /// What is said of `hop` in responses that come by this version, unless that is what it says already.
    pub(crate) fn answers_on(self, hop: &Hop) -> Option<Hop> {
        let version = match self {
            Self::Http1 => return None,
            Self::Http2 => "2",
            Self::Http3 => "3",
        };
        Some(hop.clone().answered_in(version))
    }
}

/// Deadlines of an exchange or a relayed connection. They are kept by a coarse timer: they fire up to 0.1 s late,
/// never early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For connecting to a backend, with the handshake where TLS is spoken to it.
    pub connect: Duration,
    /// From the request sent to the first byte of the response. HTTP only.
    pub first_byte: Duration,
    /// Without a byte either way.
    pub idle: Duration,
    /// For the whole exchange, from the request's head on. HTTP only.
    pub total: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(1),
            first_byte: Duration::from_secs(30),
            idle: Duration::from_mins(1),
            total: None,
        }
    }
}

impl Match {
    /// Whether the route takes the request of `head`, parsed from `bytes`; `path` is its path in the form of
    /// [`proxima_http1::match_path`].
    pub(crate) fn takes(&self, head: &RequestHead, bytes: &[u8], path: &[u8]) -> bool {
        self.host.as_ref().is_none_or(|host| is_host(head.host(bytes), host))
            && self.path_prefix.as_ref().is_none_or(|prefix| is_below(path, prefix.as_bytes()))
            && (self.methods.is_empty()
                || self.methods.iter().any(|method| method.as_bytes() == head.method_name(bytes)))
    }
}

/// A trailing dot only says that the name is complete.
fn is_host(asked: &[u8], host: &str) -> bool {
    asked.strip_suffix(b".").unwrap_or(asked).eq_ignore_ascii_case(host.as_bytes())
}

fn is_below(path: &[u8], prefix: &[u8]) -> bool {
    let prefix = prefix.strip_suffix(b"/").unwrap_or(prefix);
    path.strip_prefix(prefix).is_some_and(|rest| matches!(rest, [] | [b'/', ..]))
}

#[cfg(test)]
mod tests {
    use proxima_http1::match_path;

    use super::*;

    fn takes(matches: &Match, request: &str) -> bool {
        let mut head = RequestHead::default();
        head.parse(request.as_bytes()).unwrap().unwrap();
        let path = match_path(head.path(request.as_bytes())).unwrap();
        matches.takes(&head, request.as_bytes(), &path)
    }

    fn get(host: &str, target: &str) -> String {
        format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")
    }

    #[test]
    fn a_match_without_conditions_takes_every_request() {
        assert!(takes(&Match::default(), &get("a", "/x")));
        assert!(takes(&Match::default(), "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"));
    }

    #[test]
    fn hosts_are_compared_without_case_port_and_final_dot() {
        let matches = Match { host: Some("api.example.com".into()), ..Match::default() };
        for host in ["api.example.com", "API.example.COM:8080", "api.example.com.", "api.example.com.:80"] {
            assert!(takes(&matches, &get(host, "/")), "{host}");
        }
        for host in ["example.com", "xapi.example.com", "api.example.com.evil", ""] {
            assert!(!takes(&matches, &get(host, "/")), "{host}");
        }
    }

    #[test]
    fn path_prefixes_are_whole_segments_of_the_resolved_path() {
        for prefix in ["/v1/chat", "/v1/chat/"] {
            let matches = Match { path_prefix: Some(prefix.into()), ..Match::default() };
            for path in ["/v1/chat", "/v1/chat/x", "/v1/chat?q", "/x/../v1//chat/", "/%761/chat"] {
                assert!(takes(&matches, &get("a", path)), "{path}");
            }
            for path in ["/v1/chats", "/v1", "/", "/x/v1/chat", "/v1/chat/../x"] {
                assert!(!takes(&matches, &get("a", path)), "{path}");
            }
        }
        let root = Match { path_prefix: Some("/".into()), ..Match::default() };
        assert!(takes(&root, &get("a", "/x")));
        assert!(!takes(&root, "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"));
    }

    #[test]
    fn methods_are_compared_exactly() {
        let matches = Match { methods: vec!["POST".into(), "PURGE".into()], ..Match::default() };
        assert!(takes(&matches, "POST / HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert!(takes(&matches, "PURGE / HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert!(!takes(&matches, "post / HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert!(!takes(&matches, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    }
}
