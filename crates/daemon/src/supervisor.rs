//! The supervisor: starts, watches and replaces the workers of every group.
//!
//! One thread, one loop. What can wake it: the httpd parent (a new set of groups, or the end), a
//! worker's word, a worker's death, a moment that was waited for. What then happens to a slot is
//! decided by the state machine in [`slot`]; this loop and [`group`] carry it out.

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

use control::{Channel, ChannelError, GroupSpec, Replacement, ToSupervisor};
use nix::libc::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use signal_hook::{flag, low_level::pipe};

use crate::fault;
use crate::log::{Level, Log};
use group::Group;
use program::Programs;

/// How long httpd may take to read its configuration. Where it takes longer, workers end too early; others
/// are started.
const RECONFIGURATION: Duration = Duration::from_secs(20);

/// How many workers may be starting at a time, on a small machine.
const STARTING_AT_ONCE: usize = 16;

/// Runs the supervisor until httpd is gone and so are all workers, and returns its exit status.
pub(crate) fn run(parent: Channel) -> u8 {
    let log = match Log::inherited() {
        Ok(log) => Arc::new(log),
        Err(_) => return 1,
    };
    fault::tell(log.clone(), "the supervisor".to_owned());
    terminal::leave();
    // Every group takes some descriptors, and there may be hundreds. What cannot be had is missed,
    // and told of, when it is needed.
    let _ = crate::raise_open_files();
    match Supervisor::new(parent) {
        Ok(mut supervisor) => {
            supervisor.run(&log);
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

struct Supervisor {
    parent: Channel,
    groups: Vec<Group>,
    /// The groups of the set that is arriving.
    arriving: Vec<(Box<GroupSpec>, Vec<OwnedFd>)>,
    /// httpd reads its configuration: until when there must be a new set.
    renewal: Option<Instant>,
    /// There was none, so nobody will ask for these groups.
    is_forgotten: bool,
    /// No group is to run any more.
    ending: bool,
    /// Becomes readable when a signal arrived.
    signals: UnixStream,
    terminated: Arc<AtomicBool>,
    /// httpd, as long as it lives.
    parent_id: Pid,
    /// How many workers may be starting at a time.
    starting_at_once: usize,
    programs: Programs,
}

impl Supervisor {
    fn new(parent: Channel) -> io::Result<Self> {
        let (signals, sender) = UnixStream::pair()?;
        signals.set_nonblocking(true)?;
        let terminated = Arc::new(AtomicBool::new(false));
        flag::register(SIGTERM, terminated.clone())?;
        // The link can outlive httpd in a process that it forked.
        nix::sys::prctl::set_pdeathsig(Signal::SIGTERM)?;
        for signal in [SIGCHLD, SIGTERM] {
            pipe::register(signal, sender.try_clone()?)?;
        }
        // Handled, not ignored: workers would inherit that.
        for signal in [SIGINT, SIGHUP, SIGUSR1, SIGUSR2] {
            flag::register(signal, Arc::default())?;
        }
        Ok(Self {
            parent,
            programs: Programs::open(),
            groups: Vec::new(),
            arriving: Vec::new(),
            renewal: None,
            is_forgotten: false,
            ending: false,
            signals,
            terminated,
            parent_id: Pid::parent(),
            starting_at_once: std::thread::available_parallelism()
                .map_or(STARTING_AT_ONCE, |count| {
                    STARTING_AT_ONCE.max(4 * count.get())
                }),
        })
    }

    fn run(&mut self, log: &Log) {
        while !self.is_over() {
            match self.wait() {
                Ok(Ready { parent, workers }) => {
                    // First, while the workers are those that were waited for.
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
                        format_args!("the supervisor fails: {error}"),
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

    /// Starts the workers that are wanted, but only so many at a time: hundreds at once would take
    /// the machine from those that serve, and be ready later. Groups take turns, so that none waits for one
    /// that has many to start, or whose workers die over and over.
    fn start_workers(&mut self) {
        let now = Instant::now();
        let starting: usize = self.groups.iter().map(|group| group.starting(now)).sum();
        for _ in starting..self.starting_at_once {
            // Nothing depends on their order, which changes with each turn.
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
        let mut sources = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
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
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
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

    /// How long nothing will happen by itself.
    fn patience(&self) -> PollTimeout {
        let next = self.groups.iter().filter_map(Group::next_deadline);
        // Those that start may take long, and then others need not wait for them.
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
        while io::Read::read(&mut self.signals, &mut bytes).is_ok_and(|count| count > 0) {}
        if self.terminated.swap(false, Ordering::SeqCst) {
            if Pid::parent() == self.parent_id {
                self.end();
            } else {
                self.end_with_httpd();
            }
        }
        self.groups.iter_mut().for_each(Group::reap);
    }

    fn hear_parent(&mut self, log: &Log) {
        match self.parent.receive_any() {
            Ok((ToSupervisor::Reconfiguring, _)) => {
                self.renewal = Some(Instant::now() + RECONFIGURATION);
            }
            Ok((ToSupervisor::Begin, _)) => {
                self.renewal = None;
                self.is_forgotten = false;
                self.arriving.clear();
            }
            Ok((ToSupervisor::Group(group), descriptors)) => {
                self.arriving.push((group, descriptors));
            }
            Ok((ToSupervisor::Commit, _)) => self.commit(log),
            Ok((ToSupervisor::Stop, _)) | Err(ChannelError::Closed) => self.end_with_httpd(),
            Err(error) => {
                log.line(
                    Level::Crit,
                    1202,
                    format_args!("what httpd says of its process groups cannot be taken: {error}"),
                );
                // httpd starts another supervisor.
                self.end();
            }
        }
    }

    /// Puts the set that arrived in force.
    fn commit(&mut self, log: &Log) {
        let arriving = std::mem::take(&mut self.arriving);
        let kept: Vec<u32> = arriving.iter().map(|(group, _)| group.number).collect();
        for group in &mut self.groups {
            if !kept.contains(&group.number()) {
                group.give_up(Instant::now());
            }
        }
        for (spec, descriptors) in arriving {
            let known = self
                .groups
                .iter_mut()
                .find(|group| group.number() == spec.number);
            let name = spec.name.clone();
            let result = match known {
                Some(group) => group.succeed(spec, descriptors),
                None => Group::new(spec, descriptors).map(|group| self.groups.push(group)),
            };
            if let Err(error) = result {
                let text = format_args!("process group '{name}' cannot be started: {error}");
                log.line(Level::Crit, 1203, text);
            }
        }
    }

    /// Gives all groups up where httpd's new configuration seems to do without this module. If that only takes
    /// long to read, they come back.
    fn check_renewal(&mut self, log: &Log) {
        let now = Instant::now();
        if self.renewal.is_some_and(|renewal| renewal <= now) {
            self.renewal = None;
            self.is_forgotten = true;
            let text = "httpd's new configuration names no process groups to this supervisor; it ends with \
                        those it has";
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

    /// httpd is gone: nobody will ever connect again.
    fn end_with_httpd(&mut self) {
        self.groups.iter().for_each(Group::remove_socket);
        self.end();
    }

    /// All workers end. Another supervisor may go on with the sockets.
    fn end(&mut self) {
        self.ending = true;
        self.groups
            .iter_mut()
            .for_each(|group| group.end(Replacement::ShutdownSignal));
    }
}

/// What can be read from.
struct Ready {
    parent: bool,
    workers: Vec<bool>,
}

/// The first that waits, if one does. It comes behind all others the next time.
fn next_in_turn<T>(all: &mut [T], is_waiting: impl Fn(&T) -> bool) -> Option<&mut T> {
    let index = all.iter().position(is_waiting)?;
    all.rotate_left(index + 1);
    all.last_mut()
}
