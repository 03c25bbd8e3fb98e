//! What is put into a new interpreter before any script runs there.

use engine_abi::Level;

use super::options::Options;
use super::{Contents, GroupName, Names};
use crate::hook;
use crate::log::{self, Streams};
use crate::modules::{self, Modules};
use crate::process;
use crate::python::{Attached, Object, Owned, Result};
use crate::wsgi;

/// Sets the interpreter of an application group up.
pub(super) fn furnish<'py>(
    py: Attached<'py>,
    group: &[u8],
    options: &Options<'_>,
) -> Result<'py, Contents> {
    let process = process::config();
    take_turns(py, group, options)?;
    name_program(py)?;
    if group.is_empty() {
        // The main interpreter's main thread is the one that initialised Python, if it is first
        // imported there. That of another is the one that loads its first script.
        modules::without("threading", py.import(c"threading"));
    }
    // Before directories of applications are on the path.
    modules::keep_library(py)?;
    let modules = Modules::create(py, group)?;
    let module = modules.mod_wsgi(py);
    let log = Streams::create(module)?;
    // Before `.pth` files run: what they print, and what Python says of them, belongs into the log.
    replace_streams(module, &log, options)?;
    for directories in &options.path {
        extend_path(py, directories)?;
    }
    begin_path(py, &process.home)?;
    modules.install(py)?;
    if let (b"", Some(directory)) = (group, &process.python_eggs) {
        // Sub-interpreters find it in the environment of the process.
        set_egg_cache(py, directory)?;
    }
    if process.is_service() {
        if group.is_empty() {
            modules::exit_on_sigterm(py)?;
        }
    } else if options.restrict_signal {
        modules::intercept_signals(module)?;
    }
    Ok(Contents {
        wsgi: wsgi::State::create(module)?,
        hook: hook::State::create(module)?,
        names: Names::create(py)?,
        log,
        modules,
    })
}

/// Why there is no switch interval where there is no GIL.
pub(crate) const NO_INTERVAL: &str = "free-threading is active in this process, so there is no GIL that threads would take turns with";

/// Sets how often the threads of the interpreter take turns: those of all interpreters that share
/// its GIL, so what was said of one of these alone is left out.
fn take_turns<'py>(py: Attached<'py>, group: &[u8], options: &Options<'_>) -> Result<'py, ()> {
    let Some(interval) = options.switch_interval else {
        return Ok(());
    };
    if process::config().free_threading {
        let (seconds, name) = (interval.seconds, GroupName(group));
        let text = format!(
            "Skipping per-interpreter switch interval {seconds} seconds for {name}: {NO_INTERVAL}."
        );
        log::notice(py, Level::Warn, 205, &text);
        return Ok(());
    }
    let shares = !options.own_gil && !group.is_empty();
    if interval.is_for_group && shares {
        let (seconds, name) = (interval.seconds, GroupName(group));
        let text = format!(
            "Skipping per-interpreter switch interval {seconds} seconds for {name}: it would be that of all interpreters that share its GIL. WSGIPerInterpreterGIL gives it one of its own, from Python 3.12 on."
        );
        log::notice(py, Level::Warn, 199, &text);
        return Ok(());
    }
    set_switch_interval(py, interval.seconds)
}

/// `sys.setswitchinterval`
pub(crate) fn set_switch_interval(py: Attached<'_>, seconds: f64) -> Result<'_, ()> {
    let seconds = py.float(seconds)?;
    let sys = py.import(c"sys")?;
    sys.call_method_named(c"setswitchinterval", [&*seconds])
        .map(drop)
}

/// `sys.argv` of a process that no command line of Python's has started.
fn name_program(py: Attached<'_>) -> Result<'_, ()> {
    let arguments = py.list(&[&*py.text("mod_wsgi")?])?;
    py.import(c"sys")?.set_attribute(c"argv", &arguments)
}

fn replace_streams<'py>(
    module: &Object<'py>,
    log: &Streams,
    options: &Options<'_>,
) -> Result<'py, ()> {
    let py = module.py();
    let sys = py.import(c"sys")?;
    sys.set_attribute(c"stderr", &*log.process_stream(py, "<stderr>")?)?;
    // With `httpd -X`, Python's debugger needs the terminal.
    if !process::config().keep_stdout {
        let stdout = if options.restrict_stdout {
            modules::restrict(module, "sys.stdout")?
        } else {
            log.process_stream(py, "<stdout>")?
        };
        sys.set_attribute(c"stdout", &stdout)?;
    }
    if options.restrict_stdin {
        sys.set_attribute(c"stdin", &*modules::restrict(module, "sys.stdin")?)?;
    }
    Ok(())
}

/// Adds each directory of a colon-separated list as a site directory, with its `.pth` files, and
/// moves what was added to the front of `sys.path`, in order.
fn extend_path<'py>(py: Attached<'py>, directories: &[u8]) -> Result<'py, ()> {
    if directories.is_empty() {
        return Ok(());
    }
    let path = py.import(c"sys")?.attribute_named(c"path")?;
    let site = py.import(c"site")?;
    let before = path.list_items();
    for directory in directories
        .split(|byte| *byte == b':')
        .filter(|name| !name.is_empty())
    {
        let added = site.call_method_named(c"addsitedir", [&*py.path(directory)?]);
        if let Err(raised) = added {
            let directory = String::from_utf8_lossy(directory);
            let head = format!("Call to 'site.addsitedir()' failed for '{directory}'.");
            log::server_exception(py, 91, &head, &raised);
        }
    }
    move_added_to_front(&path, &before)
}

/// Puts a directory before all others, as it is written: a link in it may soon lead elsewhere.
fn begin_path<'py>(py: Attached<'py>, directory: &[u8]) -> Result<'py, ()> {
    if directory.is_empty() {
        return Ok(());
    }
    let path = py.import(c"sys")?.attribute_named(c"path")?;
    let (first, directory) = (py.int(0)?, py.path(directory)?);
    path.call_method_named(c"insert", [&*first, &*directory])
        .map(drop)
}

fn move_added_to_front<'py>(path: &Object<'py>, before: &[Owned<'py>]) -> Result<'py, ()> {
    let mut all = path.list_items();
    let is_old = |item: &Owned<'py>| before.iter().any(|old| old.is(item));
    // A stable sort: what was there before follows what was added.
    all.sort_by_key(is_old);
    let sorted = path
        .py()
        .list(&all.iter().map(|item| &**item).collect::<Vec<_>>())?;
    path.replace_list(&sorted)
}

fn set_egg_cache<'py>(py: Attached<'py>, directory: &[u8]) -> Result<'py, ()> {
    let environ = py.import(c"os")?.attribute_named(c"environ")?;
    let name = py.text("PYTHON_EGG_CACHE")?;
    let set = environ.call_method_named(c"__setitem__", [&name, &*py.path(directory)?]);
    if let Err(raised) = set {
        let text = format!("PYTHON_EGG_CACHE cannot be set: {}", raised.summary());
        log::notice(py, Level::Warn, 1011, &text);
    }
    Ok(())
}
