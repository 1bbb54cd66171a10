//! How TLS is spoken and judged.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use proxima_probe_kind::{Quic, Tls, TlsHandshake, Trust};

use super::yes;
use crate::{
    field::{Field, List},
    reader::Reader,
    reference::Absent,
    report::{Report, Wrong},
    section::Section,
    sections::Place,
    value,
};

const DAY: Duration = Duration::from_hours(24);
const VERIFY: bool = true;
const QUIC_ALPN: &str = "h3";

/// `tls = true`, or the table.
pub(super) struct RawTls {
    server_name: Field<String>,
    ca_file: Field<PathBuf>,
    verify: Field<bool>,
    min_valid_days: Field<u16>,
    pub(super) alpn: Field<List<String>>,
    /// `None` where no table was written.
    place: Option<Place>,
}

impl Default for RawTls {
    fn default() -> Self {
        Self {
            server_name: Field::Absent,
            ca_file: Field::Absent,
            verify: Field::Absent,
            min_valid_days: Field::Absent,
            alpn: Field::Absent,
            place: None,
        }
    }
}

impl RawTls {
    /// `tls` of a kind that has its own protocol.
    pub(super) fn read(section: &mut Section<'_>) -> Field<Self> {
        section.either(
            "tls",
            yes().map(|()| Self::default()),
            Absent::means("plain text"),
            "How TLS is spoken. `true`: as an empty table.",
            |mut tls| {
                let raw = Self::keys(&mut tls);
                tls.close();
                raw
            },
        )
    }

    /// The table of a kind that is a handshake.
    pub(super) fn read_handshake(mut tls: Section<'_>) -> Self {
        let alpn = tls.optional_list(
            "alpn",
            protocol(),
            Absent::means("none; `h3` with `quic`"),
            "The protocols that are offered (ALPN). Not beside `https`, where `version` says it.",
        );
        let raw = Self { alpn, ..Self::keys(&mut tls) };
        tls.close();
        raw
    }

    fn keys(tls: &mut Section<'_>) -> Self {
        Self {
            server_name: tls.optional(
                "server-name",
                server_name(),
                Absent::means("`host` where there is one, or the backend's address"),
                "The name that is asked for by SNI and that the certificate has to have, or an address.",
            ),
            ca_file: tls.optional(
                "ca-file",
                value::absolute_path(),
                Absent::means("those of the system"),
                "A PEM file with the only certificate authorities that are trusted.",
            ),
            verify: tls.optional(
                "verify",
                value::boolean(),
                Absent::is(VERIFY),
                "Whether the certificate is verified.",
            ),
            min_valid_days: tls.optional(
                "min-valid-days",
                value::integer(1..=3650),
                Absent::means("it is valid now"),
                "For how many days more the certificate has to be valid.",
            ),
            alpn: Field::Absent,
            place: Some(Place::of(tls)),
        }
    }

    pub(super) fn check(&self, report: &Report) {
        if let (Some(place), Some(false), Some(file)) =
            (&self.place, self.verify.value(), self.ca_file.given())
        {
            let wrong = Wrong::new("`ca-file` means nothing with `verify = false`")
                .hint("remove `verify`, so that only certificates of these authorities are trusted");
            report.here(file.span.clone(), &place.key("ca-file"), wrong);
        }
    }

    /// Refuses `alpn` where the protocol is chosen by another key.
    pub(super) fn check_no_alpn(&self, report: &Report) {
        if let (Some(place), Some(alpn)) = (&self.place, self.alpn.given()) {
            let wrong = Wrong::new("`alpn` means nothing to an HTTPS probe")
                .hint("remove it: `version` says which protocol is offered");
            report.here(alpn.span.clone(), &place.key("alpn"), wrong);
        }
    }

    /// `host` names the server where nothing else does.
    pub(super) fn resolve(&self, host: Option<&str>) -> Option<Tls> {
        let trust = match (self.verify.or(VERIFY)?, self.ca_file.maybe()?) {
            (false, _) => Trust::Anyone,
            (true, Some(file)) => Trust::File(file),
            (true, None) => Trust::System,
        };
        Some(Tls {
            server_name: self.server_name.maybe()?.or_else(|| host.and_then(name_in)),
            trust,
            min_validity: self.min_valid_days.maybe()?.map(|days| DAY * u32::from(days)),
        })
    }

    pub(super) fn resolve_handshake(&self) -> Option<TlsHandshake> {
        Some(TlsHandshake { tls: self.resolve(None)?, alpn: self.protocols()?.unwrap_or_default() })
    }

    pub(super) fn resolve_quic(&self) -> Option<Quic> {
        let alpn = self.protocols()?.unwrap_or_else(|| vec![QUIC_ALPN.to_owned()]);
        Some(Quic { tls: self.resolve(None)?, alpn })
    }

    fn protocols(&self) -> Option<Option<Vec<String>>> {
        match &self.alpn {
            Field::Absent => Some(None),
            Field::Bad => None,
            Field::Given(at) => at.value.values().map(Some),
        }
    }
}

/// The settings of `tls` where it may be left out; nothing when they are wrong.
pub(super) fn resolve_optional(tls: &Field<RawTls>, host: Option<&str>) -> Option<Option<Tls>> {
    match tls {
        Field::Absent => Some(None),
        Field::Bad => None,
        Field::Given(at) => at.value.resolve(host).map(Some),
    }
}

/// The name of a Host header, unless it is an address.
fn name_in(host: &str) -> Option<String> {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    (is_name(name) && name.parse::<IpAddr>().is_err()).then(|| name.to_owned())
}

/// A name or an address, as a certificate has it.
pub(in crate::sections) fn server_name() -> Reader<String> {
    Reader::text("a host name or an IP address", "^[A-Za-z0-9_.:-]+$", |found| {
        let text = value::text(found)?;
        if is_name(&text) || text.parse::<IpAddr>().is_ok() {
            return Ok(text);
        }
        Err(Wrong::new(format!("`{text}` is not a server name"))
            .hint("write a name such as \"api.example.com\", or an address, as the certificate has it"))
    })
}

/// A host name: labels of letters, digits and inner hyphens (RFC 1123 §2.1), underscores too.
pub(in crate::sections) fn is_name(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

/// The name of a protocol (RFC 7301 §3.1).
fn protocol() -> Reader<String> {
    Reader::text("the name of a protocol", "^[!-~]{1,255}$", |found| {
        let text = value::text(found)?;
        if (1..=255).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()) {
            return Ok(text);
        }
        Err(Wrong::new(format!("`{}` can't be a protocol", text.escape_debug()))
            .hint("write the name that ALPN has for it, as in \"h2\" or \"http/1.1\""))
    })
}
