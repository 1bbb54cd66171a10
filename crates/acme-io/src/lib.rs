//! Certificates from ACME servers (RFC 8555): accounts, orders, renewal information, and the files all that is kept in.
//!
//! | module | what it is for |
//! |---|---|
//! | [`issuer`] | one task for each issuer: orders one certificate after the other, when `proxima-acme` says so |
//! | [`order`] | one order, from the account to the certificate |
//! | [`challenge`] | what proves that a name is ours (RFC 8555 §8.3, RFC 8737) |
//! | [`renewal_info`] | when the server would like to see a certificate renewed (RFC 9773) |
//! | [`http`] | requests to the server |
//! | [`store`] | files that outlive the process |
//!
//! Everything runs on a thread of its own, so that neither a slow server nor a fault in here keeps anyone else from working. It
//! tells what it wants by [`AcmeEvent`]s; whoever reads them has to, as an order waits until its challenges are answered.

#![allow(clippy::disallowed_methods, reason = "a driver: reads the clock and hands it to the core")]

mod challenge;
mod error;
mod http;
mod issuer;
mod order;
mod renewal_info;
mod store;

use std::{
    collections::BTreeMap,
    fmt, io,
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    task::Poll,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use proxima_acme::Held;
use proxima_types::{IssuerName, ServiceName};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::{
    runtime::{self, Runtime},
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

pub use self::store::certificate_file;
use crate::error::OrderError;

/// How many events may wait to be read; then orders wait.
const EVENTS: usize = 16;
/// How many wishes of operators may wait to be heard; those beyond are refused.
const WISHES: usize = 16;

/// An issuer whose task ended by a fault is asked again after this. What its task knew of pauses is gone, so it is a long one.
const AFTER_FAULT: Duration = Duration::from_hours(1);

/// An ACME server, the account there, and what is ordered from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerConfig {
    /// Its name in the configuration.
    pub name: IssuerName,
    /// The URL of its directory (RFC 8555 §7.1.1).
    pub directory: String,
    /// Where the server may write to the account's owner: `mailto:` URLs.
    pub contact: Vec<String>,
    /// What ties the account to one elsewhere (RFC 8555 §7.3.4).
    pub external_account: Option<ExternalAccount>,
    /// The only authorities that may vouch for the server; `None`: those of the system.
    pub roots: Option<Vec<CertificateDer<'static>>>,
    /// How names are proven.
    pub challenge: ChallengeKind,
    /// What certificates' keys are.
    pub key_type: KeyType,
    /// The directory of this issuer's files.
    pub state: PathBuf,
    /// The names of each service's certificate.
    pub certificates: BTreeMap<ServiceName, Vec<String>>,
}

/// An account elsewhere, as the server's operator gave it out.
#[derive(Clone, PartialEq, Eq)]
pub struct ExternalAccount {
    /// Its name.
    pub key_id: String,
    /// Its key, as bytes.
    pub key: Vec<u8>,
}

/// Keys are never shown.
impl fmt::Debug for ExternalAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExternalAccount").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

/// How a name is proven to be ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChallengeKind {
    /// By a file of plain HTTP at port 80 (RFC 8555 §8.3).
    Http01,
    /// By a certificate at port 443 (RFC 8737).
    TlsAlpn01,
}

/// What a certificate's key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyType {
    /// ECDSA, P-256.
    P256,
    /// ECDSA, P-384.
    P384,
    /// RSA, 2048 bits.
    Rsa2048,
    /// RSA, 4096 bits.
    Rsa4096,
}

/// A certificate that is there already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// When it is valid, and for whom.
    pub held: Held,
    /// The certificate itself.
    pub certificate: CertificateDer<'static>,
}

/// An issuer with the certificates that are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// What is wanted.
    pub config: IssuerConfig,
    /// What is there.
    pub stored: BTreeMap<ServiceName, Stored>,
}

/// What the rest of the process has to do, or may want to know.
#[derive(Debug)]
pub enum AcmeEvent {
    /// These challenges of the issuer, and no others, are to be answered from now on.
    Challenges {
        /// Whose.
        issuer: IssuerName,
        /// What to answer; empty: nothing any more.
        answers: Vec<Answer>,
        /// To be told once they are: the server looks right after that.
        answered: oneshot::Sender<()>,
    },
    /// A certificate has come, and is in its file.
    Obtained {
        /// Who has ordered it.
        issuer: IssuerName,
        /// For whom.
        service: ServiceName,
        /// Certificates, the own one first, and the private key, as in the file.
        pem: String,
        /// Why it could not be written to its file: it will be gone with the process.
        unsaved: Option<String>,
    },
    /// An order has come to nothing. What is there stays.
    Failed {
        /// Who has ordered.
        issuer: IssuerName,
        /// For whom.
        service: ServiceName,
        /// Why, with the remedy.
        error: String,
        /// When the next one follows.
        retry_at: SystemTime,
        /// How many have failed one after the other.
        failures: u32,
    },
    /// When the next order is due; `None`: now.
    Planned {
        /// Whose.
        service: ServiceName,
        /// When.
        at: Option<SystemTime>,
    },
}

/// What is answered to a challenge.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// A file's content (RFC 8555 §8.3).
    Http01 {
        /// The last segment of its path.
        token: String,
        /// What is in it.
        key_authorization: String,
    },
    /// A certificate for clients that speak nothing but `acme-tls/1` (RFC 8737 §3).
    TlsAlpn01 {
        /// The name they ask for, in lower case.
        name: String,
        /// The certificate.
        certificate: CertificateDer<'static>,
        /// Its key.
        key: PrivateKeyDer<'static>,
    },
}

/// A certificate that an operator wants now.
#[derive(Debug, Clone)]
struct Wish {
    service: ServiceName,
    /// When it was made; not of the calendar, which may be set back before an order is over.
    at: Instant,
}

/// What runs; it ends when this is dropped.
#[derive(Debug)]
pub struct Acme {
    wanted: watch::Sender<Arc<Vec<Issuer>>>,
    /// Heard by the thread; `None` until there is one.
    wishes: Option<mpsc::Sender<Wish>>,
    events: mpsc::Sender<AcmeEvent>,
    /// What the thread begins with.
    on_start: fn(),
    spawn: fn(Job) -> io::Result<()>,
}

/// What a thread does.
type Job = Box<dyn FnOnce() + Send>;

impl Acme {
    /// Nothing yet. `on_start` is run by the thread when there is one.
    pub fn new(on_start: fn()) -> (Self, mpsc::Receiver<AcmeEvent>) {
        let (events, received) = mpsc::channel(EVENTS);
        let spawn = |job| thread::Builder::new().name("acme".to_owned()).spawn(job).map(drop);
        (Self { wanted: watch::Sender::default(), wishes: None, events, on_start, spawn }, received)
    }

    /// From now on these issuers are asked. One whose configuration is as before is not disturbed, but told of certificates that
    /// somebody has put in the place of those it knows.
    ///
    /// # Errors
    /// When there is no thread to be had; the next time it is tried again.
    pub fn set(&mut self, issuers: Vec<Issuer>) -> io::Result<()> {
        if !issuers.is_empty() && self.wishes.is_none() {
            self.wishes = Some(self.begin()?);
        }
        self.wanted.send_replace(Arc::new(issuers));
        Ok(())
    }

    /// Has a thread do what is wanted, and hear wishes.
    fn begin(&self) -> io::Result<mpsc::Sender<Wish>> {
        let (wishes, heard) = mpsc::channel(WISHES);
        let (wanted, events, on_start) = (self.wanted.subscribe(), self.events.clone(), self.on_start);
        let (hand, handed) = std::sync::mpsc::channel::<Runtime>();
        (self.spawn)(Box::new(move || {
            // Without one the thread has nothing to do.
            let Ok(runtime) = handed.recv() else { return };
            on_start();
            runtime.block_on(supervise(wanted, heard, events));
            // A look-up of a name that hangs keeps nobody waiting.
            runtime.shutdown_background();
        }))?;
        // Not before there is a thread to end it: one that is dropped where tasks run panics.
        hand.send(runtime::Builder::new_current_thread().enable_all().build()?).ok(); // the thread waits for it
        Ok(wishes)
    }

    /// Orders the certificate of a service now, though none may be due; false when too many such wishes wait already, or there is
    /// no thread to hear them. One that is being ordered is not ordered once more.
    pub fn renew(&self, service: &ServiceName) -> bool {
        let wish = Wish { service: service.clone(), at: Instant::now() };
        self.wishes.as_ref().is_some_and(|wishes| wishes.try_send(wish).is_ok())
    }
}

/// The certificates that are there, as they were told last.
type AllStored = BTreeMap<ServiceName, Stored>;

/// An issuer's task.
struct Running {
    config: IssuerConfig,
    stored: watch::Sender<AllStored>,
    wishes: mpsc::Sender<Wish>,
    task: JoinHandle<()>,
}

/// Keeps a task for each issuer, until nobody wants any more. One that has ended by a fault is begun anew after a pause, or with the
/// next issuers that are wanted.
async fn supervise(
    mut wanted: watch::Receiver<Arc<Vec<Issuer>>>,
    mut wishes: mpsc::Receiver<Wish>,
    events: mpsc::Sender<AcmeEvent>,
) {
    let mut running: Vec<Running> = Vec::new();
    loop {
        let issuers = wanted.borrow_and_update().clone();
        let (stay, leave) =
            running.into_iter().partition(|one| issuers.iter().any(|issuer| issuer.config == one.config));
        running = stay;
        for one in leave {
            one.end(&events).await;
        }
        for issuer in issuers.iter() {
            match running.iter().find(|one| one.config == issuer.config) {
                Some(one) => one.tell(&issuer.stored),
                None => running.push(Running::begin(issuer.clone(), &events)),
            }
        }
        let mut again = None;
        loop {
            tokio::select! {
                changed = wanted.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
                Some(wish) = wishes.recv() => {
                    for one in running.iter().filter(|one| one.config.certificates.contains_key(&wish.service)) {
                        one.wishes.try_send(wish.clone()).ok(); // others wait already
                    }
                }
                index = ended(&mut running) => {
                    running.swap_remove(index).tell_fault(&events).await;
                    again.get_or_insert(tokio::time::Instant::now() + AFTER_FAULT);
                }
                () = until(again) => break,
            }
        }
    }
}

/// The index of a task that has come to an end by itself, which is by a fault, or as nobody reads events any more.
async fn ended(running: &mut [Running]) -> usize {
    std::future::poll_fn(|context| {
        let mut tasks = running.iter_mut().map(|one| Pin::new(&mut one.task).poll(context));
        tasks.position(|end| end.is_ready()).map_or(Poll::Pending, Poll::Ready)
    })
    .await
}

/// Until then, or for ever.
async fn until(then: Option<tokio::time::Instant>) {
    match then {
        Some(then) => tokio::time::sleep_until(then).await,
        None => std::future::pending().await,
    }
}

impl Running {
    fn begin(issuer: Issuer, events: &mpsc::Sender<AcmeEvent>) -> Self {
        let Issuer { config, stored } = issuer;
        let (wishes, heard) = mpsc::channel(WISHES);
        let (stored, told) = watch::channel(stored);
        let task = issuer::run(config.clone(), told, events.clone(), heard, seed(&config));
        Self { config, stored, wishes, task: tokio::spawn(task) }
    }

    /// What it orders, and its pauses, stay.
    fn tell(&self, stored: &AllStored) {
        self.stored.send_if_modified(|told| {
            let differs = told != stored;
            if differs {
                told.clone_from(stored);
            }
            differs
        });
    }

    async fn end(self, events: &mpsc::Sender<AcmeEvent>) {
        self.task.abort();
        // An error is the abort, or a panic, which has been told.
        self.task.await.ok();
        challenge::offer(events, &self.config.name, Vec::new()).await;
    }

    /// Its task has ended: nothing is answered, and nothing ordered, for now.
    async fn tell_fault(self, events: &mpsc::Sender<AcmeEvent>) {
        let Self { config, .. } = self;
        challenge::offer(events, &config.name, Vec::new()).await;
        let retry_at = SystemTime::now() + AFTER_FAULT;
        for service in config.certificates.into_keys() {
            let (issuer, error) = (config.name.clone(), OrderError::Fault.to_string());
            let failed = AcmeEvent::Failed { issuer, service, error, retry_at, failures: 1 };
            events.send(failed).await.ok(); // nobody listens any more
        }
    }
}

/// Jitter need not be secret, only different from PoP to PoP, from issuer to issuer and from start to start.
fn seed(issuer: &IssuerConfig) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (since.as_nanos(), std::process::id(), issuer.name.as_str()).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issuer() -> Issuer {
        let service: ServiceName = "web".parse().unwrap();
        let config = IssuerConfig {
            name: "test".parse().unwrap(),
            directory: "http://no-https.example".to_owned(),
            contact: Vec::new(),
            external_account: None,
            roots: Some(Vec::new()),
            challenge: ChallengeKind::Http01,
            key_type: KeyType::P256,
            state: PathBuf::from("/proc/none"),
            certificates: [(service, vec!["example.com".to_owned()])].into(),
        };
        Issuer { config, stored: BTreeMap::new() }
    }

    /// The next event but challenges, which are answered.
    async fn next(events: &mut mpsc::Receiver<AcmeEvent>) -> AcmeEvent {
        loop {
            match tokio::time::timeout(AFTER_FAULT * 2, events.recv()).await.expect("an event").unwrap() {
                AcmeEvent::Challenges { answered, .. } => answered.send(()).unwrap(),
                event => return event,
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_fault_of_its_task_an_issuer_is_asked_again() {
        let (wanted, heard) = (watch::Sender::default(), mpsc::channel(1));
        let (tell, mut events) = mpsc::channel(EVENTS);
        let supervised = tokio::spawn(supervise(wanted.subscribe(), heard.1, tell));
        // Two thirds of a life that no certificate has are more than a duration holds.
        let ages = Duration::from_secs(1 << 62);
        let held = Held {
            not_before: UNIX_EPOCH - ages,
            not_after: UNIX_EPOCH + ages + Duration::from_secs((1 << 62) - 1),
            names: ["example.com".to_owned()].into(),
        };
        let (good, mut bad) = (issuer(), issuer());
        bad.stored.insert("web".parse().unwrap(), Stored { held, certificate: Vec::new().into() });
        let began = tokio::time::Instant::now();
        wanted.send_replace(Arc::new(vec![bad]));
        for times in 1..=2 {
            let failed = next(&mut events).await;
            let AcmeEvent::Failed { error, failures: 1, .. } = failed else { panic!("{failed:?}") };
            assert_eq!(error, "an internal fault, see the log");
            assert!(began.elapsed() >= AFTER_FAULT * (times - 1) && began.elapsed() < AFTER_FAULT * times);
        }
        wanted.send_replace(Arc::new(vec![good]));
        let planned = next(&mut events).await;
        assert!(matches!(planned, AcmeEvent::Planned { .. }), "{planned:?}");
        drop(wanted);
        supervised.await.unwrap();
    }

    #[tokio::test]
    async fn a_thread_that_could_not_be_had_is_had_the_next_time() {
        let (mut acme, mut events) = Acme::new(|| {});
        let spawn = std::mem::replace(&mut acme.spawn, |_| Err(io::ErrorKind::WouldBlock.into()));
        let web = "web".parse().unwrap();
        assert_eq!(acme.set(vec![issuer()]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert!(!acme.renew(&web), "nobody hears it");
        acme.spawn = spawn;
        acme.set(vec![issuer()]).unwrap();
        assert!(acme.renew(&web));
        let planned = events.recv().await;
        assert!(matches!(planned, Some(AcmeEvent::Planned { .. })), "{planned:?}");
    }
}
