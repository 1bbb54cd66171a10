//! Faults injected into a world under load, and what must come out.
//!
//! ```text
//!  eu     1 ─▶ 2 ─▶ 3 ─▶ 4 ─▶ 7 ─▶ 12 ─▶ 14 ┐
//!  apac   13 ────────────────────────────────┼─▶ 36     one world: these regions are hurt at the same time, us-east never,
//!  sa     6 ─▶ 5 ────────────────────────────┘          and the last fault hurts all
//!
//!  all    8 ─▶ 9 ─▶ 10 ─▶ 11                            another world, in which every PoP is guarded
//! ```
//!
//! | module | |
//! |---|---|
//! | [`catalogue`] | which faults there are |
//! | [`scene`] | the world with its observers and clients |
//! | [`case`] | one fault in one region: what was measured, what must hold |
//! | [`traffic`] | what the clients of that region saw meanwhile |
//! | `apps`, `flapping`, `daemon`, `machine`, `together` | the faults |
//! | [`stall`] | one thread of a process made to stand still |
//! | [`report`] | the closing table and the JSON file |

mod apps;
mod case;
pub mod catalogue;
mod daemon;
mod flapping;
mod machine;
mod report;
mod scene;
pub mod stall;
mod together;
mod traffic;

use std::{path::PathBuf, time::Duration};

use self::{
    case::{Case, Incident},
    catalogue::{ACTS, Act, Fault},
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
    let work_dir = options.work_dir.as_deref().unwrap_or(sandbox.dir());
    let daemon = proximad(options.proximad.as_deref())?;
    let mut report = Report::new(options.seed, options.slack);
    for (place, act) in (1..).zip(&ACTS) {
        let mut tracks = act.tracks.iter().chain([&act.alone]);
        if tracks.any(|(_, faults)| faults.iter().any(|fault| options.wants(*fault))) {
            let dir = work_dir.join(format!("w{place}"));
            let scene = Scene::build((act.world)(), options.seed, &daemon, &dir).await?;
            perform(act, scene, &options, &mut report).await?;
        }
    }
    report.print();
    if let Some(path) = &options.json {
        write_json(&report, path)?;
    }
    match report.failures() {
        0 => Ok(()),
        failures => Err(Error::Claim(format!("{failures} claims do not hold; seed {}", options.seed))),
    }
}

impl Options {
    fn wants(&self, fault: Fault) -> bool {
        self.only.is_empty() || self.only.contains(&fault)
    }
}

async fn perform(act: &Act, mut scene: Scene, options: &Options, report: &mut Report) -> Result<()> {
    let tracks = act.tracks.iter().map(|(region, faults)| track(&scene, options, region, faults));
    let mut incidents = futures_util::future::try_join_all(tracks).await?.concat();
    let (region, alone) = act.alone;
    incidents.extend(track(&scene, options, region, alone).await?);
    scene.silence(PATIENCE).await;
    report.add(&scene, incidents)
}

/// One fault after the other in one region. One that could not even be injected does not hide the others.
async fn track(scene: &Scene, options: &Options, region: &str, faults: &[Fault]) -> Result<Vec<Incident>> {
    let mut incidents = Vec::new();
    for fault in faults.iter().copied().filter(|fault| options.wants(*fault)) {
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
        Fault::FlappingApp => flapping::app(case).await,
        Fault::LossyLines => apps::lossy_lines(case).await,
        Fault::ProbesCut => apps::probes_cut(case).await,
        Fault::AllRegions => together::all_regions(case).await,
        Fault::TwoRegions => together::two_regions(case).await,
        Fault::Partition => together::partition(case).await,
        Fault::OneWayPartition => together::one_way_partition(case).await,
        Fault::DaemonKilled => daemon::killed(case).await,
        Fault::WorkerStuck => daemon::worker_stuck(case).await,
        Fault::ControlStuck => daemon::control_stuck(case).await,
        Fault::CoresTaken => machine::cores_taken(case).await,
    }
}
