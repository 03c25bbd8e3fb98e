//! `mod_wsgi.server_metrics`: httpd's scoreboard as dicts.

use engine_abi::{Bytes, Scoreboard, ScoreboardProcess, ScoreboardWorker};

use super::metrics::check_none;
use crate::host;
use crate::meter::now;
use crate::process;
use crate::python::{Attached, Object, Owned, Record, Result};

/// Adds the function to the module.
pub(super) fn define<'py>(module: &Object<'py>) -> Result<'py, ()> {
    let doc = c"server_metrics()\n--\n\n\
        What httpd's processes are doing; None if that is not to be told here.";
    let function = module
        .py()
        .function(c"server_metrics", doc, server_metrics)?;
    module.set_attribute(c"server_metrics", &function)
}

fn server_metrics<'py>(py: Attached<'py>, arguments: &[&Object<'py>]) -> Result<'py, Owned<'py>> {
    check_none(py, "server_metrics", arguments)?;
    if !process::config().server_metrics {
        return Ok(py.none().owned());
    }
    let server = py.detach(|detached| host::scoreboard(detached, Server::keep));
    match server {
        Some(server) => server.record(py).map(Record::into_object),
        None => Ok(py.none().owned()),
    }
}

/// An owned [`Scoreboard`]; the fields mean the same.
struct Server {
    server_limit: u32,
    thread_limit: u32,
    generation: i32,
    restart_time: i64,
    processes: Vec<Process>,
}

/// An owned [`ScoreboardProcess`].
struct Process {
    pid: i32,
    generation: i32,
    quiescing: bool,
    workers: Vec<Worker>,
}

/// An owned [`ScoreboardWorker`].
struct Worker {
    number: i32,
    generation: i32,
    status: u8,
    access_count: u64,
    bytes_served: u64,
    start_time: i64,
    stop_time: i64,
    last_used: i64,
    client: Vec<u8>,
    request: Vec<u8>,
    vhost: Vec<u8>,
}

impl Server {
    fn record<'py>(&self, py: Attached<'py>) -> Result<'py, Record<'py>> {
        let (record, now) = (Record::new(py)?, now());
        record.int(c"server_limit", self.server_limit)?;
        record.int(c"thread_limit", self.thread_limit)?;
        record.int(c"running_generation", self.generation)?;
        record.seconds(c"restart_time", self.restart_time)?;
        record.seconds(c"current_time", now)?;
        record.int(
            c"running_time",
            (now - self.restart_time).max(0) / 1_000_000,
        )?;
        let processes = py.list(&[])?;
        for (number, process) in self.processes.iter().enumerate() {
            processes.append(process.record(py, number)?.as_object())?;
        }
        record.object(c"processes", &processes)?;
        Ok(record)
    }
}

impl Process {
    fn record<'py>(&self, py: Attached<'py>, number: usize) -> Result<'py, Record<'py>> {
        let record = Record::new(py)?;
        record.int(c"process_num", number)?;
        record.int(c"pid", self.pid)?;
        record.int(c"generation", self.generation)?;
        record.object(c"quiescing", py.bool(self.quiescing))?;
        let workers = py.list(&[])?;
        for worker in &self.workers {
            workers.append(worker.record(py)?.as_object())?;
        }
        record.object(c"workers", &workers)?;
        Ok(record)
    }
}

impl Worker {
    fn record<'py>(&self, py: Attached<'py>) -> Result<'py, Record<'py>> {
        let record = Record::new(py)?;
        record.int(c"thread_num", self.number)?;
        record.int(c"generation", self.generation)?;
        record.latin1(c"status", &[self.status])?;
        record.int(c"access_count", self.access_count)?;
        record.int(c"bytes_served", self.bytes_served)?;
        record.seconds(c"start_time", self.start_time)?;
        record.seconds(c"stop_time", self.stop_time)?;
        record.seconds(c"last_used", self.last_used)?;
        record.latin1(c"client", &self.client)?;
        record.latin1(c"request", &self.request)?;
        record.latin1(c"vhost", &self.vhost)?;
        Ok(record)
    }
}

impl Server {
    fn keep(scoreboard: &Scoreboard<'_>) -> Self {
        let processes = scoreboard.processes.get().iter();
        Self {
            server_limit: scoreboard.server_limit,
            thread_limit: scoreboard.thread_limit,
            generation: scoreboard.generation,
            restart_time: scoreboard.restart_time,
            processes: processes.map(Process::keep).collect(),
        }
    }
}

impl Process {
    fn keep(process: &ScoreboardProcess<'_>) -> Self {
        Self {
            pid: process.pid,
            generation: process.generation,
            quiescing: process.quiescing,
            workers: process.workers.get().iter().map(Worker::keep).collect(),
        }
    }
}

impl Worker {
    fn keep(worker: &ScoreboardWorker<'_>) -> Self {
        let owned = |bytes: Bytes<'_>| bytes.or_empty().to_vec();
        Self {
            number: worker.number,
            generation: worker.generation,
            status: worker.status,
            access_count: worker.access_count,
            bytes_served: worker.bytes_served,
            start_time: worker.start_time,
            stop_time: worker.stop_time,
            last_used: worker.last_used,
            client: owned(worker.client),
            request: owned(worker.request),
            vhost: owned(worker.vhost),
        }
    }
}
