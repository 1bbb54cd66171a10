//! The command line of `proximad`.

use std::path::PathBuf;

use clap::Parser;

/// The per-PoP daemon: announces anycast prefixes, probes backends, proxies to the nearest healthy one.
#[derive(Debug, Parser)]
#[command(
    name = "proximad",
    version,
    after_help = "Check a configuration without starting: proxima check FILE"
)]
pub(crate) struct Args {
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = "/etc/proxima/proxima.toml")]
    pub(crate) config: PathBuf,
}
