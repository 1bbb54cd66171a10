//! `proximad`: the per-PoP daemon. This is the only place where the parts meet.
//!
//! | module | what it is for |
//! |---|---|
//! | [`start`] | brings everything up, in order, and takes it back |
//! | [`ready`] | what of that can fail |
//! | [`control`] | the task that owns every decision |
//! | [`groups`] | verdicts → scores → what is announced |
//! | [`self_check`] | whether this PoP can serve, and verdicts are still to be believed |
//! | [`observe`] | who else announces a guarded group |
//! | [`traffic`] | what real traffic says about backends and services |
//! | [`orders`] | whose orders are in force, and until when |
//! | [`routing`] | verdicts → what the workers serve |
//! | [`distance`] | which other region is near |
//! | [`priority`] | the control thread goes first |
//! | [`descriptors`] | which file descriptors clients may take |
//! | [`pulse`] | the control thread's own, and what ends the process without it |
//! | [`notify`] | what the service manager is told |
//! | [`operate`] | what operators order |
//! | [`reload`] | reading the configuration again |
//! | [`catching`] | connections that come with a change of catchment |
//! | [`bfd`] | BFD with the peers that have it |
//! | [`neighbours`], [`attempts`] | news of BGP and BFD sessions, and which of them are none |
//! | [`acme`] | certificates that are ordered, and what proves that their names are ours |
//! | [`tls`] | certificates, their keys, and those of tickets |
//! | [`speaker`], [`secret`] | the configuration's peers and keys → the speaker's |
//! | [`stop`] | the order of a stop |
//! | [`upgrade`] | handing everything over to another process |
//! | [`vips`] | which prefixes are local |
//! | [`tell`] | what becomes of groups, for the journal |
//! | [`report`], [`words`] | answers of the admin interface |
//! | [`admin`], [`metrics_server`] | the servers themselves |
//! | [`doors`], [`accepting`] | the sockets they have, and may hand on |
#![allow(clippy::disallowed_methods, reason = "a driver: reads the clock and hands it to the cores")]

mod accepting;
mod access;
mod acme;
mod admin;
mod args;
mod attempts;
mod bfd;
mod catching;
mod control;
mod descriptors;
mod distance;
mod doors;
mod groups;
mod lacking;
mod listeners;
mod metrics_server;
mod neighbours;
mod notify;
mod observe;
mod operate;
mod orders;
mod priority;
mod probing;
mod pulse;
mod quic_lb;
mod ready;
mod reload;
mod report;
mod routing;
mod secret;
mod self_check;
mod signals;
mod speaker;
mod start;
mod stop;
mod tell;
mod tls;
mod traffic;
mod unchecked;
mod upgrade;
mod vips;
mod words;

use std::{
    fs,
    os::unix::process::CommandExt,
    process::{Command, ExitCode},
    sync::Arc,
};

use anyhow::{Context, Result};
use clap::Parser;
use proxima_config::{Config, ConfigErrors};
use proxima_telemetry::{LogFormat, LogOptions};

use crate::{args::Args, control::End, start::Daemon, upgrade::Predecessor};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    if let Some(parent) = upgrade::detach() {
        return parent;
    }
    let args = Args::parse();
    match run(&args) {
        Ok(End::Stop | End::Upgraded) => ExitCode::SUCCESS,
        Ok(End::Restart) => begin_anew(),
        Err(error) if error.is::<ConfigErrors>() => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
        Err(error) => {
            eprintln!("proximad: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs by itself, or in the place of another process, which is told when that comes to nothing.
fn run(args: &Args) -> Result<End> {
    let predecessor = Predecessor::from_env()?.map(Arc::new);
    let (config, text) = read(args).inspect_err(|error| tell_failure(predecessor.as_deref(), error))?;
    run_by(args, config, text, predecessor)
}

fn tell_failure(predecessor: Option<&Predecessor>, error: &anyhow::Error) {
    if let Some(predecessor) = predecessor {
        predecessor.tell_failure(&format!("{error:#}"));
    }
}

fn read(args: &Args) -> Result<(Config, String)> {
    let file = args.config.display();
    let text = fs::read_to_string(&args.config)
        .with_context(|| format!("can't read {file}; name the configuration with --config FILE"))?;
    Ok((Config::parse(&text, &file.to_string())?, text))
}

fn run_by(args: &Args, config: Config, text: String, predecessor: Option<Arc<Predecessor>>) -> Result<End> {
    let log = proxima_telemetry::log::install(&LogOptions {
        format: match config.log.format {
            proxima_config::LogFormat::Text => LogFormat::Text,
            proxima_config::LogFormat::Json => LogFormat::Json,
        },
        filter: config.log.level.to_string(),
    })?;
    let prometheus = proxima_telemetry::metrics::install()?;
    die_with_the_control_thread();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .on_thread_start(priority::lower)
        .build()
        .context("can't make the control thread's runtime")?;
    let path = args.config.clone();
    runtime.block_on(async {
        let start = Daemon::start((config, text), path, prometheus, log.filter(), predecessor.clone());
        // The process before is told before anything is taken apart, which may take a while.
        let daemon =
            Box::pin(start).await.inspect_err(|error| tell_failure(predecessor.as_deref(), error))?;
        priority::raise();
        // A box: it is large.
        let ended = Box::pin(daemon.run()).await;
        priority::lower();
        ended
    })
}

/// Becomes the program anew, as it is on disk now, with the same arguments: the same process to whoever supervises it.
/// Every socket closes with this one.
fn begin_anew() -> ExitCode {
    let mut arguments = std::env::args_os();
    let program = arguments.next().unwrap_or_else(|| "proximad".into());
    let error = Command::new(&program).args(arguments).env_remove(upgrade::VARIABLE).exec();
    eprintln!("proximad: can't start {} anew: {error}", program.display());
    ExitCode::FAILURE
}

/// The threads that the control thread relies on: received routes, and BFD.
const HELPERS: [&str; 2] = ["rib", "bfd"];

/// A panic in any task of the control thread, or in a thread that it relies on, ends the process: half a control plane would
/// keep routes alive that nobody watches any more.
fn die_with_the_control_thread() {
    let control = std::thread::current().id();
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        let thread = std::thread::current();
        if thread.id() == control || thread.name().is_some_and(|name| HELPERS.contains(&name)) {
            std::process::abort();
        }
    }));
}
