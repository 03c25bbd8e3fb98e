//! What is remembered of a script in an interpreter, and who is loading it.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use md5::{Digest as _, Md5};

use crate::lock::lock;
use crate::process;
use crate::python::{Attached, Object, Owned, Result, Stored};

/// The scripts of an interpreter, by path.
#[derive(Default)]
pub(crate) struct Scripts {
    slots: Mutex<HashMap<Box<[u8]>, Arc<Slot>, foldhash::fast::RandomState>>,
}

/// A script of an interpreter, loaded or not.
pub(super) struct Slot {
    module_name: Stored,
    /// The callable that was asked for last, and its name as Python has it.
    callable: Mutex<Option<(Box<[u8]>, Stored)>>,
    /// Whether a thread is loading the script.
    loading: Mutex<bool>,
    loaded: Condvar,
}

/// The outcome of [`Slot::claim`].
pub(super) enum Claim<'a> {
    /// The calling thread is the one to load the script.
    Ours(Loading<'a>),
    /// Another thread was, and has finished.
    Waited,
}

/// While it lives, its thread is the only one that loads the script.
pub(super) struct Loading<'a>(&'a Slot);

impl Scripts {
    /// The slot of the script with this path.
    pub(super) fn slot<'py>(&self, py: Attached<'py>, path: &[u8]) -> Result<'py, Arc<Slot>> {
        if let Some(slot) = lock(&self.slots).get(path) {
            return Ok(Arc::clone(slot));
        }
        let slot = Arc::new(Slot::new(py, path)?);
        // Another thread may have been faster: its slot is the one.
        let mut slots = lock(&self.slots);
        let slot = slots.entry(path.into()).or_insert_with(|| slot.clone());
        Ok(Arc::clone(slot))
    }
}

impl Slot {
    fn new<'py>(py: Attached<'py>, path: &[u8]) -> Result<'py, Self> {
        Ok(Self {
            module_name: py.text(&module_name(path))?.into_stored(),
            callable: Mutex::default(),
            loading: Mutex::new(false),
            loaded: Condvar::new(),
        })
    }

    pub(super) const fn module_name<'a, 'py: 'a>(&'a self, py: Attached<'py>) -> &'a Object<'py> {
        self.module_name.bind(py)
    }

    /// The callable's name as Python has it. It is nearly always the same as the last time.
    pub(super) fn callable_name<'py>(
        &self,
        py: Attached<'py>,
        name: &[u8],
    ) -> Result<'py, Owned<'py>> {
        if let Some((_, known)) = lock(&self.callable)
            .as_ref()
            .filter(|(last, _)| **last == *name)
        {
            return Ok(known.bind(py).owned());
        }
        let text = py.path(name)?;
        let replaced = lock(&self.callable).replace((name.into(), text.stored()));
        drop(replaced);
        Ok(text)
    }

    /// Whether a thread is loading the script. A module that is there has its stamp before it does
    /// not any more.
    pub(super) fn is_loading(&self) -> bool {
        *lock(&self.loading)
    }

    /// Becomes the thread that loads the script, or waits, detached, for the one that does.
    pub(super) fn claim(&self, py: Attached<'_>) -> Claim<'_> {
        let mut loading = lock(&self.loading);
        if !*loading {
            *loading = true;
            return Claim::Ours(Loading(self));
        }
        drop(loading);
        py.detach(|_| {
            let mut loading = lock(&self.loading);
            while *loading {
                loading = self
                    .loaded
                    .wait(loading)
                    .unwrap_or_else(PoisonError::into_inner);
            }
        });
        Claim::Waited
    }
}

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        *lock(&self.0.loading) = false;
        self.0.loaded.notify_all();
    }
}

/// The name of the module that the script with this path is: `_mod_wsgi_` and the MD5 of the path.
fn module_name(path: &[u8]) -> String {
    let digest = if process::config().case_sensitive {
        Md5::digest(path)
    } else {
        Md5::digest(path.to_ascii_lowercase())
    };
    let mut name = String::from("_mod_wsgi_");
    for byte in digest {
        // Writing to a string cannot fail.
        let _ = write!(name, "{byte:02x}");
    }
    name
}
