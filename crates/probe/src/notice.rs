//! Notices: a file or an HTTP endpoint says that a backend goes away, and when.
//!
//! ```text
//! notice  = "" | time | object
//! time    = an RFC 3339 timestamp | seconds since the Unix epoch
//! object  = JSON with "time": "an RFC 3339 timestamp", as EC2's spot/instance-action
//! ```
//!
//! A file is to be written elsewhere and renamed: half of one may be none, or another time. No file, an empty one, an answer of 204 or 404: it stays. What can't be read or understood changes nothing: the last notice
//! holds. Times are of the wall clock, so each look counts anew how long is left; a step of less than a second is none.

use std::{
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use jiff::Timestamp;
use proxima_health::Failure;
use proxima_probe_kind::{Notice, NoticeSource};
use tokio::{
    io::AsyncReadExt,
    time::{Instant, sleep_until},
};

use crate::{
    kind::http1,
    path::{Deadline, Path},
    said::said,
    slots::Slots,
};

/// The longest notice, in bytes.
const MAX_NOTICE: u64 = 4 * 1024;
/// How long the first word of notices may take, whatever they are read from.
const FIRST_LOOK: Duration = Duration::from_secs(4);
/// How long a look may take.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Looks for the notice of one backend.
pub(crate) struct Watcher {
    place: Place,
    path: Path,
    slots: Slots,
    interval: Duration,
    next: Instant,
    /// Nothing was told yet.
    is_new: bool,
    /// What was last told.
    told: Option<Instant>,
    /// The last look failed.
    is_blind: bool,
}

enum Place {
    File(PathBuf),
    Http(String),
}

impl Watcher {
    /// `phase`, from 0 to 1, is how much of an interval lies between the first look, at once, and the second. `told` is the notice
    /// that is known already.
    pub(crate) fn new(notice: Notice, path: &Path, slots: Slots, phase: f64, told: Option<Instant>) -> Self {
        let (place, path) = match notice.source {
            NoticeSource::Directory(directory) => {
                (Place::File(directory.join(path.backend.name())), path.clone())
            }
            NoticeSource::Http { path: target, port } => {
                (Place::Http(target), port.map_or_else(|| path.clone(), |port| path.at_port(port.get())))
            }
        };
        let Notice { interval, .. } = notice;
        // The second look is at `next + interval`.
        let next = Instant::now().checked_sub(interval.mul_f64(1.0 - phase)).unwrap_or_else(Instant::now);
        Self { place, path, slots, interval, next, is_new: true, told, is_blind: false }
    }

    /// Waits until the notice changes, the first time for the end of the first look, whatever it finds; when the backend goes away,
    /// or that it stays (after all). To be kept until it returns.
    pub(crate) async fn changed(mut self) -> (Self, Option<Instant>) {
        loop {
            sleep_until(self.next).await;
            self.next = (self.next + self.interval).max(Instant::now());
            let mut is_news = std::mem::replace(&mut self.is_new, false);
            let looking = self.slots.run(self.is_blind, self.look(), self.look());
            // A file may take for ever, as where its server is gone; the first word must come.
            let found = if is_news {
                let within = tokio::time::timeout(FIRST_LOOK, looking).await;
                within.map_or_else(|_| Err(format!("no answer within {FIRST_LOOK:?}")), |(found, _)| found)
            } else {
                looking.await.0
            };
            match found {
                Ok(at) => {
                    self.is_blind = false;
                    if differs(self.told, at) {
                        self.told = at;
                        is_news = true;
                    }
                }
                Err(failure) => self.warn(&failure),
            }
            if is_news {
                let told = self.told;
                return (self, told);
            }
        }
    }

    async fn look(&self) -> Result<Option<Instant>, String> {
        let text = match &self.place {
            Place::File(file) => read(file).await?,
            Place::Http(target) => self.get(target).await?,
        };
        let at = parse(&text)?;
        Ok(at.map(|at| instant(at, unix_now(), Instant::now())))
    }

    async fn get(&self, target: &str) -> Result<Vec<u8>, String> {
        let (status, body) = http1::get(&self.path, target, Deadline::after(TIMEOUT))
            .await
            .map_err(|failure: Failure| failure.to_string())?;
        match status {
            200 => Ok(body),
            204 | 404 => Ok(Vec::new()),
            other => Err(format!("status {other}, neither 200, 204 nor 404")),
        }
    }

    fn warn(&mut self, failure: &str) {
        if !std::mem::replace(&mut self.is_blind, true) {
            let place = match &self.place {
                Place::File(file) => file.display().to_string(),
                Place::Http(target) => format!("http://{}{target}", self.path.address),
            };
            let backend = &self.path.backend;
            tracing::warn!(%backend, place, failure, "the notice can't be read; the last one holds");
        }
    }
}

/// The content of a file; nothing where there is none.
async fn read(file: &std::path::Path) -> Result<Vec<u8>, String> {
    let mut content = Vec::new();
    let read = async { tokio::fs::File::open(file).await?.take(MAX_NOTICE).read_to_end(&mut content).await };
    match read.await {
        Ok(_) => Ok(content),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error.to_string()),
    }
}

/// The time in a notice, in seconds since the Unix epoch; nothing where it is empty.
fn parse(notice: &[u8]) -> Result<Option<f64>, String> {
    let strange = || format!("`{}` is no time; write one such as 2030-01-31T12:00:00Z", said(notice));
    let text = std::str::from_utf8(notice).map_err(|_| strange())?.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let time = if text.starts_with('{') { time_of_object(text).ok_or_else(strange)? } else { text };
    if let Ok(seconds) = time.parse::<u32>() {
        return Ok(Some(f64::from(seconds)));
    }
    let timestamp: Timestamp = time.parse().map_err(|_| strange())?;
    Ok(Some(timestamp.as_duration().as_secs_f64()))
}

/// The text of `"time"`. Timestamps have no escapes, so what has is none.
fn time_of_object(object: &str) -> Option<&str> {
    let (_, rest) = object.split_once("\"time\"")?;
    let value = rest.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
    value.split_once('"').map(|(time, _)| time)
}

/// When `at` is, in seconds since the Unix epoch, if it is `now` by both clocks.
fn instant(at: f64, unix_now: f64, now: Instant) -> Instant {
    // Further away than anybody plans, and within what an instant can say.
    const MOST: f64 = 10.0 * 365.0 * 86_400.0;
    now + Duration::from_secs_f64((at - unix_now).clamp(0.0, MOST))
}

/// Whether a notice says something new.
fn differs(told: Option<Instant>, at: Option<Instant>) -> bool {
    match (told, at) {
        (Some(told), Some(at)) => told.max(at).duration_since(told.min(at)) >= Duration::from_secs(1),
        (None, None) => false,
        (None, Some(_)) | (Some(_), None) => true,
    }
}

fn unix_now() -> f64 {
    #[allow(clippy::disallowed_methods, reason = "notices know calendar time only")]
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_every_form_they_come_in() {
        // From `date -u -d … +%s`.
        for (notice, expected) in [
            ("", None),
            (" \n", None),
            ("2017-09-18T08:22:00Z", Some(1_505_722_920.0)),
            ("2017-09-18T10:22:00+02:00\n", Some(1_505_722_920.0)),
            ("1505722920", Some(1_505_722_920.0)),
            ("{\"action\": \"terminate\", \"time\": \"2017-09-18T08:22:00Z\"}", Some(1_505_722_920.0)),
        ] {
            assert_eq!(parse(notice.as_bytes()), Ok(expected), "{notice}");
        }
    }

    #[test]
    fn what_is_no_time_is_told_and_changes_nothing() {
        for notice in ["soon", "TRUE", "2017-09-18", "-5", "{}", "{\"time\": 5}", "\u{1b}[2J"] {
            let error = parse(notice.as_bytes()).unwrap_err();
            assert!(error.contains("is no time; write one such as"), "{error}");
        }
        assert!(parse(&[0xff, 0xfe]).is_err());
    }

    #[test]
    fn how_long_is_left_is_counted_by_the_monotonic_clock() {
        let now = Instant::now();
        let left = |at: f64| instant(at, 1000.0, now) - now;
        assert_eq!(left(1060.0), Duration::from_mins(1));
        assert_eq!(left(900.0), Duration::ZERO);
        assert!(left(f64::MAX) <= Duration::from_hours(10 * 365 * 24));
    }

    #[test]
    fn a_step_of_less_than_a_second_is_no_news() {
        let now = Instant::now();
        let (close, far) = (now + Duration::from_millis(900), now + Duration::from_secs(1));
        for (told, at, news) in [
            (None, None, false),
            (None, Some(now), true),
            (Some(now), None, true),
            (Some(now), Some(close), false),
            (Some(close), Some(now), false),
            (Some(now), Some(far), true),
            (Some(far), Some(now), true),
        ] {
            assert_eq!(differs(told, at), news);
        }
    }
}
