//! Readers of single values: strings, numbers, durations, addresses, words.
//!
//! A [`Reader`] comes with the shape of what it takes, whose pattern is as narrow as it can be and still match all of it.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    num::NonZeroU16,
    ops::{Bound, RangeInclusive},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use proxima_types::{
    Asn, Community, GroupName, IssuerName, Jurisdiction, LargeCommunity, PeerName, PoolName, PopName, Prefix,
    ProviderName, RegionName, Score, ServiceName, StationName,
};
use toml::de::DeValue;

use crate::{field::Read, reader::Reader, reference::Shape, report::Wrong, section::kind, suggest};

/// A string.
pub(crate) fn text(value: &DeValue<'_>) -> Read<String> {
    match value {
        DeValue::String(text) => Ok(text.as_ref().to_owned()),
        DeValue::Integer(number) => {
            Err(expected("a string", value).hint(format!("write it in quotes: `\"{number}\"`")))
        }
        DeValue::Float(number) => {
            Err(expected("a string", value).hint(format!("write it in quotes: `\"{number}\"`")))
        }
        _ => Err(expected("a string", value)),
    }
}

/// Any string.
pub(crate) fn string(what: &'static str) -> Reader<String> {
    Reader::text(what, "", text)
}

/// A type whose own error says what is wrong with a string.
pub(crate) trait Written: FromStr<Err: fmt::Display> + 'static {
    /// What it looks like.
    fn shape() -> Shape;
}

macro_rules! written {
    ($what:literal, $pattern:literal: $($type:ty),*) => {$(
        impl Written for $type {
            fn shape() -> Shape {
                Shape::Text { what: $what, pattern: $pattern }
            }
        }
    )*};
}

written!("a name", "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$":
    GroupName, IssuerName, Jurisdiction, PeerName, PoolName, PopName, ProviderName, RegionName, ServiceName, StationName);
written!("a prefix", "^[0-9A-Fa-f.:]+/[0-9]+$": Prefix);
written!("a community", "^([0-9]+:[0-9]+|graceful-shutdown|no-export|no-advertise)$": Community);
written!("a large community", "^[0-9]+:[0-9]+:[0-9]+$": LargeCommunity);

/// A string of a type whose own error says what is wrong: names, prefixes, communities.
pub(crate) fn parsed<T: Written>() -> Reader<T> {
    Reader::new(T::shape(), |value| text(value)?.parse().map_err(|error| Wrong::new(format!("{error}"))))
}

/// `true` or `false`.
pub(crate) fn boolean() -> Reader<bool> {
    Reader::new(Shape::Boolean, |value| {
        let hint = "write `true` or `false`, without quotes";
        value.as_bool().ok_or_else(|| expected("a boolean", value).hint(hint))
    })
}

/// One of a few words.
pub(crate) fn word<T: Copy + 'static>(words: &'static [(&'static str, T)]) -> Reader<T> {
    let shape = Shape::Words(words.iter().map(|(word, _)| *word).collect());
    Reader::new(shape, |value| {
        let text = text(value)?;
        words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning).ok_or_else(|| {
            let hint = suggest::hint(&text, "choices", words.iter().map(|(word, _)| word));
            Wrong::new(format!("`{text}` is none of the choices")).hint(hint)
        })
    })
}

/// A whole number within a range.
pub(crate) fn integer<T: TryFrom<u32> + 'static>(range: RangeInclusive<u32>) -> Reader<T> {
    let shape = Shape::Integer { least: *range.start(), most: *range.end() };
    Reader::new(shape, move |value| {
        let hint = format!("write a whole number from {} to {}", range.start(), range.end());
        let DeValue::Integer(number) = value else {
            let hint = match value {
                DeValue::String(_) => format!("{hint}, without quotes"),
                _ => hint,
            };
            return Err(expected("a whole number", value).hint(hint));
        };
        i128::from_str_radix(number.as_str(), number.radix())
            .ok()
            .and_then(|number| u32::try_from(number).ok())
            .filter(|number| range.contains(number))
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| Wrong::new(format!("`{number}` is out of range")).hint(hint))
    })
}

/// Whether it is a number, with a fraction or without.
pub(crate) fn is_number(value: &DeValue<'_>) -> bool {
    matches!(value, DeValue::Float(_) | DeValue::Integer(_))
}

/// A number with a fraction or without; nothing when it is written in another way.
pub(crate) fn number(value: &DeValue<'_>) -> Option<f64> {
    match value {
        DeValue::Float(number) => number.as_str().parse().ok(),
        DeValue::Integer(number) => number.as_str().parse().ok().filter(|_| number.radix() == 10),
        _ => None,
    }
}

/// An AS number that may stand for a real AS.
pub(crate) fn asn() -> Reader<Asn> {
    let number = integer::<u32>(0..=u32::MAX).then(|number| match Asn(number) {
        Asn(0) => {
            Err(Wrong::new("AS 0 is reserved (RFC 7607)").hint("write an AS number from 1 to 4294967294"))
        }
        Asn::TRANS => {
            Err(Wrong::new("AS 23456 stands for AS numbers of four octets (RFC 6793) and is nobody's own")
                .hint("write the real AS number, even if it is above 65535"))
        }
        Asn(u32::MAX) => Err(Wrong::new("AS 4294967295 is reserved (RFC 7300)")
            .hint("write an AS number from 1 to 4294967294")),
        asn => Ok(asn),
    });
    number.described(Shape::Integer { least: 1, most: u32::MAX - 1 })
}

/// A share from 0 to 1.
pub(crate) fn share() -> Reader<Score> {
    let shape = Shape::Number { from: Bound::Included(0.0), to: Bound::Included(1.0) };
    Reader::new(shape, |value| {
        if !is_number(value) {
            let hint = "write a share from 0 to 1, as in `0.8`, without quotes";
            return Err(expected("a number", value).hint(hint));
        }
        let number = number(value);
        number.filter(|share| (0.0..=1.0).contains(share)).map(Score::new).ok_or_else(|| {
            let hint = match number {
                Some(percent) if percent > 1.0 && percent <= 100.0 => {
                    format!("for {percent} % write `{}`", percent / 100.0)
                }
                _ => "write a share from 0 to 1, as in `0.8`".to_owned(),
            };
            Wrong::new("a share of capacity goes from 0 to 1").hint(hint)
        })
    })
}

/// A duration within a range.
pub(crate) fn duration(range: RangeInclusive<Duration>) -> Reader<Duration> {
    let (least, most) = range.clone().into_inner();
    let shape = Shape::Duration { least, most, or_zero: false, whole_seconds: false };
    Reader::new(shape, move |value| {
        let duration = any_duration(value)?;
        if range.contains(&duration) {
            return Ok(duration);
        }
        let (least, most) = (show(*range.start()), show(*range.end()));
        Err(Wrong::new(format!("{} is out of range", show(duration)))
            .hint(format!("write {least} to {most}")))
    })
}

/// A duration within a range, or zero, which stands for `zero`.
pub(crate) fn duration_or_zero(range: RangeInclusive<Duration>, zero: &'static str) -> Reader<Duration> {
    let (least, most) = range.into_inner();
    let reader = duration(Duration::ZERO..=most).then(move |duration| {
        if duration.is_zero() || duration >= least {
            return Ok(duration);
        }
        let hint = format!("write {} to {}, or \"0s\" for {zero}", show(least), show(most));
        Err(Wrong::new(format!("{} is out of range", show(duration))).hint(hint))
    });
    reader.described(Shape::Duration { least, most, or_zero: true, whole_seconds: false })
}

/// A BGP hold time: zero, or 3 s to 65535 s in whole seconds (RFC 4271 §4.2).
pub(crate) fn hold_time() -> Reader<Duration> {
    let (least, most) = (Duration::from_secs(3), Duration::from_secs(65535));
    let shape = Shape::Duration { least, most, or_zero: true, whole_seconds: true };
    Reader::new(shape, move |value| {
        let duration = any_duration(value)?;
        let fits = duration.is_zero() || (least..=most).contains(&duration);
        if duration.subsec_nanos() == 0 && fits {
            return Ok(duration);
        }
        Err(Wrong::new(format!("a hold time can't be {}", show(duration)))
            .hint("write \"0s\" for none, or whole seconds from \"3s\" to \"65535s\" (RFC 4271 §4.2)"))
    })
}

const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];

fn any_duration(value: &DeValue<'_>) -> Read<Duration> {
    const HOW: &str = "write a whole number and a unit, as in \"500ms\", \"9s\", \"5m\" or \"1h\"";
    if let DeValue::Integer(number) = value {
        let hint = format!("a duration has a unit; for seconds write `\"{number}s\"`");
        return Err(expected("a duration", value).hint(hint));
    }
    let DeValue::String(text) = value else { return Err(expected("a duration", value).hint(HOW)) };
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let parsed = UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .and_then(|(_, milliseconds)| number.parse::<u64>().ok()?.checked_mul(*milliseconds));
    parsed.map(Duration::from_millis).ok_or_else(|| {
        let hint =
            fraction(text).map_or(HOW.to_owned(), |meant| format!("write whole numbers: `\"{meant}\"`"));
        Wrong::new(format!("`{text}` is not a duration")).hint(hint)
    })
}

/// What is meant by a duration such as `1.5s`, when it comes out even.
fn fraction(text: &str) -> Option<String> {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let (_, milliseconds) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let exact = text.strip_suffix(unit)?.parse::<f64>().ok()? * *milliseconds as f64;
    (exact.fract() == 0.0 && (0.0..1e12).contains(&exact)).then(|| show(Duration::from_millis(exact as u64)))
}

/// A duration as it would be written.
pub(crate) fn show(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    UNITS
        .iter()
        .rev()
        .map(|(name, unit)| (name, u128::from(*unit)))
        .find(|(_, unit)| milliseconds >= *unit && milliseconds.is_multiple_of(*unit))
        .map_or_else(|| "0s".to_owned(), |(name, unit)| format!("{}{name}", milliseconds / unit))
}

/// An address of one host.
pub(crate) fn address() -> Reader<IpAddr> {
    scoped_address().then(|address| {
        if link_local(address) {
            return Err(Wrong::new(format!("{address} is link-local and would need an interface"))
                .hint("write the address of one host"));
        }
        Ok(address)
    })
}

/// An address of one host, which may be one that means nothing without its interface.
pub(crate) fn scoped_address() -> Reader<IpAddr> {
    Reader::text("an IP address", "^[0-9A-Fa-f.:]+$", host_address)
}

fn host_address(value: &DeValue<'_>) -> Read<IpAddr> {
    let text = text(value)?;
    let address: IpAddr = text.parse().map_err(|_| {
        let hint = if let Some((address, zone)) = text.split_once('%') {
            format!("where an interface is asked for, it has its own key: `\"{address}\"` and `interface = \"{zone}\"`")
        } else if text.contains('/') {
            "write the address alone, without a prefix length".to_owned()
        } else if text.parse::<SocketAddr>().is_ok() {
            "write the address alone; the port has its own key".to_owned()
        } else {
            "write an address such as \"192.0.2.1\" or \"2001:db8::1\"; names are not looked up here".to_owned()
        };
        Wrong::new(format!("`{text}` is not an IP address")).hint(hint)
    })?;
    let unusable = if address.is_unspecified() {
        Some("stands for any address")
    } else if address.is_multicast() {
        Some("is a multicast address")
    } else if address == IpAddr::V4(Ipv4Addr::BROADCAST) {
        Some("is the broadcast address")
    } else if matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()) {
        Some("is an IPv4 address in the clothes of IPv6")
    } else {
        None
    };
    match unusable {
        Some(why) => Err(Wrong::new(format!("{address} {why}")).hint("write the address of one host")),
        None => Ok(address),
    }
}

/// Whether an address means nothing without its interface.
pub(crate) fn link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

/// The name of a network interface.
pub(crate) fn interface() -> Reader<String> {
    /// IFNAMSIZ of the kernel, without the NUL at its end.
    const LONGEST: usize = 15;
    Reader::text("an interface", "^[!-.0-9;-~]{1,15}$", |value| {
        let text = text(value)?;
        let fits = (1..=LONGEST).contains(&text.len())
            && !matches!(text.as_str(), "." | "..")
            && text.bytes().all(|b| b.is_ascii_graphic() && b != b'/' && b != b':');
        if fits {
            Ok(text)
        } else {
            Err(Wrong::new(format!("`{text}` can't be an interface"))
                .hint("write a name of at most 15 characters, as `ip link` shows it"))
        }
    })
}

/// The path of a file or directory, from the root.
pub(crate) fn absolute_path() -> Reader<PathBuf> {
    Reader::text("an absolute path", "^/", |value| {
        let text = text(value)?;
        if text.contains('\0') || !text.starts_with('/') {
            return Err(Wrong::new(format!("`{}` is not an absolute path", text.escape_debug()))
                .hint("begin it with /, as in \"/etc/proxima/secret.key\""));
        }
        Ok(PathBuf::from(text))
    })
}

/// Words for a peer's operator (RFC 9003 §2).
pub(crate) fn shutdown_reason() -> Reader<String> {
    /// What one octet of length can say.
    const LONGEST: usize = 255;
    Reader::text("a text of at most 255 octets", "", |value| {
        if matches!(value, DeValue::Boolean(_)) {
            let hint = "write why, for the peer's operator: `\"maintenance\"`";
            return Err(expected("a string", value).hint(hint));
        }
        let text = text(value)?;
        if text.len() > LONGEST {
            return Err(Wrong::new(format!(
                "the text has {} octets, and at most {LONGEST} go to a peer",
                text.len()
            ))
            .hint("shorten it (RFC 9003 §2)"));
        }
        Ok(text)
    })
}

/// A duration in whole seconds within a range.
pub(crate) fn seconds(range: RangeInclusive<u64>) -> Reader<Duration> {
    let (least, most) = (Duration::from_secs(*range.start()), Duration::from_secs(*range.end()));
    let within = duration(least..=most).then(|duration| {
        if duration.subsec_nanos() == 0 {
            return Ok(duration);
        }
        Err(Wrong::new(format!("{} is no whole number of seconds", show(duration)))
            .hint("write whole seconds"))
    });
    within.described(Shape::Duration { least, most, or_zero: false, whole_seconds: true })
}

/// An IPv4 address of one host.
pub(crate) fn ipv4() -> Reader<Ipv4Addr> {
    let reader = address().then(|address| match address {
        IpAddr::V4(address) => Ok(address),
        IpAddr::V6(address) => {
            Err(Wrong::new(format!("{address} is not an IPv4 address")).hint("write an IPv4 address here"))
        }
    });
    reader.described(Shape::Text { what: "an IPv4 address", pattern: "^[0-9.]+$" })
}

/// An IPv6 address of one host.
pub(crate) fn ipv6() -> Reader<Ipv6Addr> {
    let reader = address().then(|address| match address {
        IpAddr::V6(address) => Ok(address),
        IpAddr::V4(address) => {
            Err(Wrong::new(format!("{address} is not an IPv6 address")).hint("write an IPv6 address here"))
        }
    });
    reader.described(Shape::Text { what: "an IPv6 address", pattern: "^[0-9A-Fa-f.]*:[0-9A-Fa-f.:]+$" })
}

/// A BGP identifier.
pub(crate) fn router_id() -> Reader<Ipv4Addr> {
    const HOW: &str = "write it as an IPv4 address that no other router of the AS uses, as in \"192.0.2.11\"";
    Reader::text("an IPv4 address", "^[0-9.]+$", |value| {
        let text = text(value).map_err(|wrong| wrong.hint(HOW))?;
        let id = text.parse().ok().filter(|id: &Ipv4Addr| !id.is_unspecified());
        id.ok_or_else(|| Wrong::new(format!("`{text}` can't be a BGP identifier (RFC 6286 §2.1)")).hint(HOW))
    })
}

const ADDRESS_AND_PORT: &str = r"^([0-9.]+|\[[0-9A-Fa-f.:]+(%[0-9]+)?\]):[0-9]+$";

/// An address and port to listen on; the address may be `0.0.0.0` or `[::]`.
pub(crate) fn listen() -> Reader<SocketAddr> {
    Reader::text("an address and port", ADDRESS_AND_PORT, socket).then(|socket| {
        if socket.ip().is_multicast() {
            return Err(Wrong::new(format!("{} is a multicast address", socket.ip()))
                .hint("write an address of this host"));
        }
        Ok(socket)
    })
}

/// An address and port to connect to.
pub(crate) fn endpoint() -> Reader<SocketAddr> {
    Reader::text("an address and port", ADDRESS_AND_PORT, socket).then(|socket| {
        if socket.ip().is_unspecified() || socket.ip().is_multicast() {
            return Err(Wrong::new(format!("nothing can be reached at {socket}"))
                .hint("write the address of one host"));
        }
        Ok(socket)
    })
}

fn socket(value: &DeValue<'_>) -> Read<SocketAddr> {
    const HOW: &str = "write address and port, as in \"192.0.2.1:8080\" or \"[2001:db8::1]:8080\"";
    let text = text(value)?;
    let socket: SocketAddr = text.parse().map_err(|_| {
        let hint = match text.rsplit_once(':') {
            _ if text.parse::<Ipv4Addr>().is_ok() => format!("add the port, as in `\"{text}:8080\"`"),
            _ if text.parse::<Ipv6Addr>().is_ok() => format!("add the port, as in `\"[{text}]:8080\"`"),
            Some((host, port))
                if port.parse::<u16>().is_ok() && host.bytes().any(|b| b.is_ascii_alphabetic()) =>
            {
                format!("{HOW}; names are not looked up")
            }
            _ => HOW.to_owned(),
        };
        Wrong::new(format!("`{text}` is not an address and port")).hint(hint)
    })?;
    if socket.port() == 0 {
        return Err(Wrong::new("the port is 0").hint("write a port from 1 to 65535"));
    }
    Ok(socket)
}

/// A port.
pub(crate) fn port() -> Reader<NonZeroU16> {
    integer(1..=65535).map(|number| NonZeroU16::new(number).expect("read within a range that begins at 1"))
}

pub(crate) fn expected(what: &str, found: &DeValue<'_>) -> Wrong {
    Wrong::new(format!("expected {what}, found {}", kind(found)))
}
