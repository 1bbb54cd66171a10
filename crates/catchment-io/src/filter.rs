//! The packet filter: nftables rules that hand two kinds of packets to the TUN device.
//!
//! - *leaving*: resets that the kernel makes for want of a socket, from an anycast address;
//! - *arriving*: packets of diverted flows. The set of those flows is normally empty, so that other packets
//!   pay for one look-up in an empty set. A SYN that reuses a diverted flow's ports takes it out of the set.
//!
//! The tables have the `owner` flag (nftables ≥ 1.0.2): they belong to the `nft` process that made them, which
//! ends with us, and go with it.

use std::{fmt::Write as _, net::IpAddr, process::Stdio};

use proxima_catchment::Flow;
use proxima_types::{Family, Prefix};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
};

use crate::tunnel::{DEVICE, RELEASE_MARK};

/// Why there is no packet filter.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// No `nft` to run.
    #[error("cannot run nft: {0}; install the package nftables (1.0.2 or newer)")]
    Run(std::io::Error),
    /// It took the rules amiss.
    #[error(
        "nft refused the rules: {0}; it needs CAP_NET_ADMIN, nftables 1.0.2 or newer, and no other proximad here"
    )]
    Refused(String),
}

/// The `nft` process that owns the tables.
pub(crate) struct Filter {
    stdin: ChildStdin,
    complaints: Lines<BufReader<ChildStderr>>,
    _stdout: Lines<BufReader<ChildStdout>>,
    _child: Child,
}

/// Printed by nft when it has taken all the rules.
const LAST_SET: &str = "taken";

impl Filter {
    /// Starts nft and waits until the rules for `vips` stand.
    pub(crate) async fn install(vips: &[Prefix]) -> Result<Self, FilterError> {
        let mut child = Command::new("nft")
            .arg("--interactive")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(FilterError::Run)?;
        let (Some(mut stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(FilterError::Refused("no pipes to it".to_owned()));
        };
        let mut stdout = BufReader::new(stdout).lines();
        let mut complaints = BufReader::new(stderr).lines();
        stdin.write_all(rules(vips).as_bytes()).await.map_err(FilterError::Run)?;
        loop {
            tokio::select! {
                biased;
                line = complaints.next_line() => {
                    let line = line.ok().flatten().unwrap_or_else(|| "it ended".to_owned());
                    return Err(FilterError::Refused(line));
                }
                line = stdout.next_line() => match line {
                    Ok(Some(line)) if line.contains(LAST_SET) => break,
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => return Err(FilterError::Refused("it ended".to_owned())),
                }
            }
        }
        Ok(Self { stdin, complaints, _stdout: stdout, _child: child })
    }

    /// Diverts a flow's packets from now on.
    pub(crate) async fn divert(&mut self, flow: &Flow) -> std::io::Result<()> {
        let (table, client, vip) = (table(flow.client.ip()), flow.client, flow.vip);
        let command = format!(
            "add element {table} proxima diverted {{ {} . {} . {} . {} }}\n",
            client.ip(),
            client.port(),
            vip.ip(),
            vip.port()
        );
        self.stdin.write_all(command.as_bytes()).await
    }

    /// The next line nft complains with; `None` when it has ended.
    pub(crate) async fn complaint(&mut self) -> Option<String> {
        self.complaints.next_line().await.ok().flatten()
    }
}

fn table(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "ip" } else { "ip6" }
}

/// The commands, one a line, as nft reads them from its standard input.
fn rules(vips: &[Prefix]) -> String {
    let mut text = String::new();
    for (family, table, kind, gateway) in [
        (Family::Ipv4, "ip", "ipv4_addr", "169.254.112.120"),
        (Family::Ipv6, "ip6", "ipv6_addr", "fe80::7078"),
    ] {
        let prefixes: Vec<_> =
            vips.iter().filter(|prefix| prefix.family() == family).map(Prefix::to_string).collect();
        if prefixes.is_empty() {
            continue;
        }
        let flow = format!("{table} saddr . tcp sport . {table} daddr . tcp dport");
        let to_core = format!("dup to {gateway} device \"{DEVICE}\" drop");
        let lines = [
            format!("add table {table} proxima {{ flags owner; }}"),
            format!(
                "add set {table} proxima vips {{ type {kind}; flags interval; auto-merge; elements = {{ {} }}; }}",
                prefixes.join(", ")
            ),
            format!(
                "add set {table} proxima diverted {{ type {kind} . inet_service . {kind} . inet_service; \
                 flags dynamic, timeout; timeout 10m; size 65536; }}"
            ),
            format!(
                "add chain {table} proxima arriving {{ type filter hook prerouting priority mangle; policy accept; }}"
            ),
            format!("add rule {table} proxima arriving iifname \"{DEVICE}\" accept"),
            format!(
                "add rule {table} proxima arriving {table} daddr @vips tcp flags & (syn | ack) == syn \
                 delete @diverted {{ {flow} }}"
            ),
            format!(
                "add rule {table} proxima arriving tcp flags & (syn | ack) != syn {flow} @diverted \
                 update @diverted {{ {flow} timeout 10m }} {to_core}"
            ),
            format!(
                "add chain {table} proxima leaving {{ type filter hook output priority mangle; policy accept; }}"
            ),
            format!(
                "add rule {table} proxima leaving oifname != \"{DEVICE}\" meta mark != {RELEASE_MARK} \
                 {table} saddr @vips tcp flags & (rst | ack) == rst {to_core}"
            ),
            format!("add set {table} proxima {LAST_SET} {{ type {kind}; }}"),
        ];
        for line in lines {
            let _ = writeln!(text, "{line}");
        }
        let _ = writeln!(text, "list set {table} proxima {LAST_SET}");
    }
    text
}
