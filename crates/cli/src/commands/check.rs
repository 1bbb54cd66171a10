//! `proxima check`: a configuration file's errors, all at once. Needs no daemon.

use std::process::ExitCode;

use proxima_config::Config;

use crate::{
    args::CheckArgs,
    failure::{self, Failure},
    output::Output,
};

const BAD_CONFIG: u8 = 2;

pub(crate) fn run(args: &CheckArgs, output: &mut Output) -> Result<ExitCode, Failure> {
    let file = args.file.display().to_string();
    let text = match std::fs::read_to_string(&args.file) {
        Ok(text) => text,
        Err(error) => {
            failure::tell(
                &format!("cannot read {file}: {error}"),
                Some("name a TOML file you may read, in UTF-8"),
                output.json(),
            );
            return Ok(ExitCode::from(BAD_CONFIG));
        }
    };
    match Config::parse(&text, &file) {
        Ok(config) => {
            if output.json() {
                output.raw(br#"{"errors":[]}"#)?;
            } else {
                output.line(format_args!("{file}: ok: {}", summary(&config)))?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(errors) => {
            if output.json() {
                output.raw(&serde_json::to_vec(&errors).expect("errors have string keys only"))?;
            } else {
                failure::print(&errors);
            }
            Ok(ExitCode::from(BAD_CONFIG))
        }
    }
}

fn summary(config: &Config) -> String {
    let count = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    let backends = config.pools.values().map(|pool| pool.backends.len()).sum();
    [
        format!("{} in {}", config.pop.name, config.pop.region),
        count(config.bgp.peers.len(), "peer"),
        count(config.groups.len(), "group"),
        count(config.services.len(), "service"),
        count(backends, "backend"),
    ]
    .join(", ")
}
