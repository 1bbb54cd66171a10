//! Network namespaces joined by links, with what runs in them; all gone with the test.
//!
//! The test runs itself again under unshare(1), in new network, mount and process namespaces, as root of a new user
//! namespace where it is not root.
//!
//! ```text
//!  us 10.0.0.1/24 fd00::1/64 ── eth0 ─── eth0 ── 10.0.0.2/24 fd00::2/64 them
//!  us 10.0.1.1/24 fd00:1::1/64 ─ eth1 ─ router ─ eth1 ── 10.0.2.2/24 fd00:2::2/64 them
//! ```

use std::{
    fs::File,
    process::{Child, Command, Stdio},
    thread,
};

use nix::sched::{CloneFlags, setns};

/// Set in the environment of this program when it runs within the namespaces.
const INSIDE: &str = "PROXIMA_BFD_TEST_INSIDE";

const WORLD: &str = r"
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var/tmp
mkdir /run/netns
install -d -o frr -g frr /run/frr
for n in us router them; do
  ip netns add $n
  ip -n $n link set dev lo up
done
ip netns exec router sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
ip link add eth0 netns us type veth peer name eth0 netns them
ip -n us addr add 10.0.0.1/24 dev eth0
ip -n us addr add fd00::1/64 dev eth0 nodad
ip -n them addr add 10.0.0.2/24 dev eth0
ip -n them addr add fd00::2/64 dev eth0 nodad
join() {
  ip link add eth1 netns $1 type veth peer name $1 netns router
  ip -n $1 addr add 10.0.$2.$3/24 dev eth1
  ip -n $1 addr add fd00:$2::$3/64 dev eth1 nodad
  ip -n router addr add 10.0.$2.9/24 dev $1
  ip -n router addr add fd00:$2::9/64 dev $1 nodad
  ip -n $1 link set dev eth1 up
  ip -n router link set dev $1 up
}
join us 1 1
join them 2 2
ip -n us route add 10.0.2.0/24 via 10.0.1.9
ip -n us route add fd00:2::/64 via fd00:1::9
ip -n them route add 10.0.1.0/24 via 10.0.2.9
ip -n them route add fd00:1::/64 via fd00:2::9
for n in us them; do
  ip netns exec $n sysctl -qw net.ipv6.conf.eth0.accept_dad=0 net.ipv6.conf.eth1.accept_dad=0
  ip -n $n link set dev eth0 up
done
";

/// Runs the test `name` of this program again inside. True: this is that run, and the world stands.
pub(crate) fn enter(name: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        shell(WORLD);
        return true;
    }
    let mut unshare = Command::new("unshare");
    unshare.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    if !nix::unistd::geteuid().is_root() {
        unshare.args(["--user", "--map-root-user"]);
    }
    let output = unshare
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .stdin(Stdio::null())
        .output()
        .expect("unshare(1), of the package util-linux");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "inside the namespaces: {said}");
    false
}

/// What `script` prints.
pub(crate) fn shell(script: &str) -> String {
    let output = Command::new("sh").args(["-ec", script]).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs `f` in a namespace; what it starts stays there.
pub(crate) fn within<T: Send>(namespace: &str, f: impl FnOnce() -> T + Send) -> T {
    let file = File::open(format!("/run/netns/{namespace}")).unwrap();
    thread::scope(|scope| {
        scope
            .spawn(move || {
                setns(file, CloneFlags::CLONE_NEWNET).unwrap();
                f()
            })
            .join()
            .unwrap()
    })
}

/// A process in a namespace; killed when dropped.
pub(crate) struct Process(pub(crate) Child);

impl Process {
    pub(crate) fn start(namespace: &str, program: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
        let child = within(namespace, || command.spawn());
        Self(child.unwrap_or_else(|error| panic!("{program}: {error}; `cargo xtask test` installs it")))
    }

    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.0.id().cast_signed()), signal).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
