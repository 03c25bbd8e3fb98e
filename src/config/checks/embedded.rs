//! Whether what is to run in httpd's own processes can: `WSGIRestrictEmbedded` may keep it out, and
//! Python comes into these as a shared library, which not every Python is.

use std::ffi::CStr;
use std::path::PathBuf;

use engine_abi::PythonVersion;

use crate::config::checks::{Checked, Mistake, report};
use crate::config::groups::Groups;
use crate::config::hook::Hooks;
use crate::config::{HandlerScript, server};
use crate::log::Id;
use crate::{Wsgi, engines};

/// Something is to run there, and Python cannot.
#[derive(Debug, thiserror::Error)]
#[error(
    "{first}{} in httpd's own processes, and the Python for these, {python}, has no shared library, which they \
     need: {link:?} leads to none; {remedy}name in WSGIPythonHome a Python that was configured with --enable-shared, \
     or run apxs/build again if that library was moved or upgraded",
    run(.others)
)]
struct NoLibrary {
    /// The directive, and where it stands.
    first: String,
    /// How many more there are.
    others: usize,
    python: PythonVersion,
    /// What should lead to that library.
    link: PathBuf,
    /// What else would do.
    remedy: &'static str,
}

impl Mistake for NoLibrary {
    fn id(&self) -> Id {
        Id(1376)
    }
}

/// Something is to run there, and must not.
#[derive(Debug, thiserror::Error)]
#[error(
    "{first}{} in httpd's own processes, which WSGIRestrictEmbedded keeps applications out of, so requests are answered \
     with 500; name a process group in process-group= or WSGIProcessGroup",
    run(.others)
)]
struct KeptOut {
    /// The directive, and where it stands.
    first: String,
    /// How many more there are.
    others: usize,
}

impl Mistake for KeptOut {
    fn id(&self) -> Id {
        Id(1039)
    }
}

fn run(others: &usize) -> String {
    match others {
        0 => " runs".to_owned(),
        others => format!(", and {others} more, run"),
    }
}

pub(super) fn check(config: &Checked<'_>) {
    let process = config.base.config::<Wsgi>().process();
    let mut applications = applications(config);
    if process.restrict_embedded {
        let kept_out = std::mem::take(&mut applications);
        report(config.base, check_kept_out(config, kept_out));
    }
    // Where there is no engine, another check says so.
    let Ok(engine) = engines::of(process) else {
        return;
    };
    let Err(link) = engine.library() else {
        return;
    };
    let others = [imports(config), hooks(config)].concat();
    // Scripts that decide about requests run nowhere else.
    let remedy = match applications.is_empty() {
        true => "",
        false => "give it a process group, or ",
    };
    let mut all = applications.into_iter().chain(others);
    if let Some(first) = all.next() {
        let mistake = NoLibrary {
            first,
            others: all.count(),
            python: engine.python,
            link,
            remedy,
        };
        report(config.base, Err(mistake));
    }
}

/// Looks for applications that nobody may run, unless requests may say otherwise.
fn check_kept_out(config: &Checked<'_>, kept_out: Vec<String>) -> Result<(), KeptOut> {
    let mut kept_out = kept_out.into_iter();
    match kept_out.next() {
        Some(first) if !Groups::inspect(config.pool, Groups::depend_on_requests) => Err(KeptOut {
            first,
            others: kept_out.count(),
        }),
        _ => Ok(()),
    }
}

/// The scripts that decide about requests.
fn hooks(config: &Checked<'_>) -> Vec<String> {
    Hooks::inspect(config.pool, |hooks| {
        hooks.scripts().iter().map(ToString::to_string).collect()
    })
}

/// The scripts that are loaded as the processes start: where no application runs, for those that
/// decide about requests.
fn imports(config: &Checked<'_>) -> Vec<String> {
    let configs = server::configs(config.base);
    configs
        .flat_map(|(_, own)| own.own_preloads())
        .filter(|it| it.is_import() && it.process_group.is_empty())
        .map(ToString::to_string)
        .collect()
}

/// The applications that run in httpd's processes, as far as that is known before any request.
fn applications(config: &Checked<'_>) -> Vec<String> {
    let is_left_out_embedded = Groups::inspect(config.pool, Groups::are_named_by_scripts_alone);
    let is_embedded = |group: Option<&CStr>| group.map_or(is_left_out_embedded, CStr::is_empty);
    let mut found = Vec::new();
    for (_, own) in server::configs(config.base) {
        let aliases = own.own_aliases().iter();
        let aliases = aliases.filter(|it| is_embedded(it.options().process_group.as_deref()));
        found.extend(aliases.map(ToString::to_string));
    }
    HandlerScript::for_each_written(config.pool, |_, handler| {
        if is_embedded(handler.process_group.as_deref()) {
            found.push(handler.to_string());
        }
    });
    found
}
