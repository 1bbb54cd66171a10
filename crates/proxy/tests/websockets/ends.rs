//! What passes through a tunnel, and how it ends: nine pairs of versions.

use std::time::Duration;

use proxima_proxy::{Reason, Timeouts};
use tokio::sync::mpsc;

use crate::{
    Asking,
    common::{Lines, PATIENCE, service_name, soon, until},
    pairs, patient,
    wire::{End, Wire},
};

/// The client's end comes first, the backend has a last word.
async fn echoing(asking: Asking) {
    let mut wire = asking.agree().await;
    wire.say(b"at once;").await;
    wire.echo().await;
    wire.say(b"bye").await;
    wire.finish().await;
}

#[tokio::test]
async fn octets_pass_both_ways_and_the_clients_end_goes_on_as_one() {
    for pair in pairs(|_| {}, echoing).await {
        let versions = &pair.versions;
        let world = pair.client.world();
        let mut answer = pair.client.open("/", "early;").await;
        assert_eq!(answer.wire.hear(14).await, "at once;early;", "{versions}");
        answer.wire.say(b"more;").await;
        assert_eq!(answer.wire.hear(5).await, "more;", "{versions}");
        answer.wire.finish().await;
        assert_eq!(answer.wire.rest().await, (b"bye".to_vec(), End::Clean), "{versions}");
        until("the end", || world.plane.stats().backends.values().all(|backend| backend.pending == 0)).await;
        let stats = world.stats();
        assert_eq!((stats.requests, stats.responses[0]), (1, 1), "{versions}");
        assert_eq!((stats.failures.len(), stats.cut, stats.cancelled), (0, 0, 0), "{versions}");
    }
}

#[tokio::test]
async fn the_backends_end_goes_on_as_one_and_the_client_may_still_speak() {
    let (words, mut heard) = mpsc::unbounded_channel();
    let script = move |asking: Asking| {
        let words = words.clone();
        async move {
            let mut wire = asking.agree().await;
            wire.say(b"all I have").await;
            wire.finish().await;
            words.send(wire.rest().await).unwrap();
        }
    };
    for pair in pairs(|_| {}, script).await {
        let mut answer = pair.client.open("/", "").await;
        assert_eq!(answer.wire.rest().await, (b"all I have".to_vec(), End::Clean), "{}", pair.versions);
        answer.wire.say(b"and I ").await;
        answer.wire.say(b"still speak").await;
        answer.wire.finish().await;
        let expected = (b"and I still speak".to_vec(), End::Clean);
        assert_eq!(soon("the rest", heard.recv()).await, Some(expected), "{}", pair.versions);
        let world = pair.client.world();
        until("the end", || world.plane.stats().backends.values().all(|backend| backend.pending == 0)).await;
        assert_eq!((world.stats().failures.len(), world.stats().cancelled), (0, 0), "{}", pair.versions);
    }
}

#[tokio::test]
async fn megabytes_pass_either_way() {
    const LENGTH: usize = 1 << 20;
    let script = |asking: Asking| async move {
        let flood = asking.path() == "/flood";
        let mut wire = asking.agree().await;
        if flood {
            wire.say(&vec![b'x'; LENGTH]).await;
        } else {
            let (got, end) = wire.rest().await;
            wire.say(format!("{} {end:?}", got.len()).as_bytes()).await;
        }
        wire.finish().await;
        // Until the other side has it.
        wire.rest().await;
    };
    for pair in pairs(|_| {}, script).await {
        let mut down = pair.client.open("/flood", "").await;
        let (got, end) = down.wire.rest().await;
        assert_eq!((got.len(), end), (LENGTH, End::Clean), "{}", pair.versions);
        let mut up = pair.client.open("/count", "").await;
        up.wire.say(&vec![b'x'; LENGTH]).await;
        up.wire.finish().await;
        let (said, _) = up.wire.rest().await;
        assert_eq!(String::from_utf8(said).unwrap(), format!("{LENGTH} Clean"), "{}", pair.versions);
    }
}

#[tokio::test]
async fn a_client_that_breaks_off_breaks_the_backends_side() {
    let (ends, mut ended) = mpsc::unbounded_channel();
    let script = move |asking: Asking| {
        let ends = ends.clone();
        async move {
            let mut wire = asking.agree().await;
            wire.say(b"hello").await;
            ends.send(wire.rest().await.1).unwrap();
        }
    };
    for pair in pairs(|_| {}, script).await {
        let mut answer = pair.client.open("/", "").await;
        assert_eq!(answer.wire.hear(5).await, "hello");
        answer.wire.abort();
        assert_eq!(soon("the end", ended.recv()).await, Some(End::Cancelled), "{}", pair.versions);
    }
}

#[tokio::test]
async fn a_backend_that_breaks_off_breaks_the_clients_side() {
    let script = |asking: Asking| async move {
        let mut wire = asking.agree().await;
        wire.say(b"hello").await;
        wire.next().await.unwrap();
        wire.abort();
    };
    for pair in pairs(|_| {}, script).await {
        let mut answer = pair.client.open("/", "").await;
        assert_eq!(answer.wire.hear(5).await, "hello");
        answer.wire.say(b"now").await;
        assert_eq!(answer.wire.rest().await, (Vec::new(), End::Cancelled), "{}", pair.versions);
    }
}

#[tokio::test]
async fn a_tunnel_in_which_nothing_moves_is_reset_and_is_nobodys_failure() {
    let lines = Lines::default();
    let idle = Duration::from_secs(1);
    let change = |setup: &mut crate::common::Setup| {
        setup.timeouts = Timeouts { idle, ..patient() };
        setup.access_log = Some(lines.log(false));
    };
    for (count, pair) in (1..).zip(pairs(change, echoing).await) {
        let mut answer = pair.client.open("/", "").await;
        assert_eq!(answer.wire.rest().await, (b"at once;".to_vec(), End::Cancelled), "{}", pair.versions);
        let world = pair.client.world();
        until("the count", || world.stats().failures == [(Reason::Idle, 1)].into()).await;
        assert_eq!((world.stats().slow_clients.len(), world.stats().cut), (0, 0), "{}", pair.versions);
        let failed = |backend: &proxima_proxy::BackendStats| !backend.failures.is_empty();
        assert!(!world.plane.stats().backends.values().any(failed), "{}", pair.versions);
        let line = lines.wait(count).await.pop().unwrap();
        let told = (line["end"].as_str(), line["why"].as_str(), line["sent"].as_u64());
        assert_eq!(told, (Some("silent"), Some("idle"), Some(8)), "{}", pair.versions);
    }
    assert!(PATIENCE > idle);
}

#[tokio::test]
async fn what_passes_keeps_a_tunnel_open_longer_than_its_idle_time() {
    // What is waited between two words is far from it, on a busy machine too.
    let idle = Duration::from_secs(2);
    let change = |setup: &mut crate::common::Setup| {
        setup.timeouts = Timeouts { idle, ..patient() };
    };
    let mut tunnels = tokio::task::JoinSet::new();
    for pair in pairs(change, echoing).await {
        tunnels.spawn(async move {
            // Its backend, too, lives as long as this.
            let pair = pair;
            let mut answer = pair.client.open("/", "").await;
            assert_eq!(answer.wire.hear(8).await, "at once;");
            let mut clock = tokio::time::interval(idle / 8);
            for _ in 0..10 {
                clock.tick().await;
                answer.wire.say(b"still here").await;
                assert_eq!(answer.wire.hear(10).await, "still here", "{}", pair.versions);
            }
        });
    }
    while let Some(tunnel) = tunnels.join_next().await {
        tunnel.unwrap();
    }
}

#[tokio::test]
async fn a_drain_lets_tunnels_go_on_to_their_ends() {
    for pair in pairs(|_| {}, echoing).await {
        let plane = &pair.client.world().plane;
        let mut answer = pair.client.open("/", "").await;
        assert_eq!(answer.wire.hear(8).await, "at once;");
        assert_eq!(plane.drain(Duration::from_millis(200)).await, 1, "{}", pair.versions);
        answer.wire.say(b"still open").await;
        assert_eq!(answer.wire.hear(10).await, "still open", "{}", pair.versions);
        answer.wire.finish().await;
        assert_eq!(answer.wire.rest().await, (b"bye".to_vec(), End::Clean), "{}", pair.versions);
        drop(answer);
        assert_eq!(plane.drain(PATIENCE).await, 0, "{}", pair.versions);
    }
}

#[tokio::test]
async fn the_octets_of_a_tunnel_are_counted_and_logged() {
    let lines = Lines::default();
    for (count, pair) in (1..).zip(pairs(|setup| setup.access_log = Some(lines.log(false)), echoing).await) {
        let mut answer = pair.client.open("/ws?secret", "").await;
        answer.wire.say(b"hello").await;
        answer.wire.finish().await;
        assert_eq!(answer.wire.rest().await.0, b"at once;hellobye");
        let line = lines.wait(count).await.pop().unwrap();
        let told =
            (line["end"].as_str(), line["received"].as_u64(), line["sent"].as_u64(), line["path"].as_str());
        assert_eq!(told, (Some("done"), Some(5), Some(16), Some("/ws")), "{}", pair.versions);
        let stats = pair.client.world().plane.stats();
        let service = &stats.services[&service_name()];
        assert!(service.bytes_in >= 5 && service.bytes_out >= 16, "{}", pair.versions);
    }
}

#[tokio::test]
async fn a_tunnel_has_no_trailers() {
    for pair in pairs(|_| {}, echoing).await {
        let mut answer = pair.client.open("/", "").await;
        assert_eq!(answer.wire.hear(8).await, "at once;");
        let trailers = [("x-sum", "7")];
        let expected = match &mut answer.wire {
            Wire::Http1(_) => continue,
            Wire::Http2 { send, .. } => {
                let [(name, value)] = trailers;
                send.send_trailers(http::HeaderMap::from_iter([(
                    http::HeaderName::from_static(name),
                    http::HeaderValue::from_static(value),
                )]))
                .unwrap();
                // PROTOCOL_ERROR
                End::Broken(1)
            }
            Wire::Http3 { send, .. } => {
                send.write_all(&crate::support::headers(&trailers)).await.unwrap();
                // H3_MESSAGE_ERROR
                End::Broken(0x10e)
            }
        };
        assert_eq!(answer.wire.rest().await.1, expected, "{}", pair.versions);
        let world = pair.client.world();
        until("the count", || world.stats().refused.get("trailer") == Some(&1)).await;
    }
}
