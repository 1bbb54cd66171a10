//! One task for each issuer: it does what [`Renewal`] says, one thing after the other.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant, SystemTime},
};

use instant_acme::{CertificateIdentifier, Error as AcmeError};
use proxima_acme::{Input, Output, Renewal};
use proxima_types::ServiceName;
use rustls::pki_types::{CertificateDer, Der};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

use crate::{
    AcmeEvent, AllStored, IssuerConfig, Stored, Wish,
    error::OrderError,
    http::{HttpError, Https},
    order::{Issued, Orders},
    renewal_info,
    store::Store,
};

/// The clock is looked at so often at least: it may have been set, or the host suspended.
const LOOK_AGAIN: Duration = Duration::from_mins(1);

/// Orders what is due until nobody listens any more. `told` is what is there.
pub(crate) async fn run(
    config: IssuerConfig,
    mut told: watch::Receiver<AllStored>,
    events: mpsc::Sender<AcmeEvent>,
    mut wishes: mpsc::Receiver<Wish>,
    seed: u64,
) {
    let mut stored = told.borrow_and_update().clone();
    let now = SystemTime::now();
    let certificates = (0..).zip(&config.certificates).map(|(number, (service, names))| {
        let stored = stored.remove(service);
        let held = stored.as_ref().map(|stored| stored.held.clone());
        let renewal = Renewal::new(now, names.iter().cloned(), held, seed.wrapping_add(number));
        (
            service.clone(),
            Certificate { renewal, stored, is_advised: false, ordered: None, planned: None, is_told: false },
        )
    });
    let mut certificates: BTreeMap<_, _> = certificates.collect();
    let task = Task { store: Store::new(&config.state, &config.directory), config, events };
    loop {
        let mut is_idle = true;
        for (service, certificate) in &mut certificates {
            match task.turn(service, certificate).await {
                Ok(was_idle) => is_idle &= was_idle,
                Err(Unheard) => return,
            }
        }
        if is_idle {
            let due =
                certificates.values().filter_map(|certificate| certificate.renewal.poll_timeout()).min();
            let pause = due.and_then(|due| due.duration_since(SystemTime::now()).ok()).unwrap_or_default();
            tokio::select! {
                () = tokio::time::sleep(pause.min(LOOK_AGAIN)) => {}
                changed = told.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let stored = told.borrow_and_update().clone();
                    for (service, stored) in stored {
                        if let Some(certificate) = certificates.get_mut(&service) {
                            certificate.take_over(SystemTime::now(), stored);
                        }
                    }
                }
                Some(wish) = wishes.recv() => {
                    if let Some(certificate) = certificates.get_mut(&wish.service)
                        && !certificate.has_done(&wish)
                    {
                        certificate.renewal.handle(SystemTime::now(), Input::Wanted);
                    }
                }
            }
        }
    }
}

/// A certificate, and what there is of it.
struct Certificate {
    renewal: Renewal,
    stored: Option<Stored>,
    /// The server has renewal information, and so may be told what an order replaces.
    is_advised: bool,
    /// When the last order came to an end.
    ordered: Option<Instant>,
    /// What was told of the next order, if anything was.
    planned: Option<SystemTime>,
    is_told: bool,
}

impl Certificate {
    fn identifier(&self) -> Option<CertificateIdentifier<'static>> {
        identifier(&self.stored.as_ref()?.certificate)
    }

    /// What has been ordered since a wish is what was wanted.
    fn has_done(&self, wish: &Wish) -> bool {
        self.ordered.is_some_and(|ordered| ordered >= wish.at)
    }

    /// Takes in what is there as others see it. They may not have seen yet what was ordered last, which goes before an older one
    /// with them too.
    fn take_over(&mut self, now: SystemTime, stored: Stored) {
        let is_another = self.stored.as_ref().is_none_or(|own| {
            own.certificate != stored.certificate && own.held.not_before <= stored.held.not_before
        });
        if is_another {
            self.renewal.handle(now, Input::Replaced(stored.held.clone()));
            self.stored = Some(stored);
        }
    }

    /// Takes in what came of asking for renewal information.
    fn heed(&mut self, now: SystemTime, input: Input) {
        match input {
            Input::Suggested { window: Some(_), .. } => self.is_advised = true,
            Input::NoSuggestions => self.is_advised = false,
            // That none came this time says nothing of the server.
            _ => {}
        }
        self.renewal.handle(now, input);
    }
}

/// Nobody reads events any more.
struct Unheard;

struct Task {
    config: IssuerConfig,
    store: Store,
    events: mpsc::Sender<AcmeEvent>,
}

impl Task {
    /// Does what is due for a certificate; true when that is nothing.
    async fn turn(&self, service: &ServiceName, certificate: &mut Certificate) -> Result<bool, Unheard> {
        let output = certificate.renewal.poll_output(SystemTime::now());
        let at = certificate.renewal.order_at();
        if certificate.planned != at || !certificate.is_told {
            (certificate.planned, certificate.is_told) = (at, true);
            self.tell(AcmeEvent::Planned { service: service.clone(), at }).await?;
        }
        match output {
            None => return Ok(true),
            Some(Output::Order) => self.order(service, certificate).await?,
            Some(Output::AskRenewalInfo) => {
                let input = self.ask(certificate).await;
                certificate.heed(SystemTime::now(), input);
            }
        }
        Ok(false)
    }

    async fn order(&self, service: &ServiceName, certificate: &mut Certificate) -> Result<(), Unheard> {
        let replaced = certificate.identifier().filter(|_| certificate.is_advised);
        let ordered = self.attempt(service, replaced).await;
        certificate.ordered = Some(Instant::now());
        let (issuer, service) = (self.config.name.clone(), service.clone());
        match ordered {
            Ok(Issued { pem, stored, unsaved }) => {
                certificate.renewal.handle(SystemTime::now(), Input::Obtained(stored.held.clone()));
                certificate.stored = Some(stored);
                self.tell(AcmeEvent::Obtained { issuer, service, pem, unsaved }).await
            }
            Err(error) => {
                let (now, retry_after) = (SystemTime::now(), error.retry_after());
                certificate.renewal.handle(now, Input::Failed { retry_after });
                let retry_at = certificate.renewal.order_at().unwrap_or(now);
                let (error, failures) = (error.to_string(), certificate.renewal.failures());
                self.tell(AcmeEvent::Failed { issuer, service, error, retry_at, failures }).await
            }
        }
    }

    async fn attempt(
        &self,
        service: &ServiceName,
        replaced: Option<CertificateIdentifier<'static>>,
    ) -> Result<Issued, OrderError> {
        let (config, store, events) = (self.config.clone(), self.store.clone(), self.events.clone());
        let https = self.https().map_err(AcmeError::from)?;
        let (orders, service) = (Orders { config, https, store, events }, service.clone());
        guarded(async move { orders.order(&service, replaced).await }).await.unwrap_or(Err(OrderError::Fault))
    }

    /// Asks for renewal information (RFC 9773 §4). That there is none of use is no failure.
    async fn ask(&self, certificate: &Certificate) -> Input {
        let Some(identifier) = certificate.identifier() else { return Input::NoSuggestions };
        let (https, directory) = (self.https(), self.config.directory.clone());
        let asked = guarded(async move { renewal_info::ask(&https?, &directory, &identifier).await });
        match asked.await {
            Some(Ok(input)) => input,
            Some(Err(error)) => {
                tracing::debug!(issuer = %self.config.name, %error, "no renewal information");
                renewal_info::unanswered(error.retry_after())
            }
            None => renewal_info::unanswered(None),
        }
    }

    /// Made anew for each use: the system's authorities may be others by now.
    fn https(&self) -> Result<Https, HttpError> {
        Https::new(self.config.roots.as_deref())
    }

    async fn tell(&self, event: AcmeEvent) -> Result<(), Unheard> {
        self.events.send(event).await.map_err(|_| Unheard)
    }
}

/// What comes of work in a task of its own, of which a fault ends nothing else; `None` after one, which has been told.
async fn guarded<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Option<T> {
    let mut task = JoinSet::new();
    task.spawn(work);
    task.join_next().await?.ok()
}

/// What the server knows a certificate by (RFC 9773 §4.1).
fn identifier(certificate: &CertificateDer<'static>) -> Option<CertificateIdentifier<'static>> {
    let known_by = proxima_x509::known_by(certificate)?;
    let (authority, serial) = (Der::from_slice(known_by.authority_key), Der::from_slice(known_by.serial));
    Some(CertificateIdentifier::new(authority, serial))
}

#[cfg(test)]
mod tests {
    use proxima_acme::{Held, Window};

    use super::*;

    fn certificate(now: SystemTime) -> Certificate {
        let renewal = Renewal::new(now, ["a.example".to_owned()], None, 7);
        Certificate { renewal, stored: None, is_advised: false, ordered: None, planned: None, is_told: false }
    }

    #[test]
    fn what_was_ordered_since_a_wish_is_what_was_wanted() {
        let mut certificate = certificate(SystemTime::now());
        let (first, later) = (Instant::now(), Instant::now() + Duration::from_secs(2));
        let wish = |at| Wish { service: "web".parse().unwrap(), at };
        assert!(!certificate.has_done(&wish(first)));
        certificate.ordered = Some(first + Duration::from_secs(1));
        assert!(certificate.has_done(&wish(first)) && !certificate.has_done(&wish(later)));
    }

    #[test]
    fn a_newer_certificate_is_taken_over_and_an_older_one_is_what_others_have_not_seen_replaced() {
        let now = SystemTime::now();
        let mut certificate = certificate(now);
        let stored = |number: u8, from| {
            let names = ["a.example".to_owned()].into();
            let held = Held { not_before: from, not_after: from + Duration::from_hours(24 * 90), names };
            Stored { held, certificate: CertificateDer::from(vec![number]) }
        };
        let (older, newer) = (stored(1, now - Duration::from_hours(2)), stored(2, now));
        let due = |certificate: &Certificate| certificate.renewal.order_at().unwrap();
        assert_eq!(due(&certificate), now);
        certificate.take_over(now, older.clone());
        let first = due(&certificate);
        certificate.take_over(now, newer.clone());
        assert_eq!(due(&certificate), first + Duration::from_hours(2));
        certificate.take_over(now, older);
        assert_eq!(
            (certificate.stored.as_ref(), due(&certificate)),
            (Some(&newer), first + Duration::from_hours(2))
        );
    }

    #[test]
    fn a_question_that_is_not_answered_unsays_nothing() {
        let now = SystemTime::now();
        let mut certificate = certificate(now);
        let window = Window { start: now, end: now + Duration::from_hours(1) };
        for (input, is_advised) in [
            (renewal_info::unanswered(None), false),
            (Input::Suggested { window: Some(window), ask_after: None }, true),
            (renewal_info::unanswered(Some(Duration::from_hours(24))), true),
            (Input::NoSuggestions, false),
        ] {
            certificate.heed(now, input);
            assert_eq!(certificate.is_advised, is_advised);
        }
    }

    #[test]
    fn a_certificate_is_known_by_what_rfc_9773_says() {
        let der = include_bytes!("../../x509/certificates/rfc9773.der");
        let identifier = identifier(&CertificateDer::from(der.to_vec())).unwrap();
        assert_eq!(identifier.to_string(), "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE");
    }
}
