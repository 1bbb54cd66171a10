//! The path a route is matched against.
//!
//! Backends resolve `%61`, `//` and `/../`. A route must be matched against what the backend will see, or
//! `/x/../v1/chat` walks around the residency fence of `/v1/chat`. Only the match uses this form: the
//! target is passed on as it came.

use std::borrow::Cow;

use crate::Fault;

/// `path` with escapes decoded, runs of slashes merged and dot segments resolved. Borrowed when nothing of
/// that occurs, which costs one scan.
///
/// # Errors
/// [`Fault::Path`] for a broken escape, an escaped NUL, and for a path that climbs above its root.
pub fn match_path(path: &[u8]) -> Result<Cow<'_, [u8]>, Fault> {
    if !path.contains(&b'%') && !path.windows(2).any(|two| two == b"//" || two == b"/.") {
        return Ok(Cow::Borrowed(path));
    }
    let decoded = decode(path)?;
    let mut out: Vec<u8> = Vec::with_capacity(decoded.len());
    let mut segments = decoded.split(|byte| *byte == b'/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
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

fn decode(path: &[u8]) -> Result<Vec<u8>, Fault> {
    let mut out = Vec::with_capacity(path.len());
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
        out.push(byte);
        rest = &rest[2..];
    }
    Ok(out)
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
            ("/x%2f..%2fv1", "/v1"),
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
    fn broken_paths_are_refused() {
        for path in ["/..", "/a/../..", "/%2e%2e", "/%", "/%4", "/%zz", "/%00"] {
            assert_eq!(match_path(path.as_bytes()), Err(Fault::Path), "{path}");
        }
    }
}
