//! The proxies side by side, each with one worker, keep-alive on both sides, and otherwise as they come.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use super::{
    OURS,
    server::{Ports, Server},
    tools::Tools,
    work::Work,
    write,
};

const LARGE: usize = 1024 * 1024;

/// Everything that runs; dropping it ends all.
pub(super) struct Proxies {
    _backend: Server,
    proxies: Vec<Server>,
}

impl Proxies {
    /// All of them before nginx.
    pub(super) fn start(directory: &Path, proximad: &Path, tools: &Tools) -> Result<Self> {
        let backend = backend(directory)?;
        let site = Site::new(directory, proximad, tools, backend.plain)?;
        let proxies = ["nginx", "haproxy", "envoy", "traefik"].into_iter();
        let proxies =
            [OURS].into_iter().chain(proxies).map(|name| site.start(name)).collect::<Result<_>>()?;
        Ok(Self { _backend: backend, proxies })
    }

    /// Those that take part in `work`.
    pub(super) fn of(&self, work: Work) -> Vec<&Server> {
        let takes_part = |server: &&Server| server.name == OURS || work.others().contains(&server.name);
        self.proxies.iter().filter(takes_part).collect()
    }
}

/// Where proxies are started, and before what.
pub(super) struct Site<'a> {
    directory: &'a Path,
    proximad: &'a Path,
    tools: &'a Tools,
    keys: Keys,
    app: u16,
    /// Clients that HAProxy has room for.
    pub(super) clients: u32,
    /// More lines of HAProxy's `defaults`.
    pub(super) haproxy: &'static str,
}

impl<'a> Site<'a> {
    /// In a directory of its own, before the app at this port.
    pub(super) fn new(directory: &'a Path, proximad: &'a Path, tools: &'a Tools, app: u16) -> Result<Self> {
        Ok(Self { directory, proximad, tools, keys: Keys::make(directory)?, app, clients: 4000, haproxy: "" })
    }

    /// Starts the proxy of this name.
    pub(super) fn start(&self, name: &str) -> Result<Server> {
        let Self { directory, proximad, tools, keys, app, clients, haproxy: more } = self;
        match name {
            OURS => ours(directory, proximad, keys, *app),
            "nginx" => nginx_proxy(directory, keys, *app),
            "haproxy" => haproxy(directory, &tools.haproxy, keys, *app, (*clients, more)),
            "envoy" => envoy(directory, &tools.envoy, keys, *app),
            "traefik" => traefik(directory, &tools.traefik, keys, *app),
            name => anyhow::bail!("no proxy is called {name}"),
        }
    }

    /// The certificate of all, which clients may trust.
    pub(super) fn certificate(&self) -> &Path {
        &self.keys.certificate
    }
}

/// A certificate for `localhost` and its key.
struct Keys {
    certificate: PathBuf,
    key: PathBuf,
    /// Both in one file, as HAProxy wants it.
    both: PathBuf,
}

impl Keys {
    fn make(directory: &Path) -> Result<Self> {
        let [certificate, key, both] = ["c.pem", "k.pem", "ck.pem"].map(|name| directory.join(name));
        let output = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
                "-days",
                "30",
            ])
            .args([
                "-subj",
                "/CN=localhost",
                "-addext",
                "subjectAltName=DNS:localhost,IP:127.0.0.1",
                // Of a server, which strict clients tell from an authority's.
                "-addext",
                "basicConstraints=critical,CA:FALSE",
                "-keyout",
            ])
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .output()
            .context("running openssl")?;
        ensure!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
        let text = [&certificate, &key].map(|path| fs::read_to_string(path).unwrap_or_default()).concat();
        fs::write(&both, text).with_context(|| format!("writing {}", both.display()))?;
        for secret in [&key, &both] {
            fs::set_permissions(secret, fs::Permissions::from_mode(0o600))
                .with_context(|| format!("guarding {}", secret.display()))?;
        }
        Ok(Self { certificate, key, both })
    }
}

/// nginx as the app: a small body for every request, and a large one.
pub(super) fn backend(directory: &Path) -> Result<Server> {
    let files = directory.join("files");
    fs::create_dir(&files).with_context(|| format!("making {}", files.display()))?;
    let large = files.join("large");
    fs::write(&large, vec![b'x'; LARGE]).with_context(|| format!("writing {}", large.display()))?;
    let ports = Ports::free()?;
    let servers = format!(
        "server {{ listen 127.0.0.1:{}; location = /large {{ root {}; }} \
         location / {{ return 200 \"hello world, this is a small response body\\n\"; }} }}",
        ports.plain,
        files.display()
    );
    nginx(directory, "backend", ports, &servers)
}

fn nginx_proxy(directory: &Path, keys: &Keys, app: u16) -> Result<Server> {
    let ports = Ports::free()?;
    let location =
        "location / { proxy_pass http://b; proxy_http_version 1.1; proxy_set_header Connection \"\"; }";
    let servers = format!(
        "upstream b {{ server 127.0.0.1:{app}; keepalive 256; keepalive_requests 100000000; }}\n\
         server {{ listen 127.0.0.1:{}; {location} }}\n\
         server {{ listen 127.0.0.1:{} ssl http2; ssl_certificate {}; ssl_certificate_key {}; {location} }}",
        ports.plain,
        ports.tls,
        keys.certificate.display(),
        keys.key.display()
    );
    nginx(directory, "nginx", ports, &servers)
}

fn nginx(directory: &Path, name: &'static str, ports: Ports, servers: &str) -> Result<Server> {
    let home = directory.join(name);
    fs::create_dir_all(&home).with_context(|| format!("making {}", home.display()))?;
    let home = home.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {home}/{kind}; "))
        .concat();
    let config = format!(
        "worker_processes 1; daemon off; pid {home}/pid; error_log {home}/error;\n\
         events {{ worker_connections 8192; }}\n\
         http {{ access_log off; keepalive_requests 100000000; {temporary}\n {servers} }}\n"
    );
    let path = write(directory, &format!("{name}.conf"), &config)?;
    let mut command = Command::new("nginx");
    command.arg("-e").arg(format!("{home}/error")).arg("-c").arg(path);
    Server::start(name, ports, directory, &mut command)
}

fn haproxy(
    directory: &Path,
    program: &Path,
    keys: &Keys,
    app: u16,
    (clients, more): (u32, &str),
) -> Result<Server> {
    let ports = Ports::free()?;
    let config = format!(
        "global\n  nbthread 1\n  maxconn {clients}\n  no strict-limits\n\
         defaults\n  mode http\n{more}  timeout connect 5s\n  timeout client 50s\n  timeout server 50s\n\
         frontend h\n  bind 127.0.0.1:{}\n  default_backend b\n\
         frontend s\n  bind 127.0.0.1:{} ssl crt {} alpn h2,http/1.1\n  default_backend b\n\
         backend b\n  http-reuse always\n  server s 127.0.0.1:{app}\n",
        ports.plain,
        ports.tls,
        keys.both.display()
    );
    let mut command = Command::new(program);
    command.arg("-db").arg("-f").arg(write(directory, "haproxy.cfg", &config)?);
    Server::start("haproxy", ports, directory, &mut command)
}

/// Over the loopback, the kernel hands Envoy what oha sends at once as one datagram, which Envoy drops unless it asks for that (GRO):
/// with most of each handshake, and of every burst of requests. oha waits until the server ends a connection that it has left.
fn envoy(directory: &Path, program: &Path, keys: &Keys, app: u16) -> Result<Server> {
    const ENDS_WHEN_IDLE: &str =
        "\n          common_http_protocol_options: {idle_timeout: 1s}\n          drain_timeout: 0.1s";
    const TYPES: &str = "type.googleapis.com/envoy.extensions";
    let ports = Ports::free()?;
    let manager = |prefix: &str, codec: &str, more: &str| {
        format!(
            r#"filters:
      - name: manager
        typed_config:
          "@type": {TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: {prefix}
          codec_type: {codec}{more}
          generate_request_id: false
          route_config: {{virtual_hosts: [{{name: a, domains: ["*"], routes: [{{match: {{prefix: "/"}}, route: {{cluster: b, timeout: 0s}}}}]}}]}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": {TYPES}.filters.http.router.v3.Router, suppress_envoy_headers: true}}
"#
        )
    };
    let context = format!(
        "{{tls_certificates: [{{certificate_chain: {{filename: {}}}, private_key: {{filename: {}}}}}], alpn_protocols: ",
        keys.certificate.display(),
        keys.key.display()
    );
    let config = format!(
        r#"static_resources:
  listeners:
  - name: plain
    address: {{socket_address: {{address: 127.0.0.1, port_value: {plain}}}}}
    filter_chains:
    - {manager_plain}
  - name: tls
    address: {{socket_address: {{address: 127.0.0.1, port_value: {tls}}}}}
    filter_chains:
    - transport_socket:
        name: tls
        typed_config:
          "@type": {TYPES}.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context: {context}["h2","http/1.1"]}}
      {manager_tls}
  - name: quic
    address: {{socket_address: {{address: 127.0.0.1, port_value: {tls}, protocol: UDP}}}}
    udp_listener_config: {{quic_options: {{}}, downstream_socket_config: {{prefer_gro: true}}}}
    filter_chains:
    - transport_socket:
        name: quic
        typed_config:
          "@type": {TYPES}.transport_sockets.quic.v3.QuicDownstreamTransport
          downstream_tls_context: {{common_tls_context: {context}["h3"]}}}}
      {manager_quic}
  clusters:
  - name: b
    type: STATIC
    connect_timeout: 5s
    load_assignment: {{cluster_name: b, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {app}}}}}}}}}]}}]}}
    circuit_breakers: {{thresholds: [{{max_connections: 100000, max_pending_requests: 100000, max_requests: 100000}}]}}
"#,
        plain = ports.plain,
        tls = ports.tls,
        manager_plain = manager("plain", "AUTO", ""),
        manager_tls = manager("tls", "AUTO", ""),
        manager_quic = manager("quic", "HTTP3", ENDS_WHEN_IDLE),
    );
    let mut command = Command::new(program);
    command.args(["--concurrency", "1", "-l", "error", "-c"]).arg(write(directory, "envoy.yaml", &config)?);
    Server::start("envoy", ports, directory, &mut command)
}

fn traefik(directory: &Path, program: &Path, keys: &Keys, app: u16) -> Result<Server> {
    let ports = Ports::free()?;
    let dynamic = format!(
        "http:\n  routers: {{r: {{rule: \"PathPrefix(`/`)\", service: b, entryPoints: [h]}}, \
         s: {{rule: \"PathPrefix(`/`)\", service: b, entryPoints: [s], tls: {{}}}}}}\n  \
         services: {{b: {{loadBalancer: {{servers: [{{url: \"http://127.0.0.1:{app}\"}}]}}}}}}\n\
         tls: {{stores: {{default: {{defaultCertificate: {{certFile: {}, keyFile: {}}}}}}}}}\n",
        keys.certificate.display(),
        keys.key.display()
    );
    let config = format!(
        "global: {{checkNewVersion: false, sendAnonymousUsage: false}}\nlog: {{level: ERROR}}\n\
         entryPoints: {{h: {{address: \"127.0.0.1:{}\"}}, s: {{address: \"127.0.0.1:{}\", http3: {{}}, \
         transport: {{respondingTimeouts: {{idleTimeout: 1s}}}}}}}}\n\
         providers: {{file: {{filename: {}}}}}\n",
        ports.plain,
        ports.tls,
        write(directory, "traefik-dynamic.yml", &dynamic)?.display()
    );
    let mut command = Command::new(program);
    let path = write(directory, "traefik.yml", &config)?;
    command.arg(format!("--configFile={}", path.display())).env("GOMAXPROCS", "1");
    Server::start("traefik", ports, directory, &mut command)
}

/// proximad with one worker and no BGP peers.
fn ours(directory: &Path, program: &Path, keys: &Keys, app: u16) -> Result<Server> {
    let ports = Ports::free()?;
    let config = format!(
        r#"[pop]
name = "bench"
region = "here"
router-id = "192.0.2.1"
[regions.here]
jurisdiction = "XX"
[bgp]
local-as = 64512
[services.web]
listen = ["127.0.0.1:{}"]
protocol = "http"
[[services.web.routes]]
pool = "app"
[services.secure]
listen = ["127.0.0.1:{}"]
protocol = "https"
tls = {{ certificate = "{}", key = "{}" }}
[[services.secure.routes]]
pool = "app"
[pools.app]
probe = {{ tcp = true }}
[[pools.app.backends]]
name = "nginx"
region = "here"
address = "127.0.0.1:{app}"
[data-plane]
workers = 1
[admin]
socket = "{}"
[log]
level = "warn"
"#,
        ports.plain,
        ports.tls,
        keys.certificate.display(),
        keys.key.display(),
        directory.join("admin.sock").display()
    );
    let mut command = Command::new(program);
    command.arg("--config").arg(write(directory, "proximad.toml", &config)?);
    Server::start(OURS, ports, directory, &mut command)
}
