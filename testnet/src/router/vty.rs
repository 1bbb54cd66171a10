//! FRR's daemons, each asked on its own socket: the lines that `vtysh` hands on for a person, without its process.
//!
//! A line ends with a zero octet, its answer with three and the outcome.

use std::{
    io::{self, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use super::Make;
use crate::error::{Error, Result};

/// A daemon that is busier than this with other things is stuck.
const PATIENCE: Duration = Duration::from_secs(30);
/// Outcomes that are none of an error: CMD_SUCCESS, CMD_WARNING (there is nothing to show), CMD_SUCCESS_DAEMON.
const DONE: [u8; 3] = [0, 1, 10];

/// Gives a daemon these lines, one after the other as at a prompt of their own, and returns what it says to all of them.
///
/// # Errors
/// [`Error::Router`] at the first line that is refused; [`Error::Io`] when the daemon can't be asked.
pub(crate) fn ask(socket: &Path, lines: &[&str]) -> Result<String> {
    let io = |line: &str| Error::io(format!("asking FRR for `{line}` at {}", socket.display()));
    let mut stream = UnixStream::connect(socket).map_err(io("enable"))?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(io("enable"))?;
    let mut told = String::new();
    for line in ["enable"].iter().chain(lines) {
        let (answer, outcome) = converse(&mut stream, line).map_err(io(line))?;
        if !DONE.contains(&outcome) {
            let (make, command) = (Make::Frr.to_string(), (*line).to_owned());
            return Err(Error::Router { make, command, answer });
        }
        told += &answer;
    }
    Ok(told)
}

fn converse(stream: &mut UnixStream, line: &str) -> io::Result<(String, u8)> {
    stream.write_all(line.as_bytes())?;
    stream.write_all(&[0])?;
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        match stream.read(&mut chunk)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            length => answer.extend_from_slice(&chunk[..length]),
        }
        if let [text @ .., 0, 0, 0, outcome] = &answer[..] {
            return Ok((String::from_utf8_lossy(text).into_owned(), *outcome));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::net::UnixListener, thread};

    use super::*;

    /// A daemon that gives these answers in turn, octet by octet; what it was asked.
    fn asked(answers: &'static [&'static [u8]], lines: &[&str]) -> (Result<String>, Vec<u8>) {
        let name = format!("vty-{}-{:?}", std::process::id(), thread::current().id());
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&dir).unwrap();
        let socket = dir.join("bgpd.vty");
        let listener = UnixListener::bind(&socket).unwrap();
        let daemon = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut heard = Vec::new();
            for answer in answers {
                let mut octet = [1];
                while octet != [0] {
                    stream.read_exact(&mut octet).unwrap();
                    heard.push(octet[0]);
                }
                answer.iter().for_each(|octet| stream.write_all(&[*octet]).unwrap());
            }
            heard
        });
        let outcome = ask(&socket, lines);
        std::fs::remove_dir_all(&dir).unwrap();
        (outcome, daemon.join().unwrap())
    }

    #[test]
    fn an_answer_ends_with_three_zeros_and_its_outcome() {
        let (told, heard) = asked(&[b"\0\0\0\0", b"one\0\0\0\0", b"two\0\0\0\x01"], &["first", "second"]);
        assert_eq!(told.unwrap(), "onetwo");
        assert_eq!(heard, b"enable\0first\0second\0");
    }

    #[test]
    fn a_line_that_is_refused_is_an_error_that_names_it() {
        let (told, _) = asked(&[b"\0\0\0\0", b"% Unknown command\0\0\0\x02"], &["nonsense", "not reached"]);
        let error = told.unwrap_err().to_string();
        assert_eq!(error, "FRR answered `nonsense` with: % Unknown command");
    }
}
