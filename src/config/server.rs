//! What directives say in a server: its aliases, and how Python runs in the processes of httpd.
//!
//! Read while httpd reads its configuration, then shared, unchanged, by all threads.

use std::ffi::{CStr, CString};
use std::path::PathBuf;
use std::sync::Arc;
use std::{iter, ptr};

use httpd::{Config, Parms, Refusal, Server, process};
use wsgi_config::script_alias::Location;
use wsgi_config::value::{self, HashSeed};

use crate::Wsgi;
use crate::config::ScriptAlias;
use crate::config::checks::{self, Mistake};
use crate::config::daemon::Daemon;

/// What is said in one server, or applies in it.
#[derive(Debug, Default)]
pub(crate) struct ServerConfig {
    /// The server's own aliases, then those of the base server.
    aliases: Vec<Arc<ScriptAlias>>,
    /// How many of them are its own.
    own: usize,
    /// The process groups defined in this server.
    daemons: Vec<Arc<Daemon>>,
    process: Arc<ProcessWide>,
}

/// What the processes of httpd have in common, whichever server a request is for.
#[derive(Clone, Debug)]
pub(crate) struct ProcessWide {
    /// `WSGISocketPrefix`, absolute.
    pub(crate) socket_prefix: Option<PathBuf>,
    pub(crate) python_home: Option<CString>,
    pub(crate) python_path: Option<CString>,
    pub(crate) python_optimize: i32,
    pub(crate) python_warnings: Vec<CString>,
    pub(crate) python_hash_seed: HashSeed,
    pub(crate) dont_write_bytecode: bool,
    pub(crate) restrict_embedded: bool,
    pub(crate) restrict_stdin: bool,
    pub(crate) restrict_stdout: bool,
    pub(crate) restrict_signal: bool,
    pub(crate) destroy_interpreter: bool,
    pub(crate) case_sensitive: bool,
}

impl Default for ProcessWide {
    fn default() -> Self {
        Self {
            socket_prefix: None,
            python_home: None,
            python_path: None,
            python_optimize: 0,
            python_warnings: Vec::new(),
            python_hash_seed: HashSeed::Random,
            dont_write_bytecode: false,
            restrict_embedded: false,
            restrict_stdin: false,
            restrict_stdout: false,
            restrict_signal: true,
            destroy_interpreter: true,
            case_sensitive: true,
        }
    }
}

impl Config for ServerConfig {
    /// A virtual host's own aliases come before those of the base server, which apply in it as
    /// well. Python is the same everywhere.
    fn merged(base: &Self, host: &Self) -> Self {
        Self {
            aliases: host.aliases.iter().chain(&base.aliases).cloned().collect(),
            own: host.own,
            daemons: host.daemons.clone(),
            process: Arc::clone(&base.process),
        }
    }
}

impl ServerConfig {
    /// The aliases in the order they are tried.
    pub(crate) fn aliases(&self) -> &[Arc<ScriptAlias>] {
        &self.aliases
    }

    /// Those written in this server.
    fn own_aliases(&self) -> &[Arc<ScriptAlias>] {
        self.aliases.get(..self.own).unwrap_or_default()
    }

    /// The process groups defined in this server.
    pub(crate) fn own_daemons(&self) -> &[Arc<Daemon>] {
        &self.daemons
    }

    /// How Python runs.
    pub(crate) fn process(&self) -> &ProcessWide {
        &self.process
    }

    fn add(&mut self, alias: ScriptAlias) {
        self.aliases.push(Arc::new(alias));
        self.own += 1;
    }

    fn process_mut(&mut self) -> &mut ProcessWide {
        Arc::make_mut(&mut self.process)
    }
}

/// A script that is loaded when a process starts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Preload<'s> {
    pub(crate) script: &'s CStr,
    pub(crate) process_group: &'s CStr,
    pub(crate) application_group: &'s CStr,
}

/// Each server with the aliases written in it. To a virtual host without directives of ours httpd
/// gives the very configuration of the base server; its aliases are not the host's own.
pub(super) fn own_aliases<'s>(
    base: Server<'s>,
) -> impl Iterator<Item = (Server<'s>, &'s [Arc<ScriptAlias>])> {
    let of_base = base.config::<Wsgi>();
    let hosts = base
        .iter()
        .skip(1)
        .map(|host| (host, host.config::<Wsgi>()));
    iter::once((base, of_base))
        .chain(hosts.filter(move |(_, config)| !ptr::eq(*config, of_base)))
        .map(|(server, config)| (server, config.own_aliases()))
}

/// The scripts to load at start: those of the base server, then those of each virtual host.
pub(crate) fn preloads(base: Server<'_>) -> impl Iterator<Item = Preload<'_>> {
    own_aliases(base)
        .flat_map(|(_, aliases)| aliases)
        .filter(|alias| alias.is_preloaded())
        .map(|alias| Preload {
            script: alias.target(),
            process_group: alias.options().process_group.as_deref().unwrap_or_default(),
            application_group: alias
                .options()
                .application_group
                .as_deref()
                .unwrap_or_default(),
        })
}

/// `WSGIScriptAlias`.
pub(crate) fn script_alias(
    config: &mut ServerConfig,
    parms: &Parms<'_>,
    line: &CStr,
) -> Result<(), Refusal> {
    config.add(ScriptAlias::parse(Location::Prefix, parms, line)?);
    Ok(())
}

/// `WSGIScriptAliasMatch`.
pub(crate) fn script_alias_match(
    config: &mut ServerConfig,
    parms: &Parms<'_>,
    line: &CStr,
) -> Result<(), Refusal> {
    config.add(ScriptAlias::parse(Location::Pattern, parms, line)?);
    Ok(())
}

/// `WSGIDaemonProcess`.
pub(crate) fn daemon_process(
    config: &mut ServerConfig,
    parms: &Parms<'_>,
    line: &CStr,
) -> Result<(), Refusal> {
    config.daemons.push(Arc::new(Daemon::parse(parms, line)?));
    Ok(())
}

/// `WSGISocketPrefix`.
pub(crate) fn socket_prefix(
    config: &mut ServerConfig,
    parms: &Parms<'_>,
    prefix: &CStr,
) -> Result<(), Refusal> {
    let path = process::server_root_relative(parms.pool(), prefix)
        .ok_or_else(|| Refusal::new(format_args!("{prefix:?} is not a path")))?;
    config.process_mut().socket_prefix = Some(path);
    Ok(())
}

/// `WSGISocketRotation`: the sockets of a group stay where they are as long as the group does.
pub(crate) fn socket_rotation(
    _: &mut ServerConfig,
    _: &Parms<'_>,
    word: &CStr,
) -> Result<(), Refusal> {
    value::flag(word.to_bytes())?;
    Ok(())
}

/// `WSGIAcceptMutex`: each process has a socket of its own, so there is nothing to serialise.
pub(crate) fn accept_mutex(
    _: &mut ServerConfig,
    _: &Parms<'_>,
    word: &CStr,
) -> Result<(), Refusal> {
    value::accept_mutex(word.to_bytes())?;
    Ok(())
}

/// `WSGIPythonHome`.
pub(crate) fn python_home(
    config: &mut ServerConfig,
    _: &Parms<'_>,
    directory: &CStr,
) -> Result<(), Refusal> {
    config.process_mut().python_home = Some(directory.to_owned());
    Ok(())
}

/// `WSGIPythonPath`.
pub(crate) fn python_path(
    config: &mut ServerConfig,
    _: &Parms<'_>,
    directories: &CStr,
) -> Result<(), Refusal> {
    config.process_mut().python_path = Some(directories.to_owned());
    Ok(())
}

/// `WSGIPythonOptimize`. A word that is no level counts as one, as it always has.
pub(crate) fn python_optimize(
    config: &mut ServerConfig,
    parms: &Parms<'_>,
    level: &CStr,
) -> Result<(), Refusal> {
    let (level, odd) = value::optimize(level.to_bytes());
    if let Some(odd) = odd {
        checks::report_while_reading(parms, &Mistake::Optimize(odd));
    }
    config.process_mut().python_optimize = level;
    Ok(())
}

/// `WSGIPythonWarnings`: each use adds one.
pub(crate) fn python_warnings(
    config: &mut ServerConfig,
    _: &Parms<'_>,
    filter: &CStr,
) -> Result<(), Refusal> {
    config.process_mut().python_warnings.push(filter.to_owned());
    Ok(())
}

/// `WSGIPythonHashSeed`.
pub(crate) fn python_hash_seed(
    config: &mut ServerConfig,
    _: &Parms<'_>,
    seed: &CStr,
) -> Result<(), Refusal> {
    config.process_mut().python_hash_seed = value::hash_seed(seed.to_bytes())?;
    Ok(())
}

/// Defines the setter of a switch for the whole process.
macro_rules! switch {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        pub(crate) fn $name(
            config: &mut ServerConfig,
            _: &Parms<'_>,
            word: &CStr,
        ) -> Result<(), Refusal> {
            config.process_mut().$name = value::flag(word.to_bytes())?;
            Ok(())
        }
    };
}

switch!(
    /// `WSGIDontWriteBytecode`.
    dont_write_bytecode
);
switch!(
    /// `WSGIRestrictEmbedded`.
    restrict_embedded
);
switch!(
    /// `WSGIRestrictStdin`.
    restrict_stdin
);
switch!(
    /// `WSGIRestrictStdout`.
    restrict_stdout
);
switch!(
    /// `WSGIRestrictSignal`.
    restrict_signal
);
switch!(
    /// `WSGIDestroyInterpreter`.
    destroy_interpreter
);
switch!(
    /// `WSGICaseSensitivity`.
    case_sensitive
);
