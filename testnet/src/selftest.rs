//! Checks of the harness itself, each in a sandbox of its own: what `tests/harness.rs` runs.

use std::{
    collections::BTreeSet,
    fs,
    net::{Ipv4Addr, SocketAddr},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use clap::ValueEnum;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::timeout,
};

use crate::{
    error::{Error, Result},
    figures::middle,
    link::{Direction, End, Shape, WanLink},
    netns::{NetNs, NsRuntime},
    sandbox::Sandbox,
    wait::wait_until,
    world::{Options, World, WorldSpec, plan},
};

/// A check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Selftest {
    /// The inside is private, and orphans do not stay as zombies.
    Sandbox,
    /// Says `ready`, with programs running in namespaces, and stays until a signal comes.
    Hold,
    /// A round trip takes twice the delay; a change of the delay holds at once.
    LinkDelay,
    /// The same seed loses the same packets, about as many as asked for.
    LinkLoss,
    /// A line carries 200 Mbit/s.
    LinkRate,
    /// A pulled line carries nothing and shows no carrier; plugged in again it works.
    LinkCarrier,
    /// Three routers find each other; clients reach the apps of other regions as far away as described.
    Routers,
    /// A killed app refuses connections at once and comes back when started.
    AppRestart,
    /// Routes, BGP messages and a marker are seen when they come and go.
    Observers,
}

/// Runs one check.
pub async fn run(check: Selftest, sandbox: &Sandbox) -> Result<()> {
    match check {
        Selftest::Sandbox => private_and_reaping(sandbox).await,
        Selftest::Hold => hold().await,
        Selftest::LinkDelay => link_delay().await,
        Selftest::LinkLoss => link_loss().await,
        Selftest::LinkRate => link_rate().await,
        Selftest::LinkCarrier => link_carrier().await,
        Selftest::Routers => routers(sandbox).await,
        Selftest::AppRestart => app_restart(sandbox).await,
        Selftest::Observers => crate::observe::selfcheck::run().await,
    }
}

fn claim(holds: bool, otherwise: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::Claim(otherwise())) }
}

// ---- sandbox

async fn private_and_reaping(sandbox: &Sandbox) -> Result<()> {
    let entries = fs::read_dir("/run").map_err(Error::io("reading /run"))?.count();
    claim(entries == 1, || format!("/run has {entries} entries instead of the sandbox's own directory"))?;
    fs::write(sandbox.dir().join("file"), "text")
        .map_err(Error::io("writing into the sandbox's directory"))?;
    let interfaces = fs::read_to_string("/proc/net/dev").map_err(Error::io("reading /proc/net/dev"))?;
    claim(interfaces.lines().count() == 3, || format!("there is more than the loopback:\n{interfaces}"))?;

    let ns = NetNs::create("host")?;
    // A shell that leaves its child behind: an orphan, adopted by pid 1.
    let mut shell = Command::new("sh");
    shell.args(["-c", "true & echo $!"]).stdout(Stdio::piped());
    let output = ns.spawn(&mut shell)?.wait_with_output().map_err(Error::io("waiting for the shell"))?;
    let orphan = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let status = format!("/proc/{orphan}/status");
    wait_until(Duration::from_secs(5), || Ok(fs::read_to_string(&status).unwrap_or_default())).await
}

#[allow(clippy::print_stdout, reason = "the test waits for the word")]
async fn hold() -> Result<()> {
    let hosts = ["one", "other"].map(NetNs::create);
    let mut children = Vec::new();
    for host in hosts {
        // Keeps standard output open: whoever reads it sees its end when all of these have ended.
        let child = host?.spawn(Command::new("sleep").arg("1000"))?;
        // A spawn is over when the old memory is let go; the environment is in the new one a moment later.
        let environment = format!("/proc/{}/environ", child.id());
        wait_until(Duration::from_secs(5), || {
            let empty = fs::read(&environment).unwrap_or_default().is_empty();
            Ok(if empty { format!("anything in {environment}") } else { String::new() })
        })
        .await?;
        children.push(child);
    }
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::io("listening for SIGTERM"))?;
    // `ctrl_c` would begin to listen only when it is polled, after the word.
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::io("listening for SIGINT"))?;
    println!("ready");
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    }
}

// ---- link

const ONE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

/// Two hosts with a line between them; IPv4 only, so that nothing but the test's own packets is on the line.
struct Pair {
    hosts: [NetNs; 2],
    line: WanLink,
}

impl Pair {
    fn connect(shape: Shape) -> Result<Self> {
        let hosts = [NetNs::create("one")?, NetNs::create("other")?];
        for host in &hosts {
            host.sysctl("net/ipv6/conf/default/disable_ipv6", "1")?;
        }
        let end = |n: usize, address: Ipv4Addr| End {
            ns: &hosts[n],
            interface: "line",
            addresses: vec![(address.into(), 24)],
        };
        let line = WanLink::create(&end(0, ONE), &end(1, OTHER), shape, 7)?;
        Ok(Self { hosts, line })
    }

    /// A UDP echo on the second host, and a socket on the first that talks to it.
    fn echo(&self) -> Result<(NsRuntime, UdpSocket)> {
        let runtime = self.hosts[1].runtime("echo")?;
        let (ready, is_ready) = std::sync::mpsc::sync_channel(1);
        runtime.spawn(async move {
            let socket = UdpSocket::bind((OTHER, 7)).await;
            let _ = ready.send(socket.is_ok());
            let Ok(socket) = socket else { return };
            let mut buffer = [0; 2048];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let _ = socket.send_to(&buffer[..length], from).await;
            }
        });
        claim(is_ready.recv().unwrap_or(false), || "the echo could not bind".to_owned())?;
        Ok((runtime, udp(&self.hosts[0], (ONE, 0).into(), Some((OTHER, 7).into()))?))
    }
}

/// A UDP socket that lives in `ns`, for use on the current runtime.
fn udp(ns: &NetNs, local: SocketAddr, peer: Option<SocketAddr>) -> Result<UdpSocket> {
    let open = || {
        let socket = std::net::UdpSocket::bind(local)?;
        if let Some(peer) = peer {
            socket.connect(peer)?;
        }
        socket.set_nonblocking(true)?;
        Ok::<_, std::io::Error>(socket)
    };
    ns.run(open)?
        .and_then(UdpSocket::from_std)
        .map_err(Error::io(format!("opening a socket in {}", ns.name())))
}

/// Round-trip times, sorted.
async fn round_trips(socket: &UdpSocket, count: usize) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    let mut buffer = [0; 64];
    for _ in 0..count {
        let sent = Instant::now();
        socket.send(b"ping").await.map_err(Error::io("sending"))?;
        timeout(Duration::from_secs(5), socket.recv(&mut buffer))
            .await
            .map_err(|_| Error::Claim("a packet was lost".to_owned()))?
            .map_err(Error::io("receiving"))?;
        times.push(sent.elapsed());
    }
    times.sort_unstable();
    Ok(times)
}

async fn link_delay() -> Result<()> {
    // Scheduling may add to a round trip but nothing can take from it: the least shows the line itself.
    const TOLERANCE: Duration = Duration::from_micros(600);
    let pair = Pair::connect(Shape::delay(Duration::from_millis(20)))?;
    let (_echo, socket) = pair.echo()?;
    round_trips(&socket, 1).await?; // resolves the address
    for milliseconds in [20, 5, 40] {
        let delay = Duration::from_millis(milliseconds);
        pair.line.set_both(Shape::delay(delay))?;
        let times = round_trips(&socket, 40).await?;
        let (least, median) = (times[0], middle(&times));
        tracing::info!(?delay, ?least, ?median, "round trips");
        claim(least >= delay * 2 && least <= delay * 2 + TOLERANCE, || {
            format!("the least round trip took {least:?} over a line of {delay:?} one way")
        })?;
    }
    let (forth, back) = (Duration::from_millis(30), Duration::from_millis(2));
    pair.line.set_shape(Direction::Forth, Shape::delay(forth))?;
    pair.line.set_shape(Direction::Back, Shape::delay(back))?;
    let least = round_trips(&socket, 20).await?[0];
    claim(least >= forth + back && least <= forth + back + TOLERANCE, || {
        format!("the least round trip took {least:?} over {forth:?} forth and {back:?} back")
    })
}

async fn link_loss() -> Result<()> {
    const COUNT: usize = 1000;
    const LOSS: f64 = 0.2;
    let shape = Shape::delay(Duration::from_millis(1));
    let pair = Pair::connect(shape)?;
    let (_echo, socket) = pair.echo()?;
    round_trips(&socket, 1).await?;
    let mut runs = Vec::new();
    for _ in 0..2 {
        // Only the way forth loses, so each packet is one draw.
        pair.line.set_shape(Direction::Forth, shape.with_loss(LOSS))?;
        let mut arrived = send_numbers(&pair, &socket, COUNT).await?;
        // Sent without loss and never overtaking: when it is back, so is everything before it.
        pair.line.set_shape(Direction::Forth, shape)?;
        socket.send(b"end").await.map_err(Error::io("sending"))?;
        let mut buffer = [0; 64];
        loop {
            let length = timeout(Duration::from_secs(5), socket.recv(&mut buffer))
                .await
                .map_err(|_| Error::Claim("the last packet was lost".to_owned()))?
                .map_err(Error::io("receiving"))?;
            if buffer[..length] == *b"end" {
                break;
            }
            arrived.insert(buffer[..length].to_vec());
        }
        runs.push(arrived);
    }
    let lost = COUNT - runs[0].len();
    tracing::info!(lost, of = COUNT, "loss");
    let share = lost as f64 / COUNT as f64;
    claim((share - LOSS).abs() < 0.05, || format!("{lost} of {COUNT} lost at {LOSS}"))?;
    claim(runs[0] == runs[1], || "the same seed lost other packets the second time".to_owned())
}

/// Sends numbered packets, no faster than sockets can hold them, until the line has taken in all of them. The ones
/// that have come back by then.
async fn send_numbers(pair: &Pair, socket: &UdpSocket, count: usize) -> Result<BTreeSet<Vec<u8>>> {
    let seen = || {
        let counters = pair.line.counters(Direction::Forth);
        counters.delivered + counters.lost + counters.dropped
    };
    let before = seen();
    let mut arrived = BTreeSet::new();
    let mut buffer = [0; 64];
    for number in 0..count {
        socket.send(&number.to_be_bytes()).await.map_err(Error::io("sending"))?;
        if number % 50 == 49 {
            wait_until(Duration::from_secs(5), || {
                let passed = (seen() - before) as usize;
                Ok(if passed > number { String::new() } else { format!("{} packets", number + 1 - passed) })
            })
            .await?;
            while let Ok(length) = socket.try_recv(&mut buffer) {
                arrived.insert(buffer[..length].to_vec());
            }
        }
    }
    Ok(arrived)
}

async fn link_rate() -> Result<()> {
    const BYTES: usize = 50_000_000;
    const LEAST_MBIT: f64 = 200.0;
    let pair = Pair::connect(Shape::delay(Duration::from_millis(2)))?;
    let sink = pair.hosts[1].runtime("sink")?;
    let source = pair.hosts[0].runtime("source")?;
    let (ready, mut is_ready) = mpsc::channel(1);
    let received = sink.spawn(async move {
        let listener = TcpListener::bind((OTHER, 9)).await?;
        let _ = ready.send(()).await;
        let (mut stream, _) = listener.accept().await?;
        let mut buffer = vec![0; 1 << 18];
        let mut received = 0;
        let start = Instant::now();
        while received < BYTES {
            match stream.read(&mut buffer).await? {
                0 => break,
                length => received += length,
            }
        }
        Ok::<_, std::io::Error>((received, start.elapsed()))
    });
    is_ready.recv().await;
    source.spawn(async move {
        let mut stream = TcpStream::connect((OTHER, 9)).await?;
        let chunk = vec![0; 1 << 18];
        for _ in 0..=BYTES / chunk.len() {
            stream.write_all(&chunk).await?;
        }
        stream.shutdown().await
    });
    let (received, took) =
        received.await.map_err(|error| Error::Claim(error.to_string()))?.map_err(Error::io("receiving"))?;
    let mbit = received as f64 * 8.0 / 1e6 / took.as_secs_f64();
    tracing::info!(mbit, ?took, "throughput");
    claim(received >= BYTES && mbit >= LEAST_MBIT, || format!("{received} bytes at {mbit:.0} Mbit/s"))
}

async fn link_carrier() -> Result<()> {
    let pair = Pair::connect(Shape::delay(Duration::from_millis(1)))?;
    let (_echo, socket) = pair.echo()?;
    round_trips(&socket, 1).await?;
    claim(pair.hosts[0].has_carrier("line")?, || "no carrier at the start".to_owned())?;

    pair.line.set_up(false)?;
    for host in &pair.hosts {
        claim(!host.has_carrier("line")?, || format!("{} has a carrier on a pulled line", host.name()))?;
    }
    let before = pair.line.counters(Direction::Forth).delivered;
    // Without carrier the kernel may refuse to send at all, which is as good.
    let _ = socket.send(b"into the void").await;

    pair.line.set_up(true)?;
    claim(pair.hosts[0].has_carrier("line")?, || "no carrier after plugging in".to_owned())?;
    round_trips(&socket, 3).await?;
    let after = pair.line.counters(Direction::Forth).delivered;
    claim(after > before, || "nothing was delivered after plugging in".to_owned())
}

// ---- world

async fn routers(sandbox: &Sandbox) -> Result<()> {
    let started = Instant::now();
    let world = World::start(WorldSpec::three_regions(), Options::new(None, sandbox.dir())?).await?;
    tracing::info!(took = ?started.elapsed(), "started");
    world.wait_converged(Duration::from_secs(30)).await?;
    tracing::info!(took = ?started.elapsed(), "converged");

    for (from, to) in [("us-east", "eu"), ("us-east", "apac"), ("eu", "apac")] {
        let delay = world.wan(from, to)?.link.shape(Direction::Forth).delay;
        let app = world.region(to)?.apps.first().ok_or_else(|| Error::Claim("no apps".to_owned()))?;
        let clients = world.region(from)?.client.ns.runtime("client")?;
        for address in [app.host.addresses.v4.into(), app.host.addresses.v6.into()] {
            let address = SocketAddr::new(address, plan::APP_HTTP_PORT);
            let answer = clients.spawn(request_work(address)).await;
            let (text, connect) = answer
                .map_err(|error| Error::Claim(error.to_string()))?
                .map_err(Error::io(format!("asking {address} from {from}")))?;
            tracing::info!(from, to, %address, ?connect, "reached");
            claim(text.contains(&format!("\"app\":\"{}\"", app.name())), || {
                format!("{address} said: {text}")
            })?;
            claim(connect >= delay * 2, || {
                format!("{from} reached {to} in {connect:?}, less than {delay:?} twice")
            })?;
        }
    }
    let refused = world.region("eu")?.router.birdc("show nonsense");
    claim(matches!(refused, Err(Error::Bird { .. })), || format!("BIRD took nonsense: {refused:?}"))
}

async fn app_restart(sandbox: &Sandbox) -> Result<()> {
    let world = World::start(WorldSpec::three_regions(), Options::new(None, sandbox.dir())?).await?;
    let region = world.region("eu")?;
    let address = region.apps[0].http_address();
    // The standing connection a prober keeps: its end is how a kill is noticed.
    let prober = region.pop.host.ns.runtime("prober")?;
    let connect = prober.spawn(async move { TcpStream::connect(address).await }).await;
    let mut standing = connect.map_err(|e| Error::Claim(e.to_string()))?.map_err(Error::io("connecting"))?;
    let killed = region.kill_apps()?;
    let noticed = prober.spawn(async move {
        let mut byte = [0];
        let outcome = standing.read(&mut byte).await;
        (outcome.map_or(0, |length| length), Instant::now())
    });
    let (length, at) = timeout(Duration::from_secs(5), noticed)
        .await
        .map_err(|_| Error::Claim("the connection of a killed app stayed open".to_owned()))?
        .map_err(|error| Error::Claim(error.to_string()))?;
    tracing::info!(after = ?at.duration_since(killed), "kill noticed");
    claim(length == 0, || "a killed app sent something".to_owned())?;
    for app in &region.apps {
        let ended = app.wait_ended(Duration::from_secs(5)).await;
        claim(ended.is_some(), || format!("{} survived SIGKILL", app.name()))?;
    }
    let refused =
        prober.spawn(async move { TcpStream::connect(address).await.err().map(|e| e.kind()) }).await;
    claim(matches!(refused, Ok(Some(std::io::ErrorKind::ConnectionRefused))), || {
        format!("a killed app was connected to: {refused:?}")
    })?;
    region.start_apps().await?;
    let answer = prober.spawn(request_work(address)).await.map_err(|e| Error::Claim(e.to_string()))?;
    answer.map(drop).map_err(Error::io("asking a restarted app"))
}

/// Asks an app for `/work`: its answer and how long connecting took.
async fn request_work(address: SocketAddr) -> std::io::Result<(String, Duration)> {
    let start = Instant::now();
    let mut stream = TcpStream::connect(address).await?;
    let connect = start.elapsed();
    stream.write_all(b"GET /work HTTP/1.1\r\nhost: app\r\nconnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok((answer, connect))
}
