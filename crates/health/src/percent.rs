//! A share in whole percent, as an agent tells it.

use std::fmt;

use proxima_types::Weight;
use serde::{Deserialize, Serialize};

/// 0 to 100 percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Percent(u8);

impl Percent {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// Everything.
    pub const FULL: Self = Self(100);

    /// `None` beyond 100.
    pub const fn new(percent: u8) -> Option<Self> {
        if percent <= 100 { Some(Self(percent)) } else { None }
    }

    /// The number, 0 to 100.
    pub fn as_u8(self) -> u8 {
        self.0
    }

    /// This much of a weight, rounded up: only 0 percent, or no weight, leaves none.
    #[must_use]
    pub fn of(self, weight: Weight) -> Weight {
        let of = (u32::from(weight.0) * u32::from(self.0)).div_ceil(100);
        Weight(u16::try_from(of).expect("no more than the weight itself"))
    }
}

impl TryFrom<u8> for Percent {
    type Error = &'static str;

    fn try_from(percent: u8) -> Result<Self, Self::Error> {
        Self::new(percent).ok_or("no more than 100 percent")
    }
}

impl From<Percent> for u8 {
    fn from(percent: Percent) -> Self {
        percent.0
    }
}

impl Default for Percent {
    fn default() -> Self {
        Self::FULL
    }
}

/// `50 %`.
impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_share_of_a_weight_is_never_more_and_is_none_only_of_nothing(percent in 0u8..=100, weight: u16) {
            let share = Percent::new(percent).unwrap();
            let of = share.of(Weight(weight));
            prop_assert!(of.0 <= weight);
            prop_assert_eq!(of.0 == 0, percent == 0 || weight == 0);
            prop_assert!(u32::from(of.0) * 100 >= u32::from(weight) * u32::from(percent));
        }
    }

    #[test]
    fn nothing_is_beyond_a_hundred_percent() {
        assert_eq!(Percent::new(100), Some(Percent::FULL));
        assert_eq!(Percent::new(101), None);
        assert_eq!(Percent::FULL.of(Weight(u16::MAX)), Weight(u16::MAX));
        assert_eq!(Percent::new(7).unwrap().to_string(), "7 %");
    }
}
