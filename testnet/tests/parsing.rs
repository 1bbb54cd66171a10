//! What is refused and what is forwarded, as docs/parsing.md says: no ambiguous request reaches a backend, and hyper, Node.js and nginx
//! read alike what does. nginx and HAProxy get the same requests, so that the page tells the truth about them as well.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_proxima-testnet");

#[test]
fn requests_are_read_as_the_page_says() {
    let output = Command::new(PROGRAM)
        .args(["parsing", "--markdown"])
        .env_remove("RUST_LOG")
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/parsing.md");
    let (written, measured) = (fs::read_to_string(&page).unwrap(), String::from_utf8(output.stdout).unwrap());
    let stale: Vec<_> =
        measured.lines().filter(|line| !written.lines().any(|other| other == *line)).collect();
    assert!(
        stale.is_empty() && written == measured,
        "docs/parsing.md is stale; write it anew with `proxima-testnet parsing --markdown`. It lacks:\n{}",
        stale.join("\n")
    );
}
