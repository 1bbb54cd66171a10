//! HTTP-01 (RFC 8555 §8.3): pending tokens are answered before the routes, and no others.

#![allow(clippy::unwrap_used, reason = "test helpers")]

mod common;

use std::sync::Arc;

use proxima_proxy::{Challenges, Snapshot};

use common::{Backend, Setup, World, field};

const PATH: &str = "/.well-known/acme-challenge/";

fn put(world: &World, pending: &[(&str, &str)]) {
    let mut challenges = Challenges::default();
    for (token, key_authorization) in pending {
        challenges.add_http((*token).to_owned(), (*key_authorization).to_owned());
    }
    let snapshot = Snapshot { challenges: Arc::new(challenges), ..(*world.snapshot.load_full()).clone() };
    world.snapshot.store(Arc::new(snapshot));
}

#[tokio::test]
async fn a_pending_token_is_answered_and_anything_else_goes_to_the_routes() {
    let backend = Backend::fixed("the app").await;
    let world = Setup::http(&[backend.address]).start();
    let mut client = world.client().await;
    assert_eq!(client.get(&format!("{PATH}token")).await.text(), "the app", "nothing is pending");

    put(&world, &[("token", "token.thumbprint"), ("other", "other.thumbprint")]);
    for token in ["token", "other"] {
        let answer = client.get(&format!("{PATH}{token}")).await;
        assert_eq!((answer.status, answer.text()), (200, format!("{token}.thumbprint").as_str()));
        assert_eq!(field(&answer.head, "content-type"), Some("application/octet-stream"));
    }
    for path in [PATH, "/.well-known/acme-challenge/toke", "/.well-known/acme-challenge/token/x", "/token"] {
        assert_eq!(client.get(path).await.text(), "the app", "{path}");
    }
    client.write(&format!("POST {PATH}token HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")).await;
    assert_eq!(client.response().await.text(), "the app", "only asked for");

    put(&world, &[]);
    assert_eq!(client.get(&format!("{PATH}token")).await.text(), "the app", "not any more");
}

#[tokio::test]
async fn a_token_is_answered_though_no_backend_is_up() {
    let world = Setup::http(&[]).start();
    put(&world, &[("token", "token.thumbprint")]);
    let mut client = world.client().await;
    assert_eq!(client.get("/").await.status, 503);
    let mut client = world.client().await;
    assert_eq!(client.get(&format!("{PATH}token")).await.text(), "token.thumbprint");
}

/// To extended CONNECT the answer, a 200, would be agreement to a WebSocket (RFC 8441 §5).
#[tokio::test]
async fn a_token_is_no_websocket() {
    let backend = Backend::fixed("the app").await;
    let world = Setup::http(&[backend.address]).start();
    put(&world, &[("token", "token.thumbprint")]);
    let mut client = common::h2::Client::connect(&world).await;
    common::until("the SETTINGS", || client.send.is_extended_connect_protocol_enabled()).await;
    let request = http::Request::connect(format!("http://a{PATH}token"))
        .extension(h2::ext::Protocol::from_static("websocket"))
        .body(())
        .unwrap();
    let (response, _send) = client.send.send_request(request, false).unwrap();
    assert_eq!(common::soon("an answer", response).await.unwrap().status(), 502);
    assert_eq!(client.get(&format!("{PATH}token")).await.text(), "token.thumbprint");
}
