//! The tasks that tell others what the peers say: one for each BMP station, one for the table dumps.

use std::{collections::BTreeMap, net::Ipv4Addr, sync::Arc};

use proxima_types::StationName;
use tokio::{sync::watch, task::JoinSet, time::timeout};

use crate::{BmpConfig, MrtConfig, bmp, mrt, peer::LEAVE_TIME, rib::StationId, roster::Roster};

/// Those tasks. They end when this is dropped.
pub(crate) struct Watchers {
    router_id: Ipv4Addr,
    stations: BTreeMap<StationName, Station>,
    /// Numbers are never used twice: what is told to a station that is gone reaches no other.
    next: StationId,
    dumps: Option<(MrtConfig, JoinSet<()>)>,
}

struct Station {
    config: BmpConfig,
    ending: watch::Sender<bool>,
    task: JoinSet<()>,
}

impl Watchers {
    pub(crate) fn new(router_id: Ipv4Addr) -> Self {
        Self { router_id, stations: BTreeMap::new(), next: 0, dumps: None }
    }

    /// Begins what is not there yet.
    pub(crate) fn begin(&mut self, bmp: Vec<BmpConfig>, mrt: Option<MrtConfig>, roster: &Arc<Roster>) {
        for config in bmp {
            if self.stations.contains_key(&config.name) {
                continue;
            }
            let (ending, ends) = watch::channel(false);
            let mut task = JoinSet::new();
            task.spawn(bmp::run(config.clone(), self.next, roster.rib().clone(), ends));
            self.next += 1;
            self.stations.insert(config.name.clone(), Station { config, ending, task });
        }
        if let (Some(config), None) = (mrt, &self.dumps) {
            let peers = Arc::downgrade(roster);
            let peers = move || peers.upgrade().map_or_else(Vec::new, |roster| roster.ids());
            let mut task = JoinSet::new();
            task.spawn(mrt::run(config.clone(), self.router_id, roster.rib().clone(), peers));
            self.dumps = Some((config, task));
        }
    }

    /// Ends what is not among these, or is otherwise. Stations are told that this is the end, within a deadline.
    pub(crate) async fn keep(&mut self, bmp: &[BmpConfig], mrt: Option<&MrtConfig>) {
        let mut gone = Vec::new();
        let stations = std::mem::take(&mut self.stations);
        for (name, station) in stations {
            if bmp.contains(&station.config) {
                self.stations.insert(name, station);
            } else {
                station.ending.send_replace(true);
                gone.push(station);
            }
        }
        let ended = async {
            for station in &mut gone {
                while station.task.join_next().await.is_some() {}
            }
        };
        // Who has not ended by then is dropped with its task.
        timeout(LEAVE_TIME, ended).await.ok();
        self.dumps.take_if(|(config, _)| Some(&*config) != mrt);
    }

    /// Ends everything.
    pub(crate) async fn end(&mut self) {
        self.keep(&[], None).await;
    }
}
