//! `[[bgp.bmp]]` and `[bgp.mrt]`: those who watch what is received.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use proxima_types::StationName;

use crate::{
    Bmp, Mrt,
    field::Field,
    reference::Absent,
    report::{Report, Wrong},
    section::Section,
    sections::element,
    value,
};

const RETRY: Duration = Duration::from_secs(30);
const STATISTICS: Duration = Duration::from_mins(1);
const INTERVAL: Duration = Duration::from_mins(15);

pub(super) struct RawBmp {
    name: Field<StationName>,
    address: Field<SocketAddr>,
    retry: Field<Duration>,
    statistics: Field<Duration>,
}

impl RawBmp {
    pub(super) fn read(mut bmp: Section<'_>) -> Self {
        let raw = Self {
            name: bmp.required("name", "\"collector\"", value::parsed(), "The station's name."),
            address: bmp.required("address", "\"192.0.2.50:11019\"", value::endpoint(), "Where it listens."),
            retry: bmp.optional(
                "retry",
                value::duration(Duration::from_millis(100)..=Duration::from_hours(1)),
                Absent::is(RETRY),
                "From one attempt to connect to the next.",
            ),
            statistics: bmp.optional(
                "statistics",
                value::duration_or_zero(Duration::from_secs(1)..=Duration::from_hours(24), "no reports"),
                Absent::is(STATISTICS),
                "From one statistics report to the next; `\"0s\"`: no reports.",
            ),
        };
        bmp.close();
        raw
    }

    pub(super) fn resolve(&self) -> Option<Bmp> {
        Some(Bmp {
            name: self.name.value()?.clone(),
            address: *self.address.value()?,
            retry: self.retry.or(RETRY)?,
            statistics: Some(self.statistics.or(STATISTICS)?).filter(|wait| !wait.is_zero()),
        })
    }
}

/// Stations are told apart by their names, and each is told once.
pub(super) fn check(report: &Report, stations: &[RawBmp]) {
    for (index, station) in stations.iter().enumerate() {
        let earlier = &stations[..index];
        let path = element("bgp", "bmp", index);
        if let Field::Given(name) = &station.name
            && earlier.iter().any(|other| other.name.value() == Some(&name.value))
        {
            let wrong = Wrong::new(format!("two stations are named `{}`", name.value))
                .hint("give each station its own name");
            report.elsewhere(name.span.clone(), &format!("{path}.name"), wrong);
        }
        if let Field::Given(address) = &station.address
            && earlier.iter().any(|other| other.address.value() == Some(&address.value))
        {
            let wrong = Wrong::new(format!("two stations have the address {}", address.value))
                .hint("a station is told everything once: remove one of the two");
            report.elsewhere(address.span.clone(), &format!("{path}.address"), wrong);
        }
    }
}

pub(super) struct RawMrt {
    directory: Field<PathBuf>,
    interval: Field<Duration>,
}

impl RawMrt {
    pub(super) fn read(mut mrt: Section<'_>) -> Self {
        let raw = Self {
            directory: mrt.required(
                "directory",
                "\"/var/lib/proximad/mrt\"",
                value::absolute_path(),
                "The directory for the files; the daemon writes to it.",
            ),
            interval: mrt.optional(
                "interval",
                value::duration(Duration::from_secs(1)..=Duration::from_hours(24)),
                Absent::is(INTERVAL),
                "From one file to the next.",
            ),
        };
        mrt.close();
        raw
    }

    pub(super) fn resolve(&self) -> Option<Mrt> {
        Some(Mrt { directory: self.directory.value()?.clone(), interval: self.interval.or(INTERVAL)? })
    }
}
