//! What the application returned, on its way to the client.
//!
//! PEP 3333: each item of the iterable goes out before the next one is asked for; `close()` is
//! called when the request is over, however it ends. A list or tuple of bytes has no such moments:
//! it goes out in one piece, which in the usual case is copied, so that neither the objects nor
//! the GIL are needed any more when a slow client gets it.

use engine_abi::{Bytes, FileRegion, Level, Outcome};

use super::Call;
use super::file_wrapper::{FileWrapper, keeping_position};
use super::response::{Response, Unsent};
use super::start_response::raise;
use crate::log;
use crate::python::{Attached, Detached, Object, Owned, Raised, Result};

/// Bodies up to this size are copied. Copying one takes a few microseconds, which is less than
/// taking the GIL once more in order to free it.
const COPIED: usize = 64 * 1024;

/// The id of the line that says why `close()` was not called.
const NO_CLOSE: u16 = 194;

/// What is left to do for a response.
#[derive(Debug)]
pub(super) enum Rest {
    /// Sending this, which is all or the end of it.
    Finish(Vec<u8>),
    /// Nothing.
    Over(Outcome),
    /// Letting the client see that the application failed.
    Fail,
    /// Letting the client see that the request took too long.
    TimeOut,
}

impl Rest {
    /// Does it.
    pub(super) fn finish(self, detached: &Detached, response: &Response) -> Outcome {
        match self {
            Self::Finish(data) => response.finish(detached, &[Bytes::new(&data)]),
            Self::Over(outcome) => outcome,
            Self::Fail => response.fail(detached),
            Self::TimeOut => response.time_out(detached),
        }
    }
}

impl Call<'_> {
    /// Sends what the application returned, as far as that needs the GIL.
    pub(super) fn deliver<'py>(&self, result: &Object<'py>) -> Rest {
        let delivered = match result.exact_items() {
            Some(items) => self.deliver_items(result, &items),
            None => return self.deliver_iterable(result),
        };
        delivered.unwrap_or_else(|raised| self.fail(&raised))
    }

    /// A list or tuple: it has no `close()`.
    fn deliver_items<'py>(&self, result: &Object<'py>, items: &[Owned<'py>]) -> Result<'py, Rest> {
        let bytes: Option<Vec<&[u8]>> = items.iter().map(|item| item.as_bytes()).collect();
        match bytes {
            Some(bytes) => self.deliver_whole(result.py(), &bytes),
            None => self.iterate(result),
        }
    }

    fn deliver_whole<'py>(&self, py: Attached<'py>, bytes: &[&[u8]]) -> Result<'py, Rest> {
        self.check_started(py)?;
        let size: usize = bytes.iter().map(|bytes| bytes.len()).sum();
        let writes = bytes.iter().filter(|bytes| !bytes.is_empty()).count();
        self.response.offer(writes, size as u64);
        if size <= COPIED {
            return Ok(Rest::Finish(bytes.concat()));
        }
        let bytes: Vec<Bytes<'_>> = bytes.iter().map(|bytes| Bytes::new(bytes)).collect();
        let response = &*self.response;
        Ok(Rest::Over(
            py.detach(|detached| response.finish(detached, &bytes)),
        ))
    }

    fn deliver_iterable(&self, result: &Object<'_>) -> Rest {
        let _closing = Closing { call: self, result };
        let delivered = match self.file_region(result) {
            Ok(Some((_file, region))) => Ok(self.deliver_file(result.py(), region)),
            Ok(None) => self.iterate(result),
            Err(raised) => Err(raised),
        };
        // Reported here, and so before whatever `close()` raises.
        delivered.unwrap_or_else(|raised| self.fail(&raised))
    }

    fn deliver_file(&self, py: Attached<'_>, region: FileRegion) -> Rest {
        let response = &*self.response;
        Rest::Over(py.detach(|detached| {
            keeping_position(region.fd, || response.finish_with_file(detached, region))
        }))
    }

    /// The file that the application wants sent, if it is that simple, and what of it.
    fn file_region<'py>(
        &self,
        result: &Object<'py>,
    ) -> Result<'py, Option<(Owned<'py>, FileRegion)>> {
        if self.response.is_started() && !self.response.is_sent() {
            let file_wrapper = self.state.file_wrapper.as_object(result.py());
            FileWrapper::region(result, file_wrapper)
        } else {
            Ok(None)
        }
    }

    fn iterate<'py>(&self, iterable: &Object<'py>) -> Result<'py, Rest> {
        let py = iterable.py();
        let response = &*self.response;
        let items = iterable.iter()?;
        while let Some(item) = items.next()? {
            let data = item.as_bytes().ok_or_else(|| {
                let kind = item.type_name();
                let message = format!("the response's iterable must yield bytes, not {kind}");
                Raised::type_error(py, &message)
            })?;
            if data.is_empty() {
                continue;
            }
            match response.send(py, data) {
                Ok(()) => {}
                Err(Unsent::Gone) => return Ok(Rest::Over(Outcome::complete())),
                Err(unsent) => return Err(raise(py, unsent)),
            }
        }
        self.check_started(py)?;
        // Also without data that was the body, so `close()` can replace the head no more.
        response.begin();
        Ok(Rest::Finish(Vec::new()))
    }

    /// Says of the exception that follows that it is not one of a `close()`.
    fn report_no_close(&self, py: Attached<'_>) {
        let text = "what the application returned could not be closed: to look up its close() raised an \
                    exception";
        log::line(py, self.response.exchange(), Level::Error, NO_CLOSE, text);
    }

    fn check_started<'py>(&self, py: Attached<'py>) -> Result<'py, ()> {
        if self.response.is_started() {
            return Ok(());
        }
        Err(raise(py, Unsent::Unstarted))
    }
}

/// Calls the `close()` of what the application returned, if it has one: once, in every ending.
struct Closing<'a, 'py> {
    call: &'a Call<'a>,
    result: &'a Object<'py>,
}

impl Drop for Closing<'_, '_> {
    fn drop(&mut self) {
        let name = self.call.state.close.bind(self.result.py());
        let closed = match self.result.attribute_if_any(name) {
            Ok(Some(close)) => close.call(&[]).map(drop),
            Ok(None) => Ok(()),
            Err(raised) => {
                self.call.report_no_close(self.result.py());
                Err(raised)
            }
        };
        if let Err(raised) = closed {
            self.call.report(&raised);
        }
    }
}
