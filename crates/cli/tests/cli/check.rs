//! `proxima check`.

use std::path::Path;

use crate::support::{Place, proxima, run};

const EXAMPLE: &str = r#"
[pop]
name = "eu1"
region = "eu"
router-id = "10.2.0.2"

[regions.eu]
jurisdiction = "EU"

[bgp]
local-as = 64512
[[bgp.peers]]
name = "router"
address = "10.2.1.1"
remote-as = 65002

[announce.web]
prefixes = ["203.0.113.0/24"]
services = ["web"]

[services.web]
listen = ["203.0.113.1:80"]
protocol = "http"
  [[services.web.routes]]
  pool = "app"

[pools.app]
probe = { http = "/healthz" }
  [[pools.app.backends]]
  name = "eu-1"
  region = "eu"
  address = "10.2.11.2:8080"
"#;

fn file(place: &Place, text: &str) -> String {
    let path = place.directory().join("proximad.toml");
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_good_file_is_ok_and_summed_up() {
    let place = Place::new();
    let file = file(&place, EXAMPLE);
    let outcome = run(proxima(&["check", &file])).await;
    let summary = format!("{file}: ok: eu1 in eu, 1 peer, 1 group, 1 service, 1 backend\n");
    assert_eq!((outcome.code, outcome.stdout, outcome.stderr), (0, summary, String::new()));
    let outcome = run(proxima(&["check", &file, "--json"])).await;
    assert_eq!((outcome.code, outcome.stdout.as_str()), (0, "{\"errors\":[]}\n"));
}

#[tokio::test]
async fn every_error_is_told_at_once_and_exits_with_2() {
    let place = Place::new();
    let text =
        EXAMPLE.replace("203.0.113.0/24", "203.0.113.9/24").replace(r#"pool = "app""#, r#"pool = "apps""#);
    let file = file(&place, &text);
    let outcome = run(proxima(&["check", &file])).await;
    assert_eq!((outcome.code, outcome.stdout.as_str()), (2, ""));
    assert!(outcome.stderr.contains("203.0.113.0/24"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("apps"), "{}", outcome.stderr);
    assert!(outcome.stderr.ends_with(&format!("2 errors in {file}\n")), "{}", outcome.stderr);

    let outcome = run(proxima(&["--json", "check", &file])).await;
    let report: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!((outcome.code, report["errors"].as_array().unwrap().len()), (2, 2));
    assert_eq!(report["errors"][0]["file"], file.as_str());
    assert!(report["errors"][0]["line"].is_u64());
}

#[tokio::test]
async fn a_file_that_can_t_be_read_exits_with_2() {
    let place = Place::new();
    let missing = place.directory().join("missing.toml");
    let latin1 = place.directory().join("latin1.toml");
    std::fs::write(&latin1, b"name = \"caf\xe9\"\n").unwrap();
    for (path, told) in [(&missing, "No such file"), (&latin1, "UTF-8")] {
        let path: &Path = path;
        let outcome = run(proxima(&["check", path.to_str().unwrap()])).await;
        assert_eq!(outcome.code, 2, "{outcome:?}");
        assert!(outcome.stderr.contains("cannot read") && outcome.stderr.contains(told), "{outcome:?}");
    }
}

/// As `configs/` is meant to be checked: `proxima check configs/*.toml`, one file after the other.
#[tokio::test]
async fn every_toml_file_that_comes_with_the_product_is_ok() {
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs");
    let files = std::fs::read_dir(configs).unwrap().map(|entry| entry.unwrap().path());
    let mut checked = 0;
    for path in files.filter(|path| path.extension().is_some_and(|extension| extension == "toml")) {
        let outcome = run(proxima(&["check", path.to_str().unwrap()])).await;
        assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{}", path.display());
        checked += 1;
    }
    assert!(checked >= 3, "{checked} files");
}
