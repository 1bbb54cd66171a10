//! Readers of single values: strings, numbers, durations, addresses, words.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    num::NonZeroU16,
    ops::RangeInclusive,
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use proxima_types::{Asn, Score};
use toml::de::DeValue;

use crate::{
    report::Wrong,
    section::{Read, kind},
    suggest,
};

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

/// A string of a type whose own error says what is wrong: names, prefixes, communities.
pub(crate) fn parsed<T: FromStr<Err: fmt::Display>>(value: &DeValue<'_>) -> Read<T> {
    text(value)?.parse().map_err(|error| Wrong::new(format!("{error}")))
}

/// `true` or `false`.
pub(crate) fn boolean(value: &DeValue<'_>) -> Read<bool> {
    value
        .as_bool()
        .ok_or_else(|| expected("a boolean", value).hint("write `true` or `false`, without quotes"))
}

/// One of a few words.
pub(crate) fn word<T: Copy>(words: &'static [(&'static str, T)]) -> impl Fn(&DeValue<'_>) -> Read<T> {
    move |value| {
        let text = text(value)?;
        words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning).ok_or_else(|| {
            let hint = suggest::hint(&text, "choices", words.iter().map(|(word, _)| word));
            Wrong::new(format!("`{text}` is none of the choices")).hint(hint)
        })
    }
}

/// A whole number within a range.
pub(crate) fn integer<T>(range: RangeInclusive<u32>) -> impl Fn(&DeValue<'_>) -> Read<T>
where
    T: TryFrom<u32>,
{
    move |value| {
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
    }
}

/// An AS number that may stand for a real AS.
pub(crate) fn asn(value: &DeValue<'_>) -> Read<Asn> {
    match integer::<u32>(0..=u32::MAX)(value).map(Asn)? {
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
    }
}

/// A share from 0 to 1.
pub(crate) fn share(value: &DeValue<'_>) -> Read<Score> {
    let number = match value {
        DeValue::Float(number) => number.as_str().parse::<f64>().ok(),
        DeValue::Integer(number) => number.as_str().parse::<f64>().ok().filter(|_| number.radix() == 10),
        _ => {
            return Err(
                expected("a number", value).hint("write a share from 0 to 1, as in `0.8`, without quotes")
            );
        }
    };
    number.filter(|share| (0.0..=1.0).contains(share)).map(Score::new).ok_or_else(|| {
        let hint = match number {
            Some(percent) if percent > 1.0 && percent <= 100.0 => {
                format!("for {percent} % write `{}`", percent / 100.0)
            }
            _ => "write a share from 0 to 1, as in `0.8`".to_owned(),
        };
        Wrong::new("a share of capacity goes from 0 to 1").hint(hint)
    })
}

/// A duration within a range.
pub(crate) fn duration(range: RangeInclusive<Duration>) -> impl Fn(&DeValue<'_>) -> Read<Duration> {
    move |value| {
        let duration = any_duration(value)?;
        if range.contains(&duration) {
            return Ok(duration);
        }
        let (least, most) = (show(*range.start()), show(*range.end()));
        Err(Wrong::new(format!("{} is out of range", show(duration)))
            .hint(format!("write {least} to {most}")))
    }
}

/// A BGP hold time: zero, or 3 s to 65535 s in whole seconds (RFC 4271 §4.2).
pub(crate) fn hold_time(value: &DeValue<'_>) -> Read<Duration> {
    let duration = any_duration(value)?;
    let seconds = duration.as_secs();
    if duration.subsec_nanos() == 0 && (seconds == 0 || (3..=65535).contains(&seconds)) {
        return Ok(duration);
    }
    Err(Wrong::new(format!("a hold time can't be {}", show(duration)))
        .hint("write \"0s\" for none, or whole seconds from \"3s\" to \"65535s\" (RFC 4271 §4.2)"))
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
pub(crate) fn address(value: &DeValue<'_>) -> Read<IpAddr> {
    let address = scoped_address(value)?;
    if link_local(address) {
        return Err(Wrong::new(format!("{address} is link-local and would need an interface"))
            .hint("write the address of one host"));
    }
    Ok(address)
}

/// An address of one host, which may be one that means nothing without its interface.
pub(crate) fn scoped_address(value: &DeValue<'_>) -> Read<IpAddr> {
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
pub(crate) fn interface(value: &DeValue<'_>) -> Read<String> {
    /// IFNAMSIZ of the kernel, without the NUL at its end.
    const LONGEST: usize = 15;
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
}

/// The path of a file or directory, from the root.
pub(crate) fn absolute_path(value: &DeValue<'_>) -> Read<PathBuf> {
    let text = text(value)?;
    if text.contains('\0') || !text.starts_with('/') {
        return Err(Wrong::new(format!("`{}` is not an absolute path", text.escape_debug()))
            .hint("begin it with /, as in \"/etc/proxima/secret.key\""));
    }
    Ok(PathBuf::from(text))
}

/// Words for a peer's operator (RFC 9003 §2).
pub(crate) fn shutdown_reason(value: &DeValue<'_>) -> Read<String> {
    /// What one octet of length can say.
    const LONGEST: usize = 255;
    if matches!(value, DeValue::Boolean(_)) {
        return Err(expected("a string", value).hint("write why, for the peer's operator: `\"maintenance\"`"));
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
}

/// A duration in whole seconds within a range.
pub(crate) fn seconds(range: RangeInclusive<u64>) -> impl Fn(&DeValue<'_>) -> Read<Duration> {
    let within = duration(Duration::from_secs(*range.start())..=Duration::from_secs(*range.end()));
    move |value| {
        let duration = within(value)?;
        if duration.subsec_nanos() == 0 {
            return Ok(duration);
        }
        Err(Wrong::new(format!("{} is no whole number of seconds", show(duration)))
            .hint("write whole seconds"))
    }
}

/// An IPv4 address of one host.
pub(crate) fn ipv4(value: &DeValue<'_>) -> Read<Ipv4Addr> {
    match address(value)? {
        IpAddr::V4(address) => Ok(address),
        IpAddr::V6(address) => {
            Err(Wrong::new(format!("{address} is not an IPv4 address")).hint("write an IPv4 address here"))
        }
    }
}

/// An IPv6 address of one host.
pub(crate) fn ipv6(value: &DeValue<'_>) -> Read<Ipv6Addr> {
    match address(value)? {
        IpAddr::V6(address) => Ok(address),
        IpAddr::V4(address) => {
            Err(Wrong::new(format!("{address} is not an IPv6 address")).hint("write an IPv6 address here"))
        }
    }
}

/// A BGP identifier.
pub(crate) fn router_id(value: &DeValue<'_>) -> Read<Ipv4Addr> {
    const HOW: &str = "write it as an IPv4 address that no other router of the AS uses, as in \"192.0.2.11\"";
    let text = text(value).map_err(|wrong| wrong.hint(HOW))?;
    text.parse()
        .ok()
        .filter(|id: &Ipv4Addr| !id.is_unspecified())
        .ok_or_else(|| Wrong::new(format!("`{text}` can't be a BGP identifier (RFC 6286 §2.1)")).hint(HOW))
}

/// An address and port to listen on; the address may be `0.0.0.0` or `[::]`.
pub(crate) fn listen(value: &DeValue<'_>) -> Read<SocketAddr> {
    let socket = socket(value)?;
    if socket.ip().is_multicast() {
        return Err(Wrong::new(format!("{} is a multicast address", socket.ip()))
            .hint("write an address of this host"));
    }
    Ok(socket)
}

/// An address and port to connect to.
pub(crate) fn endpoint(value: &DeValue<'_>) -> Read<SocketAddr> {
    let socket = socket(value)?;
    if socket.ip().is_unspecified() || socket.ip().is_multicast() {
        return Err(
            Wrong::new(format!("nothing can be reached at {socket}")).hint("write the address of one host")
        );
    }
    Ok(socket)
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
pub(crate) fn port(value: &DeValue<'_>) -> Read<NonZeroU16> {
    let number: u16 = integer(1..=65535)(value)?;
    Ok(NonZeroU16::new(number).expect("read within a range that begins at 1"))
}

fn expected(what: &str, found: &DeValue<'_>) -> Wrong {
    Wrong::new(format!("expected {what}, found {}", kind(found)))
}
