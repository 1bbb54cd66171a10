//! HTTP and gRPC.

use std::ops::RangeInclusive;

use proxima_probe_kind::{Expect, ExpectHeader, Grpc, Http, HttpVersion, MAX_PATTERN, Statuses};
use regex::bytes::RegexBuilder;
use toml::de::DeValue;

use super::{
    OTHER, only_yes,
    tls::{RawTls, resolve_optional},
};
use crate::{
    field::{At, Field, Read},
    http,
    reader::Reader,
    reference::{Absent, Shape},
    report::{Report, Wrong},
    section::Section,
    sections::Place,
    value,
};

const VERSION: HttpVersion = HttpVersion::Http1;
/// [`Statuses::ok`].
const STATUS: u16 = 200;
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
            http: probe.optional("http", http::readers::target(), OTHER, "GET of this path, in plain text."),
            https: probe.optional("https", http::readers::target(), OTHER, "GET of this path, over TLS."),
            host: probe.optional(
                "host",
                http::readers::authority(),
                Absent::means("the backend's address"),
                "With `http`, `https`: the Host header; with `https` the name in the certificate too, \
                unless `tls` has another.",
            ),
            version: probe.optional(
                "version",
                value::word(&VERSIONS),
                Absent::word(&VERSIONS, &VERSION),
                "With `http`, `https`: the version of HTTP. `3` only with `https`.",
            ),
            status: probe.optional(
                "expect",
                statuses(),
                Absent::is(STATUS),
                "With `http`, `https`: the statuses that pass, as in `[200, \"300-399\"]`.",
            ),
            body: probe.optional(
                "expect-body",
                pattern(),
                Absent::means("any"),
                "With `http`, `https`: a regular expression that the first 64 KiB of the body have to \
                match somewhere.",
            ),
            header: probe.optional(
                "expect-header",
                header(),
                Absent::means("any"),
                "With `http`, `https`: a field that the answer has to have, its name or name and value: \
                `\"x-ready: yes\"`.",
            ),
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
        Some(Http { path, host, version: self.version.or(VERSION)?, tls, expect })
    }
}

const WHOLE_SERVER: &str = "";

/// `grpc = "service"`, or the table.
pub(super) struct RawGrpc {
    service: Field<String>,
    host: Field<String>,
    tls: Field<RawTls>,
}

impl RawGrpc {
    /// `true` for the server as a whole, or the name of a service.
    pub(super) fn plain() -> Reader<Self> {
        let service = service();
        let shape = Shape::AnyOf(vec![Shape::True, service.shape().clone()]);
        Reader::new(shape, move |found| {
            let service = match found {
                DeValue::Boolean(yes) => only_yes(*yes).map(|()| String::new()),
                _ => service.read(found),
            }?;
            let service = Field::Given(At { value: service, span: 0..0 });
            Ok(Self { service, host: Field::Absent, tls: Field::Absent })
        })
    }

    pub(super) fn read(mut grpc: Section<'_>) -> Self {
        let raw = Self {
            service: grpc.optional(
                "service",
                service(),
                Absent::is(WHOLE_SERVER),
                "The full name of the service, as in `llm.v1.Chat`; empty: the server as a whole.",
            ),
            host: grpc.optional(
                "host",
                http::readers::authority(),
                Absent::means("the backend's address"),
                "The authority; also the name in the certificate, unless `tls` has another.",
            ),
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
        Some(Grpc { service: self.service.or(WHOLE_SERVER.to_owned())?, host, tls })
    }
}

/// The full name of a service; empty: the server as a whole.
fn service() -> Reader<String> {
    Reader::text("the full name of a service", "^[!-~]{0,255}$", |found| {
        let text = value::text(found)?;
        if text.len() <= 255 && text.bytes().all(|b| b.is_ascii_graphic()) {
            return Ok(text);
        }
        Err(Wrong::new(format!("`{}` can't be a gRPC service", text.escape_debug()))
            .hint("write its full name, as in \"llm.v1.Chat\", or `true` for the server as a whole"))
    })
}

const STATUSES: &str = "write statuses from 100 to 599, as in `200`, `\"200-299\"` or `[200, \"300-399\"]`";

/// A status, a range of them, or a list of both.
fn statuses() -> Reader<Statuses> {
    let status = || Shape::Integer { least: 100, most: 599 };
    let range_of_them = || Shape::Text {
        what: "a range such as `\"200-299\"`",
        pattern: r"^\s*\+?0*[1-5][0-9]{2}\s*(-\s*\+?0*[1-5][0-9]{2}\s*)?$",
    };
    let list = Shape::List { of: Box::new(Shape::AnyOf(vec![status(), range_of_them()])) };
    Reader::new(Shape::AnyOf(vec![status(), range_of_them(), list]), |found| {
        let ranges = match found {
            DeValue::Array(array) => {
                array.iter().map(|element| range(element.get_ref())).collect::<Read<_>>()?
            }
            one => vec![range(one)?],
        };
        Statuses::new(ranges).ok_or_else(|| Wrong::new("no status would be expected").hint(STATUSES))
    })
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
fn pattern() -> Reader<String> {
    Reader::text("a regular expression", "", |found| {
        let text = value::text(found)?;
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
    })
}

/// `name`, or `name: value`.
fn header() -> Reader<ExpectHeader> {
    Reader::text("a field", "^[^:]+(:|$)", |found| {
        let text = value::text(found)?;
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
    })
}
