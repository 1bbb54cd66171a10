//! What a probe asks: the keys that choose its kind, and those that go with one kind alone.
//!
//! HTTP's settings stand beside `http` and `https`; every other kind has its own in a table, as in
//! `postgres = { user = "probe" }`, and may do without where it needs none, as in `redis = true`.

mod apps;
mod http;
mod tls;

use proxima_probe_kind::{Exec, ProbeKind};

pub(super) use self::tls::{is_name, server_name};
use self::{
    apps::{RawAgent, RawDatabase, RawDns},
    http::{RawGrpc, RawHttp},
    tls::RawTls,
};
use super::Place;
use crate::{
    field::{At, Field, List, Read},
    reader::Reader,
    reference::{Absent, Shape},
    report::{Report, Span, Wrong},
    section::Section,
    value,
};

/// What holds without the key of a kind.
const OTHER: Absent = Absent::Means("not asked");

pub(super) struct RawKind {
    tcp: Field<()>,
    tls: Field<RawTls>,
    http: RawHttp,
    quic: Field<RawTls>,
    grpc: Field<RawGrpc>,
    postgres: Field<RawDatabase>,
    redis: Field<RawDatabase>,
    dns: Field<RawDns>,
    exec: Field<List<String>>,
    agent: Field<RawAgent>,
    place: Place,
}

/// A kind that may have been chosen.
#[derive(Debug, Clone)]
struct Chosen {
    /// `None`: something was written there that can't be read.
    span: Option<Span>,
    key: &'static str,
    /// What a probe of this kind is called.
    title: &'static str,
}

impl RawKind {
    /// Reads the keys of every kind. `Bad` when there is none at all.
    pub(super) fn read(probe: &mut Section<'_>) -> Field<Self> {
        let raw = Self {
            tcp: probe.optional("tcp", yes(), OTHER, "A connection is made, and that is all."),
            tls: probe.either(
                "tls",
                yes().map(|()| RawTls::default()),
                OTHER,
                "A TLS handshake, and what the certificate is like. Beside `https`: how TLS is spoken. \
                `true`: as an empty table.",
                RawTls::read_handshake,
            ),
            http: RawHttp::read(probe),
            quic: probe.either(
                "quic",
                yes().map(|()| RawTls::default()),
                OTHER,
                "A QUIC handshake. `true`: as an empty table.",
                RawTls::read_handshake,
            ),
            grpc: probe.either(
                "grpc",
                RawGrpc::plain(),
                OTHER,
                "`grpc.health.v1.Health/Check` of a service, or with `true` of the server as a whole.",
                RawGrpc::read,
            ),
            postgres: probe
                .section(
                    "postgres",
                    OTHER,
                    "A login to PostgreSQL; its role and how far it is behind, where that is asked.",
                )
                .map(RawDatabase::read_postgres),
            redis: probe.either(
                "redis",
                yes().map(|()| RawDatabase::default()),
                OTHER,
                "PING to Redis, and INFO where a role or a lag is asked. `true`: as an empty table.",
                RawDatabase::read_redis,
            ),
            dns: probe.either(
                "dns",
                RawDns::plain(),
                OTHER,
                "A question to a name server; the name alone, or the table.",
                RawDns::read,
            ),
            exec: probe.optional_list(
                "exec",
                value::string("a text"),
                OTHER,
                "A program, by its absolute path, and its arguments; there is no shell. Exit status 0 is \
                success. It finds the backend in `PROXIMA_BACKEND`, `_ADDRESS` and `_PORT`.",
            ),
            agent: probe.either(
                "agent",
                RawAgent::plain(),
                OTHER,
                "An agent beside the app, as HAProxy's; its share (`75%`) counts in scores and balancing. \
                `true`: at the backend's port; or the port; or the table.",
                RawAgent::read,
            ),
            place: Place::of(probe),
        };
        Field::Given(At { span: raw.place.span.clone(), value: raw })
    }

    /// The kinds whose keys are there, but for `tls`, which goes with others too.
    fn chosen(&self) -> Vec<Chosen> {
        let all = [
            ("tcp", "a TCP probe", state(&self.tcp)),
            ("http", "an HTTP probe", state(&self.http.http)),
            ("https", "an HTTPS probe", state(&self.http.https)),
            ("quic", "a QUIC probe", state(&self.quic)),
            ("grpc", "a gRPC probe", state(&self.grpc)),
            ("postgres", "a PostgreSQL probe", state(&self.postgres)),
            ("redis", "a Redis probe", state(&self.redis)),
            ("dns", "a DNS probe", state(&self.dns)),
            ("exec", "an exec probe", state(&self.exec)),
            ("agent", "an agent probe", state(&self.agent)),
        ];
        all.into_iter().filter_map(|(key, title, state)| Some(Chosen { span: state?, key, title })).collect()
    }

    pub(super) fn check(&self, report: &Report) {
        let chosen = self.chosen();
        match chosen.as_slice() {
            [] if state(&self.tls).is_some() => self.http.check_foreign("a TLS probe", &self.place, report),
            [] => {
                let wrong = Wrong::new("the probe does not say what to ask").hint(
                    "add `http = \"/healthz\"`, `tcp = true` or another of `agent`, `dns`, `exec`, `grpc`, `https`, `postgres`, `quic`, `redis`, `tls`",
                );
                report.section(self.place.span.clone(), &self.place.path, wrong);
            }
            [one] => self.check_company(one, report),
            several => self.check_one(several, report),
        }
        self.check_each(report);
    }

    /// Refuses the last written of several kinds.
    fn check_one(&self, several: &[Chosen], report: &Report) {
        let mut written: Vec<(&Span, &str)> =
            several.iter().filter_map(|chosen| Some((chosen.span.as_ref()?, chosen.key))).collect();
        written.sort_by_key(|(span, _)| span.start);
        if let [.., (_, before), (span, last)] = written.as_slice() {
            let wrong = Wrong::new(format!("a probe asks one thing, and here are `{before}` and `{last}`"))
                .hint("remove one of the two");
            report.here((*span).clone(), &self.place.key(last), wrong);
        }
    }

    /// Refuses what goes with other kinds only.
    fn check_company(&self, chosen: &Chosen, report: &Report) {
        if !matches!(chosen.key, "http" | "https") {
            self.http.check_foreign(chosen.title, &self.place, report);
        }
        let Some(tls) = self.tls.given() else { return };
        let hint = match chosen.key {
            "https" => return,
            "http" => "write `https = \"/healthz\"` instead of `http`".to_owned(),
            "grpc" | "postgres" | "redis" => {
                format!("write it inside of `{key}`, as in `{key} = {{ …, tls = true }}`", key = chosen.key)
            }
            "quic" => "QUIC always has TLS: write its settings inside, as in `quic = { ca-file = \"…\" }`"
                .to_owned(),
            _ => "remove `tls`, or probe with it alone".to_owned(),
        };
        let wrong = Wrong::new(format!("`tls` means nothing to {}", chosen.title)).hint(hint);
        report.here(tls.span.clone(), &self.place.key("tls"), wrong);
    }

    fn check_each(&self, report: &Report) {
        self.http.check(&self.place, self.tls.given(), report);
        for tls in [&self.tls, &self.quic] {
            if let Some(tls) = tls.value() {
                tls.check(report);
            }
        }
        if let Some(grpc) = self.grpc.value() {
            grpc.check(report);
        }
        for database in [&self.postgres, &self.redis] {
            if let Some(database) = database.value() {
                database.check(report);
            }
        }
        if let Some(dns) = self.dns.value() {
            dns.check(report);
        }
        if let Some(program) = self.exec.value().and_then(|command| command.elements.first())
            && (!program.value.starts_with('/') || program.value.ends_with('/'))
        {
            let wrong = Wrong::new(format!("`{}` is not an absolute path of a program", program.value))
                .hint("begin it with /, as in `exec = [\"/usr/lib/proxima/check\", \"--quick\"]`; there is no shell");
            report.here(program.span.clone(), &format!("{}[0]", self.place.key("exec")), wrong);
        }
    }

    pub(super) fn resolve(&self) -> Option<ProbeKind> {
        let chosen = self.chosen();
        let Some(Chosen { key, .. }) = chosen.first() else {
            return self.tls.value()?.resolve_handshake().map(ProbeKind::Tls);
        };
        match *key {
            "tcp" => Some(ProbeKind::Tcp),
            "http" | "https" => self.http.resolve(&self.tls).map(ProbeKind::Http),
            "quic" => self.quic.value()?.resolve_quic().map(ProbeKind::Quic),
            "grpc" => self.grpc.value()?.resolve().map(ProbeKind::Grpc),
            "postgres" => self.postgres.value()?.resolve_postgres().map(ProbeKind::Postgres),
            "redis" => self.redis.value()?.resolve_redis().map(ProbeKind::Redis),
            "dns" => self.dns.value()?.resolve().map(ProbeKind::Dns),
            "exec" => self.exec.value()?.values().map(|command| ProbeKind::Exec(Exec { command })),
            _ => self.agent.value()?.resolve().map(ProbeKind::Agent),
        }
    }
}

/// Whether a key is there at all, and where, if it could be read.
#[allow(clippy::option_option, reason = "the outer one: is it there; the inner one: could it be read")]
fn state<T>(field: &Field<T>) -> Option<Option<Span>> {
    match field {
        Field::Absent => None,
        Field::Bad => Some(None),
        Field::Given(at) => Some(Some(at.span.clone())),
    }
}

/// `true`: a kind without settings of its own.
pub(super) fn yes() -> Reader<()> {
    value::boolean().then(only_yes).described(Shape::True)
}

fn only_yes(yes: bool) -> Read<()> {
    if yes {
        return Ok(());
    }
    Err(Wrong::new("`false` asks nothing").hint("remove the key, or write `true`"))
}

/// Text without control characters, not empty.
fn words() -> Reader<String> {
    Reader::text("a text", "^[^\\x00-\\x1f]+$", |found| {
        let text = value::text(found)?;
        if text.is_empty() || text.chars().any(char::is_control) {
            return Err(Wrong::new(format!("`{}` can't be used here", text.escape_debug()))
                .hint("write at least one character, and no control characters"));
        }
        Ok(text)
    })
}
