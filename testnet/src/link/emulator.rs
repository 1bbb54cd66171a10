//! The thread between two TAP interfaces: reads frames, holds them as their [`Shape`] says, writes them.
//!
//! ```text
//! tap 0 ──read──▶ Path forth (heap by due time) ──write──▶ tap 1
//! tap 0 ◀─write── Path back  (heap by due time) ◀──read── tap 1
//! ```
//!
//! One epoll over both TAPs, a timerfd armed for the next frame due (timer slack does not apply to it), and an
//! eventfd that says a command waits.

use std::{
    io,
    os::fd::AsFd,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::{
        epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
        eventfd::{EfdFlags, EventFd},
        time::TimeSpec,
        timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
    },
};
use tun_rs::SyncDevice;

use super::{
    Direction,
    path::{Counters, Path, Shape},
};
use crate::error::{Error, Result};

/// Frames read from one end before the other gets its turn.
const BATCH: usize = 64;
/// An Ethernet frame of the largest MTU.
const FRAME: usize = 65_536;
/// Commands that may wait; a sender waits when there are more.
const COMMANDS: usize = 16;

const TIMER: u64 = 2;
const COMMAND: u64 = 3;

/// A change to a running line.
#[derive(Debug)]
pub(super) enum Command {
    Shape(Direction, Shape),
    Up(bool),
    Stop,
}

/// A command, and who is told once it is in force.
type Order = (Command, mpsc::SyncSender<()>);

/// The owner's side of the thread. Dropping it ends the thread and closes the TAPs.
#[derive(Debug)]
pub(super) struct Emulator {
    orders: mpsc::SyncSender<Order>,
    wake: Arc<EventFd>,
    counters: Arc<[AtomicCounters; 2]>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Emulator {
    pub(super) fn start(taps: [Arc<SyncDevice>; 2], shape: Shape, seed: u64) -> Result<Self> {
        let (orders, inbox) = mpsc::sync_channel(COMMANDS);
        let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
            .map_err(Error::io("creating an eventfd"))?;
        let wake = Arc::new(wake);
        let counters = Arc::new(<[AtomicCounters; 2]>::default());
        let line = Line::new(taps, shape, seed, inbox, wake.clone(), counters.clone())
            .map_err(Error::io("preparing a link emulator"))?;
        let thread = thread::Builder::new()
            .name("link".to_owned())
            .spawn(move || {
                if let Err(error) = line.run() {
                    tracing::error!(%error, "a link emulator ended");
                }
            })
            .map_err(Error::io("starting a link emulator"))?;
        Ok(Self { orders, wake, counters, thread: Some(thread) })
    }

    /// Has a command carried out; it is in force when this returns.
    pub(super) fn command(&self, command: Command) -> Result<()> {
        let ended = || Error::Claim("the link emulator has ended".to_owned());
        let (done, in_force) = mpsc::sync_channel(1);
        self.orders.send((command, done)).map_err(|_| ended())?;
        self.wake.write(1).map_err(Error::io("waking a link emulator"))?;
        in_force.recv().map_err(|_| ended())
    }

    pub(super) fn counters(&self, direction: Direction) -> Counters {
        self.counters[direction as usize].load()
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        // When the thread has ended already there is nobody to tell.
        let _ = self.command(Command::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Line {
    taps: [Arc<SyncDevice>; 2],
    paths: [Path; 2],
    epoll: Epoll,
    timer: TimerFd,
    inbox: mpsc::Receiver<Order>,
    wake: Arc<EventFd>,
    counters: Arc<[AtomicCounters; 2]>,
}

impl Line {
    fn new(
        taps: [Arc<SyncDevice>; 2],
        shape: Shape,
        seed: u64,
        inbox: mpsc::Receiver<Order>,
        wake: Arc<EventFd>,
        counters: Arc<[AtomicCounters; 2]>,
    ) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let timer =
            TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK)?;
        for (number, tap) in (0..).zip(&taps) {
            epoll.add(tap.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, number))?;
        }
        epoll.add(&timer, EpollEvent::new(EpollFlags::EPOLLIN, TIMER))?;
        epoll.add(wake.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, COMMAND))?;
        // Each direction draws its own sequence.
        let paths = [Path::new(shape, seed), Path::new(shape, !seed)];
        Ok(Self { taps, paths, epoll, timer, inbox, wake, counters })
    }

    fn run(mut self) -> io::Result<()> {
        let mut events = [EpollEvent::empty(); 4];
        let mut buffer = vec![0; FRAME];
        loop {
            let ready = match self.epoll.wait(&mut events, EpollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                ready => ready?,
            };
            for event in &events[..ready] {
                match event.data() {
                    TIMER => self.acknowledge_timer()?,
                    COMMAND => {
                        if self.obey()? {
                            return Ok(());
                        }
                    }
                    number => self.read(number as usize, &mut buffer)?,
                }
            }
            self.deliver();
            self.arm()?;
        }
    }

    fn acknowledge_timer(&self) -> io::Result<()> {
        match self.timer.wait() {
            Err(Errno::EAGAIN) | Ok(()) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Carries out what waits. True when the thread shall end.
    fn obey(&mut self) -> io::Result<bool> {
        match self.wake.read() {
            Err(Errno::EAGAIN) | Ok(_) => {}
            Err(errno) => return Err(errno.into()),
        }
        let mut stop = false;
        while let Ok((command, done)) = self.inbox.try_recv() {
            match command {
                Command::Shape(direction, shape) => self.paths[direction as usize].set_shape(shape),
                Command::Up(up) => self.paths.iter_mut().for_each(|path| path.set_up(up)),
                Command::Stop => stop = true,
            }
            // One place in the channel, taken only here.
            let _ = done.send(());
        }
        Ok(stop)
    }

    fn read(&mut self, from: usize, buffer: &mut [u8]) -> io::Result<()> {
        for _ in 0..BATCH {
            match self.taps[from].recv(buffer) {
                Ok(length) => self.paths[from].send(Instant::now(), &buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The interface is down: nothing comes until it is up again.
                Err(error) if error.raw_os_error() == Some(Errno::EIO as i32) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn deliver(&mut self) {
        let now = Instant::now();
        for (from, path) in self.paths.iter_mut().enumerate() {
            while let Some(frame) = path.arrived(now) {
                match self.taps[1 - from].send(&frame) {
                    Ok(_) => path.counters.delivered += 1,
                    // The far interface is down or its queue is full.
                    Err(_) => path.counters.dropped += 1,
                }
            }
            self.counters[from].store(path.counters);
        }
    }

    fn arm(&self) -> io::Result<()> {
        let next = self.paths.iter().filter_map(Path::next_due).min();
        match next {
            None => self.timer.unset()?,
            Some(due) => {
                // A wait of zero would disarm the timer.
                let wait = due.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1));
                let once = Expiration::OneShot(TimeSpec::from_duration(wait));
                self.timer.set(once, TimerSetTimeFlags::empty())?;
            }
        }
        Ok(())
    }
}

#[derive(Debug, Default)]
struct AtomicCounters {
    delivered: AtomicU64,
    lost: AtomicU64,
    dropped: AtomicU64,
}

impl AtomicCounters {
    fn store(&self, counters: Counters) {
        self.delivered.store(counters.delivered, Ordering::Relaxed);
        self.lost.store(counters.lost, Ordering::Relaxed);
        self.dropped.store(counters.dropped, Ordering::Relaxed);
    }

    fn load(&self) -> Counters {
        Counters {
            delivered: self.delivered.load(Ordering::Relaxed),
            lost: self.lost.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
        }
    }
}
