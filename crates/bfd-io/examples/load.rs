//! What BFD holds and what it costs here, over the loopback.
//!
//! ```text
//! load saturated SECONDS [ordinary]        10 ms × 3 between two drivers while twice as many threads as cores spin
//! load many SESSIONS MILLISECONDS SECONDS  a driver with that many sessions, each to another of them: its share of a core
//! ```
#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "measures, and prints what it measured")]

use std::{
    error::Error,
    fs,
    net::{IpAddr, Ipv4Addr},
    num::NonZeroU8,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use proxima_bfd_io::{Bfd, BfdEvent, BfdHandle, BfdOptions, Meaning, SessionConfig, Settings, State};
use tokio::sync::mpsc::Receiver;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["saturated", seconds] => saturated(seconds.parse()?, BfdOptions::default().real_time),
        ["saturated", seconds, "ordinary"] => saturated(seconds.parse()?, None),
        ["many", sessions, interval, seconds] => many(sessions.parse()?, interval.parse()?, seconds.parse()?),
        _ => Err("usage: load saturated SECONDS [ordinary] | load many SESSIONS MILLISECONDS SECONDS".into()),
    }
}

struct Host {
    handle: BfdHandle,
    events: Receiver<BfdEvent>,
}

impl Host {
    fn start(address: Ipv4Addr, real_time: Option<u8>) -> Outcome<Self> {
        let (handle, events) = Bfd::start(BfdOptions { ipv4: Some(address), ipv6: None, real_time })?;
        Ok(Self { handle, events })
    }

    fn add(&self, name: String, local: IpAddr, remote: IpAddr, interval: Duration) -> Outcome<()> {
        let multiplier = NonZeroU8::new(3).ok_or("zero")?;
        let settings = Settings {
            desired_min_tx: interval,
            required_min_rx: interval,
            multiplier,
            authentication: None,
        };
        let local = Some(local);
        Ok(self.handle.add(SessionConfig {
            name,
            local,
            remote,
            interface: None,
            multihop: None,
            settings,
        })?)
    }

    /// Waits until all sessions are up and send at their own pace, and forgets what they told on the way.
    fn settle(&mut self) -> Outcome<()> {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            while self.events.try_recv().is_ok() {}
            let sessions = self.handle.sessions()?;
            if sessions.iter().all(|status| status.session.state == State::Up && !status.session.polling) {
                break;
            }
            if Instant::now() > end {
                return Err("the sessions did not come up".into());
            }
            thread::sleep(Duration::from_millis(50));
        }
        self.handle.host()?;
        Ok(())
    }

    fn failures(&mut self) -> usize {
        std::iter::from_fn(|| self.events.try_recv().ok())
            .filter(|event| event.meaning() == Meaning::Failed)
            .count()
    }
}

fn saturated(seconds: u64, real_time: Option<u8>) -> Outcome<()> {
    let addresses = [Ipv4Addr::new(127, 77, 0, 1), Ipv4Addr::new(127, 78, 0, 1)];
    let mut hosts = [Host::start(addresses[0], real_time)?, Host::start(addresses[1], real_time)?];
    for (n, host) in hosts.iter().enumerate() {
        host.add(
            "other".to_owned(),
            addresses[n].into(),
            addresses[1 - n].into(),
            Duration::from_millis(10),
        )?;
    }
    for host in &mut hosts {
        host.settle()?;
    }
    let spinners = 2 * thread::available_parallelism()?.get();
    let busy = AtomicBool::new(true);
    thread::scope(|scope| {
        for _ in 0..spinners {
            scope.spawn(|| {
                while busy.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        thread::sleep(Duration::from_secs(seconds));
        busy.store(false, Ordering::Relaxed);
    });
    println!("10 ms × 3 for {seconds} s beside {spinners} spinning threads:");
    for host in &mut hosts {
        let (status, failures) = (host.handle.host()?, host.failures());
        println!(
            "  {failures} failures, {} sent, {} received, woken at most {:?} late; {}",
            status.sent, status.received, status.worst_delay, status.priority
        );
    }
    Ok(())
}

fn many(sessions: u16, interval: u64, seconds: u64) -> Outcome<()> {
    let mut host = Host::start(Ipv4Addr::UNSPECIFIED, BfdOptions::default().real_time)?;
    let interval = Duration::from_millis(interval);
    for pair in 0..sessions / 2 {
        let [high, low] = pair.to_be_bytes();
        let ends = [77, 78].map(|net| IpAddr::from([127, net, high, low]));
        host.add(format!("{pair} there"), ends[0], ends[1], interval)?;
        host.add(format!("{pair} back"), ends[1], ends[0], interval)?;
    }
    host.settle()?;
    let (before, cpu, start) = (host.handle.host()?, cpu_of_thread("bfd")?, Instant::now());
    thread::sleep(Duration::from_secs(seconds));
    let (cpu, time) = (cpu_of_thread("bfd")?.saturating_sub(cpu), start.elapsed());
    let (after, failures) = (host.handle.host()?, host.failures());
    println!(
        "{} sessions at {interval:?} × 3 for {seconds} s: {failures} failures, {:.0} packets/s each way, {:.1} % of a \
         core, woken at most {:?} late; {}",
        after.sessions,
        (after.sent - before.sent) as f64 / time.as_secs_f64(),
        cpu.as_secs_f64() / time.as_secs_f64() * 100.0,
        after.worst_delay,
        after.priority
    );
    Ok(())
}

/// The processor time that the thread of this process with that name has used.
fn cpu_of_thread(name: &str) -> Outcome<Duration> {
    for task in fs::read_dir("/proc/self/task")? {
        let folder = task?.path();
        if fs::read_to_string(folder.join("comm"))?.trim_end() == name {
            let stat = fs::read_to_string(folder.join("schedstat"))?;
            return Ok(Duration::from_nanos(stat.split(' ').next().unwrap_or_default().parse()?));
        }
    }
    Err(format!("there is no thread {name}").into())
}
