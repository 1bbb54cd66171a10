//! The schema, as it is checked in.

use std::collections::BTreeSet;

use proxima_config::{
    Config,
    reference::{How, Table, reference},
};
use serde_json::Value;

use super::WHOLE;
use crate::common::{SOUND, fits, schema, with};

#[test]
fn the_schema_has_the_keys_of_the_reference_and_no_others() {
    same(&reference().file, &schema(), "");
}

fn same(table: &Table, schema: &Value, path: &str) {
    let properties = schema["properties"].as_object().unwrap_or_else(|| panic!("{path} is no table"));
    let written: BTreeSet<&str> = properties.keys().map(String::as_str).collect();
    let known: BTreeSet<&str> = table.keys.iter().map(|key| key.name).collect();
    assert_eq!(written, known, "{path}: run `cargo xtask docs`");
    assert_eq!(schema["additionalProperties"], false, "{path}");
    for key in &table.keys {
        let Some(tables) = &key.tables else { continue };
        let mut held = &properties[key.name];
        if key.value.is_some() {
            held = &held["anyOf"][1];
        }
        let inside = match tables.how {
            How::One => held,
            How::List => &held["items"],
            How::Named(_) => &held["additionalProperties"],
        };
        same(&tables.table, inside, &format!("{path}/{}", key.name));
    }
}

#[test]
fn what_is_accepted_fits_the_schema() {
    for text in [WHOLE, SOUND] {
        fits(text).unwrap_or_else(|why| panic!("{why}"));
    }
    let configs = concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs");
    let mut files = 0;
    for entry in std::fs::read_dir(configs).expect("configs/ is there") {
        let path = entry.expect("it can be listed").path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let text = std::fs::read_to_string(&path).expect("it can be read");
            fits(&text).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
            files += 1;
        }
    }
    assert!(files >= 6, "{files}");
}

#[test]
fn what_is_wrong_in_itself_is_refused_by_the_schema_as_by_the_reader() {
    for (why, from, to) in [
        ("an unknown key", "hold-time =", "hold-tme ="),
        ("an unknown table", "[log]", "[logs]"),
        ("a table where a list of tables belongs", "[[bgp.peers]]", "[bgp.peers]"),
        ("a string where a table belongs", "probe = { tcp = true }", "probe = \"tcp\""),
        ("something missing", "local-as = 64512\n", ""),
        ("no way to say where a peer is", "address = \"10.0.0.1\"\n", ""),
        ("a number where a string belongs", "name = \"fra1\"", "name = 5"),
        ("a string where a number belongs", "local-as = 64512", "local-as = \"64512\""),
        ("a number where a duration belongs", "\"9s\"", "9"),
        ("a duration with a fraction", "\"10s\"", "\"1.5s\""),
        ("a number out of range", "weight = 100", "weight = 65536"),
        ("a share out of range", "below = 0.8", "below = 80"),
        ("a share at its open end", "below = 0.4", "below = 0"),
        ("a word that is none of the choices", "\"info\"", "\"verbose\""),
        ("a word in a list", "[\"ipv4\", \"ipv6\"]", "[\"ipv4\", \"ip6\"]"),
        ("an empty list", "services = [\"api\"]", "services = []"),
        ("a name that can't be one", "name = \"fra1\"", "name = \"fra 1\""),
        ("a name of a table", "[pools.raw]", "[pools.\"r w\"]"),
        ("no port", "\"10.1.0.10:8080\"", "\"10.1.0.10\""),
        ("no prefix length", "\"203.0.113.0/24\"", "\"203.0.113.0\""),
        ("a relative path", "mode =", "socket = \"admin.sock\"\nmode ="),
        ("a mode for everyone", "\"0660\"", "\"0666\""),
        ("a false kind of probe", "{ tcp = true }", "{ tcp = false }"),
        ("a method in lower case", "\"POST\"", "\"post\""),
        // By what else is written.
        ("routes of a TCP service", "pool = \"raw\"\n", "pool = \"raw\"\nroutes = [{ pool = \"raw\" }]\n"),
        ("a TCP service without a pool", "protocol = \"tcp\"\npool = \"raw\"\n", "protocol = \"tcp\"\n"),
        ("https without tls", "protocol = \"http\"", "protocol = \"https\""),
        ("tls without a certificate", "protocol = \"http\"", "protocol = \"https\"\ntls = {}"),
        (
            "a certificate without its key",
            "protocol = \"http\"",
            "protocol = \"https\"\ntls = { certificate = \"/a.pem\" }",
        ),
        (
            "names without an issuer",
            "protocol = \"http\"",
            "protocol = \"https\"\ntls = { certificate = \"/a.pem\", key = \"/a.key\", names = [\"a.example\"] }",
        ),
        ("thresholds of a group that stays", "communities =", "when-down = \"stay\"\ncommunities ="),
    ] {
        let text = with(from, to);
        assert!(Config::parse(&text, "f.toml").is_err(), "the reader accepts {why}");
        assert!(fits(&text).is_err(), "the schema accepts {why}");
    }
}

#[test]
fn unusual_spellings_that_are_accepted_fit_the_schema() {
    for (from, to) in [
        ("hold-time = \"9s\"", "hold-time = \"009000ms\""),
        ("hold-time = \"9s\"", "hold-time = \"0h\""),
        ("\"203.0.113.0/24\"", "\"203.0.113.0/024\""),
        ("\"10.1.0.10:8080\"", "\"10.1.0.10:008080\""),
        ("\"10.1.0.10:8080\"", "\"[fe80::1%3]:8080\""),
        ("\"10.1.0.10:8080\"", "\"[::ffff:10.1.0.10]:8080\""),
        ("\"64512:100\"", "\"064512:100\", \"no-export\""),
        ("local-as = 64512", "local-as = 0xFC00"),
        ("weight = 100", "weight = 1_000"),
        ("\"0660\"", "\"00600\""),
        ("mode =", "socket = \"/run/a\\nb\"\nmode ="),
        ("\"/v1\"", "\"/ä b/\""),
        ("\"api.example.com\"", "\"API.Example.com\""),
        ("\"api.example.com\"", "\"[2001:db8::1]\""),
        ("{ tcp = true }", "{ http = \"/?a=b\", expect = \" +200 - 0299\", host = \"a:+80\" }"),
        (
            "{ tcp = true }",
            "{ https = \"/\", tls = { server-name = \"2001:db8::1\" }, expect-header = \"x:\" }",
        ),
        ("{ tcp = true }", "{ dns = \"a_b.example.\" }"),
        ("{ tcp = true }", "{ grpc = \"\" }"),
        ("{ tcp = true }", "{ postgres = { user = \"an user\" } }"),
    ] {
        let text = with(from, to);
        Config::parse(&text, "f.toml").unwrap_or_else(|errors| panic!("{errors}"));
        fits(&text).unwrap_or_else(|why| panic!("{to}: {why}"));
    }
}
