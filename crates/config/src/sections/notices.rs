//! `notice` of a pool: who says that a backend goes away.

use std::{num::NonZeroU16, path::PathBuf, time::Duration};

use proxima_health::Settings;
use proxima_probe_kind::{Notice, NoticeSource};

use super::Place;
use crate::{
    field::Field,
    http,
    reference::Absent,
    report::{Report, Wrong},
    section::Section,
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
        let doc = "Who says that a backend goes away, such as spot capacity, so that it is drained before: \
            either `directory` or `http`.";
        pool.section("notice", Absent::means("nobody"), doc).map(Self::keys)
    }

    fn keys(mut notice: Section<'_>) -> Self {
        let raw = Self {
            directory: notice.optional(
                "directory",
                value::absolute_path(),
                Absent::means("see `http`"),
                "A directory: a file there, named like the backend, says when it goes (RFC 3339, or JSON \
                with `time`).",
            ),
            http: notice.optional(
                "http",
                http::readers::target(),
                Absent::means("see `directory`"),
                "A path: what each backend answers there with 200 says when it goes.",
            ),
            port: notice.optional(
                "port",
                value::port(),
                Absent::means("that of the backend"),
                "With `http`: the port to ask at.",
            ),
            lead: notice.optional(
                "lead",
                value::duration(Duration::ZERO..=Duration::from_hours(24)),
                Absent::is(Settings::LEAD),
                "From so long before that time on the backend is down, whatever its probes say.",
            ),
            interval: notice.optional(
                "interval",
                value::duration(Duration::from_millis(100)..=Duration::from_hours(1)),
                Absent::is(INTERVAL),
                "From one look to the next.",
            ),
            place: Place::of(&notice),
        };
        notice.close();
        raw
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
