//! A connection that broke before the worker said how the request ended: decides whether another
//! worker may run the request, and if not, what the client gets and what is logged.

use std::time::{Duration, Instant};

use httpd::{Level, Status};
use wire::Greeting;

use super::{Attempt, Call, PAUSE, Reason};
use crate::handler::Refusal;
use crate::log::{self, Id};
use crate::remote::connection::{Broken, Connection};
use crate::remote::groups::Group;
use crate::remote::refused::show;

/// How long to wait for the supervisor to record how a worker ended.
const EXIT_STATUS_WAIT: Duration = Duration::from_millis(500);

impl Call<'_, '_> {
    /// The connection broke before the worker said how the request ended.
    pub(super) fn broken(
        &mut self,
        group: &Group,
        connection: &mut Connection,
        broken: Broken,
    ) -> Result<Attempt, Refusal> {
        // Without a greeting, no worker accepted the connection. After a reset, the worker has not
        // read everything that was sent; so it has not run the request, if it runs it only after
        // reading all of that.
        let unread = matches!(broken, Broken::Reset) && self.upload.runs_when_read()
            || matches!(broken, Broken::Closed | Broken::Reset) && connection.worker.is_none();
        if unread {
            group.vacate(connection);
        }
        let is_silent = !self.response.has_begun() && self.response.replacement().is_none();
        if unread && is_silent && self.upload.is_repeatable() {
            return Ok(Attempt::NotRun(match connection.is_new() {
                true => Reason::NotAccepted,
                false => Reason::Reset,
            }));
        }
        let fate = fate(group, connection.worker, broken);
        let loss = match broken {
            _ if self.response.has_begun() => Loss::CutOff,
            Broken::NotTaken => Loss::NotTaken,
            Broken::TimedOut => Loss::TimedOut,
            Broken::Closed | Broken::Reset => Loss::Died,
            _ => Loss::Misunderstood,
        };
        let (status, id) = loss.answer();
        let text = self.tell(loss, &show(group), &fate);
        if let Some(replacement) = self.response.replacement() {
            log::script(self.request, Level::ERROR, Id(id), &text);
            return self.replace(replacement).map(Attempt::Answered);
        }
        if self.response.has_begun() {
            log::script(self.request, Level::ERROR, Id(id), &text);
            return Ok(Attempt::Answered(self.response.abort()));
        }
        Err(Refusal::new(status, id, text))
    }

    /// The message about a request that was lost in this process group.
    fn tell(&self, loss: Loss, group: &str, fate: &str) -> String {
        let uri = self.request.uri().to_string_lossy();
        let method = self.request.method().to_string_lossy();
        match loss {
            Loss::CutOff => format!(
                "Unable to proxy response from daemon to client: the answer to {method} {uri} from \
                 process group '{group}' is cut off: {fate}."
            ),
            Loss::NotTaken => format!(
                "Unable to send request details of {method} {uri} to process group '{group}': {fate}."
            ),
            Loss::TimedOut | Loss::Died | Loss::Misunderstood => {
                format!(
                    "No complete answer to {method} {uri} from process group '{group}': {fate}."
                )
            }
        }
    }
}

/// How a request was lost with its connection.
#[derive(Clone, Copy, Debug)]
enum Loss {
    /// Its response had begun.
    CutOff,
    /// No worker has read its head.
    NotTaken,
    /// Its worker was silent for too long.
    TimedOut,
    /// Its worker has closed the connection.
    Died,
    /// Its worker broke the protocol, or the system failed.
    Misunderstood,
}

impl Loss {
    /// The status for the client, and the id of the message.
    fn answer(self) -> (Status, u16) {
        match self {
            Self::CutOff => (Status::OK, 119),
            Self::NotTaken => (Status::INTERNAL_SERVER_ERROR, 121),
            Self::TimedOut => (Status::GATEWAY_TIME_OUT, 145),
            Self::Died => (Status::BAD_GATEWAY, 146),
            Self::Misunderstood => (Status::BAD_GATEWAY, 147),
        }
    }
}

/// What happened to a worker that did not answer, for the message.
fn fate(group: &Group, worker: Option<Greeting>, broken: Broken) -> String {
    let Some(worker) = worker else {
        return broken.to_string();
    };
    let pid = worker.pid;
    if !matches!(broken, Broken::Closed | Broken::Reset) {
        return format!("worker {pid}: {broken}");
    }
    let deadline = Instant::now() + EXIT_STATUS_WAIT;
    loop {
        if let Some(ending) = group.ending_of(worker) {
            let exit = control::describe_exit(ending.status);
            return match ending.reason {
                None => format!("worker {pid} {exit}"),
                Some(reason) => {
                    format!(
                        "worker {pid}, which was to end ({}), {exit}",
                        reason.as_str()
                    )
                }
            };
        }
        if Instant::now() >= deadline {
            return format!("worker {pid}: {broken}");
        }
        std::thread::sleep(PAUSE);
    }
}
