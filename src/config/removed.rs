//! Directives of earlier versions that are gone.
//!
//! They are errors of the configuration, as every unknown name is, and httpd says no more than
//! that. So that nobody has to look for what became of one, it is said here, before httpd gives up.

use httpd::{Level, Log, Status, Written};

use crate::log::{self, Id};

/// Their names, and what to do instead.
const REMOVED: [(&str, &str); 9] = [
    (
        "WSGILazyInitialization",
        "Python is always started when it is first needed; take the line away",
    ),
    (
        "WSGINewRelicConfigFile",
        "call newrelic.agent.initialize() at the top of the script instead",
    ),
    (
        "WSGINewRelicEnvironment",
        "give the environment to newrelic.agent.initialize() at the top of the script instead",
    ),
    (
        "WSGIPy3kWarningFlag",
        "it was for Python 2; take the line away",
    ),
    (
        "WSGIPythonExecutable",
        "use WSGIPythonHome, with the directory of the installation or virtual environment",
    ),
    ("WSGIApacheExtensions", "use WSGIPassApacheRequest"),
    ("WSGIServerGroup", "use WSGIApplicationGroup"),
    (
        "WSGIReloadMechanism",
        "a changed script is always loaded anew, unless WSGIScriptReloading is off; take the line \
         away",
    ),
    (
        "WSGIOutputBuffering",
        "what an application yields is sent at once; take the line away",
    ),
];

/// When httpd has read a configuration and not yet looked at what its directives say: tells what
/// became of those that are gone.
pub(crate) fn pre_config(log: Log<'_>, written: &mut dyn Iterator<Item = Written<'_>>) -> Status {
    for directive in written {
        let name = directive.name().to_bytes();
        let removed = REMOVED
            .iter()
            .find(|(removed, _)| removed.as_bytes().eq_ignore_ascii_case(name));
        if let Some((name, instead)) = removed {
            let (file, line) = (directive.file().to_string_lossy(), directive.line());
            let text = format_args!("{name} exists no more: {instead} ({file}:{line})");
            log::line(log, Level::ERROR, Id(1402), text);
        }
    }
    Status::OK
}
