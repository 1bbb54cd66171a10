//! Who owns a flow, and what becomes of its packets.
//!
//! A flow is *local* (this core never hears of it), *asked for* (a reset waits for the other PoPs' answers) or
//! *diverted* (its packets are carried to the PoP that owns it). A new connection with the addresses and ports
//! of a diverted flow ends the diversion: the packet filter sees its SYN.
//!
//! PoPs tell each other that they run. A PoP that falls silent owns nothing any more: it is not asked, and the next
//! packet of a flow that was diverted to it goes to the own kernel, whose reset then tells the client.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    time::{Duration, Instant},
};

use proxima_types::Prefix;

use crate::{
    message::Message,
    packet::{Flow, Segment},
};

/// A PoP in the order of the configuration.
pub type PeerIndex = usize;

/// Bounds of time and memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long a reset waits for answers; at least a round trip to the farthest PoP.
    pub answer_within: Duration,
    /// How many flows may be asked for at once; a reset beyond goes out at once.
    pub asked: usize,
    /// How many flows may be asked for within [`WINDOW`], so that a flood of stray packets costs the other PoPs little; a
    /// reset beyond goes out at once.
    pub asked_per_window: u32,
    /// How many flows may be diverted at once; a reset beyond goes out at once.
    pub diverted: usize,
    /// A diverted flow without a packet for so long is forgotten; its next packet asks anew.
    pub idle: Duration,
    /// How often the other PoPs are told that this one runs.
    pub beat: Duration,
    /// A PoP that was not heard of for so long owns nothing any more.
    pub silence: Duration,
}

/// The time [`Limits::asked_per_window`] counts in.
pub const WINDOW: Duration = Duration::from_millis(100);

impl Default for Limits {
    fn default() -> Self {
        Self {
            answer_within: Duration::from_millis(500),
            asked: 4096,
            asked_per_window: 2000,
            diverted: 65_536,
            idle: Duration::from_mins(10),
            beat: Duration::from_millis(250),
            silence: Duration::from_millis(1500),
        }
    }
}

impl Limits {
    /// How long the packet filter may divert a flow after its last packet: less than [`idle`](Self::idle), because a
    /// packet of a flow that only the filter remembers would go nowhere.
    pub fn diverted_for(&self) -> Duration {
        self.idle / 2
    }
}

/// What happens to the core.
#[derive(Debug, PartialEq, Eq)]
pub enum Input<'a> {
    /// A packet the kernel's packet filter diverted: a reset for want of a socket, or one of a diverted flow.
    Packet(&'a [u8]),
    /// A message of another PoP.
    Message(PeerIndex, Message<'a>),
    /// The answer to [`Output::LookUp`]: whether this PoP's kernel has the connection.
    LookedUp {
        /// Who wants to know.
        peer: PeerIndex,
        /// The flow that was looked up.
        flow: Flow,
        /// Whether there is a connection; a listener is none.
        owned: bool,
    },
}

/// What the driver has to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Send a query to this PoP.
    Query(PeerIndex, Flow),
    /// Tell this PoP that we run.
    Beat(PeerIndex),
    /// Answer this PoP's query.
    Answer(PeerIndex, Flow, bool),
    /// Carry this packet to the PoP that owns its flow.
    Carry(PeerIndex, Vec<u8>),
    /// Ask the kernel whether it has a connection for this flow.
    LookUp(PeerIndex, Flow),
    /// Have the packet filter divert this flow from now on.
    Divert(Flow),
    /// Hand this packet to the own kernel.
    Inject(Vec<u8>),
    /// Send this reset to the client after all.
    Release(Vec<u8>),
}

/// Counts since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Resets that made us ask the other PoPs.
    pub asked: u64,
    /// Flows found to be another PoP's.
    pub diverted: u64,
    /// Packets carried to other PoPs.
    pub carried: u64,
    /// Packets of other PoPs handed to the own kernel.
    pub injected: u64,
    /// Resets sent after all: nobody owned the flow, or nobody answered.
    pub released: u64,
    /// Packets and messages dropped for what they were: no TCP, no VIP, a stranger's.
    pub dropped: u64,
}

/// The core; see the [crate's page](crate) for what it is for.
#[derive(Debug)]
pub struct Catchment {
    vips: Vec<Prefix>,
    peers: Vec<Peer>,
    limits: Limits,
    /// When the last beats went out, and this core last looked at the clock.
    beaten: Option<Instant>,
    asked: HashMap<Flow, Asked>,
    /// When the current window began, and how many flows were asked for in it.
    window: Option<(Instant, u32)>,
    deadlines: VecDeque<(Instant, Flow)>,
    diverted: HashMap<Flow, Diverted>,
    swept: Option<Instant>,
    outputs: VecDeque<Output>,
    stats: Stats,
}

#[derive(Debug, Clone, Copy)]
struct Peer {
    /// The last message, or when this core began to listen; none before it has.
    heard: Option<Instant>,
    alive: bool,
}

#[derive(Debug)]
struct Asked {
    reset: Vec<u8>,
    unanswered: Vec<PeerIndex>,
    deadline: Instant,
}

#[derive(Debug)]
struct Diverted {
    owner: PeerIndex,
    last_packet: Instant,
}

/// A reset of a flow that was diverted so recently was under way before the packet filter knew.
const IN_FLIGHT: Duration = Duration::from_secs(1);

impl Catchment {
    /// A core for these anycast prefixes, with so many other PoPs.
    pub fn new(vips: Vec<Prefix>, peers: usize, limits: Limits) -> Self {
        Self {
            vips,
            peers: vec![Peer { heard: None, alive: true }; peers],
            limits,
            beaten: None,
            asked: HashMap::new(),
            window: None,
            deadlines: VecDeque::new(),
            diverted: HashMap::new(),
            swept: None,
            outputs: VecDeque::new(),
            stats: Stats::default(),
        }
    }

    /// Takes one input in.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Packet(packet) => self.handle_packet(now, packet),
            Input::Message(peer, message) => {
                self.peers[peer] = Peer { heard: Some(now), alive: true };
                self.handle_message(now, peer, &message);
            }
            Input::LookedUp { peer, flow, owned } => {
                self.outputs.push_back(Output::Answer(peer, flow, owned));
            }
        }
    }

    /// Tells the other PoPs that this one runs, gives up those that are silent, lets go of resets whose time is over,
    /// and forgets idle flows.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.beat(now);
        while self.deadlines.front().is_some_and(|(deadline, _)| *deadline <= now) {
            let Some((deadline, flow)) = self.deadlines.pop_front() else { break };
            if self.asked.get(&flow).is_some_and(|asked| asked.deadline == deadline) {
                self.release(&flow);
            }
        }
        if self.swept.is_none_or(|swept| now >= swept + self.limits.idle) {
            self.diverted.retain(|_, diverted| now < diverted.last_packet + self.limits.idle);
            self.swept = Some(now);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let sweep = self.swept.filter(|_| !self.diverted.is_empty()).map(|swept| swept + self.limits.idle);
        let deadline = self.deadlines.front().map(|(deadline, _)| *deadline);
        [sweep, deadline, self.next_beat()].into_iter().flatten().min()
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Counts since the start.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// `None` before the first: the driver's first call of [`handle_timeout`](Self::handle_timeout) begins them.
    fn next_beat(&self) -> Option<Instant> {
        self.beaten.filter(|_| !self.peers.is_empty()).map(|beaten| beaten + self.limits.beat)
    }

    fn beat(&mut self, now: Instant) {
        if self.next_beat().is_some_and(|next| now < next) {
            return;
        }
        // Nobody could be heard while this process did not run.
        let unheard = self.beaten.is_none_or(|beaten| now >= beaten + self.limits.silence);
        self.beaten = Some(now);
        self.outputs.extend((0..self.peers.len()).map(Output::Beat));
        for peer in 0..self.peers.len() {
            let Peer { heard, alive } = &mut self.peers[peer];
            if unheard || heard.is_none() {
                *heard = Some(now);
            } else if *alive && heard.is_some_and(|heard| now >= heard + self.limits.silence) {
                *alive = false;
                self.give_up(peer);
            }
        }
    }

    /// A silent PoP answers no more questions.
    fn give_up(&mut self, peer: PeerIndex) {
        let mut unowned = Vec::new();
        for (flow, asked) in &mut self.asked {
            asked.unanswered.retain(|waiting| *waiting != peer);
            if asked.unanswered.is_empty() {
                unowned.push(*flow);
            }
        }
        for flow in unowned {
            self.release(&flow);
        }
    }

    fn handle_message(&mut self, now: Instant, peer: PeerIndex, message: &Message<'_>) {
        match message {
            Message::Query(flow) if self.is_vip(flow.vip.ip()) => {
                self.outputs.push_back(Output::LookUp(peer, *flow));
            }
            Message::Query(_) => self.stats.dropped += 1,
            Message::Answer { flow, owned } => self.handle_answer(now, peer, *flow, *owned),
            Message::Carry(packet) => self.handle_carried(packet),
            Message::Alive => {}
        }
    }

    fn handle_packet(&mut self, now: Instant, packet: &[u8]) {
        let Some(segment) = Segment::parse(packet) else {
            self.stats.dropped += 1;
            return;
        };
        if self.is_vip(segment.source.ip()) && segment.is_reset_for_want_of_a_socket() {
            self.handle_reset(now, Flow { client: segment.destination, vip: segment.source }, packet);
            return;
        }
        let flow = Flow { client: segment.source, vip: segment.destination };
        let owner = self.diverted.get_mut(&flow).filter(|diverted| self.peers[diverted.owner].alive);
        if let Some(diverted) = owner {
            diverted.last_packet = now;
            self.stats.carried += 1;
            self.outputs.push_back(Output::Carry(diverted.owner, packet.to_vec()));
        } else if self.is_vip(flow.vip.ip()) {
            self.diverted.remove(&flow);
            self.outputs.push_back(Output::Inject(packet.to_vec()));
        } else {
            self.stats.dropped += 1;
        }
    }

    fn handle_reset(&mut self, now: Instant, flow: Flow, reset: &[u8]) {
        if self.diverted.get(&flow).is_some_and(|diverted| now < diverted.last_packet + IN_FLIGHT) {
            self.stats.dropped += 1;
            return;
        }
        self.diverted.remove(&flow);
        if let Some(asked) = self.asked.get_mut(&flow) {
            reset.clone_into(&mut asked.reset);
            return;
        }
        let full = self.asked.len() >= self.limits.asked
            || self.diverted.len() >= self.limits.diverted
            || !self.has_question_left(now);
        let unanswered: Vec<_> = (0..self.peers.len()).filter(|peer| self.peers[*peer].alive).collect();
        if unanswered.is_empty() || full {
            self.stats.released += 1;
            self.outputs.push_back(Output::Release(reset.to_vec()));
            return;
        }
        let deadline = now + self.limits.answer_within;
        self.deadlines.push_back((deadline, flow));
        self.outputs.extend(unanswered.iter().map(|peer| Output::Query(*peer, flow)));
        self.asked.insert(flow, Asked { reset: reset.to_vec(), unanswered, deadline });
        self.stats.asked += 1;
    }

    /// Takes one of the window's questions.
    fn has_question_left(&mut self, now: Instant) -> bool {
        let (begun, taken) = self.window.filter(|(begun, _)| now < *begun + WINDOW).unwrap_or((now, 0));
        self.window = Some((begun, taken.saturating_add(1)));
        taken < self.limits.asked_per_window
    }

    fn handle_answer(&mut self, now: Instant, peer: PeerIndex, flow: Flow, owned: bool) {
        let Some(asked) = self.asked.get_mut(&flow) else { return };
        asked.unanswered.retain(|waiting| *waiting != peer);
        if owned {
            self.asked.remove(&flow);
            self.diverted.insert(flow, Diverted { owner: peer, last_packet: now });
            self.swept.get_or_insert(now);
            self.stats.diverted += 1;
            self.outputs.push_back(Output::Divert(flow));
        } else if asked.unanswered.is_empty() {
            self.release(&flow);
        }
    }

    fn handle_carried(&mut self, packet: &[u8]) {
        let wanted = Segment::parse(packet)
            .is_some_and(|segment| self.is_vip(segment.destination.ip()) && !segment.opens());
        if wanted {
            self.stats.injected += 1;
            self.outputs.push_back(Output::Inject(packet.to_vec()));
        } else {
            self.stats.dropped += 1;
        }
    }

    fn release(&mut self, flow: &Flow) {
        if let Some(asked) = self.asked.remove(flow) {
            self.stats.released += 1;
            self.outputs.push_back(Output::Release(asked.reset));
        }
    }

    fn is_vip(&self, address: IpAddr) -> bool {
        self.vips.iter().any(|prefix| prefix.contains(address))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::packet::tests::{RESET_V4, RESET_V6, bytes};

    fn core(peers: usize) -> Catchment {
        Catchment::new(
            vec!["10.9.0.2/32".parse().unwrap(), "fd09::2/128".parse().unwrap()],
            peers,
            Limits::default(),
        )
    }

    fn flow_v4() -> Flow {
        Flow { client: "10.9.0.1:1234".parse().unwrap(), vip: "10.9.0.2:80".parse().unwrap() }
    }

    /// The client's segment that made the kernel reset: the same packet, the other way round, with an ACK.
    fn from_client() -> Vec<u8> {
        let mut packet = bytes(RESET_V4);
        for (a, b) in [(12, 16), (13, 17), (14, 18), (15, 19), (20, 22), (21, 23)] {
            packet.swap(a, b);
        }
        packet[33] = 0x10;
        packet
    }

    /// All but the beats, which have tests of their own.
    fn outputs(core: &mut Catchment) -> Vec<Output> {
        let beat = |output: &Output| matches!(output, Output::Beat(_));
        std::iter::from_fn(|| core.poll_output()).filter(|output| !beat(output)).collect()
    }

    #[test]
    fn a_flow_another_pop_owns_is_diverted_there_and_its_reset_never_sent() {
        let (mut core, now) = (core(2), Instant::now());
        core.handle(now, Input::Packet(&bytes(RESET_V4)));
        assert_eq!(outputs(&mut core), [Output::Query(0, flow_v4()), Output::Query(1, flow_v4())]);
        core.handle(now, Input::Message(0, Message::Answer { flow: flow_v4(), owned: false }));
        core.handle(now, Input::Message(1, Message::Answer { flow: flow_v4(), owned: true }));
        assert_eq!(outputs(&mut core), [Output::Divert(flow_v4())]);
        core.handle(now, Input::Packet(&from_client()));
        assert_eq!(outputs(&mut core), [Output::Carry(1, from_client())]);
        core.handle_timeout(now + Duration::from_secs(1));
        assert_eq!(outputs(&mut core), []);
    }

    #[test]
    fn every_other_pop_is_told_at_each_beat_that_this_one_runs() {
        let (mut core, start) = (core(2), Instant::now());
        core.handle_timeout(start);
        let mut beats = 0;
        for _ in 0..10 {
            let due = core.poll_timeout().unwrap();
            core.handle_timeout(due);
            core.handle_timeout(due);
            beats += std::iter::from_fn(|| core.poll_output()).filter(|o| *o == Output::Beat(1)).count();
        }
        assert_eq!(beats, 11);
        assert_eq!(core.poll_timeout(), Some(start + Limits::default().beat * 11));
    }

    #[test]
    fn a_pop_that_falls_silent_owns_nothing_and_is_not_waited_for() {
        let (mut core, start) = (core(2), Instant::now());
        core.handle_timeout(start);
        core.handle(start, Input::Packet(&bytes(RESET_V4)));
        core.handle(start, Input::Message(1, Message::Answer { flow: flow_v4(), owned: true }));
        core.handle(start, Input::Packet(&from_client()));
        assert_eq!(outputs(&mut core).last(), Some(&Output::Carry(1, from_client())));
        let mut now = start;
        for _ in 0..6 {
            now += Limits::default().beat;
            core.handle(now, Input::Message(0, Message::Alive));
            core.handle_timeout(now);
        }
        outputs(&mut core);
        core.handle(now, Input::Packet(&from_client()));
        assert_eq!(outputs(&mut core), [Output::Inject(from_client())], "to the own kernel, which resets it");
        core.handle(now, Input::Packet(&bytes(RESET_V4)));
        assert_eq!(outputs(&mut core), [Output::Query(0, flow_v4())], "the silent one is not asked");
        core.handle(now, Input::Message(1, Message::Alive));
        core.handle(now, Input::Packet(&bytes(RESET_V6)));
        assert_eq!(outputs(&mut core).len(), 2, "heard again, asked again");
    }

    #[test]
    fn a_question_to_a_pop_that_falls_silent_is_answered_by_its_silence() {
        let limits = Limits { answer_within: Duration::from_mins(1), ..Limits::default() };
        let (vips, start) = (vec!["10.9.0.2/32".parse().unwrap()], Instant::now());
        let mut core = Catchment::new(vips, 1, limits);
        core.handle_timeout(start);
        core.handle(start, Input::Packet(&bytes(RESET_V4)));
        let ends = (1..=6).map(|n| start + limits.beat * n).find(|now| {
            core.handle_timeout(*now);
            outputs(&mut core).contains(&Output::Release(bytes(RESET_V4)))
        });
        assert_eq!(ends, Some(start + limits.silence));
    }

    #[test]
    fn silence_while_this_process_did_not_run_is_nobodys_death() {
        let (mut core, start) = (core(1), Instant::now());
        core.handle_timeout(start);
        let thawed = start + Duration::from_mins(1);
        core.handle_timeout(thawed);
        outputs(&mut core);
        core.handle(thawed, Input::Packet(&bytes(RESET_V4)));
        assert_eq!(outputs(&mut core), [Output::Query(0, flow_v4())]);
    }

    #[test]
    fn a_flow_nobody_owns_is_reset_when_the_last_has_said_no() {
        let (mut core, now) = (core(2), Instant::now());
        core.handle(now, Input::Packet(&bytes(RESET_V6)));
        let Some(Output::Query(0, flow)) = core.poll_output() else { panic!("no query") };
        outputs(&mut core);
        for peer in [0, 0] {
            core.handle(now, Input::Message(peer, Message::Answer { flow, owned: false }));
            assert_eq!(outputs(&mut core), [], "one PoP's word, even twice, is not the other's");
        }
        core.handle(now, Input::Message(1, Message::Answer { flow, owned: false }));
        assert_eq!(outputs(&mut core), [Output::Release(bytes(RESET_V6))]);
    }

    #[test]
    fn silence_lets_the_reset_go_after_the_limit_and_not_before() {
        let (mut core, now) = (core(1), Instant::now());
        core.handle(now, Input::Packet(&bytes(RESET_V4)));
        outputs(&mut core);
        let deadline = core.poll_timeout().unwrap();
        assert_eq!(deadline, now + Limits::default().answer_within);
        core.handle_timeout(now + Duration::from_millis(499));
        assert_eq!(outputs(&mut core), []);
        core.handle_timeout(deadline);
        assert_eq!(outputs(&mut core), [Output::Release(bytes(RESET_V4))]);
        core.handle(deadline, Input::Message(0, Message::Answer { flow: flow_v4(), owned: true }));
        assert_eq!(outputs(&mut core), [], "an answer too late changes nothing");
    }

    #[test]
    fn without_other_pops_or_beyond_the_limits_resets_go_at_once() {
        let now = Instant::now();
        let mut alone = core(0);
        alone.handle(now, Input::Packet(&bytes(RESET_V4)));
        assert_eq!(outputs(&mut alone), [Output::Release(bytes(RESET_V4))]);
        let limits = Limits { asked: 1, ..Limits::default() };
        let mut full = Catchment::new(vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()], 1, limits);
        full.handle(now, Input::Packet(&bytes(RESET_V4)));
        full.handle(now, Input::Packet(&bytes(RESET_V6)));
        assert_eq!(outputs(&mut full)[1], Output::Release(bytes(RESET_V6)));
    }

    #[test]
    fn a_flood_of_stray_packets_asks_a_bounded_number_of_questions() {
        let limits = Limits { asked_per_window: 3, ..Limits::default() };
        let mut core = Catchment::new(vec!["10.9.0.2/32".parse().unwrap()], 1, limits);
        let start = Instant::now();
        let mut flood = |now: Instant| {
            for port in 0..10u8 {
                let mut reset = bytes(RESET_V4);
                reset[22] = port;
                core.handle(now, Input::Packet(&reset));
            }
            let (mut questions, mut released) = (0, 0);
            for output in outputs(&mut core) {
                match output {
                    Output::Query(0, flow) => {
                        questions += 1;
                        core.handle(now, Input::Message(0, Message::Answer { flow, owned: false }));
                    }
                    Output::Release(_) => released += 1,
                    other => panic!("{other:?}"),
                }
            }
            outputs(&mut core);
            (questions, released)
        };
        assert_eq!(flood(start), (3, 7));
        assert_eq!(flood(start + WINDOW / 2), (0, 10));
        assert_eq!(flood(start + WINDOW), (3, 7));
    }

    #[test]
    fn an_idle_flow_is_forgotten_and_asks_anew() {
        let (mut core, now) = (core(1), Instant::now());
        core.handle(now, Input::Packet(&bytes(RESET_V4)));
        core.handle(now, Input::Message(0, Message::Answer { flow: flow_v4(), owned: true }));
        outputs(&mut core);
        let Limits { idle, .. } = Limits::default();
        assert!(
            Limits::default().diverted_for() < idle,
            "the filter forgets it first, so that there is a reset"
        );
        let later = now + idle;
        core.handle_timeout(later);
        core.handle(later, Input::Packet(&bytes(RESET_V4)));
        assert_eq!(outputs(&mut core), [Output::Query(0, flow_v4())]);
    }

    #[test]
    fn only_packets_for_a_vip_that_open_no_connection_are_injected() {
        let (mut core, now) = (core(1), Instant::now());
        core.handle(now, Input::Message(0, Message::Carry(&from_client())));
        assert_eq!(outputs(&mut core), [Output::Inject(from_client())]);
        let mut syn = from_client();
        syn[33] = 0x02;
        core.handle(now, Input::Message(0, Message::Carry(&syn)));
        core.handle(now, Input::Message(0, Message::Carry(&bytes(RESET_V4))));
        let foreign = Flow { vip: "192.0.2.1:80".parse().unwrap(), ..flow_v4() };
        core.handle(now, Input::Message(0, Message::Query(foreign)));
        assert_eq!(outputs(&mut core), []);
        assert_eq!(core.stats().dropped, 3);
    }

    #[test]
    fn a_query_is_answered_with_what_the_kernel_says() {
        let (mut core, now) = (core(1), Instant::now());
        core.handle(now, Input::Message(0, Message::Query(flow_v4())));
        assert_eq!(outputs(&mut core), [Output::LookUp(0, flow_v4())]);
        core.handle(now, Input::LookedUp { peer: 0, flow: flow_v4(), owned: true });
        assert_eq!(outputs(&mut core), [Output::Answer(0, flow_v4(), true)]);
    }

    proptest! {
        /// Whatever the other PoPs say and whenever: each reset ends in exactly one of sent, diverted or waiting.
        #[test]
        fn every_reset_has_one_end(answers in prop::collection::vec((0usize..3, any::<bool>(), 0u64..400), 0..8)) {
            let (mut core, start) = (core(3), Instant::now());
            core.handle(start, Input::Packet(&bytes(RESET_V4)));
            outputs(&mut core);
            let (mut now, mut ends) = (start, 0);
            for (peer, owned, after) in answers {
                now += Duration::from_millis(after);
                core.handle_timeout(now);
                core.handle(now, Input::Message(peer, Message::Answer { flow: flow_v4(), owned }));
                ends += outputs(&mut core).len();
            }
            core.handle_timeout(start + Duration::from_secs(10));
            ends += outputs(&mut core).len();
            prop_assert_eq!(ends, 1);
        }
    }
}
