//! A sound file, and how to break it; the schema, and what fits it.

use boon::{Compiler, Schemas};

/// One of everything that exists, as short as it can be.
pub(crate) const SOUND: &str = r#"[pop]
name = "fra1"
region = "eu"
router-id = "192.0.2.11"

[regions.eu]
jurisdiction = "EU"
[regions.us-east]
jurisdiction = "US"

[bgp]
local-as = 64512
hold-time = "9s"
[[bgp.peers]]
name = "tor1"
address = "10.0.0.1"
remote-as = 65000
families = ["ipv4", "ipv6"]
next-hop-ipv6 = "fd00::11"

[announce.web]
prefixes = ["203.0.113.0/24", "2001:db8:ac::/48"]
services = ["api"]
communities = ["64512:100"]
[announce.web.degraded]
below = 0.8
above = 0.9
prepend = 2
[announce.web.withdrawn]
below = 0.4
above = 0.6
hold-down = "2s"

[services.api]
listen = ["203.0.113.1:80", "[2001:db8:ac::1]:80"]
protocol = "http"
[[services.api.routes]]
match = { host = "api.example.com", path-prefix = "/v1", methods = ["POST"] }
pool = "app"
residency = { allow = ["EU"] }
[[services.api.routes]]
pool = "app"
timeouts = { first-byte = "10s" }

[services.raw]
listen = ["203.0.113.1:5000"]
protocol = "tcp"
pool = "raw"

[pools.app]
balance = "least-request"
probe = { http = "/healthz", interval = "1s", timeout = "500ms" }
[[pools.app.backends]]
name = "eu-1"
region = "eu"
address = "10.1.0.10:8080"
weight = 100
[[pools.app.backends]]
name = "us-1"
region = "us-east"
address = "10.2.0.10:8080"
tier = 1

[pools.raw]
probe = { tcp = true }
[[pools.raw.backends]]
name = "eu-1"
region = "eu"
address = "10.1.0.10:9000"

[admin]
mode = "0660"
[metrics]
listen = "127.0.0.1:9179"
[log]
level = "info"
"#;

#[allow(dead_code, reason = "not every test file breaks it this way")]
/// The sound file with the first `from` replaced.
pub(crate) fn with(from: &str, to: &str) -> String {
    assert!(SOUND.contains(from), "`{from}` is not in the sound file");
    SOUND.replacen(from, to, 1)
}

#[allow(dead_code, reason = "as above")]
/// The schema, as it is checked in.
pub(crate) fn schema() -> serde_json::Value {
    const SCHEMA: &str =
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs/proxima.schema.json"));
    serde_json::from_str(SCHEMA).expect("it is JSON")
}

#[allow(dead_code, reason = "as above")]
/// Whether a file that is TOML fits the schema.
pub(crate) fn fits(text: &str) -> Result<(), String> {
    thread_local! {
        static COMPILED: (Schemas, boon::SchemaIndex) = {
            let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
            compiler.add_resource("proxima.schema.json", schema()).expect("its name is a place");
            let index = compiler.compile("proxima.schema.json", &mut schemas).expect("it is a schema");
            (schemas, index)
        };
    }
    let file: toml::Table = text.parse().map_err(|error| format!("{error}"))?;
    let file = serde_json::to_value(file).map_err(|error| error.to_string())?;
    COMPILED.with(|(schemas, index)| schemas.validate(&file, *index).map_err(|error| format!("{error:#}")))
}
