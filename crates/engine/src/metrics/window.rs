//! What is recorded between two looks at the metrics.

use std::collections::BTreeMap;
use std::time::Duration;

use super::histogram::Histogram;
use super::{Finished, cpu_times, micros, threads};
use crate::meter::now;
use crate::process;

/// A window that is open.
#[derive(Debug)]
pub(crate) struct Window {
    start: i64,
    cpu: (Duration, Duration),
    /// How long each thread had been busy when the window began, in microseconds.
    busy_before: BTreeMap<u32, i64>,
    totals: Totals,
    threads: BTreeMap<u32, Completed>,
}

/// What the requests of a window come to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) requests: u64,
    /// How many had a status of 1xx, 2xx, and so on.
    pub(crate) statuses: [u64; 5],
    pub(crate) input_bytes: u64,
    pub(crate) input_reads: u64,
    pub(crate) output_bytes: u64,
    pub(crate) output_writes: u64,
    pub(crate) gil_waits: u64,
    pub(crate) server_time: Histogram,
    pub(crate) queue_time: Histogram,
    pub(crate) daemon_time: Histogram,
    pub(crate) application_time: Histogram,
    pub(crate) request_time: Histogram,
    pub(crate) gil_wait_time: Histogram,
    pub(crate) input_read_time: Histogram,
    pub(crate) output_write_time: Histogram,
}

/// What a thread has completed in a window.
#[derive(Clone, Copy, Debug, Default)]
struct Completed {
    count: u64,
    cpu: Duration,
    /// The longest, in microseconds.
    longest: i64,
}

/// A window that has ended. Times are in microseconds.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) start: i64,
    pub(crate) stop: i64,
    pub(crate) user_time: Duration,
    pub(crate) system_time: Duration,
    pub(crate) totals: Totals,
    /// The threads with a number, from one up to what is configured.
    pub(crate) threads: Vec<ThreadSample>,
    /// How long all threads have been busy.
    pub(crate) busy: i64,
}

/// What a thread did in a window. Times are in microseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ThreadSample {
    pub(crate) completed: u64,
    pub(crate) busy: i64,
    pub(crate) cpu: Duration,
    /// How long it has been serving the request it is serving now.
    pub(crate) elapsed: i64,
    /// The longest request that was completed.
    pub(crate) longest: i64,
}

impl Window {
    /// A window that begins now.
    pub(super) fn begin() -> Self {
        let start = now();
        let busy = threads().into_iter();
        Self {
            start,
            cpu: cpu_times(),
            busy_before: busy
                .map(|thread| (thread.id(), thread.busy_time(start)))
                .collect(),
            totals: Totals::default(),
            threads: BTreeMap::new(),
        }
    }

    pub(super) fn record(&mut self, finished: &Finished) {
        self.totals.add(finished);
        let thread = self.threads.entry(finished.timing.thread_id).or_default();
        thread.count += 1;
        thread.cpu += finished.usage.user + finished.usage.system;
        let duration = between(finished.taken_up(), finished.application_finish);
        thread.longest = thread.longest.max(duration);
    }

    /// Ends the window now.
    pub(super) fn end(self) -> Sample {
        let stop = now();
        let (user, system) = cpu_times();
        let busy: BTreeMap<u32, (i64, i64)> = threads()
            .into_iter()
            .map(|thread| {
                let before = self.busy_before.get(&thread.id()).copied();
                let busy = thread.busy_time(stop) - before.unwrap_or_default();
                let elapsed = thread.busy_since().map_or(0, |since| stop - since);
                (thread.id(), (busy.max(0), elapsed.max(0)))
            })
            .collect();
        let slots = 1..=process::config().threads_per_process.max(1);
        let threads = slots.map(|id| {
            let completed = self.threads.get(&id).copied().unwrap_or_default();
            let (busy, elapsed) = busy.get(&id).copied().unwrap_or_default();
            ThreadSample {
                completed: completed.count,
                busy,
                cpu: completed.cpu,
                elapsed,
                longest: completed.longest,
            }
        });
        Sample {
            start: self.start,
            stop,
            user_time: user.saturating_sub(self.cpu.0),
            system_time: system.saturating_sub(self.cpu.1),
            threads: threads.collect(),
            busy: busy.values().map(|(busy, _)| busy).sum(),
            totals: self.totals,
        }
    }
}

impl Totals {
    fn add(&mut self, finished: &Finished) {
        self.requests += 1;
        if let Some(class) = self.statuses.get_mut(finished.status_class()) {
            *class += 1;
        }
        self.input_bytes += finished.input.bytes;
        self.input_reads += finished.input.count;
        self.output_bytes += finished.output.bytes;
        self.output_writes += finished.output.count;
        self.gil_waits += finished.usage.gil_count;
        self.gil_wait_time.add(micros(finished.usage.gil_time));
        self.input_read_time.add(micros(finished.input.time));
        self.output_write_time.add(micros(finished.output.time));
        self.add_phases(finished);
    }

    /// A request goes through the server, the queue, the worker, the application. Without a process
    /// group it goes from the first to the last.
    fn add_phases(&mut self, finished: &Finished) {
        let timing = &finished.timing;
        let application = between(timing.application_start, finished.application_finish);
        let mut whole = application;
        if timing.daemon_start != 0 {
            let queue = between(timing.queue_start, timing.daemon_start);
            let daemon = between(timing.daemon_start, timing.application_start);
            self.queue_time.add(queue);
            self.daemon_time.add(daemon);
            whole = whole.saturating_add(queue).saturating_add(daemon);
        }
        let until = match timing.queue_start {
            0 => timing.application_start,
            queue => queue,
        };
        let server = between(timing.request_start, until);
        whole = whole.saturating_add(server);
        self.server_time.add(server);
        self.application_time.add(application);
        self.request_time.add(whole);
    }
}

impl Finished {
    /// When this process took it up.
    fn taken_up(&self) -> i64 {
        match self.timing.daemon_start {
            0 => self.timing.request_start,
            daemon => daemon,
        }
    }

    /// The place of its status among the classes; the last one if it has none.
    fn status_class(&self) -> usize {
        let status = self.status.unwrap_or(500);
        usize::from((status / 100).clamp(1, 5)) - 1
    }
}

/// How long it is from one time to another, be they what they may: another process says some of
/// them. Nothing where a changed clock has turned them round.
fn between(from: i64, until: i64) -> i64 {
    until.saturating_sub(from).max(0)
}

#[cfg(test)]
mod tests {
    use super::super::{Moved, Timing};
    use super::*;
    use crate::meter::Usage;

    /// A request of which nothing is known but this.
    fn finished(request_start: i64, queue_start: i64, usage: Usage) -> Finished {
        Finished {
            timing: Timing {
                thread_id: 1,
                request_start,
                queue_start,
                daemon_start: 1_000_000,
                application_start: 1_000_000,
                meter: None,
            },
            application_finish: 1_000_000,
            status: Some(200),
            input: Moved::default(),
            output: Moved::default(),
            usage,
        }
    }

    #[test]
    fn waits_for_the_gil_are_summed_up() {
        let mut totals = Totals::default();
        for (gil_count, micros) in [(1, 20), (3, 500)] {
            let gil_time = Duration::from_micros(micros);
            let usage = Usage {
                gil_count,
                gil_time,
                ..Usage::default()
            };
            totals.add(&finished(1_000_000, 1_000_000, usage));
        }
        assert_eq!(totals.gil_waits, 4);
        assert_eq!(totals.gil_wait_time.range(), Some((20, 500)));
        assert!((totals.gil_wait_time.mean() - 260e-6).abs() < 1e-9);
    }

    #[test]
    fn times_may_be_any() {
        let mut totals = Totals::default();
        for (request_start, queue_start) in [(i64::MIN, i64::MIN), (i64::MIN, i64::MAX)] {
            totals.add(&finished(request_start, queue_start, Usage::default()));
        }
        let most = i64::MAX.cast_unsigned();
        assert_eq!(totals.queue_time.range(), Some((0, most)));
        assert_eq!(totals.request_time.range(), Some((most, most)));
        assert_eq!(totals.server_time.range(), Some((0, most)));
    }
}
