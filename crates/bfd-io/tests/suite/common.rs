//! A host that speaks BFD, and waiting for what it tells.

use std::{
    net::{IpAddr, Ipv4Addr},
    num::NonZeroU8,
    time::{Duration, Instant},
};

use proxima_bfd_io::{
    Bfd, BfdEvent, BfdHandle, BfdOptions, BfdStatus, Meaning, SessionConfig, Settings, State,
};
use tokio::sync::mpsc::{Receiver, error::TryRecvError};

pub(crate) const MS: Duration = Duration::from_millis(1);
/// How long anything may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// The multiplier that others give up by, long enough for a machine whose cores are taken away now and then.
pub(crate) const PATIENT: u8 = 20;
/// How much later than due something may be noticed, for the same reason.
pub(crate) const SLACK: Duration = Duration::from_millis(400);
/// The same where a router has to be asked by a program, again and again, on a machine that may be busy.
pub(crate) const ASKING: Duration = Duration::from_secs(10);

pub(crate) fn settings(interval: Duration, multiplier: u8) -> Settings {
    Settings {
        desired_min_tx: interval,
        required_min_rx: interval,
        multiplier: NonZeroU8::new(multiplier).unwrap(),
        authentication: None,
    }
}

pub(crate) fn session(name: &str, local: IpAddr, remote: IpAddr) -> SessionConfig {
    SessionConfig {
        name: name.to_owned(),
        local: Some(local),
        remote,
        interface: None,
        multihop: None,
        settings: settings(50 * MS, PATIENT),
    }
}

/// A running driver.
pub(crate) struct Host {
    pub(crate) handle: BfdHandle,
    events: Receiver<BfdEvent>,
}

impl Host {
    pub(crate) fn start(options: BfdOptions) -> Self {
        let (handle, events) = Bfd::start(options).unwrap();
        Self { handle, events }
    }

    /// On one loopback address, so that many can run beside each other.
    pub(crate) fn at(address: Ipv4Addr) -> Self {
        Self::start(BfdOptions { ipv4: Some(address), ipv6: None, ..BfdOptions::default() })
    }

    pub(crate) fn try_event(&mut self) -> Option<BfdEvent> {
        match self.events.try_recv() {
            Ok(event) => Some(event),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => panic!("the thread has ended"),
        }
    }

    /// The next event.
    pub(crate) fn event(&mut self) -> BfdEvent {
        let mut found = None;
        until("an event", || {
            found = self.try_event();
            found.is_some()
        });
        found.unwrap()
    }

    /// The next event with that meaning.
    pub(crate) fn meaning(&mut self, meaning: Meaning) -> BfdEvent {
        loop {
            let event = self.event();
            if event.meaning() == meaning {
                return event;
            }
        }
    }

    pub(crate) fn status(&self, name: &str) -> BfdStatus {
        self.handle.sessions().unwrap().into_iter().find(|status| &*status.name == name).unwrap()
    }

    pub(crate) fn state(&self, name: &str) -> State {
        self.status(name).session.state
    }

    /// Waits until the session is up and its poll sequence is over.
    pub(crate) fn settled(&mut self, name: &str) {
        until("the session to settle", || {
            let status = self.status(name).session;
            status.state == State::Up && status.remote_state == State::Up && !status.polling
        });
        while self.try_event().is_some() {}
    }
}

/// Waits until `condition` holds.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < end, "waited for {what}");
        pause(MS);
    }
}

/// Between two looks at something that tells nothing by itself.
#[allow(clippy::disallowed_methods, reason = "polling; not a wait in place of an event")]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}
