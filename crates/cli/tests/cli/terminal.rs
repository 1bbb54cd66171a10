//! Colours: on a terminal, unless they are not wanted.

use std::{fs::File, io::Read};

use axum::{Router, routing::get};
use nix::pty::openpty;

use crate::support::Place;

/// What `args` show on a terminal.
async fn on_a_terminal(no_color: Option<&str>, args: &[&str]) -> String {
    let body = include_str!("golden/backends.json");
    let daemon = Place::new().serve(Router::new().route("/v1/backends", get(async move || body)));
    let terminal = openpty(None, None).unwrap();
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
