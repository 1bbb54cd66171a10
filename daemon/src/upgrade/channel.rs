//! Messages between a process and its successor, with descriptors: over a Unix socket, by calls that wait.
//!
//! ```text
//! octets of JSON, descriptors: 4 octets each, big-endian ─▶ the descriptors, by groups, with an octet each ─▶ JSON
//! ```

use std::{
    io::{self, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    time::{Duration, Instant},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use proxima_sys::{MAX_RIGHTS, receive_with_rights, send_with_rights};
use serde::{Serialize, de::DeserializeOwned};

/// More than any daemon has to say.
const LONGEST: usize = 1 << 30;
/// More than any process may have.
const MOST_DESCRIPTORS: usize = 1 << 20;

/// Why a message did not go, or come.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChannelError {
    /// The other end is closed.
    #[error("the other process has ended")]
    Ended,
    /// Nothing came in time.
    #[error("the other process has said nothing for {:.1} s", .0.as_secs_f64())]
    Silent(Duration),
    /// It can't be put into words.
    #[error("what there is to say can't be written: {0}")]
    Unwritable(String),
    /// It can't be read: by another version, perhaps.
    #[error("what the other process says can't be read: {0}")]
    Unreadable(String),
    /// Anything else.
    #[error("the socket to the other process: {0}")]
    Io(#[from] io::Error),
}

#[derive(Debug, Clone, Copy)]
enum Direction {
    In,
    Out,
}

/// One end.
#[derive(Debug)]
pub(crate) struct Channel(UnixStream);

impl Channel {
    pub(crate) fn new(stream: UnixStream) -> Self {
        Self(stream)
    }

    /// Sends a message, and copies of descriptors with it. Waits until it is on its way, within `patience`.
    ///
    /// # Errors
    /// When the other end is closed, or reads nothing.
    pub(crate) fn send(
        &self,
        message: &impl Serialize,
        descriptors: &[BorrowedFd<'_>],
        patience: Duration,
    ) -> Result<(), ChannelError> {
        let text =
            serde_json::to_vec(message).map_err(|error| ChannelError::Unwritable(error.to_string()))?;
        let until = Instant::now() + patience;
        self.send_all(&text, descriptors, until).map_err(|error| failure(error, patience))
    }

    fn send_all(&self, text: &[u8], descriptors: &[BorrowedFd<'_>], until: Instant) -> io::Result<()> {
        let number = |length: usize| u32::try_from(length).map_err(io::Error::other).map(u32::to_be_bytes);
        let head = [number(text.len())?, number(descriptors.len())?].concat();
        self.write(&head, until)?;
        for group in descriptors.chunks(MAX_RIGHTS) {
            self.again(Direction::Out, until, || send_with_rights(&self.0, &[0], group))?;
        }
        self.write(text, until)
    }

    fn write(&self, mut octets: &[u8], until: Instant) -> io::Result<()> {
        while !octets.is_empty() {
            let written = self.again(Direction::Out, until, || (&self.0).write(octets))?;
            octets = &octets[written..];
        }
        Ok(())
    }

    /// Does it until it is not interrupted by a signal, and no longer than that.
    fn again<T>(
        &self,
        direction: Direction,
        until: Instant,
        mut act: impl FnMut() -> io::Result<T>,
    ) -> io::Result<T> {
        loop {
            let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            match direction {
                Direction::In => self.0.set_read_timeout(Some(left))?,
                Direction::Out => self.0.set_write_timeout(Some(left))?,
            }
            match act() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }

    /// Whether the other end is closed, as far as is known without waiting.
    pub(crate) fn is_ended(&self) -> bool {
        let mut seen = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        poll(&mut seen, PollTimeout::ZERO).is_ok()
            && seen[0].revents().is_some_and(|events| events.contains(PollFlags::POLLHUP))
    }

    /// The next message, with its descriptors.
    ///
    /// # Errors
    /// When none comes within `patience`, or what comes is none.
    pub(crate) fn receive<T: DeserializeOwned>(
        &self,
        patience: Duration,
    ) -> Result<(T, Vec<OwnedFd>), ChannelError> {
        let until = Instant::now() + patience;
        let (text, descriptors) = self.receive_all(until).map_err(|error| failure(error, patience))?;
        let message =
            serde_json::from_slice(&text).map_err(|error| ChannelError::Unreadable(error.to_string()))?;
        Ok((message, descriptors))
    }

    fn receive_all(&self, until: Instant) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
        let mut head = [[0; 4]; 2];
        self.read(head.as_flattened_mut(), until)?;
        let [length, count] = head.map(|number| u32::from_be_bytes(number) as usize);
        if length > LONGEST || count > MOST_DESCRIPTORS {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "no message"));
        }
        let mut descriptors = Vec::new();
        while descriptors.len() < count {
            let receive = || receive_with_rights(&self.0, &mut [0], &mut descriptors);
            if self.again(Direction::In, until, receive)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let mut text = vec![0; length];
        self.read(&mut text, until)?;
        Ok((text, descriptors))
    }

    fn read(&self, mut buffer: &mut [u8], until: Instant) -> io::Result<()> {
        while !buffer.is_empty() {
            match self.again(Direction::In, until, || (&self.0).read(buffer))? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => buffer = &mut buffer[read..],
            }
        }
        Ok(())
    }
}

fn failure(error: io::Error, patience: Duration) -> ChannelError {
    use io::ErrorKind as K;
    match error.kind() {
        K::UnexpectedEof | K::BrokenPipe | K::ConnectionReset => ChannelError::Ended,
        K::WouldBlock | K::TimedOut => ChannelError::Silent(patience),
        K::InvalidData => ChannelError::Unreadable(error.to_string()),
        _ => ChannelError::Io(error),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, thread};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn pair() -> (Channel, Channel) {
        let (one, other) = UnixStream::pair().unwrap();
        (Channel::new(one), Channel::new(other))
    }

    #[test]
    fn a_message_comes_with_all_its_descriptors_however_many() {
        let (here, there) = pair();
        let file = File::open("/dev/null").unwrap();
        let long = "word ".repeat(200_000);
        thread::scope(|scope| {
            scope.spawn(|| {
                here.send(&long, &vec![file.as_fd(); 2 * MAX_RIGHTS + 1], PATIENCE).unwrap();
                here.send(&7, &[], PATIENCE).unwrap();
            });
            let (text, descriptors) = there.receive::<String>(PATIENCE).unwrap();
            assert_eq!((text == long, descriptors.len()), (true, 2 * MAX_RIGHTS + 1));
            assert_eq!(there.receive::<u32>(PATIENCE).unwrap().0, 7);
        });
    }

    #[test]
    fn an_end_a_silence_and_nonsense_are_told_apart() {
        let (here, there) = pair();
        let short = Duration::from_millis(20);
        assert!(matches!(there.receive::<u32>(short), Err(ChannelError::Silent(_))));
        here.send(&"no number", &[], PATIENCE).unwrap();
        let error = there.receive::<u32>(PATIENCE).unwrap_err();
        assert!(matches!(&error, ChannelError::Unreadable(_)), "{error}");
        (&here.0).write_all(&[0xff; 8]).unwrap();
        assert!(matches!(there.receive::<u32>(PATIENCE), Err(ChannelError::Unreadable(_))));
        drop(here);
        assert!(matches!(there.receive::<u32>(PATIENCE), Err(ChannelError::Ended)));
        assert!(matches!(there.send(&1, &[], PATIENCE), Err(ChannelError::Ended)));
    }

    #[test]
    fn one_who_does_not_read_is_not_waited_for() {
        let (here, _there) = pair();
        let long = "word ".repeat(2_000_000);
        assert!(matches!(here.send(&long, &[], Duration::from_millis(50)), Err(ChannelError::Silent(_))));
    }
}
