//! A sandbox per test, two hosts with a cable, and waiting.

mod lab;
mod pop;
mod tcp;
mod wire;

use std::{
    env,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

pub(crate) use self::{
    lab::{BETWEEN, FAR_POP, FAR_POP_IPV6, INTERFACE, Lab, POP, POP_IPV6, ROUTER, ROUTER_AS, ROUTER_IPV6},
    pop::{APP_PORTS, Pop, Route},
    tcp::{Connection, connections, listens},
    wire::{Headers, Step, Wire},
};

/// What does not happen by then does not happen, however busy the machine is.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);
/// How often the world is looked at.
const INTERVAL: Duration = Duration::from_millis(25);
/// Set for the test binary inside the sandbox.
const INSIDE: &str = "PROXIMA_INTEROP_INSIDE";
const PROXIMA_TESTNET: &str = env!("CARGO_BIN_EXE_proxima-testnet");

/// Runs the calling test's closure in a sandbox of its own: out here, this test binary is started again in there for this
/// one test; in there, the closure runs. However it ends, the kernel ends and removes everything in the sandbox.
pub(crate) fn in_sandbox<F: FnOnce()>(case: F) {
    if env::var_os(INSIDE).is_some() {
        return case();
    }
    // `interop::module::test::{{closure}}`; the harness knows the test without the crate.
    let closure = std::any::type_name::<F>();
    let test = closure.trim_end_matches("::{{closure}}").split_once("::").unwrap().1;
    let output = Command::new(PROXIMA_TESTNET)
        .arg("inside")
        .arg(env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .env_remove("RUST_LOG")
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{test}: {}", output.status);
    assert!(said.contains("1 passed"), "{test} did not run in the sandbox");
}

/// Looks until `look` finds what is wanted; its error says what is seen instead.
pub(crate) fn wait<T>(what: &str, look: impl FnMut() -> Result<T, String>) -> T {
    wait_within(PATIENCE, what, look)
}

/// The same with a deadline of the test's own.
pub(crate) fn wait_within<T>(within: Duration, what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + within;
    loop {
        match look() {
            Ok(found) => return found,
            Err(seen) => assert!(Instant::now() < deadline, "no {what} within {within:?}, but {seen}"),
        }
        thread::sleep(INTERVAL);
    }
}

/// Looks again and again for this long: `look` panics when something happens that must not.
pub(crate) fn hold_for(time: Duration, mut look: impl FnMut()) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        look();
        thread::sleep(INTERVAL);
    }
}
