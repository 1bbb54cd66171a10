//! What is said about each mistake: where, what, and what to do.

use std::fmt::Write as _;

use proxima_config::{Config, ConfigErrors};

mod common;

use common::{SOUND, with};

fn errors(text: &str) -> ConfigErrors {
    Config::parse(text, "proxima.toml").expect_err("the file is wrong")
}

/// A mistake made in the sound file, which has to give exactly one error.
struct Mistake {
    /// Text of the sound file; its first occurrence is replaced.
    from: &'static str,
    /// What it is replaced by. `«` is not part of it: the caret has to stand there.
    to: &'static str,
    message: &'static str,
    /// Empty where there is none.
    hint: &'static str,
}

const fn mistake(from: &'static str, to: &'static str, message: &'static str, hint: &'static str) -> Mistake {
    Mistake { from, to, message, hint }
}

#[rustfmt::skip]
const MISTAKES: &[Mistake] = &[
    // Keys and types.
    mistake("hold-time =", "«hold-tme =", "unknown key `hold-tme` in `bgp`",
        "did you mean `hold-time`? The keys here are `best-path`, `bmp`, `connect-retry`, `hold-time`, `listen`, `local-as`, `mrt`, `peers`"),
    mistake("[log]", "[«logs]", "unknown key `logs` in the file",
        "did you mean `log`? The keys here are `access-log`, `acme`, `admin`, `announce`, `bgp`, `catchment`, `data-plane`, `drain`, `limits`, `log`, `metrics`, `pools`, `pop`, `quic-lb`, `regions`, `services`"),
    mistake("[[bgp.peers]]", "«[bgp.peers]", "expected a list of tables, found a table", "write each as `[[bgp.peers]]`"),
    mistake("probe = { tcp = true }", "probe = «\"tcp\"", "expected a table, found a string", "write `[pools.raw.probe]` and its settings on the lines below"),
    mistake("[bgp]\nlocal-as = 64512\n", "«[bgp]\n", "`local-as` is missing in `bgp`", "add `local-as = 64512`"),
    mistake("[pools.raw]\nprobe = { tcp = true }\n", "«[pools.raw]\n", "`probe` is missing in `pools.raw`", "add `probe = { http = \"/healthz\" }` or `probe = { tcp = true }`"),
    mistake("name = \"fra1\"", "name = «5", "expected a string, found an integer", "write it in quotes: `\"5\"`"),
    mistake("prefixes = [\"203.0.113.0/24\", \"2001:db8:ac::/48\"]", "prefixes = «\"203.0.113.0/24\"", "expected a list, found a string", "write it in brackets, as in `[\"…\"]`"),
    mistake("services = [\"api\"]", "services = «[]", "`services` is empty", "name at least one, or leave the key out if it has a default"),
    mistake("[pools.raw]", "[data-plane]\nworkers = 2\n[pools.«\"r w\"]\nprobe = { tcp = true }\nbackends = [{ name = \"a\", region = \"eu\", address = \"10.0.0.9:1\" }]\n[pools.raw]",
        "`r w` can't be a name: use 1 to 63 letters, digits, `-`, `_` and `.`, beginning with a letter or a digit", ""),
    mistake("[admin]", "[data-plane]\nworkers = «0\n[admin]", "`0` is out of range", "write a whole number from 1 to 1024"),
    mistake("[admin]", "[data-plane]\ndistance = «\"bpg\"\n[admin]", "`bpg` is none of the choices", "did you mean `bgp`? The choices are `bgp`, `configured`, `rtt`"),
    mistake("[admin]", "[data-plane]\ndistance = «10\n[admin]", "expected a string, found an integer", "write it in quotes: `\"10\"`"),
    // Values.
    mistake("\"9s\"", "«9", "expected a duration, found an integer", "a duration has a unit; for seconds write `\"9s\"`"),
    mistake("\"9s\"", "«\"2s\"", "a hold time can't be 2s", "write \"0s\" for none, or whole seconds from \"3s\" to \"65535s\" (RFC 4271 §4.2)"),
    mistake("\"9s\"", "«\"3500ms\"", "a hold time can't be 3500ms", "write \"0s\" for none, or whole seconds from \"3s\" to \"65535s\" (RFC 4271 §4.2)"),
    mistake("\"10s\"", "«\"1.5s\"", "`1.5s` is not a duration", "write whole numbers: `\"1500ms\"`"),
    mistake("\"10s\"", "«\"10 sec\"", "`10 sec` is not a duration", "write a whole number and a unit, as in \"500ms\", \"9s\", \"5m\" or \"1h\""),
    mistake("\"10s\"", "«\"99h\"", "99h is out of range", "write 1ms to 24h"),
    mistake("\"192.0.2.11\"", "«\"0.0.0.0\"", "`0.0.0.0` can't be a BGP identifier (RFC 6286 §2.1)",
        "write it as an IPv4 address that no other router of the AS uses, as in \"192.0.2.11\""),
    mistake("remote-as = 65000", "remote-as = «0", "AS 0 is reserved (RFC 7607)", "write an AS number from 1 to 4294967294"),
    mistake("local-as = 64512", "local-as = «23456", "AS 23456 stands for AS numbers of four octets (RFC 6793) and is nobody's own",
        "write the real AS number, even if it is above 65535"),
    mistake("local-as = 64512", "local-as = «\"64512\"", "expected a whole number, found a string", "write a whole number from 0 to 4294967295, without quotes"),
    mistake("\"10.0.0.1\"", "«\"tor1.example\"", "`tor1.example` is not an IP address",
        "write an address such as \"192.0.2.1\" or \"2001:db8::1\"; names are not looked up here"),
    mistake("\"10.0.0.1\"", "«\"10.0.0.1:179\"", "`10.0.0.1:179` is not an IP address", "write the address alone; the port has its own key"),
    mistake("\"10.0.0.1\"", "«\"fe80::1%eth0\"", "`fe80::1%eth0` is not an IP address",
        "where an interface is asked for, it has its own key: `\"fe80::1\"` and `interface = \"eth0\"`"),
    mistake("\"10.0.0.1\"", "«\"224.0.0.5\"", "224.0.0.5 is a multicast address", "write the address of one host"),
    mistake("[\"ipv4\", \"ipv6\"]", "[\"ipv4\", «\"ip6\"]", "`ip6` is none of the choices", "did you mean `ipv6`? The choices are `ipv4`, `ipv6`"),
    mistake("\"203.0.113.0/24\"", "«\"203.0.113.0\"", "`203.0.113.0` has no prefix length; write `203.0.113.0/32` for one address", ""),
    mistake("\"203.0.113.0/24\"", "«\"203.0.113.1/24\"", "203.0.113.1/24 has host bits set; did you mean 203.0.113.0/24?", ""),
    mistake("\"2001:db8:ac::/48\"", "«\"::/0\"", "::/0 is every IPv6 address: announcing it would attract all traffic", "write the prefix that holds the service's addresses"),
    mistake("\"64512:100\"", "«\"64512:70000\"", "`64512:70000` is not a community; write two numbers from 0 to 65535 as in `64512:100`", ""),
    mistake("below = 0.8", "below = «80", "a share of capacity goes from 0 to 1", "for 80 % write `0.8`"),
    mistake("below = 0.8", "below = «-0.1", "a share of capacity goes from 0 to 1", "write a share from 0 to 1, as in `0.8`"),
    mistake("below = 0.4", "below = «0", "a threshold of 0 is never crossed: no score is below it",
        "write a share above 0; to keep health from withdrawing a group write `when-down = \"stay\"`"),
    mistake("\"203.0.113.1:80\"", "«\"203.0.113.1\"", "`203.0.113.1` is not an address and port", "add the port, as in `\"203.0.113.1:8080\"`"),
    mistake("\"[2001:db8:ac::1]:80\"", "«\"2001:db8:ac::1\"", "`2001:db8:ac::1` is not an address and port", "add the port, as in `\"[2001:db8:ac::1]:8080\"`"),
    mistake("\"10.1.0.10:8080\"", "«\"app.internal:8080\"", "`app.internal:8080` is not an address and port",
        "write address and port, as in \"192.0.2.1:8080\" or \"[2001:db8::1]:8080\"; names are not looked up"),
    mistake("\"10.1.0.10:8080\"", "«\"0.0.0.0:8080\"", "nothing can be reached at 0.0.0.0:8080", "write the address of one host"),
    mistake("\"203.0.113.1:5000\"", "«\"203.0.113.1:0\"", "the port is 0", "write a port from 1 to 65535"),
    mistake("weight = 100", "weight = «65536", "`65536` is out of range", "write a whole number from 0 to 65535"),
    mistake("tier = 1", "tier = «-1", "`-1` is out of range", "write a whole number from 0 to 255"),
    mistake("balance = \"least-request\"", "protocol = «\"h4\"", "`h4` is none of the choices", "did you mean `h2`? The choices are `h2`, `h3`, `http/1.1`"),
    mistake("balance = \"least-request\"", "protocol = «\"h3\"", "HTTP/3 is spoken over TLS only, and the pool has no `tls`",
        "add `tls = true`, or the table with a `ca-file`"),
    mistake("[services.raw]\n", "[pools.quick]\nprotocol = \"h3\"\ntls = true\nprobe = { http = \"/\", via = «\"service\" }\nbackends = [{ name = \"a\", region = \"eu\", address = \"10.0.0.9:1\" }]\n[services.raw]\n",
        "`via = \"service\"` is a way over TCP, and the pool has `protocol = \"h3\"`",
        "remove `via`, and probe with `https` of version \"3\", which goes the same way as requests do"),
    mistake("[pools.raw]\n", "[pools.raw]\nprotocol = «\"h2\"\n", "`services.raw` relays bytes to this pool, whatever they speak",
        "leave `protocol` out, or give the service a pool of its own"),
    mistake("\"least-request\"", "«\"least-requests\"", "`least-requests` is none of the choices", "did you mean `least-request`? The choices are `least-request`, `round-robin`"),
    mistake("\"/healthz\"", "«\"healthz\"", "`healthz` can't be asked for", "write a path that begins with `/`, as in \"/healthz\", other characters percent-encoded"),
    mistake("\"POST\"", "«\"post\"", "`post` is not `POST`: methods are case-sensitive", "write \"POST\""),
    mistake("\"api.example.com\"", "«\"api.example.com:80\"", "`api.example.com:80` is not a host", "write it without the port: `\"api.example.com\"`"),
    mistake("\"/v1\"", "«\"/v1/../x\"", "`/v1/../x` never matches", "paths are matched with `//`, `.` and `..` resolved: write it without them"),
    mistake("\"0660\"", "«\"0666\"", "everyone on this host could drain the PoP", "let the mode end with 0, as in \"0660\", and name those who may with `group`"),
    mistake("\"0660\"", "«\"0060\"", "the owner could not use the socket", "let the mode begin with 6, as in \"0660\""),
    mistake("\"0660\"", "«660", "expected a string, found an integer", "write permission bits as a string of octal digits, as in \"0660\""),
    mistake("\"0660\"", "«\"rw-rw----\"", "`rw-rw----` is not a mode", "write permission bits as a string of octal digits, as in \"0660\""),
    mistake("mode =", "socket = «\"admin.sock\"\nmode =", "`admin.sock` is not an absolute path of a file", "write one such as \"/run/proximad/admin.sock\""),
    mistake("\"info\"", "«\"verbose\"", "`verbose` is none of the choices", "the choices are `debug`, `error`, `info`, `trace`, `warn`"),
    // References.
    mistake("region = \"eu\"", "region = «\"eur\"", "there is no region `eur`", "did you mean `eu`? The regions are `eu`, `us-east`"),
    mistake("region = \"us-east\"", "region = «\"us-west\"", "there is no region `us-west`", "did you mean `us-east`? The regions are `eu`, `us-east`"),
    mistake("services = [\"api\"]", "services = [«\"apo\"]", "there is no service `apo`", "did you mean `api`? The services are `api`, `raw`"),
    mistake("pool = \"raw\"", "pool = «\"row\"", "there is no pool `row`", "did you mean `raw`? The pools are `app`, `raw`"),
    mistake("allow = [\"EU\"]", "allow = [\"EU\", «\"CH\"]", "there is no jurisdiction `CH`", "the jurisdictions are `EU`, `US`"),
    // BGP.
    mistake("families = [\"ipv4\", \"ipv6\"]\nnext-hop-ipv6 = \"fd00::11\"\n", "families = «[\"ipv4\", \"ipv6\"]\n", "ipv6 routes on an ipv4 session need a next hop",
        "add `next-hop-ipv6 = \"…\"` with the ipv6 address of this host towards the peer"),
    mistake("next-hop-ipv6 = \"fd00::11\"", "next-hop-ipv6 = «\"10.0.0.2\"", "10.0.0.2 is not an IPv6 address", "write an IPv6 address here"),
    mistake("remote-as = 65000", "remote-as = 65000\nsource = «\"fd00::12\"", "fd00::12 can't be the source of a session with 10.0.0.1", "write an ipv4 address of this host"),
    mistake("[announce.web]", "[[bgp.peers]]\nname = «\"tor1\"\naddress = \"10.0.0.2\"\nremote-as = 65000\n[announce.web]", "two peers are named `tor1`", "give each peer its own name"),
    mistake("[announce.web]", "[[bgp.peers]]\nname = \"tor2\"\naddress = «\"10.0.0.1\"\nremote-as = 65000\n[announce.web]", "peer `tor1` has the address 10.0.0.1 already",
        "one session per address: put both families on it with `families = [\"ipv4\", \"ipv6\"]`"),
    mistake("hold-time = \"9s\"\n[[bgp.peers]]\nname = \"tor1\"\naddress = \"10.0.0.1\"",
        "listen = [\"10.0.0.2:179\"]\n[[bgp.peers]]\nname = \"tor0\"\naddress = \"10.0.0.1\"\nport = 1790\nremote-as = 65000\n[[bgp.peers]]\nname = \"tor1\"\naddress = «\"10.0.0.1\"",
        "peer `tor0` has the address 10.0.0.1 already", "one session per address: put both families on it with `families = [\"ipv4\", \"ipv6\"]`"),
    mistake("[announce.web]", "[[bgp.peers]]\nname = \"tor2\"\naddress = \"10.0.0.2\"\nremote-as = 65000\nnext-hop-ipv6 = «\"fd00::12\"\n[announce.web]",
        "`next-hop-ipv6` is given, but the session does not carry ipv6", "add \"ipv6\" to `families`, or remove `next-hop-ipv6`"),
    mistake("families = [\"ipv4\", \"ipv6\"]\nnext-hop-ipv6 = \"fd00::11\"\n\n[announce.web]\nprefixes = [\"203.0.113.0/24\", \"2001:db8:ac::/48\"]", "\n[announce.web]\nprefixes = [\"203.0.113.0/24\", «\"2001:db8:ac::/48\"]",
        "no peer carries ipv6, so 2001:db8:ac::/48 would never be announced", "add \"ipv6\" to the `families` of a peer"),
    mistake("[bgp]\nlocal-as = 64512\nhold-time = \"9s\"\n[[bgp.peers]]\nname = \"tor1\"\naddress = \"10.0.0.1\"\nremote-as = 65000\nfamilies = [\"ipv4\", \"ipv6\"]\nnext-hop-ipv6 = \"fd00::11\"\n", "«[bgp]\nlocal-as = 64512\n",
        "there is something to announce, but no peer to announce it to", "add `[[bgp.peers]]` with `name`, `address` and `remote-as`"),
    // Where a peer is.
    mistake("[[bgp.peers]]\nname = \"tor1\"\naddress = \"10.0.0.1\"\n", "«[[bgp.peers]]\nname = \"tor1\"\n", "`address` is missing in `bgp.peers[0]`",
        "add `address = \"10.0.0.1\"`, `range = \"10.0.0.0/24\"` for whoever connects from there, or `interface = \"eth0\"` for the one router on a link"),
    mistake("remote-as = 65000", "range = «\"10.0.0.0/24\"\nremote-as = 65000", "`range` has no place beside `address`",
        "an `address` is one host, a `range` takes whoever connects: keep one of the two"),
    mistake("address = \"10.0.0.1\"", "range = \"10.0.0.0/24\"\ninterface = «\"eth0\"", "`interface` has no place beside `range`",
        "connections from a range are taken on every interface: remove one of the two"),
    mistake("address = \"10.0.0.1\"", "range = \"10.0.0.0/24\"\nport = «1790", "`port` has no place beside `range`",
        "a range waits to be connected to, it never connects: remove the key"),
    mistake("address = \"10.0.0.1\"", "range = \"10.0.0.0/24\"\nsource = «\"10.0.0.11\"", "`source` has no place beside `range`",
        "a range waits to be connected to, it never connects: remove the key"),
    mistake("address = \"10.0.0.1\"", "range = \"10.0.0.0/24\"\npassive = «false", "`passive = false` has no place beside `range`",
        "a range waits to be connected to, it never connects: remove the key"),
    mistake("address = \"10.0.0.1\"", "address = \"10.0.0.1\"\nmax-peers = «5", "`max-peers` has no place beside a single peer",
        "it limits how many peers a `range` makes: remove it"),
    mistake("address = \"10.0.0.1\"", "range = «\"10.0.0.1/24\"", "10.0.0.1/24 has host bits set; did you mean 10.0.0.0/24?", ""),
    mistake("\"10.0.0.1\"", "«\"fe80::1\"\nnext-hop-ipv4 = \"10.0.0.11\"", "fe80::1 is link-local and means nothing without an interface",
        "add `interface = \"eth0\"` with the interface it is reached by, or write `interface` alone to find the router by its advertisements"),
    mistake("address = \"10.0.0.1\"", "interface = «\"a-name-of-sixteen\"\nnext-hop-ipv4 = \"10.0.0.11\"", "`a-name-of-sixteen` can't be an interface",
        "write a name of at most 15 characters, as `ip link` shows it"),
    mistake("address = \"10.0.0.1\"", "interface = \"eth0\"\nsource = «\"10.0.0.11\"\nnext-hop-ipv4 = \"10.0.0.11\"", "10.0.0.11 can't be the source of a session with a link-local address on eth0",
        "write an ipv6 address of this host"),
    mistake("address = \"10.0.0.1\"\nremote-as = 65000\nfamilies = [\"ipv4\", \"ipv6\"]\nnext-hop-ipv6 = \"fd00::11\"", "interface = \"eth0\"\nremote-as = 65000\nfamilies = «[\"ipv4\", \"ipv6\"]", "ipv4 routes on an ipv6 session need a next hop",
        "add `next-hop-ipv4 = \"…\"` with the ipv4 address of this host towards the peer, or `extended-next-hop = true` where the peer knows RFC 8950"),
    mistake("\"10.0.0.1\"", "\"2001:db8::1\"\nsource = «\"fe80::2\"\nnext-hop-ipv4 = \"10.0.0.11\"", "fe80::2 is link-local and means nothing without an interface",
        "write a global or unique local address of this host, or add `interface`"),
    mistake("\"10.0.0.1\"", "«\"::ffff:10.0.0.1\"", "::ffff:10.0.0.1 is an IPv4 address in the clothes of IPv6", "write the address of one host"),
    mistake("[announce.web]", "[[bgp.peers]]\nname = \"l1\"\ninterface = \"eth0\"\nremote-as = 65000\n[[bgp.peers]]\nname = \"l2\"\ninterface = «\"eth0\"\nremote-as = 65000\n[announce.web]",
        "peer `l1` has the interface eth0 already", "give each peer its own `interface`"),
    mistake("[announce.web]", "[[bgp.peers]]\nname = \"r1\"\nrange = \"10.9.0.0/16\"\nremote-as = 65000\n[[bgp.peers]]\nname = \"r2\"\nrange = «\"10.9.0.0/16\"\nremote-as = 65001\n[announce.web]",
        "peer `r1` has the range 10.9.0.0/16 already", "give each peer its own `range`"),
    mistake("\"tor1\"", "«\"racks/10.0.0.7\"", "`racks/10.0.0.7` is how a member of the range `racks` is called", "write a name without `/`"),
    // How a session is held.
    mistake("remote-as = 65000", "remote-as = 65000\nhold-time = «\"2s\"", "a hold time can't be 2s", "write \"0s\" for none, or whole seconds from \"3s\" to \"65535s\" (RFC 4271 §4.2)"),
    mistake("remote-as = 65000", "remote-as = 65000\nconnect-retry = «\"1ms\"", "1ms is out of range", "write 10ms to 1h"),
    mistake("remote-as = 65000", "remote-as = 65000\nmax-prefixes = «0", "`0` is out of range", "write a whole number from 1 to 4294967295"),
    mistake("remote-as = 65000", "remote-as = 65000\nmax-prefixes = «{ warn-at = 50 }", "`limit` is missing in `bgp.peers[0].max-prefixes`", "add `limit = 10000`"),
    mistake("remote-as = 65000", "remote-as = 65000\nmax-prefixes = { limit = 5, warn-at = «101 }", "`101` is out of range", "write a whole number from 1 to 100"),
    mistake("remote-as = 65000", "remote-as = 65000\nmax-prefixes = { limit = 5, action = «\"drop\" }", "`drop` is none of the choices", "the choices are `close`, `discard`, `warn`"),
    mistake("remote-as = 65000", "remote-as = 65000\nmax-prefixes = { limit = 5, action = \"warn\", restart = «\"5m\" }", "`restart` has no place beside `action = \"warn\"`",
        "the session is not closed, so there is nothing to restart: remove it, or write `action = \"close\"`"),
    mistake("remote-as = 65000", "remote-as = 65000\nmax-prefixes = { limit = 5, restart = «\"5m\" }", "`restart` has no place beside `action = \"discard\"`",
        "the session is not closed, so there is nothing to restart: remove it, or write `action = \"close\"`"),
    mistake("remote-as = 65000", "remote-as = 65000\npassword-file = «\"tor1.md5\"", "`tor1.md5` is not an absolute path", "begin it with /, as in \"/etc/proxima/secret.key\""),
    mistake("remote-as = 65000", "remote-as = 65000\nttl-security = «255", "`255` is out of range", "write a whole number from 1 to 254"),
    mistake("remote-as = 65000", "remote-as = 65000\nmultihop = «1", "`1` is out of range", "write a whole number from 2 to 255"),
    mistake("remote-as = 65000", "remote-as = 65000\nttl-security = 1\nmultihop = «4", "`multihop` has no place beside `ttl-security`",
        "with GTSM packets leave with TTL 255 whatever the distance: give the distance as `ttl-security = HOPS` and remove `multihop`"),
    mistake("address = \"10.0.0.1\"", "interface = \"eth0\"\nextended-next-hop = true\nmultihop = «4", "`multihop` has no place beside a link-local session",
        "no router forwards link-local packets: remove `multihop`"),
    mistake("remote-as = 65000", "remote-as = 64512\nttl-security = «1", "`ttl-security` has no place beside an internal session (`remote-as` is the own AS)",
        "internal peers may be any number of hops away: remove it, and use `password-file` to keep others out"),
    mistake("remote-as = 65000", "remote-as = 65000\ntcp-user-timeout = «\"2h\"", "2h is out of range", "write 100ms to 1h"),
    mistake("remote-as = 65000", "remote-as = 65000\nrole = «\"transit\"", "`transit` is none of the choices", "the choices are `customer`, `peer`, `provider`, `route-server`, `route-server-client`"),
    mistake("remote-as = 65000", "remote-as = 65000\nrole-strict = «true", "`role-strict` is given without `role`",
        "add `role`, which is what this side is to the peer: `provider`, `customer`, `peer`, …"),
    mistake("remote-as = 65000", "remote-as = 64512\nrole = «\"customer\"", "`role` has no place beside an internal session (`remote-as` is the own AS)",
        "roles are between ASes (RFC 9234): remove it, or correct `remote-as`"),
    mistake("remote-as = 65000", "remote-as = 64512\nenforce-first-as = «true", "`enforce-first-as` has no place beside an internal session (`remote-as` is the own AS)",
        "internal peers do not add their AS to a path: remove it"),
    mistake("remote-as = 65000", "remote-as = 65000\ngraceful-restart = «true", "expected a table, found a boolean", "write `[bgp.peers.graceful-restart]` and its settings on the lines below"),
    mistake("remote-as = 65000", "remote-as = 65000\ngraceful-restart = { restart-time = «\"4096s\" }", "4096s is out of range", "write 1s to 4095s"),
    mistake("remote-as = 65000", "remote-as = 65000\ngraceful-restart = { restart-time = «\"1500ms\" }", "1500ms is no whole number of seconds", "write whole seconds"),
    mistake("families = [\"ipv4\", \"ipv6\"]\nnext-hop-ipv6 = \"fd00::11\"\n", "[[bgp.peers]]\nname = \"six\"\naddress = \"fd00::1\"\nremote-as = 65000\nextended-next-hop = «true\n",
        "`extended-next-hop` is for IPv4 routes, and the session does not carry ipv4", "add \"ipv4\" to `families`, or remove `extended-next-hop` (RFC 8950)"),
    mistake("remote-as = 65000", "remote-as = 65000\nshutdown = «true", "expected a string, found a boolean", "write why, for the peer's operator: `\"maintenance\"`"),
    // BFD.
    mistake("remote-as = 65000", "remote-as = 65000\nbfd = { interval = «\"9ms\" }", "9ms is out of range", "write 10ms to 1m"),
    mistake("remote-as = 65000", "remote-as = 65000\nbfd = { multiplier = «1 }", "`1` is out of range", "write a whole number from 2 to 255"),
    mistake("remote-as = 65000", "remote-as = 65000\nbfd = { auth-key-id = «7 }", "`auth-key-id` is given without `auth-key-file`",
        "add `auth-key-file = \"/etc/proxima/bfd.key\"`, or remove the number"),
    mistake("remote-as = 65000", "remote-as = 65000\nmultihop = 4\nbfd = { least-ttl = «0 }", "`0` is out of range", "write a whole number from 1 to 255"),
    mistake("remote-as = 65000", "remote-as = 65000\nbfd = { least-ttl = «254 }", "`least-ttl` has no place beside single-hop BFD, which takes packets with TTL 255 only",
        "remove it, or set `multihop` for the peer"),
    mistake("remote-as = 65000", "remote-as = 65000\nmultihop = 4\nbfd = { multihop = «false }", "single-hop BFD takes packets with TTL 255 only, and the peer is some hops away",
        "remove `multihop` here: it follows the `multihop` of the peer"),
    mistake("remote-as = 65000", "remote-as = 65000\nttl-security = 1\nbfd = { multihop = «true }", "the peer is the next hop by its `ttl-security = 1`",
        "remove `multihop`, or correct `ttl-security`"),
    mistake("address = \"10.0.0.1\"", "interface = \"eth0\"\nextended-next-hop = true\nbfd = { multihop = «true }", "no router forwards the packets of a link-local session", "remove `multihop`"),
    // Those who watch.
    mistake("[announce.web]", "[[bgp.bmp]]\nname = \"c\"\naddress = «\"collector:11019\"\n[announce.web]", "`collector:11019` is not an address and port",
        "write address and port, as in \"192.0.2.1:8080\" or \"[2001:db8::1]:8080\"; names are not looked up"),
    mistake("[announce.web]", "[[bgp.bmp]]\nname = \"c\"\naddress = \"192.0.2.50:11019\"\nstatistics = «\"10ms\"\n[announce.web]", "10ms is out of range", "write 1s to 24h, or \"0s\" for no reports"),
    mistake("[announce.web]", "[[bgp.bmp]]\nname = \"c\"\naddress = \"192.0.2.50:1\"\n[[bgp.bmp]]\nname = «\"c\"\naddress = \"192.0.2.50:2\"\n[announce.web]", "two stations are named `c`", "give each station its own name"),
    mistake("[announce.web]", "[[bgp.bmp]]\nname = \"c\"\naddress = \"192.0.2.50:1\"\n[[bgp.bmp]]\nname = \"d\"\naddress = «\"192.0.2.50:1\"\n[announce.web]", "two stations have the address 192.0.2.50:1",
        "a station is told everything once: remove one of the two"),
    mistake("[announce.web]", "«[bgp.mrt]\ninterval = \"5m\"\n[announce.web]", "`directory` is missing in `bgp.mrt`", "add `directory = \"/var/lib/proximad/mrt\"`"),
    mistake("local-as = 64512", "local-as = 64512\nbest-path = { «always-compare-meds = true }", "unknown key `always-compare-meds` in `bgp.best-path`",
        "did you mean `always-compare-med`? The keys here are `always-compare-med`, `ignore-as-path-length`, `missing-med-worst`, `prefer-oldest`"),
    // Announcement.
    mistake("\"2001:db8:ac::/48\"", "\"2001:db8:ac::/48\", «\"203.0.113.0/24\"", "`203.0.113.0/24` is listed twice", "remove one of the two"),
    mistake("\"203.0.113.0/24\"", "\"203.0.113.0/24\", «\"127.0.0.0/24\"", "127.0.0.0/24 is never routed: 127.0.0.0/8 is for loopback addresses",
        "write the prefix that holds the service's addresses"),
    mistake("\"2001:db8:ac::/48\"", "\"2001:db8:ac::/48\", «\"fe80::/9\"", "fe80::/9 is never routed: fe80::/10 is for link-local addresses",
        "write the prefix that holds the service's addresses"),
    mistake("address = \"10.0.0.1\"", "address = «\"203.0.113.9\"", "203.0.113.9 is inside 203.0.113.0/24, all of which becomes local to this host: the peer could not be reached",
        "correct the address, or write `vip = \"none\"` in `announce.web`"),
    mistake("\"10.1.0.10:9000\"", "«\"203.0.113.1:80\"", "203.0.113.1:80 is where `services.api` listens itself",
        "its probes would always pass, and its requests come back here: write the app's own address"),
    mistake("[services.api]", "[announce.more]\nprefixes = [«\"203.0.113.0/25\"]\nservices = [\"api\"]\n[services.api]", "203.0.113.0/25 overlaps 203.0.113.0/24 of `announce.web`",
        "each address belongs to one group, or withdrawing one would leave the other attracting its traffic"),
    mistake("[services.api]", "[announce.more]\nprefixes = [«\"203.0.113.0/24\"]\nservices = [\"api\"]\n[services.api]", "203.0.113.0/24 is announced by `announce.web` already",
        "each address belongs to one group, or withdrawing one would leave the other attracting its traffic"),
    mistake("below = 0.8\nabove = 0.9", "below = «0.95\nabove = 0.9", "`below = 0.95` is more than `above = 0.9`",
        "the state is entered below the one and left at the other: `above` is the higher, or both are the same"),
    mistake("below = 0.8\nabove = 0.9", "below = «0.3\nabove = 0.9", "the group would be withdrawn before it is de-preferred: `withdrawn` has `below = 0.4`",
        "write at least 0.4 here, or lower `announce.web.withdrawn`"),
    mistake("below = 0.4\nabove = 0.6", "below = «0.4", "`below` is given without `above`", "hysteresis needs both thresholds: add `above`"),
    mistake("[announce.web.degraded]\nbelow = 0.8\nabove = 0.9\nprepend = 2\n", "«[announce.web.degraded]\nbelow = 0.8\nabove = 0.9\n",
        "the degraded state is announced just like the healthy one", "add `prepend`, `med`, `local-pref` or `communities` that make it less attractive"),
    mistake("[announce.web.degraded]\nbelow = 0.8\nabove = 0.9\nprepend = 2", "prepend = 3\n[announce.web.degraded]\nbelow = 0.8\nabove = 0.9\nprepend = «2",
        "a shorter path attracts more traffic, and the healthy state has prepend 3", "write at least 3"),
    mistake("[announce.web.degraded]\nbelow = 0.8\nabove = 0.9\nprepend = 2", "med = 50\n[announce.web.degraded]\nbelow = 0.8\nabove = 0.9\nprepend = 2\nmed = «0",
        "a lower MED attracts more traffic, and the healthy state has 50", "write at least 50"),
    mistake("[announce.web.degraded]\nbelow = 0.8\nabove = 0.9\nprepend = 2", "[announce.web.degraded]\nbelow = 0.8\nabove = 0.9\nprepend = 2\nlocal-pref = «101",
        "a higher LOCAL_PREF attracts more traffic, and the healthy state has 100", "write at most 100"),
    mistake("[announce.web.degraded]\nbelow = 0.8\nabove = 0.9\nprepend = 2\n[announce.web.withdrawn]", "when-down = \"stay\"\n[announce.web.«withdrawn]",
        "`withdrawn` has no place beside `when-down = \"stay\"`", "health never withdraws this group: remove the section, or `when-down`"),
    mistake("\"2001:db8:ac::/48\"", "\"2001:db8:ac::/48\", «\"198.51.100.0/24\"", "no service listens inside 198.51.100.0/24: its traffic would find nobody",
        "add an address of it to the `listen` of a service, or write `vip = \"none\"` if others serve it"),
    mistake("services = [\"api\"]\n", "services = [«\"far\", \"api\"]\n[services.far]\nlisten = [\"192.0.2.1:80\"]\nprotocol = \"tcp\"\npool = \"app\"\n[announce.more]\nvip = \"none\"\nprefixes = [\"192.0.2.0/24\"]\nservices = [\"far\"]\n",
        "service `far` listens on no address of this group", "add an address inside `prefixes` to its `listen`, or write `vip = \"none\"`"),
    mistake("services = [\"api\"]\n", "services = [\"api\", «\"far\"]\n[pools.far]\nprobe = { tcp = true }\nbackends = [{ name = \"a\", region = \"us-east\", address = \"10.0.0.9:1\" }, { name = \"b\", region = \"eu\", address = \"10.0.0.8:1\", weight = 0 }]\n[services.far]\nlisten = [\"203.0.113.2:80\"]\nprotocol = \"tcp\"\npool = \"far\"\n[announce.more]\nvip = \"none\"\nprefixes = [\"192.0.2.0/24\"]\nservices = [\"api\"]\n",
        "service `far` has no backend in the own region `eu`: the score would always be 0", "add a backend of the own region with a weight above 0 to its pools, or gate the group by another service"),
    mistake("prepend = 2\n", "prepend = 2\nslo = «{ window = \"30s\" }\n", "the SLO has no limit, so nothing would breach it", "add `p95 = \"100ms\"`, `error-rate = 0.02`, or both"),
    mistake("prepend = 2\n", "prepend = 2\nslo = { p95 = «\"0ms\" }\n", "0s is out of range", "write 1ms to 10m"),
    mistake("prepend = 2\n", "prepend = 2\nslo = { error-rate = «2 }\n", "a share of requests goes from 0 to 1", "for 2 % write `0.02`"),
    mistake("prepend = 2\n", "prepend = 2\nslo = { error-rate = «\"2%\" }\n", "a share of requests goes from 0 to 1", "write a share from 0 to 1, as in `0.02`, without quotes"),
    mistake("prepend = 2\n", "prepend = 2\nslo = { error-rate = «0.0 }\n", "with an error rate of 0, any single failure would be a breach", "write a share between 0 and 1, as in `0.02`"),
    mistake("prepend = 2\n", "prepend = 2\nslo = { error-rate = «1 }\n", "with an error rate of 1, nothing would ever be a breach", "write a share between 0 and 1, as in `0.02`"),
    mistake("prepend = 2\n", "prepend = 2\nslo = { p95 = \"1s\", window = «\"1s\" }\n", "1s is out of range", "write 5s to 1h"),
    mistake("prepend = 2\n", "prepend = 2\nslo = { p95 = \"1s\", min-requests = «0 }\n", "`0` is out of range", "write a whole number from 1 to 1000000000"),
    mistake("prepend = 2\n", "prepend = 2\nslo = { p95 = \"1s\", «p99 = \"2s\" }\n", "unknown key `p99` in `announce.web.degraded.slo`",
        "did you mean `p95`? The keys here are `error-rate`, `min-requests`, `p95`, `window`"),
    mistake("hold-down = \"2s\"", "hold-down = \"2s\"\nmin-up = «\"25h\"", "25h is out of range", "write 0s to 24h"),
    mistake("[announce.web]\n", "[announce.web]\ndamping = «\"never\"\n", "this is neither damping nor none", "write `damping = \"none\"`, or its settings, as in `damping = { suppress = 3.0 }`"),
    mistake("[announce.web]\n", "[announce.web]\ndamping = «3\n", "this is neither damping nor none", "write `damping = \"none\"`, or its settings, as in `damping = { suppress = 3.0 }`"),
    mistake("[services.api]", "[announce.web.damping]\nsuppress = «0\n[services.api]", "the penalty is out of range", "each flap adds 1: write a number above 0, up to 1000, as in `3.0`"),
    mistake("[services.api]", "[announce.web.damping]\nreuse = «\"1\"\n[services.api]", "expected a number, found a string", "each flap adds 1: write a number above 0, up to 1000, as in `3.0`"),
    mistake("[services.api]", "[announce.web.damping]\nsuppress = 2.0\nreuse = «2.0\n[services.api]", "`reuse = 2` is not less than `suppress = 2`",
        "a group is held back from `suppress` on until its penalty has fallen to `reuse`"),
    mistake("[services.api]", "[announce.web.damping]\nsuppress = «0.5\n[services.api]", "`reuse = 1` is not less than `suppress = 0.5`",
        "a group is held back from `suppress` on until its penalty has fallen to `reuse`"),
    mistake("[services.api]", "[announce.web.damping]\nhalf-life = «\"10ms\"\n[services.api]", "10ms is out of range", "write 1s to 24h"),
    mistake("[services.api]", "[announce.web.damping]\nhalf-life = \"5m\"\nmax-suppress = «\"1m\"\n[services.api]", "1m is less than the half-life of 5m: the penalty would hardly matter",
        "write at least 5m, or shorten `half-life`"),
    mistake("[services.api]", "«[announce.web.guard]\nmin-announcers = 1\n[services.api]", "`observe` is missing in `announce.web.guard`", "add `observe = [\"rr1\"]`"),
    mistake("[services.api]", "[announce.web.guard]\nobserve = [«\"tor2\"]\n[services.api]", "there is no peer `tor2`", "did you mean `tor1`? The peers are `tor1`"),
    mistake("[services.api]", "[announce.web.guard]\nobserve = [\"tor1\", «\"tor1\"]\n[services.api]", "`tor1` is listed twice", "remove one of the two"),
    mistake("[services.api]", "[announce.web.guard]\nobserve = «[]\n[services.api]", "`observe` is empty", "name at least one, or leave the key out if it has a default"),
    mistake("[services.api]", "[announce.web.guard]\nobserve = [\"tor1\"]\nmin-announcers = «0\n[services.api]", "`0` is out of range", "write a whole number from 1 to 255"),
    mistake("[services.api]", "[announce.web.guard]\nobserve = [\"tor1\"]\nquiet = «\"1h\"\n[services.api]", "1h is out of range", "write 100ms to 10m"),
    mistake("[announce.web]", "[[bgp.peers]]\nname = \"rr1\"\naddress = \"10.0.0.9\"\nremote-as = 64512\n[announce.web.guard]\nobserve = «[\"rr1\"]\n[announce.web]",
        "none of these peers carries ipv6, so nobody else would ever be seen to announce 2001:db8:ac::/48", "observe a peer with \"ipv6\" in its `families` too"),
    mistake("[announce.web.degraded]\nbelow = 0.8\nabove = 0.9\nprepend = 2\n[announce.web.withdrawn]\nbelow = 0.4\nabove = 0.6\nhold-down = \"2s\"\n", "when-down = \"stay\"\n[announce.web.«guard]\nobserve = [\"tor1\"]\n",
        "`guard` has no place beside `when-down = \"stay\"`", "health never withdraws this group: remove the section, or `when-down`"),
    mistake("communities = [\"64512:100\"]", "communities = [\"64512:100\"]\ndead-man = «\"500ms\"", "500ms is out of range", "write 1s to 24h, or \"0s\" for never"),
    mistake("communities = [\"64512:100\"]", "communities = [\"64512:100\"]\ndead-man = «\"1s\"", "the probes that gate the group may be 1600ms apart, so it would be withdrawn in plain life",
        "write more than 1600ms, better three times as much, or \"0s\" for never"),
    mistake("[admin]", "[limits]\nwithdrawals = «{ most = 2 }\n[admin]", "`within` is missing in `limits.withdrawals`", "add `within = \"60s\"`"),
    mistake("[admin]", "[limits]\nwithdrawals = { most = «0, within = \"60s\" }\n[admin]", "`0` is out of range", "write a whole number from 1 to 1000"),
    mistake("[admin]", "[limits]\nwithdrawals = { most = 2, within = «\"1ms\" }\n[admin]", "1ms is out of range", "write 1s to 24h"),
    mistake("[admin]", "[limits]\n«withdrawal = { most = 2, within = \"60s\" }\n[admin]", "unknown key `withdrawal` in `limits`", "did you mean `withdrawals`? The keys here are `body-rate`, `connections-per-ip`, `withdrawals`"),
    // The access log.
    mistake("[admin]", "«[access-log]\nquery = true\n[admin]", "`to` is missing in `access-log`", "add `to = \"/var/log/proximad/access.log\"`"),
    mistake("[admin]", "[access-log]\nto = «\"access.log\"\n[admin]", "`access.log` is not an absolute path of a file", "write one such as \"/var/log/proximad/access.log\", or \"stdout\""),
    mistake("[admin]", "[access-log]\nto = «true\n[admin]", "expected a string, found a boolean", ""),
    mistake("[admin]", "[access-log]\nto = \"stdout\"\nsample = «0\n[admin]", "a sample is a share of all", "write a share above 0, up to 1, as in `0.1` for every tenth"),
    mistake("[admin]", "[access-log]\nto = \"stdout\"\nsample = «\"10%\"\n[admin]", "expected a number, found a string", "write a share above 0, up to 1, as in `0.1` for every tenth"),
    mistake("[admin]", "[limits]\nconnections-per-ip = «100\n[admin]", "expected a table, found an integer", "write `[limits.connections-per-ip]` and its settings on the lines below"),
    mistake("[admin]", "[limits]\nconnections-per-ip = «{ ipv6-prefix = 56 }\n[admin]", "`most` is missing in `limits.connections-per-ip`", "add `most = 1000`"),
    mistake("[admin]", "[limits]\nconnections-per-ip = { most = «0 }\n[admin]", "`0` is out of range", "write a whole number from 1 to 1000000"),
    mistake("[admin]", "[limits]\nconnections-per-ip = { most = 5, ipv6-prefix = «129 }\n[admin]", "`129` is out of range", "write a whole number from 32 to 128"),
    mistake("[admin]", "[limits]\nconnections-per-ip = { most = 5, exempt = [«\"10.0.0.1\"] }\n[admin]", "`10.0.0.1` has no prefix length; write `10.0.0.1/32` for one address", ""),
    mistake("[admin]", "[limits]\nconnections-per-ip = { most = 5, exempt = [\"10.0.0.0/8\", «\"10.0.0.0/8\"] }\n[admin]", "`10.0.0.0/8` is listed twice", "remove one of the two"),
    mistake("[admin]", "[limits]\nbody-rate = { request = «2000000 }\n[admin]", "`2000000` is out of range", "write a whole number from 0 to 1000000"),
    mistake("[admin]", "[limits]\nbody-rate = { grace = «\"0s\" }\n[admin]", "0s is out of range", "write 1s to 1h"),
    mistake("communities = [\"64512:100\"]", "large-communities = [«\"64512:100\"]", "`64512:100` is not a large community; write three numbers from 0 to 4294967295 as in `64512:1:2`", ""),
    mistake("communities = [\"64512:100\"]", "large-communities = [\"64512:7:1\", «\"64512:2:1\"]", "`64512:2:1` is a mark by which PoPs tell each other apart",
        "a `guard` sets `LOCAL-AS:1:…` and `LOCAL-AS:2:…` itself: use other numbers"),
    // Services and pools.
    mistake("\"tcp\"", "«\"udp\"", "`udp` is none of the choices", "the choices are `http`, `https`, `tcp`"),
    mistake("pool = \"raw\"", "pool = \"raw\"\ntimeouts = { «first-byte = \"1s\" }", "`first-byte` has no place in a TCP service", "a TCP service has `connect` and `idle`"),
    mistake("pool = \"raw\"", "pool = \"raw\"\n«routes = [{ pool = \"raw\" }]", "`routes` has no place in a TCP service", "a TCP service sees no requests: name its `pool` directly, or write `protocol = \"http\"`"),
    mistake("protocol = \"http\"", "protocol = \"http\"\n«pool = \"app\"", "`pool` has no place in an HTTP service", "write it in a route: `[[services.api.routes]]`"),
    mistake("[services.raw]\nlisten = [\"203.0.113.1:5000\"]\nprotocol = \"tcp\"\npool = \"raw\"\n", "«[services.raw]\nlisten = [\"203.0.113.1:5000\"]\nprotocol = \"http\"\n",
        "`routes` is missing in `services.raw`", "add `[[services.raw.routes]]` with `pool`"),
    // TLS of services.
    mistake("protocol = \"http\"\n", "protocol = \"http\"\n«http3 = false\n", "`http3` has no place in a service of plain HTTP", "write `protocol = \"https\"`"),
    mistake("protocol = \"http\"", "protocol = \"https\"\nhttp3 = «\"no\"\ntls = { certificate = \"/a.pem\", key = \"/a.key\" }", "expected a boolean, found a string", "write `true` or `false`, without quotes"),
    mistake("protocol = \"http\"\n", "protocol = \"http\"\n«tls = {}\n", "`tls` has no place in a service of plain HTTP", "write `protocol = \"https\"`"),
    mistake("pool = \"raw\"", "pool = \"raw\"\n«tls = {}", "`tls` has no place in a TCP service",
        "a TCP service relays bytes as they are: remove it, or write `protocol = \"https\"`"),
    mistake("[services.api]\nlisten = [\"203.0.113.1:80\", \"[2001:db8:ac::1]:80\"]\nprotocol = \"http\"\n", "«[services.api]\nlisten = [\"203.0.113.1:80\", \"[2001:db8:ac::1]:80\"]\nprotocol = \"https\"\n",
        "`tls` is missing in `services.api`", "add `tls = { certificate = \"/etc/proxima/api.pem\", key = \"/etc/proxima/api.key\" }`"),
    mistake("protocol = \"http\"", "protocol = \"https\"\ntls = «{ certificate = \"/a.pem\" }", "`key` is missing in `services.api.tls`", "add `key = \"/etc/proxima/api.key\"`"),
    mistake("protocol = \"http\"", "protocol = \"https\"\ntls = { certificate = «\"a.pem\", key = \"/a.key\" }", "`a.pem` is not an absolute path", "begin it with /, as in \"/etc/proxima/secret.key\""),
    mistake("protocol = \"http\"", "protocol = \"https\"\ntls = { certificates = [{ certificate = \"/a.pem\", key = \"/a.key\" }], «key = \"/a.key\" }", "`key` has no place beside `certificates`", "write it as the first of `certificates`"),
    mistake("protocol = \"http\"", "protocol = \"https\"\ntls = { certificates = «[] }", "`certificates` is empty", "write each as `[[services.api.tls.certificates]]`"),
    mistake("protocol = \"http\"", "protocol = \"https\"\ntls = { certificates = [{ certificate = \"/a.pem\", key = \"/a.key\" }, { certificate = «\"/a.pem\", key = \"/b.key\" }] }", "/a.pem is listed twice", "remove one of the two"),
    mistake("protocol = \"http\"", "protocol = \"https\"\ntls = { certificate = \"/a.pem\", key = \"/a.key\", min-version = «\"1.1\" }", "`1.1` is none of the choices", "did you mean `1.2`? The choices are `1.2`, `1.3`"),
    mistake("protocol = \"http\"", "protocol = \"https\"\ntls = { certificate = \"/a.pem\", key = \"/a.key\", min-version = «1.2 }", "expected a string, found a number with a fraction", "write it in quotes: `\"1.2\"`"),
    mistake("protocol = \"http\"", "protocol = \"https\"\ntls = { certificate = \"/a.pem\", key = \"/a.key\", client-auth = «\"required\" }", "`client-auth` without `client-ca` could check nobody", "name the file of the clients' certificate authorities with `client-ca`"),
    mistake("protocol = \"http\"", "protocol = \"https\"\ntls = { certificate = \"/a.pem\", key = \"/a.key\", client-ca = \"/ca.pem\", client-auth = «\"maybe\" }", "`maybe` is none of the choices", "the choices are `optional`, `required`"),
    mistake("protocol = \"http\"", "protocol = \"https\"\ntls = { certificate = \"/a.pem\", key = \"/a.key\", forward-client-cert = «\"chain\" }", "`forward-client-cert` without `client-ca`: no client is asked for a certificate", "name the file of the clients' certificate authorities with `client-ca`"),
    mistake("protocol = \"http\"", "protocol = \"https\"\ntls = { certificate = \"/a.pem\", key = \"/a.key\", client-ca = \"/ca.pem\", forward-client-cert = «true }", "expected a string, found a boolean", ""),
    // TLS of pools.
    mistake("balance = \"least-request\"", "tls = «false", "`false` asks nothing", "remove the key, or write `true`"),
    mistake("balance = \"least-request\"", "tls = { «ca = \"/ca.pem\" }", "unknown key `ca` in `pools.app.tls`", "the keys here are `ca-file`, `certificate`, `key`, `server-name`"),
    mistake("balance = \"least-request\"", "tls = { server-name = «\"a b\" }", "`a b` is not a server name", "write a name such as \"api.example.com\", or an address, as the certificate has it"),
    mistake("balance = \"least-request\"", "tls = «{ key = \"/a.key\" }", "`certificate` is missing in `pools.app.tls`", "add `certificate = \"/etc/proxima/api.pem\"`"),
    mistake("[services.raw]\nlisten = [\"203.0.113.1:5000\"]\nprotocol = \"tcp\"\npool = \"raw\"\n", "[pools.safe]\ntls = true\nprobe = { tcp = true }\nbackends = [{ name = \"a\", region = \"eu\", address = \"10.0.0.9:1\" }]\n[services.raw]\nlisten = [\"203.0.113.1:5000\"]\nprotocol = \"tcp\"\npool = «\"safe\"\n",
        "pool `safe` has `tls`, and a TCP service relays bytes as they are", "give the service a pool of its own, without `tls`"),
    mistake("\"203.0.113.1:5000\"", "«\"203.0.113.1:80\"", "203.0.113.1:80 is listened on twice; `services.api` has it already", "give each listener its own address or port"),
    mistake("listen = [\"203.0.113.1:5000\"]", "listen = [\"203.0.113.1:5000\"]\nresidency = «{}", "`allow` is missing in `services.raw.residency`", "add `allow = [\"EU\"]`"),
    mistake("\"127.0.0.1:9179\"", "«\"203.0.113.1:5000\"", "203.0.113.1:5000 is listened on twice; `services.raw` has it already", "give each listener its own address or port"),
    mistake("allow = [\"EU\"]", "allow = [\"EU\", «\"EU\"]", "`EU` is listed twice", "remove one of the two"),
    mistake("pool = \"raw\"\n", "pool = \"raw\"\nresidency = { allow = «[\"US\"] }\n", "no backend of pool `raw` is inside the fence: every request would get a 503",
        "the pool's backends are in `EU`; allow one of these, or add a backend inside"),
    mistake("match = { host = \"api.example.com\", path-prefix = \"/v1\", methods = [\"POST\"] }\npool = \"app\"\nresidency = { allow = [\"EU\"] }\n[[services.api.routes]]", "pool = \"app\"\n«[[services.api.routes]]",
        "no request reaches this route: route 1 takes them all", "the first route that matches wins: move the narrower route up, or remove one of the two"),
    mistake("name = \"us-1\"", "name = «\"eu-1\"", "two backends of the pool are named `eu-1`", "give each backend its own name"),
    mistake("\"10.2.0.10:8080\"", "«\"10.1.0.10:8080\"", "two backends of the pool have the address 10.1.0.10:8080",
        "its capacity would count twice: remove one, and give the other the weight of both"),
    mistake("[pools.raw]\nprobe = { tcp = true }\n[[pools.raw.backends]]\n", "«[pools.raw]\nprobe = { tcp = true }\n[[pools.raw.backends]]\nweight = 0\n", "no backend of the pool has a weight above 0, so none would get any traffic",
        "give at least one backend a `weight`, or leave the key out for 100"),
    mistake("timeout = \"500ms\"", "timeout = «\"2s\"", "the timeout of 2s is longer than the interval of 1s",
        "a probe ends before the next one begins: shorten `timeout` or lengthen `interval`"),
    // Notices.
    mistake("probe = { tcp = true }", "probe = { tcp = true }\nnotice = «{ lead = \"1m\" }", "nothing says where the notice is",
        "add `http = \"/leaving\"` or `directory = \"/run/proximad/leaving\"`"),
    mistake("probe = { tcp = true }", "probe = { tcp = true }\nnotice = { directory = \"/run/x\", http = «\"/x\" }", "a notice comes from one place, and here are `directory` and `http`", "remove one of the two"),
    mistake("probe = { tcp = true }", "probe = { tcp = true }\nnotice = { directory = \"/run/x\", port = «80 }", "`port` means nothing to a directory", "remove `port`, or ask with `http = \"/leaving\"`"),
    mistake("probe = { tcp = true }", "probe = { tcp = true }\nnotice = { directory = «\"leaving\" }", "`leaving` is not an absolute path", "begin it with /, as in \"/etc/proxima/secret.key\""),
    mistake("probe = { tcp = true }", "probe = { tcp = true }\nnotice = { http = \"/x\", lead = «\"25h\" }", "25h is out of range", "write 0s to 24h"),
    mistake("probe = { tcp = true }", "probe = { tcp = true }\nnotice = { http = \"/x\", interval = «\"1ms\" }", "1ms is out of range", "write 100ms to 1h"),
    // What a probe asks.
    mistake("{ tcp = true }", "{ tcp = true, http = «\"/\" }", "a probe asks one thing, and here are `tcp` and `http`", "remove one of the two"),
    mistake("{ tcp = true }", "{ agent = 9, redis = true, dns = «\"a\" }", "a probe asks one thing, and here are `redis` and `dns`", "remove one of the two"),
    mistake("{ tcp = true }", "«{ rise = 1 }", "the probe does not say what to ask",
        "add `http = \"/healthz\"`, `tcp = true` or another of `agent`, `dns`, `exec`, `grpc`, `https`, `postgres`, `quic`, `redis`, `tls`"),
    mistake("{ tcp = true }", "{ tcp = «false }", "`false` asks nothing", "remove the key, or write `true`"),
    mistake("{ tcp = true }", "{ redis = «1 }", "expected a boolean, found an integer", "write `true` or `false`, without quotes"),
    mistake("{ tcp = true }", "{ tls = true, host = «\"a.example\" }", "`host` means nothing to a TLS probe", "remove `host`, or probe with `http = \"/healthz\"`"),
    mistake("{ tcp = true }", "{ redis = true, expect-body = «\"ok\" }", "`expect-body` means nothing to a Redis probe", "remove `expect-body`, or probe with `http = \"/healthz\"`"),
    mistake("{ tcp = true }", "{ dns = \"a\", version = «\"2\" }", "`version` means nothing to a DNS probe", "remove `version`, or probe with `http = \"/healthz\"`"),
    mistake("{ tcp = true }", "{ tcp = true, tls = «true }", "`tls` means nothing to a TCP probe", "remove `tls`, or probe with it alone"),
    mistake("{ tcp = true }", "{ http = \"/\", tls = «true }", "`tls` means nothing to an HTTP probe", "write `https = \"/healthz\"` instead of `http`"),
    mistake("{ tcp = true }", "{ redis = true, tls = «true }", "`tls` means nothing to a Redis probe", "write it inside of `redis`, as in `redis = { …, tls = true }`"),
    mistake("{ tcp = true }", "{ quic = true, tls = «true }", "`tls` means nothing to a QUIC probe", "QUIC always has TLS: write its settings inside, as in `quic = { ca-file = \"…\" }`"),
    // HTTP.
    mistake("{ tcp = true }", "{ http = \"/\", version = «\"3\" }", "HTTP/3 is never without TLS", "write `https = \"/healthz\"` instead of `http`"),
    mistake("{ tcp = true }", "{ https = \"/\", version = «\"1.0\" }", "`1.0` is none of the choices", "did you mean `1.1`? The choices are `1.1`, `2`, `3`"),
    mistake("{ tcp = true }", "{ https = \"/\", version = «2 }", "expected a string, found an integer", "write it in quotes: `\"2\"`"),
    mistake("{ tcp = true }", "{ https = \"/\", expect = «99 }", "`99` is no status", "write statuses from 100 to 599, as in `200`, `\"200-299\"` or `[200, \"300-399\"]`"),
    mistake("{ tcp = true }", "{ https = \"/\", expect = «\"299-200\" }", "`299-200` is no status", "write statuses from 100 to 599, as in `200`, `\"200-299\"` or `[200, \"300-399\"]`"),
    mistake("{ tcp = true }", "{ https = \"/\", expect = «[200, \"2xx\"] }", "`2xx` is no status", "write statuses from 100 to 599, as in `200`, `\"200-299\"` or `[200, \"300-399\"]`"),
    mistake("{ tcp = true }", "{ https = \"/\", expect = «[] }", "no status would be expected", "write statuses from 100 to 599, as in `200`, `\"200-299\"` or `[200, \"300-399\"]`"),
    mistake("{ tcp = true }", "{ https = \"/\", expect = «true }", "expected a string, found a boolean", "write statuses from 100 to 599, as in `200`, `\"200-299\"` or `[200, \"300-399\"]`"),
    mistake("{ tcp = true }", "{ https = \"/\", expect-body = «\"(ok\" }", "`(ok` is no regular expression: unclosed group",
        "write one as in \"ready|ok\", in single quotes where it has a backslash: 'v\\d+'"),
    mistake("{ tcp = true }", "{ https = \"/\", expect-body = «'\\w{1000}{100}' }", "`\\w{1000}{100}` is too large an expression", "repeat less in it"),
    mistake("{ tcp = true }", "{ https = \"/\", expect-header = «\"x ready\" }", "`x ready` can't be a header",
        "write its name, as in \"x-ready\", or name and value, as in \"x-ready: yes\""),
    // TLS.
    mistake("{ tcp = true }", "{ tls = { server-name = «\"api.example.com:443\" } }", "`api.example.com:443` is not a server name",
        "write a name such as \"api.example.com\", or an address, as the certificate has it"),
    mistake("{ tcp = true }", "{ tls = { ca-file = «\"ca.pem\" } }", "`ca.pem` is not an absolute path", "begin it with /, as in \"/etc/proxima/secret.key\""),
    mistake("{ tcp = true }", "{ tls = { ca-file = «\"/ca.pem\", verify = false } }", "`ca-file` means nothing with `verify = false`",
        "remove `verify`, so that only certificates of these authorities are trusted"),
    mistake("{ tcp = true }", "{ tls = { min-valid-days = «0 } }", "`0` is out of range", "write a whole number from 1 to 3650"),
    mistake("{ tcp = true }", "{ tls = { alpn = [«\"h 2\"] } }", "`h 2` can't be a protocol", "write the name that ALPN has for it, as in \"h2\" or \"http/1.1\""),
    mistake("{ tcp = true }", "{ https = \"/\", tls = { alpn = «[\"h2\"] } }", "`alpn` means nothing to an HTTPS probe", "remove it: `version` says which protocol is offered"),
    mistake("{ tcp = true }", "{ quic = { «days = 3 } }", "unknown key `days` in `pools.raw.probe.quic`", "the keys here are `alpn`, `ca-file`, `min-valid-days`, `server-name`, `verify`"),
    // gRPC, databases, name servers, programs, agents.
    mistake("{ tcp = true }", "{ grpc = «\"llm v1\" }", "`llm v1` can't be a gRPC service", "write its full name, as in \"llm.v1.Chat\", or `true` for the server as a whole"),
    mistake("{ tcp = true }", "{ grpc = { tls = { «alpn = [\"h2\"] } } }", "unknown key `alpn` in `pools.raw.probe.grpc.tls`",
        "the keys here are `ca-file`, `min-valid-days`, `server-name`, `verify`"),
    mistake("{ tcp = true }", "{ postgres = «true }", "expected a table, found a boolean", "write `[pools.raw.probe.postgres]` and its settings on the lines below"),
    mistake("{ tcp = true }", "{ postgres = «{ role = \"replica\" } }", "`user` is missing in `pools.raw.probe.postgres`", "add `user = \"probe\"`"),
    mistake("{ tcp = true }", "{ postgres = { user = «\"\" } }", "`` can't be used here", "write at least one character, and no control characters"),
    mistake("{ tcp = true }", "{ postgres = { user = \"p\", role = «\"master\" } }", "`master` is none of the choices", "the choices are `primary`, `replica`"),
    mistake("{ tcp = true }", "{ postgres = { user = \"p\", role = \"primary\", max-lag = «\"5s\" } }", "a primary is never behind: `max-lag` means nothing to it",
        "remove `max-lag`, or write `role = \"replica\"`"),
    mistake("{ tcp = true }", "{ redis = { user = «\"probe\" } }", "`probe` can't log in without a password", "add `password-file = \"/etc/proxima/redis.password\"`, or remove `user`"),
    mistake("{ tcp = true }", "{ redis = { max-lag = «\"1500ms\" } }", "1500ms is no whole number of seconds", "write whole seconds"),
    mistake("{ tcp = true }", "{ redis = { «database = \"0\" } }", "unknown key `database` in `pools.raw.probe.redis`", "the keys here are `max-lag`, `password-file`, `role`, `tls`, `user`"),
    mistake("{ tcp = true }", "{ dns = «\"www..example.com\" }", "`www..example.com` is not a domain name", "write a name such as \"www.example.com\", or \".\" for the root"),
    mistake("{ tcp = true }", "{ dns = { name = \"a\", record = «\"aaaa\" } }", "`aaaa` is none of the choices", "did you mean `AAAA`? The choices are `A`, `AAAA`, `CNAME`, `MX`, `NS`, `SOA`, `TXT`"),
    mistake("{ tcp = true }", "{ dns = { name = \"a\", expect = [«\"fd00::1\"] } }", "fd00::1 is in no record of type A", "write `record = \"AAAA\"`, or remove the address"),
    mistake("{ tcp = true }", "{ dns = { name = \"a\", transport = «\"tls\" } }", "`tls` is none of the choices", "the choices are `tcp`, `udp`"),
    mistake("{ tcp = true }", "{ exec = [«\"check\"] }", "`check` is not an absolute path of a program",
        "begin it with /, as in `exec = [\"/usr/lib/proxima/check\", \"--quick\"]`; there is no shell"),
    mistake("{ tcp = true }", "{ exec = «\"/bin/true\" }", "expected a list, found a string", "write it in brackets, as in `[\"…\"]`"),
    mistake("{ tcp = true }", "{ agent = «70000 }", "`70000` is out of range", "write a whole number from 1 to 65535"),
    // How a probe is made.
    mistake("{ tcp = true }", "{ tcp = true, fast-interval = «\"2s\" }", "the fast interval of 2s is longer than the interval of 1s",
        "it is the pace while undecided: shorten `fast-interval` or lengthen `interval`"),
    mistake("{ tcp = true }", "{ tcp = true, down-interval = «\"2s\" }", "the down interval of 2s is longer than the interval of 1s",
        "it is the pace while down, so that a restart is seen soon: shorten `down-interval` or lengthen `interval`"),
    mistake("{ tcp = true }", "{ tcp = true, down-interval = «\"5ms\" }", "5ms is out of range", "write 10ms to 1h"),
    mistake("{ tcp = true }", "{ tcp = true, jitter = «0.6 }", "a jitter of 0.6 is out of range", "write a share of the interval from 0 to 0.5, as in `0.1`"),
    mistake("{ tcp = true }", "{ tcp = true, jitter = «\"10%\" }", "expected a number, found a string", "write a share of the interval from 0 to 0.5, as in `0.1`"),
    mistake("{ tcp = true }", "{ tcp = true, source = «\"fd00::11\" }", "fd00::11 can't be the source of a probe of 10.1.0.10:9000",
        "write an IPv4 address of this host, or put backends of the other family into a pool of their own"),
    mistake("{ tcp = true }", "{ tcp = true, via = «\"vip\" }", "`vip` is none of the choices", "the choices are `direct`, `service`"),
    mistake("{ tcp = true }", "{ exec = [\"/bin/true\"], via = «\"service\" }", "`via = \"service\"` means nothing to a probe by `exec`: the data plane does not carry it",
        "remove `via`, or probe with one of `tcp`, `tls`, `http`, `https` (version \"1.1\" or \"2\"), `grpc`, `postgres`, `redis`"),
    mistake("{ tcp = true }", "{ agent = 9, via = «\"service\" }", "`via = \"service\"` means nothing to a probe by `agent`: the data plane does not carry it",
        "remove `via`, or probe with one of `tcp`, `tls`, `http`, `https` (version \"1.1\" or \"2\"), `grpc`, `postgres`, `redis`"),
    mistake("{ tcp = true }", "{ dns = \"a\", via = «\"service\" }", "`via = \"service\"` means nothing to a probe by `dns`: the data plane does not carry it",
        "remove `via`, or probe with one of `tcp`, `tls`, `http`, `https` (version \"1.1\" or \"2\"), `grpc`, `postgres`, `redis`"),
    mistake("{ tcp = true }", "{ quic = true, via = «\"service\" }", "`via = \"service\"` means nothing to a probe by `quic`: the data plane does not carry it",
        "remove `via`, or probe with one of `tcp`, `tls`, `http`, `https` (version \"1.1\" or \"2\"), `grpc`, `postgres`, `redis`"),
    mistake("{ tcp = true }", "{ https = \"/\", version = \"3\", via = «\"service\" }", "`via = \"service\"` means nothing to a probe by `https` of version \"3\": the data plane does not carry it",
        "remove `via`, or probe with one of `tcp`, `tls`, `http`, `https` (version \"1.1\" or \"2\"), `grpc`, `postgres`, `redis`"),
    mistake("{ tcp = true }", "{ tcp = true, via = \"service\", source = «\"10.0.0.11\" }", "10.0.0.11 can't be the source of a probe that goes `via = \"service\"`",
        "the data plane connects as it does for clients: remove `source`, or `via`"),
    mistake("{ tcp = true }", "{ tcp = true, expect = «200 }", "`expect` means nothing to a TCP probe", "remove `expect`, or probe with `http = \"/healthz\"`"),
    mistake("{ tcp = true }", "{ tcp = true }\npassive = { error-limit = «0 }", "`0` is out of range", "write a whole number from 1 to 1000000"),
    mistake("{ tcp = true }", "{ tcp = true }\npassive = { first-byte = «\"11m\" }", "11m is out of range", "write 1ms to 10m"),
    mistake("{ tcp = true }", "{ tcp = true }\npassive = { observe = false, error-limit = «5 }", "`error-limit` means nothing where traffic is not observed", "remove `error-limit`, or `observe = false`"),
    mistake("{ tcp = true }", "{ tcp = true }\npassive = { «limit = 5 }", "unknown key `limit` in `pools.raw.passive`", "the keys here are `error-limit`, `first-byte`, `hold-down`, `observe`, `on-error`"),
    mistake("{ tcp = true }", "{ tcp = true }\npassive = { hold-down = «\"10s\" }", "nothing is marked down, so `hold-down` means nothing", "add `on-error = \"mark-down\"`, or remove `hold-down`"),
    mistake("{ tcp = true }", "{ tcp = true }\npassive = { on-error = «\"die\" }", "`die` is none of the choices", "the choices are `fail-check`, `mark-down`"),
    mistake("{ tcp = true }", "{ tcp = true }\npassive = { on-error = \"mark-down\", hold-down = «\"0s\" }", "0s is out of range", "write 1s to 1h"),
    mistake("weight = 100", "weight = 100\nshared = «\"yes\"", "expected a boolean, found a string", "write `true` or `false`, without quotes"),
    mistake("[admin]", "[catchment]\nlisten = \"192.0.2.11:7078\"\nkey-file = \"/etc/key\"\npeers = [«\"192.0.2.11:7079\"]\n[admin]", "192.0.2.11:7079 is this PoP itself", "name the other PoPs' addresses"),
    mistake("[admin]", "[catchment]\nlisten = «\"0.0.0.0:7078\"\nkey-file = \"/etc/key\"\npeers = [\"192.0.2.21:7078\"]\n[admin]", "0.0.0.0:7078 is no address the other PoPs could name", "write the address of this host that they reach"),
    // ACME.
    mistake("[admin]", "[acme.le]\ndirectory = «\"http://acme.example/dir\"\naccept-terms-of-service = true\nchallenge = \"tls-alpn-01\"\n[admin]", "`http://acme.example/dir` can't be an ACME server's directory",
        "ACME servers are asked over https only (RFC 8555 §6.1); name a private authority with `ca-file`"),
    mistake("[admin]", "[acme.le]\ndirectory = «\"letsencrypt\"\naccept-terms-of-service = true\nchallenge = \"tls-alpn-01\"\n[admin]", "`letsencrypt` can't be an ACME server's directory",
        "write the URL of its directory, as in \"https://acme-v02.api.letsencrypt.org/directory\""),
    mistake("[admin]", "[acme.le]\ndirectory = \"https://acme.example/dir\"\naccept-terms-of-service = «false\nchallenge = \"tls-alpn-01\"\n[admin]", "without its terms of service accepted an ACME server gives no account",
        "read them, then write `true`; or take certificates from files"),
    mistake("[admin]", "«[acme.le]\ndirectory = \"https://acme.example/dir\"\nchallenge = \"tls-alpn-01\"\n[admin]", "`accept-terms-of-service` is missing in `acme.le`",
        "add `accept-terms-of-service = true`"),
    mistake("[admin]", "[acme.le]\ndirectory = \"https://acme.example/dir\"\naccept-terms-of-service = true\nchallenge = «\"dns-01\"\n[admin]", "`dns-01` is none of the choices",
        "the choices are `http-01`, `tls-alpn-01`"),
    mistake("[admin]", "[acme.le]\ndirectory = \"https://acme.example/dir\"\naccept-terms-of-service = true\nchallenge = \"tls-alpn-01\"\ncontact = [«\"ops@example.com\"]\n[admin]", "`ops@example.com` is no contact",
        "write one address in each, as in \"mailto:ops@example.com\""),
    mistake("[admin]", "[acme.le]\ndirectory = \"https://acme.example/dir\"\naccept-terms-of-service = true\nchallenge = \"tls-alpn-01\"\ncontact = [\"mailto:a@b\", «\"mailto:a@b\"]\n[admin]", "`mailto:a@b` is listed twice",
        "remove one of the two"),
    mistake("[admin]", "[acme.le]\ndirectory = \"https://acme.example/dir\"\naccept-terms-of-service = true\nchallenge = \"tls-alpn-01\"\nkey-type = «\"ed25519\"\n[admin]", "`ed25519` is none of the choices",
        "the choices are `p256`, `p384`, `rsa2048`, `rsa4096`"),
    mistake("[admin]", "[acme.le]\ndirectory = \"https://acme.example/dir\"\naccept-terms-of-service = true\nchallenge = \"tls-alpn-01\"\nstate-directory = «\"acme\"\n[admin]", "`acme` is not an absolute path",
        "begin it with /, as in \"/etc/proxima/secret.key\""),
    mistake("[admin]", "[acme.le]\ndirectory = \"https://acme.example/dir\"\naccept-terms-of-service = true\nchallenge = \"tls-alpn-01\"\nexternal-account = «{ key-id = \"a\" }\n[admin]", "`key-file` is missing in `acme.le.external-account`",
        "add `key-file = \"/etc/proxima/eab.key\"`"),
    mistake("[admin]", "[acme.le]\ndirectory = \"https://acme.example/dir\"\naccept-terms-of-service = true\nchallenge = \"tls-alpn-01\"\n«wildcard = true\n[admin]", "unknown key `wildcard` in `acme.le`",
        "the keys here are `accept-terms-of-service`, `ca-file`, `challenge`, `contact`, `directory`, `external-account`, `key-type`, `state-directory`"),
    mistake("protocol = \"http\"", "protocol = \"https\"\ntls = { acme = «\"le\", names = [\"a.example\"] }", "there is no issuer `le`",
        "there are no issuers"),
    mistake("protocol = \"http\"", "protocol = \"https\"\ntls = { certificate = \"/a.pem\", key = \"/a.key\", «names = [\"a.example\"] }", "`names` has no place without `acme`",
        "say whom the certificate is ordered from with `acme = \"NAME\"`; certificates of files have their names in them"),
    mistake("[services.api]\nlisten = [\"203.0.113.1:80\", \"[2001:db8:ac::1]:80\"]\nprotocol = \"http\"", "[acme.le]\ndirectory = \"https://acme.example/dir\"\naccept-terms-of-service = true\nchallenge = \"tls-alpn-01\"\n[services.api]\nlisten = [\"203.0.113.1:443\", \"[2001:db8:ac::1]:443\"]\nprotocol = \"https\"\ntls = { acme = \"le\", names = [«\"*.example.com\"] }", "`*.example.com` is a wildcard, which only DNS-01 can prove; that is not supported",
        "name each host, or get the certificate elsewhere and name its files with `certificate` and `key`"),
    mistake("[services.api]\nlisten = [\"203.0.113.1:80\", \"[2001:db8:ac::1]:80\"]\nprotocol = \"http\"", "[acme.le]\ndirectory = \"https://acme.example/dir\"\naccept-terms-of-service = true\nchallenge = \"tls-alpn-01\"\n[services.api]\nlisten = [\"203.0.113.1:443\", \"[2001:db8:ac::1]:443\"]\nprotocol = \"https\"\ntls = { acme = \"le\", names = [«\"192.0.2.1\"] }", "`192.0.2.1` is an address; only names are ordered",
        "name the host, or get the certificate elsewhere and name its files with `certificate` and `key`"),
    mistake("[services.api]\nlisten = [\"203.0.113.1:80\", \"[2001:db8:ac::1]:80\"]\nprotocol = \"http\"", "[acme.le]\ndirectory = \"https://acme.example/dir\"\naccept-terms-of-service = true\nchallenge = \"tls-alpn-01\"\n[services.api]\nlisten = [\"203.0.113.1:443\", \"[2001:db8:ac::1]:443\"]\nprotocol = \"https\"\ntls = { acme = \"le\", names = [«\"bücher.example\"] }", "`bücher.example` is not a host name",
        "write a name such as \"api.example.com\", one that is not ASCII in its form of `xn--`"),
    mistake("[services.api]\nlisten = [\"203.0.113.1:80\", \"[2001:db8:ac::1]:80\"]\nprotocol = \"http\"", "[acme.le]\ndirectory = \"https://acme.example/dir\"\naccept-terms-of-service = true\nchallenge = \"tls-alpn-01\"\n[services.api]\nlisten = [\"203.0.113.1:443\", \"[2001:db8:ac::1]:443\"]\nprotocol = \"https\"\ntls = { acme = \"le\", names = [\"a.example\", «\"A.example\"] }", "`a.example` is listed twice",
        "remove one of the two"),
    mistake("[services.api]\nlisten = [\"203.0.113.1:80\", \"[2001:db8:ac::1]:80\"]\nprotocol = \"http\"", "[acme.le]\ndirectory = \"https://acme.example/dir\"\naccept-terms-of-service = true\nchallenge = \"tls-alpn-01\"\n[services.api]\nlisten = [\"203.0.113.1:443\", \"[2001:db8:ac::1]:443\"]\nprotocol = \"https\"\ntls = { acme = \"le\", names = «[] }", "`names` is empty",
        "name at least one, or leave the key out if it has a default"),
    mistake("[services.api]\nlisten = [\"203.0.113.1:80\", \"[2001:db8:ac::1]:80\"]\nprotocol = \"http\"", "[acme.le]\ndirectory = \"https://acme.example/dir\"\naccept-terms-of-service = true\nchallenge = \"tls-alpn-01\"\n[services.api]\nlisten = [\"203.0.113.1:443\", \"[2001:db8:ac::1]:443\"]\nprotocol = \"https\"\ntls = «{ acme = \"le\" }", "`names` is missing in `services.api.tls`",
        "add `names = [\"api.example.com\"]`"),
    mistake("[services.api]\nlisten = [\"203.0.113.1:80\", \"[2001:db8:ac::1]:80\"]\nprotocol = \"http\"", "[acme.le]\ndirectory = \"https://acme.example/dir\"\naccept-terms-of-service = true\nchallenge = \"tls-alpn-01\"\n[services.api]\nlisten = [\"203.0.113.1:443\", \"[2001:db8:ac::1]:443\"]\nprotocol = \"https\"\ntls = { acme = «\"lets\", names = [\"a.example\"] }", "there is no issuer `lets`",
        "the issuers are `le`"),
    mistake("[services.api]\nlisten = [\"203.0.113.1:80\", \"[2001:db8:ac::1]:80\"]\nprotocol = \"http\"", "[acme.le]\ndirectory = \"https://acme.example/dir\"\naccept-terms-of-service = true\nchallenge = «\"http-01\"\n[services.api]\nlisten = [\"203.0.113.1:443\", \"[2001:db8:ac::1]:443\"]\nprotocol = \"https\"\ntls = { acme = \"le\", names = [\"a.example\"] }", "no service could answer HTTP-01, which is asked for over plain HTTP",
        "add a service of `protocol = \"http\"` that port 80 of these names leads to, or write `challenge = \"tls-alpn-01\"`"),
    mistake("[admin]", "[quic-lb]\npop = «65536\nkey-file = \"/etc/key\"\n[admin]", "`65536` is out of range", "write a whole number from 0 to 65535"),
    mistake("[admin]", "[quic-lb]\npop = 1\nconfig-id = «7\nkey-file = \"/etc/key\"\n[admin]", "`7` is out of range", "write a whole number from 0 to 6"),
    mistake("[admin]", "[quic-lb]\npop = 1\nhost = «256\nkey-file = \"/etc/key\"\n[admin]", "`256` is out of range", "write a whole number from 0 to 255"),
    mistake("[admin]", "[quic-lb]\npop = 1\nnonce-length = «3\nkey-file = \"/etc/key\"\n[admin]", "`3` is out of range", "write a whole number from 4 to 14"),
    mistake("[admin]", "[quic-lb]\npop = 1\nkey-file = «\"key\"\n[admin]", "`key` is not an absolute path", "begin it with /, as in \"/etc/proxima/secret.key\""),
    // TOML itself.
    mistake("\"fra1\"", "«fra1", "`fra1` is not a value", "write strings in quotes: `\"fra1\"`"),
    mistake("region = \"eu\"", "region = \"eu\"\n«name = \"x\"", "`name` is given twice", "remove one of the two, or join them"),
    mistake("[pop]", "[pop«", "unclosed table, expected `]`", "close the header, as in `[pop]`"),
    mistake("[\"64512:100\"]", "«[\"64512:100\"", "this list is not closed", "close it with `]`"),
    mistake("[\"ipv4\", \"ipv6\"]", "[\"ipv4\" «\"ipv6\"]", "missing comma between array elements, expected `,`", "add a comma before this element"),
    mistake("\"info\"", "\"info«", "invalid basic string, expected `\"`", "close the string on the line it begins on; write `\\\\` for a backslash"),
];

#[test]
fn each_mistake_gets_one_error_at_its_place_with_the_remedy() {
    let mut failures = String::new();
    for mistake in MISTAKES {
        let marked = with(mistake.from, mistake.to);
        let before = marked.split_once('«').expect("the place is marked").0;
        let place = (before.split('\n').count(), before.rsplit('\n').next().unwrap().chars().count() + 1);
        let text = marked.replacen('«', "", 1);
        let Err(errors) = Config::parse(&text, "proxima.toml") else {
            writeln!(failures, "accepted: {}\n", mistake.to).unwrap();
            continue;
        };
        let [error] = errors.errors() else {
            writeln!(failures, "for {} not one error, but:\n{errors}\n", mistake.to).unwrap();
            continue;
        };
        let hint = error.hint.as_deref().unwrap_or_default();
        if ((error.line, error.column), error.message.as_str(), hint)
            != (place, mistake.message, mistake.hint)
        {
            writeln!(failures, "for {} at {place:?}:\n{error}\n", mistake.to).unwrap();
        }
    }
    assert!(failures.is_empty(), "{failures}");
}

#[test]
fn the_sound_file_is_sound() {
    Config::parse(SOUND, "proxima.toml").unwrap_or_else(|errors| panic!("{errors}"));
}

/// Ten mistakes of ten kinds, some in sections that others depend on.
const TEN: &str = r#"[pop]
name = "fra 1"
region = "ue"
router-id = "192.0.2.11"
[regions.eu]
jurisdiction = "EU"
[bgp]
local-as = 0
hold-time = 9
[[bgp.peers]]
name = "tor1"
address = "10.0.0.1"
remote-as = 65000
[announce.web]
prefixes = ["203.0.113.5/24"]
services = ["ap"]
[services.api]
listen = ["203.0.113.1:80"]
protocol = "http"
[[services.api.routes]]
pool = "apps"
[pools.app]
probe = { http = "/healthz", timeout = "2s" }
[[pools.app.backends]]
name = "eu-1"
region = "eu"
address = "10.1.0.10"
	wieght = 100
"#;

#[test]
fn a_file_with_ten_mistakes_reports_all_ten_in_order() {
    let errors = errors(TEN);
    let places: Vec<_> =
        errors.errors().iter().map(|error| (error.line, error.column, error.path.as_str())).collect();
    assert_eq!(
        places,
        [
            (2, 8, "pop.name"),
            (3, 10, "pop.region"),
            (8, 12, "bgp.local-as"),
            (9, 13, "bgp.hold-time"),
            (15, 13, "announce.web.prefixes[0]"),
            (16, 13, "announce.web.services[0]"),
            (21, 8, "services.api.routes[0].pool"),
            (23, 40, "pools.app.probe.timeout"),
            (27, 11, "pools.app.backends[0].address"),
            (28, 2, "pools.app.backends[0].wieght"),
        ],
        "{errors}"
    );
}

#[test]
fn a_protocol_that_is_none_hides_no_other_mistake_of_its_service() {
    let http =
        with("protocol = \"http\"", "protocol = \"h2\"").replacen("pool = \"app\"", "pool = \"ap\"", 1);
    assert_eq!(paths(&errors(&http)), ["services.api.protocol", "services.api.routes[0].pool"]);
    let https = with("protocol = \"http\"", "protocol = \"htps\"\ntls = { certificate = \"/a.pem\" }");
    assert_eq!(paths(&errors(&https)), ["services.api.protocol", "services.api.tls.key"]);
    let tcp = with("protocol = \"tcp\"\npool = \"raw\"", "pool = \"rw\"\ntimeouts = { idle = 5 }");
    let lacking = ["services.raw.protocol", "services.raw.pool", "services.raw.timeouts.idle"];
    assert_eq!(paths(&errors(&tcp)), lacking);
}

fn paths(errors: &ConfigErrors) -> Vec<&str> {
    errors.errors().iter().map(|error| error.path.as_str()).collect()
}

#[test]
fn errors_look_like_a_compilers() {
    let text = with("\"9s\"", "\"2s\"").replace("weight = 100", "\twieght = 100");
    assert_eq!(
        errors(&text).to_string(),
        r#"proxima.toml:13:13: error: a hold time can't be 2s
    |
 13 | hold-time = "2s"
    |             ^^^^
    = help: write "0s" for none, or whole seconds from "3s" to "65535s" (RFC 4271 §4.2)

proxima.toml:57:2: error: unknown key `wieght` in `pools.app.backends[0]`
    |
 57 | 	wieght = 100
    | 	^^^^^^
    = help: did you mean `weight`? The keys here are `address`, `name`, `provider`, `region`, `shared`, `tier`, `weight`

2 errors in proxima.toml"#
    );
}

#[test]
fn programs_get_the_same_as_json() {
    let errors = errors(&with("\"9s\"", "\"2s\"").replacen("local-as = 64512\n", "", 1));
    assert_eq!(
        serde_json::to_value(&errors).unwrap(),
        serde_json::json!({ "errors": [
            {
                "file": "proxima.toml", "line": 11, "column": 1, "path": "bgp.local-as", "value": null,
                "message": "`local-as` is missing in `bgp`", "hint": "add `local-as = 64512`",
            },
            {
                "file": "proxima.toml", "line": 12, "column": 13, "path": "bgp.hold-time", "value": "\"2s\"",
                "message": "a hold time can't be 2s",
                "hint": "write \"0s\" for none, or whole seconds from \"3s\" to \"65535s\" (RFC 4271 §4.2)",
            },
        ]})
    );
}

#[test]
fn columns_count_characters_not_bytes() {
    let errors = errors(&with("name = \"fra1\"", "name = { \"größe\" = 1, x = 2 }"));
    assert_eq!((errors.errors()[0].line, errors.errors()[0].column), (2, 8));
    let errors = self::errors(&with("{ tcp = true }", "{ tcp = true, \"größe\" = 1, x = 2 }"));
    let columns: Vec<_> = errors.errors().iter().map(|error| error.column).collect();
    assert_eq!(columns, [23, 36]);
}

#[test]
fn windows_line_ends_and_a_missing_last_one_change_no_place() {
    let text = with("\"info\"", "\"inf\"");
    let expected = errors(&text);
    assert_eq!(errors(&text.replace('\n', "\r\n")), expected);
    assert_eq!(errors(text.trim_end()), expected);
}

#[test]
fn an_empty_file_is_told_what_it_lacks() {
    let errors = errors("");
    let paths: Vec<_> = errors.errors().iter().map(|error| error.path.as_str()).collect();
    assert_eq!(paths, ["bgp", "pop", "regions"], "{errors}");
    assert!(errors.errors().iter().all(|error| (error.line, error.column) == (1, 1)), "{errors}");
}

#[test]
fn broken_toml_does_not_hide_other_mistakes_nor_invent_any() {
    let text = with("name = \"fra1\"", "name = fra1").replacen("\"9s\"", "\"2s\"", 1).replacen(
        "[pools.raw]",
        "[pools.raw",
        1,
    );
    let errors = errors(&text);
    let lines: Vec<_> = errors.errors().iter().map(|error| error.line).collect();
    assert_eq!(lines, [2, 13, 64], "{errors}");
}
