//! A session of a client that has shown a certificate ends with that.
//!
//! rustls has certificates verified in full handshakes only: whoever resumes goes on as whoever it was, and with the new ticket that it
//! gets so does whoever resumes next. So where clients are asked for certificates each connection has a verifier and a ticketer of its
//! own, which know when what was shown ends:
//!
//! ```text
//! full handshake ─ verifier ──▶ end ──▶ ticketer: end ‖ session, sealed
//! resumption ───── ticketer: opened; refused if the end has come, else ──▶ end ──▶ the next ticket
//! ```
//!
//! What is refused becomes a full handshake, in which a client that has another certificate by now shows that.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    pki_types::{CertificateDer, UnixTime},
    server::{
        ProducesTickets,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    time_provider::{DefaultTimeProvider, TimeProvider},
};

/// When what the client of one connection has shown ends, in seconds since the Unix epoch; never, where it has shown nothing.
type End = Arc<AtomicU64>;

/// A verifier and a ticketer for one connection, that do as these.
pub(super) fn ending(
    verifier: &Arc<dyn ClientCertVerifier>,
    tickets: &Arc<dyn ProducesTickets>,
) -> (Arc<dyn ClientCertVerifier>, Arc<dyn ProducesTickets>) {
    let end = End::new(AtomicU64::new(u64::MAX));
    let clock = Arc::new(DefaultTimeProvider);
    (
        Arc::new(Verifier { inner: verifier.clone(), end: end.clone() }),
        Arc::new(Tickets { inner: tickets.clone(), end, clock }),
    )
}

#[derive(Debug)]
struct Verifier {
    inner: Arc<dyn ClientCertVerifier>,
    end: End,
}

impl ClientCertVerifier for Verifier {
    fn offer_client_auth(&self) -> bool {
        self.inner.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.inner.verify_client_cert(end_entity, intermediates, now)?;
        // One that can't be read here is good for this connection and for no other.
        let until =
            |der: &CertificateDer<'_>| proxima_x509::validity(der).map_or(0, |validity| validity.until);
        let end = intermediates.iter().map(until).fold(until(end_entity), u64::min);
        self.end.store(end, Ordering::Relaxed);
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        self.inner.requires_raw_public_keys()
    }
}

#[derive(Debug)]
struct Tickets {
    inner: Arc<dyn ProducesTickets>,
    end: End,
    clock: Arc<dyn TimeProvider>,
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        self.inner.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.inner.lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let end = self.end.load(Ordering::Relaxed).to_be_bytes();
        self.inner.encrypt(&[&end, plain].concat())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let opened = self.inner.decrypt(cipher)?;
        let (end, plain) = opened.split_first_chunk()?;
        let end = u64::from_be_bytes(*end);
        if end < self.clock.current_time()?.as_secs() {
            return None;
        }
        self.end.store(end, Ordering::Relaxed);
        Some(plain.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::TicketKeys;

    #[derive(Debug)]
    struct Clock(AtomicU64);

    impl TimeProvider for Clock {
        fn current_time(&self) -> Option<UnixTime> {
            Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0.load(Ordering::Relaxed))))
        }
    }

    #[test]
    fn a_ticket_is_good_until_the_end_and_so_is_the_next_that_comes_of_it() {
        let (keys, clock) = (TicketKeys::own().unwrap(), Arc::new(Clock(AtomicU64::new(1000))));
        let connection = |end: u64| Tickets {
            inner: keys.within(b"service"),
            end: End::new(end.into()),
            clock: clock.clone(),
        };
        let ticket = connection(1100).encrypt(b"session").unwrap();
        let resumed = connection(u64::MAX);
        assert_eq!(resumed.decrypt(&ticket).as_deref(), Some(&b"session"[..]));
        let next = resumed.encrypt(b"session").unwrap();
        let of_nobody = connection(u64::MAX).encrypt(b"session").unwrap();
        clock.0.store(1100, Ordering::Relaxed);
        for ticket in [&ticket, &next] {
            assert!(connection(u64::MAX).decrypt(ticket).is_some(), "notAfter is the last second");
        }
        clock.0.store(1101, Ordering::Relaxed);
        for ticket in [&ticket, &next] {
            assert_eq!(connection(u64::MAX).decrypt(ticket), None);
        }
        assert!(connection(u64::MAX).decrypt(&of_nobody).is_some(), "who has shown nothing goes on");
        assert_eq!(connection(u64::MAX).decrypt(b"strange"), None);
    }
}
