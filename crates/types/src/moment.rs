//! Instants in data that another process of the same host reads.
//!
//! An [`Instant`] means something only by the clock it was read from. Within [`relative_to`] it is written as the nanoseconds
//! from an epoch, and read back by the reader's own idea of the same moment: the start of CLOCK_MONOTONIC, which all
//! processes of a host share, will do. Both are handed in, as everything else about time.
//!
//! For fields of types that derive serde's traits: `#[serde(with = "proxima_types::moment")]`, and [`option`] and [`queue`] for
//! several of them.

use std::{
    cell::Cell,
    collections::VecDeque,
    time::{Duration, Instant},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

thread_local! {
    static EPOCH: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Why an instant can't be written or read.
const NO_EPOCH: &str = "an instant outside of `moment::relative_to`";

/// Writes and reads instants within `act` as the time since `epoch`.
pub fn relative_to<T>(epoch: Instant, act: impl FnOnce() -> T) -> T {
    /// Also when `act` panics.
    struct Before(Option<Instant>);
    impl Drop for Before {
        fn drop(&mut self) {
            EPOCH.set(self.0);
        }
    }
    let _before = Before(EPOCH.replace(Some(epoch)));
    act()
}

/// Writes an instant.
///
/// # Errors
/// Outside of [`relative_to`], and when it is before the epoch.
pub fn serialize<S: Serializer>(at: &Instant, serializer: S) -> Result<S::Ok, S::Error> {
    written::<S>(*at)?.serialize(serializer)
}

/// Reads an instant.
///
/// # Errors
/// Outside of [`relative_to`], and when it is no duration or beyond what an instant can be.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Instant, D::Error> {
    read::<D>(Duration::deserialize(deserializer)?)
}

/// For `Option<Instant>`.
pub mod option {
    use super::{Deserialize, Deserializer, Duration, Instant, Serialize, Serializer, read, written};

    /// Writes an instant, or that there is none.
    ///
    /// # Errors
    /// As [`super::serialize`].
    pub fn serialize<S: Serializer>(at: &Option<Instant>, serializer: S) -> Result<S::Ok, S::Error> {
        at.map(written::<S>).transpose()?.serialize(serializer)
    }

    /// Reads an instant, or that there is none.
    ///
    /// # Errors
    /// As [`super::deserialize`].
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Instant>, D::Error> {
        Option::<Duration>::deserialize(deserializer)?.map(read::<D>).transpose()
    }
}

/// For `VecDeque<Instant>`.
pub mod queue {
    use super::{
        Deserialize, Deserializer, Duration, Instant, Serialize, Serializer, VecDeque, read, written,
    };

    /// Writes instants.
    ///
    /// # Errors
    /// As [`super::serialize`].
    pub fn serialize<S: Serializer>(all: &VecDeque<Instant>, serializer: S) -> Result<S::Ok, S::Error> {
        all.iter().map(|at| written::<S>(*at)).collect::<Result<Vec<_>, _>>()?.serialize(serializer)
    }

    /// Reads instants.
    ///
    /// # Errors
    /// As [`super::deserialize`].
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<VecDeque<Instant>, D::Error> {
        Vec::<Duration>::deserialize(deserializer)?.into_iter().map(read::<D>).collect()
    }
}

fn written<S: Serializer>(at: Instant) -> Result<Duration, S::Error> {
    let epoch = EPOCH.get().ok_or_else(|| ser::Error::custom(NO_EPOCH))?;
    at.checked_duration_since(epoch).ok_or_else(|| ser::Error::custom("an instant before the epoch"))
}

fn read<'de, D: Deserializer<'de>>(since: Duration) -> Result<Instant, D::Error> {
    let epoch = EPOCH.get().ok_or_else(|| de::Error::custom(NO_EPOCH))?;
    epoch.checked_add(since).ok_or_else(|| de::Error::custom("an instant beyond all others"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Times {
        #[serde(with = "crate::moment")]
        at: Instant,
        #[serde(with = "crate::moment::option")]
        until: Option<Instant>,
        #[serde(with = "crate::moment::option")]
        never: Option<Instant>,
        #[serde(with = "crate::moment::queue")]
        all: VecDeque<Instant>,
    }

    #[allow(clippy::disallowed_methods, reason = "any instant will do")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn instants_are_read_by_the_readers_epoch() {
        let second = Duration::from_secs(1);
        let (writer, reader) = (start(), start() + 70 * second);
        let times = |epoch: Instant| Times {
            at: epoch + second,
            until: Some(epoch + 2 * second),
            never: None,
            all: [epoch, epoch + 3 * second].into(),
        };
        let text = relative_to(writer, || serde_json::to_string(&times(writer))).unwrap();
        let found = relative_to(reader, || serde_json::from_str::<Times>(&text)).unwrap();
        assert_eq!(found, times(reader));
    }

    #[test]
    fn without_an_epoch_or_before_it_nothing_is_written() {
        let at = start();
        let times = Times { at, until: None, never: None, all: VecDeque::new() };
        let error = serde_json::to_string(&times).unwrap_err().to_string();
        assert!(error.contains("outside of `moment::relative_to`"), "{error}");
        let error = relative_to(at + Duration::from_secs(1), || serde_json::to_string(&times)).unwrap_err();
        assert!(error.to_string().contains("before the epoch"), "{error}");
        assert!(serde_json::to_string(&times).is_err(), "the epoch is forgotten");
    }
}
