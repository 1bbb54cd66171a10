//! Redis: a primary, and replicas of it.

use std::{net::SocketAddr, process::Command};

use super::{
    certificates::{Authority, Certificate},
    server::{As, Server, address, program, run},
};

/// A running Redis that keeps nothing.
pub(crate) struct Redis {
    pub(crate) server: Server,
    pub(crate) address: SocketAddr,
}

impl Redis {
    /// One with these arguments beside the usual ones.
    pub(crate) fn with(arguments: &[&str]) -> Self {
        let address = address();
        let port = address.port().to_string();
        Self::start(address, &[&["--port", &port], arguments].concat())
    }

    /// One that speaks TLS only.
    pub(crate) fn secured(certificate: &Certificate, authority: &Authority) -> Self {
        let address = address();
        let port = address.port().to_string();
        let [chain, key, ca] =
            [&certificate.chain, &certificate.key, &authority.file].map(|file| file.display().to_string());
        let files = ["--tls-cert-file", &chain, "--tls-key-file", &key, "--tls-ca-cert-file", &ca];
        let only = ["--port", "0", "--tls-auth-clients", "no", "--tls-port", &port];
        Self::start(address, &[&files[..], &only].concat())
    }

    fn start(address: SocketAddr, arguments: &[&str]) -> Self {
        let mut command = As::Me.command(&program("redis-server", "redis-server"));
        command.args(["--bind", &address.ip().to_string()]).args(arguments);
        command.args([
            "--save",
            "",
            "--appendonly",
            "no",
            "--dir",
            "/",
            "--repl-diskless-load",
            "on-empty-db",
        ]);
        command.args(["--repl-diskless-sync-delay", "0", "--protected-mode", "no"]);
        let server = Server::start(command, "Ready to accept connections");
        Self { server, address }
    }

    /// A replica of it.
    pub(crate) fn replica(&self) -> Self {
        let of = [self.address.ip().to_string(), self.address.port().to_string()];
        let replica = Self::with(&["--replicaof", &of[0], &of[1]]);
        replica.server.says("MASTER <-> REPLICA sync: Finished with success");
        replica
    }

    /// Says something to it with its own client.
    pub(crate) fn say(&self, words: &[&str]) -> String {
        let mut command = Command::new(program("redis-cli", "redis-tools"));
        command
            .args(["-h", &self.address.ip().to_string(), "-p", &self.address.port().to_string()])
            .args(words);
        run(&mut command)
    }
}
