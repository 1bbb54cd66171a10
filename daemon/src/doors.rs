//! Where operators and Prometheus come in: sockets of this process, or of the one before it.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixListener,
    },
};

use anyhow::{Context, Result};
use proxima_config::Config;

use crate::{
    admin::{self, AdminSocket, Keep},
    metrics_server,
};

/// What is listened on.
pub(crate) struct Opened {
    pub(crate) admin: AdminSocket,
    pub(crate) admin_file: Keep,
    /// Whether the admin socket is the one of the process before.
    pub(crate) adopted: bool,
    pub(crate) metrics: Option<TcpListener>,
    pub(crate) doors: Doors,
}

/// The same sockets once more, for another process.
#[derive(Debug)]
pub(crate) struct Doors {
    pub(crate) admin: OwnedFd,
    pub(crate) metrics: Option<(SocketAddr, OwnedFd)>,
}

impl Doors {
    /// Once again.
    ///
    /// # Errors
    /// When this process may have no more descriptors.
    pub(crate) fn duplicate(&self) -> io::Result<Self> {
        let again =
            |(address, socket): &(SocketAddr, OwnedFd)| Ok::<_, io::Error>((*address, socket.try_clone()?));
        let metrics = self.metrics.as_ref().map(again).transpose()?;
        Ok(Self { admin: self.admin.try_clone()?, metrics })
    }
}

/// Opens what `config` asks for. What the process before has at the same place is gone on with, and stays its own until it is
/// [taken](crate::admin::Keep::take).
///
/// # Errors
/// The first that can't be had, with the remedy.
pub(crate) fn open(
    config: &Config,
    admin: Option<UnixListener>,
    metrics: Option<(SocketAddr, TcpListener)>,
) -> Result<Opened> {
    let (admin, adopted) = open_admin(config, admin)?;
    let metrics = open_metrics(config, metrics)?;
    let of_metrics = |listener: &TcpListener| {
        Ok::<_, io::Error>((listener.local_addr()?, listener.as_fd().try_clone_to_owned()?))
    };
    let doors = Doors {
        admin: admin.duplicate().context("the admin socket")?,
        metrics: metrics.as_ref().map(of_metrics).transpose().context("the metrics endpoint's socket")?,
    };
    let admin_file = admin.keep();
    Ok(Opened { admin, admin_file, adopted, metrics, doors })
}

fn open_admin(config: &Config, inherited: Option<UnixListener>) -> Result<(AdminSocket, bool)> {
    let proxima_config::Admin { socket: path, mode, group } = &config.admin;
    let adopt = |listener| admin::adopt_admin_socket(listener, path, group.as_deref());
    match inherited.map(adopt).transpose()?.flatten() {
        Some(adopted) => Ok((adopted, true)),
        None => Ok((admin::bind_admin_socket(path, *mode, group.as_deref())?, false)),
    }
}

fn open_metrics(
    config: &Config,
    inherited: Option<(SocketAddr, TcpListener)>,
) -> Result<Option<TcpListener>> {
    let Some(metrics) = &config.metrics else { return Ok(None) };
    match inherited.filter(|(address, _)| *address == metrics.listen) {
        Some((_, listener)) => Ok(Some(listener)),
        None => Ok(Some(metrics_server::bind(metrics.listen)?)),
    }
}
