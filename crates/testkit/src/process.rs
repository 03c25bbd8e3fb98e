//! Facts about processes, read from `/proc`.

use procfs::ProcError;
use procfs::process::Process as ProcProcess;
use rustix::process::Signal;

/// A process of a running httpd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Process {
    /// Its id.
    pub pid: i32,
}

impl Process {
    /// The running processes whose parent is this one. Dead ones not yet reaped do not count.
    pub fn children(self) -> Vec<Self> {
        let mut children: Vec<Self> = procfs::process::all_processes()
            .expect("/proc")
            .flatten()
            .filter_map(|process| process.stat().ok())
            .filter(|stat| stat.ppid == self.pid && stat.state != 'Z')
            .map(|stat| Self { pid: stat.pid })
            .collect();
        children.sort();
        children
    }

    /// This process's children, their children, and so on.
    pub fn descendants(self) -> Vec<Self> {
        let mut found = self.children();
        let mut next = 0;
        while let Some(process) = found.get(next).copied() {
            found.extend(process.children());
            next += 1;
        }
        found
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
