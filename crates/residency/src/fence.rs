//! Which jurisdictions may see a request.

use std::{fmt, sync::Arc};

use proxima_types::Jurisdiction;

use crate::{Decision, Fenced};

/// Something that lies in a jurisdiction.
pub trait Located {
    /// Where data handed to it is processed.
    fn jurisdiction(&self) -> &Jurisdiction;
}

/// The jurisdictions that may see the data of a route. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fence {
    /// Sorted, without duplicates. None: any jurisdiction.
    allowed: Option<Arc<[Jurisdiction]>>,
}

impl Fence {
    /// A fence around `allowed`; `None` lets every jurisdiction in, an empty list none.
    pub fn new(allowed: Option<Vec<Jurisdiction>>) -> Self {
        Self {
            allowed: allowed.map(|mut list| {
                list.sort();
                list.dedup();
                list.into()
            }),
        }
    }

    /// No fence: every jurisdiction is allowed.
    pub fn open() -> Self {
        Self::default()
    }

    /// The allowed jurisdictions, sorted; `None` when any is.
    pub fn allowed(&self) -> Option<&[Jurisdiction]> {
        self.allowed.as_deref()
    }

    /// Whether data may go to `jurisdiction`.
    pub fn allows(&self, jurisdiction: &Jurisdiction) -> bool {
        self.allowed.as_ref().is_none_or(|list| list.binary_search(jurisdiction).is_ok())
    }

    /// The candidates inside the fence, in the order given.
    pub fn admit<T: Located>(&self, candidates: impl IntoIterator<Item = T>) -> Fenced<T> {
        let mut left_out = 0;
        let admitted: Vec<T> = candidates
            .into_iter()
            .filter(|candidate| {
                let inside = self.allows(candidate.jurisdiction());
                left_out += usize::from(!inside);
                inside
            })
            .collect();
        let decision = Decision { fence: self.clone(), admitted: admitted.len(), left_out };
        Fenced::behind(decision, admitted)
    }
}

/// `any`, `none` or the list: `EU, UK`.
impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.allowed() {
            None => f.write_str("any"),
            Some([]) => f.write_str("none"),
            Some([first, rest @ ..]) => {
                first.fmt(f)?;
                rest.iter().try_for_each(|jurisdiction| write!(f, ", {jurisdiction}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone, PartialEq)]
    struct Place(Jurisdiction);

    impl Located for Place {
        fn jurisdiction(&self) -> &Jurisdiction {
            &self.0
        }
    }

    fn jurisdictions(names: &[&str]) -> Vec<Jurisdiction> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    fn any_names() -> impl Strategy<Value = Vec<Jurisdiction>> {
        proptest::collection::vec(proptest::sample::select(jurisdictions(&["EU", "US", "SG", "UK"])), 0..12)
    }

    #[test]
    fn a_fence_reads_as_its_jurisdictions() {
        assert_eq!(Fence::open().to_string(), "any");
        assert_eq!(Fence::new(Some(vec![])).to_string(), "none");
        assert_eq!(Fence::new(Some(jurisdictions(&["UK", "EU", "UK"]))).to_string(), "EU, UK");
    }

    #[test]
    fn jurisdictions_are_compared_exactly() {
        let fence = Fence::new(Some(jurisdictions(&["EU"])));
        assert!(fence.allows(&"EU".parse().unwrap()));
        for other in ["eu", "EU2", "E", "US"] {
            assert!(!fence.allows(&other.parse().unwrap()), "{other}");
        }
    }

    proptest! {
        #[test]
        fn whatever_passes_is_allowed_and_whatever_is_allowed_passes_in_order(
            allowed in proptest::option::of(any_names()),
            places in any_names(),
        ) {
            let fence = Fence::new(allowed.clone());
            let places: Vec<Place> = places.into_iter().map(Place).collect();
            let expected: Vec<Place> = places
                .iter()
                .filter(|place| allowed.as_ref().is_none_or(|list| list.contains(&place.0)))
                .cloned()
                .collect();
            let fenced = fence.admit(places.clone());
            prop_assert_eq!(fenced.decision().admitted, expected.len());
            prop_assert_eq!(fenced.decision().left_out, places.len() - expected.len());
            prop_assert_eq!(&fenced[..], &expected[..]);
        }
    }
}
