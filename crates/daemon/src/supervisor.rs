//! The supervisor: starts, watches and replaces the workers of every group.
//!
//! One thread, one loop. It wakes up for a message from httpd's parent (a new set of groups, or the
//! end), a message from a worker, the end of a worker, or a timer. The state machine in [`slot`]
//! decides what then happens to a slot; this loop and [`group`] carry it out. Neither a worker nor a
//! caller in the queue of a group can block the loop: [`closer`] closes what comes from them.

mod closer;
mod cpu_time;
mod equipment;
mod group;
mod inherited;
mod program;
mod slot;
mod spawn;
mod terminal;
#[cfg(test)]
mod tests;
mod worker;

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use control::{Arrival, Channel, ChannelError, GroupSpec, Replacement, ToSupervisor};
use nix::errno::Errno;
use nix::libc::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use signal_hook::{flag, low_level::pipe};

use crate::fault;
use crate::log::{Level, MainLog};
use group::Group;
use program::Programs;

/// How long httpd may take to read its configuration. If it takes longer, all workers end, and new
/// ones are started when httpd has named its groups.
const RECONFIGURATION: Duration = Duration::from_secs(20);

/// How long the supervisor sleeps when the system is out of memory or descriptors.
const PAUSE: Duration = Duration::from_secs(1);

/// How many workers may be starting at a time, on a small machine.
const STARTING_AT_ONCE: usize = 16;

/// Runs the supervisor until httpd is gone and so are all workers, and returns its exit status.
pub(crate) fn run(parent: Channel) -> u8 {
    let log = match MainLog::inherited() {
        Ok(log) => Arc::new(log),
        Err(_) => return 1,
    };
    let fault_log = log.clone();
    fault::tell("the supervisor".to_owned(), move |level, id, text| {
        fault_log.line(level, id, text);
    });
    terminal::leave();
    // Every group takes some descriptors, and there may be hundreds. If the limit cannot be raised,
    // the descriptor that is missing is reported when it is needed.
    let _ = crate::raise_open_files();
    match Signals::watch() {
        Ok(signals) => {
            Supervisor::new(parent, signals).run(&log);
            0
        }
        Err(error) => {
            log.line(
                Level::Crit,
                1200,
                format_args!("the supervisor cannot start: {error}"),
            );
            1
        }
    }
}

/// What came with the description of a group; an error if some of it is missing.
type Descriptors = Result<Vec<OwnedFd>, ChannelError>;

struct Supervisor {
    parent: Channel,
    groups: Vec<Group>,
    /// The groups of the set that is arriving.
    arriving: Vec<(Box<GroupSpec>, Descriptors)>,
    /// Whether a message of that set was lost. It may have been a group, so no group ends because
    /// it is not in the set.
    is_incomplete: bool,
    /// While httpd reads its configuration: when the new set must have arrived.
    renewal: Option<Instant>,
    /// Whether none arrived in time: httpd no longer uses this supervisor.
    is_forgotten: bool,
    /// Whether all groups are ending.
    ending: bool,
    signals: Signals,
    /// The process id of httpd's parent.
    parent_id: Pid,
    /// How many workers may be starting at a time.
    starting_at_once: usize,
    programs: Programs,
}

/// The signals that wake the supervisor.
struct Signals {
    /// Becomes readable when a signal arrives.
    arrivals: UnixStream,
    terminated: Arc<AtomicBool>,
}

impl Signals {
    fn watch() -> io::Result<Self> {
        let (arrivals, sender) = UnixStream::pair()?;
        arrivals.set_nonblocking(true)?;
        let terminated = Arc::new(AtomicBool::new(false));
        flag::register(SIGTERM, terminated.clone())?;
        // The end of the link is not enough: a process that httpd forked may keep the link open.
        nix::sys::prctl::set_pdeathsig(Signal::SIGTERM)?;
        for signal in [SIGCHLD, SIGTERM] {
            pipe::register(signal, sender.try_clone()?)?;
        }
        // Handled, not ignored: workers would inherit ignored signals.
        for signal in [SIGINT, SIGHUP, SIGUSR1, SIGUSR2] {
            flag::register(signal, Arc::default())?;
        }
        Ok(Self {
            arrivals,
            terminated,
        })
    }
}

impl Supervisor {
    fn new(parent: Channel, signals: Signals) -> Self {
        Self {
            parent,
            programs: Programs::open(),
            groups: Vec::new(),
            arriving: Vec::new(),
            is_incomplete: false,
            renewal: None,
            is_forgotten: false,
            ending: false,
            signals,
            parent_id: Pid::parent(),
            starting_at_once: std::thread::available_parallelism()
                .map_or(STARTING_AT_ONCE, |count| {
                    STARTING_AT_ONCE.max(4 * count.get())
                }),
        }
    }

    fn run(&mut self, log: &MainLog) {
        while !self.is_over() {
            match self.wait() {
                Ok(Ready { parent, workers }) => {
                    // First, while the list of workers is still the one that `workers` refers to.
                    self.hear_workers(&workers);
                    self.take_signals();
                    if parent {
                        self.hear_parent(log);
                    }
                    self.check_renewal(log);
                }
                Err(error) => {
                    log.line(
                        Level::Crit,
                        1201,
                        format_args!("the supervisor cannot go on: {error}; httpd starts another"),
                    );
                    return;
                }
            }
            self.groups
                .iter_mut()
                .for_each(|group| group.act(Instant::now()));
            self.start_workers();
            self.groups.retain(|group| !group.is_over());
        }
    }

    /// Starts the workers that are wanted, but only some at a time: hundreds at once would slow
    /// down those that serve, and themselves. Groups take turns, so that none waits for another
    /// that has many workers to start, or whose workers die repeatedly.
    fn start_workers(&mut self) {
        let now = Instant::now();
        let starting: usize = self.groups.iter().map(|group| group.starting(now)).sum();
        for _ in starting..self.starting_at_once {
            // This reorders the groups, which is fine: nothing depends on their order.
            match next_in_turn(&mut self.groups, Group::is_waiting) {
                Some(group) => group.start_next(&mut self.programs),
                None => return,
            }
        }
    }

    fn is_over(&self) -> bool {
        (self.ending || self.is_forgotten) && self.groups.is_empty()
    }

    /// Waits until something happens. Groups and their workers are in the order in which
    /// `hear_workers` walks them.
    fn wait(&self) -> io::Result<Ready> {
        let workers: Vec<BorrowedFd<'_>> = self
            .groups
            .iter()
            .flat_map(Group::channels)
            .map(|channel| channel.as_fd())
            .collect();
        let mut sources = vec![PollFd::new(
            self.signals.arrivals.as_fd(),
            PollFlags::POLLIN,
        )];
        if !self.ending {
            sources.push(PollFd::new(self.parent.as_fd(), PollFlags::POLLIN));
        }
        let first = sources.len();
        sources.extend(
            workers
                .into_iter()
                .map(|fd| PollFd::new(fd, PollFlags::POLLIN)),
        );
        match poll(&mut sources, self.patience()) {
            Ok(_) | Err(Errno::EINTR) => {}
            // The system is out of memory; that may pass.
            Err(Errno::ENOMEM | Errno::EAGAIN) => std::thread::sleep(PAUSE),
            Err(error) => return Err(error.into()),
        }
        let ready: Vec<_> = sources
            .iter()
            .map(|source| source.any().unwrap_or(false))
            .collect();
        Ok(Ready {
            parent: !self.ending && ready.get(1).copied().unwrap_or(false),
            workers: ready.get(first..).unwrap_or_default().to_vec(),
        })
    }

    /// How long to wait at most: until the next timer.
    fn patience(&self) -> PollTimeout {
        let next = self.groups.iter().filter_map(Group::next_deadline);
        // A worker that takes long to start no longer counts as starting, so another may be started
        // then.
        let waiting = self.groups.iter().any(Group::is_waiting);
        let again = waiting.then(|| Instant::now() + Duration::from_secs(1));
        let next = next.chain(again).chain(self.renewal).min();
        next.map_or(PollTimeout::NONE, |deadline| {
            // Rounded up, so that the deadline has come when the wait is over.
            let millis = deadline
                .saturating_duration_since(Instant::now())
                .as_millis()
                + 1;
            PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)
        })
    }

    fn take_signals(&mut self) {
        let mut bytes = [0; 64];
        while io::Read::read(&mut self.signals.arrivals, &mut bytes).is_ok_and(|count| count > 0) {}
        if self.signals.terminated.swap(false, Ordering::SeqCst) {
            if Pid::parent() == self.parent_id {
                self.end();
            } else {
                self.end_with_httpd();
            }
        }
        self.groups.iter_mut().for_each(Group::reap);
    }

    fn hear_parent(&mut self, log: &MainLog) {
        match self.parent.receive_any() {
            Ok(Arrival {
                message,
                descriptors,
            }) => self.take(message, descriptors, log),
            Err(ChannelError::Closed) => self.end_with_httpd(),
            Err(error @ ChannelError::Malformed(_)) => {
                log.line(
                    Level::Crit,
                    1202,
                    format_args!(
                        "what httpd says of its process groups cannot be read: {error}; the \
                         supervisor ends, and httpd starts another"
                    ),
                );
                self.end();
            }
            Err(error) => self.miss(&error, log),
        }
    }

    /// Handles a message from httpd.
    fn take(&mut self, message: ToSupervisor, descriptors: Descriptors, log: &MainLog) {
        match message {
            ToSupervisor::Reconfiguring => {
                self.renewal = Some(Instant::now() + RECONFIGURATION);
            }
            ToSupervisor::Begin { log_form } => {
                self.renewal = None;
                self.is_forgotten = false;
                self.arriving.clear();
                self.is_incomplete = false;
                if let Some(descriptor) = descriptors.into_iter().flatten().next() {
                    log.replace(descriptor, log_form);
                }
            }
            ToSupervisor::Group(group) => self.arriving.push((group, descriptors)),
            ToSupervisor::Commit => self.commit(log),
            ToSupervisor::Stop => self.end_with_httpd(),
        }
    }

    /// A message from httpd is lost: the system had no memory for it, or no descriptor for the file
    /// of a long one. It may have been a group of the new set, so no group ends because it is not
    /// in the set. Nor do all groups end as if httpd had sent no new set.
    fn miss(&mut self, error: &ChannelError, log: &MainLog) {
        log.line(
            Level::Crit,
            1202,
            format_args!(
                "part of what httpd says of its process groups is lost: {error}. Those that run go \
                 on; restart httpd gracefully to have all of it said again"
            ),
        );
        self.is_incomplete = true;
        self.renewal = None;
        self.is_forgotten = false;
        if let ChannelError::Io(_) = error {
            // The message may still be in the socket, and would be tried again at once.
            std::thread::sleep(PAUSE);
        }
    }

    /// Puts the set that has arrived into force. A group that lacks something is not started, or
    /// goes on as it is; the other groups are not affected.
    fn commit(&mut self, log: &MainLog) {
        let arriving = std::mem::take(&mut self.arriving);
        let is_incomplete = std::mem::take(&mut self.is_incomplete);
        let kept: Vec<u32> = arriving.iter().map(|(group, _)| group.number).collect();
        for group in &mut self.groups {
            if is_incomplete || kept.contains(&group.number()) {
                group.keep();
            } else {
                group.give_up(Instant::now());
            }
        }
        for (spec, descriptors) in arriving {
            let known = self
                .groups
                .iter_mut()
                .find(|group| group.number() == spec.number);
            let name = spec.name.clone();
            let fate = match known {
                Some(_) => "goes on as it was",
                None => "cannot be started",
            };
            let result = match (known, descriptors) {
                (_, Err(error)) => Err(error.into()),
                (Some(group), Ok(descriptors)) => group.succeed(spec, descriptors),
                (None, Ok(descriptors)) => {
                    Group::new(spec, descriptors).map(|group| self.groups.push(group))
                }
            };
            if let Err(error) = result {
                let text = format_args!("process group '{name}' {fate}: {error}");
                log.line(Level::Crit, 1203, text);
            }
        }
    }

    /// Gives all groups up if httpd has named none in time: its new configuration does not seem to
    /// load this module. If httpd was only slow to read it, the groups come back.
    fn check_renewal(&mut self, log: &MainLog) {
        let now = Instant::now();
        if self.renewal.is_some_and(|renewal| renewal <= now) {
            self.renewal = None;
            self.is_forgotten = true;
            let text = "httpd's new configuration names no process groups to this supervisor, which \
                        ends them and itself";
            log.line(Level::Notice, 0, text);
            self.groups.iter_mut().for_each(|group| group.give_up(now));
        }
    }

    fn hear_workers(&mut self, ready: &[bool]) {
        let mut ready = ready.iter().copied();
        for group in &mut self.groups {
            group.hear(&mut ready);
        }
    }

    /// httpd has ended, so nobody will connect again.
    fn end_with_httpd(&mut self) {
        self.groups.iter().for_each(Group::remove_socket);
        self.end();
    }

    /// Ends all workers. The sockets stay, for another supervisor.
    fn end(&mut self) {
        self.ending = true;
        self.groups
            .iter_mut()
            .for_each(|group| group.end(Replacement::ShutdownSignal));
    }
}

/// Which links have a message.
struct Ready {
    parent: bool,
    workers: Vec<bool>,
}

/// Takes the first element that waits, and moves it to the end of the slice.
fn next_in_turn<T>(all: &mut [T], is_waiting: impl Fn(&T) -> bool) -> Option<&mut T> {
    let index = all.iter().position(is_waiting)?;
    all.rotate_left(index + 1);
    all.last_mut()
}
