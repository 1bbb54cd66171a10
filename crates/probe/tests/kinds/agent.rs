//! Agents: small servers that say a line, as HAProxy's manual has it.

use std::{
    net::{SocketAddr, TcpListener},
    num::NonZeroU16,
    sync::{Arc, Mutex},
};

use proxima_health::{Failure, Reason};
use proxima_probe::ProbeKind;
use proxima_probe_kind::Agent as Settings;
use proxima_types::Health;

use crate::support::{Probing, fails, server::address};

/// An agent that says what it is told to say.
struct Agent {
    address: SocketAddr,
    line: Arc<Mutex<String>>,
}

impl Agent {
    fn saying(line: &str) -> Self {
        let line = Arc::new(Mutex::new(line.to_owned()));
        let listener = TcpListener::bind(address()).unwrap();
        let address = listener.local_addr().unwrap();
        let said = Arc::clone(&line);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let line = said.lock().unwrap().clone();
                let _ = std::io::Write::write_all(&mut stream.unwrap(), line.as_bytes());
            }
        });
        Self { address, line }
    }

    fn say(&self, line: &str) {
        line.clone_into(&mut self.line.lock().unwrap());
    }
}

const OWN_PORT: ProbeKind = ProbeKind::Agent(Settings { port: None, send: None });

#[tokio::test]
async fn a_share_is_told_when_it_changes_and_full_is_taken_for_granted() {
    let agent = Agent::saying("up 75%\n");
    let mut probing = Probing::often(agent.address, OWN_PORT);
    assert_eq!(probing.share().await, 75);
    probing.up().await;
    agent.say("ready 20%\n");
    assert_eq!(probing.share().await, 20);
    agent.say("drain\n");
    assert_eq!(probing.share().await, 0);
    agent.say("ready\n");
    assert_eq!(probing.share().await, 100);
}

#[tokio::test]
async fn an_agent_on_a_port_of_its_own_speaks_for_the_backend() {
    let (agent, app) = (Agent::saying("up\n"), address());
    let port = NonZeroU16::new(agent.address.port());
    let mut probing =
        Probing::often(app, ProbeKind::Agent(Settings { port, send: Some("app\n".to_owned()) }));
    probing.up().await;
    agent.say("down # disk full\n");
    assert_eq!(probing.failure().await.to_string(), "the app refuses: the agent says down: disk full");
}

#[tokio::test]
async fn what_is_no_agent_and_what_is_not_there_fail_the_probe() {
    let stranger = Agent::saying("SSH-2.0-OpenSSH_9.2\r\n");
    let failure = fails(stranger.address, OWN_PORT).await;
    assert!(failure.contains("SSH-2.0-OpenSSH_9.2"), "{failure}");
    let (to, reason) = Probing::often(address(), OWN_PORT).verdict().await;
    assert_eq!(to, Health::Down);
    assert_eq!(reason, Reason::Refused { probe: Failure::Refused, confirm: Failure::Refused });
}
