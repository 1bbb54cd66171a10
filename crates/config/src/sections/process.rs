//! The sections about the process itself: `[data-plane]`, `[drain]`, `[admin]`, `[metrics]`, `[log]`.

use std::{net::SocketAddr, num::NonZeroU32, path::PathBuf, time::Duration};

use toml::de::DeValue;

use super::{
    place::{self, RawRegion},
    resolved,
};
use crate::{
    Admin, DataPlane, Distance, Drain, Log, LogFormat, LogLevel, Metrics,
    report::Wrong,
    section::{At, Field, Read, Section},
    value,
};

const GRACEFUL_SHUTDOWN: Duration = Duration::from_secs(5);
const WITHDRAWN: Duration = Duration::from_secs(5);
const STREAMS: Duration = Duration::from_secs(30);
const SOCKET: &str = "/run/proximad/admin.sock";
const MODE: u32 = 0o660;
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
#[derive(Debug, Clone, Copy)]
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
        let mut data_plane = file.defaulted("data-plane");
        let mut drain = file.defaulted("drain");
        let mut admin = file.defaulted("admin");
        let mut log = file.defaulted("log");
        let raw = Self {
            workers: data_plane
                .optional("workers", value::integer(1..=1024))
                .map(|workers: u32| NonZeroU32::new(workers).expect("read within a range that begins at 1")),
            distance: data_plane.optional("distance", value::word(&DISTANCES)),
            graceful_shutdown: drain.optional("graceful-shutdown", wait()),
            withdrawn: drain.optional("withdrawn", wait()),
            streams: drain.optional("streams", wait()),
            socket: admin.optional("socket", socket_path),
            mode: admin.optional("mode", mode),
            group: admin.optional("group", group),
            metrics: file.section("metrics").map(|mut metrics| {
                let listen = metrics.required("listen", "\"127.0.0.1:9179\"", value::listen);
                metrics.close();
                listen
            }),
            format: log.optional("format", value::word(&FORMATS)),
            level: log.optional("level", value::word(&LEVELS)),
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
        Some(Log { format: self.format.or(LogFormat::Text)?, level: self.level.or(LogLevel::Info)? })
    }
}

fn socket_path(found: &DeValue<'_>) -> Read<PathBuf> {
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
}

fn mode(found: &DeValue<'_>) -> Read<u32> {
    const HOW: &str = "write permission bits as a string of octal digits, as in \"0660\"";
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
}

fn group(found: &DeValue<'_>) -> Read<String> {
    let text = value::text(found)?;
    let fits =
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b':' | b'/' | b','));
    if fits {
        Ok(text)
    } else {
        Err(Wrong::new(format!("`{text}` can't be a group")).hint("write the name of a group of this host"))
    }
}
