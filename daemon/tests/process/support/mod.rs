//! A PoP in one process's reach: the daemon, and everything around it played by the test.

mod app;
mod bgp;
mod client;
mod daemon;
mod load;
mod pebble;
mod pop;
mod port;
mod record;
mod router;

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
    time::Duration,
};

pub(crate) use self::{
    app::{App, Fails, Mood},
    bgp::{
        KEEPALIVE, announcement, announcements, end_of_rib, message, of_another_pop, of_no_other_pop, open,
        open_with, update,
    },
    client::{Client, exchange, get},
    daemon::Daemon,
    load::Load,
    pebble::{Manner as PebbleManner, Pebble},
    pop::Pop,
    port::Port,
    record::Record,
    router::{Manner, Router},
};

/// The command line's program, built beside the daemon.
pub(crate) fn proxima(socket: &Path, arguments: &[&str]) -> Output {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| {
        let directory = Path::new(env!("CARGO_BIN_EXE_proximad")).parent().unwrap();
        let profile = directory.file_name().unwrap().to_str().unwrap();
        let profile = if profile == "debug" { "dev" } else { profile };
        let mut build = Command::new(env!("CARGO"));
        build.args([
            "build",
            "--quiet",
            "--package",
            "proxima-cli",
            "--bin",
            "proxima",
            "--profile",
            profile,
        ]);
        build.arg("--target-dir").arg(directory.parent().unwrap());
        assert!(build.status().unwrap().success());
        directory.join("proxima")
    });
    Command::new(program).arg("--socket").arg(socket).args(arguments).output().unwrap()
}

/// When a wait is given up. No test takes this long unless it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
