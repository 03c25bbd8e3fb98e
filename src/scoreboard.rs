//! The scoreboard of httpd, as `mod_wsgi.server_metrics()` tells it: lent to an engine.

use engine_abi::{self as abi, Bytes, Slice};
use httpd::scoreboard::{Child, Scoreboard, Worker};

/// Lends the scoreboard, in the form of the engine's ABI; nothing happens if there is none.
pub(crate) fn lend(scoreboard: &Scoreboard, take: impl FnOnce(&abi::Scoreboard<'_>)) {
    let workers: Vec<Vec<_>> = scoreboard.children.iter().map(workers).collect();
    let processes: Vec<_> = scoreboard
        .children
        .iter()
        .zip(&workers)
        .map(|(child, workers)| process(child, workers))
        .collect();
    take(&abi::Scoreboard {
        server_limit: scoreboard.server_limit,
        thread_limit: scoreboard.thread_limit,
        generation: scoreboard.generation,
        restart_time: scoreboard.restart_time,
        processes: Slice::new(&processes),
    });
}

fn process<'a>(
    child: &Child,
    workers: &'a [abi::ScoreboardWorker<'a>],
) -> abi::ScoreboardProcess<'a> {
    abi::ScoreboardProcess {
        pid: child.pid,
        generation: child.generation,
        quiescing: child.quiescing,
        workers: Slice::new(workers),
    }
}

fn workers(child: &Child) -> Vec<abi::ScoreboardWorker<'_>> {
    child.workers.iter().map(worker).collect()
}

fn worker(worker: &Worker) -> abi::ScoreboardWorker<'_> {
    abi::ScoreboardWorker {
        number: worker.number,
        generation: worker.generation,
        status: worker.status as u8,
        access_count: worker.access_count,
        bytes_served: worker.bytes_served,
        start_time: worker.start_time,
        stop_time: worker.stop_time,
        last_used: worker.last_used,
        client: Bytes::new(&worker.client),
        request: Bytes::new(&worker.request),
        vhost: Bytes::new(&worker.vhost),
    }
}
