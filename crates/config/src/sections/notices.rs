//! `notice` of a pool: who says that a backend goes away.

use std::{num::NonZeroU16, path::PathBuf, time::Duration};

use proxima_health::Settings;
use proxima_probe_kind::{Notice, NoticeSource};

use super::Place;
use crate::{
    http,
    report::{Report, Wrong},
    section::{Field, Section},
    value,
};

const INTERVAL: Duration = Duration::from_secs(5);

pub(super) struct RawNotice {
    directory: Field<PathBuf>,
    http: Field<String>,
    port: Field<NonZeroU16>,
    lead: Field<Duration>,
    interval: Field<Duration>,
    place: Place,
}

impl RawNotice {
    pub(super) fn read(pool: &mut Section<'_>) -> Field<Self> {
        pool.section("notice").map(|mut notice| {
            let raw = Self {
                directory: notice.optional("directory", value::absolute_path),
                http: notice.optional("http", http::target),
                port: notice.optional("port", value::port),
                lead: notice.optional("lead", value::duration(Duration::ZERO..=Duration::from_hours(24))),
                interval: notice.optional(
                    "interval",
                    value::duration(Duration::from_millis(100)..=Duration::from_hours(1)),
                ),
                place: Place::of(&notice),
            };
            notice.close();
            raw
        })
    }

    pub(super) fn check(&self, report: &Report) {
        match (&self.directory, &self.http) {
            (Field::Given(_), Field::Given(at)) => {
                let wrong = Wrong::new("a notice comes from one place, and here are `directory` and `http`")
                    .hint("remove one of the two");
                report.here(at.span.clone(), &self.place.key("http"), wrong);
            }
            (Field::Absent, Field::Absent) => {
                let wrong = Wrong::new("nothing says where the notice is")
                    .hint("add `http = \"/leaving\"` or `directory = \"/run/proximad/leaving\"`");
                report.section(self.place.span.clone(), &self.place.path, wrong);
            }
            _ => {}
        }
        if let (Field::Given(_), Field::Absent, Some(port)) = (&self.directory, &self.http, self.port.given())
        {
            let wrong = Wrong::new("`port` means nothing to a directory")
                .hint("remove `port`, or ask with `http = \"/leaving\"`");
            report.here(port.span.clone(), &self.place.key("port"), wrong);
        }
    }

    pub(super) fn resolve(&self) -> Option<Notice> {
        let source = match (self.directory.maybe()?, self.http.maybe()?) {
            (Some(directory), _) => NoticeSource::Directory(directory),
            (None, path) => NoticeSource::Http { path: path?, port: self.port.maybe()? },
        };
        Some(Notice { source, lead: self.lead.or(Settings::LEAD)?, interval: self.interval.or(INTERVAL)? })
    }
}
