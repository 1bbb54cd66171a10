//! curl, and programs that ask thousands of times.

use std::process::Command;

use super::{Edge, NAME, installed, printed};
use crate::support::App;

#[test]
fn curl_speaks_http1_and_http2() {
    let app = App::healthy("eu-1");
    let edge = Edge::before(&app);
    for (version, told) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--fail", "--max-time", "30", "--noproxy", "*", version]);
        curl.args(["--resolve", &format!("{NAME}:{}:127.0.0.1", edge.port()), "--cacert"]);
        curl.arg(edge.certificate()).args(["--write-out", " over %{http_version}\n"]);
        let urls = ["a", "b"].map(|path| format!("https://{NAME}:{}/{path}", edge.port()));
        assert_eq!(printed(curl.args(urls)), format!("eu-1 /a over {told}\neu-1 /b over {told}\n"));
    }
}

#[test]
fn h2load_finds_every_request_answered() {
    let app = App::healthy("eu-1");
    let edge = Edge::before(&app);
    let load = ["--requests=1000", "--clients=4", "--max-concurrent-streams=20"];
    let report = printed(Command::new("h2load").args(load).arg(edge.url()));
    assert!(report.contains("Application protocol: h2\n"), "{report}");
    assert!(report.contains("1000 succeeded, 0 failed, 0 errored, 0 timeout"), "{report}");
}

#[test]
fn wrk_finds_every_request_answered() {
    let app = App::healthy("eu-1");
    let edge = Edge::before(&app);
    let report = printed(Command::new("wrk").args(["-t1", "-c8", "-d1s", &edge.url()]));
    assert!(report.contains(" requests in ") && !report.contains("\n  0 requests in "), "{report}");
    assert!(!report.contains("Socket errors") && !report.contains("Non-2xx"), "{report}");
}

#[test]
fn oha_finds_every_request_answered_over_http3() {
    let app = App::healthy("eu-1");
    let edge = Edge::before(&app);
    let mut oha = Command::new(installed("tools/tested/bin/oha"));
    oha.args(["-z", "1s", "-c", "4", "-p", "5", "--http-version", "3", "--insecure"]);
    oha.args(["--no-tui", "--output-format", "json"]).arg(edge.url());
    let report: serde_json::Value = serde_json::from_str(&printed(&mut oha)).unwrap();
    let answers = report["statusCodeDistribution"].as_object().unwrap();
    assert!(answers.keys().eq(["200"]), "{report}");
    // What is under way when the second is over is given up by oha itself.
    let errors = report["errorDistribution"].as_object().unwrap();
    assert!(errors.keys().all(|error| error == "aborted due to deadline"), "{report}");
}
