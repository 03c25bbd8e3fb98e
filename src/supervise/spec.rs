//! From the words of `WSGIDaemonProcess` to what a supervisor needs to know.

use std::ffi::{CStr, CString, OsString};
use std::os::unix::ffi::OsStringExt as _;

use control::{GroupSpec, Identity, Life, Limits, PreloadScript, PythonSpec, Secret, ServerSpec};
use httpd::child_user::ChildUser;
use httpd::process::{self, Mpm};
use httpd::{Level, Log};
use nix::unistd::Uid;
use wsgi_config::daemon_process::DaemonOptions;
use wsgi_config::value::HashSeed;

use crate::config::{self, DaemonDefinition, ProcessWide};
use crate::log::{self, Id};
use crate::{Wsgi, engines};

/// What a definition comes to; `None`, with a line in the log, if there is no engine for its
/// Python. Its number is still to be given.
pub(super) fn of(definition: &DaemonDefinition<'_>, secret: Secret) -> Option<GroupSpec> {
    let options = definition.options();
    let process = definition.base().config::<Wsgi>().process();
    let home = options.python_home.clone().map(os);
    let home = home.or_else(|| process.python_home.as_deref().map(os_c));
    let engine = match engines::for_home(home.as_deref().map(std::path::Path::new)) {
        Ok(engine) => engine.path,
        Err(error) => {
            let name = definition.name().to_string_lossy();
            let text = format!("Process group '{name}' cannot be started: {error}");
            log::server(definition.server(), Level::ERROR, Id(1232), text);
            return None;
        }
    };
    let level = Log::of_server::<Wsgi>(definition.server()).level().number();
    Some(GroupSpec {
        number: 0,
        secret,
        name: definition.name().to_string_lossy().into_owned(),
        processes: options.processes.unwrap_or(1),
        multiprocess: options.processes.is_some(),
        threads: options.threads,
        stack_size: options
            .stack_size
            .and_then(|size| usize::try_from(size).ok()),
        response_buffer: usize::try_from(options.response_buffer_size).unwrap_or(usize::MAX),
        display_name: options.display_name.clone().map(os),
        identity: identity(definition),
        limits: limits(options),
        life: life(definition),
        python: python(options, process, home, engine.into_os_string()),
        preload: preload(definition),
        server: server(),
        log_level: u8::try_from(level).unwrap_or(u8::MAX),
    })
}

fn identity(definition: &DaemonDefinition<'_>) -> Identity {
    let options = definition.options();
    let user = definition.user();
    Identity {
        ids: Uid::effective().is_root().then_some((user.uid, user.gid)),
        user_name: user.name,
        supplementary_groups: definition.supplementary_groups(),
        peer_uid: match Uid::effective().is_root() {
            true => ChildUser::configured().uid,
            false => Uid::effective().as_raw(),
        },
        umask: options.umask,
        chroot: options.chroot.clone().map(os),
        home: options.home.clone().map(os),
        home_on_path: options.home.is_some(),
        lang: options.lang.clone().map(os),
        locale: options.locale.clone().map(os),
    }
}

fn limits(options: &DaemonOptions) -> Limits {
    Limits {
        cpu_priority: options.cpu_priority,
        cpu_time: options.cpu_time_limit,
        memory: options.memory_limit,
        virtual_memory: options.virtual_memory_limit,
    }
}

fn life(definition: &DaemonDefinition<'_>) -> Life {
    let options = definition.options();
    Life {
        maximum_requests: options.maximum_requests,
        restart_interval: options.restart_interval,
        inactivity_timeout: options.inactivity_timeout,
        startup_timeout: options.startup_timeout,
        request_timeout: options.request_timeout,
        interrupt_timeout: options.interrupt_timeout,
        deadlock_timeout: options.deadlock_timeout,
        graceful_timeout: options.graceful_timeout,
        eviction_timeout: options.eviction_timeout,
        shutdown_timeout: options.shutdown_timeout,
        queue_timeout: options.queue_timeout,
        socket_timeout: Some(definition.socket_timeout()),
    }
}

fn python(
    options: &DaemonOptions,
    process: &ProcessWide,
    home: Option<OsString>,
    engine: OsString,
) -> PythonSpec {
    PythonSpec {
        engine,
        home,
        path: options.python_path.clone().map(os),
        eggs: options.python_eggs.clone().map(os),
        warnings: process
            .python_warnings
            .iter()
            .map(|entry| os_c(entry))
            .collect(),
        optimize: process.python_optimize,
        hash_seed: match process.python_hash_seed {
            HashSeed::Random => None,
            HashSeed::Fixed(seed) => Some(seed),
        },
        dont_write_bytecode: process.dont_write_bytecode,
        destroy_interpreter: process.destroy_interpreter,
        restrict_stdin: process.restrict_stdin,
        restrict_stdout: process.restrict_stdout,
        restrict_signal: process.restrict_signal,
        case_sensitive: process.case_sensitive,
        server_metrics: options.server_metrics,
        switch_interval: options.switch_interval,
    }
}

/// The scripts that are to be loaded in the group's processes.
fn preload(definition: &DaemonDefinition<'_>) -> Vec<PreloadScript> {
    config::preloads(definition.base())
        .filter(|script| script.process_group.as_c_str() == definition.name())
        .map(|script| PreloadScript {
            path: os_c(&script.script),
            application_group: script.application_group.to_string_lossy().into_owned(),
            reload: true,
        })
        .collect()
}

fn server() -> ServerSpec {
    let mpm = Mpm::query();
    ServerSpec {
        version: process::COMPILED_VERSION,
        description: process::description().to_string_lossy().into_owned(),
        build_date: process::build_date().to_string_lossy().into_owned(),
        mpm_name: process::mpm_name().to_string_lossy().into_owned(),
        maximum_processes: mpm.max_daemons,
        threads_per_process: mpm.max_threads,
    }
}

fn os(bytes: Vec<u8>) -> OsString {
    OsString::from_vec(bytes)
}

fn os_c(text: &CStr) -> OsString {
    OsString::from_vec(CString::from(text).into_bytes())
}
