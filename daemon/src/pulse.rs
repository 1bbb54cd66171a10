//! The control thread's pulse, and the thread that ends the process when it has stopped.
//!
//! Sessions of BFD have a thread of their own and may stay up while nobody decides any more. So the process ends, the kernel
//! closes its BGP sockets, and its supervisor starts it anew: routes share the fate of what decides about them. The workers
//! serve on meanwhile, so that there is time to be sure: the limit is far above what the control thread ever takes for
//! one turn. Time in which this thread could not look either, as in a process that was frozen, does not count.

use std::{
    convert::Infallible,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use proxima_health::Silence;

/// A control thread that has not turned for so long is stuck. The longest single step there is, joining workers at the
/// end, takes two seconds.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);
/// From look to look.
const LOOK: Duration = Duration::from_millis(250);
/// How long the words about the end may take, whatever they wait for.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Beats, each time the control thread has come round.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pulse(Arc<AtomicU64>);

impl Pulse {
    /// One turn.
    pub(crate) fn beat(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Beats while `work` has the thread's attention.
    pub(crate) async fn while_doing<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        let mut turns = tokio::time::interval(LOOK);
        loop {
            self.beat();
            tokio::select! {
                biased;
                done = &mut work => return done,
                _ = turns.tick() => {}
            }
        }
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Keeps the watching thread; dropping it ends the watch.
#[derive(Debug)]
pub(crate) struct Watch {
    _ends_it: mpsc::Sender<Infallible>,
}

/// Watches `pulse` from a thread of its own: when no beat has come for `limit`, `stopped` is called once with the silence.
///
/// # Errors
/// When the thread can't be had.
pub(crate) fn watch(
    pulse: Pulse,
    limit: Duration,
    stopped: impl FnOnce(Duration) + Send + 'static,
) -> io::Result<Watch> {
    let (ends_it, end) = mpsc::channel();
    thread::Builder::new().name("pulse".to_owned()).spawn(move || {
        if let Some(silent) = until_stopped(&pulse, limit, &end) {
            stopped(silent);
        }
    })?;
    Ok(Watch { _ends_it: ends_it })
}

/// Ends the process at once, as a crash would. What keeps the control thread may also keep what words need: they get a
/// thread of their own and little time.
pub(crate) fn end_the_process(silent: Duration) {
    let (done, said) = mpsc::channel::<Infallible>();
    let words = thread::Builder::new().spawn(move || {
        let _done = done;
        eprintln!(
            "proximad: the control thread has stood still for {:.1} s; the process ends so that its routes go",
            silent.as_secs_f64()
        );
    });
    if words.is_ok() {
        said.recv_timeout(LAST_WORDS).ok(); // said, or given up
    }
    std::process::abort();
}

fn until_stopped(pulse: &Pulse, limit: Duration, end: &Receiver<Infallible>) -> Option<Duration> {
    let mut silence = Silence::new(Instant::now(), pulse.count(), limit, LOOK);
    loop {
        match end.recv_timeout(LOOK) {
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return None,
        }
        if let Some(silent) = silence.look(Instant::now(), pulse.count()) {
            return Some(silent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watching_thread_notices_a_thread_that_stops_beating_and_leaves_one_alone_that_beats() {
        let (stopped, told) = mpsc::channel();
        let alive = Pulse::default();
        let (ends, end) = mpsc::channel::<Infallible>();
        let beating = thread::spawn({
            let alive = alive.clone();
            move || {
                while end.recv_timeout(LOOK / 5) == Err(RecvTimeoutError::Timeout) {
                    alive.beat();
                }
            }
        });
        let watch_of = |pulse: Pulse, name: &'static str| {
            let stopped = stopped.clone();
            watch(pulse, 4 * LOOK, move |silent| stopped.send((name, silent)).unwrap()).unwrap()
        };
        let _alive = watch_of(alive, "alive");
        let begun = Instant::now();
        let _dead = watch_of(Pulse::default(), "dead");
        let (name, silent) = told.recv_timeout(Duration::from_secs(30)).unwrap();
        assert_eq!(name, "dead");
        assert!(silent >= 4 * LOOK && begun.elapsed() >= 4 * LOOK, "{silent:?}");
        drop(ends);
        beating.join().unwrap();
    }

    #[test]
    fn a_watch_that_is_dropped_says_nothing() {
        let (stopped, told) = mpsc::channel();
        drop(watch(Pulse::default(), LOOK, move |silent| stopped.send(silent).unwrap()).unwrap());
        // The thread ends with the watch, and the sender with the thread.
        assert_eq!(told.recv(), Err(mpsc::RecvError));
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_waits_does_not_stop_the_pulse() {
        let pulse = Pulse::default();
        let answer = pulse
            .while_doing(async {
                tokio::time::sleep(10 * LOOK).await;
                "done"
            })
            .await;
        assert_eq!(answer, "done");
        assert!(pulse.count() >= 10, "{}", pulse.count());
    }
}
