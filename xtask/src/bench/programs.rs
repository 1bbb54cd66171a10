//! The programs under measurement: their configurations, their start, their end.

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

const START_LIMIT: Duration = Duration::from_secs(10);

/// A started program that serves HTTP on a port of the loopback. Dropping it ends it and its children.
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) port: u16,
    child: Child,
    log: PathBuf,
}

impl Server {
    /// nginx as the backend: a small body for every request.
    pub(crate) fn nginx_backend(directory: &Path) -> Result<Self> {
        let body = r#"return 200 "hello world, this is a small response body\n";"#;
        Self::nginx(directory, "backend", "", body)
    }

    /// nginx as a reverse proxy with keep-alive on both sides.
    pub(crate) fn nginx_proxy(directory: &Path, backend: u16) -> Result<Self> {
        let upstream = format!(
            "upstream b {{ server 127.0.0.1:{backend}; keepalive 256; keepalive_requests 100000000; }}"
        );
        let location = r#"proxy_pass http://b; proxy_http_version 1.1; proxy_set_header Connection "";"#;
        Self::nginx(directory, "nginx", &upstream, location)
    }

    /// proximad with one worker and no BGP peers: a service on the loopback.
    pub(crate) fn proximad(directory: &Path, program: &Path, backend: u16) -> Result<Self> {
        let port = free_port()?;
        let socket = directory.join("admin.sock");
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
listen = ["127.0.0.1:{port}"]
protocol = "http"
[[services.web.routes]]
pool = "app"
[pools.app]
probe = {{ tcp = true }}
[[pools.app.backends]]
name = "nginx"
region = "here"
address = "127.0.0.1:{backend}"
[data-plane]
workers = 1
[admin]
socket = "{}"
[log]
level = "warn"
"#,
            socket.display()
        );
        let path = directory.join("proximad.toml");
        fs::write(&path, config).with_context(|| format!("writing {}", path.display()))?;
        let mut command = Command::new(program);
        command.arg("--config").arg(path);
        Self::start("proxima", port, directory, &mut command)
    }

    /// The processes whose CPU counts: the one started and its children.
    pub(crate) fn pids(&self) -> Result<Vec<u32>> {
        let pid = self.child.id();
        let path = format!("/proc/{pid}/task/{pid}/children");
        let children = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
        let children = children.split_whitespace().filter_map(|text| text.parse().ok());
        Ok(std::iter::once(pid).chain(children).collect())
    }

    fn nginx(directory: &Path, name: &str, upstream: &str, location: &str) -> Result<Self> {
        let port = free_port()?;
        let home = directory.join(name);
        fs::create_dir(&home).with_context(|| format!("making {}", home.display()))?;
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {}/{kind}; ", home.display()))
            .concat();
        let home = home.display();
        let config = format!(
            "worker_processes 1; daemon off; pid {home}/pid; error_log {home}/error;\n\
             events {{ worker_connections 4096; }}\n\
             http {{ access_log off; keepalive_requests 100000000; {temporary}\n {upstream}\n \
             server {{ listen 127.0.0.1:{port}; location / {{ {location} }} }} }}\n"
        );
        let path = directory.join(format!("{name}.conf"));
        fs::write(&path, config).with_context(|| format!("writing {}", path.display()))?;
        let mut command = Command::new("nginx");
        command.arg("-e").arg(format!("{home}/error")).arg("-c").arg(path);
        Self::start(name, port, directory, &mut command)
    }

    fn start(name: &str, port: u16, directory: &Path, command: &mut Command) -> Result<Self> {
        let log = directory.join(format!("{name}.log"));
        let file = fs::File::create(&log).with_context(|| format!("writing {}", log.display()))?;
        let errors = file.try_clone().context("sharing a log file")?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            .spawn()
            .with_context(|| format!("starting {}", command.get_program().display()))?;
        let mut server = Self { name: name.to_owned(), port, child, log };
        server.wait_until_it_serves()?;
        Ok(server)
    }

    fn wait_until_it_serves(&mut self) -> Result<()> {
        let start = Instant::now();
        while !answers_ok(self.port) {
            let ended = self.child.try_wait().context("asking for a child's end")?;
            if ended.is_some() || start.elapsed() > START_LIMIT {
                let log = fs::read_to_string(&self.log).unwrap_or_default();
                let how = ended.map_or("does not answer".to_owned(), |status| format!("ended: {status}"));
                bail!("{} {how}\n{log}", self.name);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        // nginx's worker ends with its master only when the master is asked, not when it is killed.
        let asked = Command::new("kill").arg(self.child.id().to_string()).status();
        if !asked.is_ok_and(|status| status.success()) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// Whether a GET to the port of the loopback is answered with 200.
fn answers_ok(port: u16) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        Ok(status.ends_with(b" 200"))
    };
    ask().unwrap_or(false)
}

/// A port nobody listens on now.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a free port")?;
    let port = listener.local_addr().context("looking for a free port")?.port();
    ensure!(port != 0, "the system gave out port 0");
    Ok(port)
}
