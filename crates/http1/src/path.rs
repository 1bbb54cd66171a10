//! The path a route is matched against.
//!
//! Backends resolve `%61`, `//` and `/../`. A route must be matched against what the backend will see, or
//! `/x/../v1/chat` walks around the residency fence of `/v1/chat`. Only the match uses this form: the
//! target is passed on as it came.
//!
//! Some backends take `%2f` and `\\` for a slash and `..;x` for `..`, others do not. Where that makes a difference, which it does
//! for dot segments, there is no one path that the backend will see: the request is refused.

use std::borrow::Cow;

use crate::Fault;

/// `path` with escapes decoded, runs of slashes merged and dot segments resolved. Borrowed when nothing of
/// that occurs, which costs one scan.
///
/// # Errors
/// [`Fault::Path`] for a broken escape, an escaped NUL, for a path that climbs above its root, and for one with dot segments
/// that backends resolve differently.
pub fn match_path(path: &[u8]) -> Result<Cow<'_, [u8]>, Fault> {
    let is_plain = |byte: &u8| !matches!(byte, b'%' | b'\\');
    if path.iter().all(is_plain) && !path.windows(2).any(|two| two == b"//" || two == b"/.") {
        return Ok(Cow::Borrowed(path));
    }
    let Decoded { path: decoded, ambiguous } = decode(path)?;
    let mut out: Vec<u8> = Vec::with_capacity(decoded.len());
    let mut segments = decoded.split(|byte| *byte == b'/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        if has_dots(segment) && (ambiguous || !matches!(segment, b"." | b"..")) {
            return Err(Fault::Path);
        }
        match segment {
            b"" | b"." if last => out.push(b'/'),
            b"" | b"." => {}
            b".." => {
                let parent = out.iter().rposition(|byte| *byte == b'/').ok_or(Fault::Path)?;
                out.truncate(parent);
                if last {
                    out.push(b'/');
                }
            }
            _ => {
                out.push(b'/');
                out.extend_from_slice(segment);
            }
        }
    }
    Ok(Cow::Owned(out))
}

/// Whether some backend takes the segment, or a part of it, for a dot segment.
fn has_dots(segment: &[u8]) -> bool {
    let mut parts = segment.split(|byte| *byte == b'\\');
    parts.any(|part| matches!(part.split(|byte| *byte == b';').next(), Some(b"." | b"..")))
}

struct Decoded {
    path: Vec<u8>,
    /// There is an escaped slash in it, or a backslash.
    ambiguous: bool,
}

fn decode(path: &[u8]) -> Result<Decoded, Fault> {
    let mut out = Vec::with_capacity(path.len());
    let mut ambiguous = path.contains(&b'\\');
    let mut rest = path;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            out.push(*first);
            continue;
        }
        let digit = |at: usize| rest.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        let (Some(high), Some(low)) = (digit(0), digit(1)) else { return Err(Fault::Path) };
        let byte = (high * 16 + low) as u8;
        if byte == 0 {
            return Err(Fault::Path);
        }
        ambiguous |= matches!(byte, b'/' | b'\\');
        out.push(byte);
        rest = &rest[2..];
    }
    Ok(Decoded { path: out, ambiguous })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_sees_the_path_that_the_backend_will_see() {
        for (path, seen) in [
            ("/v1/chat", "/v1/chat"),
            ("/", "/"),
            ("*", "*"),
            ("/x/../v1/chat", "/v1/chat"),
            ("//v1///chat", "/v1/chat"),
            ("/%761/ch%61t", "/v1/chat"),
            ("/x/%2e%2E/v1", "/v1"),
            ("/v1%2fchat", "/v1/chat"),
            ("/a;b/c", "/a;b/c"),
            ("/a\\b%5cc", "/a\\b\\c"),
            ("/v1/./chat/.", "/v1/chat/"),
            ("/v1/chat/..", "/v1/"),
            ("/v1/chat//", "/v1/chat/"),
            ("/.well-known/x", "/.well-known/x"),
            ("/a/...", "/a/..."),
            ("/a%20b", "/a b"),
        ] {
            assert_eq!(match_path(path.as_bytes()).unwrap(), seen.as_bytes(), "{path}");
        }
    }

    #[test]
    fn paths_that_backends_resolve_differently_are_refused() {
        for path in [
            "/v1/chat/..%2f..%2fpublic",
            "/x%2f..%2fv1",
            "/a%2fb/../c",
            "/x/..;/v1/chat",
            "/x/%2e%2e;a=b/v1",
            "/x/.;/v1",
            "/x\\..\\v1",
            "/x%5c..%5cv1",
            "/a%5cb/../c",
            "/a\\b/./c",
        ] {
            assert_eq!(match_path(path.as_bytes()), Err(Fault::Path), "{path}");
        }
    }

    #[test]
    fn broken_paths_are_refused() {
        for path in ["/..", "/a/../..", "/%2e%2e", "/%", "/%4", "/%zz", "/%00"] {
            assert_eq!(match_path(path.as_bytes()), Err(Fault::Path), "{path}");
        }
    }
}
