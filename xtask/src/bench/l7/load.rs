//! The load generators: started, and what they print; and strace, which counts.

use std::{
    io::Read,
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// What a load came to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Load {
    /// Requests answered with 200.
    pub(super) requests: u64,
    /// Requests per second.
    pub(super) rate: f64,
}

/// wrk, one thread.
pub(super) fn wrk(connections: u32, seconds: u32, url: &str, more: &[&str]) -> Result<Load> {
    let mut command = Command::new("wrk");
    command.args(["-t1", &format!("-c{connections}"), &format!("-d{seconds}s")]).args(more).arg(url);
    let text = printed(&mut command)?;
    if let Some(errors) = text.lines().find(|line| line.contains("Non-2xx") || line.contains("Socket errors"))
    {
        bail!("{url}: {}", errors.trim());
    }
    of_wrk(&text).with_context(|| format!("wrk printed:\n{text}"))
}

fn of_wrk(text: &str) -> Option<Load> {
    let field = |marker: &str| text.lines().find(|line| line.contains(marker));
    Some(Load {
        requests: field(" requests in ")?.split_whitespace().next()?.parse().ok()?,
        rate: field("Requests/sec:")?.split_whitespace().nth(1)?.parse().ok()?,
    })
}

/// h2load over TLS, one thread.
pub(super) fn h2load(connections: u32, streams: u32, seconds: u32, url: &str) -> Result<Load> {
    let mut command = Command::new("h2load");
    command
        .args(["-t1", &format!("-c{connections}"), &format!("-m{streams}"), &format!("-D{seconds}")])
        .arg(url);
    let text = printed(&mut command)?;
    let load = of_h2load(&text).with_context(|| format!("h2load printed:\n{text}"))?;
    ensure!(
        text.contains("Application protocol: h2"),
        "{url} does not speak HTTP/2: h2load printed:\n{text}"
    );
    Ok(load)
}

/// None when a request failed.
fn of_h2load(text: &str) -> Option<Load> {
    let line = |start: &str| text.lines().find(|line| line.starts_with(start));
    let number = |line: &str, unit: &str| -> Option<u64> {
        line.split(", ")
            .find_map(|part| part.trim().strip_suffix(unit)?.split_whitespace().next_back()?.parse().ok())
    };
    let codes = line("status codes:")?;
    let rate = line("finished in ")?.split(", ").find_map(|part| part.strip_suffix(" req/s"))?;
    let bad = [" 3xx", " 4xx", " 5xx"].iter().try_fold(0, |sum, class| Some(sum + number(codes, class)?))?;
    let failed = number(line("requests:")?, " errored")?;
    (bad == 0 && failed == 0).then_some(Load { requests: number(codes, " 2xx")?, rate: rate.parse().ok()? })
}

/// oha over HTTP/3.
pub(super) fn oha(
    program: &Path,
    (connections, streams): (u32, u32),
    seconds: u32,
    url: &str,
) -> Result<Load> {
    let mut command = Command::new(program);
    command
        .args(["--no-tui", "--insecure", "--ipv4", "--http-version", "3", "--output-format", "json"])
        .args(["-c", &connections.to_string(), "-p", &streams.to_string(), "-z", &format!("{seconds}s")])
        .arg(url);
    let text = printed(&mut command)?;
    of_oha(&text, seconds).with_context(|| format!("oha printed:\n{text}"))
}

/// None when a request failed, or was answered with anything but 200. The rate that oha prints is one over the time that it
/// waited for the ends of its connections, too.
fn of_oha(text: &str, seconds: u32) -> Option<Load> {
    const CUT: &str = "aborted due to deadline";
    let report: Value = serde_json::from_str(text).ok()?;
    let codes = report.get("statusCodeDistribution")?.as_object()?;
    let errors = report.get("errorDistribution")?.as_object()?;
    let requests = codes.get("200")?.as_u64()?;
    let is_good = codes.len() == 1 && errors.keys().all(|error| error == CUT);
    is_good.then(|| Load { requests, rate: requests as f64 / f64::from(seconds) })
}

fn printed(command: &mut Command) -> Result<String> {
    let program = command.get_program().display().to_string();
    let output = command.output().with_context(|| format!("running {program}"))?;
    ensure!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// strace that counts the system calls of some processes.
pub(super) struct Calls {
    strace: Child,
}

impl Calls {
    pub(super) fn begin(pids: &[u32]) -> Result<Self> {
        let mut command = Command::new("strace");
        command.args(["-f", "-c", "-q"]);
        for pid in pids {
            command.args(["-p", &pid.to_string()]);
        }
        let strace =
            command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().context("starting strace")?;
        Ok(Self { strace })
    }

    /// How many there were.
    pub(super) fn end(mut self) -> Result<u64> {
        let pid = self.strace.id().to_string();
        Command::new("kill").args(["-INT", &pid]).status().context("ending strace")?;
        let mut text = String::new();
        if let Some(stderr) = &mut self.strace.stderr {
            stderr.read_to_string(&mut text).context("reading what strace counted")?;
        }
        self.strace.wait().context("waiting for strace")?;
        of_strace(&text).with_context(|| format!("strace printed:\n{text}"))
    }
}

/// The column `calls` of the line `total`; before it stand the share, the seconds and the microseconds per call.
fn of_strace(text: &str) -> Option<u64> {
    let total = text.lines().find(|line| line.trim_end().ends_with(" total"))?;
    total.split_whitespace().nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_from_what_wrk_prints() {
        let text = "Running 5s test @ http://127.0.0.1:1/\n  1 threads and 64 connections\n  \
            229810 requests in 5.00s, 44.06MB read\nRequests/sec:  45955.11\nTransfer/sec:      8.81MB\n";
        assert_eq!(of_wrk(text), Some(Load { requests: 229_810, rate: 45955.11 }));
        assert_eq!(of_wrk("unable to connect"), None);
    }

    #[test]
    fn figures_are_read_from_what_h2load_prints() {
        let text = "finished in 2.00s, 41234.50 req/s, 3.10MB/s\n\
            requests: 82469 total, 82789 started, 82469 done, 82469 succeeded, 0 failed, 0 errored, 0 timeout\n\
            status codes: 82470 2xx, 0 3xx, 0 4xx, 0 5xx\n";
        assert_eq!(of_h2load(text), Some(Load { requests: 82470, rate: 41234.5 }));
        assert_eq!(of_h2load(&text.replace("0 5xx", "3 5xx")), None);
        assert_eq!(of_h2load(&text.replace("0 errored", "1 errored")), None);
    }

    #[test]
    fn figures_are_read_from_what_oha_prints() {
        let text = r#"{"statusCodeDistribution": {"200": 2469}, "errorDistribution": {"aborted due to deadline": 8}}"#;
        assert_eq!(of_oha(text, 2), Some(Load { requests: 2469, rate: 1234.5 }));
        assert_eq!(of_oha(&text.replace("2469}", "2469, \"502\": 1}"), 2), None);
        assert_eq!(of_oha(&text.replace("aborted due to deadline", "timeout"), 2), None);
    }

    #[test]
    fn calls_are_read_from_what_strace_prints() {
        let text = "% time     seconds  usecs/call     calls    errors syscall\n\
            ------ ----------- ----------- --------- --------- ----------------\n \
            99.00    0.500000           1    400000       12 write\n\
            ------ ----------- ----------- --------- --------- ----------------\n\
            100.00    0.505000           1    400123        12 total\n";
        assert_eq!(of_strace(text), Some(400_123));
    }
}
