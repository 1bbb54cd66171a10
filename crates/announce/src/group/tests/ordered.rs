//! The operator's orders: their reasons, their ends, and what they mean for a guarded group.

use super::*;
use crate::testing::{QUIET, SECOND, guard};

const MINUTE: Duration = Duration::from_mins(1);

impl World {
    fn until(&mut self, verb: Override, until: Duration) -> Vec<String> {
        let order = Order { verb, reason: Some("maintenance".to_owned()), until: Some(self.now + until) };
        self.input(Input::Order(order))
    }
}

#[test]
fn an_order_is_told_with_its_reason_and_ends_by_itself() {
    let mut world = World::at(1.0);
    let told = "announced → withdrawn: ordered by the operator: withdraw (maintenance)";
    assert_eq!(world.until(Override::Withdraw, MINUTE), [told]);
    assert_eq!(world.score(0.95), [""; 0]);
    let told = "withdrawn → announced: the order has expired: withdraw (maintenance); \
        health: first verdicts known: score 1.00";
    assert_eq!(world.next(), (MINUTE, vec![told.to_owned()]));
    assert_eq!(world.group.order(), &Order::default());
    assert_eq!(world.group.poll_timeout(), None);
}

#[test]
fn each_order_replaces_the_one_before_and_its_end() {
    let mut world = World::at(1.0);
    world.until(Override::Withdraw, MINUTE);
    assert_eq!(world.order(Override::Announce), ["withdrawn → announced: ordered by the operator: announce"]);
    assert_eq!(world.group.poll_timeout(), None);
    world.until(Override::Drain { graceful_shutdown: GRACEFUL }, MINUTE);
    let told = "de-preferred → withdrawn: drained: GRACEFUL_SHUTDOWN announced for 5s (maintenance)";
    assert_eq!(world.next(), (GRACEFUL, vec![told.to_owned()]));
    let (due, told) = world.next();
    assert_eq!(due + GRACEFUL, MINUTE);
    let expired = "withdrawn → announced: the order has expired: drain (maintenance); \
        health: first verdicts known: score 1.00";
    assert_eq!(told, [expired]);
    assert_eq!(world.communities(), ["64512:100"]);
}

#[test]
fn a_drain_that_expires_before_its_graceful_time_withdraws_nothing() {
    let mut world = World::at(1.0);
    world.until(Override::Drain { graceful_shutdown: MINUTE }, GRACEFUL);
    assert_eq!(world.next().0, GRACEFUL);
    assert_eq!(world.group.state(), Announced);
    assert_eq!(world.group.poll_timeout(), None);
}

#[test]
fn an_order_that_has_expired_already_has_no_effect() {
    let mut world = World::at(1.0);
    assert_eq!(world.until(Override::Withdraw, Duration::ZERO), [""; 0]);
    world.order(Override::Withdraw);
    let told = "withdrawn → announced: the order has expired: announce (maintenance); \
        health: first verdicts known: score 1.00";
    assert_eq!(world.until(Override::Announce, Duration::ZERO), [told]);
}

#[test]
fn orders_wait_for_no_guard_but_are_told_to_leave_nobody() {
    let mut world = World::new(GroupConfig { guard: Some(guard()), ..config() });
    world.sees(&[]);
    world.score(1.0);
    let alarm = "withdrawn with too few others left (0 of 1 other announcers)";
    assert_eq!(
        world.order(Override::Withdraw),
        ["announced → withdrawn: ordered by the operator: withdraw".to_owned(), format!("alarm: {alarm}")]
    );
    assert_eq!(
        world.order(Override::Auto),
        ["withdrawn → announced: ordered by the operator: auto".to_owned(), format!("over: {alarm}")]
    );
}

#[test]
fn a_return_to_auto_is_told_with_what_keeps_the_group() {
    let mut world = World::new(GroupConfig { guard: Some(guard()), ..config() });
    world.sees(&[1]);
    world.order(Override::Announce);
    world.score(0.0);
    assert_eq!(
        world.order(Override::Auto),
        ["announced → de-preferred: ordered by the operator: auto; \
                not withdrawn: the guard: marked as leaving for 20s before"]
    );
    assert_eq!(world.next().0, QUIET);
}

#[test]
fn nobody_relies_on_a_group_that_is_drained_and_it_goes_only_when_they_had_time_to_see_that() {
    let mut world = World::new(GroupConfig { guard: Some(guard()), ..config() });
    world.sees(&[]);
    world.score(0.0);
    assert_eq!(world.marks().len(), 2);
    let alarm =
        "over: the last announcer: it stays although its region can't serve (0 of 1 other announcers)";
    assert_eq!(world.order(Override::Drain { graceful_shutdown: GRACEFUL }), [alarm]);
    assert_eq!(world.marks(), [""; 0]);
    assert_eq!(world.communities().last().unwrap(), "65535:0");
    world.wait(SECOND);
    assert_eq!(world.group.state(), DePreferred, "though nothing serves");
    assert_eq!(world.next().0 + SECOND, GRACEFUL);
    assert_eq!(world.group.state(), ReachState::Withdrawn);
}

#[test]
fn a_fault_ends_the_graceful_time_of_a_guarded_group_too() {
    let mut world = World::new(GroupConfig { guard: Some(guard()), ..config() });
    world.score(1.0);
    world.order(Override::Drain { graceful_shutdown: GRACEFUL });
    assert_eq!(world.fault(Some("stuck"))[0], "de-preferred → withdrawn: stuck");
}

#[test]
fn what_was_due_before_an_order_is_not_told_as_its_doing() {
    let mut world = World::at(1.0);
    world.until(Override::Withdraw, MINUTE);
    world.now += MINUTE * 2;
    let told = world.order(Override::Drain { graceful_shutdown: GRACEFUL });
    let expired = "withdrawn → announced: the order has expired: withdraw (maintenance); \
        health: first verdicts known: score 1.00";
    assert_eq!(told, [expired, "announced → de-preferred: ordered by the operator: drain"]);
}

#[test]
fn a_hold_down_begins_when_a_fault_ends_a_drain_that_a_low_score_had_not() {
    let mut world = World::new(GroupConfig { guard: Some(guard()), ..config() });
    world.score(1.0);
    world.order(Override::Drain { graceful_shutdown: GRACEFUL });
    world.score(0.0);
    world.wait(SECOND);
    world.fault(Some("stuck"));
    world.fault(None);
    world.order(Override::Auto);
    world.sees(&[1]);
    world.score(1.0);
    assert_eq!(world.next().0, HOLD_DOWN);
    assert_eq!(world.group.state(), Announced);
}
