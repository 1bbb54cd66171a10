//! HTTP and gRPC.

use std::ops::RangeInclusive;

use proxima_probe_kind::{Expect, ExpectHeader, Grpc, Http, HttpVersion, MAX_PATTERN, Statuses};
use regex::bytes::RegexBuilder;
use toml::de::DeValue;

use super::tls::{RawTls, resolve_optional};
use crate::{
    http,
    report::{Report, Wrong},
    section::{At, Field, Read, Section},
    sections::Place,
    value,
};

const VERSIONS: [(&str, HttpVersion); 3] =
    [("1.1", HttpVersion::Http1), ("2", HttpVersion::Http2), ("3", HttpVersion::Http3)];

/// `http` or `https`, and what stands beside them.
pub(super) struct RawHttp {
    pub(super) http: Field<String>,
    pub(super) https: Field<String>,
    host: Field<String>,
    version: Field<HttpVersion>,
    status: Field<Statuses>,
    body: Field<String>,
    header: Field<ExpectHeader>,
}

impl RawHttp {
    pub(super) fn read(probe: &mut Section<'_>) -> Self {
        Self {
            http: probe.optional("http", http::target),
            https: probe.optional("https", http::target),
            host: probe.optional("host", http::authority),
            version: probe.optional("version", value::word(&VERSIONS)),
            status: probe.optional("expect", statuses),
            body: probe.optional("expect-body", pattern),
            header: probe.optional("expect-header", header),
        }
    }

    /// Refuses everything, as the probe is `title` and no HTTP probe.
    pub(super) fn check_foreign(&self, title: &str, place: &Place, report: &Report) {
        let spans = [
            ("host", self.host.given().map(|at| &at.span)),
            ("version", self.version.given().map(|at| &at.span)),
            ("expect", self.status.given().map(|at| &at.span)),
            ("expect-body", self.body.given().map(|at| &at.span)),
            ("expect-header", self.header.given().map(|at| &at.span)),
        ];
        for (key, span) in spans {
            if let Some(span) = span {
                let wrong = Wrong::new(format!("`{key}` means nothing to {title}"))
                    .hint(format!("remove `{key}`, or probe with `http = \"/healthz\"`"));
                report.here(span.clone(), &place.key(key), wrong);
            }
        }
    }

    pub(super) fn check(&self, place: &Place, tls: Option<&At<RawTls>>, report: &Report) {
        if let (Field::Given(_), Some(At { value: HttpVersion::Http3, span })) =
            (&self.http, self.version.given())
        {
            let wrong = Wrong::new("HTTP/3 is never without TLS")
                .hint("write `https = \"/healthz\"` instead of `http`");
            report.here(span.clone(), &place.key("version"), wrong);
        }
        if let (Field::Given(_), Some(tls)) = (&self.https, tls) {
            tls.value.check_no_alpn(report);
        }
    }

    pub(super) fn resolve(&self, tls: &Field<RawTls>) -> Option<Http> {
        let host = self.host.maybe()?;
        let (path, tls) = match self.https.maybe()? {
            Some(path) => {
                let tls = match tls {
                    Field::Absent => RawTls::default().resolve(host.as_deref())?,
                    Field::Bad => return None,
                    Field::Given(at) => at.value.resolve(host.as_deref())?,
                };
                (path, Some(tls))
            }
            None => (self.http.value()?.clone(), None),
        };
        let expect = Expect {
            status: self.status.or(Statuses::ok())?,
            body: self.body.maybe()?,
            header: self.header.maybe()?,
        };
        Some(Http { path, host, version: self.version.or(HttpVersion::Http1)?, tls, expect })
    }
}

/// `grpc = "service"`, or the table.
pub(super) struct RawGrpc {
    service: Field<String>,
    host: Field<String>,
    tls: Field<RawTls>,
}

impl RawGrpc {
    /// `true` for the server as a whole, or the name of a service.
    pub(super) fn plain(value: &DeValue<'_>) -> Read<Self> {
        let service = match value {
            DeValue::Boolean(_) => super::yes(value).map(|()| String::new()),
            _ => service(value),
        }?;
        let service = Field::Given(At { value: service, span: 0..0 });
        Ok(Self { service, host: Field::Absent, tls: Field::Absent })
    }

    pub(super) fn read(mut grpc: Section<'_>) -> Self {
        let raw = Self {
            service: grpc.optional("service", service),
            host: grpc.optional("host", http::authority),
            tls: RawTls::read(&mut grpc),
        };
        grpc.close();
        raw
    }

    pub(super) fn check(&self, report: &Report) {
        if let Some(tls) = self.tls.value() {
            tls.check(report);
        }
    }

    pub(super) fn resolve(&self) -> Option<Grpc> {
        let host = self.host.maybe()?;
        let tls = resolve_optional(&self.tls, host.as_deref())?;
        Some(Grpc { service: self.service.or(String::new())?, host, tls })
    }
}

/// The full name of a service; empty: the server as a whole.
fn service(value: &DeValue<'_>) -> Read<String> {
    let text = value::text(value)?;
    if text.len() <= 255 && text.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(text);
    }
    Err(Wrong::new(format!("`{}` can't be a gRPC service", text.escape_debug()))
        .hint("write its full name, as in \"llm.v1.Chat\", or `true` for the server as a whole"))
}

const STATUSES: &str = "write statuses from 100 to 599, as in `200`, `\"200-299\"` or `[200, \"300-399\"]`";

/// A status, a range of them, or a list of both.
fn statuses(value: &DeValue<'_>) -> Read<Statuses> {
    let ranges = match value {
        DeValue::Array(array) => array.iter().map(|element| range(element.get_ref())).collect::<Read<_>>()?,
        one => vec![range(one)?],
    };
    Statuses::new(ranges).ok_or_else(|| Wrong::new("no status would be expected").hint(STATUSES))
}

fn range(value: &DeValue<'_>) -> Read<RangeInclusive<u16>> {
    let text = match value {
        DeValue::Integer(number) => number.to_string(),
        _ => value::text(value).map_err(|wrong| wrong.hint(STATUSES))?,
    };
    let (first, last) = text.split_once('-').unwrap_or((&text, &text));
    let status = |text: &str| text.trim().parse().ok().filter(|status| (100..=599).contains(status));
    let range = status(first).zip(status(last)).map(|(first, last): (u16, u16)| first..=last);
    range
        .filter(|range| !range.is_empty())
        .ok_or_else(|| Wrong::new(format!("`{text}` is no status")).hint(STATUSES))
}

/// A regular expression that the prober can compile.
fn pattern(value: &DeValue<'_>) -> Read<String> {
    let text = value::text(value)?;
    match RegexBuilder::new(&text).size_limit(MAX_PATTERN).build() {
        Ok(_) => Ok(text),
        Err(regex::Error::CompiledTooBig(_)) => {
            Err(Wrong::new(format!("`{text}` is too large an expression")).hint("repeat less in it"))
        }
        Err(error) => {
            let why = error.to_string();
            let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            Err(Wrong::new(format!("`{text}` is no regular expression: {why}"))
                .hint("write one as in \"ready|ok\", in single quotes where it has a backslash: 'v\\d+'"))
        }
    }
}

/// `name`, or `name: value`.
fn header(value: &DeValue<'_>) -> Read<ExpectHeader> {
    let text = value::text(value)?;
    let (name, value) = match text.split_once(':') {
        Some((name, value)) => (name, Some(value.trim().to_owned())),
        None => (text.as_str(), None),
    };
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    let sound_value =
        value.as_deref().is_none_or(|value| value.bytes().all(|b| b.is_ascii_graphic() || b == b' '));
    if !name.is_empty() && name.bytes().all(is_token) && sound_value {
        return Ok(ExpectHeader { name: name.to_ascii_lowercase(), value });
    }
    Err(Wrong::new(format!("`{}` can't be a header", text.escape_debug()))
        .hint("write its name, as in \"x-ready\", or name and value, as in \"x-ready: yes\""))
}
