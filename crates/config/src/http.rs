//! Readers of what HTTP is matched and asked with: hosts, paths, methods.

use std::net::Ipv6Addr;

use toml::de::DeValue;

use crate::{field::Read, report::Wrong, value};

/// The readers, each with what it takes.
pub(crate) mod readers {
    use crate::reader::Reader;

    /// [`host`](super::host).
    pub(crate) fn host() -> Reader<String> {
        Reader::text("a host without a port", r"^([A-Za-z0-9._-]+|\[[0-9A-Fa-f.:]+\])$", super::host)
    }

    /// [`authority`](super::authority).
    pub(crate) fn authority() -> Reader<String> {
        Reader::text(
            "a host, with a port if need be",
            r"^([A-Za-z0-9._-]+|\[[0-9A-Fa-f.:]+\])(:\+?[0-9]+)?$",
            super::authority,
        )
    }

    /// [`target`](super::target).
    pub(crate) fn target() -> Reader<String> {
        Reader::text("a path, with a query if need be", r"^/[!-~]*$", super::target)
    }

    /// [`path_prefix`](super::path_prefix).
    pub(crate) fn path_prefix() -> Reader<String> {
        Reader::text("the beginning of a path", "^/[^?#%*]*$", super::path_prefix)
    }

    /// [`method`](super::method).
    pub(crate) fn method() -> Reader<String> {
        Reader::text("a method in upper case", "^[^a-z ]+$", super::method)
    }
}

/// A host as routes match it: a name or an address without a port, in lower case.
fn host(value: &DeValue<'_>) -> Read<String> {
    let text = value::text(value)?.to_ascii_lowercase();
    if is_host(&text) {
        return Ok(text);
    }
    let hint = match text.rsplit_once(':') {
        Some((host, port)) if is_host(host) && port.parse::<u16>().is_ok() => {
            format!("write it without the port: `\"{host}\"`")
        }
        _ if text.contains("://") => "write the host alone, without scheme or path".to_owned(),
        _ if text.parse::<Ipv6Addr>().is_ok() => format!("write IPv6 addresses in brackets: `\"[{text}]\"`"),
        _ if text.contains('*') => "wildcards are not supported; write a route for each host".to_owned(),
        _ => "write a host such as \"api.example.com\"".to_owned(),
    };
    Err(Wrong::new(format!("`{text}` is not a host")).hint(hint))
}

/// A Host header: a host, and a port if need be.
fn authority(value: &DeValue<'_>) -> Read<String> {
    let text = value::text(value)?;
    let host = match text.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => host,
        _ => &text,
    };
    if is_host(&host.to_ascii_lowercase()) {
        return Ok(text);
    }
    Err(Wrong::new(format!("`{text}` is not a host"))
        .hint("write a host such as \"api.example.com\", with a port if need be"))
}

fn is_host(text: &str) -> bool {
    if let Some(inside) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inside.parse::<Ipv6Addr>().is_ok();
    }
    (1..=253).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && text.split('.').all(|label| (1..=63).contains(&label.len()))
}

/// The target of a probe's request: an absolute path, with a query if need be.
fn target(value: &DeValue<'_>) -> Read<String> {
    let text = value::text(value)?;
    if text.starts_with('/') && text.bytes().all(|b| b.is_ascii_graphic() && b != b'#') {
        return Ok(text);
    }
    let hint = if text.contains("://") {
        "write the path alone, as in \"/healthz\"; the address is the backend's"
    } else {
        "write a path that begins with `/`, as in \"/healthz\", other characters percent-encoded"
    };
    Err(Wrong::new(format!("`{text}` can't be asked for")).hint(hint))
}

/// The beginning of a path, as routes match it: decoded, without dot segments, without a slash at the end.
fn path_prefix(value: &DeValue<'_>) -> Read<String> {
    let text = value::text(value)?;
    let wrong = |why: &str, hint: &str| Err(Wrong::new(format!("`{text}` {why}")).hint(hint));
    if !text.starts_with('/') {
        return wrong("does not begin with `/`", "write the path from its root, as in \"/v1/chat\"");
    }
    if text.contains(['?', '#']) {
        return wrong("is more than a path", "routes match the path alone, without query or fragment");
    }
    if text.contains('%') {
        return wrong(
            "is percent-encoded",
            "write the characters themselves: paths are decoded before they are matched",
        );
    }
    if text.contains('*') {
        return wrong("has a wildcard", "write the beginning of the path; everything below it matches");
    }
    if text.bytes().any(|b| b.is_ascii_control()) {
        return wrong("has a control character", "remove it");
    }
    let path = text.strip_suffix('/').unwrap_or(&text);
    if path.split('/').skip(1).any(|segment| matches!(segment, "" | "." | "..")) {
        return wrong(
            "never matches",
            "paths are matched with `//`, `.` and `..` resolved: write it without them",
        );
    }
    Ok(path.to_owned())
}

/// A method: a token, in upper case as all that exist.
fn method(value: &DeValue<'_>) -> Read<String> {
    let text = value::text(value)?;
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if text.is_empty() || !text.bytes().all(token) {
        return Err(Wrong::new(format!("`{text}` is not a method")).hint("write a method such as \"POST\""));
    }
    let upper = text.to_ascii_uppercase();
    if upper != text {
        return Err(Wrong::new(format!("`{text}` is not `{upper}`: methods are case-sensitive"))
            .hint(format!("write \"{upper}\"")));
    }
    Ok(text)
}

/// Whether the prefix `wide` takes every path that `narrow` takes.
pub(crate) fn covers(wide: &str, narrow: &str) -> bool {
    narrow.strip_prefix(wide).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T>(reader: impl Fn(&DeValue<'_>) -> Read<T>, text: &str) -> Result<T, String> {
        reader(&DeValue::String(text.into())).map_err(|wrong| wrong.message)
    }

    #[test]
    fn hosts_are_lowered_and_have_no_port() {
        for (text, host) in [
            ("API.Example.com", "api.example.com"),
            ("localhost", "localhost"),
            ("203.0.113.1", "203.0.113.1"),
            ("[2001:DB8::1]", "[2001:db8::1]"),
        ] {
            assert_eq!(read(super::host, text).as_deref(), Ok(host));
        }
        for text in ["", "a:80", "http://a", "2001:db8::1", "*.a", "a..b", ".a", "a/b", "a b", "é"] {
            assert!(read(super::host, text).is_err(), "{text}");
        }
        assert_eq!(read(authority, "Example.com:8080").as_deref(), Ok("Example.com:8080"));
        assert!(read(authority, "a b").is_err());
    }

    #[test]
    fn a_path_prefix_is_what_a_resolved_path_can_begin_with() {
        for (text, prefix) in [("/", ""), ("/v1/", "/v1"), ("/v1/chat", "/v1/chat"), ("/ä b", "/ä b")] {
            assert_eq!(read(path_prefix, text).as_deref(), Ok(prefix));
        }
        for text in ["", "v1", "/a?b", "/a#b", "/%61", "/a//b", "//", "/./a", "/a/..", "/v1/*", "/a\n"] {
            assert!(read(path_prefix, text).is_err(), "{text}");
        }
    }

    #[test]
    fn prefixes_cover_whole_segments() {
        for (wide, narrow, covered) in [
            ("", "", true),
            ("", "/v1", true),
            ("/v1", "/v1", true),
            ("/v1", "/v1/chat", true),
            ("/v1", "/v12", false),
            ("/v1/chat", "/v1", false),
        ] {
            assert_eq!(covers(wide, narrow), covered, "{wide} {narrow}");
        }
    }

    #[test]
    fn methods_are_tokens_in_upper_case() {
        assert_eq!(read(method, "PROPFIND").as_deref(), Ok("PROPFIND"));
        for text in ["", "post", "GET ", "G/T"] {
            assert!(read(method, text).is_err(), "{text}");
        }
    }
}
