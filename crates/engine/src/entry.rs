//! What the host calls. Each function catches panics and answers in the terms of the ABI.

use std::ffi::{c_char, c_int};
use std::sync::Arc;
use std::time::Duration;

use engine_abi::{
    ABI_VERSION, Bytes, Call, Called, Engine, Host, Level, NO_MAIN_INTERPRETER, Outcome,
    ProcessConfig, Request, RequestHandle, Script,
};

use crate::activity;
use crate::hook::{self, Answer};
use crate::host::{self, Exchange};
use crate::interpreter::{self, CreateError, GroupName, Interpreter};
use crate::interrupt::{self, Interruptible, Name};
use crate::log;
use crate::meter::GilCount;
use crate::metrics;
use crate::modules::{self, Serving};
use crate::process::{self, Process};
use crate::python::{Detached, Panicked, catch};
use crate::runtime;
use crate::script::{self, ScriptError};
use crate::wsgi::{self, Ending};

static ENGINE: Engine = Engine {
    abi_version: ABI_VERSION,
    tag: TAG.as_ptr().cast::<c_char>(),
    start,
    preload,
    run: run_script,
    handle,
    call,
    set_switch_interval,
    probe,
    newcomers,
    interrupt,
    log_stacks,
    signal,
    announce_stop,
    stop,
};

/// `cp311`, `cp313t` and the like, NUL-terminated.
static TAG: &str = concat!(env!("ENGINE_TAG"), "\0");

/// The engine's entry point; see [`engine_abi::EntryFn`].
#[unsafe(no_mangle)]
pub extern "C" fn wsgi_engine_entry(abi_version: u32) -> *const Engine {
    if abi_version == ABI_VERSION {
        &raw const ENGINE
    } else {
        std::ptr::null()
    }
}

unsafe extern "C" fn start(host: *const Host, config: *const ProcessConfig<'_>) -> c_int {
    // SAFETY: the host passes its table, which lives as long as the process, and a configuration
    // that lives until we return.
    let (host, config) = unsafe { (&*host, &*config) };
    host::introduce(host);
    let mut failure = 1;
    let status = status(|detached| {
        let started = runtime::start(Process::from(config));
        started.map_err(|error| {
            let mut id = 36;
            if error.leaves_python() {
                (id, failure) = (35, NO_MAIN_INTERPRETER);
            }
            let text = format!("{error}. Python based handlers will not be available.");
            log::server(detached, Level::Crit, id, &text);
        })
    });
    if status == 0 { 0 } else { failure }
}

unsafe extern "C" fn preload(script: *const Script<'_>) -> c_int {
    // SAFETY: the script lives until we return.
    let script = unsafe { &*script };
    status(|detached| {
        let _inside = activity::enter().ok_or(())?;
        let interpreter = interpreter_of(detached, script, None).ok_or(())?;
        let process = process::config();
        let loaded = if process.is_embedded() && !process.multithread {
            // This thread is the one that serves requests, and what a script sets up for its
            // thread, such as a profiler, is for those.
            runtime::ending_forks(|| {
                interpreter.attach(detached, |py| script::preload(py, interpreter, script))
            })
        } else {
            load_on_main_thread(detached, interpreter, script)?
        };
        loaded.map_err(drop)
    })
}

unsafe extern "C" fn run_script(script: *const Script<'_>) -> c_int {
    // SAFETY: the script lives until we return.
    let script = unsafe { &*script };
    status(|detached| {
        let _inside = activity::enter().ok_or(())?;
        let interpreter = interpreter_of(detached, script, None).ok_or(())?;
        match load_on_main_thread(detached, interpreter, script)? {
            Ok(()) | Err(ScriptError::Exited) => Ok(()),
            Err(_) => Err(()),
        }
    })
}

/// Loads a script on the thread that is Python's main thread, where it may handle signals. What
/// becomes of the script, unless it could not be begun; what went wrong is in the log.
fn load_on_main_thread(
    detached: &Detached,
    interpreter: &'static Interpreter,
    script: &Script<'_>,
) -> Result<Result<(), ScriptError>, ()> {
    let path = script.path.or_empty().to_vec();
    let (mtime, reload) = (script.mtime, script.reload);
    let loaded = runtime::on_owner(detached, move |detached| {
        let script = Script {
            path: Bytes::new(&path),
            application_group: Bytes::new(interpreter.group()),
            mtime,
            reload,
        };
        interpreter.attach(detached, |py| script::preload(py, interpreter, &script))
    });
    loaded.ok_or(())
}

unsafe extern "C" fn handle(request: *const Request<'_>, handle: RequestHandle) -> Outcome {
    // SAFETY: the request lives until we return, and so does the handle, which is closed by then.
    let (request, exchange) = unsafe { (&*request, Arc::new(Exchange::open(handle))) };
    // SAFETY: a host calls without a GIL; the thread is attached only inside what takes this.
    let mut detached = unsafe { Detached::assume() };
    let outcome = catch(|| serve(&mut detached, request, &exchange));
    let outcome = outcome.unwrap_or_else(|panicked| {
        report_fault(&detached, Some(&exchange), &panicked);
        if exchange.is_begun() {
            Outcome::truncated()
        } else {
            Outcome::refused(500)
        }
    });
    exchange.finish_lines(&detached);
    exchange.close(&detached);
    outcome
}

unsafe extern "C" fn call(call: *const Call<'_>, handle: RequestHandle) -> Called {
    // SAFETY: the call lives until we return, and so does the handle, which is closed by then.
    let (call, exchange) = unsafe { (&*call, Arc::new(Exchange::open(handle))) };
    // SAFETY: a host calls without a GIL; the thread is attached only inside what takes this.
    let mut detached = unsafe { Detached::assume() };
    let called = catch(|| {
        let answers = run_hook(&mut detached, call, &exchange);
        answers.map(|answers| answers.iter().for_each(|answer| answer.deliver(call)))
    });
    let called = called.unwrap_or_else(|panicked| {
        report_fault(&detached, Some(&exchange), &panicked);
        Err(Called::FAILED)
    });
    exchange.finish_lines(&detached);
    exchange.close(&detached);
    called.err().unwrap_or(Called::OK)
}

unsafe extern "C" fn set_switch_interval(seconds: f64) -> c_int {
    status(|detached| {
        if process::config().free_threading {
            runtime::warn_about_interval(detached, 204, seconds);
            return Ok(());
        }
        let _inside = activity::enter().ok_or(())?;
        for interpreter in interpreter::all() {
            interpreter.attach(detached, |py| {
                if let Err(raised) = interpreter::set_switch_interval(py, seconds) {
                    let head = format!("The switch interval of {interpreter} cannot be set.");
                    log::server_exception(py, 1404, &head, &raised);
                }
            });
        }
        Ok(())
    })
}

unsafe extern "C" fn probe(nth: u32) -> c_int {
    let mut is_there = true;
    let tried = status(|detached| {
        let _inside = activity::enter().ok_or(())?;
        let mut all = interpreter::all();
        all.retain(|one| one.is_main() || one.is_apart());
        all.sort_by_key(|one| one.group());
        let interpreter = usize::try_from(nth).ok().and_then(|nth| all.get(nth));
        is_there = interpreter.is_some();
        if let Some(interpreter) = interpreter {
            interpreter.attach(detached, |_| ());
        }
        Ok(())
    });
    match (tried, is_there) {
        (0, true) => 0,
        (0, false) => 1,
        _ => -1,
    }
}

unsafe extern "C" fn newcomers() -> u32 {
    interpreter::newcomers()
}

unsafe extern "C" fn interrupt(thread_id: u32, daemon_start: i64) -> c_int {
    status(|detached| {
        let _inside = activity::enter().ok_or(())?;
        let name = Name {
            thread_id,
            daemon_start,
        };
        interrupt::interrupt(detached, name).then_some(()).ok_or(())
    })
}

unsafe extern "C" fn log_stacks(thread_id: u32, daemon_start: i64) -> c_int {
    status(|detached| {
        let _inside = activity::enter().ok_or(())?;
        let name = Name {
            thread_id,
            daemon_start,
        };
        let logged = interrupt::log_stacks(detached, name);
        logged.then_some(()).ok_or(())
    })
}

unsafe extern "C" fn signal(number: c_int) {
    // What could fail is reported where it does.
    let _status = status(|detached| {
        let _inside = activity::enter().ok_or(())?;
        if runtime::is_stop_announced() {
            return Ok(());
        }
        for interpreter in interpreter::all() {
            interpreter.attach(detached, |py| {
                modules::publish_signal(py, interpreter, number);
            });
        }
        Ok(())
    });
}

unsafe extern "C" fn announce_stop(reason: Bytes<'_>) {
    let _status = status(|detached| {
        runtime::announce_stop(detached, reason.or_empty());
        Ok(())
    });
}

unsafe extern "C" fn stop(reason: Bytes<'_>, deadline_ms: u32) -> c_int {
    status(|detached| {
        let limit = Duration::from_millis(deadline_ms.into());
        let ended = runtime::stop(detached, reason.or_empty(), limit);
        ended.then_some(()).ok_or(())
    })
}

/// Serves a request on the calling thread.
fn serve(detached: &mut Detached, request: &Request<'_>, exchange: &Arc<Exchange>) -> Outcome {
    let Some(_inside) = activity::enter() else {
        return Outcome::ending();
    };
    let _gil_count = GilCount::begin();
    let _busy = metrics::enter(request.thread_id);
    match interpreter_of(detached, &request.script, Some(exchange)) {
        Some(interpreter) => run(detached, interpreter, request, exchange).finish(detached),
        None => Outcome::refused(500),
    }
}

/// Calls functions of a script on the calling thread.
fn run_hook(
    detached: &mut Detached,
    call: &Call<'_>,
    exchange: &Arc<Exchange>,
) -> Result<Vec<Answer>, Called> {
    let _inside = activity::enter().ok_or(Called::FAILED)?;
    let interpreter =
        interpreter_of(detached, &call.script, Some(exchange)).ok_or(Called::FAILED)?;
    let mtime = script::modification_time(&call.script);
    interpreter.attach_in_line(detached, |py| {
        hook::call(py, interpreter, call, mtime, exchange)
    })
}

/// The interpreter that a script runs in, for a request or before there are any. If there is none,
/// the log says why.
fn interpreter_of(
    detached: &Detached,
    script: &Script<'_>,
    exchange: Option<&Exchange>,
) -> Option<&'static Interpreter> {
    let group = script.application_group.or_empty();
    let interpreter = interpreter::find(detached, group);
    interpreter
        .inspect_err(|error| report_no_interpreter(detached, exchange, group, error))
        .ok()
}

/// Runs the application. What is left to do after that needs no GIL.
fn run(
    detached: &mut Detached,
    interpreter: &'static Interpreter,
    request: &Request<'_>,
    exchange: &Arc<Exchange>,
) -> Ending {
    let mtime = script::modification_time(&request.script);
    interpreter.attach_in_line(detached, |py| {
        let _context = log::Context::enter(py, interpreter, Arc::clone(exchange));
        let _interruptible = Interruptible::begin(py, interpreter, request);
        let serving = match Serving::begin(py, interpreter, request) {
            Ok(serving) => serving,
            Err(raised) => {
                log::exception(py, exchange, request.script.path.or_empty(), &raised);
                return Ending::unanswered(Outcome::refused(500));
            }
        };
        match script::application(py, interpreter, request, mtime, exchange) {
            Ok(application) => wsgi::run(&application, interpreter, request, exchange, &serving),
            Err(error) => Ending::unanswered(error.outcome()),
        }
    })
}

/// The status of a function that can only succeed or fail, with the cause in the log.
fn status(f: impl FnOnce(&mut Detached) -> Result<(), ()>) -> c_int {
    // SAFETY: a host calls without a GIL; the thread is attached only inside what takes this.
    let mut detached = unsafe { Detached::assume() };
    match catch(|| f(&mut detached)) {
        Ok(Ok(())) => 0,
        Ok(Err(())) => 1,
        Err(panicked) => {
            report_fault(&detached, None, &panicked);
            1
        }
    }
}

fn report_no_interpreter(
    detached: &Detached,
    exchange: Option<&Exchange>,
    group: &[u8],
    error: &CreateError,
) {
    let (name, place) = (GroupName(group), process::config());
    // What was tried before is in the log, once for each attempt.
    if !matches!(error, CreateError::Recently { .. }) {
        let text =
            format!("Python based handlers will not be available for {name} in {place}: {error}.");
        log::server(detached, Level::Error, 103, &text);
    }
    if let Some(exchange) = exchange {
        let text =
            format!("Unable to acquire {name} for WSGI request handler in {place}: {error}.");
        log::request(detached, exchange, Level::Error, 87, &text);
    }
}

fn report_fault(detached: &Detached, exchange: Option<&Exchange>, panicked: &Panicked) {
    let text = panicked.to_string();
    match exchange {
        Some(exchange) => log::request(detached, exchange, Level::Crit, 1013, &text),
        None => log::server(detached, Level::Crit, 1013, &text),
    }
}
