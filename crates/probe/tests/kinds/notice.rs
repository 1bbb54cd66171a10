//! Notices that a backend goes away.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use proxima_health::Reason;
use proxima_probe::{ProbeKind, ProbeTarget, Prober};
use proxima_probe_kind::{Notice, NoticeSource};
use proxima_types::Health;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::support::{Probing, target};

/// An app that is always well, and what its notice is.
struct App {
    address: SocketAddr,
    answer: Arc<Mutex<String>>,
}

impl App {
    async fn start(answer: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let app = Self { address: listener.local_addr().unwrap(), answer: Arc::default() };
        app.answers(answer);
        let answer = Arc::clone(&app.answer);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let answer = Arc::clone(&answer);
                tokio::spawn(async move {
                    let mut request = [0; 1024];
                    while matches!(stream.read(&mut request).await, Ok(1..)) {
                        let answer = answer.lock().unwrap().clone();
                        stream.write_all(answer.as_bytes()).await.unwrap();
                    }
                });
            }
        });
        app
    }

    fn answers(&self, answer: &str) {
        answer.clone_into(&mut self.answer.lock().unwrap());
    }

    fn probing(&self, source: NoticeSource) -> Probing {
        Probing::of(self.target(source))
    }

    fn target(&self, source: NoticeSource) -> ProbeTarget {
        let (lead, interval) = (Duration::from_secs(30), Duration::from_millis(20));
        let notice = Some(Notice { source, lead, interval });
        let timeout = crate::support::PATIENCE;
        ProbeTarget { notice, timeout, ..target(self.address, ProbeKind::Tcp, Duration::from_millis(50)) }
    }
}

/// The backend is taken down next, for its notice; how long it had.
async fn leaves(probing: &mut Probing) -> Duration {
    match probing.verdict().await {
        (Health::Down, Reason::Leaving { within }) => within,
        (to, reason) => panic!("{to}: {reason}"),
    }
}

/// Writes a file so that it is never seen half written.
fn put(file: &Path, text: &str) {
    let new = file.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, file).unwrap();
}

/// The answer with this body.
fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn a_file_that_names_a_time_drains_the_backend_before_and_one_that_goes_brings_it_back() {
    let app = App::start("").await;
    let directory = tempfile::tempdir().unwrap();
    let mut probing = app.probing(NoticeSource::Directory(directory.path().to_owned()));
    probing.up().await;
    let file = directory.path().join("one");
    put(&file, "2099-01-01T00:00:00Z\n");
    assert!(probing.is_silent_for(Duration::from_millis(200)).await, "decades are left");
    put(&file, "never mind\n");
    assert!(probing.is_silent_for(Duration::from_millis(200)).await, "what is no time changes nothing");
    put(&file, "2020-01-01T00:00:00Z\n");
    assert_eq!(leaves(&mut probing).await, Duration::ZERO);
    put(&file, "never mind\n");
    assert!(probing.is_silent_for(Duration::from_millis(200)).await, "the last notice holds");
    fs::remove_file(&file).unwrap();
    probing.up().await;
}

#[tokio::test]
async fn an_endpoint_that_names_a_time_drains_the_backend_its_lead_before() {
    let app = App::start("HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone").await;
    let mut probing = app.probing(NoticeSource::Http { path: "/leaving".to_owned(), port: None });
    probing.up().await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    app.answers(&ok(&(now + 60).to_string()));
    assert!(probing.is_silent_for(Duration::from_millis(200)).await, "twice the lead is left");
    app.answers(&ok(&(now + 20).to_string()));
    let within = leaves(&mut probing).await;
    assert!(within <= Duration::from_secs(20), "{within:?}");
    app.answers("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n");
    assert!(probing.is_silent_for(Duration::from_millis(200)).await, "an error takes no notice back");
    app.answers("HTTP/1.1 204 No Content\r\n\r\n");
    probing.up().await;
}

#[tokio::test]
async fn ec2_s_instance_action_is_understood() {
    let app = App::start("HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone").await;
    let mut probing = app.probing(NoticeSource::Http { path: "/latest".to_owned(), port: None });
    probing.up().await;
    app.answers(&ok("{\"action\": \"terminate\", \"time\": \"2017-09-18T08:22:00Z\"}"));
    assert_eq!(leaves(&mut probing).await, Duration::ZERO);
}

#[tokio::test]
async fn a_notice_is_heeded_from_the_first_verdict_on_and_outlives_other_orders_and_the_prober() {
    let app = App::start("").await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("one");
    put(&file, "2020-01-01T00:00:00Z\n");
    let source = NoticeSource::Directory(directory.path().to_owned());
    let target = app.target(source);
    let mut probing = Probing::of(target.clone());
    assert_eq!(leaves(&mut probing).await, Duration::ZERO, "it was never up");

    // What can't be read from now on takes nothing back, whoever looks.
    put(&file, "never mind\n");
    let other = ProbeTarget { timeout: Duration::from_secs(10), ..target.clone() };
    probing.prober.reconfigure(vec![other], |_| unreachable!("the backend is no other"));
    assert!(probing.is_silent_for(Duration::from_millis(300)).await, "probed otherwise");
    let known = probing.prober.known(&target.backend);
    assert!(known.leaves_at.is_some(), "{known:?}");
    let (prober, events) = Prober::start_with(vec![target.clone()], None, |_| known, 2);
    let mut next = Probing { prober, events };
    assert!(next.is_silent_for(Duration::from_millis(300)).await, "another prober");
    fs::remove_file(&file).unwrap();
    next.up().await;

    put(&file, "2020-01-01T00:00:00Z\n");
    leaves(&mut next).await;
    next.prober.reconfigure(vec![ProbeTarget { notice: None, ..target }], |_| unreachable!());
    next.up().await;
}
