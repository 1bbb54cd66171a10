//! A GET over HTTP/3 (RFC 9114). The QUIC connection stays for the next probe.

use bytes::Buf;
use http::{Method, Request, Version, header::USER_AGENT};
use proxima_health::{Failure, Findings, Phase};
use proxima_probe_kind::{Http, Tls, Trust};
use tokio::time::Instant;

use super::{
    Check, Checked,
    answer::Judge,
    http1, http2,
    quic::{self, Http3, Session},
};
use crate::{
    path::{Deadline, Path},
    standing::{Driver, Link, Standing},
    tls::judge_validity,
};

/// The most an answer's head may take, in bytes.
const MAX_HEAD: u64 = 16 * 1024;

/// A request and what its answer has to be.
#[derive(Debug)]
pub(crate) struct Question {
    address: Result<http::Uri, String>,
    judge: Judge,
    tls: Tls,
}

impl Question {
    pub(crate) fn new(http: Http, path: &Path) -> Self {
        let address = http2::address(http.host.as_deref(), &http.path, true, path);
        let system = Tls { server_name: None, trust: Trust::System, min_validity: None };
        Self {
            address: address.map_err(|error| error.to_string()),
            judge: Judge::new(http.expect, path),
            tls: http.tls.unwrap_or(system),
        }
    }

    async fn open(&self, path: &Path, deadline: Deadline) -> Result<Session, Failure> {
        let mut session = quic::open(path, &self.tls, &["h3".to_owned()], deadline).await?;
        let begin = async {
            h3::client::builder()
                .max_field_section_size(MAX_HEAD)
                .send_grease(false)
                .build(h3_quinn::Connection::new(session.connection.clone()))
                .await
                .map_err(|error| broken(&session, &error))
        };
        let (mut connection, sender) = deadline.run(Phase::Handshake, begin).await?;
        let driver = Driver::start(async move {
            // What ended it is asked of the QUIC connection.
            let _ = connection.wait_idle().await;
            proxima_health::Loss::Closed
        });
        session.http3 = Some(Http3 { sender, _driver: driver });
        Ok(session)
    }

    async fn ask(&self, session: &mut Session, deadline: Deadline) -> Result<Findings, Failure> {
        deadline.run(Phase::Answer, self.exchange(session)).await
    }

    async fn exchange(&self, session: &mut Session) -> Result<Findings, Failure> {
        let request = self.request()?;
        let Some(http3) = &mut session.http3 else { return Err(Failure::Closed) };
        let mut sender = http3.sender.clone();
        let begun = Instant::now();
        let mut stream = sender.send_request(request).await.map_err(|error| broken(session, &error))?;
        stream.finish().await.map_err(|error| broken(session, &error))?;
        let head = stream.recv_response().await.map_err(|error| broken(session, &error))?;
        let first_byte = Some(begun.elapsed());
        let (most, mut body) = (self.judge.wants(), Vec::new());
        while body.len() < most {
            let Some(mut data) = stream.recv_data().await.map_err(|error| broken(session, &error))? else {
                break;
            };
            while data.has_remaining() && body.len() < most {
                let chunk = data.chunk();
                let taken = chunk.len().min(most - body.len());
                body.extend_from_slice(&chunk[..taken]);
                data.advance(taken);
            }
        }
        stream.stop_sending(h3::error::Code::H3_NO_ERROR);
        let header = self.judge.header.as_ref().and_then(|header| head.headers().get(&header.name));
        self.judge.judge(head.status().as_u16(), header.map(http::HeaderValue::as_bytes), &body)?;
        judge_validity(session.certificate_ends, self.tls.min_validity)?;
        Ok(Findings { certificate_ends: session.certificate_ends, first_byte, ..Findings::default() })
    }

    fn request(&self) -> Result<Request<()>, Failure> {
        let address = self.address.clone().map_err(|error| Failure::Local { error })?;
        Request::builder()
            .version(Version::HTTP_3)
            .method(Method::GET)
            .uri(address)
            .header(USER_AGENT, http1::USER_AGENT)
            .body(())
            .map_err(|error| Failure::Local { error: error.to_string() })
    }
}

/// What an error of HTTP/3 says: if the connection has ended, how it did.
fn broken(session: &Session, error: &dyn std::fmt::Display) -> Failure {
    match session.end() {
        // Nothing more comes over a connection that has ended.
        Some(Failure::Timeout { .. }) => Failure::Closed,
        Some(failure) => failure,
        None => Failure::Protocol { detail: format!("HTTP/3: {error}") },
    }
}

impl Check for Question {
    async fn check(&self, path: &Path, standing: Option<Standing>, deadline: Deadline) -> Checked {
        if let Some(Standing { link: Link::Quic(mut session), uses_left }) = standing {
            let outcome = self.ask(&mut session, deadline).await;
            if session.end().is_some() && outcome.is_err() {
                return Checked::Stale(session.ended().await);
            }
            let standing = Some(Standing::again(Link::Quic(session), uses_left));
            return Checked::Done { outcome, standing, connected_in: None };
        }
        match self.open(path, deadline).await {
            Ok(mut session) => {
                let outcome = self.ask(&mut session, deadline).await;
                let lives = session.end().is_none();
                let standing = lives.then(|| Standing::kept_alive(Link::Quic(Box::new(session)), path));
                Checked::Done { outcome, standing, connected_in: None }
            }
            Err(failure) => failure.into(),
        }
    }

    async fn confirm(&self, path: &Path, deadline: Deadline) -> Result<(), Failure> {
        quic::confirm(path, deadline).await
    }
}
