//! BIRD as a peer of the daemon that has to notice nothing of what others do to it: with a hold time of 3 s, a stall of the daemon ends the
//! session.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::{
    error::{Error, Result},
    netns::NetNs,
    process::Process,
    wait::wait_until,
    world::bird::converse,
};

pub(crate) const HOLD_TIME: Duration = Duration::from_secs(3);
const START_LIMIT: Duration = Duration::from_secs(30);
/// BIRD computes the time of day of a past event anew each time it is asked, so that it is told with a millisecond more or less. A
/// session that was lost takes a second to come back.
const SAME_MOMENT: Duration = Duration::from_millis(100);
const DAY: Duration = Duration::from_hours(24);

/// The peer, with AS 65000; the daemon has AS 64512.
pub(crate) struct GoodPeer {
    bird: Process,
    socket: PathBuf,
    /// What the daemon announces to it.
    prefix: &'static str,
    /// The time of day when the session came up, as BIRD tells it.
    up_since: Duration,
}

impl GoodPeer {
    /// Starts it at the first address, for a daemon at the second one.
    pub(crate) fn start(
        ns: &NetNs,
        dir: &Path,
        (own, daemon): (Ipv4Addr, Ipv4Addr),
        prefix: &'static str,
    ) -> Result<Self> {
        let (config, socket) = (dir.join("bird.conf"), dir.join("bird.ctl"));
        fs::write(&config, bird_conf(own, daemon))
            .map_err(Error::io(format!("writing {}", config.display())))?;
        let mut command = Command::new("bird");
        command.arg("-f").arg("-c").arg(config).arg("-s").arg(&socket);
        let bird = Process::start(ns, "bird", command, &dir.join("bird.log"))?;
        Ok(Self { bird, socket, prefix, up_since: Duration::ZERO })
    }

    /// Waits until the session is up and has its route.
    pub(crate) async fn wait_up(&mut self, daemon: &Process) -> Result<()> {
        wait_until(START_LIMIT, || {
            daemon.check()?;
            self.bird.check()?;
            Ok(self.lacks().unwrap_or_default())
        })
        .await?;
        self.up_since = self.since().unwrap_or_default();
        Ok(())
    }

    /// What is wrong with the session, or was since it came up.
    pub(crate) fn harm(&self) -> Option<String> {
        match self.lacks() {
            None if self.since().is_some_and(|since| apart(since, self.up_since) > SAME_MOMENT) => {
                Some("the session with BIRD was lost and came back".to_owned())
            }
            lacks => lacks,
        }
    }

    /// What is wrong with it now.
    fn lacks(&self) -> Option<String> {
        let Ok((_, session)) = converse(&self.socket, "show protocols pop") else {
            return Some("BIRD does not answer".to_owned());
        };
        if !session.contains("Established") {
            return Some(format!("BIRD has no session with the daemon: {session}"));
        }
        match converse(&self.socket, &format!("show route {}", self.prefix)) {
            Ok((_, route)) if route.contains(self.prefix) => None,
            _ => Some(format!("{} is gone from BIRD", self.prefix)),
        }
    }

    fn since(&self) -> Option<Duration> {
        let (_, session) = converse(&self.socket, "show protocols pop").ok()?;
        let line = session.lines().find(|line| line.starts_with("pop "))?;
        time_of_day(line.split_whitespace().nth(4)?)
    }
}

/// `13:04:07.768`, as the time since midnight.
fn time_of_day(text: &str) -> Option<Duration> {
    let (clock, millis) = text.split_once('.')?;
    let mut parts = clock.split(':').map(str::parse::<u64>);
    let (hours, minutes, seconds) = (parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?);
    let seconds = Duration::from_secs((hours * 60 + minutes) * 60 + seconds);
    Some(seconds + Duration::from_millis(millis.parse().ok()?))
}

/// How far two times of day lie from each other, the short way round midnight.
fn apart(one: Duration, other: Duration) -> Duration {
    let difference = one.abs_diff(other);
    difference.min(DAY.saturating_sub(difference))
}

fn bird_conf(own: Ipv4Addr, daemon: Ipv4Addr) -> String {
    let hold = HOLD_TIME.as_secs();
    format!(
        "router id {own};\nprotocol device {{}}\nprotocol bgp pop {{\n  local {own} as 65000;\n  neighbor {daemon} as 64512;\n  \
         hold time {hold}; connect delay time 1; connect retry time 1; error wait time 1, 2;\n  \
         ipv4 {{ import all; export none; }};\n}}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_told_a_millisecond_apart_is_the_same_also_at_midnight() {
        let told = |text| time_of_day(text).unwrap_or_else(|| panic!("{text}"));
        assert_eq!(told("13:04:07.768"), Duration::from_millis(47_047_768));
        assert_eq!(apart(told("23:59:59.999"), told("00:00:00.000")), Duration::from_millis(1));
        assert!(apart(told("13:04:07.768"), told("13:04:07.769")) <= SAME_MOMENT);
        assert!(apart(told("13:04:07.768"), told("13:04:08.768")) > SAME_MOMENT);
        assert_eq!(time_of_day("2026-11-27"), None);
    }
}
