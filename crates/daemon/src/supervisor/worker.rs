//! A worker as the supervisor sees it: a child process, the link to it, and how long it may live.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{fmt, iter};

use control::{
    Channel, ChannelError, Ending, Failure, FromWorker, Life, Member, Replacement, Stage, ToWorker,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::closer;
use super::slot::{Event, WorkerNumber};

/// How much longer than its own limits allow a worker may take to end before it is killed.
const MARGIN: Duration = Duration::from_secs(1);

/// How long a worker that has not become ready counts as starting.
const START: Duration = Duration::from_secs(3);

/// How long to wait before an order that could not be sent is sent again.
const RETRY: Duration = Duration::from_secs(1);

/// How many messages are read from the link of a worker that has ended. Another process may have
/// inherited the other end, and send without end.
const LAST_WORDS: usize = 64;

/// A worker.
pub(super) struct Worker {
    pub(super) number: WorkerNumber,
    /// The index of its slot.
    pub(super) slot: usize,
    /// The limits that it was started with.
    pub(super) life: Life,
    /// When it is killed, if it has not ended by then.
    kill_at: Option<Instant>,
    /// Whether this process sent it a signal to end it.
    pub(super) is_ended: bool,
    child: Child,
    /// The link to it; `None` once the other end is closed or has broken the protocol. The process
    /// may still run then.
    control: Option<Channel>,
    /// An order that could not be sent yet.
    pending: Option<PendingOrder>,
    /// Why it cannot start, as it said itself.
    failure: Option<Failure>,
    ready: bool,
    started: Instant,
    /// The same in wall-clock time.
    started_at: SystemTime,
    /// Why it was told to end, if it was.
    reason: Option<Replacement>,
}

/// An order that is to be sent again.
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
    /// A worker that has just been started.
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

    /// The link to it, while messages may come.
    pub(super) fn link(&self) -> Option<&Channel> {
        self.control.as_ref()
    }

    /// Whether it is starting. If it takes long it does not count: it is waiting for something.
    pub(super) fn is_starting(&self, now: Instant) -> bool {
        !self.ready && now.saturating_duration_since(self.started) < START
    }

    /// Receives a message; the link is ready. Returns what that means for the slot.
    ///
    /// # Errors
    ///
    /// When the message cannot be read. The worker is killed: without the link it could not ask for
    /// a successor.
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

    /// Closes the link, over which an application may have sent descriptors.
    fn hang_up(&mut self) {
        if let Some(link) = self.control.take() {
            closer::close(link);
        }
    }

    /// Tells it to serve, as this incarnation of its slot.
    pub(super) fn serve(&mut self, incarnation: u32) {
        self.tell(ToWorker::Serve { incarnation });
    }

    /// Tells it to end. If the link is closed although the process runs, its script has executed
    /// another program in its place, which gets SIGTERM.
    pub(super) fn drain(&mut self, reason: Replacement) {
        self.reason = Some(reason);
        self.tell(ToWorker::Drain { reason });
    }

    /// Sends an order. If that fails, for lack of memory for example, it is sent again later; a
    /// signal instead would cut off requests that the worker may finish.
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
                // Otherwise the worker has died.
            }
            Err(_) => {
                let retry = Instant::now() + RETRY;
                self.pending = Some(PendingOrder { order, retry });
            }
        }
    }

    /// Sends an order again that could not be sent, if it is time.
    pub(super) fn tell_again(&mut self, now: Instant) {
        if let Some(pending) = self.pending.take_if(|pending| pending.retry <= now) {
            self.tell(pending.order);
        }
    }

    /// When the next timer of the worker expires.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let retry = self.pending.as_ref().map(|pending| pending.retry);
        self.kill_at.into_iter().chain(retry).min()
    }

    /// Has it killed after `patience`, or when it would be anyway, if that is sooner: a worker that
    /// drains may be told to hurry, but never gets more time.
    pub(super) fn limit(&mut self, patience: Option<Duration>) {
        let deadline = patience.map(|patience| Instant::now() + patience + MARGIN);
        self.kill_at = match (self.kill_at, deadline) {
            (Some(old), Some(new)) => Some(old.min(new)),
            (old, new) => old.or(new),
        };
    }

    /// Ends a worker that was never ready, by SIGTERM: it reads no messages yet, and may load a
    /// script for ever.
    pub(super) fn terminate_unready(&mut self) {
        if !self.ready {
            self.is_ended = true;
            self.signal(Signal::SIGTERM);
        }
    }

    /// Kills it if its time is over. Returns whether it did.
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
            // The process has not been waited for, so the pid is still the worker's.
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    /// How it ended, if it has. Reads the messages that it sent before that.
    pub(super) fn exit(&mut self) -> Option<ExitStatus> {
        // `try_wait` fails only if other code had waited for the process, and there is none.
        let status = self.child.try_wait().ok().flatten()?;
        let words = iter::from_fn(|| self.control.as_ref()?.try_receive().ok()?);
        for word in words.take(LAST_WORDS) {
            if let FromWorker::Failed(why) = word {
                self.failure = Some(why);
            }
        }
        Some(status)
    }

    /// The worker as mod_status shows it.
    pub(super) fn member(&self, stage: Stage) -> Member {
        Member {
            pid: self.pid(),
            stage,
            started: seconds(self.started_at),
        }
    }

    /// How it has just ended, for mod_status.
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

    /// Why it did not start, with the id of the message, if that has an id of its own.
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
    use std::os::fd::AsFd as _;
    use std::process::Command;

    use super::*;
    use crate::testing::lingering;

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
