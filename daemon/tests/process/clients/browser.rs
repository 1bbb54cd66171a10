//! Chromium, without a window.

use std::process::Command;

use tempfile::TempDir;

use super::{Edge, NAME, printed};
use crate::support::App;

/// Says of itself, and of what it loads, by which protocol it came (Resource Timing, `nextHopProtocol`).
const PAGE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n\
    <!doctype html><title>A page</title><body><script src=\"/script.js\"></script><script>onload = () => { document.body.textContent = \
    performance.getEntries().filter(entry => entry.nextHopProtocol).map(entry => \
    new URL(entry.name).pathname + ' by ' + entry.nextHopProtocol + '.').join(' ') + said }</script>";
const SCRIPT: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/javascript\r\nConnection: close\r\n\r\nconst said = ' It ran.'";

#[test]
fn chromium_loads_a_page_over_forced_http3() {
    let app = App::scripted("eu-1", &[("/page", PAGE), ("/script.js", SCRIPT)]);
    let edge = Edge::before(&app);
    let profile = TempDir::new().unwrap();
    let mut chromium = Command::new("timeout");
    chromium
        .args([
            "--kill-after=5",
            "60",
            "chromium",
            "--headless",
            "--dump-dom",
            "--no-sandbox",
            "--disable-gpu",
        ])
        .args(["--disable-dev-shm-usage", "--disable-background-networking", "--no-first-run"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("--host-resolver-rules=MAP {NAME} 127.0.0.1, MAP * ~NOTFOUND"))
        .arg(format!("--origin-to-force-quic-on={NAME}:{}", edge.port()))
        .arg(format!("--ignore-certificate-errors-spki-list={}", key_digest(&edge)))
        .arg(format!("https://{NAME}:{}/page", edge.port()))
        .env("HOME", profile.path());
    let page = printed(&mut chromium);
    assert!(page.contains("/page by h3. /script.js by h3. It ran."), "{page}");
    assert_eq!(app.paths()[..2], ["/page", "/script.js"]);
}

/// SHA-256 of the certificate's public key, as DER, in Base64.
fn key_digest(edge: &Edge) -> String {
    const DIGEST: &str = "openssl x509 -in \"$1\" -noout -pubkey | openssl pkey -pubin -outform der | \
        openssl dgst -sha256 -binary | openssl base64 -A";
    printed(Command::new("bash").args(["-o", "pipefail", "-c", DIGEST, "bash"]).arg(edge.certificate()))
}
