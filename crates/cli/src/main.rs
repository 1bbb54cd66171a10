//! `proxima`: steers a running `proximad` over its admin socket, and checks configurations.
//!
//! What may be asked is in `args`, how it is asked in `client`, what is printed in `commands` with the help of `output`.
//! `mrt` reads the files of `proxima bgp dump`.
//! Exit codes: 0 done, 1 failed or something malformed was found, 2 bad usage or a bad configuration.

mod args;
mod client;
mod commands;
mod failure;
mod mrt;
mod output;

use std::process::ExitCode;

use crate::{args::Cli, client::Client, failure::Failure, output::Output};

fn main() -> ExitCode {
    let cli = Cli::read();
    match run(&cli) {
        Ok(code) => code,
        Err(failure) if failure.is_broken_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            failure.tell(cli.json);
            failure.exit_code()
        }
    }
}

fn run(cli: &Cli) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let client = Client::new(&cli.socket);
    let mut output = Output::stdout(cli.json);
    runtime.block_on(commands::run(&cli.command, &client, &mut output))
}
