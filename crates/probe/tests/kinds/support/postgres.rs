//! PostgreSQL: a primary, and replicas that stream from it.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use super::{
    certificates::{Authority, Certificate, NAME},
    server::{As, Server, address, run},
};

const USER: As = As::User("postgres");

/// A cluster and, while it runs, its server.
pub(crate) struct Postgres {
    /// The directory goes after the server.
    pub(crate) server: Server,
    pub(crate) address: SocketAddr,
    /// Who signed its certificate, where it has one.
    pub(crate) authority: Option<Authority>,
    _directory: TempDir,
}

impl Postgres {
    /// A primary: `postgres` needs no password, everybody else does.
    pub(crate) fn primary() -> Self {
        let directory = directory();
        initialise(&directory);
        Self::start(directory, address(), &[])
    }

    /// The same, with a certificate.
    pub(crate) fn secured() -> Self {
        let directory = directory();
        initialise(&directory);
        let authority = Authority::new(directory.path());
        let Certificate { chain, key, .. } = authority.sign(NAME, 2090);
        USER.own(&key);
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        let files = [("ssl_cert_file", chain), ("ssl_key_file", key)];
        let files = files.map(|(name, file)| format!("{name}={}", file.display()));
        let server = Self::start(directory, address(), &["ssl=on", &files[0], &files[1]]);
        Self { authority: Some(authority), ..server }
    }

    /// A replica that streams from it.
    pub(crate) fn replica(&self) -> Self {
        let directory = directory();
        let mut backup = USER.command(&binary("pg_basebackup"));
        backup.args([
            "--no-sync",
            "--checkpoint=fast",
            "-R",
            "-U",
            "postgres",
            "-h",
            &self.address.ip().to_string(),
        ]);
        backup.args(["-p", &self.address.port().to_string(), "-D"]).arg(directory.path().join("data"));
        run(&mut backup);
        let replica = Self::start(directory, address(), &["wal_retrieve_retry_interval=100ms"]);
        replica.server.says("started streaming WAL from primary");
        replica
    }

    fn start(directory: TempDir, address: SocketAddr, settings: &[&str]) -> Self {
        let mut server = USER.command(&binary("postgres"));
        server.arg("-D").arg(directory.path().join("data"));
        let own = [
            format!("listen_addresses={}", address.ip()),
            format!("port={}", address.port()),
            format!("unix_socket_directories={}", directory.path().display()),
        ];
        let small = [
            "fsync=off",
            "shared_buffers=4MB",
            "max_connections=20",
            "max_wal_senders=4",
            "wal_level=replica",
        ];
        let all = own.iter().map(String::as_str).chain(small).chain(settings.iter().copied());
        server.args(all.flat_map(|setting| ["-c", setting]));
        let server = Server::start(server, "database system is ready to accept");
        Self { server, address, authority: None, _directory: directory }
    }

    /// Runs SQL as the superuser; the rows as text.
    pub(crate) fn sql(&self, sql: &str) -> String {
        let mut psql = Command::new(binary("psql"));
        psql.args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", "postgres"]);
        psql.args(["-h", &self.address.ip().to_string(), "-p", &self.address.port().to_string(), "-c", sql]);
        run(&mut psql)
    }
}

fn initialise(directory: &TempDir) {
    let data = directory.path().join("data");
    let mut initdb = USER.command(&binary("initdb"));
    initdb
        .args(["--no-sync", "--no-instructions", "--locale=C", "-U", "postgres", "--auth=trust", "-D"])
        .arg(&data);
    run(&mut initdb);
    let access = "local all all trust\nhost all postgres all trust\nhost replication all all trust\n\
                  host all all all scram-sha-256\n";
    USER.write(&data.join("pg_hba.conf"), access);
}

fn directory() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    USER.own(directory.path());
    directory
}

/// Of the latest version that is installed: Debian keeps them apart from the path.
fn binary(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .max()
        .map(|version| Path::new("/usr/lib/postgresql").join(version.to_string()).join("bin").join(name))
        .filter(|path| path.is_file());
    newest.unwrap_or_else(|| super::server::program(name, "postgresql"))
}
