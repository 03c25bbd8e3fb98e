//! Facts about processes, read from `/proc`.

use procfs::ProcError;
use procfs::process::{Process as ProcProcess, Stat};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// A process of a running httpd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Process {
    /// Its id.
    pub pid: i32,
}

impl Process {
    /// The running processes whose parent is this one. Dead ones not yet reaped do not count.
    pub fn children(self) -> Vec<Self> {
        let stats = running().into_iter();
        stats
            .filter(|stat| stat.ppid == self.pid)
            .map(|stat| Self { pid: stat.pid })
            .collect()
    }

    /// This process's children, their children, and so on.
    pub fn descendants(self) -> Vec<Self> {
        let lives = descendants_among(&running(), self);
        lives.into_iter().map(|life| life.process).collect()
    }

    /// The process that asks.
    pub(crate) fn current() -> Self {
        Self {
            pid: rustix::process::getpid().as_raw_nonzero().get(),
        }
    }

    /// Its program and what that was told.
    pub(crate) fn arguments(self) -> Vec<String> {
        let arguments = self.entry().and_then(|process| process.cmdline());
        arguments.unwrap_or_default()
    }

    /// Whether its arguments, its directory, or what it has open or mapped name `path`. One that
    /// may not be looked into names nothing.
    pub(crate) fn refers_to(self, path: &str) -> bool {
        let Ok(process) = self.entry() else {
            return false;
        };
        let directory = process.cwd().into_iter().map(|cwd| format!("{cwd:?}"));
        let mut names = self.arguments().into_iter().chain(directory);
        let files = || process.fd().into_iter().flatten().flatten();
        let maps = || process.maps().into_iter().flatten();
        names.any(|name| name.contains(path))
            || files().any(|file| format!("{:?}", file.target).contains(path))
            || maps().any(|map| format!("{:?}", map.pathname).contains(path))
    }

    /// Whether it runs. A zombie does not.
    pub fn is_running(self) -> bool {
        self.entry()
            .and_then(|process| process.stat())
            .is_ok_and(|stat| stat.state != 'Z')
    }

    /// Whether it has a handler for a signal, which would end it otherwise.
    pub(crate) fn catches(self, signal: Signal) -> bool {
        let status = self.entry().and_then(|process| process.status());
        let bit = 1 << (signal.as_raw() - 1);
        status.is_ok_and(|status| status.sigcgt & bit != 0)
    }

    /// Whether none of its threads runs or is about to. One that is gone is asleep.
    pub fn is_asleep(self) -> bool {
        let states = self
            .entry()
            .and_then(|process| process.tasks())
            .into_iter()
            .flatten();
        states
            .flatten()
            .filter_map(|thread| thread.stat().ok())
            .all(|stat| stat.state == 'S')
    }

    /// Whether SIGSTOP has stopped it: none of its threads goes on, which takes a moment.
    pub fn is_stopped(self) -> bool {
        let threads = self.read(ProcProcess::tasks).flatten();
        threads
            .filter_map(|thread| thread.stat().ok())
            .all(|stat| stat.state == 'T')
    }

    /// How many file descriptors it has open.
    pub fn open_files(self) -> usize {
        self.read(ProcProcess::fd_count)
    }

    /// What its file descriptors are: `socket:[…]`, paths.
    pub fn open_file_names(self) -> Vec<String> {
        self.read(ProcProcess::fd)
            .flatten()
            .map(|fd| format!("{:?}", fd.target))
            .collect()
    }

    /// Its resident memory in KiB.
    pub fn resident_kib(self) -> u64 {
        self.read(ProcProcess::status).vmrss.unwrap_or(0)
    }

    /// The memory it has of what processes share with each other, in KiB.
    pub fn shared_kib(self) -> u64 {
        self.read(ProcProcess::status).rssshmem.unwrap_or(0)
    }

    /// Its share of the memory that it uses, in KiB: what it shares with others counts in parts.
    pub fn proportional_kib(self) -> u64 {
        let rollup = self.read(ProcProcess::smaps_rollup);
        let maps = rollup.memory_map_rollup.into_iter();
        let bytes = maps.filter_map(|map| map.extension.map.get("Pss").copied());
        bytes.sum::<u64>() / 1024
    }

    /// How often its threads have gone to sleep so far.
    pub fn sleeps(self) -> u64 {
        let threads = self.read(ProcProcess::tasks).flatten();
        let statuses = threads.filter_map(|thread| thread.status().ok());
        statuses
            .filter_map(|status| status.voluntary_ctxt_switches)
            .sum()
    }

    /// The effective user it runs as.
    pub fn user(self) -> u32 {
        self.read(ProcProcess::status).euid
    }

    /// How many threads it has.
    pub fn threads(self) -> u64 {
        self.read(ProcProcess::status).threads
    }

    /// Whether it has a thread of this name.
    pub fn has_thread(self, name: &str) -> bool {
        let threads = self.entry().and_then(|process| process.tasks());
        let mut stats = threads.into_iter().flatten().flatten();
        stats.any(|thread| thread.stat().is_ok_and(|stat| stat.comm == name))
    }

    /// Whether a thread of it does not preempt others (`SCHED_BATCH`).
    pub fn has_batch_threads(self) -> bool {
        const SCHED_BATCH: Option<u32> = Some(3);
        let threads = self.read(ProcProcess::tasks).flatten();
        let mut stats = threads.filter_map(|thread| thread.stat().ok());
        stats.any(|stat| stat.policy == SCHED_BATCH)
    }

    /// Whether a file whose path contains `name` is mapped into it.
    pub fn maps(self, name: &str) -> bool {
        self.read(ProcProcess::maps)
            .into_iter()
            .any(|map| format!("{:?}", map.pathname).contains(name))
    }

    fn entry(self) -> Result<ProcProcess, ProcError> {
        ProcProcess::new(self.pid)
    }

    fn read<T>(self, question: impl FnOnce(&ProcProcess) -> Result<T, ProcError>) -> T {
        self.entry()
            .and_then(|process| question(&process))
            .unwrap_or_else(|error| panic!("process {} is not to be seen: {error}", self.pid))
    }
}

/// One process from its start to its end. Afterwards, its number may be that of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) process: Process,
    begun: u64,
}

impl Life {
    pub(crate) fn of(stat: &Stat) -> Self {
        Self {
            process: Process { pid: stat.pid },
            begun: stat.starttime,
        }
    }

    /// Kills this one, and no other that has its number by now.
    pub(crate) fn kill(self) {
        let pid = Pid::from_raw(self.process.pid).expect("the number of a process");
        // What fails is about one that is gone.
        if let Ok(handle) = pidfd_open(pid, PidfdFlags::empty())
            && self.goes_on()
        {
            let _ = pidfd_send_signal(handle, Signal::KILL);
        }
    }

    fn goes_on(self) -> bool {
        let stat = self.process.entry().and_then(|process| process.stat());
        stat.is_ok_and(|stat| Self::of(&stat) == self)
    }

    /// What it is, for whoever looks for the cause that it still is.
    pub(crate) fn describe(self) -> String {
        let stat = self.process.entry().and_then(|process| process.stat());
        let state = stat.map_or('?', |stat| stat.state);
        let arguments = self.process.arguments().join(" ");
        format!("{} ({state}): {arguments}", self.process.pid)
    }
}

/// All processes of this machine that run, by their numbers.
pub(crate) fn running() -> Vec<Stat> {
    let mut stats: Vec<Stat> = procfs::process::all_processes()
        .expect("/proc")
        .flatten()
        .filter_map(|process| process.stat().ok())
        .filter(|stat| stat.state != 'Z')
        .collect();
    stats.sort_by_key(|stat| stat.pid);
    stats
}

/// The children of `ancestor`, their children, and so on.
pub(crate) fn descendants_among(stats: &[Stat], ancestor: Process) -> Vec<Life> {
    let children = |parent: i32| {
        let stats = stats.iter().filter(move |stat| stat.ppid == parent);
        stats.map(Life::of)
    };
    let mut found: Vec<Life> = children(ancestor.pid).collect();
    let mut next = 0;
    while let Some(life) = found.get(next) {
        found.extend(children(life.process.pid));
        next += 1;
    }
    found
}
