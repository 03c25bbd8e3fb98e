//! Initialising CPython, on the owner's thread.

use std::ffi::{CStr, CString, c_char};
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};

use engine_abi::{Level, PythonVersion};
use pyo3_ffi as ffi;

use crate::interpreter::{self, CreateError, NO_INTERVAL};
use crate::log;
use crate::process::{self, Process};
use crate::python::{Attached, Detached, Panicked};

/// Why CPython could not be initialised.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum InitError {
    /// A setting cannot be passed on.
    #[error("{0} contains a NUL byte")]
    Nul(&'static str),
    /// A setting cannot be decoded.
    #[error("{0} is no text in the encoding of the locale")]
    Undecodable(&'static str),
    /// CPython refused.
    #[error("{0}")]
    Status(String),
    /// The main interpreter could not be set up.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// The engine failed.
    #[error(transparent)]
    Fault(#[from] Panicked),
}

/// Initialises CPython and sets the main interpreter up. On success the thread is detached from it;
/// after a failure CPython must not be used in this process.
pub(super) fn initialise(detached: &mut Detached) -> Result<(), InitError> {
    let process = process::config();
    let gil = if process.free_threading {
        " with free-threading enabled"
    } else {
        ""
    };
    let text = format!("Initializing Python runtime in {process}{gil}.");
    log::server(detached, Level::Info, 0, &text);
    warn_about_home(detached, process);
    let interval = process.switch_interval.filter(|_| process.free_threading);
    if let (true, Some(seconds)) = (process.is_embedded(), interval) {
        warn_about_interval(detached, 203, seconds);
    }
    Config::new(process)?.initialise()?;
    // SAFETY: `Py_InitializeFromConfig` has attached this thread to the main interpreter.
    let py = unsafe { Attached::assume() };
    interpreter::watch_gil_state(py);
    let state = interpreter::attached_state(py);
    // SAFETY: the thread is attached, by `state`; from here on it is detached.
    unsafe { ffi::PyEval_SaveThread() };
    // SAFETY: as just said.
    unsafe { interpreter::adopt_main(detached, state) }?;
    Ok(())
}

/// CPython's configuration, cleared when dropped.
struct Config(Box<ffi::PyConfig>);

impl Config {
    /// The configuration of this process: Python's defaults, with its `PYTHON*` environment
    /// variables, and what the directives say.
    fn new(process: &Process) -> Result<Self, InitError> {
        let mut config = Self::python();
        let inner = &mut *config.0;
        // There is no command line to parse, signals are the host's, and so are the C library's
        // streams.
        inner.parse_argv = 0;
        inner.install_signal_handlers = 0;
        inner.configure_c_stdio = 0;
        inner.optimization_level = process.python_optimize;
        if process.dont_write_bytecode {
            inner.write_bytecode = 0;
        }
        if let Some(seed) = process.python_hash_seed {
            inner.use_hash_seed = 1;
            inner.hash_seed = seed.into();
        }
        config.preinitialise()?;
        #[cfg(Py_GIL_DISABLED)]
        config.set_gil(process)?;
        config.set_home(process)?;
        config.add_warnings(process)?;
        Ok(config)
    }

    fn python() -> Self {
        let mut config = Box::new(MaybeUninit::uninit());
        // SAFETY: the function fills the whole struct.
        unsafe {
            ffi::PyConfig_InitPythonConfig(config.as_mut_ptr());
            Self(config.assume_init())
        }
    }

    /// Has CPython settle its allocators and its encoding, as all that follows needs. There are no
    /// arguments: `sys.orig_argv` stays empty, so that whoever looks for those of the process asks
    /// the system.
    fn preinitialise(&mut self) -> Result<(), InitError> {
        // SAFETY: of no argument nothing is read.
        check(unsafe { ffi::PyConfig_SetBytesArgv(&raw mut *self.0, 0, std::ptr::null_mut()) })
    }

    /// Says where Python is installed. A virtual environment is found by the path of its
    /// interpreter, any other installation by its prefix. Without a home it is the Python that the
    /// engine was built for; `PATH`, which is whoever's started the server, has no say.
    fn set_home(&mut self, process: &Process) -> Result<(), InitError> {
        if process.python_home.is_empty() {
            let python = CString::new(env!("ENGINE_PYTHON")).unwrap_or_default();
            if Path::new(env!("ENGINE_PYTHON")).exists() {
                return self.set(|config| &raw mut config.program_name, &python);
            }
            return Ok(());
        }
        let home = CString::new(process.python_home.clone())
            .map_err(|_| InitError::Nul("WSGIPythonHome"))?;
        let path = home_path(process);
        if std::fs::File::open(path.join("pyvenv.cfg")).is_ok() {
            let python = CString::new([home.as_bytes(), b"/bin/python"].concat())
                .map_err(|_| InitError::Nul("WSGIPythonHome"))?;
            return self.set(|config| &raw mut config.program_name, &python);
        }
        // Without one Python looks in `PATH`.
        if let Some(python) = program_of(&path) {
            let python = CString::new(python.into_os_string().into_encoded_bytes())
                .map_err(|_| InitError::Nul("WSGIPythonHome"))?;
            self.set(|config| &raw mut config.program_name, &python)?;
        }
        self.set(|config| &raw mut config.home, &home)
    }

    /// Says whether there is a GIL: what `WSGIFreeThreading` says, and no extension module that
    /// would rather have one.
    #[cfg(Py_GIL_DISABLED)]
    fn set_gil(&mut self, process: &Process) -> Result<(), InitError> {
        self.0.enable_gil = (!process.free_threading).into();
        if std::env::var_os("PYTHON_GIL").is_none() {
            return Ok(());
        }
        // The variable, which is for whatever Python the server starts, would win over that; an
        // option wins over the variable.
        let option = if process.free_threading {
            c"gil=0"
        } else {
            c"gil=1"
        };
        self.append(|config| &raw mut config.xoptions, option, "PYTHON_GIL")
    }

    fn add_warnings(&mut self, process: &Process) -> Result<(), InitError> {
        for warning in &process.python_warnings {
            let warning =
                CString::new(warning.clone()).map_err(|_| InitError::Nul("WSGIPythonWarnings"))?;
            self.append(
                |config| &raw mut config.warnoptions,
                &warning,
                "WSGIPythonWarnings",
            )?;
        }
        Ok(())
    }

    /// Appends to a list; `name` is who says it.
    fn append(
        &mut self,
        list: impl Fn(&mut ffi::PyConfig) -> *mut ffi::PyWideStringList,
        text: &CStr,
        name: &'static str,
    ) -> Result<(), InitError> {
        let list = list(&mut self.0);
        // SAFETY: the text is NUL-terminated; CPython was preinitialised by `preinitialise`. The
        // list, the config's own, copies the decoded text, if there is one, which is freed after
        // that.
        check(unsafe {
            let decoded = ffi::Py_DecodeLocale(text.as_ptr(), std::ptr::null_mut());
            if decoded.is_null() {
                return Err(InitError::Undecodable(name));
            }
            let status = ffi::PyWideStringList_Append(list, decoded);
            ffi::PyMem_RawFree(decoded.cast());
            status
        })
    }

    fn set(
        &mut self,
        field: impl Fn(&mut ffi::PyConfig) -> *mut *mut libc::wchar_t,
        value: &CStr,
    ) -> Result<(), InitError> {
        let field = field(&mut self.0);
        // SAFETY: the field is the config's own, the value NUL-terminated; CPython copies it.
        check(unsafe { ffi::PyConfig_SetBytesString(&raw mut *self.0, field, value.as_ptr()) })
    }

    fn initialise(self) -> Result<(), InitError> {
        // SAFETY: the configuration is complete, and Python is initialised once in a process.
        check(unsafe { ffi::Py_InitializeFromConfig(&raw const *self.0) })
    }
}

impl Drop for Config {
    fn drop(&mut self) {
        // SAFETY: the configuration was initialised by CPython.
        unsafe { ffi::PyConfig_Clear(&raw mut *self.0) };
    }
}

/// Turns a status into an error, where others would end the process.
fn check(status: ffi::PyStatus) -> Result<(), InitError> {
    // SAFETY: asks about a plain value.
    if unsafe { ffi::PyStatus_Exception(status) } == 0 {
        return Ok(());
    }
    let text = |text: *const c_char| {
        // SAFETY: the texts of a status are null or constants of CPython.
        (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy())
    };
    let message = text(status.err_msg).unwrap_or_else(|| "it wants to exit".into());
    let function = text(status.func).map_or_else(String::new, |name| format!("{name}: "));
    Err(InitError::Status(format!("{function}{message}")))
}

/// Says that there is no switch interval in this process.
pub(crate) fn warn_about_interval(detached: &Detached, id: u16, seconds: f64) {
    let process = process::config();
    let text =
        format!("Skipping WSGISwitchInterval {seconds} seconds in {process}: {NO_INTERVAL}.");
    log::server(detached, Level::Warn, id, &text);
}

/// Says what is wrong with the home directory, which CPython would say less clearly.
fn warn_about_home(detached: &Detached, process: &Process) {
    if process.python_home.is_empty() {
        return;
    }
    let path = home_path(process);
    let shown = path.display();
    let (id, text) = match std::fs::metadata(&path) {
        Err(error) => (
            100,
            format!(
                "Python home '{shown}' cannot be examined: {error}. Check the path, and that the server's user may search every directory of it."
            ),
        ),
        Ok(metadata) if !metadata.is_dir() => {
            (101, format!("Python home '{shown}' is not a directory."))
        }
        Ok(_) => match std::fs::read_dir(&path) {
            Err(error) => (
                102,
                format!(
                    "Python home '{shown}' is not accessible: {error}. Let the server's user read and search it."
                ),
            ),
            Ok(_) => return,
        },
    };
    log::server(detached, Level::Warn, id, &text);
}

/// The interpreter of this Python in a home that is no virtual environment. There may be others,
/// such as a newer one that is called `python3` there.
fn program_of(home: &Path) -> Option<PathBuf> {
    let own = env!("ENGINE_PROGRAM");
    let is_own = |name: &str, program: &Path| match PythonVersion::of_program(program) {
        Some(version) => format!("python{version}") == own,
        None => name == own,
    };
    [own, "python3", "python"].into_iter().find_map(|name| {
        let program = home.join("bin").join(name);
        (program.exists() && is_own(name, &program)).then_some(program)
    })
}

fn home_path(process: &Process) -> PathBuf {
    use std::os::unix::ffi::OsStrExt as _;
    PathBuf::from(std::ffi::OsStr::from_bytes(&process.python_home))
}
