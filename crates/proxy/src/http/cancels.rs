//! How many requests a client may cancel on one connection: each has cost us something, and brings nothing forward
//! (CVE-2023-44487, RFC 9114 §10.5). A response that was sent whole gives one back, and so does time.

/// Browsers cancel a page's hundred at once.
const MOST: u32 = 200;
const PER_SECOND: u32 = 20;

/// What is left of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cancels(u32);

impl Cancels {
    pub(super) fn new() -> Self {
        Self(MOST)
    }

    /// A request was cancelled. `false`: that is one too many.
    pub(super) fn spend(&mut self) -> bool {
        let left = self.0.checked_sub(1);
        self.0 = left.unwrap_or(0);
        left.is_some()
    }

    /// A response was sent whole.
    pub(super) fn earn(&mut self) {
        self.add(1);
    }

    /// To be called once a second at most.
    pub(super) fn next_second(&mut self) {
        self.add(PER_SECOND);
    }

    fn add(&mut self, count: u32) {
        self.0 = (self.0 + count).min(MOST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spent(cancels: &mut Cancels) -> usize {
        (0..10_000).take_while(|_| cancels.spend()).count()
    }

    #[test]
    fn cancels_are_paid_for_by_time_and_by_whole_responses() {
        let mut cancels = Cancels::new();
        assert_eq!(spent(&mut cancels), 200);
        cancels.next_second();
        assert_eq!(spent(&mut cancels), 20);
        for _ in 0..10_000 {
            cancels.earn();
            assert!(cancels.spend());
        }
        assert!(!cancels.spend());
        (0..10_000).for_each(|_| cancels.next_second());
        assert_eq!(spent(&mut cancels), 200, "it does not pile up");
    }
}
