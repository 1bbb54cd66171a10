//! `proxima-testnet`: runs worlds in network namespaces.

use std::{
    io::IsTerminal as _, os::unix::process::CommandExt as _, path::PathBuf, process::ExitCode, time::Duration,
};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use proxima_testnet::{
    app, bfd, demo, faults, figures, flaps, hostile, http_attacks, measure, parsing, sandbox,
    selftest::{self, Selftest},
    table,
    world::{Options, World, WorldSpec},
};
use tracing_subscriber::EnvFilter;

#[derive(Parser)]
#[command(version, about = "Whole worlds in network namespaces, with real routers.")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run an app server on this host.
    App(app::Options),
    /// Start a world and keep it until Ctrl-C.
    Up(Up),
    /// Fail a region under load and show what its users notice.
    Demo(demo::Options),
    /// Give a full table to this daemon and to others, and show how long they take.
    Table(table::Options),
    /// Measure BFD: how fast a frozen PoP is left, and that a busy one is not.
    Bfd {
        /// What to measure.
        #[command(subcommand)]
        measurement: bfd::Measurement,
    },
    /// Attack the daemon as a hostile peer, beside a good one that must not notice.
    Hostile(hostile::Options),
    /// Attack the daemon as clients of HTTP that do harm, beside others that must not notice.
    HttpAttacks(http_attacks::Options),
    /// Do harm as such a client until the process is ended.
    #[command(hide = true)]
    HttpStrike(http_attacks::Strike),
    /// Send ambiguous and unusual requests, and show how this daemon, other proxies and backends read them.
    Parsing(parsing::Options),
    /// Inject faults into a world under load: each with its figures and what must hold.
    Faults(faults::Options),
    /// Let an app flap, and count the UPDATEs that this daemon and ExaBGP's healthcheck make of it.
    Flaps(flaps::Options),
    /// Measure what requests and tokens take through a proxy, for `cargo xtask bench l7`.
    Measure {
        /// What to run.
        #[command(subcommand)]
        measurement: measure::Measurement,
    },
    /// Make one thread stand still until it or this program ends.
    #[command(hide = true)]
    Stall {
        /// The thread's number.
        thread: i32,
    },
    /// Run a program in a sandbox of its own; its exit code is this one's.
    Inside {
        /// The program and its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<std::ffi::OsString>,
    },
    /// Check the harness itself.
    Selftest {
        /// What to check.
        check: Selftest,
    },
}

#[derive(clap::Args)]
struct Up {
    /// A world's description; the built-in three regions if absent.
    #[arg(long)]
    world: Option<PathBuf>,
    /// The daemon to run on the PoP hosts; by default the one beside this program, and none if there is none.
    #[arg(long)]
    proximad: Option<PathBuf>,
    /// Where configs, logs and sockets go; a directory that vanishes with the world if absent.
    #[arg(long)]
    work_dir: Option<PathBuf>,
}

fn main() -> ExitCode {
    let command = Arguments::parse().command;
    // The demo tells its own story on the terminal.
    let level = if matches!(command, Command::Demo(_)) { "warn" } else { "info" };
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level)))
        .init();
    run(command).unwrap_or_else(|error| {
        tracing::error!("{error:#}");
        ExitCode::FAILURE
    })
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::App(options) => runtime()?.block_on(app::serve(options))?,
        Command::Up(arguments) => {
            let sandbox = sandbox::enter()?;
            runtime()?.block_on(up(arguments, &sandbox))?;
        }
        Command::Demo(options) => {
            let code = match sandbox::enter() {
                Ok(sandbox) => runtime()?.block_on(demo::run(options, &sandbox)),
                Err(error) => demo::could_not(&error),
            };
            return Ok(code);
        }
        Command::Table(options) => {
            let sandbox = sandbox::enter()?;
            return Ok(runtime()?.block_on(table::run(options, &sandbox))?);
        }
        Command::Bfd { measurement } => {
            let sandbox = sandbox::enter()?;
            runtime()?.block_on(bfd::run(measurement, &sandbox))?;
        }
        Command::Hostile(options) => {
            let sandbox = sandbox::enter()?;
            runtime()?.block_on(hostile::run(options, &sandbox))?;
        }
        Command::HttpAttacks(options) => {
            let sandbox = sandbox::enter()?;
            runtime()?.block_on(http_attacks::run(options, &sandbox))?;
        }
        Command::HttpStrike(options) => runtime()?.block_on(http_attacks::strike(options))?,
        Command::Parsing(options) => {
            let sandbox = sandbox::enter()?;
            parsing::run(&options, &sandbox)?;
        }
        Command::Faults(options) => {
            let sandbox = sandbox::enter()?;
            runtime()?.block_on(faults::run(options, &sandbox))?;
        }
        Command::Flaps(options) => {
            let sandbox = sandbox::enter()?;
            return Ok(runtime()?.block_on(flaps::run(options, &sandbox))?);
        }
        Command::Measure { measurement } => runtime()?.block_on(measure::run(measurement))?,
        Command::Stall { thread } => faults::stall::hold(thread)?,
        Command::Inside { command } => {
            sandbox::enter()?;
            let error = std::process::Command::new(&command[0]).args(&command[1..]).exec();
            return Err(error).with_context(|| format!("starting {}", command[0].display()));
        }
        Command::Selftest { check } => {
            let sandbox = sandbox::enter()?;
            runtime()?.block_on(selftest::run(check, &sandbox))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting a runtime")
}

async fn up(arguments: Up, sandbox: &sandbox::Sandbox) -> anyhow::Result<()> {
    let spec = match &arguments.world {
        None => WorldSpec::three_regions(),
        Some(file) => {
            std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?.parse()?
        }
    };
    let work_dir = arguments.work_dir.unwrap_or_else(|| sandbox.dir().to_owned());
    let beside = figures::proximad(None)?;
    let proximad = arguments.proximad.or_else(|| beside.exists().then_some(beside));
    let world = World::start(spec, Options::new(proximad, work_dir)?).await?;
    world.wait_converged(Duration::from_secs(30)).await?;
    tracing::info!("converged; to enter a host, as the user who started this:");
    // Twice, since a namespace's path means something only inside the sandbox.
    let sandbox_of_this = "nsenter --target $(pgrep --newest --full 'proxima-testnet up') --all";
    for region in world.regions() {
        let hosts = [&region.router.host, &region.pop.host, &region.client];
        for host in hosts.into_iter().chain(region.apps.iter().map(|app| &app.host)) {
            let (name, address, path) = (&host.name, host.addresses.v4, host.ns.path());
            tracing::info!("{name:<16} {address:<10}  {sandbox_of_this} nsenter --net={path}");
        }
    }
    tokio::signal::ctrl_c().await.context("waiting for Ctrl-C")?;
    Ok(())
}
