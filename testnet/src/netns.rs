//! Network namespaces: every host of a world is one.
//!
//! A namespace belongs to a thread, so whatever has to happen inside one happens on a thread that has entered it:
//! sockets opened there stay there, wherever they are used later, and processes started there are born there.
//! The namespace lives as long as its descriptor, a thread or a process in it.

use std::{
    fmt,
    fs::{self, File},
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket},
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
    process::{Child, Command},
    sync::Arc,
    thread,
};

use futures_util::TryStreamExt;
use nix::sched::{CloneFlags, setns, unshare};
use proxima_types::Prefix;
use rtnetlink::{Handle, LinkUnspec, RouteMessageBuilder, packet_route::link::LinkFlags};
use tokio::{runtime, sync::oneshot, task::JoinHandle};

use crate::error::{Error, Result};

/// What every host needs: it may forward, answers from any interface, and has its IPv6 addresses at once
/// (duplicate address detection would hold them back for a second).
const SYSCTLS: &[(&str, &str)] = &[
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv6/conf/all/forwarding", "1"),
    ("net/ipv6/conf/default/forwarding", "1"),
    ("net/ipv6/conf/all/accept_dad", "0"),
    ("net/ipv6/conf/default/accept_dad", "0"),
    ("net/ipv6/conf/default/dad_transmits", "0"),
    ("net/ipv6/conf/all/accept_ra", "0"),
    ("net/ipv6/conf/default/accept_ra", "0"),
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
    // Thousands of short connections a second from one address.
    ("net/ipv4/ip_local_port_range", "1024 65535"),
    ("net/ipv4/tcp_tw_reuse", "1"),
];

/// A network namespace. Clones are the same namespace.
#[derive(Clone)]
pub struct NetNs {
    name: Arc<str>,
    file: Arc<File>,
}

impl NetNs {
    /// A new namespace with the loopback up and the sysctls a host needs.
    pub fn create(name: &str) -> Result<Self> {
        let doing = format!("creating network namespace {name}");
        let file = thread::scope(|scope| {
            scope
                .spawn(|| {
                    unshare(CloneFlags::CLONE_NEWNET)?;
                    File::open("/proc/thread-self/ns/net")
                })
                .join()
        })
        .unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))
        .map_err(Error::io(doing))?;
        let ns = Self { name: name.into(), file: Arc::new(file) };
        for (key, value) in SYSCTLS {
            ns.sysctl(key, value)?;
        }
        ns.set_link_up("lo", true)?;
        Ok(ns)
    }

    /// The name it was created with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The path other processes of the sandbox can enter it by (`nsenter --net=PATH`), while this process lives.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.raw_fd())
    }

    /// Runs `f` on a thread inside the namespace and waits for it.
    ///
    /// # Panics
    /// When `f` panics.
    pub fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> Result<T> {
        let outcome = thread::scope(|scope| {
            scope.spawn(|| setns(self.file.as_fd(), CloneFlags::CLONE_NEWNET).map(|()| f())).join()
        });
        match outcome {
            Ok(entered) => entered.map_err(Error::io(format!("entering network namespace {}", self.name))),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Runs a future to its end on a thread inside the namespace, with its own small runtime.
    pub fn block_on<T: Send, F: Future<Output = T>>(&self, f: impl FnOnce() -> F + Send) -> Result<T> {
        self.run(|| {
            let runtime = runtime::Builder::new_current_thread().enable_all().build();
            runtime.map(|runtime| runtime.block_on(f()))
        })?
        .map_err(Error::io("starting a runtime"))
    }

    /// Runs commands of nft(8) inside the namespace.
    pub fn nft(&self, commands: &str) -> Result<()> {
        let doing = format!("filtering on {}", self.name);
        let output =
            self.run(|| Command::new("nft").arg(commands).output())?.map_err(Error::io(doing.clone()))?;
        if output.status.success() {
            return Ok(());
        }
        Err(Error::Claim(format!("{doing}: nft says {}", String::from_utf8_lossy(&output.stderr))))
    }

    /// Starts `command` inside the namespace.
    pub fn spawn(&self, command: &mut Command) -> Result<Child> {
        let doing = format!("starting {} in {}", command.get_program().display(), self.name);
        self.run(|| command.spawn())?.map_err(Error::io(doing))
    }

    /// A thread inside the namespace with a current-thread runtime: every socket its tasks open is on this host.
    pub fn runtime(&self, name: &str) -> Result<NsRuntime> {
        let (ready_tx, ready_rx) = std::sync::mpsc::sync_channel(1);
        let (stop_tx, stop_rx) = oneshot::channel::<()>();
        let ns = self.clone();
        let doing = format!("starting runtime {name} in {}", self.name);
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let runtime = setns(ns.file.as_fd(), CloneFlags::CLONE_NEWNET)
                    .map_err(io::Error::from)
                    .and_then(|()| runtime::Builder::new_current_thread().enable_all().build());
                let ready =
                    runtime.as_ref().map(|r| r.handle().clone()).map_err(|e| io::Error::from(e.kind()));
                let started = ready_tx.send(ready).is_ok();
                if let (Ok(runtime), true) = (runtime, started) {
                    // Ends when the owner asks for it or is gone.
                    let _ = runtime.block_on(stop_rx);
                }
            })
            .map_err(Error::io(doing.clone()))?;
        let handle = ready_rx
            .recv()
            .unwrap_or_else(|_| Err(io::Error::other("the thread ended")))
            .map_err(Error::io(doing))?;
        Ok(NsRuntime { handle, stop: Some(stop_tx), thread: Some(thread) })
    }

    /// Sends a packet nobody listens for to each neighbour, so that its link address gets resolved.
    pub(crate) fn greet(&self, neighbours: &[IpAddr]) -> Result<()> {
        const DISCARD: u16 = 9;
        let doing = format!("greeting the neighbours of {}", self.name);
        let greet = || {
            neighbours.iter().try_for_each(|neighbour| {
                let any: IpAddr = match neighbour {
                    IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                    IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
                };
                UdpSocket::bind((any, 0))?.send_to(&[0], (*neighbour, DISCARD)).map(drop)
            })
        };
        self.run(greet)?.map_err(Error::io(doing))
    }

    /// Writes a sysctl below `/proc/sys`, such as `net/ipv4/ip_forward`.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        self.run(|| fs::write(format!("/proc/sys/{key}"), value))?
            .map_err(Error::io(format!("setting {key} to {value} in {}", self.name)))
    }

    /// Takes an interface up or down.
    pub fn set_link_up(&self, interface: &str, up: bool) -> Result<()> {
        self.set_link(interface, move |link| if up { link.up() } else { link.down() })
    }

    /// Gives or takes an interface's carrier, as if its cable were plugged or pulled. TAP interfaces only.
    pub fn set_carrier(&self, interface: &str, on: bool) -> Result<()> {
        self.set_link(interface, move |link| link.carrier(on))
    }

    /// Whether an interface is up and has a carrier.
    pub fn has_carrier(&self, interface: &str) -> Result<bool> {
        let doing = format!("looking at {interface} in {}", self.name);
        self.netlink(move |handle| async move {
            let mut links = handle.link().get().match_name(interface.to_owned()).execute();
            let link = links.try_next().await.map_err(Error::netlink(doing))?;
            Ok(link.is_some_and(|link| link.header.flags.contains(LinkFlags::LowerUp)))
        })
    }

    fn set_link(
        &self,
        interface: &str,
        change: impl FnOnce(
            rtnetlink::LinkMessageBuilder<LinkUnspec>,
        ) -> rtnetlink::LinkMessageBuilder<LinkUnspec>
        + Send,
    ) -> Result<()> {
        let doing = format!("changing {interface} in {}", self.name);
        self.netlink(move |handle| async move {
            let index = index_of(&handle, interface).await?;
            let message = change(LinkUnspec::new_with_index(index)).build();
            handle.link().set(message).execute().await.map_err(Error::netlink(doing))
        })
    }

    /// Adds an address with its on-link prefix length.
    pub fn add_address(&self, interface: &str, address: IpAddr, length: u8) -> Result<()> {
        let doing = format!("adding {address}/{length} to {interface} in {}", self.name);
        self.netlink(move |handle| async move {
            let index = index_of(&handle, interface).await?;
            handle.address().add(index, address, length).execute().await.map_err(Error::netlink(doing))
        })
    }

    /// Adds a route to `prefix` by way of `gateway`.
    pub fn add_route(&self, prefix: Prefix, gateway: IpAddr) -> Result<()> {
        let doing = format!("routing {prefix} by {gateway} in {}", self.name);
        self.netlink(move |handle| async move {
            let message = match (prefix.address(), gateway) {
                (IpAddr::V4(to), IpAddr::V4(by)) => RouteMessageBuilder::<Ipv4Addr>::new()
                    .destination_prefix(to, prefix.length())
                    .gateway(by)
                    .build(),
                (IpAddr::V6(to), IpAddr::V6(by)) => RouteMessageBuilder::<Ipv6Addr>::new()
                    .destination_prefix(to, prefix.length())
                    .gateway(by)
                    .build(),
                _ => return Err(Error::Spec(format!("{prefix} cannot go by {gateway}: another family"))),
            };
            handle.route().add(message).execute().await.map_err(Error::netlink(doing))
        })
    }

    /// Runs netlink requests inside the namespace.
    pub(crate) fn netlink<T, F>(&self, f: impl FnOnce(Handle) -> F + Send) -> Result<T>
    where
        T: Send,
        F: Future<Output = Result<T>>,
    {
        self.block_on(|| async {
            let (connection, handle, _) =
                rtnetlink::new_connection().map_err(Error::io("opening a netlink socket"))?;
            let connection = tokio::spawn(connection);
            let outcome = f(handle).await;
            connection.abort();
            outcome
        })?
    }

    pub(crate) fn raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

impl AsFd for NetNs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl fmt::Debug for NetNs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("NetNs").field(&self.name).finish()
    }
}

/// The index of an interface, as the namespace of `handle` knows it.
pub(crate) async fn index_of(handle: &Handle, interface: &str) -> Result<u32> {
    let mut links = handle.link().get().match_name(interface.to_owned()).execute();
    match links.try_next().await {
        Ok(Some(link)) => Ok(link.header.index),
        Ok(None) => Err(Error::Spec(format!("there is no interface {interface}"))),
        Err(source) => Err(Error::Netlink { doing: format!("looking up {interface}"), source }),
    }
}

/// A runtime whose tasks live inside a namespace. Dropping it ends its tasks and waits for its thread.
#[derive(Debug)]
pub struct NsRuntime {
    handle: runtime::Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl NsRuntime {
    /// Starts a task inside the namespace. The handle may be awaited from any runtime.
    pub fn spawn<T: Send + 'static>(&self, f: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.handle.spawn(f)
    }

    /// The runtime's handle.
    pub fn handle(&self) -> &runtime::Handle {
        &self.handle
    }
}

impl Drop for NsRuntime {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed by the panic hook; there is nothing to add.
            let _ = thread.join();
        }
    }
}
