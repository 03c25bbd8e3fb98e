//! The streams: `wsgi.errors`, `sys.stdout`, `sys.stderr`.
//!
//! Each is an `io.TextIOWrapper` over a `mod_wsgi.Log`, which takes bytes and gives lines to the
//! error log. Making a wrapper costs more than serving a small request, and most requests never
//! write to theirs: one that was neither used nor kept by its request is given to a later one.

use std::ffi::CStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::context;
use super::lines::{Target, Unfinished};
use crate::host::Exchange;
use crate::lock::lock;
use crate::python::{
    Attached, Class, Definition, Instance, Object, Owned, Raised, Result, Stored, Type,
};
use crate::turn::ThreadKey;

/// How many unused streams an interpreter keeps: as many as it may have threads at work.
const MOST_SPARE: usize = 64;

/// The streams of an interpreter.
pub(crate) struct Streams {
    log: Type<Log>,
    /// `io.TextIOWrapper`, and the keyword arguments that it is made with.
    text_wrapper: Stored,
    keywords: Stored,
    spare: Mutex<Vec<RequestStream>>,
}

/// Whose `wsgi.errors` a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorsOf {
    /// An application's.
    Application,
    /// That of a script which decides about a request.
    Hook,
}

impl ErrorsOf {
    /// The stream's name.
    fn name(self) -> &'static str {
        match self {
            Self::Application => "<wsgi.errors>",
            Self::Hook => "<log>",
        }
    }
}

/// A request's `wsgi.errors`, with the log under it.
pub(super) struct RequestStream {
    name: &'static str,
    wrapper: Stored,
    log: Stored,
    maker: Maker,
}

/// `mod_wsgi.Log`: the binary stream under the text stream.
pub(crate) struct Log {
    name: &'static str,
    sink: Mutex<Sink>,
    /// Whether an application has done anything with it.
    used: AtomicBool,
}

/// What a log writes to.
#[derive(Clone)]
enum Sink {
    /// A request's log; `wsgi.errors`.
    Request(Arc<Exchange>),
    /// The log of the request that the writing thread serves, or else the server's.
    Process(Arc<Unfinished>),
    /// Nothing: the log of a stream that waits for a request.
    Spare,
    /// Nothing any more: the application has closed `wsgi.errors`.
    Closed,
}

impl Streams {
    /// The streams of the interpreter that `module`, its `mod_wsgi`, belongs to.
    pub(crate) fn create<'py>(module: &Object<'py>) -> Result<'py, Self> {
        let py = module.py();
        let keywords = py.dict()?;
        keywords.set_item_named(c"encoding", &*py.text("utf-8")?)?;
        keywords.set_item_named(c"errors", &*py.text("replace")?)?;
        keywords.set_item_named(c"line_buffering", py.bool(true))?;
        keywords.set_item_named(c"write_through", py.bool(true))?;
        Ok(Self {
            log: Type::create(module)?,
            text_wrapper: py
                .import(c"io")?
                .attribute_named(c"TextIOWrapper")?
                .into_stored(),
            keywords: keywords.into_stored(),
            spare: Mutex::default(),
        })
    }

    /// A stream for `sys.stdout` or `sys.stderr`.
    pub(crate) fn process_stream<'py>(
        &self,
        py: Attached<'py>,
        name: &'static str,
    ) -> Result<'py, Owned<'py>> {
        let sink = Sink::Process(Arc::new(Unfinished::new()));
        let stream = self.stream(py, name, sink)?;
        Ok(stream.wrapper.bind(py).owned())
    }

    /// A stream for a request's `wsgi.errors`.
    pub(super) fn request_stream<'py>(
        &self,
        py: Attached<'py>,
        exchange: &Arc<Exchange>,
        whose: ErrorsOf,
    ) -> Result<'py, RequestStream> {
        let sink = Sink::Request(Arc::clone(exchange));
        let Some(stream) = self.take_spare(whose.name()) else {
            return self.stream(py, whose.name(), sink);
        };
        if let Some(log) = self.log_of(py, &stream) {
            log.replace_sink(sink);
        }
        Ok(stream)
    }

    /// Takes a request's stream back. If the application has neither used nor kept any of it,
    /// nobody can tell it from a new one.
    pub(super) fn give_back(&self, py: Attached<'_>, stream: RequestStream) {
        let Some(log) = self.log_of(py, &stream) else {
            return;
        };
        if log.used.load(Ordering::Acquire) || !stream.is_ours_alone(py) {
            return;
        }
        log.replace_sink(Sink::Spare);
        let mut spare = self.spare();
        // Without a GIL those of threads that have ended would else be in the way for ever.
        let oldest = (spare.len() == MOST_SPARE).then(|| spare.remove(0));
        spare.push(stream);
        drop(spare);
        drop(oldest);
    }

    fn stream<'py>(
        &self,
        py: Attached<'py>,
        name: &'static str,
        sink: Sink,
    ) -> Result<'py, RequestStream> {
        let log = Log {
            name,
            sink: Mutex::new(sink),
            used: AtomicBool::new(false),
        };
        let log = self.log.instantiate(py, log)?;
        let arguments = py.tuple(&[&log])?;
        let keywords = self.keywords.bind(py);
        let wrapper = self
            .text_wrapper
            .bind(py)
            .call_with_keywords(&arguments, Some(keywords))?;
        if let Some(log) = self.log.downcast(&log) {
            // The wrapper has looked at it while it was made.
            log.used.store(false, Ordering::Release);
        }
        Ok(RequestStream {
            name,
            wrapper: wrapper.into_stored(),
            log: log.into_stored(),
            maker: Maker::this_thread(),
        })
    }

    fn log_of<'a, 'py: 'a>(
        &self,
        py: Attached<'py>,
        stream: &'a RequestStream,
    ) -> Option<&'a Instance<'py, Log>> {
        self.log.downcast(stream.log.bind(py))
    }

    fn take_spare(&self, name: &str) -> Option<RequestStream> {
        let mut spare = self.spare();
        let own = Maker::this_thread();
        let fits = |stream: &RequestStream| stream.maker == own && stream.name == name;
        let last = spare.iter().rposition(fits)?;
        Some(spare.remove(last))
    }

    fn spare(&self) -> MutexGuard<'_, Vec<RequestStream>> {
        lock(&self.spare)
    }
}

/// The thread that has made a stream, where it matters: without a GIL, only the thread that has
/// made an object knows for certain how many references there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Maker(Option<ThreadKey>);

impl Maker {
    fn this_thread() -> Self {
        Self(cfg!(Py_GIL_DISABLED).then(ThreadKey::of_this_thread))
    }
}

impl RequestStream {
    /// Whether an application has kept neither of the two, nor left anything at the wrapper, whose
    /// attributes and weak references it may make.
    fn is_ours_alone(&self, py: Attached<'_>) -> bool {
        let (wrapper, log) = (self.wrapper.bind(py), self.log.bind(py));
        // The other reference to the log is the wrapper's.
        wrapper.reference_count() == 1 && log.reference_count() == 2 && wrapper.is_untouched()
    }

    pub(super) fn object<'a, 'py: 'a>(&'a self, py: Attached<'py>) -> &'a Object<'py> {
        self.wrapper.bind(py)
    }
}

impl Log {
    /// Writes bytes to where the log goes at the moment.
    fn write_bytes<'py>(this: &Instance<'py, Self>, bytes: &[u8]) -> Result<'py, ()> {
        let py = this.py();
        this.check_open(py)?;
        match this.sink() {
            Sink::Request(exchange) => write_to_request(py, &exchange, bytes),
            Sink::Process(unfinished) => match context::exchange() {
                Some(exchange) => write_to_request(py, &exchange, bytes),
                None => unfinished.write(py, bytes, Target::Server),
            },
            Sink::Spare | Sink::Closed => {}
        }
        Ok(())
    }

    fn check_open<'py>(&self, py: Attached<'py>) -> Result<'py, ()> {
        let cause = match self.sink() {
            Sink::Request(exchange) if exchange.is_closed() => "its request is over",
            Sink::Closed => "it has been closed",
            _ => return Ok(()),
        };
        let message = format!("wsgi.errors cannot be written to: {cause}");
        Err(Raised::runtime_error(py, &message))
    }

    /// Logs the unfinished line. Harmless after the request, whose line was logged at its end: a
    /// destructor that flushes has done nothing wrong.
    fn flush_line(this: &Instance<'_, Self>) {
        let py = this.py();
        match this.sink() {
            Sink::Request(exchange) => flush_request(py, &exchange),
            Sink::Process(unfinished) => {
                if let Some(exchange) = context::exchange() {
                    flush_request(py, &exchange);
                }
                unfinished.flush(py, Target::Server);
            }
            Sink::Spare | Sink::Closed => {}
        }
    }

    fn sink(&self) -> Sink {
        self.used.store(true, Ordering::Release);
        self.lock_sink().clone()
    }

    fn replace_sink(&self, sink: Sink) {
        let replaced = std::mem::replace(&mut *self.lock_sink(), sink);
        drop(replaced);
    }

    fn lock_sink(&self) -> MutexGuard<'_, Sink> {
        lock(&self.sink)
    }

    fn write<'py>(
        this: &Instance<'py, Self>,
        arguments: &[&Object<'py>],
    ) -> Result<'py, Owned<'py>> {
        this.check_open(this.py())?;
        let data = only_argument(this.py(), c"write", arguments)?;
        let length = with_bytes(data, |bytes| {
            Self::write_bytes(this, bytes)?;
            Ok(bytes.len())
        })?;
        this.py().int(i64::try_from(length).unwrap_or(i64::MAX))
    }

    fn writelines<'py>(
        this: &Instance<'py, Self>,
        arguments: &[&Object<'py>],
    ) -> Result<'py, Owned<'py>> {
        this.check_open(this.py())?;
        let lines = only_argument(this.py(), c"writelines", arguments)?.iter()?;
        while let Some(data) = lines.next()? {
            with_bytes(&data, |bytes| Self::write_bytes(this, bytes))?;
        }
        Ok(this.py().none().owned())
    }

    fn flush<'py>(this: &Instance<'py, Self>) -> Result<'py, Owned<'py>> {
        Self::flush_line(this);
        Ok(this.py().none().owned())
    }

    /// Closes `wsgi.errors`, for whoever holds it; the process's own streams stay open.
    fn close<'py>(this: &Instance<'py, Self>) -> Result<'py, Owned<'py>> {
        Self::flush_line(this);
        if matches!(this.sink(), Sink::Request(_)) {
            this.replace_sink(Sink::Closed);
        }
        Ok(this.py().none().owned())
    }

    fn yes<'py>(this: &Instance<'py, Self>) -> Result<'py, Owned<'py>> {
        Ok(this.py().bool(true).owned())
    }

    fn no<'py>(this: &Instance<'py, Self>) -> Result<'py, Owned<'py>> {
        Ok(this.py().bool(false).owned())
    }

    fn fileno<'py>(this: &Instance<'py, Self>) -> Result<'py, Owned<'py>> {
        let message = "the log has no file descriptor";
        Err(Raised::os_error(this.py(), message))
    }
}

impl Class for Log {
    const NAME: &'static CStr = c"mod_wsgi.Log";
    const DOC: &'static CStr = c"A stream whose lines go to the error log.";

    fn define(definition: Definition<Self>) -> Definition<Self> {
        definition
            .method(c"write", c"Write bytes.", Self::write)
            .method(
                c"writelines",
                c"Write each item of an iterable.",
                Self::writelines,
            )
            .plain_method(c"flush", c"Log what has no newline yet.", Self::flush)
            .plain_method(c"close", c"Flush; wsgi.errors takes no more.", Self::close)
            .plain_method(c"isatty", c"False.", Self::no)
            .plain_method(c"readable", c"False.", Self::no)
            .plain_method(c"seekable", c"False.", Self::no)
            .plain_method(c"writable", c"True.", Self::yes)
            .plain_method(c"fileno", c"Raise OSError.", Self::fileno)
            .getter(c"closed", c"False.", Self::no)
            .getter(c"name", c"The name of the stream.", |this| {
                this.py().text(this.name)
            })
            .getter(c"encoding", c"The encoding of the log.", |this| {
                this.py().text("utf-8")
            })
            .getter(c"errors", c"How characters are replaced.", |this| {
                this.py().text("replace")
            })
    }
}

fn write_to_request(py: Attached<'_>, exchange: &Exchange, bytes: &[u8]) {
    let target = Target::Request(exchange);
    exchange.unfinished.write(py, bytes, target);
}

fn flush_request(py: Attached<'_>, exchange: &Exchange) {
    exchange.unfinished.flush(py, Target::Request(exchange));
}

fn only_argument<'a, 'py>(
    py: Attached<'py>,
    method: &CStr,
    arguments: &[&'a Object<'py>],
) -> Result<'py, &'a Object<'py>> {
    match arguments {
        [argument] => Ok(argument),
        _ => {
            let method = method.to_string_lossy();
            let message = format!("{method}() takes one argument, {} given", arguments.len());
            Err(Raised::type_error(py, &message))
        }
    }
}

/// Runs `f` on the content of a bytes-like object, or of a `str`, with a warning.
fn with_bytes<'py, R>(
    data: &Object<'py>,
    f: impl FnOnce(&[u8]) -> Result<'py, R>,
) -> Result<'py, R> {
    if let Some(bytes) = data.as_bytes() {
        return f(bytes);
    }
    let bytes = if data.is_str() {
        warn_about_str(data.py())?;
        data.encode(c"utf-8", c"replace")?
    } else {
        data.to_bytes_like()?
    };
    f(bytes.as_bytes().unwrap_or_default())
}

/// The log is a binary stream; it was a text stream in old versions, so `str` still works. That it
/// does so no more some day is told once in a process.
fn warn_about_str(py: Attached<'_>) -> Result<'_, ()> {
    static TOLD: AtomicBool = AtomicBool::new(false);
    if !TOLD.swap(true, Ordering::Relaxed) {
        let message = c"write bytes to the binary log stream; str will not be accepted for ever";
        py.warn_deprecated(message)?;
    }
    Ok(())
}
