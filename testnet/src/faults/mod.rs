//! Faults injected into a world under load, and what must come out.
//!
//! ```text
//!  eu     1 ─▶ 2 ─▶ 3 ─▶ 4 ─▶ 7 ─▶ 12 ─▶ 14 ┐
//!                                            ├─▶ 36     one world: the two regions are hurt at the same time,
//!  apac   6 ─▶ 13 ──────────────────────────┘           us-east never, and the last fault hurts all
//! ```
//!
//! | module | |
//! |---|---|
//! | [`catalogue`] | which faults there are |
//! | [`scene`] | the world with its observers and clients |
//! | [`case`] | one fault in one region: what was measured, what must hold |
//! | [`traffic`] | what the clients of that region saw meanwhile |
//! | `apps`, `daemon`, `machine` | the faults |
//! | [`stall`] | one thread of a process made to stand still |
//! | [`report`] | the closing table and the JSON file |

mod apps;
mod case;
pub mod catalogue;
mod daemon;
mod machine;
mod report;
mod scene;
pub mod stall;
mod traffic;

use std::{path::PathBuf, time::Duration};

use self::{
    case::{Case, Incident},
    catalogue::Fault,
    report::Report,
    scene::Scene,
};
use crate::{
    error::{Error, Result},
    figures::{proximad, write_json},
    sandbox::Sandbox,
};

/// Options of `proxima-testnet faults`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Only these faults, by their numbers.
    #[arg(long, value_delimiter = ',', value_name = "NUMBERS")]
    only: Vec<Fault>,
    /// Fixes arrivals of requests and losses of lines.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Multiplies the limits of time, 1 to 100: for machines that are busy with other things.
    #[arg(long, value_name = "FACTOR", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    slack: u32,
    /// Write every figure to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Keep configurations and logs in this directory; its path must be short.
    #[arg(long, value_name = "DIR")]
    work_dir: Option<PathBuf>,
    /// The daemon to run; by default the one beside this program.
    #[arg(long, value_name = "FILE")]
    proximad: Option<PathBuf>,
}

/// How long the clients' last requests may take once all is over.
const PATIENCE: Duration = Duration::from_secs(3);

/// Injects the faults and prints the figures of each; an error when a claim does not hold.
pub async fn run(options: Options, sandbox: &Sandbox) -> Result<()> {
    let wanted = |fault: &Fault| options.only.is_empty() || options.only.contains(fault);
    let work_dir = options.work_dir.as_deref().unwrap_or(sandbox.dir());
    let daemon = proximad(options.proximad.as_deref())?;
    let mut scene = Scene::build(options.seed, &daemon, work_dir).await?;
    let [first, second] =
        catalogue::TRACKS.map(|(region, faults)| track(&scene, &options, region, faults, wanted));
    let (first, second) = tokio::join!(first, second);
    let mut incidents = [first?, second?].concat();
    let (region, alone) = catalogue::ALONE;
    incidents.extend(track(&scene, &options, region, alone, wanted).await?);
    scene.silence(PATIENCE).await;
    let report = Report::new(options.seed, options.slack, &scene, incidents)?;
    report.print();
    if let Some(path) = &options.json {
        write_json(&report, path)?;
    }
    match report.failures() {
        0 => Ok(()),
        failures => Err(Error::Claim(format!("{failures} claims do not hold; seed {}", options.seed))),
    }
}

/// One fault after the other in one region. One that could not even be injected does not hide the others.
async fn track(
    scene: &Scene,
    options: &Options,
    region: &str,
    faults: &[Fault],
    wanted: impl Fn(&Fault) -> bool,
) -> Result<Vec<Incident>> {
    let mut incidents = Vec::new();
    for fault in faults.iter().copied().filter(wanted) {
        let mut case = Case::new(scene, region, fault, options.slack)?;
        if let Err(error) = inject(fault, &mut case).await {
            case.claim(false, error.to_string());
        }
        incidents.push(case.close());
    }
    Ok(incidents)
}

async fn inject(fault: Fault, case: &mut Case<'_>) -> Result<()> {
    match fault {
        Fault::OneApp => apps::one_killed(case).await,
        Fault::AllApps => apps::all_killed(case).await,
        Fault::SilentApps => apps::all_silent(case).await,
        Fault::WrongAnswers => apps::wrong_answers(case).await,
        Fault::LossyLines => apps::lossy_lines(case).await,
        Fault::ProbesCut => apps::probes_cut(case).await,
        Fault::DaemonKilled => daemon::killed(case).await,
        Fault::WorkerStuck => daemon::worker_stuck(case).await,
        Fault::ControlStuck => daemon::control_stuck(case).await,
        Fault::CoresTaken => machine::cores_taken(case).await,
    }
}
