//! Whether an alias ever matches, and whether scripts are there and can be read by whoever runs
//! them.

use std::ffi::{CStr, OsStr};
use std::fmt;
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

use wsgi_config::url;

use crate::config::access::{Obstacle, User};
use crate::config::checks::{Checked, Mistake, report};
use crate::config::hook::{Hooks, Written};
use crate::config::{HandlerScript, Preload, ScriptAlias, server};
use crate::log::Id;

/// A directive that names a script.
#[derive(Clone, Copy, Debug)]
enum Directive<'c> {
    Alias(&'c ScriptAlias),
    Import(&'c Preload),
    Handler(&'c HandlerScript),
    Hook(&'c Written),
}

#[derive(Debug, thiserror::Error)]
enum ScriptMistake<'c> {
    #[error("{directive}: {:?} is not there: {obstacle}{}", .directive.script(), .directive.consequence())]
    Missing {
        directive: Directive<'c>,
        obstacle: Obstacle,
    },
    #[error(
        "{alias}: {:?} is a file, and {:?} is none; the URL comes first, then the script",
        .alias.location().unwrap_or_default(), .alias.target()
    )]
    Swapped { alias: &'c ScriptAlias },
    #[error("{directive}: user \"{user}\" cannot get at {:?}: {obstacle}", .directive.script())]
    Unreachable {
        directive: Directive<'c>,
        user: &'c User,
        obstacle: Obstacle,
    },
    #[error("{later} never matches: {earlier} comes first and takes all its URLs")]
    Shadowed {
        later: &'c ScriptAlias,
        earlier: &'c ScriptAlias,
    },
    #[error("{0} never matches: a URL path begins with \"/\"")]
    NoLeadingSlash(&'c ScriptAlias),
    #[error("{0}: {script:?} does not begin with \"/\", and is relative to nothing", script = .0.script())]
    Relative(Directive<'c>),
    #[error(
        "{alias}: {:?} is a file, so nothing but that very URL works; take the \"/\" off its end",
        .alias.target()
    )]
    TrailingSlash { alias: &'c ScriptAlias },
    #[error(
        "{0} is never used: httpd takes the names of handlers for lower case; write it so here"
    )]
    UpperCase(&'c HandlerScript),
}

impl<'c> ScriptMistake<'c> {
    fn of(directive: Directive<'c>, user: &'c User, obstacle: Obstacle) -> Self {
        match obstacle {
            Obstacle::Missing(_) => Self::Missing {
                directive,
                obstacle,
            },
            _ => Self::Unreachable {
                directive,
                user,
                obstacle,
            },
        }
    }
}

impl Mistake for ScriptMistake<'_> {
    fn id(&self) -> Id {
        Id(match self {
            Self::Missing { .. } | Self::Swapped { .. } => 1020,
            Self::Unreachable { .. } => 1021,
            Self::Shadowed { .. } => 1022,
            Self::NoLeadingSlash(_) => 1023,
            Self::Relative(_) => 1024,
            Self::TrailingSlash { .. } => 1025,
            Self::UpperCase(_) => 1320,
        })
    }
}

impl<'c> Directive<'c> {
    fn script(self) -> &'c CStr {
        match self {
            Self::Alias(alias) => alias.target(),
            Self::Import(import) => &import.script,
            Self::Handler(handler) => &handler.script,
            Self::Hook(hook) => &hook.path,
        }
    }

    /// What comes of it if there is no such script.
    fn consequence(self) -> &'static str {
        match self {
            Self::Alias(_) => {
                "; its requests are answered with 404, or with 403 as for other files there, until that is mended"
            }
            Self::Import(_) | Self::Hook(_) => "",
            Self::Handler(_) => "; its requests are answered with 500 until that is mended",
        }
    }
}

impl fmt::Display for Directive<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alias(alias) => alias.fmt(f),
            Self::Import(import) => import.fmt(f),
            Self::Handler(handler) => handler.fmt(f),
            Self::Hook(hook) => hook.fmt(f),
        }
    }
}

pub(super) fn check(config: &Checked<'_>) {
    for (server, own) in server::configs(config.base) {
        let aliases = own.own_aliases();
        for (index, alias) in aliases.iter().enumerate() {
            let earlier = aliases.get(..index).unwrap_or_default();
            let checked = check_urls(alias, earlier).and_then(|()| check_target(config, alias));
            report(server, checked);
        }
        for import in own
            .own_preloads()
            .iter()
            .filter(|script| script.is_import())
        {
            report(server, check_import(config, import));
        }
    }
    HandlerScript::for_each_written(config.pool, |id, handler| {
        if let Some(server) = config.base.iter().find(|server| server.id() == id) {
            report(server, check_handler(config, handler));
        }
    });
    Hooks::inspect(config.pool, |hooks| {
        for hook in hooks.scripts() {
            report(config.base, check_hook(config, hook));
        }
    });
}

/// Looks for an earlier alias that takes all of this one's URLs.
fn check_urls<'c>(
    later: &'c ScriptAlias,
    earlier: &'c [Arc<ScriptAlias>],
) -> Result<(), ScriptMistake<'c>> {
    let location = later.location().map(CStr::to_bytes);
    if location.is_some_and(|location| !location.starts_with(b"/")) {
        return Err(ScriptMistake::NoLeadingSlash(later));
    }
    let shadows = |alias: &&Arc<ScriptAlias>| {
        let Some(earlier) = alias.location().map(CStr::to_bytes) else {
            return false;
        };
        match (location, later.pattern()) {
            (Some(location), _) => url::shadows(earlier, location),
            (None, Some(pattern)) => url::shadows_pattern(earlier, pattern.to_bytes()),
            (None, None) => false,
        }
    };
    match earlier.iter().find(shadows) {
        Some(earlier) => Err(ScriptMistake::Shadowed { later, earlier }),
        None => Ok(()),
    }
}

/// Looks for what stands between a request and the script.
fn check_target<'c>(
    config: &'c Checked<'_>,
    alias: &'c ScriptAlias,
) -> Result<(), ScriptMistake<'c>> {
    let directive = Directive::Alias(alias);
    let constant = constant_part(alias);
    if constant.is_empty() {
        return Ok(());
    }
    let path = absolute(directive, constant)?;
    let runner = Runner::of(config, alias.options().process_group.as_deref());
    let children = &config.children;
    let found = match runner {
        Runner::Children => children.reach(path),
        // httpd looks whether there is a script; it is for others to read.
        Runner::Group(_) | Runner::Unknown => children.find(path),
    };
    let is_file = found.as_ref().is_ok_and(Metadata::is_file);
    if !is_file && is_swapped(alias) {
        return Err(ScriptMistake::Swapped { alias });
    }
    let found = found.map_err(|obstacle| ScriptMistake::of(directive, children, obstacle))?;
    if found.is_file() && wants_directory(alias) {
        return Err(ScriptMistake::TrailingSlash { alias });
    }
    match runner {
        Runner::Group(user) => check_reach(directive, user, path),
        Runner::Children | Runner::Unknown => Ok(()),
    }
}

/// Whether the URL path of an alias is rather the path of a script.
fn is_swapped(alias: &ScriptAlias) -> bool {
    let location = alias.location().unwrap_or_default();
    Path::new(OsStr::from_bytes(location.to_bytes())).is_file()
}

/// Looks for what stands between a starting process and the script it is to load.
fn check_import<'c>(config: &'c Checked<'_>, import: &'c Preload) -> Result<(), ScriptMistake<'c>> {
    let directive = Directive::Import(import);
    let path = absolute(directive, import.script.to_bytes())?;
    match Runner::of(config, Some(&import.process_group)) {
        Runner::Children => check_reach(directive, &config.children, path),
        Runner::Group(user) => check_reach(directive, user, path),
        Runner::Unknown => Ok(()),
    }
}

/// Checks whether the user that runs a handler script can read it. httpd itself does not check
/// that.
fn check_handler<'c>(
    config: &'c Checked<'_>,
    handler: &'c HandlerScript,
) -> Result<(), ScriptMistake<'c>> {
    let directive = Directive::Handler(handler);
    if handler.name().iter().any(u8::is_ascii_uppercase) {
        return Err(ScriptMistake::UpperCase(handler));
    }
    let path = absolute(directive, handler.script.to_bytes())?;
    match Runner::of(config, handler.process_group.as_deref()) {
        Runner::Children => check_reach(directive, &config.children, path),
        Runner::Group(user) => check_reach(directive, user, path),
        Runner::Unknown => match config.children.find(path) {
            Err(missing @ Obstacle::Missing(_)) => {
                Err(ScriptMistake::of(directive, &config.children, missing))
            }
            _ => Ok(()),
        },
    }
}

/// Looks for what stands between httpd's children and a hook script.
fn check_hook<'c>(config: &'c Checked<'_>, hook: &'c Written) -> Result<(), ScriptMistake<'c>> {
    let directive = Directive::Hook(hook);
    let path = absolute(directive, hook.path.to_bytes())?;
    check_reach(directive, &config.children, path)
}

fn absolute<'c>(directive: Directive<'c>, path: &'c [u8]) -> Result<&'c Path, ScriptMistake<'c>> {
    let path = Path::new(OsStr::from_bytes(path));
    if path.is_absolute() {
        Ok(path)
    } else {
        Err(ScriptMistake::Relative(directive))
    }
}

fn check_reach<'c>(
    directive: Directive<'c>,
    user: &'c User,
    path: &Path,
) -> Result<(), ScriptMistake<'c>> {
    match user.reach(path) {
        Ok(_) => Ok(()),
        Err(obstacle) => Err(ScriptMistake::of(directive, user, obstacle)),
    }
}

/// Who runs a script, as far as that is known before any request.
#[derive(Clone, Copy)]
enum Runner<'c> {
    Children,
    Group(&'c User),
    Unknown,
}

impl<'c> Runner<'c> {
    /// That of a script whose directive names this process group, or none.
    fn of(config: &'c Checked<'_>, group: Option<&CStr>) -> Self {
        match group {
            Some(name) if name.is_empty() => Self::Children,
            // Without groups there is but one place to run.
            None if config.groups.is_empty() => Self::Children,
            None => Self::Unknown,
            Some(name) => config
                .groups
                .iter()
                .find(|group| group.definition.name() == name)
                // What is below another root cannot be judged from here.
                .filter(|group| group.definition.options().chroot.is_none())
                .map_or(Self::Unknown, |group| Self::Group(&group.user)),
        }
    }
}

/// The target, or the directories of it that are the same for every URL that a pattern matches.
fn constant_part(alias: &ScriptAlias) -> &[u8] {
    let target = alias.target().to_bytes();
    let is_substituted = |&byte: &u8| matches!(byte, b'$' | b'\\');
    match target.iter().position(is_substituted) {
        Some(end) if alias.pattern().is_some() => {
            let constant = target.get(..end).unwrap_or_default();
            let last_slash = constant.iter().rposition(|&byte| byte == b'/');
            let directories = last_slash.map_or(0, |at| at + 1);
            constant.get(..directories).unwrap_or_default()
        }
        _ => target,
    }
}

/// Whether the alias maps `/name/x` to what is called `x` in its target.
fn wants_directory(alias: &ScriptAlias) -> bool {
    let ends_in_slash = |path: &CStr| path.to_bytes().ends_with(b"/");
    alias
        .location()
        .is_some_and(|location| location != c"/" && ends_in_slash(location))
        && !ends_in_slash(alias.target())
}
