//! Templates of environs: what requests have in common.
//!
//! One request is much like the next: its variables have the same names in the same order, and most
//! of them the same values. So an environ begins as a copy of a template, which has the variables
//! of an earlier request, and only what is different is set. The values of clients that may be
//! secret are no part of a template.
//!
//! Attached threads only, one interpreter's objects.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use engine_abi::Pair;

use super::names::{Kind, Names};
use crate::lock::lock;
use crate::python::{Attached, Object, Owned, Result, Stored};

/// How many variables of a request a template has at most. A client can send any number of headers.
const MOST_VARIABLES: usize = 256;

/// The longest name and the longest value that a template has.
const LONGEST: usize = 512;

/// Whether environs share values. Without a GIL, threads would contend for their reference counts.
const SHARES_VALUES: bool = !cfg!(Py_GIL_DISABLED);

/// How many places further a variable is looked for, if those between are missing.
const REACH: usize = 4;

/// So many more requests that are unlike a template than such as are like it, and there is a new
/// one.
const MISFITS: u32 = 16;

/// The template of an interpreter, which follows the requests.
pub(super) struct Templates {
    /// What is not of a request's variables.
    base: Stored,
    /// Never locked while Python code can run.
    current: Mutex<Arc<Template>>,
    /// The requests that were unlike it, less those that were like it.
    misfits: AtomicU32,
}

struct Template {
    dict: Stored,
    /// In the order of the request that it was made of.
    variables: Vec<Variable>,
    /// Their names and values, one after the other.
    text: Vec<u8>,
}

/// A variable of a template.
struct Variable {
    key: Stored,
    /// Where its name is in the template's text.
    name: Range<usize>,
    /// Where its value is, which the dict has; without one it has `None`.
    value: Option<Range<usize>>,
    kind: Kind,
}

/// A variable of a request that was not found where a template has it.
struct Stray<'a, 'v> {
    variable: &'a Pair<'v>,
    /// How many variables of the template were behind when it came.
    passed: usize,
}

impl Templates {
    /// Starts with one that has no variables.
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

    /// An environ with these variables, and what the base has.
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

    /// Takes into account how many of a request's variables were otherwise than in the template.
    /// Returns whether another one fits better by now.
    fn is_outdated(&self, template: &Template, differences: usize, variables: usize) -> bool {
        let fits = differences * 8 <= variables;
        // A race costs a template that is made a request sooner or later.
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
    /// Makes a copy of this template's dict the environ of a request. Returns how many variables
    /// were otherwise than here, apart from those that always are.
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
            // Of variables of one name the last counts.
            let later = self.place_beyond(stray.passed, name);
            if later.is_none_or(|place| missing.contains(&place)) {
                let (key, kind) = names.key(py, name)?;
                set(environ, &key, kind, stray.variable.value.get())?;
            }
        }
        Ok(differences)
    }

    /// The place of a variable, if it is among the next ones.
    fn place(&self, passed: usize, name: &[u8]) -> Option<usize> {
        let next = self.variables.iter().enumerate().skip(passed).take(REACH);
        self.find(next, name)
    }

    /// The place of a variable anywhere behind those that were passed.
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

    /// Makes one of a request.
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

    /// Adds a variable, with its value or a place for one.
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

/// Sets a variable; one without a value becomes `None`. What is for the engine to set is left
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

/// A file name that cannot be decoded as one is still a string of bytes.
fn decode_path<'py>(py: Attached<'py>, path: &[u8]) -> Result<'py, Owned<'py>> {
    py.path(path).or_else(|_| py.latin1(path))
}
