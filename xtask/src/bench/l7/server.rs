//! A started program that serves HTTP.

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

const START_LIMIT: Duration = Duration::from_secs(20);

/// A program that serves on ports of the loopback. Dropping it ends it and its children.
pub(super) struct Server {
    pub(super) name: &'static str,
    /// HTTP/1.1 in plain text.
    pub(super) plain: u16,
    /// HTTP/1.1 and /2 over TLS; over UDP, HTTP/3.
    pub(super) tls: u16,
    child: Child,
    log: PathBuf,
}

/// The ports of one program.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ports {
    pub(super) plain: u16,
    pub(super) tls: u16,
}

impl Ports {
    /// Two that nobody listens on now.
    pub(super) fn free() -> Result<Self> {
        Ok(Self { plain: free_port()?, tls: free_port()? })
    }
}

impl Server {
    /// Starts `command` and waits until it answers in plain text.
    pub(super) fn start(
        name: &'static str,
        Ports { plain, tls }: Ports,
        directory: &Path,
        command: &mut Command,
    ) -> Result<Self> {
        let log = directory.join(format!("{name}.log"));
        let file = fs::File::create(&log).with_context(|| format!("writing {}", log.display()))?;
        let errors = file.try_clone().context("sharing a log file")?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            .spawn()
            .with_context(|| format!("starting {}", command.get_program().display()))?;
        let mut server = Self { name, plain, tls, child, log };
        server.wait_until_it_serves()?;
        Ok(server)
    }

    /// The processes whose CPU counts: the one started, its children and theirs.
    pub(super) fn pids(&self) -> Result<Vec<u32>> {
        let mut pids = vec![self.child.id()];
        let mut next = 0;
        while let Some(pid) = pids.get(next).copied() {
            next += 1;
            let path = format!("/proc/{pid}/task/{pid}/children");
            let children = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
            pids.extend(children.split_whitespace().filter_map(|text| text.parse::<u32>().ok()));
        }
        Ok(pids)
    }

    /// Lets all its threads run on this processor only.
    pub(super) fn keep_to(&self, processor: u32) -> Result<()> {
        for pid in self.pids()? {
            let mut command = Command::new("taskset");
            command.args(["--all-tasks", "--pid", "--cpu-list", &processor.to_string(), &pid.to_string()]);
            let output = command.output().context("running taskset")?;
            ensure!(output.status.success(), "taskset: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    fn wait_until_it_serves(&mut self) -> Result<()> {
        let start = Instant::now();
        while !answers_ok(self.plain) {
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

/// A port nobody listens on now, over TCP and UDP.
fn free_port() -> Result<u16> {
    loop {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a free port")?;
        let port = listener.local_addr().context("looking for a free port")?.port();
        ensure!(port != 0, "the system gave out port 0");
        if UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
}
