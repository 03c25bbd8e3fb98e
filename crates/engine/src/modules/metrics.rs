//! `mod_wsgi.start_recording_metrics`, `request_metrics`, `process_metrics`: the numbers of
//! [`crate::metrics`] as dicts.

use std::ffi::CStr;

use crate::meter::now;
use crate::metrics::{self, Histogram, Memory, Sample, ThreadSample};
use crate::process;
use crate::python::{Attached, Object, Owned, Raised, Record, Result};

/// Adds the functions to the module.
pub(super) fn define<'py>(module: &Object<'py>) -> Result<'py, ()> {
    let py = module.py();
    let doc = c"start_recording_metrics()\n--\n\nRecord what request_metrics() tells from now on.";
    let start = py.function(c"start_recording_metrics", doc, start_recording_metrics)?;
    module.set_attribute(c"start_recording_metrics", &start)?;
    let doc = c"request_metrics()\n--\n\n\
        What the requests of this process come to since the last call; None if nothing is recorded.";
    let request = py.function(c"request_metrics", doc, request_metrics)?;
    module.set_attribute(c"request_metrics", &request)?;
    let doc = c"process_metrics()\n--\n\n\
        What this process has done and used since its start; None if nothing is recorded.";
    let process = py.function(c"process_metrics", doc, process_metrics)?;
    module.set_attribute(c"process_metrics", &process)
}

fn start_recording_metrics<'py>(
    py: Attached<'py>,
    arguments: &[&Object<'py>],
) -> Result<'py, Owned<'py>> {
    check_none(py, "start_recording_metrics", arguments)?;
    metrics::start_recording();
    Ok(py.none().owned())
}

fn request_metrics<'py>(py: Attached<'py>, arguments: &[&Object<'py>]) -> Result<'py, Owned<'py>> {
    check_none(py, "request_metrics", arguments)?;
    match metrics::take_sample() {
        Some(sample) => request_record(py, &sample).map(Record::into_object),
        None => Ok(py.none().owned()),
    }
}

fn process_metrics<'py>(py: Attached<'py>, arguments: &[&Object<'py>]) -> Result<'py, Owned<'py>> {
    check_none(py, "process_metrics", arguments)?;
    if metrics::is_recording() {
        process_record(py).map(Record::into_object)
    } else {
        Ok(py.none().owned())
    }
}

pub(super) fn check_none<'py>(
    py: Attached<'py>,
    function: &str,
    arguments: &[&Object<'py>],
) -> Result<'py, ()> {
    match arguments {
        [] => Ok(()),
        _ => {
            let count = arguments.len();
            let message = format!("{function}() takes no arguments ({count} given)");
            Err(Raised::type_error(py, &message))
        }
    }
}

fn request_record<'py>(py: Attached<'py>, sample: &Sample) -> Result<'py, Record<'py>> {
    let record = Record::new(py)?;
    let totals = &sample.totals;
    // Two looks may fall into one microsecond.
    let period = ((sample.stop - sample.start).max(1) as f64) / 1e6;
    record.int(c"pid", std::process::id())?;
    record.seconds(c"start_time", sample.start)?;
    record.seconds(c"stop_time", sample.stop)?;
    record.float(c"sample_period", period)?;
    record.int(c"request_count", totals.requests)?;
    record.float(c"request_throughput", totals.requests as f64 / period)?;
    add_threads(&record, sample, period)?;
    add_cpu(&record, sample, period)?;
    add_memory(&record)?;
    for (name, count) in [
        c"status_1xx",
        c"status_2xx",
        c"status_3xx",
        c"status_4xx",
        c"status_5xx",
    ]
    .into_iter()
    .zip(totals.statuses)
    {
        record.int(name, count)?;
    }
    record.int(c"input_bytes", totals.input_bytes)?;
    record.int(c"input_reads", totals.input_reads)?;
    record.int(c"output_bytes", totals.output_bytes)?;
    record.int(c"output_writes", totals.output_writes)?;
    record.int(c"gil_wait_count", totals.gil_waits)?;
    let is_embedded = process::config().is_embedded();
    for (names, times, applies) in [
        (SERVER, &totals.server_time, true),
        (QUEUE, &totals.queue_time, !is_embedded),
        (DAEMON, &totals.daemon_time, !is_embedded),
        (APPLICATION, &totals.application_time, true),
        (REQUEST, &totals.request_time, true),
        (GIL_WAIT, &totals.gil_wait_time, true),
        (INPUT_READ, &totals.input_read_time, true),
        (OUTPUT_WRITE, &totals.output_write_time, true),
    ] {
        add_times(&record, names, times, applies)?;
    }
    Ok(record)
}

/// The names of what is told of a kind of times: mean, minimum, maximum, buckets.
type Names = [&'static CStr; 4];

const SERVER: Names = [
    c"server_time",
    c"server_time_min_us",
    c"server_time_max_us",
    c"server_time_buckets",
];
const QUEUE: Names = [
    c"queue_time",
    c"queue_time_min_us",
    c"queue_time_max_us",
    c"queue_time_buckets",
];
const DAEMON: Names = [
    c"daemon_time",
    c"daemon_time_min_us",
    c"daemon_time_max_us",
    c"daemon_time_buckets",
];
const APPLICATION: Names = [
    c"application_time",
    c"application_time_min_us",
    c"application_time_max_us",
    c"application_time_buckets",
];
const REQUEST: Names = [
    c"request_time",
    c"request_time_min_us",
    c"request_time_max_us",
    c"request_time_buckets",
];
const GIL_WAIT: Names = [
    c"gil_wait_time",
    c"gil_wait_time_min_us",
    c"gil_wait_time_max_us",
    c"gil_wait_time_buckets",
];
const INPUT_READ: Names = [
    c"input_read_time",
    c"input_read_time_min_us",
    c"input_read_time_max_us",
    c"input_read_time_buckets",
];
const OUTPUT_WRITE: Names = [
    c"output_write_time",
    c"output_write_time_min_us",
    c"output_write_time_max_us",
    c"output_write_time_buckets",
];

fn add_times<'py>(
    record: &Record<'py>,
    [mean, minimum, maximum, buckets]: Names,
    times: &Histogram,
    applies: bool,
) -> Result<'py, ()> {
    let none = record.py().none();
    if applies {
        record.float(mean, times.mean())?;
    } else {
        record.object(mean, none)?;
    }
    match times.range() {
        Some((least, most)) => {
            record.int(minimum, least)?;
            record.int(maximum, most)?;
        }
        None => {
            record.object(minimum, none)?;
            record.object(maximum, none)?;
        }
    }
    let counts = times.buckets().iter().map(|&count| i64::from(count));
    record.object(buckets, &*ints(record.py(), counts)?)
}

fn add_threads<'py>(record: &Record<'py>, sample: &Sample, period: f64) -> Result<'py, ()> {
    let (py, threads) = (record.py(), &sample.threads);
    let capacity = period * threads.len() as f64;
    record.float(
        c"capacity_utilization",
        (sample.busy as f64 / 1e6 / capacity).min(1.0),
    )?;
    let is_active = |thread: &&ThreadSample| thread.completed > 0 || thread.busy > 0;
    record.int(c"request_threads_maximum", threads.len())?;
    record.int(c"request_threads_started", counts().len())?;
    record.int(
        c"request_threads_active",
        threads.iter().filter(is_active).count(),
    )?;
    let completed = threads
        .iter()
        .map(|thread| i64::try_from(thread.completed).unwrap_or(i64::MAX));
    let completed = ints(py, completed)?;
    record.object(c"request_threads_completed", &completed)?;
    record.object(c"request_threads_buckets", &completed)?;
    let micros = |pick: fn(&ThreadSample) -> i64| {
        let seconds = threads.iter().map(|thread| pick(thread) as f64 / 1e6);
        floats(py, seconds)
    };
    record.object(
        c"request_threads_busy_time",
        &*micros(|thread| thread.busy)?,
    )?;
    record.object(
        c"request_threads_current_elapsed",
        &*micros(|thread| thread.elapsed)?,
    )?;
    record.object(
        c"request_threads_max_duration",
        &*micros(|thread| thread.longest)?,
    )?;
    let cpu = threads.iter().map(|thread| thread.cpu.as_secs_f64());
    record.object(c"request_threads_cpu_time", &*floats(py, cpu)?)
}

/// How many processors were kept busy. The names in `…_time` are older; they mean the same.
fn add_cpu<'py>(record: &Record<'py>, sample: &Sample, period: f64) -> Result<'py, ()> {
    let user = sample.user_time.as_secs_f64() / period;
    let system = sample.system_time.as_secs_f64() / period;
    for (names, rate) in [
        ([c"cpu_user_utilization", c"cpu_user_time"], user),
        ([c"cpu_system_utilization", c"cpu_system_time"], system),
        ([c"cpu_utilization", c"cpu_time"], user + system),
    ] {
        for name in names {
            record.float(name, rate)?;
        }
    }
    Ok(())
}

fn add_memory<'py>(record: &Record<'py>) -> Result<'py, ()> {
    let memory = Memory::now();
    record.int(c"memory_rss", memory.resident)?;
    record.int(c"memory_max_rss", memory.most_resident)
}

fn process_record(py: Attached<'_>) -> Result<'_, Record<'_>> {
    let (now, record, counts) = (now(), Record::new(py)?, counts());
    let threads = metrics::threads().into_iter();
    let busy: i64 = threads.map(|thread| thread.busy_time(now)).sum();
    let finished: u64 = counts.iter().map(|(_, (_, finished))| finished).sum();
    let begun: u64 = counts.iter().map(|(_, (begun, _))| begun).sum();
    record.int(c"pid", std::process::id())?;
    record.int(c"request_count", finished)?;
    record.seconds(c"request_busy_time", busy)?;
    add_memory(&record)?;
    let (user, system) = metrics::cpu_times();
    record.float(c"cpu_user_time", user.as_secs_f64())?;
    record.float(c"cpu_system_time", system.as_secs_f64())?;
    record.float(c"cpu_time", (user + system).as_secs_f64())?;
    let started = process::config().started_at;
    record.seconds(c"restart_time", started)?;
    record.seconds(c"current_time", now)?;
    record.int(c"running_time", (now - started).max(0) / 1_000_000)?;
    record.int(c"active_requests", begun - finished)?;
    record.int(c"request_threads", counts.len())?;
    let rows = py.list(&[])?;
    for (id, (begun, _)) in counts {
        let row = Record::new(py)?;
        row.int(c"thread_id", id)?;
        row.int(c"request_count", begun)?;
        rows.append(row.as_object())?;
    }
    record.object(c"threads", &rows)?;
    Ok(record)
}

/// The threads that serve requests, by number, and how many each has begun and finished. A worker
/// has its threads from the start, while those of a child are counted as they first come by.
fn counts() -> Vec<(u32, (u64, u64))> {
    let process = process::config();
    let mut numbered: Vec<_> = metrics::threads()
        .into_iter()
        .map(|thread| (thread.id(), thread.counts()))
        .collect();
    if !process.is_embedded() {
        let idle = (1..=process.threads_per_process)
            .filter(|id| !numbered.iter().any(|(known, _)| known == id));
        numbered.extend(idle.map(|id| (id, (0, 0))).collect::<Vec<_>>());
        numbered.sort_unstable();
    }
    numbered
}

fn ints(py: Attached<'_>, values: impl Iterator<Item = i64>) -> Result<'_, Owned<'_>> {
    let list = py.list(&[])?;
    for value in values {
        list.append(&*py.int(value)?)?;
    }
    Ok(list)
}

fn floats(py: Attached<'_>, values: impl Iterator<Item = f64>) -> Result<'_, Owned<'_>> {
    let list = py.list(&[])?;
    for value in values {
        list.append(&*py.float(value)?)?;
    }
    Ok(list)
}
