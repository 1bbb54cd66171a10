//! The packet filter: nftables rules that hand two kinds of packets to the TUN device.
//!
//! - *leaving*: resets that the kernel makes for want of a socket, from an anycast address;
//! - *arriving*: packets of diverted flows. The set of those flows is normally empty, so that other packets
//!   pay for one look-up in an empty set. A SYN that reuses a diverted flow's ports takes it out of the set.
//!
//! The tables have the `owner` flag (nftables ≥ 1.0.2): they belong to the `nft` process that made them, which
//! ends with us, and go with it. Should it end before, another takes its place; until then resets go out as if
//! nobody handed flows over, and diverted flows find their way back by their next reset.

use std::{collections::VecDeque, fmt::Write as _, process::Stdio, time::Duration};

use proxima_catchment::Flow;
use proxima_types::{Family, Prefix};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    task::JoinHandle,
    time::{sleep, timeout},
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

/// How long nft may take for the rules, and to end.
const PATIENCE: Duration = Duration::from_secs(5);
/// From the end of one nft process to the start of the next.
const RESTART: Duration = Duration::from_secs(1);
/// How many flows one command diverts: a takeover of thousands takes milliseconds, not seconds.
const FLOWS_A_COMMAND: usize = 256;

/// The tables, and the flows that are to get into them.
pub(crate) struct Filter {
    rules: String,
    waiting: VecDeque<Flow>,
    nft: State,
}

enum State {
    Running(Box<Nft>),
    Restarting(JoinHandle<Result<Box<Nft>, FilterError>>),
}

impl Filter {
    /// Starts nft and waits until the rules for `vips` stand. A diverted flow without a packet for `idle` goes its
    /// own way again.
    pub(crate) async fn install(vips: &[Prefix], idle: Duration) -> Result<Self, FilterError> {
        let rules = rules(vips, idle);
        let nft = Nft::start(&rules).await?;
        Ok(Self { rules, waiting: VecDeque::new(), nft: State::Running(nft) })
    }

    /// Diverts a flow's packets, as soon as [`work`](Self::work) gets to it.
    pub(crate) fn divert(&mut self, flow: Flow) {
        if let State::Running(_) = self.nft {
            self.waiting.push_back(flow);
        }
    }

    /// Tells nft of the flows to divert, and keeps it running. Never returns; cancel-safe.
    pub(crate) async fn work(&mut self) {
        loop {
            match &mut self.nft {
                State::Running(nft) => {
                    nft.work(&mut self.waiting).await;
                    tracing::error!("the nft process ended; no flows are handed over until another runs");
                    self.waiting.clear();
                    self.restart();
                }
                State::Restarting(start) => match start.await {
                    Ok(Ok(nft)) => {
                        tracing::info!("nft runs again; flows are handed over");
                        self.nft = State::Running(nft);
                    }
                    Ok(Err(error)) => {
                        tracing::error!(%error, "no flows are handed over");
                        self.restart();
                    }
                    Err(panic) => {
                        tracing::error!(%panic, "no flows are handed over");
                        self.restart();
                    }
                },
            }
        }
    }

    fn restart(&mut self) {
        let rules = self.rules.clone();
        self.nft = State::Restarting(tokio::spawn(async move {
            sleep(RESTART).await;
            Nft::start(&rules).await
        }));
    }

    /// Ends nft and waits until its tables are gone.
    pub(crate) async fn close(self) {
        match self.nft {
            State::Running(nft) => nft.end().await,
            State::Restarting(start) => start.abort(),
        }
    }
}

/// The `nft` process that owns the tables.
struct Nft {
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
    complaints: Lines<BufReader<ChildStderr>>,
    child: Child,
    unwritten: Vec<u8>,
}

/// Printed by nft when it has taken all the rules.
const LAST_SET: &str = "taken";

impl Nft {
    async fn start(rules: &str) -> Result<Box<Self>, FilterError> {
        let mut child = Command::new("nft")
            .arg("--interactive")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A terminal's Ctrl-C begins a drain; nft is needed to its end.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(FilterError::Run)?;
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(FilterError::Refused("no pipes to it".to_owned()));
        };
        let (stdout, complaints) = (BufReader::new(stdout).lines(), BufReader::new(stderr).lines());
        let mut nft = Box::new(Self { stdin, stdout, complaints, child, unwritten: Vec::new() });
        timeout(PATIENCE, nft.take_rules(rules))
            .await
            .unwrap_or_else(|_| Err(FilterError::Refused(format!("no answer within {PATIENCE:?}"))))?;
        Ok(nft)
    }

    async fn take_rules(&mut self, rules: &str) -> Result<(), FilterError> {
        self.stdin.write_all(rules.as_bytes()).await.map_err(FilterError::Run)?;
        loop {
            tokio::select! {
                biased;
                line = self.complaints.next_line() => {
                    let line = line.ok().flatten().unwrap_or_else(|| "it ended".to_owned());
                    return Err(FilterError::Refused(line));
                }
                line = self.stdout.next_line() => match line {
                    Ok(Some(line)) if line.contains(&format!("set {LAST_SET} {{")) => return Ok(()),
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => return Err(FilterError::Refused("it ended".to_owned())),
                }
            }
        }
    }

    /// Writes commands for the `waiting` flows and reads whatever nft says, so that neither waits for the other.
    /// Returns when the process has ended; cancel-safe.
    async fn work(&mut self, waiting: &mut VecDeque<Flow>) {
        loop {
            if self.unwritten.is_empty() {
                let flows: Vec<Flow> = waiting.drain(..waiting.len().min(FLOWS_A_COMMAND)).collect();
                self.unwritten = divert_commands(&flows).into_bytes();
            }
            tokio::select! {
                biased;
                line = self.complaints.next_line() => match line {
                    Ok(Some(line)) => tracing::warn!(%line, "nft refused a command"),
                    Ok(None) | Err(_) => return,
                },
                line = self.stdout.next_line() => match line {
                    Ok(Some(_)) => {} // Some builds echo the commands.
                    Ok(None) | Err(_) => return,
                },
                written = self.stdin.write(&self.unwritten), if !self.unwritten.is_empty() => match written {
                    Ok(octets) => drop(self.unwritten.drain(..octets)),
                    Err(_) => return,
                },
            }
        }
    }

    async fn end(mut self) {
        drop(self.stdin);
        if timeout(PATIENCE, self.child.wait()).await.is_err() {
            tracing::warn!("nft did not end by itself and is killed");
        }
    }
}

fn divert_commands(flows: &[Flow]) -> String {
    let mut text = String::new();
    for family in Family::ALL {
        let elements: Vec<_> = flows
            .iter()
            .filter(|flow| flow.client.is_ipv4() == (family == Family::Ipv4))
            .map(|Flow { client, vip }| {
                format!("{} . {} . {} . {}", client.ip(), client.port(), vip.ip(), vip.port())
            })
            .collect();
        if !elements.is_empty() {
            let _ = writeln!(
                text,
                "add element {} proxima diverted {{ {} }}",
                table(family),
                elements.join(", ")
            );
        }
    }
    text
}

fn table(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "ip",
        Family::Ipv6 => "ip6",
    }
}

/// The commands, one a line, as nft reads them from its standard input.
fn rules(vips: &[Prefix], idle: Duration) -> String {
    let mut text = String::new();
    for family in Family::ALL {
        for line in family_rules(family, vips, idle) {
            let _ = writeln!(text, "{line}");
        }
    }
    let _ =
        writeln!(text, "add set ip proxima {LAST_SET} {{ type ipv4_addr; }}\nlist set ip proxima {LAST_SET}");
    text
}

fn family_rules(family: Family, vips: &[Prefix], idle: Duration) -> Vec<String> {
    let table = table(family);
    let add_table = format!("add table {table} proxima {{ flags owner; }}");
    let (kind, gateway) = match family {
        Family::Ipv4 => ("ipv4_addr", "169.254.112.120"),
        Family::Ipv6 => ("ipv6_addr", "fe80::7078"),
    };
    let prefixes: Vec<_> =
        vips.iter().filter(|prefix| prefix.family() == family).map(Prefix::to_string).collect();
    if prefixes.is_empty() {
        return vec![add_table];
    }
    let flow = format!("{table} saddr . tcp sport . {table} daddr . tcp dport");
    let to_core = format!("dup to {gateway} device \"{DEVICE}\" drop");
    let timeout = format!("timeout {}s", idle.as_secs());
    vec![
        add_table,
        format!(
            "add set {table} proxima vips {{ type {kind}; flags interval; auto-merge; elements = {{ {} }}; }}",
            prefixes.join(", ")
        ),
        format!(
            "add set {table} proxima diverted {{ type {kind} . inet_service . {kind} . inet_service; \
             flags dynamic, timeout; {timeout}; size 65536; }}"
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
             update @diverted {{ {flow} {timeout} }} {to_core}"
        ),
        format!(
            "add chain {table} proxima leaving {{ type filter hook output priority mangle; policy accept; }}"
        ),
        format!(
            "add rule {table} proxima leaving oifname != \"{DEVICE}\" meta mark != {RELEASE_MARK} \
             {table} saddr @vips tcp flags & (rst | ack) == rst {to_core}"
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_flows_make_one_command_for_each_family() {
        let flow =
            |client: &str, vip: &str| Flow { client: client.parse().unwrap(), vip: vip.parse().unwrap() };
        let flows = [
            flow("10.0.0.1:1", "192.0.2.1:80"),
            flow("[fd00::1]:2", "[2001:db8::1]:80"),
            flow("10.0.0.3:3", "192.0.2.1:80"),
        ];
        assert_eq!(
            divert_commands(&flows),
            "add element ip proxima diverted { 10.0.0.1 . 1 . 192.0.2.1 . 80, 10.0.0.3 . 3 . 192.0.2.1 . 80 }\n\
             add element ip6 proxima diverted { fd00::1 . 2 . 2001:db8::1 . 80 }\n"
        );
        assert_eq!(divert_commands(&[]), "");
    }

    #[test]
    fn the_last_command_ends_the_rules_whatever_is_announced() {
        for vips in [&["192.0.2.0/24", "2001:db8::/48"][..], &["2001:db8::/48"], &[]] {
            let vips: Vec<Prefix> = vips.iter().map(|vip| vip.parse().unwrap()).collect();
            let rules = rules(&vips, Duration::from_mins(5));
            assert_eq!(rules.matches("list set").count(), 1, "{rules}");
            assert!(rules.ends_with("list set ip proxima taken\n"), "{rules}");
        }
    }
}
