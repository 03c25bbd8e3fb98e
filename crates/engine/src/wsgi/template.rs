//! Templates of environs: the variables that successive requests have in common.
//!
//! Successive requests are similar: their variables have the same names in the same order, and most
//! of them the same values. So an environ begins as a copy of a template with the variables of an
//! earlier request, and only the differences are set. Values that may be secret are never part of a
//! template.
//!
//! For attached threads only; the objects belong to one interpreter.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use engine_abi::Pair;

use super::names::{Kind, Names};
use crate::lock::lock;
use crate::python::{Attached, Object, Owned, Result, Stored};

/// The most variables of a template. A client can send any number of headers.
const MOST_VARIABLES: usize = 256;

/// The longest name and the longest value in a template, in bytes.
const LONGEST: usize = 512;

/// Whether environs share values. Without a GIL, threads would contend for their reference counts.
const SHARES_VALUES: bool = !cfg!(Py_GIL_DISABLED);

/// How many places ahead a variable is searched, if those in between are missing in the request.
const REACH: usize = 4;

/// A new template is made when this many more requests did not fit the template than did.
const MISFITS: u32 = 16;

/// The present template of an interpreter, which is replaced when requests change.
pub(super) struct Templates {
    /// The items of every environ that are not variables of the request.
    base: Stored,
    /// Never locked while Python code can run.
    current: Mutex<Arc<Template>>,
    /// The number of requests that did not fit, minus those that did, at least 0.
    misfits: AtomicU32,
}

struct Template {
    dict: Stored,
    /// In the order of the request from which it was made.
    variables: Vec<Variable>,
    /// The names and values of the variables.
    text: Vec<u8>,
}

/// A variable of a template.
struct Variable {
    key: Stored,
    /// The position of its name in the template's text.
    name: Range<usize>,
    /// The position of its value, which is also in the dict; without a value, the dict has `None`.
    value: Option<Range<usize>>,
    kind: Kind,
}

/// A variable of a request that was not found at its place in the template.
struct Stray<'a, 'v> {
    variable: &'a Pair<'v>,
    /// How many variables of the template had been passed when it came.
    passed: usize,
}

impl Templates {
    /// Starts with a template without variables.
    pub(super) fn new(base: &Object<'_>) -> Self {
        let first = Template {
            dict: base.stored(),
            variables: Vec::new(),
            text: Vec::new(),
        };
        Self {
            base: base.stored(),
            current: Mutex::new(Arc::new(first)),
            misfits: AtomicU32::new(0),
        }
    }

    /// An environ with the items of the base and these variables.
    pub(super) fn build<'py>(
        &self,
        py: Attached<'py>,
        names: &Names,
        variables: &[Pair<'_>],
    ) -> Result<'py, Owned<'py>> {
        let template = Arc::clone(&lock(&self.current));
        let environ = template.dict.bind(py).copy_dict()?;
        let differences = template.fill(&environ, names, variables)?;
        if self.is_outdated(&template, differences, variables.len()) {
            let base = self.base.bind(py);
            let made = Template::of(base, names, variables)?;
            let mut current = lock(&self.current);
            let before = std::mem::replace(&mut *current, Arc::new(made));
            drop(current);
            drop(before);
        }
        Ok(environ)
    }

    /// Notes how many of a request's variables differed from the template. Returns whether a new
    /// template should be made.
    fn is_outdated(&self, template: &Template, differences: usize, variables: usize) -> bool {
        let fits = differences * 8 <= variables;
        // After a race, a template is only made a request sooner or later.
        let misfits = self.misfits.load(Ordering::Relaxed);
        if fits {
            if misfits > 0 {
                self.misfits.store(misfits - 1, Ordering::Relaxed);
            }
            return false;
        }
        let is_outdated = template.variables.is_empty() || misfits + 1 >= MISFITS;
        let misfits = if is_outdated { 0 } else { misfits + 1 };
        self.misfits.store(misfits, Ordering::Relaxed);
        is_outdated
    }
}

impl Template {
    /// Turns a copy of this template's dict into the environ of a request. Returns how many
    /// variables differed, not counting those that always do.
    fn fill<'py>(
        &self,
        environ: &Object<'py>,
        names: &Names,
        variables: &[Pair<'_>],
    ) -> Result<'py, usize> {
        let py = environ.py();
        let mut passed = 0;
        let mut differences = 0;
        let mut missing = Vec::new();
        let mut strays = Vec::new();
        for variable in variables {
            let Some(place) = self.place(passed, variable.name.or_empty()) else {
                strays.push(Stray { variable, passed });
                continue;
            };
            missing.extend(passed..place);
            passed = place + 1;
            let Some(known) = self.variables.get(place) else {
                continue;
            };
            let value = variable.value.get();
            match (&known.value, value) {
                (Some(range), Some(value)) if self.text.get(range.clone()) == Some(value) => {}
                (kept, _) => {
                    differences += usize::from(kept.is_some());
                    set(environ, known.key.bind(py), known.kind, value)?;
                }
            }
        }
        missing.extend(passed..self.variables.len());
        differences += missing.len() + strays.len();
        for variable in missing
            .iter()
            .filter_map(|&place| self.variables.get(place))
        {
            environ.remove_item(variable.key.bind(py))?;
        }
        for stray in strays {
            let name = stray.variable.name.or_empty();
            // Of several variables with the same name the last counts.
            let later = self.place_beyond(stray.passed, name);
            if later.is_none_or(|place| missing.contains(&place)) {
                let (key, kind) = names.key(py, name)?;
                set(environ, &key, kind, stray.variable.value.get())?;
            }
        }
        Ok(differences)
    }

    /// The place of a variable, if it is one of the next [`REACH`].
    fn place(&self, passed: usize, name: &[u8]) -> Option<usize> {
        let next = self.variables.iter().enumerate().skip(passed).take(REACH);
        self.find(next, name)
    }

    /// The place of a variable anywhere after those that were passed.
    fn place_beyond(&self, passed: usize, name: &[u8]) -> Option<usize> {
        self.find(self.variables.iter().enumerate().skip(passed), name)
    }

    fn find<'a>(
        &self,
        mut among: impl Iterator<Item = (usize, &'a Variable)>,
        name: &[u8],
    ) -> Option<usize> {
        let is_it = |variable: &Variable| self.text.get(variable.name.clone()) == Some(name);
        let found = among.find(|(_, variable)| is_it(variable));
        found.map(|(place, _)| place)
    }

    /// Makes a template from a request.
    fn of<'py>(base: &Object<'py>, names: &Names, variables: &[Pair<'_>]) -> Result<'py, Self> {
        let py = base.py();
        let mut template = Self {
            dict: base.copy_dict()?.into_stored(),
            variables: Vec::new(),
            text: Vec::new(),
        };
        for variable in variables {
            let name = variable.name.or_empty();
            let (key, kind) = names.key(py, name)?;
            let is_room = template.variables.len() < MOST_VARIABLES && name.len() <= LONGEST;
            if is_room && kind != Kind::Typed && template.place_beyond(0, name).is_none() {
                let value = variable.value.get().filter(|value| value.len() <= LONGEST);
                let is_steady = matches!(kind, Kind::Steady | Kind::Path);
                let value = value.filter(|_| SHARES_VALUES && is_steady);
                template.add(&key, kind, name, value)?;
            }
        }
        Ok(template)
    }

    /// Adds a variable, with its value or `None`.
    fn add<'py>(
        &mut self,
        key: &Object<'py>,
        kind: Kind,
        name: &[u8],
        value: Option<&[u8]>,
    ) -> Result<'py, ()> {
        set(self.dict.bind(key.py()), key, kind, value)?;
        let name = self.append(name);
        let value = value.map(|value| self.append(value));
        self.variables.push(Variable {
            key: key.stored(),
            name,
            value,
            kind,
        });
        Ok(())
    }

    fn append(&mut self, text: &[u8]) -> Range<usize> {
        let start = self.text.len();
        self.text.extend_from_slice(text);
        start..self.text.len()
    }
}

/// Sets a variable; without a value, to `None`. Variables that the engine sets itself are left
/// alone.
pub(super) fn set<'py>(
    environ: &Object<'py>,
    key: &Object<'py>,
    kind: Kind,
    value: Option<&[u8]>,
) -> Result<'py, ()> {
    let py = environ.py();
    match (kind, value) {
        (Kind::Typed, _) => Ok(()),
        (_, None) => environ.set_item(key, py.none()),
        (Kind::Path, Some(path)) => environ.set_item(key, &*decode_path(py, path)?),
        (_, Some(value)) => environ.set_item(key, &*py.latin1(value)?),
    }
}

/// Decodes a path as Python does, or as Latin-1 if that fails.
fn decode_path<'py>(py: Attached<'py>, path: &[u8]) -> Result<'py, Owned<'py>> {
    py.path(path).or_else(|_| py.latin1(path))
}
