//! The observers against a real kernel: they must see what is done before them, and when.

use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    process::Command,
    time::{Duration, Instant},
};

use proxima_types::Prefix;

use super::{FibWatch, MarkerWatch, WireWatch};
use crate::{
    error::{Error, Result},
    link::{self, End},
    netns::NetNs,
};

const LIMIT: Duration = Duration::from_secs(10);
/// Between two clocks, and between the kernel's event and its notification on a busy machine.
const TOLERANCE: Duration = Duration::from_millis(50);
const MARKER: &str = "marker-5d1f";

/// One family's addresses of the two hosts, a prefix, and a BGP message that withdraws it, laid out by hand.
struct Case {
    router: IpAddr,
    pop: IpAddr,
    length: u8,
    prefix: Prefix,
    withdrawal: &'static [u8],
}

/// A router and a PoP host with a link between them: routes come and go, BGP and a marker pass.
pub async fn run() -> Result<()> {
    let (router, pop) = (NetNs::create("router")?, NetNs::create("pop")?);
    let cases = cases()?;
    let addresses = |of: fn(&Case) -> IpAddr| cases.iter().map(|case| (of(case), case.length)).collect();
    link::veth(
        &End { ns: &router, interface: "pop", addresses: addresses(|case| case.router) },
        &End { ns: &pop, interface: "eth0", addresses: addresses(|case| case.pop) },
    )?;
    let fib = FibWatch::start(&router, "pop").await?;
    let wire = WireWatch::start(&router, "pop", cases.iter().map(|case| case.pop).collect())?;
    let marker = MarkerWatch::start(&router, "pop", MARKER)?;
    for case in &cases {
        routes_are_followed(&router, &fib, case).await?;
        withdrawals_are_timed(&router, &pop, &wire, case).await?;
    }
    let (_, capture) = wire.finish()?;
    claim(capture.frames > 0 && capture.dropped == 0, || format!("the capture came to {capture:?}"))?;
    let sightings = marker.finish()?;
    claim(sightings.hits == 2, || format!("the marker passed twice, yet: {sightings:?}"))
}

fn cases() -> Result<[Case; 2]> {
    let address = |text: &str| text.parse::<IpAddr>().map_err(|e| Error::Spec(e.to_string()));
    let prefix = |text: &str| text.parse::<Prefix>().map_err(|e| Error::Spec(e.to_string()));
    Ok([
        Case {
            router: address("10.9.1.1")?,
            pop: address("10.9.1.2")?,
            length: 24,
            prefix: prefix("203.0.113.0/24")?,
            withdrawal: &[0, 27, 2, 0, 4, 24, 203, 0, 113, 0, 0],
        },
        Case {
            router: address("fd00:9:1::1")?,
            pop: address("fd00:9:1::2")?,
            length: 64,
            prefix: prefix("2001:db8:ac::/48")?,
            withdrawal: &[
                0, 36, 2, 0, 0, 0, 13, 0x80, 15, 10, 0, 2, 1, 48, 0x20, 0x01, 0x0d, 0xb8, 0x00, 0xac,
            ],
        },
    ])
}

async fn routes_are_followed(router: &NetNs, fib: &FibWatch, case: &Case) -> Result<()> {
    let (prefix, gateway) = (case.prefix.to_string(), case.pop.to_string());
    let steps: [(&[&str], bool); 4] = [
        (&["replace", &prefix, "via", &gateway], true),
        (&["replace", &prefix, "dev", "lo"], false),
        (&["replace", &prefix, "via", &gateway], true),
        (&["del", &prefix], false),
    ];
    for (arguments, to_pop) in steps {
        let before = Instant::now();
        ip_route(router, case, arguments)?;
        let after = Instant::now();
        let deadline = before + LIMIT;
        let seen = if to_pop {
            fib.reached_pop(case.prefix, before, deadline).await
        } else {
            fib.left_pop(case.prefix, before, deadline).await
        };
        claim(seen.is_some_and(|at| at <= after + TOLERANCE), || {
            format!("ip route {} took until {after:?}, seen at {seen:?}", arguments.join(" "))
        })?;
    }
    Ok(())
}

fn ip_route(host: &NetNs, case: &Case, arguments: &[&str]) -> Result<()> {
    let family = if case.pop.is_ipv4() { "-4" } else { "-6" };
    let mut command = Command::new("ip");
    command.args([family, "route"]).args(arguments);
    let status = host.spawn(&mut command)?.wait().map_err(Error::io("waiting for ip"))?;
    claim(status.success(), || format!("ip route {}: {status}", arguments.join(" ")))
}

async fn withdrawals_are_timed(router: &NetNs, pop: &NetNs, wire: &WireWatch, case: &Case) -> Result<()> {
    let address = SocketAddr::new(case.router, 179);
    let listener = router.run(|| TcpListener::bind(address))?.map_err(Error::io("listening"))?;
    let mut client = pop.run(|| TcpStream::connect(address))?.map_err(Error::io("connecting"))?;
    let (mut server, _) = listener.accept().map_err(Error::io("accepting"))?;
    let start = Instant::now();
    let mut send = |octets: &[u8]| {
        client.write_all(octets).map_err(Error::io("sending"))?;
        let mut read = vec![0; octets.len()];
        server.read_exact(&mut read).map_err(Error::io("receiving"))
    };
    send(&[0xff; 16])?;
    let before = Instant::now();
    send(case.withdrawal)?;
    let after = Instant::now();
    send(MARKER.as_bytes())?;
    let seen = wire.withdrawn(case.prefix, start, start + LIMIT).await;
    let slack = Duration::from_millis(1);
    claim(seen.is_some_and(|at| at + slack >= before && at <= after + slack), || {
        format!("the withdrawal of {} passed from {before:?} to {after:?}, seen at {seen:?}", case.prefix)
    })
}

fn claim(holds: bool, otherwise: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::Claim(otherwise())) }
}
