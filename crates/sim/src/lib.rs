//! Whole worlds on one virtual clock: PoPs, their routers and apps, with seeded faults, held to the rules of the product.
//!
//! ```text
//!  seed ─▶ Shape, schedule of Faults ─▶ World: queue of events ─▶ the product's cores ─▶ oracle: every rule, at every step
//!                                                                                    └─▶ Violation ─▶ shrink ─▶ replay
//! ```
//!
//! The cores are the product's own: `proxima-health`'s trackers and score, `proxima-announce`, and `proxima-bgp-session` at
//! both ends of each link. Modelled are what surrounds them: clocks, hosts, links, routers' tables, apps, and the glue that
//! the daemon's control task is.
//!
//! | module     | holds                                                                   |
//! |------------|-------------------------------------------------------------------------|
//! | `shape`    | how many of what, and how it is configured                              |
//! | `fault`    | what goes wrong, when, for how long: the schedule of a seed             |
//! | `world`    | the state of it all, and the loop over events                           |
//! | `inject`   | what a fault does when it begins and when it ends                       |
//! | `host`     | a PoP's daemon: its announcement core, orders, stop, restart            |
//! | `configured` | what its file says                                                    |
//! | `probes`   | apps, the path to them, the prober                                      |
//! | `net`      | TCP connections over links, BGP sessions, BFD                           |
//! | `router`   | the routers' tables, and what other PoPs see of them                    |
//! | `oracle`   | the rules                                                               |
//! | `shrink`   | from a schedule that breaks a rule to the least that does               |
//! | `history`  | what happened, for scenarios                                            |
//! | `trace`    | what happened, for people                                               |

mod clock;
mod configured;
mod fault;
mod history;
mod host;
mod inject;
mod net;
mod oracle;
mod probes;
mod queue;
mod random;
mod router;
mod shape;
mod shrink;
mod trace;
mod world;

pub use clock::{MS, Nanos, SECOND};
pub use fault::{App, Direction, Fault, FaultKind, Revision, Stray, Verb, schedule};
pub use history::{Fact, Gone, History};
pub use oracle::{Rule, Violation};
pub use shape::{DampingShape, GroupShape, MOST_BACKENDS, MOST_POPS, Shape};
pub use shrink::{Case, shrink};
pub use world::World;
