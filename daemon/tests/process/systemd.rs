//! The unit that comes with the product, under a real systemd: booted in namespaces of its own, over a copy of this host's files.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use crate::support::proxima;

/// Boots systemd with the unit and this script as a service; what the script says is in the directory `$1`.
const BOOT: &str = r#"
set -e
out=$1 daemon=$2 cli=$3 unit=$4
ip link set lo up
room=$(mktemp -d)
mount -t tmpfs none "$room"
mkdir "$room/upper" "$room/work" "$room/root"
root=$room/root
mount -t overlay none -o "lowerdir=/,upperdir=$room/upper,workdir=$room/work" "$root"
mount -t proc none "$root/proc"
mount -t tmpfs none "$root/run"
mount -t tmpfs none "$root/tmp"
mount --rbind /dev "$root/dev"
mount -t sysfs none "$root/sys" 2> /dev/null || mount --rbind /sys "$root/sys"
mount -t cgroup2 none "$root/sys/fs/cgroup"
mkdir "$root/out" "$root/etc/proxima"
mount --bind "$out" "$root/out"
cp "$daemon" "$root/usr/bin/proximad"
cp "$cli" "$root/usr/bin/proxima"
cp "$unit" "$root/etc/systemd/system/proximad.service"
cp "$out/proxima.toml" "$root/etc/proxima/proxima.toml"
units=$root/etc/systemd/system
printf '[Service]\nExecStart=/usr/bin/python3 -m http.server 9000 --bind 127.0.0.1\n' > "$units/app.service"
printf '[Service]\nType=oneshot\nExecStart=/bin/bash /out/script\nExecStopPost=/bin/kill -s RTMIN+5 1\n' > "$units/script.service"
printf '[Unit]\nWants=app.service proximad.service script.service systemd-journald.service\n' > "$units/all.target"
export container=other
exec chroot "$root" /lib/systemd/systemd --system --unit=all.target --show-status=no --log-target=null
"#;

/// Says what becomes of the unit, a word and a number a line.
const SCRIPT: &str = r#"
exec > /out/said 2>&1
until_is() { for _ in $(seq 600); do [ "$(eval "$1")" = "$2" ] && return; sleep 0.05; done; echo "never: $1 is $2"; }
of() { systemctl show proximad --property "$1" --value; }
until_is "of ActiveState" active
echo "first $(of MainPID)"
/usr/bin/proxima upgrade
echo "second $(of MainPID)"
echo "serves $(/usr/bin/proxima --json status | grep -o '"pid":[0-9]*' | cut -d: -f2)"
until_is "pgrep --count proximad" 1
echo "user $(stat -c %U /proc/$(of MainPID))"
kill -KILL "$(of MainPID)"
until_is "of NRestarts" 1
until_is "of ActiveState" active
/usr/bin/proxima upgrade
systemctl stop proximad
echo "state $(of ActiveState)"
echo "result $(of Result)"
journalctl --unit proximad --output cat --no-pager > /out/journal
echo "over 0"
"#;

const CONFIG: &str = r#"
[pop]
name = "fra1"
region = "eu"
router-id = "192.0.2.11"
[regions.eu]
jurisdiction = "EU"
[bgp]
local-as = 64512
[[bgp.peers]]
name = "router"
address = "127.0.0.2"
remote-as = 65000
passive = true
[drain]
graceful-shutdown = "200ms"
withdrawn = "200ms"
streams = "200ms"
[announce.web]
prefixes = ["203.0.113.0/24"]
services = ["web"]
[services.web]
listen = ["203.0.113.1:81"]
protocol = "tcp"
pool = "app"
[pools.app]
probe = { tcp = true, interval = "100ms" }
[[pools.app.backends]]
name = "eu-1"
region = "eu"
address = "127.0.0.1:9000"
"#;

#[test]
fn the_unit_follows_an_upgrade_restarts_what_dies_and_stops_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path();
    fs::write(out.join("proxima.toml"), CONFIG).unwrap();
    fs::write(out.join("script"), SCRIPT).unwrap();
    // Built beside the daemon.
    assert!(proxima(Path::new("/none"), &["--version"]).status.success());
    let daemon = Path::new(env!("CARGO_BIN_EXE_proximad"));
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/proximad.service");
    let mut boot = Command::new("unshare");
    if !nix::unistd::geteuid().is_root() {
        boot.args(["--user", "--map-root-user"]);
    }
    boot.args(["--mount", "--pid", "--fork", "--kill-child", "--uts", "--ipc", "--net", "--cgroup"]);
    boot.args(["--propagation", "private", "bash", "-c", BOOT, "bash"]);
    boot.arg(out).arg(daemon).arg(daemon.with_file_name("proxima")).arg(unit);
    // It ends by a signal, as a machine that is switched off.
    let booted = boot.stdin(Stdio::null()).output().unwrap();
    let said = fs::read_to_string(out.join("said")).unwrap_or_default();
    let journal = fs::read_to_string(out.join("journal")).unwrap_or_default();
    let words = || format!("{said}\n{journal}\n{}", String::from_utf8_lossy(&booted.stderr));
    let of = |word: &str| {
        let mut lines = said.lines().filter_map(|line| line.strip_prefix(word)?.strip_prefix(' '));
        lines.next().unwrap_or_else(|| panic!("no {word} in {}", words())).to_owned()
    };
    assert_eq!(of("over"), "0");
    assert!(!said.contains("never"), "{}", words());
    assert_ne!(of("first"), of("second"), "{}", words());
    assert_eq!(of("second"), of("serves"), "{}", words());
    assert_eq!(of("user"), "proximad", "DynamicUser=yes: {}", words());
    assert_eq!((of("state"), of("result")), ("inactive".to_owned(), "success".to_owned()), "{}", words());
    // Drained: a manager that does not wait for its main process would have killed it at once.
    assert!(
        journal.contains("stopping: SIGTERM") && journal.contains("vip 203.0.113.0/24 removed"),
        "{}",
        words()
    );
}
