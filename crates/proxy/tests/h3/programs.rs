//! Clients that others have written.

use std::path::Path;

use tokio::process::Command;

use crate::{
    common::{Backend, Setup, soon},
    support::start,
};

#[tokio::test]
async fn aioquic_asks_and_moves_from_port_to_port() {
    let python = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../python/bin/python3");
    assert!(python.exists(), "{} is missing: `cargo xtask test --only packages` makes it", python.display());
    let backend = Backend::echo().await;
    let world = start(Setup { workers: 4, ..Setup::http(&[backend.address]) });
    let mut client = Command::new(python);
    client.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/h3/client.py"));
    client.arg(world.world.address.port().to_string()).arg(world.authority.file()).kill_on_drop(true);
    let output = soon("the client's end", client.output()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said == "done\n", "{said}{}", String::from_utf8_lossy(&output.stderr));
    let (stats, quic) = (world.world.stats(), world.world.plane.stats().quic);
    assert_eq!((stats.connections, stats.responses[1]), (1, 13));
    assert!(quic.forwarded > 0, "one address in four is its worker's");
}
