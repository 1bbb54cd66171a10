//! `proxima-sim`: worlds by seed, on all cores; a seed that breaks a rule is shrunk and shown.
#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "a program for a person at a terminal")]

use std::{
    num::NonZeroU64,
    panic::{self, AssertUnwindSafe},
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

use clap::Parser;
use proxima_sim::{Case, Violation, World, shrink};

/// Runs worlds of PoPs, routers and apps with seeded faults, and holds them to the rules of the product.
#[derive(Debug, Parser)]
#[command(name = "proxima-sim", args_override_self = true)]
struct Options {
    /// The seed to replay, with its timeline.
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// How many seeds to run.
    #[arg(long, default_value = "20000")]
    seeds: NonZeroU64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Run the largest worlds only: 5 PoPs with 4 backends and 2 routers each.
    #[arg(long)]
    full: bool,
    /// How many threads; as many as there are cores when left out.
    #[arg(long)]
    threads: Option<usize>,
    /// Show the schedule as it is, not the least that breaks the same rule.
    #[arg(long)]
    whole: bool,
}

impl Options {
    fn case(&self, seed: u64) -> Case {
        if self.full { Case::full(seed) } else { Case::of(seed) }
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    match options.seed {
        Some(seed) => replay(seed, &options),
        None => search(&options),
    }
}

/// Runs seeds until one breaks a rule, or all are done.
fn search(options: &Options) -> ExitCode {
    let threads =
        options.threads.or_else(|| thread::available_parallelism().ok().map(Into::into)).unwrap_or(1);
    let (next, end) = (AtomicU64::new(options.from), options.from + options.seeds.get());
    let found: Mutex<Option<(u64, Broken)>> = Mutex::new(None);
    let events = AtomicU64::new(0);
    let begin = Instant::now();
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut world = World::new();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        break;
                    }
                    if let Err(broken) = run(seed, options, &mut world) {
                        next.store(end, Ordering::Relaxed);
                        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                        if found.as_ref().is_none_or(|(known, _)| *known > seed) {
                            *found = Some((seed, broken));
                        }
                        break;
                    }
                }
                events.fetch_add(world.events(), Ordering::Relaxed);
            });
        }
    });
    let (took, events) = (begin.elapsed().as_secs_f64(), events.into_inner());
    match found.into_inner().unwrap_or_else(PoisonError::into_inner) {
        None => {}
        Some((seed, Broken::Rule(violation))) => {
            println!("seed {seed} after {took:.1} s: {violation}\n");
            return replay(seed, options);
        }
        Some((seed, Broken::Panic)) => {
            println!("seed {seed} after {took:.1} s: a panic, told above\n{}", again(seed, options));
            return ExitCode::FAILURE;
        }
    }
    let (seeds, rate) = (options.seeds, options.seeds.get() as f64 / took);
    println!(
        "{seeds} seeds from {} on, {events} events, {took:.1} s on {threads} threads: {rate:.0} worlds/s, {:.0} a thread",
        options.from,
        rate / threads as f64
    );
    println!("no rule was broken");
    ExitCode::SUCCESS
}

/// What has become of a seed that does not hold.
enum Broken {
    Rule(Violation),
    /// A core, or the simulator, gave up: what it leaves of the world is good for nothing.
    Panic,
}

fn run(seed: u64, options: &Options, world: &mut World) -> Result<(), Broken> {
    let case = options.case(seed);
    match panic::catch_unwind(AssertUnwindSafe(|| case.run(world))) {
        Ok(held) => held.map_err(Broken::Rule),
        Err(_told_by_the_hook) => Err(Broken::Panic),
    }
}

/// How to see a seed again.
fn again(seed: u64, options: &Options) -> String {
    format!("replay: cargo xtask sim --seed {seed}{}", if options.full { " --full" } else { "" })
}

/// Shows what happens under a seed: the least that breaks the same rule, if it breaks any.
fn replay(seed: u64, options: &Options) -> ExitCode {
    let (case, mut world) = (options.case(seed), World::new());
    let broken = case.run(&mut world).err();
    let least = match &broken {
        Some(violation) if !options.whole => shrink(&mut world, &case, violation.rule),
        _ => case,
    };
    let broken = world.replay(least.seed, &least.shape, &least.faults).err();
    println!("{least}");
    for line in world.timeline() {
        println!("{line}");
    }
    if let Some(violation) = broken {
        println!("\n{violation}\n{}", again(seed, options));
        return ExitCode::FAILURE;
    }
    println!("\nno rule was broken");
    ExitCode::SUCCESS
}
