//! wrk as the load: started, and what it prints.

use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::Options;

/// What a run of wrk came to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Load {
    /// Requests answered.
    pub(crate) requests: u64,
    /// Requests per second.
    pub(crate) rate: f64,
    /// 99 % of the latencies are below; as wrk writes it, such as `3.21ms`.
    pub(crate) p99: String,
}

/// Loads a port of the loopback for `seconds`.
pub(crate) fn load(port: u16, seconds: u32, options: &Options) -> Result<Load> {
    let output = Command::new("wrk")
        .args(["-t1", "--latency", &format!("-c{}", options.connections), &format!("-d{seconds}s")])
        .arg(format!("http://127.0.0.1:{port}/"))
        .output()
        .context("running wrk")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "wrk: {}", String::from_utf8_lossy(&output.stderr));
    let load = parse(&text).with_context(|| format!("wrk printed:\n{text}"))?;
    if let Some(errors) = text.lines().find(|line| line.contains("Non-2xx") || line.contains("Socket errors"))
    {
        bail!("on port {port}: {}", errors.trim());
    }
    Ok(load)
}

fn parse(text: &str) -> Option<Load> {
    let field = |marker: &str| text.lines().find(|line| line.contains(marker));
    Some(Load {
        requests: field(" requests in ")?.split_whitespace().next()?.parse().ok()?,
        rate: field("Requests/sec:")?.split_whitespace().nth(1)?.parse().ok()?,
        p99: field("99%")?.split_whitespace().nth(1)?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_from_what_wrk_prints() {
        let text = "Running 5s test @ http://127.0.0.1:1/\n  1 threads and 64 connections\n  \
            Latency Distribution\n     50%    1.10ms\n     75%    1.40ms\n     90%    1.80ms\n     99%    3.21ms\n  \
            229810 requests in 5.00s, 44.06MB read\nRequests/sec:  45955.11\nTransfer/sec:      8.81MB\n";
        assert_eq!(parse(text), Some(Load { requests: 229_810, rate: 45955.11, p99: "3.21ms".to_owned() }));
        assert_eq!(parse("unable to connect"), None);
    }
}
