//! An app server's host: starting, killing and restarting the program.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    path::PathBuf,
    process::{Command, ExitStatus},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;

use super::{Host, Options, plan};
use crate::{
    error::{Error, Result},
    link::WanLink,
    process::Process,
    wait::wait_until,
};

/// A start that takes longer has failed.
const START: Duration = Duration::from_secs(10);
/// An app that does not answer a question of ours in this time does not answer.
const ANSWER: Duration = Duration::from_secs(10);

/// An app server on its own host.
#[derive(Debug)]
pub struct App {
    /// The host; its name is the backend's name in the daemons' configs, such as `eu-1`.
    pub host: Host,
    region: String,
    program: PathBuf,
    log: PathBuf,
    requests: PathBuf,
    /// The line it hangs on, if that is emulated; frames go [`crate::link::Direction::Forth`] to the app.
    pub line: Option<WanLink>,
    process: Mutex<Option<Process>>,
}

impl App {
    pub(super) fn new(host: Host, line: Option<WanLink>, region: &str, options: &Options) -> Self {
        let file = |ending: &str| options.work_dir.join("logs").join(format!("{}.{ending}", host.name));
        let (log, requests) = (file("log"), file("requests"));
        let program = options.app_server.clone();
        Self { host, region: region.to_owned(), program, log, requests, line, process: Mutex::new(None) }
    }

    /// Its name, such as `eu-1`.
    pub fn name(&self) -> &str {
        &self.host.name
    }

    /// Where it listens for HTTP.
    pub fn http_address(&self) -> SocketAddr {
        (self.host.addresses.v4, plan::APP_HTTP_PORT).into()
    }

    /// Whether the program runs.
    pub fn is_running(&self) -> bool {
        self.process().as_ref().is_some_and(Process::is_running)
    }

    /// Starts the program unless it runs, and waits until it listens.
    pub async fn start(&self) -> Result<()> {
        self.spawn()?;
        self.wait_listening().await
    }

    /// Kills the program with SIGKILL; the moment just before.
    pub fn kill(&self) -> Result<Instant> {
        self.signal(Signal::SIGKILL)
    }

    /// Sends the program a signal, such as SIGSTOP; the moment just before.
    pub fn signal(&self, signal: Signal) -> Result<Instant> {
        self.process().as_ref().map_or_else(|| Ok(Instant::now()), |process| process.signal(signal))
    }

    /// Changes how it misbehaves: `change` is the JSON of [`crate::app::switches`].
    pub fn switch(&self, change: &str) -> Result<()> {
        let doing = format!("switching {} to {change}", self.name());
        let answer = self.host.ns.run(|| post("/switch", change))?.map_err(Error::io(doing.clone()))?;
        if answer.starts_with("HTTP/1.1 200") {
            Ok(())
        } else {
            Err(Error::Claim(format!("{doing}: {answer}")))
        }
    }

    /// The requests it was given since the world began, one line each: the method and the `x-request-id`.
    pub fn requests(&self) -> Result<Vec<String>> {
        let doing = format!("reading {}", self.requests.display());
        let text = fs::read_to_string(&self.requests).map_err(Error::io(doing))?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// The last lines it wrote.
    pub fn log_tail(&self) -> String {
        crate::process::tail(&self.log)
    }

    pub(super) fn spawn(&self) -> Result<()> {
        let mut process = self.process();
        if process.as_ref().is_some_and(Process::is_running) {
            return Ok(());
        }
        let mut command = Command::new(&self.program);
        command
            .args(["app", "--region", &self.region, "--name", self.name()])
            .args(["--listen", &format!("[::]:{}", plan::APP_HTTP_PORT)])
            .args(["--tcp-echo", &plan::APP_ECHO_PORT.to_string()])
            .arg("--record")
            .arg(&self.requests);
        *process = Some(Process::start(&self.host.ns, self.name(), command, &self.log)?);
        Ok(())
    }

    pub(super) async fn wait_listening(&self) -> Result<()> {
        let local: [IpAddr; 2] = [self.host.addresses.v4.into(), self.host.addresses.v6.into()];
        let ports = [plan::APP_HTTP_PORT, plan::APP_ECHO_PORT];
        wait_until(START, || {
            if let Some(process) = self.process().as_ref() {
                process.check()?;
            }
            let refused = self.host.ns.run(|| {
                local
                    .iter()
                    .flat_map(|ip| ports.map(|port| SocketAddr::new(*ip, port)))
                    .find(|address| TcpStream::connect(address).is_err())
            })?;
            Ok(refused.map_or_else(String::new, |address| {
                format!("{} does not listen on {address}\n{}", self.name(), self.log_tail())
            }))
        })
        .await
    }

    /// Waits for the program's end. `None` when it still runs after `within`, or never ran.
    pub async fn wait_ended(&self, within: Duration) -> Option<ExitStatus> {
        let exit = self.process().as_ref().map(Process::exit)?;
        exit.wait(within).await
    }

    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends a POST to the app of the host this thread is on; the answer with its head.
fn post(target: &str, body: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, plan::APP_HTTP_PORT))?;
    stream.set_read_timeout(Some(ANSWER))?;
    write!(
        stream,
        "POST {target} HTTP/1.1\r\nhost: app\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
