//! What probes take of this host, looked at before they begin: a mistake there keeps every probe from being made, and no verdict
//! would ever come.

use std::{
    fs, io,
    net::{IpAddr, SocketAddr, UdpSocket},
    path::{Path, PathBuf},
};

use nix::{
    fcntl::AtFlags,
    unistd::{AccessFlags, faccessat},
};
use proxima_probe_kind::{ProbeKind, Trust};

use crate::{password, tls};

/// What a probe can't do without and this host lacks, with the remedy.
#[derive(Debug, thiserror::Error)]
pub enum Lacking {
    /// Its program.
    #[error("can't run the program {}: {error}; correct `exec`, or let the daemon's user run it", program.display())]
    Program {
        /// Its path.
        program: PathBuf,
        /// The system's words.
        error: io::Error,
    },
    /// The authorities that its backend's certificate is judged by.
    #[error("{error}; correct `ca-file`, or let the daemon's user read it")]
    Authorities {
        /// What is wrong with which file.
        error: String,
    },
    /// The password that it logs in with.
    #[error("{error}; correct `password-file`, or let the daemon's user read it")]
    Password {
        /// What is wrong with which file.
        error: String,
    },
    /// The address that it comes from.
    #[error("can't probe from {source_address}: {error}; correct `source`, or add the address to this host")]
    Source {
        /// It.
        source_address: IpAddr,
        /// The system's words.
        error: io::Error,
    },
}

/// Whether this host has what probes of this kind take, as it is now. Reads files: to be called where that may take a moment.
///
/// # Errors
/// The first thing that it lacks.
pub fn is_lacking(kind: &ProbeKind, source: Option<IpAddr>) -> Result<(), Lacking> {
    if let Some(program) = kind.program() {
        let program = Path::new(program);
        is_program(program).map_err(|error| Lacking::Program { program: program.to_owned(), error })?;
    }
    if let Some(Trust::File(file)) = kind.tls().map(|tls| &tls.trust) {
        tls::roots_in(file).map_err(|error| Lacking::Authorities { error })?;
    }
    if let Some(file) = kind.password_file() {
        password::read(file).map_err(|error| Lacking::Password { error })?;
    }
    if let Some(source_address) = source {
        UdpSocket::bind(SocketAddr::new(source_address, 0))
            .map_err(|error| Lacking::Source { source_address, error })?;
    }
    Ok(())
}

fn is_program(program: &Path) -> io::Result<()> {
    if fs::metadata(program)?.is_file() {
        return Ok(faccessat(nix::fcntl::AT_FDCWD, program, AccessFlags::X_OK, AtFlags::AT_EACCESS)?);
    }
    Err(io::Error::other("it is no file"))
}

#[cfg(test)]
mod tests {
    use proxima_probe_kind::{Exec, Redis, Tls, TlsHandshake};

    use super::*;

    fn exec(program: &Path) -> ProbeKind {
        ProbeKind::Exec(Exec { command: vec![program.to_str().unwrap().to_owned()] })
    }

    fn handshake(file: &Path) -> ProbeKind {
        let trust = Trust::File(file.to_owned());
        let tls = Tls { server_name: None, trust, min_validity: None };
        ProbeKind::Tls(TlsHandshake { tls, alpn: Vec::new() })
    }

    fn login(file: &Path) -> ProbeKind {
        let password_file = Some(file.to_owned());
        ProbeKind::Redis(Redis { user: None, password_file, tls: None, role: None, max_lag: None })
    }

    #[track_caller]
    fn assert_lacks(kind: &ProbeKind, words: &[&str]) {
        let said = is_lacking(kind, None).unwrap_err().to_string();
        for word in words {
            assert!(said.contains(word), "`{word}` is not in `{said}`");
        }
    }

    #[test]
    fn what_is_not_there_or_can_t_be_used_is_named_with_the_remedy() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        let name = file.to_str().unwrap().to_owned();
        let kinds = [exec(&file), handshake(&file), login(&file)];
        for (kind, key) in kinds.iter().zip(["exec", "ca-file", "password-file"]) {
            assert_lacks(kind, &[&name, "No such file", &format!("correct `{key}`")]);
        }
        fs::write(&file, "").unwrap();
        assert_lacks(&kinds[0], &[&name, "Permission denied"]);
        assert_lacks(&kinds[1], &[&name, "no certificate in it"]);
        assert_lacks(&kinds[2], &[&name, "it is empty"]);
        assert_lacks(&exec(directory.path()), &["it is no file"]);
        fs::write(&file, "secret\n").unwrap();
        is_lacking(&kinds[2], None).unwrap();
        is_lacking(&exec(Path::new("/bin/sh")), Some(IpAddr::from([127, 0, 0, 9]))).unwrap();
    }

    #[test]
    fn an_address_of_another_host_is_no_source() {
        let source = Some(IpAddr::from([192, 0, 2, 1]));
        let said = is_lacking(&ProbeKind::Tcp, source).unwrap_err().to_string();
        assert!(
            said.starts_with("can't probe from 192.0.2.1: ") && said.contains("add the address"),
            "{said}"
        );
    }
}
