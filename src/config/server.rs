//! What directives say in a server: its aliases, and how Python runs in the processes of httpd.
//!
//! Read while httpd reads its configuration, then shared, unchanged, by all threads.

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::{iter, ptr};

use httpd::{Config, Parms, Refusal, Server, process};
use wsgi_config::script_alias::Location;
use wsgi_config::telemetry;
use wsgi_config::value::{self, HashSeed};

use crate::Wsgi;
use crate::config::checks::{self, WordMistake};
use crate::config::daemon::Daemon;
use crate::config::interpreters::Interpreters;
use crate::config::setters::{setters, text};
use crate::config::{Preload, ScriptAlias};

/// What is said in one server, or applies in it.
#[derive(Debug, Default)]
pub(crate) struct ServerConfig {
    /// The server's own aliases, then those of the base server.
    aliases: Vec<Arc<ScriptAlias>>,
    /// How many of them are its own.
    own: usize,
    /// The process groups defined in this server.
    daemons: Vec<Arc<Daemon>>,
    /// The scripts to load at start that are named in this server.
    preloads: Vec<Arc<Preload>>,
    process: Arc<ProcessWide>,
}

/// What the processes of httpd have in common, whichever server a request is for.
#[derive(Clone, Debug)]
pub(crate) struct ProcessWide {
    /// `WSGISocketPrefix`, absolute.
    pub(crate) socket_prefix: Option<PathBuf>,
    pub(crate) python_home: Option<CString>,
    pub(crate) python_eggs: Option<CString>,
    pub(crate) interpreters: Interpreters,
    pub(crate) python_optimize: i32,
    pub(crate) python_warnings: Vec<CString>,
    pub(crate) python_hash_seed: HashSeed,
    pub(crate) dont_write_bytecode: bool,
    pub(crate) restrict_embedded: bool,
    pub(crate) destroy_interpreter: bool,
    pub(crate) case_sensitive: bool,
    pub(crate) server_metrics: bool,
    /// `WSGISlowRequests`: requests that take longer are logged.
    pub(crate) slow_requests: Option<Duration>,
}

impl Default for ProcessWide {
    fn default() -> Self {
        Self {
            socket_prefix: None,
            python_home: None,
            python_eggs: None,
            interpreters: Interpreters::default(),
            python_optimize: 0,
            python_warnings: Vec::new(),
            python_hash_seed: HashSeed::Random,
            dont_write_bytecode: false,
            restrict_embedded: false,
            destroy_interpreter: true,
            case_sensitive: true,
            server_metrics: false,
            slow_requests: None,
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
            preloads: host.preloads.clone(),
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
    pub(super) fn own_aliases(&self) -> &[Arc<ScriptAlias>] {
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

    /// The scripts to load at start that are named in this server.
    pub(super) fn own_preloads(&self) -> &[Arc<Preload>] {
        &self.preloads
    }

    fn add(&mut self, (alias, preload): (ScriptAlias, Option<Preload>)) {
        self.aliases.push(Arc::new(alias));
        self.own += 1;
        self.preloads.extend(preload.map(Arc::new));
    }

    fn process_mut(&mut self) -> &mut ProcessWide {
        Arc::make_mut(&mut self.process)
    }

    /// What is said of interpreters.
    pub(super) fn interpreters_mut(&mut self) -> &mut Interpreters {
        &mut self.process_mut().interpreters
    }
}

/// Each server with what is said in it. To a virtual host without directives of ours httpd gives
/// the very configuration of the base server; what is said there is not the host's own.
pub(super) fn configs(base: Server<'_>) -> impl Iterator<Item = (Server<'_>, &ServerConfig)> {
    let of_base = base.config::<Wsgi>();
    let hosts = base
        .iter()
        .skip(1)
        .map(|host| (host, host.config::<Wsgi>()))
        .filter(move |(_, config)| !ptr::eq(*config, of_base));
    iter::once((base, of_base)).chain(hosts)
}

/// The scripts to load at start, each once, in the order of the configuration.
pub(crate) fn preloads(base: Server<'_>) -> impl Iterator<Item = &Preload> {
    let all = configs(base).flat_map(|(_, config)| config.own_preloads());
    let mut all: Vec<&Preload> = all.map(Arc::as_ref).collect();
    all.sort_by_key(|preload| preload.order);
    let mut seen = HashSet::new();
    all.into_iter()
        .filter(move |preload| seen.insert(preload.what()))
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

/// `WSGIImportScript`.
pub(crate) fn import_script(
    config: &mut ServerConfig,
    parms: &Parms<'_>,
    line: &CStr,
) -> Result<(), Refusal> {
    config.preloads.push(Arc::new(Preload::parse(parms, line)?));
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

/// `WSGISlowRequests`. A word that is no number counts as one, as it always has.
pub(crate) fn slow_requests(
    config: &mut ServerConfig,
    parms: &Parms<'_>,
    seconds: &CStr,
) -> Result<(), Refusal> {
    let (threshold, odd) = telemetry::slow_requests(seconds.to_bytes())?;
    if let Some(odd) = odd {
        checks::report_while_reading(parms, &WordMistake::SlowRequests(odd));
    }
    config.process_mut().slow_requests = threshold;
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
        checks::report_while_reading(parms, &WordMistake::Optimize(odd));
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

setters! {
    |config: &mut ServerConfig| config.process_mut();
    /// `WSGIPythonHome`.
    python_home: text;
    /// `WSGIPythonEggs`.
    python_eggs: text;
    /// `WSGIPythonHashSeed`.
    python_hash_seed: value::hash_seed;
    /// `WSGIDontWriteBytecode`.
    dont_write_bytecode: value::flag;
    /// `WSGIRestrictEmbedded`.
    restrict_embedded: value::flag;
    /// `WSGIDestroyInterpreter`.
    destroy_interpreter: value::flag;
    /// `WSGICaseSensitivity`.
    case_sensitive: value::flag;
    /// `WSGIServerMetrics`.
    server_metrics: value::flag;
}
