//! The demo: a region fails under load and no user notices.
//!
//! ```text
//! stage    the world, its observers and its clients
//! cycles   what is done to it: steady health, apps killed and restored, daemon killed and restarted
//! traffic  what the clients saw meanwhile
//! claims   what must hold, judged by the figures
//! report   the closing table and the JSON file
//! screen   the live timeline
//! ```

mod claims;
mod cycles;
mod report;
mod screen;
mod stage;
mod traffic;

use std::{
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use tokio::signal::unix::{SignalKind, signal};

pub use self::report::Report;
use self::{cycles::Run, report::Setup, screen::Screen, stage::Stage};
use crate::{
    error::{Error, Result},
    figures::write_json,
    sandbox::Sandbox,
};

/// The region that fails.
const FAILING: &str = "eu";
/// What a single demo has time for; several kills measure the whole minute that is claimed.
const SHORT_STEADY: Duration = Duration::from_secs(5);
const LONG_STEADY: Duration = Duration::from_mins(1);

/// A claim did not hold.
const FAILED: u8 = 1;
/// Something is missing on this machine.
const COULD_NOT_RUN: u8 = 2;
/// Ended by Ctrl-C.
const INTERRUPTED: u8 = 130;

/// Options of `proxima-testnet demo`.
///
/// Three regions, each with a router (BIRD), a PoP with proximad, app servers and clients. Under load, all apps of
/// region eu are killed and restored, then its daemon is killed and restarted.
///
/// Exit codes: 0 when every claim holds, 1 when one does not, 2 when the demo can't run here.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// How often everything is killed: N times the apps, N times the daemon. More than one measures a full minute of
    /// steady health before.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    kills: u32,
    /// Write every figure to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Fixes arrivals of requests and losses of links.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Multiplies the load: 1 is about 590 requests per second.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = load_factor)]
    load: f64,
    /// Multiplies the limits of time, 1 to 100: for machines that are busy with other things.
    #[arg(long, value_name = "FACTOR", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    slack: u32,
    /// Keep configurations and logs in this directory; its path must be short.
    #[arg(long, value_name = "DIR")]
    work_dir: Option<PathBuf>,
    /// The daemon to run; by default the one beside this program.
    #[arg(long, value_name = "FILE")]
    proximad: Option<PathBuf>,
}

fn load_factor(text: &str) -> std::result::Result<f64, String> {
    match text.parse() {
        Ok(factor) if (0.01..=100.0).contains(&factor) => Ok(factor),
        _ => Err("a number from 0.01 to 100 is wanted".to_owned()),
    }
}

/// Runs the demo; what it prints and returns is for the person who started it.
pub async fn run(options: Options, sandbox: &Sandbox) -> ExitCode {
    let mut terminate = match signal(SignalKind::terminate()) {
        Ok(terminate) => terminate,
        Err(error) => return could_not(&Error::io("listening for SIGTERM")(error)),
    };
    let screen = Screen::new();
    tokio::select! {
        outcome = perform(&options, sandbox, &screen) => match outcome {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::from(FAILED),
            Err(error) => {
                screen.close();
                could_not(&error)
            }
        },
        _ = tokio::signal::ctrl_c() => interrupted(&screen, Signal::SIGINT),
        _ = terminate.recv() => interrupted(&screen, Signal::SIGTERM),
    }
}

/// True when every claim holds.
async fn perform(options: &Options, sandbox: &Sandbox, screen: &Screen) -> Result<bool> {
    let begin = Instant::now();
    let setup = Setup::gather(options)?;
    screen.say("making a world: 3 regions, BIRD routers, WAN delay, apps that stream tokens, clients");
    let work_dir = options.work_dir.as_deref().unwrap_or(sandbox.dir());
    let mut stage = Stage::build(options, &setup.proximad, work_dir).await?;
    screen.go_live(stage.outcomes(), stage.region_names(), progress_steps(options));
    let steady = if options.kills > 1 { LONG_STEADY } else { SHORT_STEADY };
    let run: Run = cycles::perform(&mut stage, screen, options.kills, steady).await?;
    screen.close();
    let ended = stage.end().await?;
    let report = Report::new(setup, run, &ended, begin.elapsed());
    print(&report.text(screen.style()));
    if !report.holds()
        && let Some(tail) = &ended.daemon_log
    {
        print(&format!("The daemon's log in {FAILING} ends with:\n{tail}"));
    }
    if let Some(path) = &options.json {
        write_json(&report, path)?;
    }
    Ok(report.holds())
}

/// One for the steady time and each kill.
fn progress_steps(options: &Options) -> u32 {
    1 + 2 * options.kills
}

fn interrupted(screen: &Screen, signal: Signal) -> ExitCode {
    screen.close();
    print(&format!("\n{signal}: the world ends here and leaves nothing behind\n"));
    ExitCode::from(INTERRUPTED)
}

/// Tells an error, and by the exit code whether the machine or the product is at fault.
pub fn could_not(error: &Error) -> ExitCode {
    match error {
        Error::Late { .. } | Error::Ended { .. } | Error::Claim(_) => {
            print(&format!("FAILED: {error}\n"));
            ExitCode::from(FAILED)
        }
        _ => {
            print(&format!("could not run: {error}\n"));
            ExitCode::from(COULD_NOT_RUN)
        }
    }
}

#[allow(clippy::print_stdout, reason = "the demo's output is for a person")]
fn print(text: &str) {
    print!("{text}");
}
