use super::*;

const DAY: Duration = Duration::from_hours(24);

fn day(number: u32) -> SystemTime {
    SystemTime::UNIX_EPOCH + DAY * (20_000 + number)
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(ToString::to_string).collect()
}

/// Of 90 days, from day 0.
fn held() -> Held {
    Held { not_before: day(0), not_after: day(90), names: names(&["a.example", "b.example"]) }
}

fn renewal(now: SystemTime, held: Option<Held>, seed: u64) -> Renewal {
    Renewal::new(now, names(&["b.example", "a.example"]), held, seed)
}

/// Past the first question for renewal information.
fn unadvised(now: SystemTime, seed: u64) -> Renewal {
    let mut renewal = renewal(now, Some(held()), seed);
    assert_eq!(renewal.poll_output(now), Some(Output::AskRenewalInfo));
    renewal.handle(now, Input::NoSuggestions);
    renewal
}

#[test]
fn without_a_certificate_of_these_names_one_is_ordered_at_once() {
    let other = Held { names: names(&["a.example"]), ..held() };
    for held in [None, Some(other)] {
        let mut renewal = renewal(day(1), held, 7);
        assert_eq!(renewal.poll_timeout(), Some(day(1)));
        assert_eq!(renewal.poll_output(day(1)), Some(Output::Order));
        assert_eq!((renewal.poll_output(day(2)), renewal.poll_timeout()), (None, None), "one at a time");
    }
}

#[test]
fn a_stored_certificate_is_renewed_at_two_thirds_of_its_life_and_not_everywhere_at_once() {
    let due: BTreeSet<_> = (0..100).map(|seed| unadvised(day(1), seed).order_at().unwrap()).collect();
    assert!(due.len() > 90, "{} moments for 100 seeds", due.len());
    let (first, last) = (*due.first().unwrap(), *due.last().unwrap());
    assert!(first >= day(57) && last <= day(60), "{first:?} to {last:?}");
    assert!(last.duration_since(first).unwrap() > 2 * DAY);

    let mut renewal = unadvised(day(1), 7);
    let due = renewal.order_at().unwrap();
    assert_eq!(renewal.poll_output(due - Duration::from_secs(1)), None);
    assert_eq!(renewal.poll_output(due), Some(Output::Order));
}

#[test]
fn one_that_is_due_or_has_ended_is_renewed_at_once() {
    for now in [day(61), day(1000)] {
        let mut renewal = renewal(now, Some(held()), 7);
        assert_eq!(renewal.poll_output(now), Some(Output::Order));
    }
}

#[test]
fn after_failures_the_pauses_double_up_to_hours_and_a_success_ends_them() {
    let mut renewal = renewal(day(1), None, 7);
    let (mut now, mut pauses) = (day(1), Vec::new());
    for failures in 1..=12 {
        assert_eq!(renewal.poll_output(now), Some(Output::Order));
        renewal.handle(now, Input::Failed { retry_after: None });
        assert_eq!(renewal.failures(), failures);
        let next = renewal.order_at().unwrap();
        pauses.push(next.duration_since(now).unwrap());
        now = next;
    }
    for (index, pause) in pauses.iter().enumerate() {
        let least = (BACKOFF_LEAST * (1 << index)).min(BACKOFF_MOST);
        assert!((least..=least + least / 4).contains(pause), "{index}: {pause:?}");
    }
    assert!(pauses[0..4].iter().sum::<Duration>() <= Duration::from_hours(1));
    assert!(pauses[0..5].iter().sum::<Duration>() > Duration::from_hours(1), "five attempts an hour");

    assert_eq!(renewal.poll_output(now), Some(Output::Order));
    let fresh = Held { not_before: now, not_after: now + 90 * DAY, ..held() };
    renewal.handle(now, Input::Obtained(fresh));
    assert_eq!(renewal.failures(), 0);
    assert!(renewal.order_at().unwrap() >= now + 57 * DAY);
}

#[test]
fn the_server_is_not_asked_before_it_wants_to_be_but_a_week_is_enough() {
    let hours = |hours| Some(Duration::from_hours(hours));
    for (retry_after, least, most) in [
        (Some(Duration::from_secs(1)), BACKOFF_LEAST, BACKOFF_LEAST * 5 / 4),
        (hours(30), Duration::from_hours(30), Duration::from_hours(30)),
        (hours(24 * 365), 7 * DAY, 7 * DAY),
    ] {
        let mut renewal = renewal(day(1), None, 7);
        renewal.poll_output(day(1));
        renewal.handle(day(1), Input::Failed { retry_after });
        let pause = renewal.order_at().unwrap().duration_since(day(1)).unwrap();
        assert!((least..=most).contains(&pause), "{retry_after:?}: {pause:?}");
    }
}

#[test]
fn the_servers_window_goes_before_the_lifetime_and_the_moment_in_it_stays() {
    let window = |start, end| Some(Window { start: day(start), end: day(end) });
    let suggest = |renewal: &mut Renewal, now, window| {
        assert_eq!(renewal.poll_output(now), Some(Output::AskRenewalInfo));
        renewal.handle(now, Input::Suggested { window, ask_after: Some(Duration::from_hours(6)) });
    };
    let mut renewal = renewal(day(1), Some(held()), 7);
    let by_lifetime = renewal.order_at();
    suggest(&mut renewal, day(1), window(20, 22));
    let due = renewal.order_at().unwrap();
    assert!((day(20)..=day(22)).contains(&due));
    assert_eq!(renewal.poll_timeout(), Some(day(1) + Duration::from_hours(6)), "asked again");
    suggest(&mut renewal, day(2), window(20, 22));
    assert_eq!(renewal.order_at(), Some(due));
    suggest(&mut renewal, day(3), window(22, 20));
    assert_eq!(renewal.order_at(), Some(due), "a window that ends before it begins says nothing");
    suggest(&mut renewal, day(4), window(200, 300));
    assert_eq!(renewal.order_at(), Some(day(90) - DAY * 90 / 12), "later than is good for it");
    suggest(&mut renewal, day(5), window(1, 2));
    assert_eq!(renewal.poll_output(day(5)), Some(Output::Order), "it is past: at once");
    assert!(by_lifetime.unwrap() > day(56));
}

#[test]
fn renewal_information_is_asked_for_within_reason_and_only_where_there_is_any() {
    for (ask_after, expected) in [
        (None, ASK_DEFAULT),
        (Some(Duration::ZERO), ASK_LEAST),
        (Some(Duration::from_hours(1)), Duration::from_hours(1)),
        (Some(30 * DAY), ASK_MOST),
    ] {
        let mut renewal = renewal(day(1), Some(held()), 7);
        renewal.poll_output(day(1));
        renewal.handle(day(1), Input::Suggested { window: None, ask_after });
        assert_eq!(renewal.poll_timeout(), Some(day(1) + expected), "{ask_after:?}");
    }
    let renewal = unadvised(day(1), 7);
    assert_eq!(renewal.poll_timeout(), renewal.order_at());
}

#[test]
fn a_window_does_not_shorten_the_pause_between_failures() {
    let mut renewal = renewal(day(70), Some(held()), 7);
    assert_eq!(renewal.poll_output(day(70)), Some(Output::Order));
    renewal.handle(day(70), Input::Failed { retry_after: Some(DAY) });
    assert_eq!(renewal.poll_output(day(70)), Some(Output::AskRenewalInfo));
    let window = Some(Window { start: day(60), end: day(61) });
    renewal.handle(day(70), Input::Suggested { window, ask_after: None });
    assert_eq!(renewal.order_at(), Some(day(71)));
}

#[test]
fn a_certificate_that_seems_due_as_it_comes_is_not_ordered_again_at_once() {
    let past = Some(Window { start: day(1), end: day(2) });
    let short = Held { not_after: day(0) + Duration::from_secs(12), ..held() };
    for (now, held, least) in
        [(day(80), held(), DAY), (day(1000), held(), DAY), (day(0), short, Duration::from_secs(4))]
    {
        let mut renewal = renewal(now, None, 7);
        assert_eq!(renewal.poll_output(now), Some(Output::Order));
        renewal.handle(now, Input::Obtained(held));
        assert!(renewal.order_at().unwrap() >= now + least);
        assert_eq!(renewal.poll_output(now), Some(Output::AskRenewalInfo));
        renewal.handle(now, Input::Suggested { window: past, ask_after: None });
        assert_eq!(renewal.poll_output(now), None);
        assert!(renewal.order_at().unwrap() >= now + least);
    }
}

#[test]
fn what_an_operator_wants_goes_before_pauses_and_is_not_done_twice() {
    let mut renewal = unadvised(day(1), 7);
    renewal.handle(day(2), Input::Wanted);
    assert_eq!(renewal.poll_output(day(2)), Some(Output::Order));
    renewal.handle(day(2), Input::Wanted);
    assert_eq!(renewal.poll_output(day(2)), None, "it is under way");
    renewal.handle(day(2), Input::Failed { retry_after: Some(DAY) });
    renewal.handle(day(2), Input::Wanted);
    assert_eq!(renewal.poll_output(day(2)), Some(Output::Order));
}

/// The first order within 400 days, looked for every hour as a driver does.
fn first_order(renewal: &mut Renewal, from: SystemTime) -> Option<SystemTime> {
    let mut hours = (0..400 * 24).map(|hours| from + Duration::from_hours(1) * hours);
    hours.find(|&now| match renewal.poll_output(now) {
        Some(Output::AskRenewalInfo) => {
            renewal.handle(now, Input::NoSuggestions);
            false
        }
        output => output == Some(Output::Order),
    })
}

#[test]
fn a_clock_that_is_set_back_lengthens_no_pause() {
    let wrong = day(3650);
    for (retry_after, pause) in [(None, Duration::from_hours(1)), (Some(2 * DAY), 2 * DAY)] {
        let mut renewal = renewal(wrong, Some(held()), 7);
        assert_eq!(renewal.poll_output(wrong), Some(Output::Order), "it seems to have ended");
        renewal.handle(wrong, Input::Failed { retry_after });
        assert_eq!(first_order(&mut renewal, day(1)), Some(day(1) + pause));
    }
    let mut renewal = renewal(wrong, None, 7);
    assert_eq!(renewal.poll_output(day(1)), Some(Output::Order), "what was due is due");
}

#[test]
fn a_clock_that_is_set_back_keeps_no_certificate_from_its_renewal() {
    let wrong = day(3650);
    let mut renewal = renewal(wrong, None, 7);
    assert_eq!(renewal.poll_output(wrong), Some(Output::Order));
    renewal.handle(wrong, Input::Obtained(held()));
    assert_eq!(renewal.order_at(), Some(wrong + DAY), "not at once, though it seems to be due");
    let order = first_order(&mut renewal, day(1)).unwrap();
    assert!(order >= day(57) && order <= day(60) + Duration::from_hours(1), "{order:?}");
}

#[test]
fn a_clock_that_is_set_back_keeps_nobody_from_asking_for_renewal_information() {
    let ask_after = Some(Duration::from_hours(6));
    let mut renewal = renewal(day(30), Some(held()), 7);
    assert_eq!(renewal.poll_output(day(30)), Some(Output::AskRenewalInfo));
    renewal.handle(day(30), Input::Suggested { window: None, ask_after });
    assert_eq!(renewal.poll_output(day(1)), None);
    assert_eq!(renewal.poll_timeout(), Some(day(1) + Duration::from_hours(6)));
}

#[test]
fn a_server_that_is_back_in_time_finds_an_attempt_before_the_certificate_ends() {
    for minutes in [60, 90, 120, 240, 24 * 60, 6 * 24 * 60, 90 * 24 * 60] {
        for seed in 0..200 {
            let lifetime = Duration::from_mins(minutes);
            let held = Held { not_before: day(1), not_after: day(1) + lifetime, ..held() };
            let mut renewal = renewal(day(1), Some(held.clone()), seed);
            renewal.poll_output(day(1));
            renewal.handle(day(1), Input::NoSuggestions);
            let back = held.not_after - lifetime / 6;
            let (mut now, mut attempts) = (renewal.order_at().unwrap(), Vec::new());
            while now < back {
                assert_eq!(renewal.poll_output(now), Some(Output::Order));
                renewal.handle(now, Input::Failed { retry_after: None });
                attempts.push(now);
                now = renewal.order_at().unwrap();
            }
            assert!(now < held.not_after, "{minutes} minutes, seed {seed}: {attempts:?}, {now:?}");
        }
    }
}

#[test]
fn however_little_is_left_no_more_is_asked_than_an_authority_takes_nor_before_it_wants() {
    let mut renewal = renewal(day(88), Some(held()), 7);
    let (mut now, mut attempts) = (day(88), Vec::new());
    while now < day(90) {
        assert_eq!(renewal.poll_output(now), Some(Output::Order));
        renewal.handle(now, Input::Failed { retry_after: None });
        attempts.push(now);
        now = renewal.order_at().unwrap();
    }
    let hour = Duration::from_hours(1);
    for from in &attempts {
        let within = attempts.iter().filter(|at| (*from..*from + hour).contains(at)).count();
        assert!(within <= 5, "{within} attempts in an hour");
    }
    assert!(attempts.len() > 20, "{}", attempts.len());

    let late = day(90) - hour;
    let mut renewal = unadvised(day(1), 7);
    assert_eq!(renewal.poll_output(late), Some(Output::Order));
    renewal.handle(late, Input::Failed { retry_after: Some(DAY) });
    assert_eq!(renewal.order_at(), Some(late + DAY));
}

#[test]
fn a_certificate_of_more_names_than_these_will_do_and_one_that_lacks_any_will_not() {
    let of = |these: &[&str]| Held { names: names(these), ..held() };
    for (held, expected) in [
        (of(&["a.example", "b.example", "www.a.example"]), Some(Output::AskRenewalInfo)),
        (of(&["a.example", "www.a.example"]), Some(Output::Order)),
    ] {
        let mut renewal = renewal(day(1), Some(held), 7);
        assert_eq!(renewal.poll_output(day(1)), expected);
    }
}

#[test]
fn a_certificate_that_somebody_puts_there_is_renewed_when_it_is_due_and_no_pause_is_shortened() {
    let later = Held { not_before: day(30), not_after: day(120), ..held() };
    let mut other = unadvised(day(40), 7);
    other.handle(day(40), Input::Replaced(later.clone()));
    assert_eq!(other.poll_output(day(40)), Some(Output::AskRenewalInfo), "of the new one");
    assert!((day(87)..=day(90)).contains(&other.order_at().unwrap()));

    // While orders fail: one that lasts, and one that is due already.
    for (held, least, most) in [(later, day(87), day(90)), (held(), day(72), day(72))] {
        let mut renewal = renewal(day(70), None, 7);
        assert_eq!(renewal.poll_output(day(70)), Some(Output::Order));
        renewal.handle(day(70), Input::Failed { retry_after: Some(2 * DAY) });
        renewal.handle(day(71), Input::Replaced(held));
        assert!((least..=most).contains(&renewal.order_at().unwrap()), "{:?}", renewal.order_at());
        assert_eq!(renewal.failures(), 1);
    }
}

#[test]
fn one_that_somebody_puts_there_without_a_name_is_replaced_at_once_and_after_failures_when_their_pause_is_over()
 {
    let lacking = Held { names: names(&["a.example"]), ..held() };
    let mut good = unadvised(day(1), 7);
    good.handle(day(2), Input::Replaced(lacking.clone()));
    assert_eq!(good.poll_output(day(2)), Some(Output::Order));
    good.handle(day(2), Input::Replaced(held()));
    assert_eq!((good.poll_output(day(2)), good.poll_timeout()), (None, None), "it is under way");

    good.handle(day(2), Input::Failed { retry_after: Some(DAY) });
    good.handle(day(2), Input::Replaced(lacking));
    assert_eq!((good.poll_output(day(2)), good.order_at()), (None, Some(day(3))));
}
