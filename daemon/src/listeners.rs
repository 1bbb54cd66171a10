//! From configured services to what the data plane listens on.

use proxima_api::EventKind;
use proxima_config::{Config, HttpService, Protocol, Service};
use proxima_proxy::Listener;
use proxima_telemetry::EventJournal;

/// Everything there is to listen on.
pub(crate) fn wanted(config: &Config) -> Vec<Listener> {
    config.services.values().flat_map(of_service).collect()
}

fn of_service(service: &Service) -> impl Iterator<Item = Listener> + '_ {
    let protocol = match service.protocol {
        Protocol::Tcp(_) => proxima_proxy::Protocol::Tcp,
        Protocol::Http(HttpService { tls: None, .. }) => proxima_proxy::Protocol::Http,
        Protocol::Http(_) => proxima_proxy::Protocol::Https,
    };
    let http3 = matches!(&service.protocol, Protocol::Http(http) if http.http3);
    let protocols = [Some(protocol), http3.then_some(proxima_proxy::Protocol::Http3)];
    service.listen.iter().flat_map(move |address| {
        let listener = |protocol| Listener { service: service.name.clone(), address: *address, protocol };
        protocols.into_iter().flatten().map(listener)
    })
}

/// Tells of the listeners that came and went from `before` to `now`; once for each address, as HTTP/3 is at those of HTTPS.
pub(crate) fn tell(journal: &EventJournal, before: &[Listener], now: &[Listener]) {
    let places = |listeners: &[Listener]| -> Vec<Listener> {
        let over_tcp = |it: &&Listener| it.protocol != proxima_proxy::Protocol::Http3;
        listeners.iter().filter(over_tcp).cloned().collect()
    };
    let is_in = |it: &Listener, all: &[Listener]| {
        all.iter().any(|other| (&other.service, other.address) == (&it.service, it.address))
    };
    let (before, now) = (places(before), places(now));
    for gone in before.iter().filter(|it| !is_in(it, &now)) {
        let Listener { service, address, .. } = gone.clone();
        journal.publish(EventKind::ListenerClosed { service, address });
    }
    for new in now.iter().filter(|it| !is_in(it, &before)) {
        let Listener { service, address, .. } = new.clone();
        journal.publish(EventKind::ListenerBound { service, address });
    }
}
