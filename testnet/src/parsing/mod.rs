//! How requests are read: what the daemon refuses, next to what nginx and HAProxy make of the same octets, and what it
//! forwards, read by three backends of other makers.
//!
//! ```text
//!            ┌▶ proximad ─┐                                      ┌▶ hyper
//!  refused ──┼▶ nginx ────┼▶ recorder       forwarded ─▶ proximad ┼▶ Node.js
//!            └▶ HAProxy ──┘                                      └▶ nginx ─▶ hyper
//! ```
//!
//! A request that two programs read differently is how requests are smuggled (RFC 9112 §11.2): the ambiguous ones must not
//! reach a backend, and of the others every backend must see the same method, target, host and body.

mod client;
mod echo;
mod forwarded;
mod programs;
mod recorder;
mod refused;

use std::{net::Ipv4Addr, path::PathBuf};

use crate::{
    error::{Error, Result},
    figures,
    netns::NetNs,
    sandbox::Sandbox,
};

/// Everything listens here, on ports of a network namespace of its own.
const HOST: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// What to show.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Print the tables as a page of the documentation.
    #[arg(long)]
    markdown: bool,
    /// The daemon; by default the one beside this program.
    #[arg(long, value_name = "FILE")]
    proximad: Option<PathBuf>,
}

/// Sends every request of both tables, prints what became of them, and judges.
///
/// # Errors
/// With the requests that were not refused or not read as they have to be; when a program does not start.
#[expect(clippy::print_stdout, reason = "for a person at a terminal")]
pub fn run(options: &Options, sandbox: &Sandbox) -> Result<()> {
    let proximad = figures::proximad(options.proximad.as_deref())?;
    let host = NetNs::create("edge")?;
    let programs = programs::Programs::start(&host, sandbox.dir(), &proximad)?;
    let refused = host.run(|| refused::run(&programs))??;
    let forwarded = host.run(forwarded::run)??;
    programs.check()?;
    if options.markdown {
        print!("{}", page(&refused, &forwarded, &programs::versions()?));
    } else {
        let rows = refused.iter().map(ToString::to_string).chain(forwarded.iter().map(ToString::to_string));
        for row in rows {
            println!("{row}");
        }
    }
    let wrong: Vec<_> = refused
        .iter()
        .filter_map(refused::Row::fault)
        .chain(forwarded.iter().filter_map(forwarded::Row::fault))
        .collect();
    if wrong.is_empty() { Ok(()) } else { Err(Error::Claim(wrong.join("\n"))) }
}

/// The page of the documentation.
fn page(refused: &[refused::Row], forwarded: &[forwarded::Row], versions: &str) -> String {
    let refused: String = refused.iter().map(refused::Row::markdown).collect();
    let forwarded: String = forwarded.iter().map(forwarded::Row::markdown).collect();
    format!(
        "# What is refused, and what is forwarded\n\n\
         This page is written by `proxima-testnet parsing --markdown`, and a test compares it with what happens. Others: {versions}.\n\n\
         ## Refused\n\n\
         Each request is sent whole, on a connection of its own. None of them reaches a backend of proximad, which closes the connection\n\
         after its answer. For the others, **forwarded** says that their backend got something of it, put right or not.\n\n\
         | why | request | proximad | nginx | HAProxy |\n|---|---|---|---|---|\n{refused}\n\
         ## Forwarded\n\n\
         Unusual but good: each is sent with another request right behind it, and hyper, Node.js and nginx as backends read both the same: method,\n\
         target, host, a field and the body.\n\n\
         | what | request |\n|---|---|\n{forwarded}"
    )
}

/// Octets as a person reads them in a table: escaped, the middle of long ones left out.
fn shown(bytes: &[u8]) -> String {
    const ENDS: usize = 60;
    const MOST: usize = 200;
    let escape = |bytes: &[u8]| bytes.escape_ascii().to_string().replace("\\\"", "\"").replace("\\'", "'");
    let whole = if bytes.len() <= MOST {
        escape(bytes)
    } else {
        let (head, tail) = (&bytes[..ENDS], &bytes[bytes.len() - ENDS..]);
        format!("{} … {} octets … {}", escape(head), bytes.len() - 2 * ENDS, escape(tail))
    };
    format!("`{}`", whole.replace('|', "\\|"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_requests_are_shown_by_their_ends() {
        assert_eq!(shown(b"GET /|x HTTP/1.1\r\n"), r"`GET /\|x HTTP/1.1\r\n`");
        let long = shown(&[b'y'; 500]);
        assert!(long.contains("… 380 octets …") && long.len() < 170, "{long}");
    }
}
