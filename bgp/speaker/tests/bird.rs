//! Interoperation with a real BIRD 2, unprivileged, on loopback addresses.
//!
//! "Established" proves nothing: each test asserts what is in BIRD's table.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

mod common;

use std::{
    fmt::Write as _,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use common::{
    DEADLINE, OUR_AS, V4, V6, announcement, attributes, event, free_port, own_address, peer, plain, prefix,
    received, received_count,
};
use proxima_bgp_speaker::{
    Leave, PeerRoute, Problem, Route, Speaker, SpeakerConfig, SpeakerEvent, SpeakerHandle, State, Unusable,
    UpdateContent,
};
use proxima_types::{Asn, Family};
use tokio::process::{Child, Command};

const BIRD_AS: u32 = 65002;

/// A running BIRD with one BGP protocol towards us.
struct Bird {
    process: Child,
    folder: tempfile::TempDir,
    address: SocketAddr,
    /// Where BIRD expects us.
    us: IpAddr,
    our_port: u16,
}

/// How a BIRD differs from the usual one.
struct Setup<'a> {
    /// Its AS and ours.
    ases: (u32, u32),
    /// Goes into both channels.
    channel: &'a str,
    /// Goes into the BGP protocol.
    protocol: &'a str,
    /// Goes into the file.
    extra: &'a str,
}

impl Default for Setup<'_> {
    fn default() -> Self {
        Self { ases: (BIRD_AS, OUR_AS.0), channel: "import all; export none;", protocol: "", extra: "" }
    }
}

impl Bird {
    async fn start() -> Self {
        Self::start_with(Setup::default()).await
    }

    async fn start_with(Setup { ases: (theirs, ours), channel, protocol, extra }: Setup<'_>) -> Self {
        let (bird, us) = (own_address(), own_address());
        let address = SocketAddr::new(bird, free_port(bird));
        let our_port = free_port(us);
        let folder = tempfile::tempdir().unwrap();
        let mut text = String::new();
        write!(
            text,
            r#"
            log "{folder}/bird.log" all;
            router id 192.0.2.1;
            protocol device {{ }}
            {extra}
            protocol bgp proxima {{
                debug all;
                local {bird} port {port} as {theirs};
                neighbor {us} port {our_port} as {ours};
                {protocol}
                multihop; strict bind yes;
                connect delay time 1; connect retry time 1; error wait time 1, 2;
                ipv4 {{ {channel} }};
                ipv6 {{ {channel} next hop address fd00::1; }};
            }}
            "#,
            folder = folder.path().display(),
            port = address.port(),
        )
        .unwrap();
        std::fs::write(folder.path().join("bird.conf"), &text).unwrap();
        let process = launch(&folder);
        let bird = Self { process, folder, address, us, our_port };
        bird.until("BIRD to answer", "show status", |answer| answer.contains("Daemon is up")).await;
        bird
    }

    /// Our configuration towards it.
    fn speaker(&self) -> SpeakerConfig {
        common::speaker(vec![peer("bird", self.address, BIRD_AS, self.us)])
    }

    fn our_address(&self) -> SocketAddr {
        SocketAddr::new(self.us, self.our_port)
    }

    async fn birdc(&self, command: &str) -> String {
        let output = Command::new("birdc")
            .arg("-s")
            .arg(self.folder.path().join("bird.ctl"))
            .args(command.split(' '))
            .stdin(Stdio::null())
            .output()
            .await
            .expect("birdc comes with the Debian package bird2: apt-get install bird2");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Asks until the answer is as wanted.
    async fn until(&self, what: &str, command: &str, wanted: impl Fn(&str) -> bool) -> String {
        let start = Instant::now();
        loop {
            let answer = self.birdc(command).await;
            if wanted(&answer) {
                return answer;
            }
            assert!(
                start.elapsed() < DEADLINE,
                "waited in vain for {what}; `{command}` says:\n{answer}\nlog:\n{}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn until_route(&self, prefix: &str, wanted: impl Fn(&str) -> bool) -> String {
        self.until(prefix, &format!("show route {prefix} all"), |answer| {
            answer.contains(prefix) && wanted(answer)
        })
        .await
    }

    async fn until_no_route(&self, prefix: &str) {
        let command = format!("show route {prefix} all");
        self.until(&format!("{prefix} to go"), &command, |answer| answer.contains("Network not found")).await;
    }

    /// What BIRD logged, and what it said when it did not start.
    fn log(&self) -> String {
        let read = |name| std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        read("bird.log") + &read("bird.err")
    }

    /// Kills it without a word and starts it again with the same configuration.
    async fn restart(&mut self) {
        self.process.kill().await.unwrap();
        self.process = launch(&self.folder);
    }
}

fn launch(folder: &tempfile::TempDir) -> Child {
    let file = |name| folder.path().join(name);
    let program = if PathBuf::from("/usr/sbin/bird").exists() { "/usr/sbin/bird" } else { "bird" };
    Command::new(program)
        .arg("-f")
        .arg("-c")
        .arg(file("bird.conf"))
        .arg("-s")
        .arg(file("bird.ctl"))
        .arg("-P")
        .arg(file("bird.pid"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(file("bird.err")).unwrap())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| {
            panic!(
                "cannot start {program} ({error}): install the Debian package bird2 (apt-get install bird2)"
            )
        })
}

async fn established(handle: &SpeakerHandle) {
    let up = handle.wait_for("bird", |status| status.session.state == State::Established);
    common::within("Established", up).await.unwrap();
}

#[tokio::test]
async fn bird_holds_exactly_what_is_desired_with_its_attributes() {
    let bird = Bird::start().await;
    let (handle, _events) = Speaker::start(bird.speaker()).unwrap();
    let chosen = attributes(0, Some(50), &["64512:100"]);
    handle.set_desired(vec![announcement(V4, chosen.clone()), announcement(V6, chosen)]).unwrap();

    let route = bird.until_route(V4, |_| true).await;
    let us = bird.us.to_string();
    for line in ["BGP.origin: IGP", "BGP.as_path: 64512\n", "BGP.med: 50", "BGP.community: (64512,100)"] {
        assert!(route.contains(line), "{line} not in\n{route}");
    }
    assert!(route.contains(&format!("BGP.next_hop: {us}")), "{route}");
    assert!(route.contains("BGP.local_pref: 100"), "BIRD's own default, none from an external peer\n{route}");
    let route = bird.until_route(V6, |_| true).await;
    assert!(route.contains("BGP.next_hop: fd00::2"), "{route}");

    // De-preferred.
    let worse = attributes(2, Some(200), &["64512:666", "graceful-shutdown"]);
    handle.set_desired(vec![announcement(V4, worse.clone()), announcement(V6, worse)]).unwrap();
    for prefix in [V4, V6] {
        let route = bird.until_route(prefix, |route| route.contains("BGP.med: 200")).await;
        assert!(route.contains("BGP.as_path: 64512 64512 64512\n"), "{route}");
        assert!(route.contains("BGP.community: (64512,666) (65535,0)"), "{route}");
    }

    // One withdrawn, the other untouched.
    handle.set_desired(vec![plain(V6)]).unwrap();
    bird.until_no_route(V4).await;
    bird.until_route(V6, |route| !route.contains("BGP.med")).await;
    handle.set_desired(Vec::new()).unwrap();
    bird.until_no_route(V6).await;
    let status = handle.peers().remove(0);
    assert_eq!(status.session.state, State::Established);
    assert_eq!(status.session.counters.flaps, 0);
}

#[tokio::test]
async fn end_of_rib_reaches_bird_once_released_and_not_before() {
    let bird = Bird::start().await;
    let (handle, _events) = Speaker::start(bird.speaker()).unwrap();
    handle.set_desired(vec![plain(V4)]).unwrap();
    bird.until_route(V4, |_| true).await;
    assert!(!bird.log().contains("Got END-OF-RIB"), "{}", bird.log());
    handle.release_end_of_rib();
    // For both families, the one without a route too.
    bird.until("End-of-RIB", "show status", |_| bird.log().matches("Got END-OF-RIB").count() == 2).await;
}

#[tokio::test]
async fn a_process_that_dies_takes_its_routes_with_it() {
    let bird = Bird::start().await;
    let (handle, _events) = Speaker::start(bird.speaker()).unwrap();
    handle.set_desired(vec![plain(V4), plain(V6)]).unwrap();
    bird.until_route(V4, |_| true).await;
    bird.until_route(V6, |_| true).await;
    // What the kernel does for a killed process: the sockets close, nothing is said.
    drop(handle);
    bird.until_no_route(V4).await;
    bird.until_no_route(V6).await;
    assert!(!bird.log().contains("Received: "), "no NOTIFICATION was sent\n{}", bird.log());
}

#[tokio::test]
async fn stop_withdraws_and_tells_the_operator_why() {
    let bird = Bird::start().await;
    let (handle, _events) = Speaker::start(bird.speaker()).unwrap();
    handle.set_desired(vec![plain(V4)]).unwrap();
    bird.until_route(V4, |_| true).await;
    common::within("stop", handle.stop(Leave::Stop { reason: "maintenance of fra1".to_owned() })).await;
    bird.until_no_route(V4).await;
    bird.until("the reason", "show status", |_| {
        let log = bird.log();
        log.contains("Administrative shutdown") && log.contains("maintenance of fra1")
    })
    .await;
}

#[tokio::test]
async fn bird_may_connect_to_us_and_routes_come_back_when_it_restarts() {
    let mut bird = Bird::start().await;
    let mut config = bird.speaker();
    config.listen = vec![bird.our_address()];
    config.peers[0].passive = true;
    let (handle, _events) = Speaker::start(config).unwrap();
    handle.set_desired(vec![plain(V4)]).unwrap();
    bird.until_route(V4, |_| true).await;
    bird.restart().await;
    bird.until_route(V4, |_| true).await;
    assert_eq!(handle.peers()[0].session.counters.flaps, 1);
}

#[tokio::test]
async fn one_session_stands_where_both_sides_may_connect() {
    let bird = Bird::start().await;
    let mut config = bird.speaker();
    config.listen = vec![bird.our_address()];
    let (handle, _events) = Speaker::start(config).unwrap();
    handle.set_desired(vec![plain(V4), plain(V6)]).unwrap();
    established(&handle).await;
    bird.until_route(V4, |_| true).await;
    bird.until_route(V6, |_| true).await;
}

#[tokio::test]
async fn routes_of_another_pop_of_our_as_are_seen_and_do_no_harm() {
    let routes = "
        protocol static v4 { ipv4; route 198.51.100.0/24 unreachable; route 203.0.113.0/24 unreachable; }
        protocol static v6 { ipv6; route 2001:db8:e::/48 unreachable; }
        filter looping { if net = 203.0.113.0/24 then bgp_path.prepend(64512); accept; }
    ";
    let bird = Bird::start_with(Setup {
        channel: "import all; export filter looping;",
        extra: routes,
        ..Setup::default()
    })
    .await;
    let (handle, mut events) = Speaker::start(bird.speaker()).unwrap();
    handle.set_desired(vec![plain(V4)]).unwrap();
    let all = handle.wait_for("bird", |status| received_count(status) == 3);
    let status = common::within("three routes", all).await.unwrap();
    assert_eq!(status.families().len(), 2);
    assert!(!status.capabilities().is_empty());

    let received = received(&handle, "bird").await;
    let as_loop = |route: &Route| route.unusable == Some(Unusable::AsLoop);
    let loops: Vec<_> =
        received.iter().map(|PeerRoute { route, .. }| (route.prefix.to_string(), as_loop(route))).collect();
    let expected = [("198.51.100.0/24", false), (V4, true), ("2001:db8:e::/48", false)];
    assert_eq!(loops, expected.map(|(prefix, looped)| (prefix.to_owned(), looped)));
    assert_eq!(received[0].route.shared.attributes.as_path.to_string(), "65002");

    // Ours went out, theirs did not come back.
    bird.until_route(V4, |route| route.contains("BGP.as_path: 64512\n")).await;
    let advertised = handle.advertised("bird").await.unwrap();
    assert_eq!(advertised.iter().map(|(prefix, _)| *prefix).collect::<Vec<_>>(), [prefix(V4)]);
    event("the connection's ends", &mut events, |event| {
        let ends = |local: SocketAddr, remote| (local.ip(), remote) == (bird.us, bird.address);
        matches!(event, SpeakerEvent::Connected { local, remote, .. } if ends(local, remote)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_internal_bird_gets_local_pref_and_an_empty_path() {
    let bird = Bird::start_with(Setup { ases: (OUR_AS.0, OUR_AS.0), ..Setup::default() }).await;
    let mut config = bird.speaker();
    config.peers[0].remote_as = OUR_AS;
    let (handle, _events) = Speaker::start(config).unwrap();
    handle.set_desired(vec![announcement(V4, attributes(3, Some(7), &[]))]).unwrap();
    let route = bird.until_route(V4, |_| true).await;
    assert!(route.contains("BGP.as_path: \n") && route.contains("BGP.local_pref: 100"), "{route}");
    assert!(route.contains("BGP.med: 7"), "{route}");
}

#[tokio::test]
async fn four_octet_as_numbers_reach_bird_unchanged() {
    let ours = 4_200_000_001;
    let bird = Bird::start_with(Setup { ases: (4_200_000_002, ours), ..Setup::default() }).await;
    let mut config = bird.speaker();
    config.local_as = Asn(ours);
    config.peers[0].remote_as = Asn(4_200_000_002);
    let (handle, _events) = Speaker::start(config).unwrap();
    handle.set_desired(vec![announcement(V4, attributes(1, None, &[])), plain(V6)]).unwrap();
    let route = bird.until_route(V4, |_| true).await;
    assert!(route.contains("BGP.as_path: 4200000001 4200000001\n"), "{route}");
    bird.until_route(V6, |_| true).await;
}

#[tokio::test]
async fn a_bird_without_capabilities_still_gets_ipv4() {
    let bird = Bird::start_with(Setup { protocol: "capabilities off;", ..Setup::default() }).await;
    let (handle, mut events) = Speaker::start(bird.speaker()).unwrap();
    handle.set_desired(vec![plain(V4), plain(V6)]).unwrap();
    let route = bird.until_route(V4, |_| true).await;
    assert!(route.contains("BGP.as_path: 64512\n"), "{route}");
    let problem = event("the missing family", &mut events, |event| match event {
        SpeakerEvent::Problem { problem, .. } => Some(problem),
        _ => None,
    });
    assert_eq!(problem.await, Problem::FamilyNotOffered(Family::Ipv6));
    assert_eq!(handle.peers()[0].families(), [Family::Ipv4]);
    bird.until_no_route(V6).await;
}

#[tokio::test]
async fn a_withdrawal_is_in_the_socket_before_its_task_waits_for_anything() {
    /// How often other tasks get to run: that of the peer, and those of the table and of the events beside it.
    const TURNS: usize = 8;
    let bird = Bird::start().await;
    let (handle, mut events) = Speaker::start(bird.speaker()).unwrap();
    established(&handle).await;
    for _ in 0..50 {
        handle.set_desired(vec![plain(V4), plain(V6)]).unwrap();
        let sent = |event: SpeakerEvent| match event {
            SpeakerEvent::UpdateSent { content, .. } => Some(content),
            _ => None,
        };
        event("announcement", &mut events, sent).await;
        event("announcement", &mut events, sent).await;
        handle.set_desired(Vec::new()).unwrap();
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
        }
        let written: Vec<_> = std::iter::from_fn(|| events.try_recv()).filter_map(sent).collect();
        assert!(
            matches!(written.as_slice(), [UpdateContent::Withdrawn(_), UpdateContent::Withdrawn(_)]),
            "{written:?}"
        );
    }
}
