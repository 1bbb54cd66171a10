//! The retry budget: how many requests may be sent a second time.
//!
//! Every request earns a fifth of a retry, every second ten, and what was earned is good for ten seconds. When a
//! backend is slow or broken for good, retries so add a fifth to its load and not a multiple. Attempts that put no
//! load on a backend, since it refused the connection, need no budget.

use std::cell::Cell;

/// How long an earned retry is good for, in seconds.
const LIFE: usize = 10;
const PER_REQUEST: u64 = 20;
const PER_SECOND: u64 = 1000;
/// What one retry costs, so that a request earns a fifth of it.
const PRICE: u64 = 100;

/// The budget of one worker.
#[derive(Debug)]
pub(crate) struct RetryBudget {
    /// What was earned in each of the last seconds, the current one at `current`.
    earned: [Cell<u64>; LIFE],
    current: Cell<usize>,
}

impl RetryBudget {
    pub(crate) fn new() -> Self {
        Self { earned: [const { Cell::new(PER_SECOND) }; LIFE], current: Cell::new(0) }
    }

    /// To be called once a second: what was earned ten seconds ago expires.
    pub(crate) fn next_second(&self) {
        let current = (self.current.get() + 1) % LIFE;
        self.current.set(current);
        self.earned[current].set(PER_SECOND);
    }

    pub(crate) fn earn(&self) {
        let earned = &self.earned[self.current.get()];
        earned.set(earned.get() + PER_REQUEST);
    }

    /// Whether one more retry is affordable; if so, it is paid for with the oldest credit.
    pub(crate) fn spend(&self) -> bool {
        if self.earned.iter().map(Cell::get).sum::<u64>() < PRICE {
            return false;
        }
        let mut price = PRICE;
        for age in 1..=LIFE {
            let second = &self.earned[(self.current.get() + age) % LIFE];
            let paid = second.get().min(price);
            second.set(second.get() - paid);
            price -= paid;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spendable(budget: &RetryBudget) -> usize {
        (0..10_000).take_while(|_| budget.spend()).count()
    }

    #[test]
    fn a_fifth_of_the_requests_and_ten_a_second_may_be_retried() {
        let budget = RetryBudget::new();
        assert_eq!(spendable(&budget), 100);
        assert_eq!(spendable(&budget), 0);
        budget.next_second();
        assert_eq!(spendable(&budget), 10);
        (0..500).for_each(|_| budget.earn());
        assert_eq!(spendable(&budget), 100);
    }

    #[test]
    fn what_was_earned_expires_after_ten_seconds() {
        let budget = RetryBudget::new();
        (0..5_000).for_each(|_| budget.earn());
        (0..9).for_each(|_| budget.next_second());
        assert_eq!(spendable(&budget), 1_100);
        (0..5_000).for_each(|_| budget.earn());
        (0..10).for_each(|_| budget.next_second());
        assert_eq!(spendable(&budget), 100);
    }
}
