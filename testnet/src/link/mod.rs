//! Cables between hosts: veth pairs for a LAN, emulated TAP pairs for a WAN.
//!
//! The kernels this runs on have no netem, so a WAN link is a TAP interface at either end and a thread of ours
//! between them that holds every frame for as long as the line would ([`emulator`]).

pub mod emulator;
mod path;

use std::{
    io,
    net::IpAddr,
    os::fd::RawFd,
    sync::{Arc, Mutex, PoisonError},
};

use rtnetlink::{LinkUnspec, LinkVeth};
use tun_rs::{DeviceBuilder, Layer, SyncDevice};

use self::emulator::{Command, Emulator};
pub use self::path::{Counters, Shape};
use crate::{
    error::{Error, Result},
    netns::{NetNs, index_of},
};

/// One end of a cable: an interface on a host.
#[derive(Debug, Clone)]
pub struct End<'a> {
    /// The host.
    pub ns: &'a NetNs,
    /// The interface's name; at most 15 characters.
    pub interface: &'a str,
    /// Its addresses with their on-link prefix lengths.
    pub addresses: Vec<(IpAddr, u8)>,
}

impl End<'_> {
    fn bring_up(&self) -> Result<()> {
        self.ns.set_link_up(self.interface, true)?;
        self.addresses
            .iter()
            .try_for_each(|(address, length)| self.ns.add_address(self.interface, *address, *length))
    }
}

/// Connects two hosts by a veth pair: no delay, no loss.
pub fn veth(one: &End<'_>, other: &End<'_>) -> Result<()> {
    let doing = format!("connecting {} with {}", one.ns.name(), other.ns.name());
    // Made under a name nobody has, so that it cannot meet the other end's namesake in the first namespace.
    let transit = "veth-transit";
    let other_ns: RawFd = other.ns.raw_fd();
    one.ns.netlink(|handle| async move {
        let pair = LinkVeth::new(one.interface, transit).build();
        handle.link().add(pair).execute().await.map_err(Error::netlink(doing.clone()))?;
        let index = index_of(&handle, transit).await?;
        let moved = LinkUnspec::new_with_index(index).setns_by_fd(other_ns).name(other.interface).build();
        handle.link().set(moved).execute().await.map_err(Error::netlink(doing))
    })?;
    one.bring_up()?;
    other.bring_up()
}

/// Which way frames go on a [`WanLink`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the first end to the second.
    Forth,
    /// From the second end to the first.
    Back,
}

/// A long-distance line between two hosts. Its shape and carrier can change while it is in use.
///
/// Dropping it removes both interfaces.
#[derive(Debug)]
pub struct WanLink {
    ends: [(NetNs, String); 2],
    shapes: Mutex<[Shape; 2]>,
    emulator: Emulator,
}

impl WanLink {
    /// Connects two hosts by a line of this shape in both directions. Losses and jitter follow from `seed`.
    pub fn create(one: &End<'_>, other: &End<'_>, shape: Shape, seed: u64) -> Result<Self> {
        let taps = [open_tap(one)?, open_tap(other)?];
        let emulator = Emulator::start(taps, shape, seed)?;
        one.bring_up()?;
        other.bring_up()?;
        let ends = [one, other].map(|end| (end.ns.clone(), end.interface.to_owned()));
        Ok(Self { ends, shapes: Mutex::new([shape; 2]), emulator })
    }

    /// The shape of one direction.
    pub fn shape(&self, direction: Direction) -> Shape {
        self.shapes.lock().unwrap_or_else(PoisonError::into_inner)[direction as usize]
    }

    /// Changes one direction. Frames under way arrive as they would have; the random sequence starts again
    /// from the seed, so that what follows is reproducible.
    pub fn set_shape(&self, direction: Direction, shape: Shape) -> Result<()> {
        self.shapes.lock().unwrap_or_else(PoisonError::into_inner)[direction as usize] = shape;
        self.emulator.command(Command::Shape(direction, shape))
    }

    /// Changes both directions alike.
    pub fn set_both(&self, shape: Shape) -> Result<()> {
        self.set_shape(Direction::Forth, shape)?;
        self.set_shape(Direction::Back, shape)
    }

    /// Plugs the line in or pulls it: both ends lose their carrier and what was under way is gone.
    pub fn set_up(&self, up: bool) -> Result<()> {
        self.emulator.command(Command::Up(up))?;
        self.ends.iter().try_for_each(|(ns, interface)| ns.set_carrier(interface, up))
    }

    /// What one direction has carried and dropped so far.
    pub fn counters(&self, direction: Direction) -> Counters {
        self.emulator.counters(direction)
    }
}

fn open_tap(end: &End<'_>) -> Result<Arc<SyncDevice>> {
    let interface = end.interface.to_owned();
    let doing = format!("creating TAP interface {interface} in {}", end.ns.name());
    let opened = end.ns.run(move || {
        let tap = DeviceBuilder::new().name(interface).layer(Layer::L2).enable(false).build_sync()?;
        tap.set_nonblocking(true)?;
        Ok::<_, io::Error>(Arc::new(tap))
    })?;
    opened.map_err(|source| match source.kind() {
        io::ErrorKind::PermissionDenied => Error::Missing {
            what: "the permission to open /dev/net/tun".to_owned(),
            remedy: "run as root, or let everyone use it: chmod 0666 /dev/net/tun".to_owned(),
        },
        io::ErrorKind::NotFound => Error::Missing {
            what: "/dev/net/tun".to_owned(),
            remedy: "load the kernel module: modprobe tun (in a container: --device /dev/net/tun)".to_owned(),
        },
        _ => Error::Io { doing, source },
    })
}
