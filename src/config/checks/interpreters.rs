//! Whether the Pythons that are there can do what is asked of interpreters.

use std::fmt;

use engine_abi::{EngineFile, PythonVersion};

use crate::config::checks::{Checked, Mistake, report};
use crate::log::Id;
use crate::{Wsgi, engines, supervise};

/// The first version whose interpreters can have a GIL of their own.
const OWN_GILS: PythonVersion = PythonVersion::new(3, 12);

#[derive(Debug, thiserror::Error)]
enum InterpreterMistake {
    #[error("WSGIPerInterpreterGIL requires Python 3.12 or later; it has no effect in {0}")]
    NoOwnGil(Places),
    #[error(
        "WSGIFreeThreading On has no effect: this module always runs Python with its GIL; \
         WSGIPerInterpreterGIL lets application groups run at the same time"
    )]
    NoFreeThreading,
}

impl Mistake for InterpreterMistake {
    fn id(&self) -> Id {
        Id(match self {
            Self::NoOwnGil(_) => 198,
            Self::NoFreeThreading => 200,
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

pub(super) fn check(config: &Checked<'_>) {
    let process = config.base.config::<Wsgi>().process();
    let interpreters = &process.interpreters;
    let mut too_old = Places::default();
    let mut free_threading = false;
    let mut look = |name: &[u8], engine: Option<EngineFile>, place: &str| {
        free_threading |= interpreters.free_threading(name);
        let engine = engine.filter(|_| interpreters.own_gils(name));
        if let Some(engine) = engine.filter(|engine| engine.python < OWN_GILS) {
            too_old
                .0
                .push(format!("{place} (Python {})", engine.python));
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
    if free_threading {
        report(config.base, Err(InterpreterMistake::NoFreeThreading));
    }
}
