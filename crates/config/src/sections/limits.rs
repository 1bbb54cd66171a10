//! `[limits]`: what all groups together are held to.

use std::{num::NonZeroU32, time::Duration};

use super::resolved;
use crate::{
    Limits, Withdrawals,
    section::{Field, Section},
    value,
};

pub(super) struct RawLimits {
    withdrawals: Field<RawWithdrawals>,
}

struct RawWithdrawals {
    most: Field<NonZeroU32>,
    within: Field<Duration>,
}

impl RawLimits {
    pub(super) fn read(file: &mut Section<'_>) -> Self {
        let mut limits = file.defaulted("limits");
        let withdrawals = limits.section("withdrawals").map(|mut withdrawals| {
            let within = value::duration(Duration::from_secs(1)..=Duration::from_hours(24));
            let raw = RawWithdrawals {
                most: withdrawals
                    .required("most", "2", value::integer(1..=1000))
                    .map(|most: u32| NonZeroU32::new(most).expect("read within a range from 1")),
                within: withdrawals.required("within", "\"60s\"", within),
            };
            withdrawals.close();
            raw
        });
        limits.close();
        Self { withdrawals }
    }

    pub(super) fn resolve(&self) -> Option<Limits> {
        let withdrawals = resolved(&self.withdrawals, |withdrawals| {
            Some(Withdrawals { most: *withdrawals.most.value()?, within: *withdrawals.within.value()? })
        })?;
        Some(Limits { withdrawals })
    }
}
