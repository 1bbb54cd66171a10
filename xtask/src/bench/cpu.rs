//! CPU time of processes, from `/proc/PID/stat` (proc_pid_stat(5)).

use std::{fs, time::Duration};

use anyhow::{Context, Result};

/// The unit of the file's times: `USER_HZ`, 100 on every Linux architecture in use.
const TICKS_PER_SECOND: u64 = 100;

/// CPU time spent in user code and in the kernel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Cpu {
    pub(crate) user: Duration,
    pub(crate) system: Duration,
}

impl Cpu {
    /// The sum over all threads of these processes, since each started.
    pub(crate) fn of(pids: &[u32]) -> Result<Self> {
        let mut sum = Self::default();
        for pid in pids {
            let path = format!("/proc/{pid}/stat");
            let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
            let one = parse(&text).with_context(|| format!("{path} reads `{text}`"))?;
            sum.user += one.user;
            sum.system += one.system;
        }
        Ok(sum)
    }

    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
        }
    }

    pub(crate) fn total(self) -> Duration {
        self.user + self.system
    }
}

/// Fields 14 and 15; the command in field 2 may hold spaces and parentheses.
fn parse(stat: &str) -> Option<Cpu> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut time = || {
        let ticks: u64 = fields.next()?.parse().ok()?;
        Some(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
    };
    Some(Cpu { user: time()?, system: time()? })
}

/// Context switches of processes, voluntary and not, from `/proc/PID/task/TID/status`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Switches(u64);

impl Switches {
    /// The sum over all threads of these processes that live now.
    pub(crate) fn of(pids: &[u32]) -> Result<Self> {
        let mut sum = 0;
        for pid in pids {
            let path = format!("/proc/{pid}/task");
            let threads = fs::read_dir(&path).with_context(|| format!("reading {path}"))?;
            // A thread that has just ended has no file any more.
            let texts =
                threads.flatten().filter_map(|thread| fs::read_to_string(thread.path().join("status")).ok());
            sum += texts.map(|text| switches(&text)).sum::<u64>();
        }
        Ok(Self(sum))
    }

    pub(crate) fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

fn switches(status: &str) -> u64 {
    let lines = status.lines().filter_map(|line| line.split_once("ctxt_switches:"));
    lines.filter_map(|(_, count)| count.trim().parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_whatever_name_the_process_has() {
        let stat = "123 (a) b (c)) S 1 123 123 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 1 0 1 1 1";
        let expected = Cpu { user: Duration::from_millis(2500), system: Duration::from_millis(500) };
        assert_eq!(parse(stat), Some(expected));
        assert_eq!(expected.total(), Duration::from_secs(3));
    }

    #[test]
    fn switches_of_both_kinds_are_added() {
        assert_eq!(switches("Name:\tx\nvoluntary_ctxt_switches:\t7\nnonvoluntary_ctxt_switches:\t5\n"), 12);
    }
}
