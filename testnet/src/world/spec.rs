//! A world's description: TOML in, checked types out.

use std::{collections::BTreeSet, time::Duration};

use proxima_types::Prefix;
use serde::{Deserialize, Deserializer, de};

use crate::error::{Error, Result};

/// The addressing plan has one digit for a region and one for an app.
const MAX_REGIONS: usize = 9;
const MAX_APPS: u8 = 9;
/// `w-NAME` must fit the kernel's 15 characters of an interface name.
const MAX_REGION_NAME: usize = 13;

/// What a world consists of.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorldSpec {
    /// The world's name.
    pub name: String,
    /// The prefixes every PoP announces while its region is healthy.
    pub anycast: Group,
    /// Prefixes that belong to one region and are never served from outside its jurisdiction.
    #[serde(default)]
    pub pinned: Vec<Pinned>,
    /// The regions, in the order of the addressing plan.
    pub regions: Vec<RegionSpec>,
    /// The links between the regions' routers.
    pub wan: Vec<WanSpec>,
    /// What the daemons are told beyond the usual.
    #[serde(default)]
    pub daemon: DaemonSpec,
}

/// Settings of all daemons; by default none of these.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct DaemonSpec {
    /// The share of a region that has to serve, or it is made less attractive.
    pub degraded_below: f64,
    /// BFD between each PoP and its router: 100 ms, five times.
    pub bfd: bool,
    /// How long an app may take to the first byte of an answer before another is asked.
    #[serde(deserialize_with = "some_duration")]
    pub first_byte: Option<Duration>,
    /// Never the last announcer to leave: how long a PoP is marked as leaving before it does. Routers then tell their PoP
    /// every route they have.
    #[serde(deserialize_with = "some_duration")]
    pub guard: Option<Duration>,
}

/// An announcement group.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// The group's name in the daemon's config.
    pub name: String,
    /// Its prefixes. The first address of each (`….1`) is the VIP.
    pub prefixes: Vec<Prefix>,
}

impl Default for DaemonSpec {
    fn default() -> Self {
        Self { degraded_below: 0.8, bfd: false, first_byte: None, guard: None }
    }
}

/// A group of one region.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pinned {
    /// The group's name in the daemon's config.
    pub name: String,
    /// The only region that announces it.
    pub region: String,
    /// Its prefixes. The first address of each (`….1`) is the VIP.
    pub prefixes: Vec<Prefix>,
}

/// One region: a router, a PoP host, a client host and app servers.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegionSpec {
    /// The region's name; at most 13 characters.
    pub name: String,
    /// The jurisdiction its backends are in.
    pub jurisdiction: String,
    /// The AS number of its router.
    pub asn: u32,
    /// How many app servers it has: 1 to 9.
    pub apps: u8,
    /// How its PoP probes.
    #[serde(default)]
    pub probe: ProbeSpec,
    /// Its app servers hang on emulated lines, which can be made to lose packets.
    #[serde(default, rename = "app-lines")]
    pub app_lines: bool,
    /// The least time its PoP stays withdrawn.
    #[serde(default = "one_second", rename = "hold-down", deserialize_with = "duration")]
    pub hold_down: Duration,
    /// Its PoP damps flaps: half-life 10 s, held back from a penalty of 1.5 on until 1, which the second flap comes to.
    #[serde(default)]
    pub damped: bool,
}

/// How a PoP probes the app servers of all regions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProbeSpec {
    /// From one probe to the next.
    #[serde(deserialize_with = "duration")]
    pub interval: Duration,
    /// For the whole probe.
    #[serde(deserialize_with = "duration")]
    pub timeout: Duration,
    /// Soft failures in a row that make a backend down.
    pub fall: u16,
}

impl Default for ProbeSpec {
    fn default() -> Self {
        Self { interval: Duration::from_secs(1), timeout: Duration::from_secs(1), fall: 3 }
    }
}

/// A link between two regions' routers.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WanSpec {
    /// The two regions.
    pub between: [String; 2],
    /// One-way delay.
    #[serde(deserialize_with = "duration")]
    pub delay: Duration,
    /// Each packet takes up to this much longer, evenly spread.
    #[serde(default, deserialize_with = "duration")]
    pub jitter: Duration,
    /// The share of packets lost in each direction: 0 to 1.
    #[serde(default)]
    pub loss: f64,
}

impl WorldSpec {
    /// The demo's world: us-east, eu and apac.
    pub fn three_regions() -> Self {
        include_str!("../../worlds/three-regions.toml")
            .parse()
            .expect("the built-in world is checked by a test")
    }

    /// The faults' world: the same regions closer together, probed faster, with BFD.
    pub fn faults() -> Self {
        include_str!("../../worlds/faults.toml").parse().expect("the built-in world is checked by a test")
    }

    /// The world of faults that concern every PoP: each is guarded.
    pub fn guarded() -> Self {
        include_str!("../../worlds/guarded.toml").parse().expect("the built-in world is checked by a test")
    }

    fn check(&self) -> Result<()> {
        let wrong = |text: String| Err(Error::Spec(text));
        if self.regions.is_empty() || self.regions.len() > MAX_REGIONS {
            return wrong(format!("it has {} regions; 1 to {MAX_REGIONS} are possible", self.regions.len()));
        }
        let mut names = BTreeSet::new();
        for region in &self.regions {
            let name = &region.name;
            if !names.insert(name.as_str()) {
                return wrong(format!("region `{name}` is there twice"));
            }
            if name.is_empty() || name.len() > MAX_REGION_NAME {
                return wrong(format!("region name `{name}` must have 1 to {MAX_REGION_NAME} characters"));
            }
            if region.apps == 0 || region.apps > MAX_APPS {
                return wrong(format!(
                    "region `{name}` has {} apps; 1 to {MAX_APPS} are possible",
                    region.apps
                ));
            }
        }
        let mut pairs = BTreeSet::new();
        for wan in &self.wan {
            let [a, b] = &wan.between;
            if let Some(stranger) = wan.between.iter().find(|name| !names.contains(name.as_str())) {
                return wrong(format!("a WAN link goes to `{stranger}`, which is no region"));
            }
            if a == b || !pairs.insert(if a < b { (a, b) } else { (b, a) }) {
                return wrong(format!(
                    "the WAN link between `{a}` and `{b}` is there twice or leads to itself"
                ));
            }
            if !(0.0..=1.0).contains(&wan.loss) {
                return wrong(format!("a loss of {} is not between 0 and 1", wan.loss));
            }
        }
        if let Some(pinned) = self.pinned.iter().find(|pinned| !names.contains(pinned.region.as_str())) {
            return wrong(format!(
                "group `{}` is pinned to `{}`, which is no region",
                pinned.name, pinned.region
            ));
        }
        Ok(())
    }
}

impl std::str::FromStr for WorldSpec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let spec: Self = toml::from_str(text).map_err(|error| Error::Spec(error.to_string()))?;
        spec.check()?;
        Ok(spec)
    }
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: Option<u64> = number.parse().ok();
    match (number, unit) {
        (Some(n), "us") => Ok(Duration::from_micros(n)),
        (Some(n), "ms") => Ok(Duration::from_millis(n)),
        (Some(n), "s") => Ok(Duration::from_secs(n)),
        _ => Err(de::Error::custom(format!("`{text}` is not a duration; write 200us, 40ms or 1s"))),
    }
}

fn one_second() -> Duration {
    Duration::from_secs(1)
}

fn some_duration<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_faults_worlds_have_what_the_usual_one_does_without() {
        let (faults, guarded, usual) =
            (WorldSpec::faults(), WorldSpec::guarded(), WorldSpec::three_regions());
        assert!(faults.daemon.bfd && faults.daemon.first_byte.is_some() && guarded.daemon.guard.is_some());
        let lossy = faults.regions.iter().find(|region| region.app_lines).unwrap();
        assert!(lossy.damped && lossy.hold_down > usual.regions[0].hold_down);
        assert_eq!((usual.daemon, usual.regions[0].probe), (DaemonSpec::default(), ProbeSpec::default()));
    }

    #[test]
    fn the_built_in_world_is_a_full_mesh_of_three_regions() {
        let spec = WorldSpec::three_regions();
        let names: Vec<_> = spec.regions.iter().map(|r| r.name.as_str()).collect();
        assert_eq!(names, ["us-east", "eu", "apac"]);
        assert_eq!(spec.wan.len(), 3);
        assert_eq!(spec.wan[0].delay, Duration::from_millis(40));
    }

    #[test]
    fn a_description_that_does_not_hold_together_is_refused_with_the_offending_value() {
        let good = include_str!("../../worlds/three-regions.toml");
        let table = [
            (r#"["eu", "apac"]"#, r#"["eu", "mars"]"#, "`mars`"),
            (r#"["eu", "apac"]"#, r#"["eu", "us-east"]"#, "twice"),
            ("apps = 2", "apps = 0", "0 apps"),
            (r#""120ms""#, r#""120 parsecs""#, "120 parsecs"),
            (r#"region = "eu""#, r#"region = "moon""#, "`moon`"),
            (r#"name = "apac""#, r#"name = "a-very-long-name""#, "13 characters"),
        ];
        for (from, to, expected) in table {
            assert!(good.contains(from), "{from} is not in the built-in world any more");
            let error = good.replacen(from, to, 1).parse::<WorldSpec>().unwrap_err().to_string();
            assert!(error.contains(expected), "{to}: {error}");
        }
    }
}
