//! What a world is made of: how many PoPs, routers and backends, and how they are configured.

use crate::{
    clock::{MS, Nanos, SECOND},
    random::Random,
};

/// The most PoPs of a world.
pub const MOST_POPS: u8 = 5;
/// The most backends of a PoP, shared ones apart.
pub const MOST_BACKENDS: u8 = 4;

/// What a world is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    /// How many PoPs, each of its own region.
    pub pops: u8,
    /// How many backends each PoP's region has.
    pub backends: u8,
    /// The backends' shares of capacity, the shared one's last.
    pub weights: [u16; MOST_BACKENDS as usize + 1],
    /// Every region also depends on one backend that all of them use.
    pub shared: bool,
    /// How many routers each PoP has.
    pub routers: u8,
    /// How long the world lasts.
    pub length: Nanos,
    /// The announcement groups, the same at each PoP.
    pub groups: Vec<GroupShape>,
    /// From probe to probe.
    pub interval: Nanos,
    /// How long a probe may take.
    pub timeout: Nanos,
    /// Successes in a row that make a backend up.
    pub rise: u16,
    /// Soft failures in a row that make it down.
    pub fall: u16,
    /// Within this time a change at one PoP's routers is known to all other PoPs, while all is well (the D of the guard's
    /// rule).
    pub propagation: Nanos,
    /// BGP hold time.
    pub hold_time: Nanos,
    /// How soon BFD notices; `None`: no BFD.
    pub bfd: Option<Nanos>,
    /// Routers connect too, so that connections collide.
    pub routers_connect: bool,
    /// No probe has ended for so long: the checker is dead.
    pub dead_man: Option<Nanos>,
    /// No more than so many withdrawals by health within this time.
    pub cap: Option<(u32, Nanos)>,
    /// How long GRACEFUL_SHUTDOWN is announced in a stop.
    pub graceful: Nanos,
    /// From the withdrawal to the end in a stop.
    pub withdrawn: Nanos,
    /// The clocks of nodes differ in rate by up to this, in parts per million.
    pub drift: u32,
}

/// An announcement group.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupShape {
    /// The backends of the region that gate it, a bit each.
    pub gates: u8,
    /// De-preferred below the first share, no longer from the second on.
    pub degraded: Option<(f64, f64)>,
    /// Withdrawn below the first share, no longer from the second on; `None`: it stays.
    pub withdrawn: Option<(f64, f64)>,
    /// The least time withdrawn by health.
    pub hold_down: Nanos,
    /// The least time announced before health may withdraw.
    pub min_up: Nanos,
    /// Flap damping.
    pub damping: Option<DampingShape>,
    /// The least number of others before health may withdraw.
    pub guard: Option<u32>,
}

/// Flap damping.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DampingShape {
    /// The penalty halves in this time.
    pub half_life: Nanos,
    /// Suppressed from this penalty on.
    pub suppress: f64,
    /// No longer below this one.
    pub reuse: f64,
    /// No longer than this in any case.
    pub most: Nanos,
}

impl Shape {
    /// A world of the usual kind, without anything unusual: what scenarios begin with.
    pub fn plain(pops: u8, backends: u8) -> Self {
        Self {
            pops,
            backends,
            weights: [100; 5],
            shared: false,
            routers: 1,
            length: 60 * SECOND,
            groups: vec![GroupShape::plain()],
            interval: SECOND,
            timeout: 500 * MS,
            rise: 2,
            fall: 3,
            propagation: 400 * MS,
            hold_time: 9 * SECOND,
            bfd: Some(150 * MS),
            routers_connect: false,
            dead_man: Some(6 * SECOND),
            cap: None,
            graceful: SECOND,
            withdrawn: SECOND,
            drift: 200,
        }
    }

    /// The largest world: what speed is measured with.
    pub fn full(seed: u64) -> Self {
        Self {
            pops: MOST_POPS,
            backends: MOST_BACKENDS,
            routers: 2,
            length: 60 * SECOND,
            ..Self::seeded(seed)
        }
        .consistent()
    }

    /// The world of a seed.
    pub fn seeded(seed: u64) -> Self {
        let random = &mut Random::new(seed, 1);
        let backends = random.between(1, MOST_BACKENDS.into()) as u8;
        let mut groups = vec![GroupShape::seeded(random, (1 << backends) - 1)];
        if random.chance(25) {
            let gates = random.between(1, (1 << backends) - 1) as u8;
            groups.push(GroupShape::seeded(random, gates));
        }
        let interval = random.pick(&[500, 1000, 1000, 2000]) * MS;
        Self {
            pops: random.between(2, MOST_POPS.into()) as u8,
            backends,
            weights: if random.chance(30) {
                [(); 5].map(|()| random.pick(&[0, 1, 50, 100, 100, 300]))
            } else {
                [100; 5]
            },
            shared: random.chance(15),
            routers: random.between(1, 2) as u8,
            length: 60 * SECOND,
            groups,
            interval,
            timeout: (interval / 2).min(random.pick(&[250, 500, 1000]) * MS),
            rise: random.between(1, 3) as u16,
            fall: random.between(1, 4) as u16,
            propagation: random.pick(&[100, 200, 400, 800]) * MS,
            hold_time: random.pick(&[3, 9, 9]) * SECOND,
            bfd: random.chance(60).then(|| random.pick(&[150, 300]) * MS),
            routers_connect: random.chance(30),
            dead_man: random.chance(85).then(|| random.pick(&[4, 6, 12]) * SECOND),
            cap: random.chance(20).then(|| (random.between(1, 2) as u32, random.pick(&[5, 10, 30]) * SECOND)),
            graceful: random.pick(&[200, 500, 1000, 3000]) * MS,
            withdrawn: random.pick(&[0, 200, 1000]) * MS,
            drift: random.pick(&[0, 50, 200, 500]),
        }
        .consistent()
    }

    /// The number of probed backends of a PoP, the shared one among them.
    pub fn probed(&self) -> u8 {
        self.backends + u8::from(self.shared)
    }

    /// How many nodes have a BGP session with a router of theirs.
    pub fn links(&self) -> u8 {
        self.pops * self.routers
    }

    /// The quiet time of the guard: as long as a change takes to be known everywhere, once for each PoP, and a little for
    /// clocks that run fast.
    pub fn quiet(&self) -> Nanos {
        let all = self.propagation * u64::from(self.pops);
        all + all / 500
    }

    /// The dead man waits for a few probes at least, whatever their pace; a group is gated by backends that exist.
    fn consistent(mut self) -> Self {
        let slowest = 3 * (self.interval + self.timeout);
        self.dead_man = self.dead_man.map(|after| after.max(slowest));
        let all = (1 << self.backends) - 1;
        for (number, group) in self.groups.iter_mut().enumerate() {
            group.gates = if number == 0 || group.gates & all == 0 { all } else { group.gates & all };
            // More others than there are would keep everybody for ever.
            group.guard = group.guard.map(|least| least.min(u32::from(self.pops) - 1));
        }
        self
    }
}

impl GroupShape {
    /// Both bounds, a hold-down of ten seconds, and a guard.
    pub fn plain() -> Self {
        Self {
            gates: u8::MAX,
            degraded: Some((0.8, 0.9)),
            withdrawn: Some((0.4, 0.6)),
            hold_down: 10 * SECOND,
            min_up: 0,
            damping: None,
            guard: Some(1),
        }
    }

    fn seeded(random: &mut Random, gates: u8) -> Self {
        Self {
            gates,
            degraded: random.pick(&[None, Some((0.8, 0.9)), Some((0.6, 0.6)), Some((0.9, 1.0))]),
            withdrawn: random.pick(&[
                Some((0.4, 0.6)),
                Some((0.4, 0.6)),
                Some((0.3, 0.8)),
                Some((0.5, 0.5)),
                None,
            ]),
            hold_down: random.pick(&[0, 1, 3, 10]) * SECOND,
            min_up: random.pick(&[0, 0, 2, 5]) * SECOND,
            damping: random.chance(40).then(|| {
                let half_life = random.pick(&[5, 10, 30]) * SECOND;
                DampingShape {
                    half_life,
                    suppress: random.pick(&[2.0, 3.0]),
                    reuse: 1.0,
                    most: half_life * random.between(1, 4),
                }
            }),
            guard: random.chance(65).then(|| random.pick(&[1, 1, 1, 2, 3])),
        }
    }
}
