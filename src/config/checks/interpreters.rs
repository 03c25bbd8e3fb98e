//! Whether the Pythons that are there can do what is asked of interpreters.

use std::fmt;

use engine_abi::EngineFile;

use crate::config::checks::{Checked, Mistake, report};
use crate::log::Id;
use crate::{Wsgi, engines, supervise};

#[derive(Debug, thiserror::Error)]
enum InterpreterMistake {
    #[error("WSGIPerInterpreterGIL requires Python 3.12 or later; it has no effect in {0}")]
    NoOwnGil(Places),
    #[error(
        "WSGIFreeThreading On has no effect in {0}: that Python is not a free-threaded build \
         (--disable-gil, Python 3.13 or later); name one with WSGIPythonHome or python-home"
    )]
    NoFreeThreading(Places),
}

impl Mistake for InterpreterMistake {
    fn id(&self) -> Id {
        Id(match self {
            Self::NoOwnGil(_) => 198,
            Self::NoFreeThreading(_) => 200,
        })
    }
}

/// Where interpreters are, with the version of their Python.
#[derive(Debug, Default)]
struct Places(Vec<String>);

impl fmt::Display for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ENOUGH: usize = 3;
        let Self(places) = self;
        f.write_str(
            &places
                .iter()
                .take(ENOUGH)
                .cloned()
                .collect::<Vec<_>>()
                .join(", "),
        )?;
        match places.len().saturating_sub(ENOUGH) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

impl Places {
    fn push(&mut self, place: &str, engine: &EngineFile) {
        self.0.push(format!("{place} (Python {})", engine.python));
    }
}

pub(super) fn check(config: &Checked<'_>) {
    let process = config.base.config::<Wsgi>().process();
    let interpreters = &process.interpreters;
    let (mut too_old, mut need_gil) = (Places::default(), Places::default());
    let mut look = |name: &[u8], engine: Option<EngineFile>, place: &str| {
        // Without an engine there is no Python at all, which is told elsewhere.
        let Some(engine) = engine else { return };
        if interpreters.own_gils(name) && !engine.python.has_own_gils() {
            too_old.push(place, &engine);
        }
        if interpreters.free_threading(name) && !engine.python.is_free_threaded() {
            need_gil.push(place, &engine);
        }
    };
    if !process.restrict_embedded {
        look(b"", engines::of(process).ok(), "embedded mode");
    }
    for group in &config.groups {
        let name = group.definition.name();
        let place = format!("process group \"{}\"", name.to_string_lossy());
        let engine = supervise::engine(&group.definition).ok();
        look(name.to_bytes(), engine, &place);
    }
    if !too_old.0.is_empty() {
        report(config.base, Err(InterpreterMistake::NoOwnGil(too_old)));
    }
    if !need_gil.0.is_empty() {
        let mistake = InterpreterMistake::NoFreeThreading(need_gil);
        report(config.base, Err(mistake));
    }
}
