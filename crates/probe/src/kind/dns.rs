//! Asks a name server one question, over UDP and, when the answer didn't fit, over TCP (RFC 1035, 6891, 7766, 5452).
//!
//! What an answer has to be like to be one: it has our id, it is a response, it repeats our question, it comes from the address and
//! port asked, to ours, which is another one each time. Over UDP whatever is not like that is passed over: it may be
//! late, or forged. A datagram that is lost is a probe that is lost: it is not sent again, `fall` is there for that.
//!
//! No connection is left standing. A killed server is noticed by the next probe: the kernel refuses its datagram.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{Name, RData, RecordType},
};
use proxima_health::{Failure, Findings, Phase};
use proxima_probe_kind::{Dns, DnsRecord, DnsTransport};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::UdpSocket,
};

use super::{Check, Checked};
use crate::{
    path::{Deadline, Path, failure},
    said::said,
    standing::Standing,
};

/// The largest datagram asked for, in bytes: it needs no fragments on any usual path (dnsflagday.net/2020).
const DATAGRAM: u16 = 1232;
/// How many datagrams that are no answer are passed over.
const MOST_STRANGERS: usize = 64;

impl Check for Dns {
    async fn check(&self, path: &Path, _standing: Option<Standing>, deadline: Deadline) -> Checked {
        ask(self, path, deadline).await.into()
    }
}

async fn ask(dns: &Dns, path: &Path, deadline: Deadline) -> Result<Findings, Failure> {
    let question = Question::new(dns)?;
    let answer = match dns.transport {
        DnsTransport::Udp => match deadline.run(Phase::Answer, over_udp(&question, path)).await? {
            answer if answer.metadata.truncation => over_tcp(&question, path, deadline).await?,
            answer => answer,
        },
        DnsTransport::Tcp => over_tcp(&question, path, deadline).await?,
    };
    judge(dns, &question, &answer)
}

/// A question as it is sent.
struct Question {
    query: Query,
    id: u16,
    bytes: Vec<u8>,
}

impl Question {
    fn new(dns: &Dns) -> Result<Self, Failure> {
        let local = |error: String| Failure::Local { error };
        let mut name =
            Name::from_ascii(&dns.name).map_err(|error| local(format!("{}: {error}", dns.name)))?;
        name.set_fqdn(true);
        let query = Query::query(name, record_type(dns.record));
        // With an id from a source nobody can guess.
        let mut message = Message::query();
        message.metadata.recursion_desired = true;
        message.add_query(query.clone());
        let mut edns = Edns::new();
        edns.set_max_payload(DATAGRAM);
        message.set_edns(edns);
        let bytes = message.to_vec().map_err(|error| local(error.to_string()))?;
        Ok(Self { query, id: message.metadata.id, bytes })
    }

    /// The answer to it in `bytes`; what else they are is said in words.
    fn answer(&self, bytes: &[u8]) -> Result<Message, String> {
        // The answer to another question doesn't have to be looked at whole.
        match bytes {
            [high, low, ..] if u16::from_be_bytes([*high, *low]) == self.id => {}
            _ => return Err("an answer with another id".to_owned()),
        }
        let message = Message::from_vec(bytes).map_err(|error| said(error.to_string()))?;
        if message.metadata.message_type != MessageType::Response || message.metadata.op_code != OpCode::Query
        {
            return Err("a message that is no answer".to_owned());
        }
        match message.queries.as_slice() {
            [query] if self.is(query) => Ok(message),
            // A server that can't read the question can't repeat it.
            [] if message.metadata.response_code != ResponseCode::NoError => Ok(message),
            _ => Err("the answer to another question".to_owned()),
        }
    }

    fn is(&self, other: &Query) -> bool {
        let own = &self.query;
        own.name.eq_ignore_root(&other.name)
            && (own.query_type, own.query_class) == (other.query_type, other.query_class)
    }
}

async fn over_udp(question: &Question, path: &Path) -> Result<Message, Failure> {
    let lost = |error: io::Error| failure(&error);
    let any: IpAddr =
        if path.address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    // Port 0: the kernel draws one.
    let socket = UdpSocket::bind(path.bind_to().unwrap_or(SocketAddr::new(any, 0))).await.map_err(lost)?;
    socket.connect(path.address).await.map_err(lost)?;
    socket.send(&question.bytes).await.map_err(lost)?;
    // One more than may come, so that more is seen.
    let mut datagram = vec![0; usize::from(DATAGRAM) + 1];
    for _ in 0..MOST_STRANGERS {
        let length = socket.recv(&mut datagram).await.map_err(lost)?;
        if let Ok(answer) = question.answer(&datagram[..length]) {
            return Ok(answer);
        }
    }
    Err(wrong(&format!("{MOST_STRANGERS} datagrams, none of them an answer")))
}

async fn over_tcp(question: &Question, path: &Path, deadline: Deadline) -> Result<Message, Failure> {
    let (mut stream, _) = path.connect(deadline).await?;
    deadline.run(Phase::Answer, exchange(question, &mut stream)).await
}

async fn exchange<S>(question: &Question, stream: &mut S) -> Result<Message, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let length = u16::try_from(question.bytes.len()).unwrap_or(u16::MAX);
    let exchanged = async {
        // In one piece (RFC 7766, section 8).
        stream.write_all(&[&length.to_be_bytes()[..], &question.bytes].concat()).await?;
        let mut answer = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut answer).await?;
        Ok(answer)
    };
    let answer = exchanged.await.map_err(|error: io::Error| failure(&error))?;
    question.answer(&answer).map_err(|what| wrong(&what))
}

fn judge(dns: &Dns, question: &Question, answer: &Message) -> Result<Findings, Failure> {
    let code = answer.metadata.response_code;
    if code != ResponseCode::NoError {
        return Err(Failure::Refusal {
            detail: format!("{} for {} {}", in_words(code), dns.name, dns.record),
        });
    }
    let of_type = || answer.answers.iter().filter(|record| record.record_type() == question.query.query_type);
    if of_type().next().is_none() {
        return Err(Failure::Refusal { detail: format!("it knows no {} of {}", dns.record, dns.name) });
    }
    if dns.expect.is_empty() {
        return Ok(Findings::default());
    }
    let found: Vec<IpAddr> = of_type().filter_map(|record| address(&record.data)).collect();
    if dns.expect.iter().any(|expected| found.contains(expected)) {
        return Ok(Findings::default());
    }
    let list = |addresses: &[IpAddr]| {
        addresses.iter().take(4).map(ToString::to_string).collect::<Vec<_>>().join(", ")
    };
    let (found, expected) = (list(&found), list(&dns.expect));
    Err(Failure::Refusal { detail: format!("{} is at {found}, not at {expected}", dns.name) })
}

fn address(data: &RData) -> Option<IpAddr> {
    match data {
        RData::A(address) => Some(address.0.into()),
        RData::AAAA(address) => Some(address.0.into()),
        _ => None,
    }
}

fn record_type(record: DnsRecord) -> RecordType {
    match record {
        DnsRecord::A => RecordType::A,
        DnsRecord::Aaaa => RecordType::AAAA,
        DnsRecord::Ns => RecordType::NS,
        DnsRecord::Soa => RecordType::SOA,
        DnsRecord::Txt => RecordType::TXT,
        DnsRecord::Mx => RecordType::MX,
        DnsRecord::Cname => RecordType::CNAME,
    }
}

/// The code as the RFCs write it.
fn in_words(code: ResponseCode) -> String {
    match code {
        ResponseCode::Unknown(number) => format!("RCODE {number}"),
        known => format!("{known:?}").to_ascii_uppercase(),
    }
}

fn wrong(detail: &str) -> Failure {
    Failure::Protocol { detail: format!("DNS: {detail}") }
}
