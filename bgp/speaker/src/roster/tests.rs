//! A task that is stuck.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use proxima_bgp_rib::BestPathRules;
use proxima_bgp_session::{AllowList, Input, Leave, Session, Settings};
use proxima_types::Asn;
use tokio::sync::{mpsc, watch};

use super::*;
use crate::{HandOverError, Speaker, SpeakerConfig};

impl Roster {
    /// A peer whose task never looks at its commands, which are returned.
    fn add_stuck(&self, name: &str) -> mpsc::Receiver<Command> {
        let remote = Remote::address(Ipv4Addr::LOCALHOST.into());
        let config = PeerConfig::new(name.parse().unwrap(), remote, Asn(65000));
        let mut session =
            Session::new(Settings::new(Asn(64512), Ipv4Addr::LOCALHOST, Asn(65000)), Instant::now(), 1);
        session.handle(Instant::now(), Input::Stop(Leave::Restart));
        let status = PeerStatus::new(&config, None, session.status(), Instant::now());
        let (commands, taken) = mpsc::channel(COMMAND_QUEUE);
        let port = PeerPort {
            id: PeerId(1000),
            name: config.name.clone(),
            commands,
            status: watch::channel(status).1,
            accepted: mpsc::channel(ACCEPT_QUEUE).0,
            neighbour: None,
        };
        self.lock().entries.push(Entry { config, kind: Kind::Session(port) });
        taken
    }
}

#[tokio::test]
async fn a_task_that_does_not_answer_calls_a_hand_over_off() {
    let (handle, _events) = Speaker::start(SpeakerConfig {
        local_as: Asn(64512),
        router_id: Ipv4Addr::new(192, 0, 2, 11),
        hold_time: Duration::from_secs(9),
        connect_retry: Duration::from_millis(200),
        listen: vec![SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0)],
        peers: Vec::new(),
        allow_list: AllowList::default(),
        best_path: BestPathRules::default(),
        bmp: Vec::new(),
        mrt: None,
    })
    .unwrap();
    let mut commands = handle.roster().add_stuck("stuck");
    let error = handle.hand_over().await.map(|_| ()).unwrap_err();
    assert_eq!(error, HandOverError::Busy("stuck".parse().unwrap()));
    assert!(*handle.roster().accepting.borrow(), "who comes is let in again");
    // Whenever it gets there, it goes on at once.
    let Some(Command::HandOver(_, mut end)) = commands.recv().await else { panic!("asked to") };
    assert!(end.changed().await.is_err());
}
