//! A scripted daemon, and the binary.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use axum::Router;
use tempfile::TempDir;
use tokio::{net::UnixListener, process::Command};

/// What the binary left behind.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The binary with arguments, apart from the environment of whoever runs the tests.
pub(crate) fn proxima(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_proxima"));
    command
        .args(args)
        .env_remove("PROXIMA_SOCKET")
        .env_remove("NO_COLOR")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// Runs it to its end.
pub(crate) async fn run(mut command: Command) -> Outcome {
    let output = command.output().await.unwrap();
    Outcome {
        code: output.status.code().expect("it exits and is not killed"),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A Unix socket in a directory of its own.
pub(crate) struct Place {
    directory: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("admin.sock")
    }

    pub(crate) fn listen(&self) -> UnixListener {
        UnixListener::bind(self.socket()).unwrap()
    }

    /// Answers as `router` says.
    pub(crate) fn serve(self, router: Router) -> Self {
        let listener = self.listen();
        tokio::spawn(async move { axum::serve(listener, router).await });
        self
    }

    /// Runs the binary against this socket.
    pub(crate) async fn proxima(&self, args: &[&str]) -> Outcome {
        run(self.command(args)).await
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = proxima(args);
        command.env("PROXIMA_SOCKET", self.socket());
        command
    }
}
