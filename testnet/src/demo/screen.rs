//! The live timeline: lines as things happen, and on a terminal a block below them that shows who serves whom.
//!
//! ```text
//!   12.345 s  every app of eu is killed (SIGKILL)
//!   12.348 s    +   3.1 ms  detected by the standing connection
//!
//!   eu apps, kill 1 of 1   ██████████░░░░░░░░░░   583 requests/s, 0 failed, 3 sent again
//!   clients in eu       ▐██████████████████████████████▌ us-east 100 %
//! ```
//!
//! Plain lines without block or colour when standard output is no terminal, `NO_COLOR` is set, or `TERM` is `dumb`.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{IsTerminal, Write as _},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::{
    figures::median,
    load::{Kind, Outcome},
    observe::Journal,
};

const REDRAW: Duration = Duration::from_millis(200);
/// What the block shows is of this much time.
const WINDOW: Duration = Duration::from_secs(1);
const BAR: usize = 30;

/// Colours, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Style {
    colours: bool,
}

impl Style {
    fn of_stdout() -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        Self { colours: std::io::stdout().is_terminal() && !set("NO_COLOR") && !dumb }
    }

    pub(super) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    pub(super) fn faint(self, text: &str) -> String {
        self.paint("2", text)
    }

    pub(super) fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    pub(super) fn bad(self, text: &str) -> String {
        self.paint("1;31", text)
    }

    /// A region's own colour, by its place in the world.
    fn region(self, place: usize, text: &str) -> String {
        const COLOURS: [&str; 6] = ["34", "33", "35", "36", "32", "37"];
        self.paint(COLOURS[place % COLOURS.len()], text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Where the demo tells its story.
#[derive(Debug)]
pub(super) struct Screen {
    begin: Instant,
    style: Style,
    shared: Arc<Mutex<Shared>>,
    ticker: Mutex<Option<Ticker>>,
}

#[derive(Debug)]
struct Ticker {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    headline: String,
    steps_done: u32,
    steps: u32,
    /// The lines of the block on the screen now.
    block: Vec<String>,
}

impl Screen {
    pub(super) fn new() -> Self {
        let shared = Shared { headline: String::new(), steps_done: 0, steps: 1, block: Vec::new() };
        Self {
            begin: Instant::now(),
            style: Style::of_stdout(),
            shared: Arc::new(Mutex::new(shared)),
            ticker: Mutex::new(None),
        }
    }

    pub(super) fn style(&self) -> Style {
        self.style
    }

    /// Begins to draw the block, where there is a terminal.
    pub(super) fn go_live(&self, outcomes: Arc<Journal<Outcome>>, regions: Vec<String>, steps: u32) {
        lock(&self.shared).steps = steps.max(1);
        if !self.style.colours {
            return;
        }
        let (stop, stopped) = mpsc::channel();
        let (shared, style) = (Arc::clone(&self.shared), self.style);
        let thread = thread::spawn(move || {
            let mut pulse = Pulse::new(outcomes, regions);
            while stopped.recv_timeout(REDRAW) == Err(mpsc::RecvTimeoutError::Timeout) {
                pulse.update(Instant::now());
                let mut shared = lock(&shared);
                let width = terminal_size::terminal_size().map_or(80, |(width, _)| usize::from(width.0));
                let block = pulse.block(&shared, style).iter().map(|line| fitted(line, width)).collect();
                shared.redraw(block, None);
            }
            lock(&shared).redraw(Vec::new(), None);
        });
        *lock(&self.ticker) = Some(Ticker { stop, thread });
    }

    /// Ends the block; lines can still be said.
    pub(super) fn close(&self) {
        if let Some(Ticker { stop, thread }) = lock(&self.ticker).take() {
            drop(stop);
            // A panic of the thread has been printed by the panic hook; there is nothing to add.
            let _ = thread.join();
        }
    }

    /// What is going on now.
    pub(super) fn headline(&self, text: &str) {
        text.clone_into(&mut lock(&self.shared).headline);
        self.say(text);
    }

    /// The next of the steps that make up the whole.
    pub(super) fn step(&self, text: &str) {
        let mut shared = lock(&self.shared);
        shared.steps_done += 1;
        text.clone_into(&mut shared.headline);
    }

    /// A line of the timeline, now.
    pub(super) fn say(&self, text: &str) {
        self.line(Instant::now(), text);
    }

    /// A line of the timeline that others refer to.
    pub(super) fn mark(&self, at: Instant, text: &str) {
        self.line(at, &self.style.bold(text));
    }

    /// What followed from what happened at `since`, in the order in which it happened; last what did not happen.
    pub(super) fn reactions(&self, since: Instant, reactions: &[(&str, Option<Instant>)]) {
        let mut happened: Vec<_> =
            reactions.iter().filter_map(|(what, at)| at.map(|at| (at, *what))).collect();
        happened.sort_unstable();
        for (at, what) in happened {
            let after = at.saturating_duration_since(since).as_secs_f64() * 1e3;
            self.line(at, &format!("  +{after:>8.1} ms  {what}"));
        }
        for (what, _) in reactions.iter().filter(|(_, at)| at.is_none()) {
            self.line(Instant::now(), &self.style.bad(&format!("  not in time: {what}")));
        }
    }

    fn line(&self, at: Instant, text: &str) {
        let time = at.saturating_duration_since(self.begin).as_secs_f64();
        let line = format!("{}  {text}", self.style.faint(&format!("{time:>8.3} s")));
        let mut shared = lock(&self.shared);
        let block = shared.block.clone();
        shared.redraw(block, Some(&line));
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    /// Takes the block off the screen, writes `line` where it was, and the new block below.
    fn redraw(&mut self, block: Vec<String>, line: Option<&str>) {
        let mut text = String::new();
        if !self.block.is_empty() {
            let _ = write!(text, "\x1b[{}A\x1b[J", self.block.len());
        }
        if let Some(line) = line {
            text += line;
            text.push('\n');
        }
        for line in &block {
            text += line;
            text.push('\n');
        }
        self.block = block;
        let mut out = std::io::stdout().lock();
        // Whoever closed our output does not want to see more.
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}

/// The clients' last second, region by region.
struct Pulse {
    outcomes: Arc<Journal<Outcome>>,
    regions: Vec<String>,
    read: usize,
    failed: u64,
    reconnects: u64,
    /// Ended lately: when, the client's region, the region that served, milliseconds.
    recent: Vec<(Instant, String, Option<String>, f64)>,
}

impl Pulse {
    fn new(outcomes: Arc<Journal<Outcome>>, regions: Vec<String>) -> Self {
        Self { outcomes, regions, read: 0, failed: 0, reconnects: 0, recent: Vec::new() }
    }

    fn update(&mut self, now: Instant) {
        let (mut failed, mut reconnects, mut recent) = (0, 0, Vec::new());
        self.read += self.outcomes.read(self.read, |outcomes| {
            for outcome in outcomes {
                failed += u64::from(outcome.kind == Kind::Work && !outcome.succeeded());
                reconnects += u64::from(outcome.reconnects);
                if outcome.kind == Kind::Work {
                    let served = outcome.served.as_ref().map(|served| served.region.to_string());
                    let millis = outcome.latency().as_secs_f64() * 1e3;
                    recent.push((outcome.done, outcome.region.to_string(), served, millis));
                }
            }
            outcomes.len()
        });
        self.failed += failed;
        self.reconnects += reconnects;
        self.recent.append(&mut recent);
        self.recent.retain(|(done, ..)| now.saturating_duration_since(*done) < WINDOW);
    }

    fn block(&self, shared: &Shared, style: Style) -> Vec<String> {
        let filled = 20 * shared.steps_done.min(shared.steps) as usize / shared.steps as usize;
        let progress = format!("{}{}", "█".repeat(filled), style.faint(&"░".repeat(20 - filled)));
        let failed = format!("{} failed", self.failed);
        let failed = if self.failed == 0 { style.good(&failed) } else { style.bad(&failed) };
        let mut lines = vec![
            String::new(),
            format!(
                "  {:<32} {progress}  {:>4} requests/s, {failed}, {} sent again",
                shared.headline,
                self.recent.len(),
                self.reconnects
            ),
        ];
        lines.extend(self.regions.iter().map(|region| self.region_line(region, style)));
        lines
    }

    fn region_line(&self, region: &str, style: Style) -> String {
        let mut by_server: BTreeMap<usize, usize> = BTreeMap::new();
        let mut latencies = Vec::new();
        for (_, _, served, millis) in self.recent.iter().filter(|(_, of, ..)| of == region) {
            latencies.push(*millis);
            if let Some(place) = served.as_ref().and_then(|name| self.regions.iter().position(|r| r == name))
            {
                *by_server.entry(place).or_default() += 1;
            }
        }
        let median = median(latencies).unwrap_or_default();
        let served: usize = by_server.values().sum();
        let (mut bar, mut words, mut drawn, mut counted) = (String::new(), Vec::new(), 0, 0);
        for (place, count) in by_server {
            counted += count;
            let until = BAR * counted / served;
            bar += &style.region(place, &"█".repeat(until - drawn));
            drawn = until;
            words.push(style.region(place, &format!("{} {} %", self.regions[place], 100 * count / served)));
        }
        bar += &style.faint(&"░".repeat(BAR - drawn));
        format!("  clients in {region:<10} {bar} {median:>5.0} ms  {}", words.join("  "))
    }
}

/// A line cut to the terminal's width: one that wraps would not be taken off the screen as a whole.
fn fitted(line: &str, width: usize) -> String {
    let (mut fitted, mut shown, mut escape) = (String::new(), 0, false);
    for character in line.chars() {
        if character == '\x1b' {
            escape = true;
        }
        if !escape {
            shown += 1;
        }
        if escape || shown <= width {
            fitted.push(character);
        }
        if escape && character == 'm' {
            escape = false;
        }
    }
    fitted
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use proxima_types::Family;

    use super::*;
    use crate::load::Served;

    const PLAIN: Style = Style { colours: false };

    fn answered(at: Instant, region: &str, by: &str) -> Outcome {
        Outcome {
            id: String::new(),
            region: region.into(),
            kind: Kind::Work,
            family: Family::Ipv4,
            intended: at,
            started: at,
            first_byte: None,
            done: at,
            attempts: 1,
            fresh: true,
            reconnects: 0,
            local_port: 1,
            result: Ok(200),
            served: Some(Served { region: by.into(), app: "x".into() }),
            stream: None,
        }
    }

    #[test]
    fn the_bar_shows_who_serves_a_regions_clients_and_is_always_as_long() {
        let (journal, now) = (Arc::new(Journal::default()), Instant::now());
        for (by, count) in [("eu", 20), ("us-east", 10)] {
            (0..count).for_each(|_| journal.push(answered(now, "eu", by)));
        }
        let mut pulse = Pulse::new(journal, vec!["us-east".to_owned(), "eu".to_owned()]);
        pulse.update(now);
        let line = pulse.region_line("eu", PLAIN);
        assert_eq!(line.matches('█').count(), BAR);
        assert!(line.contains("us-east 33 %") && line.contains("eu 66 %"), "{line}");
        let idle = pulse.region_line("us-east", PLAIN);
        assert_eq!(idle.matches('░').count(), BAR);
    }

    #[test]
    fn only_the_last_second_counts() {
        let (journal, now) = (Arc::new(Journal::default()), Instant::now());
        journal.push(answered(now, "eu", "eu"));
        let mut pulse = Pulse::new(journal, vec!["eu".to_owned()]);
        pulse.update(now + WINDOW);
        assert!(pulse.recent.is_empty());
    }

    #[test]
    fn a_line_is_cut_by_what_is_seen_of_it_and_ends_its_colours() {
        let painted = Style { colours: true }.good("0123456789");
        assert_eq!(fitted(&painted, 4), "\x1b[32m0123\x1b[0m");
        assert_eq!(fitted(&painted, 80), painted);
        assert_eq!(fitted("plain", 0), "");
    }

    #[test]
    fn without_colours_there_are_no_escape_codes() {
        let all = [PLAIN.bold("a"), PLAIN.bad("b"), PLAIN.good("c"), PLAIN.faint("d"), PLAIN.region(1, "e")];
        assert_eq!(all.concat(), "abcde");
    }
}
