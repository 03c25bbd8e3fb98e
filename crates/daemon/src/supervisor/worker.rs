//! A worker as the supervisor has it: a child process, the link to it, and how long it may live.

use std::mem::ManuallyDrop;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ExitStatus};
use std::thread::Builder;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{fmt, iter};

use control::{
    Channel, ChannelError, Ending, Failure, FromWorker, Life, Member, Replacement, Stage, ToWorker,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::slot::{Event, WorkerNumber};

/// How much longer than a worker may take by its own rules it is left alone.
const MARGIN: Duration = Duration::from_secs(1);

/// How long a worker that starts is taken to be busy with it.
const START: Duration = Duration::from_secs(3);

/// After what time it is tried again to tell a worker something.
const RETRY: Duration = Duration::from_secs(1);

/// How much of what a worker has said is heard when it is gone: the link may have come into the
/// hands of a process that goes on talking.
const LAST_WORDS: usize = 64;

/// A worker.
pub(super) struct Worker {
    pub(super) number: WorkerNumber,
    /// The index of its slot.
    pub(super) slot: usize,
    /// What it was told of how long things may take.
    pub(super) life: Life,
    /// When it is killed, if it is not gone by then.
    kill_at: Option<Instant>,
    /// It was ended by a signal from here.
    pub(super) is_ended: bool,
    child: Child,
    /// The link to it, unless the other end is gone, or not to be listened to; its exit is still to
    /// come then.
    control: Option<Channel>,
    /// What it could not be told.
    pending: Option<PendingOrder>,
    /// What the worker said of why it cannot start.
    failure: Option<Failure>,
    ready: bool,
    started: Instant,
    /// The same, as the clock on the wall has it.
    started_at: SystemTime,
    /// Why it was told to end, if it was.
    reason: Option<Replacement>,
}

/// What a worker is to be told.
#[derive(Debug)]
struct PendingOrder {
    order: ToWorker,
    retry: Instant,
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.hang_up();
    }
}

impl Worker {
    /// One that was started just now.
    pub(super) fn new(
        number: WorkerNumber,
        slot: usize,
        life: Life,
        (child, control): (Child, Channel),
    ) -> Self {
        Self {
            number,
            slot,
            life,
            kill_at: None,
            is_ended: false,
            child,
            control: Some(control),
            pending: None,
            failure: None,
            ready: false,
            started: Instant::now(),
            started_at: SystemTime::now(),
            reason: None,
        }
    }

    /// The id of its process.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The link to it, as long as it may say something.
    pub(super) fn link(&self) -> Option<&Channel> {
        self.control.as_ref()
    }

    /// Whether it is busy starting. One that takes long is not: it waits for something.
    pub(super) fn is_starting(&self, now: Instant) -> bool {
        !self.ready && now.saturating_duration_since(self.started) < START
    }

    /// Takes what it says; its link is ready. Returns what that means to its slot.
    ///
    /// # Errors
    ///
    /// When its word cannot be taken. It is listened to no more, and killed: nobody would know that
    /// it wants a successor.
    pub(super) fn hear(&mut self) -> Result<Option<Event>, ChannelError> {
        let Some(control) = &self.control else {
            return Ok(None);
        };
        match control.try_receive() {
            Ok(Some(FromWorker::Ready)) => {
                self.ready = true;
                Ok(Some(Event::Ready(self.number)))
            }
            Ok(Some(FromWorker::Prepare)) => Ok(Some(Event::Prepare(self.number))),
            Ok(Some(FromWorker::Replace(reason))) => {
                Ok(Some(Event::WantsSuccessor(self.number, reason)))
            }
            Ok(Some(FromWorker::Failed(why))) => {
                self.failure = Some(why);
                Ok(None)
            }
            Ok(None) => Ok(None),
            Err(ChannelError::Closed) => {
                self.hang_up();
                Ok(None)
            }
            Err(error) => {
                self.hang_up();
                self.is_ended = true;
                self.kill();
                Err(error)
            }
        }
    }

    /// Closes the link, on a thread of its own: with it go the descriptors that an application has
    /// sent over it and nobody has taken, and how long that takes is up to whoever made them.
    fn hang_up(&mut self) {
        let Some(link) = self.control.take() else {
            return;
        };
        let link = ManuallyDrop::new(link);
        let close = move || drop(ManuallyDrop::into_inner(link));
        // Where there is no thread for that, it stays open.
        let _ = Builder::new().name("wsgi-closer".to_owned()).spawn(close);
    }

    /// Has it serve, as the worker of its slot that has this number.
    pub(super) fn serve(&mut self, incarnation: u32) {
        self.tell(ToWorker::Serve { incarnation });
    }

    /// Asks it to end. If its link is closed though it runs, its script has executed another
    /// program in its place, which is told by SIGTERM.
    pub(super) fn drain(&mut self, reason: Replacement) {
        self.reason = Some(reason);
        self.tell(ToWorker::Drain { reason });
    }

    /// Tells it what it is to do. If that cannot be done, because the system has no memory for the
    /// message, say, it is tried again: a signal would cut off what a worker is to finish at its
    /// leisure.
    fn tell(&mut self, order: ToWorker) {
        self.pending = None;
        let link = self.control.as_ref().ok_or(ChannelError::Closed);
        match link.and_then(|link| link.send(&order, &[])) {
            Ok(()) => {}
            Err(ChannelError::Closed) => {
                if matches!(order, ToWorker::Drain { .. }) {
                    self.is_ended = true;
                    self.signal(Signal::SIGTERM);
                }
                // Otherwise it is dead.
            }
            Err(_) => {
                let retry = Instant::now() + RETRY;
                self.pending = Some(PendingOrder { order, retry });
            }
        }
    }

    /// Tries again what it could not be told.
    pub(super) fn tell_again(&mut self, now: Instant) {
        if let Some(pending) = self.pending.take_if(|pending| pending.retry <= now) {
            self.tell(pending.order);
        }
    }

    /// When something is due that nobody will tell.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let retry = self.pending.as_ref().map(|pending| pending.retry);
        self.kill_at.into_iter().chain(retry).min()
    }

    /// Has it killed after `patience`, if that is sooner than it would be anyway: one that was
    /// leaving at its leisure may now have to hurry, never the reverse.
    pub(super) fn limit(&mut self, patience: Option<Duration>) {
        let deadline = patience.map(|patience| Instant::now() + patience + MARGIN);
        self.kill_at = match (self.kill_at, deadline) {
            (Some(old), Some(new)) => Some(old.min(new)),
            (old, new) => old.or(new),
        };
    }

    /// A worker that was never ready does not listen, and may take for ever to load a script. As
    /// long as it does not, this signal ends it.
    pub(super) fn terminate_unready(&mut self) {
        if !self.ready {
            self.is_ended = true;
            self.signal(Signal::SIGTERM);
        }
    }

    /// Kills it if its time is over. Returns whether it was.
    pub(super) fn kill_overdue(&mut self, now: Instant) -> bool {
        let is_overdue = self.kill_at.take_if(|at| *at <= now).is_some();
        if is_overdue {
            self.is_ended = true;
            self.kill();
        }
        is_overdue
    }

    /// Kills it.
    pub(super) fn kill(&self) {
        self.signal(Signal::SIGKILL);
    }

    fn signal(&self, signal: Signal) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            // Not waited for yet, so the pid is still the worker's.
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    /// How it ended, if it has. What it said before that and nobody has heard yet is heard then.
    pub(super) fn exit(&mut self) -> Option<ExitStatus> {
        // An error would mean that somebody else waited for it, which nobody here does.
        let status = self.child.try_wait().ok().flatten()?;
        let words = iter::from_fn(|| self.control.as_ref()?.try_receive().ok()?);
        for word in words.take(LAST_WORDS) {
            if let FromWorker::Failed(why) = word {
                self.failure = Some(why);
            }
        }
        Some(status)
    }

    /// The worker as it is told to those who want to know.
    pub(super) fn member(&self, stage: Stage) -> Member {
        Member {
            pid: self.pid(),
            stage,
            started: seconds(self.started_at),
        }
    }

    /// How it ended just now, likewise.
    pub(super) fn ending(&self, status: ExitStatus) -> Ending {
        Ending {
            pid: self.pid(),
            status: raw(status),
            reason: self.reason,
            at: seconds(SystemTime::now()),
        }
    }

    /// How it ended, in words.
    pub(super) fn cause(&self, status: ExitStatus) -> Cause<'_> {
        let failure = self.failure.as_ref().map(|it| it.text.as_str());
        Cause { status, failure }
    }

    /// Why it did not start, if that is an event of its own, with the id of the message.
    pub(super) fn refusal(&self) -> Option<(u16, &str)> {
        let failure = self.failure.as_ref()?;
        Some((failure.id?, &failure.text))
    }
}

/// How a worker ended, in words, and what it said of the reason: `ended with exit status 1: …`.
pub(super) struct Cause<'a> {
    status: ExitStatus,
    failure: Option<&'a str>,
}

impl fmt::Display for Cause<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&control::describe_exit(raw(self.status)))?;
        match self.failure {
            Some(failure) => write!(f, ": {failure}"),
            None => Ok(()),
        }
    }
}

/// A time in seconds since the epoch.
pub(super) fn seconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

/// The status as wait(2) gives it.
fn raw(status: ExitStatus) -> u32 {
    u32::from_ne_bytes(status.into_raw().to_ne_bytes())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::{AsFd as _, OwnedFd};
    use std::process::Command;

    use nix::sys::socket::{setsockopt, sockopt};

    use super::*;

    /// A process that does nothing, and the other end of the link to it.
    fn worker() -> (Worker, Channel) {
        let (ours, theirs) = Channel::pair().unwrap();
        let child = Command::new("sleep").arg("600").spawn().unwrap();
        let worker = Worker::new(1, 0, Life::default(), (child, ours));
        (worker, theirs)
    }

    #[test]
    fn one_that_cannot_be_told_to_end_is_told_later() {
        let (mut worker, theirs) = worker();
        let link = worker.control.as_ref().unwrap();
        let order = ToWorker::Serve { incarnation: 1 };
        while link.send(&order, &[]).is_ok() {}
        worker.serve(1);
        assert!(worker.next_deadline().is_some(), "it is told later");
        let reason = Replacement::GracefulSignal;
        worker.drain(reason);
        assert!(!worker.is_ended, "it was sent no signal");
        let retry = worker.next_deadline().unwrap();
        worker.tell_again(retry - RETRY);
        assert_eq!(worker.next_deadline(), Some(retry), "it is too early");

        while let Ok(Some(_)) = theirs.try_receive::<ToWorker>() {}
        worker.tell_again(retry);
        assert_eq!(worker.next_deadline(), None);
        let (told, _) = theirs.receive::<ToWorker>().unwrap();
        assert_eq!(told, ToWorker::Drain { reason });
        worker.kill();
        assert_eq!(worker.child.wait().unwrap().signal(), Some(9));
    }

    #[test]
    fn one_that_has_no_link_any_more_is_sent_a_signal() {
        let (mut worker, theirs) = worker();
        drop(theirs);
        // A process that another test is just starting may have a copy for a moment.
        while !worker.is_ended {
            worker.drain(Replacement::GracefulSignal);
        }
        assert_eq!(worker.next_deadline(), None);
        assert_eq!(worker.child.wait().unwrap().signal(), Some(15));
    }

    #[test]
    fn one_that_talks_nonsense_is_killed() {
        let (mut worker, theirs) = worker();
        theirs.send(&u64::MAX, &[]).unwrap();
        let error = worker.hear().unwrap_err();
        assert!(matches!(error, ChannelError::Malformed(_)), "{error}");
        assert!(worker.link().is_none(), "nobody listens to it any more");
        assert_eq!(worker.child.wait().unwrap().signal(), Some(9));
    }

    /// A socket that takes so long to be closed, and its other end.
    fn lingering(seconds: i32) -> (OwnedFd, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (peer, _) = listener.accept().unwrap();
        socket.set_nonblocking(true).unwrap();
        while socket.write(&[0; 1 << 16]).is_ok() {}
        let linger = libc::linger {
            l_onoff: 1,
            l_linger: seconds,
        };
        setsockopt(&socket, sockopt::Linger, &linger).unwrap();
        (socket.into(), peer)
    }

    #[test]
    fn one_that_sends_descriptors_is_killed_and_keeps_nobody_waiting() {
        let begin = Instant::now();
        let (mut worker, theirs) = worker();
        let (socket, _peer) = lingering(60);
        theirs.send(&FromWorker::Ready, &[socket.as_fd()]).unwrap();
        drop(socket);
        let error = worker.hear().unwrap_err();
        assert!(matches!(error, ChannelError::Unwanted), "{error}");
        assert_eq!(worker.child.wait().unwrap().signal(), Some(9));
        assert!(worker.exit().is_some());
        drop(worker);
        assert!(begin.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn one_that_has_sent_descriptors_and_is_gone_keeps_nobody_waiting_either() {
        let begin = Instant::now();
        let (mut worker, theirs) = worker();
        let (socket, _peer) = lingering(60);
        theirs
            .send(&FromWorker::Prepare, &[socket.as_fd()])
            .unwrap();
        drop(socket);
        worker.kill();
        worker.child.wait().unwrap();
        assert!(worker.exit().is_some());
        drop(worker);
        assert!(begin.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn one_that_is_gone_has_a_last_word_and_no_more() {
        let (mut worker, theirs) = worker();
        let failure = Failure {
            text: "its reason".to_owned(),
            id: None,
        };
        theirs.send(&FromWorker::Failed(failure), &[]).unwrap();
        for _ in 0..LAST_WORDS {
            theirs.send(&FromWorker::Prepare, &[]).unwrap();
        }
        worker.kill();
        let status = worker.child.wait().unwrap();
        assert_eq!(worker.exit(), Some(status));
        assert!(worker.cause(status).to_string().contains("its reason"));
        let link = worker.control.as_ref().unwrap();
        let unheard = link.try_receive::<FromWorker>().unwrap();
        assert!(unheard.is_some(), "it could go on for ever");
    }
}
