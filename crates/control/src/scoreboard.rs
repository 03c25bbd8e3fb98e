//! The link over which workers get copies of httpd's scoreboard.
//!
//! Only httpd's own processes map the scoreboard. So there is a link: the workers of groups with
//! `server-metrics=On` have one end of it, httpd's children the other. To ask, a worker sends one
//! end of a new pair of sockets over the link; the child that receives it writes a copy of the
//! scoreboard there and closes it. If the child ends before that, the socket is closed as well, and
//! the worker gets no copy.
//!
//! Children do not trust workers: a child only sends to the socket, never waits for long, and gives
//! up at the first error.

use std::io::{self, Read as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use engine_abi::{self as abi, Bytes, Slice};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};
use serde::{Deserialize, Serialize};

use crate::channel::{Channel, ChannelError};

/// How long a worker waits for a copy, and a child for a worker that does not read.
const PATIENCE: Duration = Duration::from_secs(2);

/// The largest copy, in bytes: enough for thousands of threads.
const LONGEST: u64 = 16 << 20;

/// The message that carries the socket, since a message must not be empty.
const QUESTION: u8 = 1;

/// A copy of the scoreboard; see [`abi::Scoreboard`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "they are those of the engine's ABI")]
pub struct Scoreboard {
    pub server_limit: u32,
    pub thread_limit: u32,
    pub generation: i32,
    pub restart_time: i64,
    pub processes: Vec<ScoreboardProcess>,
}

/// The place of a process; see [`abi::ScoreboardProcess`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "they are those of the engine's ABI")]
pub struct ScoreboardProcess {
    pub pid: i32,
    pub generation: i32,
    pub quiescing: bool,
    pub workers: Vec<ScoreboardWorker>,
}

/// The place of a thread; see [`abi::ScoreboardWorker`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "they are those of the engine's ABI")]
pub struct ScoreboardWorker {
    pub number: i32,
    pub generation: i32,
    pub status: u8,
    pub access_count: u64,
    pub bytes_served: u64,
    pub start_time: i64,
    pub stop_time: i64,
    pub last_used: i64,
    pub client: Vec<u8>,
    pub request: Vec<u8>,
    pub vhost: Vec<u8>,
}

/// The workers' end of the link.
#[derive(Debug)]
pub struct ScoreboardReader(Channel);

/// The children's end of the link.
#[derive(Debug)]
pub struct ScoreboardSource(Channel);

/// A new link.
///
/// # Errors
///
/// When the system gives no sockets.
pub fn scoreboard_link() -> io::Result<(ScoreboardReader, ScoreboardSource)> {
    let (reader, source) = Channel::pair()?;
    Ok((ScoreboardReader(reader), ScoreboardSource(source)))
}

impl ScoreboardReader {
    /// The end that another process has passed on.
    pub fn from_socket(socket: OwnedFd) -> Self {
        Self(Channel::from_socket(socket))
    }

    /// Asks for a copy, and waits for it.
    ///
    /// # Errors
    ///
    /// When no child of httpd sends one in time.
    pub fn read(&self) -> Result<Scoreboard, ChannelError> {
        let (ours, theirs) = UnixStream::pair()?;
        self.0.send(&QUESTION, &[theirs.as_fd()])?;
        drop(theirs);
        ours.set_read_timeout(Some(PATIENCE))?;
        let mut bytes = Vec::new();
        ours.take(LONGEST).read_to_end(&mut bytes)?;
        Ok(postcard::from_bytes(&bytes)?)
    }
}

impl ScoreboardSource {
    /// Waits for a worker to ask, and sends it what `copy` returns. If that cannot be sent, that is
    /// not an error: the worker is gone.
    ///
    /// # Errors
    ///
    /// When the link is broken.
    pub fn answer(&self, copy: impl FnOnce() -> Option<Scoreboard>) -> Result<(), ChannelError> {
        let descriptors = match self.0.receive::<u8>() {
            Ok((_, descriptors)) => descriptors,
            Err(ChannelError::Malformed(_) | ChannelError::Descriptors) => return Ok(()),
            Err(error) => return Err(error),
        };
        let Some(socket) = descriptors.first() else {
            return Ok(());
        };
        let copy = copy().and_then(|copy| postcard::to_stdvec(&copy).ok());
        // On failure the worker is gone.
        let _ = send_all(socket, &copy.unwrap_or_default());
        Ok(())
    }
}

impl AsFd for ScoreboardReader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsFd for ScoreboardSource {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Sends all bytes, unless the reader stops reading.
fn send_all(socket: &OwnedFd, mut bytes: &[u8]) -> nix::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    while !bytes.is_empty() {
        match send(socket.as_raw_fd(), bytes, flags) {
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => wait_until_writable(socket, deadline)?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn wait_until_writable(socket: &OwnedFd, deadline: Instant) -> nix::Result<()> {
    let rest = deadline.saturating_duration_since(Instant::now());
    let rest = PollTimeout::try_from(rest).unwrap_or(PollTimeout::MAX);
    let mut sockets = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
    match poll(&mut sockets, rest) {
        Ok(0) => Err(Errno::ETIMEDOUT),
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => Err(error),
    }
}

impl Scoreboard {
    /// Lends it in the form of the engine's ABI.
    pub fn lend(&self, take: impl FnOnce(&abi::Scoreboard<'_>)) {
        let workers: Vec<Vec<_>> = self
            .processes
            .iter()
            .map(|process| process.workers.iter().map(ScoreboardWorker::lent).collect())
            .collect();
        let processes: Vec<_> = self
            .processes
            .iter()
            .zip(&workers)
            .map(|(process, workers)| process.lent(workers))
            .collect();
        take(&abi::Scoreboard {
            server_limit: self.server_limit,
            thread_limit: self.thread_limit,
            generation: self.generation,
            restart_time: self.restart_time,
            processes: Slice::new(&processes),
        });
    }
}

impl ScoreboardProcess {
    fn lent<'a>(&self, workers: &'a [abi::ScoreboardWorker<'a>]) -> abi::ScoreboardProcess<'a> {
        abi::ScoreboardProcess {
            pid: self.pid,
            generation: self.generation,
            quiescing: self.quiescing,
            workers: Slice::new(workers),
        }
    }
}

impl ScoreboardWorker {
    fn lent(&self) -> abi::ScoreboardWorker<'_> {
        abi::ScoreboardWorker {
            number: self.number,
            generation: self.generation,
            status: self.status,
            access_count: self.access_count,
            bytes_served: self.bytes_served,
            start_time: self.start_time,
            stop_time: self.stop_time,
            last_used: self.last_used,
            client: Bytes::new(&self.client),
            request: Bytes::new(&self.request),
            vhost: Bytes::new(&self.vhost),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy() -> Scoreboard {
        let worker = ScoreboardWorker {
            status: b'W',
            bytes_served: u64::MAX,
            request: b"GET /\xff HTTP/1.1".to_vec(),
            ..ScoreboardWorker::default()
        };
        Scoreboard {
            server_limit: 64,
            thread_limit: 64,
            processes: vec![
                ScoreboardProcess {
                    pid: 77,
                    workers: vec![worker; 64],
                    ..ScoreboardProcess::default()
                };
                64
            ],
            ..Scoreboard::default()
        }
    }

    #[test]
    fn whoever_asks_gets_a_copy() {
        let (reader, source) = scoreboard_link().unwrap();
        let answering = std::thread::spawn(move || source.answer(|| Some(copy())));
        assert_eq!(reader.read().unwrap(), copy());
        answering.join().unwrap().unwrap();
    }

    #[test]
    fn where_there_is_none_nobody_waits() {
        let (reader, source) = scoreboard_link().unwrap();
        let answering = std::thread::spawn(move || source.answer(|| None));
        assert!(reader.read().is_err());
        answering.join().unwrap().unwrap();
        assert!(reader.read().is_err(), "the other end is gone");
    }

    #[test]
    fn what_is_no_question_does_no_harm() {
        let (reader, source) = scoreboard_link().unwrap();
        reader.0.send(&QUESTION, &[]).unwrap();
        source.answer(|| Some(copy())).unwrap();
        send(reader.as_fd().as_raw_fd(), b"", MsgFlags::empty()).unwrap();
        source.answer(|| Some(copy())).unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        reader.0.send(&(1_u64, "longer"), &[file.as_fd()]).unwrap();
        source.answer(|| Some(copy())).unwrap();
    }
}
