//! Copies of httpd's scoreboard for `mod_wsgi.server_metrics()`: for applications in this child,
//! and for applications in workers, which do not map the scoreboard.

use control::{ScoreboardProcess, ScoreboardSource, ScoreboardWorker};
use httpd::scoreboard::{Child, Scoreboard, Worker};
use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};

/// A copy of the scoreboard; `None` if there is none.
pub(crate) fn copy() -> Option<control::Scoreboard> {
    let scoreboard = Scoreboard::read()?;
    Some(control::Scoreboard {
        server_limit: scoreboard.server_limit,
        thread_limit: scoreboard.thread_limit,
        generation: scoreboard.generation,
        restart_time: scoreboard.restart_time,
        processes: scoreboard.children.into_iter().map(process).collect(),
    })
}

fn process(child: Child) -> ScoreboardProcess {
    ScoreboardProcess {
        pid: child.pid,
        generation: child.generation,
        quiescing: child.quiescing,
        workers: child.workers.into_iter().map(worker).collect(),
    }
}

fn worker(worker: Worker) -> ScoreboardWorker {
    ScoreboardWorker {
        number: worker.number,
        generation: worker.generation,
        status: u8::try_from(worker.status).unwrap_or(b'?'),
        access_count: worker.access_count,
        bytes_served: worker.bytes_served,
        start_time: worker.start_time,
        stop_time: worker.stop_time,
        last_used: worker.last_used,
        client: worker.client,
        request: worker.request,
        vhost: worker.vhost,
    }
}

/// Starts a thread that answers the workers of a group, for as long as this child lives.
pub(crate) fn serve(source: ScoreboardSource) -> std::io::Result<()> {
    // A new thread inherits the signal mask. All signals are blocked, since they are for httpd's
    // own threads.
    let mut before = SigSet::empty();
    pthread_sigmask(
        SigmaskHow::SIG_SETMASK,
        Some(&SigSet::all()),
        Some(&mut before),
    )?;
    let thread = std::thread::Builder::new().name("wsgi-scoreboard".to_owned());
    let started = thread.spawn(move || while source.answer(copy).is_ok() {});
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
    started.map(drop)
}
