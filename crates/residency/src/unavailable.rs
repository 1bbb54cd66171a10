//! Why no backend can take a request.

use std::fmt;

use crate::Fence;

/// Why no backend can take a request: the text of the 503, and data for metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unavailable {
    /// The pool has no backends at all.
    NoBackends,
    /// The pool has backends, every one outside the fence.
    AllOutside {
        /// The fence.
        fence: Fence,
        /// How many backends it left out.
        left_out: usize,
    },
    /// There are backends inside the fence, and none of them is up with a weight above 0.
    NoneUsable {
        /// The fence.
        fence: Fence,
        /// How many backends are inside.
        admitted: usize,
        /// How many backends the fence left out. They were never tried.
        left_out: usize,
    },
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBackends => f.write_str("no backends are configured"),
            Self::AllOutside { fence, .. } => {
                write!(f, "no backend lies where this data may go (allowed: {fence})")
            }
            Self::NoneUsable { fence, .. } if fence.allowed().is_none() => f.write_str("no backend is up"),
            Self::NoneUsable { fence, .. } => {
                write!(f, "no backend is up where this data may go (allowed: {fence})")
            }
        }
    }
}

impl std::error::Error for Unavailable {}

#[cfg(test)]
mod tests {
    use proxima_types::Jurisdiction;

    use super::*;
    use crate::Located;

    struct Place(Jurisdiction);

    impl Located for Place {
        fn jurisdiction(&self) -> &Jurisdiction {
            &self.0
        }
    }

    #[test]
    fn the_reason_names_what_is_allowed_and_only_that() {
        let eu = || Fence::new(Some(vec!["EU".parse().unwrap()]));
        let places = |names: &[&str]| names.iter().map(|n| Place(n.parse().unwrap())).collect::<Vec<_>>();
        let reason = |fence: Fence, names: &[&str]| fence.admit(places(names)).unavailable().to_string();
        assert_eq!(reason(eu(), &[]), "no backends are configured");
        assert_eq!(reason(eu(), &["US"]), "no backend lies where this data may go (allowed: EU)");
        assert_eq!(reason(eu(), &["US", "EU"]), "no backend is up where this data may go (allowed: EU)");
        assert_eq!(reason(Fence::open(), &["US", "EU"]), "no backend is up");
    }

    #[test]
    fn narrowing_and_sorting_keep_the_decision() {
        let fence = Fence::new(Some(vec!["EU".parse().unwrap(), "UK".parse().unwrap()]));
        let mut fenced = fence.admit(["UK", "US", "EU", "UK"].map(|n| Place(n.parse().unwrap())));
        fenced.sort_by(|a, b| a.0.cmp(&b.0));
        let names = |set: &crate::Fenced<Place>| set.iter().map(|p| p.0.to_string()).collect::<Vec<_>>();
        assert_eq!(names(&fenced), ["EU", "UK", "UK"]);
        fenced.retain(|_| false);
        assert!(fenced.is_empty());
        assert_eq!(fenced.unavailable(), Unavailable::NoneUsable { fence, admitted: 3, left_out: 1 });
    }
}
