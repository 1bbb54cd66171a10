//! What a fault does when it begins, and when it ends.

use std::ops::{AddAssign, SubAssign};

use proxima_bgp_session::Input;
use proxima_health::{LATE, Silence};

use crate::{
    clock::{MS, Nanos, SECOND, nanos},
    fault::{App, Direction, Fault, FaultKind, Verb},
    host::{CONTROL_LIMIT, CONTROL_LOOK, Pop},
    net::{POP, ROUTER},
    probes::AppState,
    queue::Event,
    world::World,
};

impl World {
    pub(crate) fn fault_begins(&mut self, number: u16) {
        let fault = self.faults[usize::from(number)];
        self.trace.say(self.now, "FAULT", format_args!("{}", fault.kind));
        self.queue.push(fault.ends(), Event::FaultEnds(number));
        if !fault.kind.is_of_apps() {
            self.oracle.upset(self.now, true);
        }
        self.change(number, fault, true);
    }

    pub(crate) fn fault_ends(&mut self, number: u16) {
        let fault = self.faults[usize::from(number)];
        self.trace.say(self.now, "FAULT", format_args!("over: {}", fault.kind));
        if !fault.kind.is_of_apps() {
            self.oracle.upset(self.now, false);
        }
        self.change(number, fault, false);
    }

    fn change(&mut self, number: u16, fault: Fault, begins: bool) {
        match fault.kind {
            FaultKind::Kill(app) => self.kill(self.place(app), begins),
            FaultKind::Hang(app) => count(&mut self.app(app).hangs, begins),
            FaultKind::Errors(app) => count(&mut self.app(app).errors, begins),
            FaultKind::Slow(app) => count(&mut self.app(app).slow, begins),
            FaultKind::Flap(app, _) => self.flap(number, app, begins),
            FaultKind::KillRegion(pop) => self.kill_region(pop.into(), begins),
            FaultKind::HangRegion(pop) => self.hang_region(pop.into(), begins),
            FaultKind::KillAll(within) => self.kill_all(number, within, begins),
            FaultKind::ProbeLoss(pop, percent) => add(&mut self.pop(pop).probe_loss, percent.into(), begins),
            FaultKind::ProbeCut(pop) => count(&mut self.pop(pop).probe_cut, begins),
            FaultKind::LinkLoss(link, percent) => {
                add(&mut self.links[usize::from(link)].loss, percent.into(), begins);
                self.oracle.link_upset(link.into(), self.now);
            }
            FaultKind::LinkDelay(link, more) => {
                add(&mut self.links[usize::from(link)].extra, more, begins);
                self.oracle.link_upset(link.into(), self.now);
            }
            FaultKind::LinkCut(link, direction) => self.cut_link(link.into(), direction, begins),
            FaultKind::WanCut { of, at, both } => self.cut_wan(of.into(), at.into(), both, begins),
            FaultKind::Isolate(pop) => {
                let pop = usize::from(pop);
                for other in (0..self.pops.len()).filter(|other| *other != pop) {
                    self.cut_wan(other, pop, true, begins);
                }
            }
            FaultKind::WanDelay(pop, more) => add(&mut self.wan_extra[usize::from(pop)], more, begins),
            FaultKind::Reduced(app, percent) => {
                let lacks = &mut self.app(app).lacks;
                *lacks = if begins { lacks.saturating_add(percent) } else { lacks.saturating_sub(percent) };
            }
            FaultKind::Freeze(pop) => self.stand(pop.into(), true, begins),
            FaultKind::Suspend(pop) => self.suspend(pop.into(), begins),
            FaultKind::Stuck(pop) => self.stand(pop.into(), false, begins),
            FaultKind::Hog(pop, lag) => add(&mut self.pop(pop).lag, lag, begins),
            FaultKind::Crash(pop) => self.down(pop.into(), false, begins),
            FaultKind::PowerLoss(pop) => self.down(pop.into(), true, begins),
            FaultKind::Stop(pop) => {
                count(&mut self.pop(pop).wanted_down, begins);
                if begins {
                    self.take(Event::Told { pop, fault: number, begins });
                } else {
                    self.start_later(pop.into(), SECOND / 2);
                }
            }
            FaultKind::Worker(pop) => {
                self.asks(pop, number, begins, |host| count(&mut host.worker_stuck, begins));
            }
            FaultKind::Checker(pop) => {
                self.asks(pop, number, begins, |host| count(&mut host.checker_dead, begins));
            }
            FaultKind::Order(pop, verb) | FaultKind::OrderUntil(pop, verb) => {
                self.asks(pop, number, begins, |host| list(&mut host.orders, verb, begins));
            }
            FaultKind::Reconfigure(pop, revision) => {
                self.asks(pop, number, begins, |host| list(&mut host.revisions, revision, begins));
            }
            FaultKind::RouterReset(link) if begins => {
                self.oracle.link_upset(link.into(), self.now);
                self.tell(2 * usize::from(link) + ROUTER, Input::Reset);
            }
            FaultKind::RouterReset(_) => {}
            FaultKind::CheckerOf(app) => {
                let tracker = self.trackers_of(app.pop.into()).start + usize::from(app.backend);
                count(&mut self.trackers[tracker].stuck, begins);
                self.take(Event::Told { pop: app.pop, fault: number, begins });
            }
            FaultKind::Stray(pop, _) => self.take(Event::Told { pop, fault: number, begins }),
        }
    }

    fn pop(&mut self, pop: u8) -> &mut Pop {
        &mut self.pops[usize::from(pop)]
    }

    /// Changes a host, and tells its daemon.
    fn asks(&mut self, pop: u8, fault: u16, begins: bool, change: impl FnOnce(&mut Pop)) {
        change(self.pop(pop));
        self.take(Event::Told { pop, fault, begins });
    }

    /// What a fault asks of a daemon that has to take part in it.
    pub(crate) fn told(&mut self, fault: u16, begins: bool) {
        let fault = self.faults[usize::from(fault)];
        match fault.kind {
            FaultKind::Stop(pop) => self.begin_stop(usize::from(pop)),
            FaultKind::Worker(pop) => {
                if begins {
                    self.pop(pop).seen_stuck = self.now;
                }
                self.turn_soon(pop.into());
            }
            FaultKind::Checker(pop) if !begins => {
                for tracker in self.trackers_of(pop.into()) {
                    self.task_goes_on(tracker);
                }
            }
            FaultKind::CheckerOf(app) if !begins => {
                self.task_goes_on(self.trackers_of(app.pop.into()).start + usize::from(app.backend));
            }
            FaultKind::Stray(pop, stray) if begins => self.stray(pop.into(), stray),
            FaultKind::Order(pop, verb) => self.ordered(usize::from(pop), verb, begins, None),
            FaultKind::OrderUntil(pop, verb) => {
                self.ordered(usize::from(pop), verb, begins, Some(fault.ends()));
            }
            FaultKind::Reconfigure(pop, _) => self.reconfigure(usize::from(pop)),
            _ => {}
        }
    }

    fn ordered(&mut self, pop: usize, verb: Verb, begins: bool, ends: Option<Nanos>) {
        if !self.pops[pop].running || self.pops[pop].stop.is_some() {
            return;
        }
        let left = self.pops[pop].orders.last().copied();
        let alone = self.pops[pop].orders.len() == 1;
        match (begins, ends) {
            (true, Some(ends)) if alone => self.order(pop, Some(verb), Some(ends)),
            (true, _) => self.order(pop, Some(verb), None),
            // It ends by itself, and nothing is left to be told.
            (false, Some(_)) if left.is_none() => {}
            (false, _) => self.order(pop, left, None),
        }
    }

    /// Where the state of an app is.
    fn place(&self, app: App) -> usize {
        self.app_of(self.trackers_of(usize::from(app.pop)).start + usize::from(app.backend))
    }

    fn app(&mut self, app: App) -> &mut AppState {
        let place = self.place(app);
        &mut self.apps[place]
    }

    fn apps_of(&self, pop: usize) -> std::ops::Range<usize> {
        let first = self.trackers_of(pop).start;
        first..first + usize::from(self.shape.backends)
    }

    fn kill(&mut self, app: usize, begins: bool) {
        count(&mut self.apps[app].killed, begins);
        if begins && self.apps[app].killed == 1 {
            self.app_died(app);
        }
    }

    fn hang_region(&mut self, pop: usize, begins: bool) {
        for app in self.apps_of(pop) {
            count(&mut self.apps[app].hangs, begins);
        }
    }

    fn kill_region(&mut self, pop: usize, begins: bool) {
        for app in self.apps_of(pop) {
            self.kill(app, begins);
        }
    }

    /// The regions one after the other, spread over `within`; they come back together.
    fn kill_all(&mut self, number: u16, within: Nanos, begins: bool) {
        let pops = self.pops.len();
        if begins {
            self.fallen[usize::from(number)] = 0;
            for turn in 0..pops as u64 {
                self.queue.push(self.now + within * turn / pops as u64, Event::FlapTurns(number));
            }
        } else {
            let fallen = usize::from(std::mem::replace(&mut self.fallen[usize::from(number)], u8::MAX));
            for pop in 0..fallen {
                self.kill_region(pop, false);
            }
        }
    }

    fn flap(&mut self, number: u16, app: App, begins: bool) {
        let fallen = &mut self.fallen[usize::from(number)];
        if begins {
            *fallen = 0;
            self.flap_turns(number);
        } else if std::mem::replace(fallen, u8::MAX) == 1 {
            self.kill(self.place(app), false);
        }
    }

    /// The next turn of an app that flaps, or the next region of all that fall.
    pub(crate) fn flap_turns(&mut self, number: u16) {
        let fallen = self.fallen[usize::from(number)];
        if fallen == u8::MAX {
            return; // it is over
        }
        match self.faults[usize::from(number)].kind {
            FaultKind::Flap(app, every) => {
                self.fallen[usize::from(number)] = 1 - fallen;
                self.kill(self.place(app), fallen == 0);
                self.queue.push(self.now + every.max(MS), Event::FlapTurns(number));
            }
            FaultKind::KillAll(_) => {
                self.fallen[usize::from(number)] = fallen + 1;
                self.kill_region(usize::from(fallen), true);
            }
            _ => {}
        }
    }

    fn cut_link(&mut self, link: usize, direction: Direction, begins: bool) {
        for towards in [POP, ROUTER] {
            if !direction.cuts(towards) {
                continue;
            }
            count(&mut self.links[link].cut[towards], begins);
            if !begins && self.links[link].cut[towards] == 0 {
                self.mended(link, towards);
            }
        }
        self.oracle.link_upset(link, self.now);
        self.path_changed(link);
        let pop = self.pop_of(link);
        if !begins && std::mem::take(&mut self.pops[pop].view_missed) {
            self.view_soon(pop, 300 * MS);
        }
    }

    /// Nothing is heard of one PoP at another, or of each other.
    fn cut_wan(&mut self, of: usize, at: usize, both: bool, begins: bool) {
        self.cut_way(of, at, begins);
        if both {
            self.cut_way(at, of, begins);
        }
    }

    /// The host, or the control thread alone, stands still.
    fn stand(&mut self, pop: usize, host: bool, begins: bool) {
        let stood = self.pops[pop].stands_still();
        if begins && !stood {
            self.turn(pop); // the last one before
            self.pops[pop].stands_since = self.now;
            self.oracle.stands(pop, self.now);
        }
        let place = if host { &mut self.pops[pop].frozen } else { &mut self.pops[pop].stuck };
        count(place, begins);
        if begins && host && self.pops[pop].frozen == 1 {
            self.pops[pop].frozen_since = self.now;
        }
        if !begins && host && self.pops[pop].frozen == 0 {
            self.pops[pop].stood += self.now - self.pops[pop].frozen_since;
        }
        if begins && !host {
            let (life, now) = (self.pops[pop].life, self.pops[pop].clock.at(self.now));
            self.pops[pop].silence = Some(Silence::new(now, 0, CONTROL_LIMIT, CONTROL_LOOK));
            let at = self.now + nanos(CONTROL_LOOK);
            self.queue.push(at, Event::Watchdog { pop: pop as u8, life });
        }
        if !begins && stood && !self.pops[pop].stands_still() {
            self.goes_on(pop);
        }
        if host {
            for link in self.links_of(pop) {
                self.path_changed(link);
            }
        }
    }

    /// The host stands still, and its clock with it.
    fn suspend(&mut self, pop: usize, begins: bool) {
        let host = &mut self.pops[pop];
        count(&mut host.suspended, begins);
        match (begins, host.suspended) {
            (true, 1) => {
                if !self.pops[pop].stands_still() {
                    self.turn(pop); // the last one before
                }
                let host = &mut self.pops[pop];
                host.suspended_since = self.now;
                host.clock.suspend(self.now);
            }
            (false, 0) => {
                let slept = self.now - host.suspended_since;
                if slept < nanos(LATE) + SECOND / 10 {
                    host.dozed += slept;
                }
                host.clock.resume(self.now);
            }
            _ => {}
        }
        self.stand(pop, true, begins);
    }

    /// The thread that watches the control thread looks: where that has stood still for too long the process ends.
    pub(crate) fn watchdog(&mut self, pop: usize, life: u16) {
        let host = &mut self.pops[pop];
        if host.life != life || host.stuck == 0 {
            return;
        }
        // In a host that stands still this thread does, too.
        if host.frozen == 0
            && let Some(silence) = &mut host.silence
            && silence.look(host.clock.at(self.now), 0).is_some()
        {
            self.trace.say(self.now, &format!("pop{pop}"), format_args!("the watchdog ends the daemon"));
            return self.released_by_watchdog(pop);
        }
        self.queue.push(self.now + nanos(CONTROL_LOOK), Event::Watchdog { pop: pop as u8, life });
    }

    fn released_by_watchdog(&mut self, pop: usize) {
        // The new process is not held: what is left of the fault has nothing to hold.
        self.pops[pop].stuck = 0;
        self.pops[pop].waiting.clear();
        self.die(pop, false);
    }

    fn down(&mut self, pop: usize, power: bool, begins: bool) {
        count(&mut self.pops[pop].wanted_down, begins);
        if power {
            count(&mut self.pops[pop].dark, begins);
        }
        if begins {
            self.die(pop, power);
        } else {
            self.start_later(pop, 0);
        }
        if power {
            for link in self.links_of(pop) {
                self.path_changed(link);
            }
        }
    }
}

/// One more, or one fewer. A fault that something else has ended already has nothing left to end.
fn count(of: &mut u8, begins: bool) {
    *of = if begins { *of + 1 } else { of.saturating_sub(1) };
}

/// So much more, or less again.
fn add<T: AddAssign + SubAssign>(to: &mut T, more: T, begins: bool) {
    if begins {
        *to += more;
    } else {
        *to -= more;
    }
}

/// On the list, or off it again.
fn list<T: PartialEq>(on: &mut Vec<T>, item: T, begins: bool) {
    if begins {
        on.push(item);
    } else if let Some(place) = on.iter().position(|known| *known == item) {
        on.remove(place);
    }
}

impl FaultKind {
    /// Whether it befalls apps and the way to them alone: nothing the guard's assumptions are about.
    pub(crate) fn is_of_apps(&self) -> bool {
        matches!(
            self,
            Self::Kill(_)
                | Self::Hang(_)
                | Self::Errors(_)
                | Self::Slow(_)
                | Self::Flap(..)
                | Self::Reduced(..)
                | Self::Stray(..)
                | Self::KillRegion(_)
                | Self::HangRegion(_)
                | Self::KillAll(_)
                | Self::ProbeLoss(..)
                | Self::ProbeCut(_)
        )
    }
}
