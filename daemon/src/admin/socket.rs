//! The admin socket's file: who may open it, and whether another daemon has it.

use std::{
    fs, io,
    os::fd::{AsFd, OwnedFd},
    os::unix::{
        fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt, chown},
        net,
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use nix::unistd::Group;
use proxima_config::Admin;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::UnixListener;

const BACKLOG: i32 = 64;

/// Why the admin socket can't be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdminSocketError {
    #[error("`{}` is no path for a socket: {error}; give `admin.socket` a path of at most 107 bytes", path.display())]
    Path { path: PathBuf, error: io::Error },
    #[error(
        "can't make the directory {}: {error}; make it (systemd: RuntimeDirectory=proximad), or name another `admin.socket`",
        directory.display()
    )]
    Directory { directory: PathBuf, error: io::Error },
    #[error("{} exists and is not a socket; remove it, or name another `admin.socket`", path.display())]
    NotASocket { path: PathBuf },
    #[error("another daemon answers at {}; stop it, or name another `admin.socket`", path.display())]
    InUse { path: PathBuf },
    #[error("can't tell whether a daemon has {}: {error}; run as the user who made it, or remove it", path.display())]
    Unclear { path: PathBuf, error: io::Error },
    #[error("can't remove the left-over socket {}: {error}; remove it", path.display())]
    LeftOver { path: PathBuf, error: io::Error },
    #[error("can't make the socket {}: {error}; may this user write to its directory?", path.display())]
    Bind { path: PathBuf, error: io::Error },
    #[error(
        "there is no group `{group}`; make it (`groupadd --system {group}`), or name another `admin.group`"
    )]
    NoGroup { group: String },
    #[error(
        "can't give {} to the group `{group}`: {error}; run as root or as a member of it, or drop `admin.group`",
        path.display()
    )]
    Group { path: PathBuf, group: String, error: io::Error },
}

/// The admin socket: open to those it should be open to, and to nobody before. Its file goes with it.
#[derive(Debug)]
pub(crate) struct AdminSocket {
    listener: net::UnixListener,
    file: SocketFile,
}

impl AdminSocket {
    /// The listener once more, for another process.
    ///
    /// # Errors
    /// When this process may have no more descriptors.
    pub(crate) fn duplicate(&self) -> io::Result<OwnedFd> {
        self.listener.as_fd().try_clone_to_owned()
    }

    /// What keeps the file from being removed, for when another process goes on with it.
    pub(crate) fn keep(&self) -> Keep {
        Keep { kept: Arc::clone(&self.file.kept), path: self.file.path.clone() }
    }

    /// The listener for the runtime this is called in, and what removes the file when dropped.
    pub(crate) fn listen(self) -> io::Result<(UnixListener, SocketFile)> {
        Ok((UnixListener::from_std(self.listener)?, self.file))
    }
}

/// Opens the admin socket at `path` with the permission bits `mode`, for `group` when there is one.
///
/// A socket where a daemon answers is left alone; one that is left over is replaced. Nobody can connect before mode and
/// group are set, whatever the umask: until it listens, the kernel refuses.
pub(crate) fn bind_admin_socket(
    path: &Path,
    mode: u32,
    group: Option<&str>,
) -> Result<AdminSocket, AdminSocketError> {
    let path_error = |error| AdminSocketError::Path { path: path.to_owned(), error };
    let bind_error = |error| AdminSocketError::Bind { path: path.to_owned(), error };
    let address = SockAddr::unix(path).map_err(path_error)?;
    make_directory(path)?;
    remove_left_over(path, &address)?;

    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(bind_error)?;
    socket.bind(&address).map_err(bind_error)?;
    let file = SocketFile::at(path).map_err(bind_error)?;
    open_to(path, mode, group)?;
    socket.listen(BACKLOG).map_err(bind_error)?;
    socket.set_nonblocking(true).map_err(bind_error)?;
    Ok(AdminSocket { listener: socket.into(), file })
}

fn open_to(path: &Path, mode: u32, group: Option<&str>) -> Result<(), AdminSocketError> {
    let gid = group.map(group_id).transpose()?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(|error| AdminSocketError::Bind { path: path.to_owned(), error })?;
    if let (Some(gid), Some(group)) = (gid, group) {
        chown(path, None, Some(gid)).map_err(|error| AdminSocketError::Group {
            path: path.to_owned(),
            group: group.to_owned(),
            error,
        })?;
    }
    Ok(())
}

fn group_id(group: &str) -> Result<u32, AdminSocketError> {
    match Group::from_name(group) {
        Ok(Some(found)) => Ok(found.gid.as_raw()),
        _ => Err(AdminSocketError::NoGroup { group: group.to_owned() }),
    }
}

fn make_directory(path: &Path) -> Result<(), AdminSocketError> {
    let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) else {
        return Ok(());
    };
    match fs::DirBuilder::new().mode(0o755).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(AdminSocketError::Directory { directory: directory.to_owned(), error })
        }
        _ => Ok(()),
    }
}

fn remove_left_over(path: &Path, address: &SockAddr) -> Result<(), AdminSocketError> {
    let unclear = |error| AdminSocketError::Unclear { path: path.to_owned(), error };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(unclear(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(AdminSocketError::NotASocket { path: path.to_owned() });
        }
        Ok(_) => {}
    }
    match try_connect(address) {
        // A full backlog is a daemon's, too.
        Ok(()) => Err(AdminSocketError::InUse { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(AdminSocketError::InUse { path: path.to_owned() })
        }
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|error| AdminSocketError::LeftOver { path: path.to_owned(), error })
        }
        Err(error) => Err(unclear(error)),
    }
}

fn try_connect(address: &SockAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(address)
}

/// The socket's file; removed on drop unless another daemon has put its own there, or goes on with this one.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
    kept: Arc<AtomicBool>,
}

/// Leaves the file of an admin socket where it is.
#[derive(Debug)]
pub(crate) struct Keep {
    kept: Arc<AtomicBool>,
    path: PathBuf,
}

impl Keep {
    /// It is another process's from now on.
    pub(crate) fn keep(&self) {
        self.kept.store(true, Ordering::Relaxed);
    }

    /// It is this process's from now on, open to those that `config` says.
    pub(crate) fn take(&self, config: &Admin) {
        self.kept.store(false, Ordering::Relaxed);
        if let Err(error) = open_to(&self.path, config.mode, config.group.as_deref()) {
            tracing::error!(%error, "the admin socket is open to those it was open to before");
        }
    }
}

/// Goes on with the socket of another process if it is at `path`. The file stays the other's until it is [taken](Keep::take).
///
/// # Errors
/// When they can't be.
pub(crate) fn adopt_admin_socket(
    listener: net::UnixListener,
    path: &Path,
    group: Option<&str>,
) -> Result<Option<AdminSocket>, AdminSocketError> {
    let is_there = listener.local_addr().is_ok_and(|address| address.as_pathname() == Some(path));
    if !is_there {
        return Ok(None);
    }
    let bind_error = |error| AdminSocketError::Bind { path: path.to_owned(), error };
    let file = SocketFile::at(path).map_err(bind_error)?;
    let adopted = AdminSocket { listener, file };
    adopted.keep().keep();
    group.map(group_id).transpose()?;
    adopted.listener.set_nonblocking(true).map_err(bind_error)?;
    Ok(Some(adopted))
}

impl SocketFile {
    fn at(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), identity: identity(path)?, kept: Arc::default() })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_kept = self.kept.load(Ordering::Relaxed);
        if !is_kept && identity(&self.path).is_ok_and(|found| found == self.identity) {
            // A left-over socket is replaced by the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn place() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/admin.sock");
        (directory, path)
    }

    #[test]
    fn the_socket_has_exactly_the_mode_asked_for_and_its_file_goes_with_it() {
        let (_directory, path) = place();
        for mode in [0o600, 0o660, 0o666] {
            let socket = bind_admin_socket(&path, mode, None).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, mode);
            UnixStream::connect(&path).unwrap();
            drop(socket);
            assert!(!path.exists());
        }
    }

    #[test]
    fn a_living_daemon_keeps_its_socket() {
        let (_directory, path) = place();
        let _living = bind_admin_socket(&path, 0o600, None).unwrap();
        let error = bind_admin_socket(&path, 0o600, None).unwrap_err();
        assert!(matches!(error, AdminSocketError::InUse { .. }), "{error}");
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn a_daemon_whose_backlog_is_full_lives_too() {
        let (_directory, path) = place();
        let _living = bind_admin_socket(&path, 0o600, None).unwrap();
        let address = SockAddr::unix(&path).unwrap();
        let mut waiting = Vec::new();
        loop {
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            if socket.connect(&address).is_err() {
                break;
            }
            waiting.push(socket);
        }
        assert!(matches!(bind_admin_socket(&path, 0o600, None), Err(AdminSocketError::InUse { .. })));
    }

    #[test]
    fn a_left_over_socket_is_replaced() {
        let (_directory, path) = place();
        fs::create_dir(path.parent().unwrap()).unwrap();
        drop(net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let _socket = bind_admin_socket(&path, 0o600, None).unwrap();
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn another_daemons_file_is_not_removed() {
        let (_directory, path) = place();
        let first = bind_admin_socket(&path, 0o600, None).unwrap();
        fs::remove_file(&path).unwrap();
        let _second = bind_admin_socket(&path, 0o600, None).unwrap();
        drop(first);
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn what_is_not_a_socket_is_left_alone() {
        let (_directory, path) = place();
        fs::create_dir(path.parent().unwrap()).unwrap();
        fs::write(&path, "precious").unwrap();
        let error = bind_admin_socket(&path, 0o600, None).unwrap_err();
        assert!(matches!(error, AdminSocketError::NotASocket { .. }), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn a_socket_that_is_another_processs_now_keeps_its_file_and_gets_its_mode() {
        let (_directory, path) = place();
        let first = bind_admin_socket(&path, 0o600, None).unwrap();
        let adopt = |path: &Path, group| {
            adopt_admin_socket(net::UnixListener::from(first.duplicate().unwrap()), path, group)
        };
        assert!(adopt(&path.with_extension("other"), None).unwrap().is_none());
        let error = adopt(&path, Some("no-such-group")).unwrap_err();
        assert!(error.to_string().contains("groupadd"), "{error}");
        drop(adopt(&path, None).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600, "it is the first one's still");
        let second = adopt(&path, None).unwrap().unwrap();
        second.keep().take(&Admin { socket: path.clone(), mode: 0o660, group: None });
        first.keep().keep();
        drop(first);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o660);
        UnixStream::connect(&path).unwrap();
        drop(second);
        assert!(!path.exists());
    }

    #[test]
    fn errors_name_the_remedy() {
        let (_directory, path) = place();
        let error = bind_admin_socket(&path, 0o660, Some("no-such-group")).unwrap_err().to_string();
        assert!(error.contains("groupadd --system no-such-group"), "{error}");
        assert!(!path.exists());
        let error = bind_admin_socket(&path.join("a/b"), 0o660, None).unwrap_err().to_string();
        assert!(error.contains("RuntimeDirectory=proximad"), "{error}");
        let long = path.with_file_name("x".repeat(120));
        let error = bind_admin_socket(&long, 0o660, None).unwrap_err().to_string();
        assert!(error.contains("at most 107 bytes"), "{error}");
    }
}
