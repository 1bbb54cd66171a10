//! HTTP and gRPC.

use std::{fmt, ops::RangeInclusive};

use crate::Tls;

/// The most memory that [`Expect::body`] may take once compiled, in bytes.
pub const MAX_PATTERN: usize = 1 << 20;

/// A GET.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http {
    /// The request target. Visible ASCII, beginning with `/`.
    pub path: String,
    /// The Host header, or `:authority`; visible ASCII. `None`: address and port.
    pub host: Option<String>,
    /// The version spoken.
    pub version: HttpVersion,
    /// `None`: without TLS. HTTP/3 always has it.
    pub tls: Option<Tls>,
    /// What a good answer is.
    pub expect: Expect,
}

/// A version of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HttpVersion {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2; without TLS by prior knowledge.
    Http2,
    /// HTTP/3.
    Http3,
}

/// What a good answer is: all that is given must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expect {
    /// Its status is one of these.
    pub status: Statuses,
    /// The beginning of its body (64 KiB) matches this regular expression somewhere. Known to be one.
    pub body: Option<String>,
    /// It has this header.
    pub header: Option<ExpectHeader>,
}

/// A header that a good answer has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectHeader {
    /// Its name, in lower case.
    pub name: String,
    /// Its value, blanks at the ends aside; `None`: any.
    pub value: Option<String>,
}

/// A set of status codes: not empty, each range within 100 to 599.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statuses(Vec<RangeInclusive<u16>>);

impl Statuses {
    /// These ranges. `None` when there are none or one goes beyond what a status can be.
    pub fn new(ranges: Vec<RangeInclusive<u16>>) -> Option<Self> {
        let sound = |range: &RangeInclusive<u16>| {
            !range.is_empty() && (100..=599).contains(range.start()) && (100..=599).contains(range.end())
        };
        (!ranges.is_empty() && ranges.iter().all(sound)).then_some(Self(ranges))
    }

    /// 200 alone.
    pub fn ok() -> Self {
        Self(vec![200..=200])
    }

    /// Whether `status` is one of them.
    pub fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|range| range.contains(&status))
    }

    /// The only one, when there is only one.
    pub fn single(&self) -> Option<u16> {
        match self.0.as_slice() {
            [range] if range.start() == range.end() => Some(*range.start()),
            _ => None,
        }
    }
}

/// `200, 300-399`.
impl fmt::Display for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, range) in self.0.iter().enumerate() {
            f.write_str(if n == 0 { "" } else { ", " })?;
            if range.start() == range.end() {
                write!(f, "{}", range.start())?;
            } else {
                write!(f, "{}-{}", range.start(), range.end())?;
            }
        }
        Ok(())
    }
}

/// `grpc.health.v1.Health/Check` over HTTP/2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grpc {
    /// The service asked about; empty: the server as a whole.
    pub service: String,
    /// `:authority`; `None`: address and port.
    pub host: Option<String>,
    /// `None`: without TLS.
    pub tls: Option<Tls>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_statuses_is_read_back_as_written_and_holds_what_it_says() {
        let set = Statuses::new(vec![200..=200, 300..=399]).unwrap();
        assert_eq!(set.to_string(), "200, 300-399");
        for (status, inside) in
            [(199, false), (200, true), (201, false), (300, true), (399, true), (400, false)]
        {
            assert_eq!(set.contains(status), inside, "{status}");
        }
        assert_eq!((set.single(), Statuses::ok().single()), (None, Some(200)));
    }

    #[test]
    fn what_can_t_be_a_status_is_in_no_set() {
        #[allow(clippy::reversed_empty_ranges, reason = "the point")]
        for ranges in [vec![], vec![99..=200], vec![500..=600], vec![300..=200]] {
            assert_eq!(Statuses::new(ranges), None);
        }
    }
}
