//! The events of a request, as `mod_wsgi.subscribe_events` describes them.
//!
//! Published on the request's thread, only where somebody has subscribed. Nothing that goes wrong
//! here is the application's fault or its concern: it is reported, and the request goes on, unless
//! it was interrupted meanwhile because it takes too long.

use std::sync::Arc;

use crate::interpreter::Interpreter;
use crate::modules::{Event, Served, report_event_failure};
use crate::python::{Attached, Object, Owned, Raised, Record, Result};

use super::Call;

impl Call<'_> {
    /// Whether anybody wants to know of what happens to the request.
    pub(super) fn is_watched(&self, py: Attached<'_>) -> bool {
        self.interpreter.modules().events().are_wanted(py)
    }

    /// `request_started`. Gives the application to call, which a callback can replace.
    pub(super) fn publish_started<'py>(
        &self,
        application: &Object<'py>,
        environ: &Object<'py>,
    ) -> Result<'py, Owned<'py>> {
        let (py, request) = (application.py(), self.request);
        let payload = payload(py, &self.served)?;
        payload.int(c"thread_id", request.thread_id)?;
        payload.int(c"daemon_connects", request.daemon_connects)?;
        payload.int(c"daemon_restarts", request.daemon_restarts)?;
        self.add_server_pid(&payload)?;
        self.add_times(&payload)?;
        payload.seconds(c"application_start", self.timing.application_start)?;
        payload.object(c"application_object", application)?;
        payload.latin1(c"callable_object", request.callable.or_empty())?;
        payload.object(c"request_environ", environ)?;
        self.publish(Event::RequestStarted, &payload)?;
        let name = py.text("application_object")?;
        let replaced = payload.as_object().item(&name)?;
        Ok(replaced.unwrap_or_else(|| application.owned()))
    }

    /// `request_exception`. Returns whether a callback was interrupted.
    pub(super) fn publish_exception(&self, raised: &Raised<'_>) -> bool {
        let py = raised.value().py();
        let payload = payload(py, &self.served).and_then(|payload| {
            payload.object(c"exception_info", &*raised.exc_info()?)?;
            Ok(payload)
        });
        self.publish_or_report(Event::RequestException, payload)
    }

    /// `request_finished`
    pub(super) fn publish_finished(&self, py: Attached<'_>) {
        let payload = payload(py, &self.served).and_then(|payload| {
            self.add_finish(&payload)?;
            Ok(payload)
        });
        self.publish_or_report(Event::RequestFinished, payload);
    }

    fn add_finish<'py>(&self, payload: &Record<'py>) -> Result<'py, ()> {
        payload.int(c"thread_id", self.request.thread_id)?;
        self.add_server_pid(payload)?;
        self.add_times(payload)?;
        let traffic = &self.response.exchange().traffic;
        let finished = self.timing.finish(self.response.status(), traffic);
        let (input, output, usage) = (finished.input, finished.output, finished.usage);
        payload.int(c"input_reads", input.count)?;
        payload.int(c"input_length", input.bytes)?;
        payload.float(c"input_time", input.time.as_secs_f64())?;
        payload.int(c"output_length", output.bytes)?;
        payload.int(c"output_writes", output.count)?;
        payload.float(c"output_time", output.time.as_secs_f64())?;
        if self.timing.meter.is_some() {
            payload.float(c"cpu_user_time", usage.user.as_secs_f64())?;
            payload.float(c"cpu_system_time", usage.system.as_secs_f64())?;
            payload.float(c"cpu_time", (usage.user + usage.system).as_secs_f64())?;
        }
        payload.float(c"gil_wait_time", usage.gil_time.as_secs_f64())?;
        payload.int(c"gil_wait_count", usage.gil_count)?;
        let time = finished.application_finish - self.timing.application_start;
        payload.seconds(c"application_finish", finished.application_finish)?;
        payload.seconds(c"application_time", time)?;
        payload.int(c"status", finished.status.unwrap_or(500))
    }

    fn add_server_pid<'py>(&self, payload: &Record<'py>) -> Result<'py, ()> {
        let pid = self.request.variable(b"mod_wsgi.server_pid");
        let pid = pid.and_then(|pid| str::from_utf8(pid).ok()?.parse::<i64>().ok());
        payload.int(c"server_pid", pid.unwrap_or_default())
    }

    fn add_times<'py>(&self, payload: &Record<'py>) -> Result<'py, ()> {
        payload.seconds(c"request_start", self.request.request_start)?;
        payload.seconds(c"queue_start", self.request.queue_start)?;
        payload.seconds(c"daemon_start", self.request.daemon_start)
    }

    /// Tells of what happens at the end of the request, which ends whatever comes of that. Returns
    /// whether a callback was interrupted because the request took too long.
    fn publish_or_report<'py>(&self, event: Event, payload: Result<'py, Record<'py>>) -> bool {
        let published = payload.and_then(|payload| self.publish(event, &payload));
        published.is_err_and(|raised| {
            let is_timeout = self.report_timeout(&raised);
            if !is_timeout {
                report_event_failure(raised.value().py(), event, &raised);
            }
            is_timeout
        })
    }

    fn publish<'py>(&self, event: Event, payload: &Record<'py>) -> Result<'py, ()> {
        self.interpreter.modules().events().publish(event, payload)
    }
}

/// `response_started`: of a call of `start_response`, which may be on any thread.
pub(super) fn publish_response_started<'py>(
    interpreter: &'static Interpreter,
    served: &Arc<Served>,
    arguments: &[&Object<'py>],
) -> Result<'py, ()> {
    let (&[status, headers] | &[status, headers, _]) = arguments else {
        return Ok(());
    };
    let (py, events) = (status.py(), interpreter.modules().events());
    if !events.are_wanted(py) {
        return Ok(());
    }
    let exc_info = arguments.get(2).copied().unwrap_or(py.none());
    let payload = payload(py, served).and_then(|payload| {
        payload.object(c"response_status", status)?;
        payload.object(c"response_headers", headers)?;
        payload.object(c"exception_info", exc_info)?;
        Ok(payload)
    });
    match payload {
        Ok(payload) => events.publish(Event::ResponseStarted, &payload),
        Err(raised) => {
            report_event_failure(py, Event::ResponseStarted, &raised);
            Ok(())
        }
    }
}

/// What the payloads of all events of a request have.
fn payload<'py>(py: Attached<'py>, served: &Served) -> Result<'py, Record<'py>> {
    let payload = Record::new(py)?;
    if let Some(id) = served.id(py) {
        payload.object(c"request_id", id)?;
    }
    if let Some(data) = served.data(py) {
        payload.object(c"request_data", &data)?;
    }
    Ok(payload)
}
