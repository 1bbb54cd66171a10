//! Asks an agent beside the app how it does: the agent-check protocol of HAProxy, over TCP.
//!
//! The prober connects, sends what `send` says if anything, and reads one line:
//!
//! ```text
//! answer  = [ words ] [ "#" reason ] ( CR / LF / end of the connection )
//! words   = word *( separators word )            in any order and case
//! separators = 1*( SP / HTAB / "," )
//! word    = 1*4DIGIT "%"                         this share of the backend's weight
//!         / "up" / "ready"                       serves
//!         / "drain"                              serves whom it has: no new traffic, a share of 0 %
//!         / "maint"                              under maintenance: as down
//!         / "down" / "fail" / "stopped"          does not serve
//!         / "maxconn:" 1*10DIGIT                 of HAProxy; means nothing here
//! ```
//!
//! Each line stands for itself: what it leaves out is as if it said `up 100%`. Of two words that disagree the worse one
//! counts, of two shares the smaller. More than 100 % is 100 %: a share says how much of the configured weight is there. A word
//! of no agent's is a failure, not passed over, so that a port where something else answers is told from an agent.

use proxima_health::{Failure, Findings, Percent, Phase};
use proxima_probe_kind::Agent;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use super::{Check, Checked};
use crate::{
    path::{Deadline, Path, failure},
    said::said,
    standing::Standing,
};

/// The longest line an agent may say, in bytes.
const MAX_LINE: usize = 512;

impl Check for Agent {
    /// The agent ends the connection, so nothing is left standing. How long connecting to it took says nothing about the app.
    async fn check(&self, path: &Path, _standing: Option<Standing>, deadline: Deadline) -> Checked {
        let path = match self.port {
            Some(port) => &path.at_port(port.get()),
            None => path,
        };
        ask(self, path, deadline).await.into()
    }
}

async fn ask(agent: &Agent, path: &Path, deadline: Deadline) -> Result<Findings, Failure> {
    let (mut stream, _) = path.connect(deadline).await?;
    let line = deadline.run(Phase::Answer, async {
        if let Some(greeting) = &agent.send {
            stream.write_all(greeting.as_bytes()).await.map_err(|error| failure(&error))?;
        }
        line(&mut stream).await
    });
    Answer::parse(&line.await?).and_then(Answer::judge)
}

/// The first line, without its end.
async fn line(stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, Failure> {
    let mut line = Vec::with_capacity(64);
    loop {
        if let Some(end) = line.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
            line.truncate(end);
            return Ok(line);
        }
        if line.len() >= MAX_LINE {
            return Err(wrong(format!("its line is longer than {MAX_LINE} bytes")));
        }
        let room = MAX_LINE - line.len();
        match (&mut *stream).take(room as u64).read_buf(&mut line).await {
            Ok(0) if line.is_empty() => return Err(Failure::Closed),
            Ok(0) => return Ok(line),
            Ok(_) => {}
            Err(error) => return Err(failure(&error)),
        }
    }
}

/// The worse, the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Up,
    Drain,
    Maint,
    Down,
}

/// A line, understood.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    state: State,
    /// The word that made it so, as the agent said it.
    word: &'static str,
    share: u8,
    reason: Option<String>,
}

impl Answer {
    fn parse(line: &[u8]) -> Result<Self, Failure> {
        let (words, reason) = match line.iter().position(|byte| *byte == b'#') {
            Some(hash) => (&line[..hash], Some(line[hash + 1..].trim_ascii())),
            None => (line, None),
        };
        let reason = reason.filter(|reason| !reason.is_empty()).map(said);
        let mut answer = Self { state: State::Up, word: "up", share: 100, reason };
        let mut words = words
            .split(|byte| matches!(byte, b' ' | b'\t' | b','))
            .filter(|word| !word.is_empty())
            .peekable();
        if words.peek().is_none() {
            return Err(wrong("it says nothing".to_owned()));
        }
        words.try_for_each(|word| answer.take(word))?;
        Ok(answer)
    }

    fn take(&mut self, word: &[u8]) -> Result<(), Failure> {
        const WORDS: [(&str, State); 7] = [
            ("up", State::Up),
            ("ready", State::Up),
            ("drain", State::Drain),
            ("maint", State::Maint),
            ("down", State::Down),
            ("fail", State::Down),
            ("stopped", State::Down),
        ];
        if let Some((name, state)) = WORDS.iter().find(|(name, _)| word.eq_ignore_ascii_case(name.as_bytes()))
        {
            if *state > self.state {
                (self.word, self.state) = (name, *state);
            }
            return Ok(());
        }
        if let Some(digits) = word.strip_suffix(b"%")
            && let Some(share) = number(digits, 4)
        {
            self.share = self.share.min(u8::try_from(share).unwrap_or(100));
            return Ok(());
        }
        let is_maxconn = word.split_at_checked(8).is_some_and(|(name, digits)| {
            name.eq_ignore_ascii_case(b"maxconn:") && number(digits, 10).is_some()
        });
        if is_maxconn { Ok(()) } else { Err(wrong(format!("it says `{}`, which no agent does", said(word)))) }
    }

    fn judge(self) -> Result<Findings, Failure> {
        match self.state {
            State::Up => Ok(findings(self.share)),
            State::Drain => Ok(findings(0)),
            State::Maint | State::Down => Err(Failure::Refusal {
                detail: match self.reason {
                    Some(reason) => format!("the agent says {}: {reason}", self.word),
                    None => format!("the agent says {}", self.word),
                },
            }),
        }
    }
}

fn findings(share: u8) -> Findings {
    Findings { share: Percent::new(share), ..Findings::default() }
}

/// A decimal number of at most `most` digits.
fn number(digits: &[u8], most: usize) -> Option<u64> {
    let plain = (1..=most).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    plain.then(|| std::str::from_utf8(digits).ok()?.parse().ok())?
}

fn wrong(detail: String) -> Failure {
    Failure::Protocol { detail: format!("the agent: {detail}") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn share(line: &str) -> Result<u8, String> {
        let judged = Answer::parse(line.as_bytes()).and_then(Answer::judge);
        judged.map(|findings| findings.share.unwrap().as_u8()).map_err(|failure| failure.to_string())
    }

    #[test]
    fn lines_of_agents_mean_what_haproxy_s_manual_says() {
        for (line, expected) in [
            ("up", 100),
            ("ready", 100),
            ("75%", 75),
            ("0%", 0),
            ("100%", 100),
            ("up 75%", 75),
            ("75% up", 75),
            ("ready,up,75%", 75),
            ("UP\t30%", 30),
            ("  up  ", 100),
            ("maxconn:30", 100),
            ("up 50% maxconn:30", 50),
            ("drain", 0),
            ("drain 80%", 0),
            ("up # all is well", 100),
            ("250%", 100),
            ("9999%", 100),
            ("75% 50%", 50),
            ("up#", 100),
        ] {
            assert_eq!(share(line), Ok(expected), "{line}");
        }
    }

    #[test]
    fn an_agent_that_says_no_is_quoted() {
        for (line, expected) in [
            ("down", "the agent says down"),
            ("DOWN", "the agent says down"),
            ("fail", "the agent says fail"),
            ("stopped", "the agent says stopped"),
            ("maint", "the agent says maint"),
            ("down#disk full", "the agent says down: disk full"),
            ("down # disk full # really", "the agent says down: disk full # really"),
            ("up down", "the agent says down"),
            ("down up 100%", "the agent says down"),
            ("drain maint", "the agent says maint"),
            ("fail#\x1b[31mred\x07", "the agent says fail: \\u{1b}[31mred\\u{7}"),
        ] {
            let said = share(line).unwrap_err();
            assert!(said.ends_with(expected), "{line}: {said}");
        }
    }

    #[test]
    fn what_is_no_agent_is_not_believed() {
        for line in [
            "",
            "   ",
            "#only a reason",
            "SSH-2.0-OpenSSH_9.2",
            "HTTP/1.1 400 Bad Request",
            "75",
            "%",
            "-5%",
            "+5%",
            "7 5%x",
            "12345%",
            "99999999999999999999%",
            "maxconn:",
            "maxconn:-1",
            "maxconn:12345678901",
            "maxconn",
            "upp",
            "u\u{0}p",
            "üp",
        ] {
            assert!(
                matches!(Answer::parse(line.as_bytes()), Err(Failure::Protocol { .. })),
                "{line:?}: {:?}",
                Answer::parse(line.as_bytes())
            );
        }
    }

    proptest! {
        #[test]
        fn no_line_is_too_strange(line in prop::collection::vec(any::<u8>(), 0..600)) {
            if let Ok(answer) = Answer::parse(&line) {
                prop_assert!(answer.share <= 100);
            }
        }
    }

    /// What is read of `bytes`, sent one by one; the connection then ends if `closes`.
    async fn read(bytes: &[u8], closes: bool) -> Result<Vec<u8>, Failure> {
        let (mut ours, mut theirs) = tokio::io::duplex(1);
        let agent = async {
            for byte in bytes {
                if theirs.write_all(&[*byte]).await.is_err() {
                    break;
                }
            }
            if closes {
                theirs.shutdown().await.unwrap();
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            line = line(&mut ours) => line,
            () = agent => unreachable!("the agent never ends"),
        }
    }

    #[tokio::test]
    async fn a_line_ends_with_its_end_or_with_the_connection() {
        for (bytes, closes) in [
            ("up 5%\n", false),
            ("up 5%\r\n", false),
            ("up 5%\rdown", false),
            ("up 5%", true),
            ("up 5%\n\n", true),
        ] {
            assert_eq!(read(bytes.as_bytes(), closes).await, Ok(b"up 5%".to_vec()), "{bytes:?}");
        }
        assert_eq!(read(b"", true).await, Err(Failure::Closed));
    }

    #[tokio::test]
    async fn an_endless_line_is_cut_off() {
        assert!(matches!(read(&[b'a'; 10_000], false).await, Err(Failure::Protocol { .. })));
    }
}
