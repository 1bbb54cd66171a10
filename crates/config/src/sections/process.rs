//! The sections about the process itself: `[data-plane]`, `[drain]`, `[admin]`, `[metrics]`, `[log]`.

use std::{net::SocketAddr, num::NonZeroU32, path::PathBuf, time::Duration};

use super::{
    place::{self, RawRegion},
    resolved,
};
use crate::{
    Admin, DataPlane, Distance, Drain, Log, LogFormat, LogLevel, Metrics,
    field::{At, Field},
    reader::Reader,
    reference::Absent,
    report::Wrong,
    section::Section,
    value,
};

const GRACEFUL_SHUTDOWN: Duration = Duration::from_secs(5);
const WITHDRAWN: Duration = Duration::from_secs(5);
const STREAMS: Duration = Duration::from_secs(30);
const SOCKET: &str = "/run/proximad/admin.sock";
const MODE: u32 = 0o660;
const FORMAT: LogFormat = LogFormat::Text;
const LEVEL: LogLevel = LogLevel::Info;
/// What `sockaddr_un` holds, without the NUL at its end.
const SOCKET_PATH_MAX: usize = 107;
const DISTANCES: [(&str, By); 3] = [("rtt", By::Rtt), ("bgp", By::Bgp), ("configured", By::Order)];
const FORMATS: [(&str, LogFormat); 2] = [("text", LogFormat::Text), ("json", LogFormat::Json)];
const LEVELS: [(&str, LogLevel); 5] = [
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
    ("trace", LogLevel::Trace),
];

/// `distance` as it is written.
#[derive(Debug, Clone, Copy, PartialEq)]
enum By {
    Rtt,
    Bgp,
    Order,
}

pub(super) struct RawProcess {
    workers: Field<NonZeroU32>,
    distance: Field<By>,
    graceful_shutdown: Field<Duration>,
    withdrawn: Field<Duration>,
    streams: Field<Duration>,
    socket: Field<PathBuf>,
    mode: Field<u32>,
    group: Field<String>,
    metrics: Field<Field<SocketAddr>>,
    format: Field<LogFormat>,
    level: Field<LogLevel>,
}

impl RawProcess {
    pub(super) fn read(file: &mut Section<'_>) -> Self {
        let wait = || value::duration(Duration::ZERO..=Duration::from_hours(24));
        let mut data_plane =
            file.defaulted("data-plane", "The worker threads, and where they send requests.");
        let mut drain = file.defaulted(
            "drain",
            "The pace of an orderly stop: GRACEFUL_SHUTDOWN, withdrawal, end. A reload changes it at once.",
        );
        let mut admin =
            file.defaulted("admin", "The socket that `proxima` talks to. A change needs a restart.");
        let mut log = file.defaulted("log", "The log, which goes to standard error.");
        let raw = Self {
            workers: data_plane
                .optional(
                    "workers",
                    value::integer(1..=1024),
                    Absent::means("one for each core of the affinity mask"),
                    "Worker threads. A change needs a restart.",
                )
                .map(|workers: u32| NonZeroU32::new(workers).expect("read within a range that begins at 1")),
            distance: data_plane.optional(
                "distance",
                value::word(&DISTANCES),
                Absent::word(&DISTANCES, &By::Rtt),
                "In which order other regions are tried; the own one comes first. `rtt`: by the round-trip \
                time of probes. `bgp`: by the best BGP path to their backends. `configured`: as \
                `[regions]` lists them. A reload changes it for the next request.",
            ),
            graceful_shutdown: drain.optional(
                "graceful-shutdown",
                wait(),
                Absent::is(GRACEFUL_SHUTDOWN),
                "From GRACEFUL_SHUTDOWN (RFC 8326) announced to the withdrawal.",
            ),
            withdrawn: drain.optional(
                "withdrawn",
                wait(),
                Absent::is(WITHDRAWN),
                "From the withdrawal to the end of accepting.",
            ),
            streams: drain.optional(
                "streams",
                wait(),
                Absent::is(STREAMS),
                "Then for exchanges to end by themselves. What a reload takes away has as long.",
            ),
            socket: admin.optional(
                "socket",
                socket_path(),
                Absent::is(SOCKET),
                "The path of the Unix socket, of at most 107 octets.",
            ),
            mode: admin.optional(
                "mode",
                mode(),
                Absent::is(format!("{MODE:04o}").as_str()),
                "Its permission bits: the owner may always read and write, others may never write.",
            ),
            group: admin.optional(
                "group",
                group(),
                Absent::means("the daemon's own"),
                "The group that owns it: who may use the command line besides root.",
            ),
            metrics: file
                .section(
                    "metrics",
                    Absent::means("none"),
                    "The Prometheus endpoint. A change needs a restart.",
                )
                .map(|mut metrics| {
                    let listen = metrics.required(
                        "listen",
                        "\"127.0.0.1:9179\"",
                        value::listen(),
                        "Where it listens, over TCP.",
                    );
                    metrics.close();
                    listen
                }),
            format: log.optional(
                "format",
                value::word(&FORMATS),
                Absent::word(&FORMATS, &FORMAT),
                "How lines look: `text` for people, `json` for programs. A change needs a restart.",
            ),
            level: log.optional(
                "level",
                value::word(&LEVELS),
                Absent::word(&LEVELS, &LEVEL),
                "The least severe events that are logged. `PROXIMA_LOG` outranks it. A reload changes it \
                at once.",
            ),
        };
        for section in [data_plane, drain, admin, log] {
            section.close();
        }
        raw
    }

    /// Where the process itself listens, each with the section that says so.
    pub(super) fn listens(&self) -> impl Iterator<Item = (&At<SocketAddr>, String)> {
        self.metrics.value().and_then(Field::given).map(|at| (at, "metrics".to_owned())).into_iter()
    }

    pub(super) fn data_plane(&self, regions: &[RawRegion]) -> Option<DataPlane> {
        let distance = match self.distance.or(By::Rtt)? {
            By::Rtt => Distance::Rtt,
            By::Bgp => Distance::Bgp,
            By::Order => Distance::Configured(place::in_order(regions)?),
        };
        Some(DataPlane { workers: self.workers.maybe()?, distance })
    }

    pub(super) fn drain(&self) -> Option<Drain> {
        Some(Drain {
            graceful_shutdown: self.graceful_shutdown.or(GRACEFUL_SHUTDOWN)?,
            withdrawn: self.withdrawn.or(WITHDRAWN)?,
            streams: self.streams.or(STREAMS)?,
        })
    }

    pub(super) fn admin(&self) -> Option<Admin> {
        Some(Admin {
            socket: self.socket.or(PathBuf::from(SOCKET))?,
            mode: self.mode.or(MODE)?,
            group: self.group.maybe()?,
        })
    }

    pub(super) fn metrics(&self) -> Option<Option<Metrics>> {
        resolved(&self.metrics, |listen| Some(Metrics { listen: *listen.value()? }))
    }

    pub(super) fn log(&self) -> Option<Log> {
        Some(Log { format: self.format.or(FORMAT)?, level: self.level.or(LEVEL)? })
    }
}

fn socket_path() -> Reader<PathBuf> {
    Reader::text("an absolute path", r"^/(.|\n)*[^/]$", |found| {
        let text = value::text(found)?;
        let wrong = |why: String, hint: &str| Err(Wrong::new(why).hint(hint));
        if !text.starts_with('/') || text.ends_with('/') || text.contains('\0') {
            return wrong(
                format!("`{text}` is not an absolute path of a file"),
                "write one such as \"/run/proximad/admin.sock\"",
            );
        }
        if text.len() > SOCKET_PATH_MAX {
            return wrong(
                format!("the path has {} bytes, and a Unix socket's at most {SOCKET_PATH_MAX}", text.len()),
                "choose a shorter path",
            );
        }
        Ok(PathBuf::from(text))
    })
}

fn mode() -> Reader<u32> {
    const HOW: &str = "write permission bits as a string of octal digits, as in \"0660\"";
    Reader::text("octal digits", "^0*[67][0-7][0145]$", |found| {
        let text = value::text(found).map_err(|wrong| wrong.hint(HOW))?;
        let bits = u32::from_str_radix(&text, 8)
            .ok()
            .filter(|bits| *bits <= 0o777 && text.bytes().all(|b| b.is_ascii_digit()))
            .ok_or_else(|| Wrong::new(format!("`{text}` is not a mode")).hint(HOW))?;
        if bits & 0o600 != 0o600 {
            return Err(Wrong::new("the owner could not use the socket")
                .hint("let the mode begin with 6, as in \"0660\""));
        }
        if bits & 0o002 != 0 {
            return Err(Wrong::new("everyone on this host could drain the PoP")
                .hint("let the mode end with 0, as in \"0660\", and name those who may with `group`"));
        }
        Ok(bits)
    })
}

fn group() -> Reader<String> {
    Reader::text("a group of this host", "^[!-~]+$", |found| {
        let text = value::text(found)?;
        let fits = !text.is_empty()
            && text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b':' | b'/' | b','));
        if fits {
            Ok(text)
        } else {
            Err(Wrong::new(format!("`{text}` can't be a group"))
                .hint("write the name of a group of this host"))
        }
    })
}
