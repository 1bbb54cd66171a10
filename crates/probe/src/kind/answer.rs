//! What a good answer over HTTP is, whichever version carries it.

use std::sync::Arc;

use proxima_health::Failure;
use proxima_probe_kind::{Expect, ExpectHeader, Statuses};
use regex::bytes::Regex;

use crate::{path::Path, said::said};

/// The longest beginning of a body that an expression is held against, in bytes.
pub(crate) const MAX_MATCHED: usize = 64 * 1024;

/// What an answer has to be, made ready.
#[derive(Debug)]
pub(crate) struct Judge {
    status: Statuses,
    body: Option<Result<Arc<Regex>, String>>,
    pub(crate) header: Option<ExpectHeader>,
}

impl Judge {
    pub(crate) fn new(expect: Expect, path: &Path) -> Self {
        let Expect { status, body, header } = expect;
        Self { status, body: body.map(|pattern| path.shared.patterns.regex(&pattern)), header }
    }

    /// The name of the header that has to be seen.
    pub(crate) fn header_name(&self) -> Option<&str> {
        self.header.as_ref().map(|header| header.name.as_str())
    }

    /// How much of the body has to be seen, in bytes.
    pub(crate) fn wants(&self) -> usize {
        if self.body.is_some() { MAX_MATCHED } else { 0 }
    }

    /// Judges an answer by its status, the value of the header asked for, and the beginning of its body.
    pub(crate) fn judge(&self, status: u16, header: Option<&[u8]>, body: &[u8]) -> Result<(), Failure> {
        if !self.status.contains(status) {
            return Err(match self.status.single() {
                Some(expected) => Failure::Status { expected, received: status },
                None => Failure::StatusOutside { expected: self.status.to_string(), received: status },
            });
        }
        if let Some(expected) = &self.header {
            judge_header(expected, header)?;
        }
        match &self.body {
            None => Ok(()),
            Some(Err(error)) => Err(Failure::Local { error: error.clone() }),
            Some(Ok(pattern)) if pattern.is_match(body) => Ok(()),
            Some(Ok(pattern)) => {
                let beginning = said(&body[..body.len().min(MAX_SHOWN)]);
                Err(Failure::Body { detail: format!("`{beginning}` does not match `{pattern}`") })
            }
        }
    }
}

/// How much of a body is shown where it is not the one asked for, in bytes.
const MAX_SHOWN: usize = 80;

fn judge_header(expected: &ExpectHeader, found: Option<&[u8]>) -> Result<(), Failure> {
    let found = found.map(<[u8]>::trim_ascii);
    let is_right = match (&expected.value, found) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(expected), Some(found)) => expected.as_bytes() == found,
    };
    if is_right {
        return Ok(());
    }
    Err(Failure::Header {
        name: expected.name.clone(),
        expected: expected.value.clone(),
        found: found.map(said),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(status: Statuses, body: Option<&str>, header: Option<(&str, Option<&str>)>) -> Judge {
        let header = header
            .map(|(name, value)| ExpectHeader { name: name.to_owned(), value: value.map(str::to_owned) });
        Judge::new(Expect { status, body: body.map(str::to_owned), header }, &Path::for_tests())
    }

    #[test]
    fn an_answer_is_good_when_status_header_and_body_all_are() {
        let set = Statuses::new(vec![200..=200, 300..=399]).unwrap();
        let all = judge(set, Some("(?i)READY"), Some(("x-role", Some("main"))));
        assert_eq!(all.judge(302, Some(b" main "), b"i am ready"), Ok(()));
        for (status, header, body, words) in [
            (404, Some(&b"main"[..]), &b"ready"[..], "status 404, which is not among 200, 300-399"),
            (200, None, b"ready", "no header `x-role` in the answer"),
            (200, Some(b"spare"), b"ready", "header `x-role` is `spare` instead of `main`"),
            (200, Some(b"main"), b"asleep", "unexpected body: `asleep` does not match `(?i)READY`"),
        ] {
            assert_eq!(all.judge(status, header, body).unwrap_err().to_string(), words);
        }
        let any = judge(Statuses::ok(), None, Some(("x-role", None)));
        assert_eq!(any.judge(200, Some(b""), b""), Ok(()));
        assert!(any.judge(200, None, b"").is_err());
        assert_eq!(any.judge(500, None, b""), Err(Failure::Status { expected: 200, received: 500 }));
    }

    #[test]
    fn a_body_is_matched_as_bytes_whatever_they_are() {
        let bytes = judge(Statuses::ok(), Some(r"^\x00ok$"), None);
        assert_eq!(bytes.judge(200, None, b"\0ok"), Ok(()));
        let failure = bytes.judge(200, None, &[0xff; 500]).unwrap_err().to_string();
        assert!(failure.len() < 400, "{failure}");
    }
}
