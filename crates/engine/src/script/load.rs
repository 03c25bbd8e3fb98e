//! Loading a script: read, compile, execute.

use std::ffi::{OsStr, c_int};
use std::os::unix::ffi::OsStrExt as _;
use std::ptr::null_mut;

use engine_abi::Level;
use pyo3_ffi as ffi;

use super::{ScriptError, Visit, c_source, lossy};
use crate::interrupt;
use crate::log;
use crate::modules;
use crate::process;
use crate::python::{Exception, Object, Owned, Raised, Result};
use crate::script::slot::Slot;

impl<'py> Visit<'_, 'py> {
    /// Loads the script into a fresh module.
    pub(super) fn load(
        &self,
        slot: &Slot,
        again: bool,
    ) -> std::result::Result<Owned<'py>, ScriptError> {
        self.announce(again);
        // Whoever imports it first is the interpreter's main thread, where asyncio has an event
        // loop for scripts.
        match self.py.import(c"threading") {
            Err(raised) if interrupt::is_timeout(self.interpreter, &raised) => {
                return Err(self.report(&raised));
            }
            imported => modules::without("threading", imported),
        }
        let path = self.path();
        // Before the file is read: if it changes in between, the next request will see it.
        let mtime = self
            .py
            .detach(|_| engine_abi::modification_time(path))
            .unwrap_or(-1);
        let code = self.compile()?;
        let module = self.execute(slot, &code)?;
        let stamped = self
            .py
            .int(mtime)
            .and_then(|mtime| module.set_attribute(c"__mtime__", &mtime));
        stamped.map_err(|raised| self.report(&raised))?;
        Ok(module)
    }

    fn announce(&self, again: bool) {
        let verb = if again { "Reloading" } else { "Loading" };
        let (path, place) = (lossy(self.path()), self.interpreter);
        let text = format!("{verb} WSGI script '{path}' into {place}.");
        match self.exchange {
            Some(exchange) => log::unnamed_line(self.py, exchange, Level::Info, &text),
            None => log::notice(self.py, Level::Info, 0, &text),
        }
    }

    fn compile(&self) -> std::result::Result<Owned<'py>, ScriptError> {
        let file = self.file_name()?;
        let path = OsStr::from_bytes(self.path());
        let source = self.py.detach(|_| std::fs::read(path)).map_err(|error| {
            let raised = Raised::os_error_of_file(&error, &file);
            self.report_uncompiled(&raised, &format!(" {error}."))
        })?;
        compile(&file, source).map_err(|raised| self.report_uncompiled(&raised, ""))
    }

    /// Executes the code as a new module.
    fn execute(
        &self,
        slot: &Slot,
        code: &Object<'py>,
    ) -> std::result::Result<Owned<'py>, ScriptError> {
        let name = slot.module_name(self.py);
        let file = self.file_name()?;
        let modules = self.interpreter.names().modules.bind(self.py);
        // What is there would be executed into, and an old version's names would stay.
        modules
            .remove_item(name)
            .map_err(|raised| self.report(&raised))?;
        // SAFETY: the objects are alive and the thread is attached; the reference is new or an
        // exception is set. A module whose execution raises is taken out of `sys.modules` again.
        let module = unsafe {
            let (name, code) = (name.as_ptr(), code.as_ptr());
            let module = ffi::PyImport_ExecCodeModuleObject(name, code, file.as_ptr(), null_mut());
            Owned::steal(self.py, module)
        };
        module.map_err(|raised| {
            if interrupt::is_timeout(self.interpreter, &raised) {
                return self.report(&raised);
            }
            if raised.is(Exception::SystemExit) && process::config().is_service() {
                return ScriptError::Exited;
            }
            let path = lossy(self.path());
            let (id, text) = if raised.is(Exception::SystemExit) {
                let text =
                    format!("SystemExit exception raised when loading WSGI script '{path}'.");
                (107, text)
            } else {
                (109, format!("Unable to load WSGI script '{path}'."))
            };
            self.log_line(Level::Error, self.id(id), &text);
            self.report(&raised)
        })
    }

    fn file_name(&self) -> std::result::Result<Owned<'py>, ScriptError> {
        let name = self.py.path(self.path());
        name.map_err(|raised| self.report(&raised))
    }

    fn report_uncompiled(&self, raised: &Raised<'py>, reason: &str) -> ScriptError {
        let (path, place) = (lossy(self.path()), self.interpreter);
        let text = format!("Could not read or compile WSGI script '{path}' for {place}.{reason}");
        self.log_line(Level::Error, self.id(105), &text);
        self.report(raised)
    }

    /// The id of a message: outside a request the next number is used.
    fn id(&self, id: u16) -> u16 {
        id + u16::from(self.exchange.is_none())
    }
}

/// Compiles a source file as `python` does: the encoding is what its first lines declare, or UTF-8.
fn compile<'py>(file: &Object<'py>, source: Vec<u8>) -> Result<'py, Owned<'py>> {
    const DEFAULT_OPTIMIZATION: c_int = -1;
    let source = c_source(source);
    // SAFETY: the source is NUL-terminated, the file name alive, the thread attached; the reference
    // is new or an exception is set.
    unsafe {
        let code = ffi::Py_CompileStringObject(
            source.as_ptr(),
            file.as_ptr(),
            ffi::Py_file_input,
            null_mut(),
            DEFAULT_OPTIMIZATION,
        );
        Owned::steal(file.py(), code)
    }
}
