//! Databases, name servers, agents.

use std::{net::IpAddr, num::NonZeroU16, path::PathBuf, time::Duration};

use proxima_probe_kind::{Agent, Dns, DnsRecord, DnsTransport, Postgres, Redis, Role};
use toml::de::DeValue;

use super::{
    tls::{RawTls, resolve_optional},
    words, yes,
};
use crate::{
    field::{At, Field, List},
    reader::Reader,
    reference::{Absent, Shape},
    report::{Report, Wrong},
    section::Section,
    sections::Place,
    value,
};

const ROLES: [(&str, Role); 2] = [("primary", Role::Primary), ("replica", Role::Replica)];
const MAX_LAG: Duration = Duration::from_hours(24);

/// `postgres` or `redis`.
pub(super) struct RawDatabase {
    user: Field<String>,
    database: Field<String>,
    password_file: Field<PathBuf>,
    tls: Field<RawTls>,
    role: Field<Role>,
    max_lag: Field<Duration>,
    /// Whether a user can't log in without a password.
    needs_password: bool,
    /// `None` where no table was written.
    place: Option<Place>,
}

impl Default for RawDatabase {
    fn default() -> Self {
        Self {
            user: Field::Absent,
            database: Field::Absent,
            password_file: Field::Absent,
            tls: Field::Absent,
            role: Field::Absent,
            max_lag: Field::Absent,
            needs_password: true,
            place: None,
        }
    }
}

impl RawDatabase {
    pub(super) fn read_postgres(mut postgres: Section<'_>) -> Self {
        let raw = Self {
            user: postgres.required("user", "\"probe\"", words(), "Who logs in."),
            database: postgres.optional(
                "database",
                words(),
                Absent::means("named like the user"),
                "To which database.",
            ),
            max_lag: postgres.optional(
                "max-lag",
                value::duration(Duration::from_millis(1)..=MAX_LAG),
                Absent::means("any"),
                "How far a replica may be behind.",
            ),
            needs_password: false,
            ..Self::shared(&mut postgres)
        };
        postgres.close();
        raw
    }

    pub(super) fn read_redis(mut redis: Section<'_>) -> Self {
        let raw = Self {
            user: redis.optional(
                "user",
                words(),
                Absent::means("the default user"),
                "Who logs in; not without `password-file`.",
            ),
            max_lag: redis.optional(
                "max-lag",
                value::seconds(1..=MAX_LAG.as_secs()),
                Absent::means("any"),
                "For how long a replica may not have heard of its primary.",
            ),
            ..Self::shared(&mut redis)
        };
        redis.close();
        raw
    }

    fn shared(section: &mut Section<'_>) -> Self {
        Self {
            password_file: section.optional(
                "password-file",
                value::absolute_path(),
                Absent::means("no password is given"),
                "A file with the password.",
            ),
            tls: RawTls::read(section),
            role: section.optional(
                "role",
                value::word(&ROLES),
                Absent::means("either"),
                "What the server has to be.",
            ),
            place: Some(Place::of(section)),
            ..Self::default()
        }
    }

    pub(super) fn check(&self, report: &Report) {
        if let Some(tls) = self.tls.value() {
            tls.check(report);
        }
        let Some(place) = &self.place else { return };
        if let (Some(Role::Primary), Some(lag)) = (self.role.value(), self.max_lag.given()) {
            let wrong = Wrong::new("a primary is never behind: `max-lag` means nothing to it")
                .hint("remove `max-lag`, or write `role = \"replica\"`");
            report.here(lag.span.clone(), &place.key("max-lag"), wrong);
        }
        if let (true, Some(user), Field::Absent) =
            (self.needs_password, self.user.given(), &self.password_file)
        {
            let wrong = Wrong::new(format!("`{}` can't log in without a password", user.value))
                .hint("add `password-file = \"/etc/proxima/redis.password\"`, or remove `user`");
            report.here(user.span.clone(), &place.key("user"), wrong);
        }
    }

    pub(super) fn resolve_postgres(&self) -> Option<Postgres> {
        Some(Postgres {
            user: self.user.value()?.clone(),
            database: self.database.maybe()?,
            password_file: self.password_file.maybe()?,
            tls: resolve_optional(&self.tls, None)?,
            role: self.role.maybe()?,
            max_lag: self.max_lag.maybe()?,
        })
    }

    pub(super) fn resolve_redis(&self) -> Option<Redis> {
        Some(Redis {
            user: self.user.maybe()?,
            password_file: self.password_file.maybe()?,
            tls: resolve_optional(&self.tls, None)?,
            role: self.role.maybe()?,
            max_lag: self.max_lag.maybe()?,
        })
    }
}

const RECORD: DnsRecord = DnsRecord::A;
const TRANSPORT: DnsTransport = DnsTransport::Udp;
const RECORDS: [(&str, DnsRecord); 7] = [
    ("A", DnsRecord::A),
    ("AAAA", DnsRecord::Aaaa),
    ("CNAME", DnsRecord::Cname),
    ("MX", DnsRecord::Mx),
    ("NS", DnsRecord::Ns),
    ("SOA", DnsRecord::Soa),
    ("TXT", DnsRecord::Txt),
];
const TRANSPORTS: [(&str, DnsTransport); 2] = [("tcp", DnsTransport::Tcp), ("udp", DnsTransport::Udp)];

/// `dns = "name"`, or the table.
pub(super) struct RawDns {
    name: Field<String>,
    record: Field<DnsRecord>,
    transport: Field<DnsTransport>,
    expect: Field<List<IpAddr>>,
    /// `None` where no table was written.
    place: Option<Place>,
}

impl RawDns {
    pub(super) fn plain() -> Reader<Self> {
        name().map(|name| Self {
            name: Field::Given(At { value: name, span: 0..0 }),
            record: Field::Absent,
            transport: Field::Absent,
            expect: Field::Absent,
            place: None,
        })
    }

    pub(super) fn read(mut dns: Section<'_>) -> Self {
        let raw = Self {
            name: dns.required(
                "name",
                "\"www.example.com\"",
                name(),
                "The name that is asked for; `.` is the root.",
            ),
            record: dns.optional(
                "record",
                value::word(&RECORDS),
                Absent::word(&RECORDS, &RECORD),
                "The type of record that is asked for.",
            ),
            transport: dns.optional(
                "transport",
                value::word(&TRANSPORTS),
                Absent::word(&TRANSPORTS, &TRANSPORT),
                "How the question is sent.",
            ),
            expect: dns.optional_list(
                "expect",
                value::address(),
                Absent::means("any answer of that type"),
                "Addresses of the type of `record`, one of which has to be in the answer.",
            ),
            place: Some(Place::of(&dns)),
        };
        dns.close();
        raw
    }

    pub(super) fn check(&self, report: &Report) {
        let (Some(place), Some(expect)) = (&self.place, self.expect.value()) else { return };
        let Some(record) = self.record.or(RECORD) else { return };
        for (index, at) in expect.elements.iter().enumerate() {
            let fits = match record {
                DnsRecord::A => at.value.is_ipv4(),
                DnsRecord::Aaaa => at.value.is_ipv6(),
                DnsRecord::Ns | DnsRecord::Soa | DnsRecord::Txt | DnsRecord::Mx | DnsRecord::Cname => false,
            };
            if !fits {
                let other = if at.value.is_ipv4() { "A" } else { "AAAA" };
                let wrong = Wrong::new(format!("{} is in no record of type {record}", at.value))
                    .hint(format!("write `record = \"{other}\"`, or remove the address"));
                report.here(at.span.clone(), &format!("{}[{index}]", place.key("expect")), wrong);
            }
        }
    }

    pub(super) fn resolve(&self) -> Option<Dns> {
        let expect = match &self.expect {
            Field::Absent => Vec::new(),
            Field::Bad => return None,
            Field::Given(at) => at.value.values()?,
        };
        Some(Dns {
            name: self.name.value()?.clone(),
            record: self.record.or(RECORD)?,
            transport: self.transport.or(TRANSPORT)?,
            expect,
        })
    }
}

/// A domain name, without the dot at its end.
fn name() -> Reader<String> {
    Reader::text("a domain name", "^([A-Za-z0-9_.-]+)$", |found| {
        let text = value::text(found)?;
        let name = text.strip_suffix('.').unwrap_or(&text);
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        };
        if text == "." || (name.len() <= 253 && name.split('.').all(is_label)) {
            return Ok(name.to_owned());
        }
        Err(Wrong::new(format!("`{}` is not a domain name", text.escape_debug()))
            .hint("write a name such as \"www.example.com\", or \".\" for the root"))
    })
}

/// `agent = 9999`, or the table.
pub(super) struct RawAgent {
    port: Field<NonZeroU16>,
    send: Field<String>,
}

impl RawAgent {
    /// The port, or `true` for the backend's own.
    pub(super) fn plain() -> Reader<Self> {
        let (own, other) = (yes(), value::port());
        let shape = Shape::AnyOf(vec![own.shape().clone(), other.shape().clone()]);
        Reader::new(shape, move |found| {
            let port = match found {
                DeValue::Boolean(_) => own.read(found).map(|()| Field::Absent),
                _ => other.read(found).map(|value| Field::Given(At { value, span: 0..0 })),
            }?;
            Ok(Self { port, send: Field::Absent })
        })
    }

    pub(super) fn read(mut agent: Section<'_>) -> Self {
        let raw = Self {
            port: agent.optional(
                "port",
                value::port(),
                Absent::means("that of the backend"),
                "Where the agent listens.",
            ),
            send: agent.optional(
                "send",
                value::string("a text"),
                Absent::means("nothing"),
                "What is sent first.",
            ),
        };
        agent.close();
        raw
    }

    pub(super) fn resolve(&self) -> Option<Agent> {
        Some(Agent { port: self.port.maybe()?, send: self.send.maybe()? })
    }
}
