//! The proxies and backends: their ports, configurations and start.

use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use super::{HOST, client::exchange, echo, recorder::Record};
use crate::{
    error::{Error, Result},
    netns::{NetNs, NsRuntime},
    process::Process,
    wait::block_until,
};

/// Where a proxy listens, and the recorder behind it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ports {
    pub(super) proxy: u16,
    pub(super) recorder: u16,
}

pub(super) const PROXIMAD: Ports = Ports { proxy: 8001, recorder: 9001 };
pub(super) const NGINX: Ports = Ports { proxy: 8002, recorder: 9002 };
pub(super) const HAPROXY: Ports = Ports { proxy: 8003, recorder: 9003 };

/// The services of the daemon before the backends that tell what they have read, by the backends' names.
pub(super) const READERS: [(&str, u16); 3] = [("hyper", TO_HYPER), ("Node.js", TO_NODE), ("nginx", TO_NGINX)];
const TO_HYPER: u16 = 8011;
const TO_NODE: u16 = 8012;
const TO_NGINX: u16 = 8013;
const HYPER: u16 = 9011;
const NODE: u16 = 9012;
const NGINX_BEFORE_HYPER: u16 = 9013;

const START_LIMIT: Duration = Duration::from_secs(30);

/// Everything that runs.
pub(super) struct Programs {
    processes: Vec<Process>,
    pub(super) proximad: Record,
    pub(super) nginx: Record,
    pub(super) haproxy: Record,
    _hyper: NsRuntime,
}

impl Programs {
    pub(super) fn start(host: &NetNs, dir: &Path, proximad: &Path) -> Result<Self> {
        let record = |ports: Ports| {
            host.run(|| Record::listen(ports.recorder))?
                .map_err(Error::io(format!("listening on port {}", ports.recorder)))
        };
        let hyper = host.runtime("hyper")?;
        let listener = host
            .run(|| {
                let listener = std::net::TcpListener::bind((HOST, HYPER))?;
                listener.set_nonblocking(true)?;
                Ok(listener)
            })?
            .and_then(|listener| {
                let _inside = hyper.handle().enter();
                tokio::net::TcpListener::from_std(listener)
            })
            .map_err(Error::io(format!("listening on port {HYPER}")))?;
        drop(hyper.spawn(echo::serve(listener)));
        let mut node = Command::new("node");
        node.args(["-e", echo::NODE, &NODE.to_string()]);
        let mut nginx = Command::new("nginx");
        nginx.arg("-e").arg(dir.join("nginx.error")).arg("-c").arg(write(
            dir,
            "nginx.conf",
            &nginx_conf(dir),
        )?);
        let mut haproxy = Command::new("haproxy");
        haproxy.arg("-db").arg("-f").arg(write(dir, "haproxy.cfg", &haproxy_cfg())?);
        let mut daemon = Command::new(proximad);
        daemon.arg("--config").arg(write(dir, "proximad.toml", &proximad_toml(dir))?);
        let start =
            |name: &str, command| Process::start(host, name, command, &dir.join(format!("{name}.log")));
        let programs = Self {
            proximad: record(PROXIMAD)?,
            nginx: record(NGINX)?,
            haproxy: record(HAPROXY)?,
            processes: vec![
                start("node", node)?,
                start("nginx", nginx)?,
                start("haproxy", haproxy)?,
                start("proximad", daemon)?,
            ],
            _hyper: hyper,
        };
        host.run(|| programs.wait_until_they_serve())??;
        Ok(programs)
    }

    /// An error if one of them has ended.
    pub(super) fn check(&self) -> Result<()> {
        self.processes.iter().try_for_each(Process::check)
    }

    fn wait_until_they_serve(&self) -> Result<()> {
        let ports = [PROXIMAD.proxy, NGINX.proxy, HAPROXY.proxy].into_iter();
        for port in ports.chain(READERS.map(|(_, port)| port)) {
            block_until(START_LIMIT, || {
                self.check()?;
                Ok(if answers(port) { String::new() } else { format!("an answer of port {port}") })
            })?;
        }
        for record in [&self.proximad, &self.nginx, &self.haproxy] {
            record.take();
        }
        Ok(())
    }
}

/// `nginx 1.22, HAProxy 2.6`: in these versions others may differ from what they do elsewhere.
pub(super) fn versions() -> Result<String> {
    let told = |program: &str| {
        let output = Command::new(program)
            .arg("-v")
            .output()
            .map_err(Error::io(format!("asking {program} for its version")))?;
        // nginx says it on the standard error.
        let text = [output.stdout, output.stderr].concat();
        Ok(minor(&String::from_utf8_lossy(&text)).unwrap_or_default())
    };
    Ok(format!("nginx {}, HAProxy {}", told("nginx")?, told("haproxy")?))
}

/// The first two numbers of the first version in `text`.
fn minor(text: &str) -> Option<String> {
    let word = text
        .split([' ', '/'])
        .find(|word| word.starts_with(|first: char| first.is_ascii_digit()) && word.contains('.'))?;
    let mut numbers = word.split('.');
    Some(format!("{}.{}", numbers.next()?, numbers.next()?))
}

fn answers(port: u16) -> bool {
    TcpStream::connect((HOST, port)).is_ok()
        && exchange(port, b"GET /ready HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .is_ok_and(|answer| answer.statuses() == [200])
}

fn write(dir: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let path = dir.join(name);
    fs::write(&path, text).map_err(Error::io(format!("writing {}", path.display())))?;
    Ok(path)
}

/// The defaults of nginx but for what a reverse proxy has to set, and that connections end after one answer or soon.
fn nginx_conf(dir: &Path) -> String {
    let dir = dir.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {dir}/nginx-{kind}; "))
        .concat();
    let proxy = |port: u16, to: u16| {
        format!(
            "server {{ listen {HOST}:{port}; location / {{ proxy_pass http://{HOST}:{to}; proxy_http_version 1.1; \
             proxy_set_header Host $http_host; proxy_set_header Connection \"\"; }} }}\n"
        )
    };
    format!(
        "worker_processes 1; daemon off; pid {dir}/nginx.pid; error_log {dir}/nginx.error;\n\
         events {{ worker_connections 512; }}\nhttp {{ access_log off; keepalive_timeout 0; client_header_timeout 2s; \
         client_body_timeout 2s; {temporary}\n{}{} }}\n",
        proxy(NGINX.proxy, NGINX.recorder),
        proxy(NGINX_BEFORE_HYPER, HYPER)
    )
}

/// Its defaults; connections end after one answer or soon.
fn haproxy_cfg() -> String {
    let Ports { proxy, recorder } = HAPROXY;
    format!(
        "global\n  nbthread 1\n  maxconn 512\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 2s\n  timeout server 5s\n  option httpclose\n\
         frontend in\n  bind {HOST}:{proxy}\n  default_backend out\nbackend out\n  server app {HOST}:{recorder}\n"
    )
}

fn proximad_toml(dir: &Path) -> String {
    let service = |(name, listen, app): (&str, u16, u16)| {
        format!(
            r#"[services.{name}]
listen = ["{HOST}:{listen}"]
protocol = "http"
[[services.{name}.routes]]
pool = "{name}"
[pools.{name}]
probe = {{ tcp = true }}
[[pools.{name}.backends]]
name = "{name}"
region = "here"
address = "{HOST}:{app}"
"#
        )
    };
    let services = [
        ("recorder", PROXIMAD.proxy, PROXIMAD.recorder),
        ("hyper", TO_HYPER, HYPER),
        ("node", TO_NODE, NODE),
        ("nginx", TO_NGINX, NGINX_BEFORE_HYPER),
    ];
    format!(
        r#"[pop]
name = "edge"
region = "here"
router-id = "192.0.2.1"
[regions.here]
jurisdiction = "XX"
[bgp]
local-as = 64512
{}[data-plane]
workers = 1
[admin]
socket = "{}"
"#,
        services.map(service).concat(),
        dir.join("admin.sock").display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_told_by_their_first_two_numbers() {
        assert_eq!(minor("nginx version: nginx/1.22.1\n").as_deref(), Some("1.22"));
        assert_eq!(minor("HAProxy version 2.6.12-1+deb12u4 2026/10/17 - x").as_deref(), Some("2.6"));
        assert_eq!(minor("none"), None);
    }
}
