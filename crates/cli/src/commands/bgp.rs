//! `proxima bgp`: messages and dumps taken apart. Needs no daemon.

mod decode;
mod dump;
mod input;
mod json;

use std::process::ExitCode;

use crate::{args::BgpCommand, failure::Failure, output::Output};

pub(crate) fn run(command: &BgpCommand, output: &mut Output) -> Result<ExitCode, Failure> {
    match command {
        BgpCommand::Decode(args) => decode::run(args, output),
        BgpCommand::Dump(args) => dump::run(args, output),
    }
}
