//! Colours: on a terminal, unless they are not wanted.

use std::{fs::File, io::Read};

use axum::{Router, routing::get};
use nix::pty::{Winsize, openpty};

use crate::support::Place;

/// What `args` show on a terminal.
async fn on_a_terminal(no_color: Option<&str>, args: &[&str]) -> String {
    on_a_terminal_of(120, no_color, args).await
}

/// The same on one of so many columns.
async fn on_a_terminal_of(columns: u16, no_color: Option<&str>, args: &[&str]) -> String {
    let path = match args[0] {
        "peers" if args.len() > 1 => "/v1/peers/router",
        "peers" => "/v1/peers",
        "bfd" => "/v1/bfd",
        _ => "/v1/backends",
    };
    let body = match path {
        "/v1/peers/router" => include_str!("golden/peer.json"),
        "/v1/peers" => include_str!("golden/peers.json"),
        "/v1/bfd" => include_str!("golden/bfd.json"),
        _ => include_str!("golden/backends.json"),
    };
    let daemon = Place::new().serve(Router::new().route(path, get(async move || body)));
    let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let terminal = openpty(&size, None).unwrap();
    let mut command = daemon.command(args);
    command.stdout(terminal.slave);
    if let Some(value) = no_color {
        command.env("NO_COLOR", value);
    }
    let mut child = command.spawn().unwrap();
    drop(command);
    let mut master = File::from(terminal.master);
    let shown = tokio::task::spawn_blocking(move || {
        let (mut shown, mut buffer) = (Vec::new(), [0; 4096]);
        // A terminal whose last writer is gone reads as an error.
        while let Ok(length @ 1..) = master.read(&mut buffer) {
            shown.extend_from_slice(&buffer[..length]);
        }
        String::from_utf8(shown).unwrap()
    });
    let shown = shown.await.unwrap();
    assert!(child.wait().await.unwrap().success());
    shown
}

#[tokio::test]
async fn a_terminal_gets_colours() {
    let shown = on_a_terminal(None, &["backends"]).await;
    assert!(shown.contains("\u{1b}[32mup\u{1b}[0m") && shown.contains("\u{1b}[31mdown\u{1b}[0m"), "{shown}");
}

#[tokio::test]
async fn no_color_and_json_are_respected() {
    assert!(!on_a_terminal(Some("1"), &["backends"]).await.contains('\u{1b}'));
    assert!(!on_a_terminal(None, &["backends", "--json"]).await.contains('\u{1b}'));
    assert!(on_a_terminal(Some(""), &["backends"]).await.contains('\u{1b}'));
}

#[tokio::test]
async fn screens_fit_a_terminal_of_80_columns() {
    for args in [&["peers"][..], &["peers", "router"], &["bfd"]] {
        for columns in [80, 120] {
            let shown = on_a_terminal_of(columns, Some("1"), args).await;
            for line in shown.lines() {
                let width = line.trim_end_matches('\r').chars().count();
                assert!(width <= usize::from(columns), "{args:?}: {width} columns: {line}");
            }
        }
    }
}
