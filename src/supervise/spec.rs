//! From the options of `WSGIDaemonProcess` to the description of a group for the supervisor.

use std::ffi::{CStr, CString, OsString};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use control::{
    GroupSpec, Identity, InterpreterSection, Life, Limits, LogForm, PreloadScript, PythonSpec,
    Secret, ServerSpec, SocketBuffers,
};
use engine_abi::{EngineFile, EnginesError};
use httpd::child_user::ChildUser;
use httpd::process::{self, Mpm};
use httpd::{Level, Log};
use nix::unistd::Uid;
use wsgi_config::daemon_process::{CpuScheduling, DaemonOptions};
use wsgi_config::group;
use wsgi_config::interpreter_options::Section;
use wsgi_config::value::HashSeed;

use crate::config::{self, DaemonDefinition};
use crate::log::{self, Id};
use crate::{Wsgi, engines};

/// The description of a group, still without its number. `None`, with a line in the log, if there
/// is no engine for its Python.
pub(super) fn of(definition: &DaemonDefinition<'_>, secret: Secret) -> Option<GroupSpec> {
    let options = definition.options();
    let engine = match engine(definition) {
        Ok(engine) => engine,
        Err(error) => {
            let name = definition.name().to_string_lossy();
            let text = format!("Process group '{name}' cannot be started: {error}");
            log::server(definition.server(), Level::ERROR, Id(1232), text);
            return None;
        }
    };
    let level = Log::of_server::<Wsgi>(definition.server())
        .configured_level()
        .number();
    Some(GroupSpec {
        number: 0,
        secret,
        name: group::text(definition.name().to_bytes()).into_owned(),
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
        buffers: buffers(options),
        life: life(definition),
        python: python(definition, engine),
        preload: preload(definition),
        server: server(),
        log_level: u8::try_from(level).unwrap_or(u8::MAX),
        // Set together with the log.
        log_form: LogForm::default(),
    })
}

/// The engine for the Python of a group.
pub(crate) fn engine(definition: &DaemonDefinition<'_>) -> Result<EngineFile, EnginesError> {
    engines::for_home(home(definition).as_deref().map(Path::new))
}

/// Its `python-home`, or else `WSGIPythonHome`.
fn home(definition: &DaemonDefinition<'_>) -> Option<OsString> {
    let home = definition.options().python_home.clone().map(os);
    let process = definition.base().config::<Wsgi>().process();
    home.or_else(|| process.python_home.as_deref().map(os_c))
}

fn identity(definition: &DaemonDefinition<'_>) -> Identity {
    let options = definition.options();
    let user = definition.user();
    // Without root, all processes run as the present user.
    let owner = |uid| match Uid::effective() {
        ourselves if ourselves.is_root() => uid,
        ourselves => ourselves.as_raw(),
    };
    Identity {
        ids: Uid::effective().is_root().then_some((user.uid, user.gid)),
        user_name: user.name,
        supplementary_groups: definition.supplementary_groups(),
        httpd_uid: owner(ChildUser::configured().uid),
        peer_uid: owner(definition.socket_owner()),
        umask: options.umask,
        chroot: options.chroot.clone().map(os),
        home: options.home.clone().map(os),
        home_on_path: options.home.is_some(),
        lang: options.lang.clone().map(os),
        locale: options.locale.clone().map(os),
        no_new_privileges: options.no_new_privileges,
    }
}

fn limits(options: &DaemonOptions) -> Limits {
    Limits {
        cpu_priority: options.cpu_priority,
        is_batch: options.cpu_scheduling == CpuScheduling::Batch,
        cpu_time: options.cpu_time_limit,
        memory: options.memory_limit,
        virtual_memory: options.virtual_memory_limit,
    }
}

fn buffers(options: &DaemonOptions) -> SocketBuffers {
    let size = |size: Option<u64>| size.and_then(|size| usize::try_from(size).ok());
    SocketBuffers {
        send: size(options.send_buffer_size),
        receive: size(options.receive_buffer_size),
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

fn python(definition: &DaemonDefinition<'_>, engine: EngineFile) -> PythonSpec {
    let options = definition.options();
    let process = definition.base().config::<Wsgi>().process();
    let interpreters = &process.interpreters;
    let outside = interpreters.outside();
    let name = definition.name().to_bytes();
    let sections = interpreters.in_process_group(name);
    let free_threading = engine.python.is_free_threaded() && interpreters.free_threading(name);
    PythonSpec {
        free_threading,
        own_gils: engine.python.has_own_gils() && interpreters.own_gils(name),
        program: engine.program().map(PathBuf::into_os_string),
        engine: engine.path.into_os_string(),
        home: home(definition),
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
        restrict_stdin: outside.restrict_stdin.unwrap_or(false),
        restrict_stdout: outside.restrict_stdout.unwrap_or(false),
        restrict_signal: outside.restrict_signal.unwrap_or(true),
        case_sensitive: process.case_sensitive,
        server_metrics: options.server_metrics,
        sections: sections.into_iter().map(section).collect(),
        per_interpreter_gil: outside.per_interpreter_gil.unwrap_or(false),
        default_switch_interval: outside.switch_interval,
        switch_interval: options.switch_interval,
    }
}

fn section(section: &Section) -> InterpreterSection {
    InterpreterSection {
        application_group: section.selector.application_group.clone().map(os),
        python_path: section.python_path.clone().map(os),
        restrict_stdin: section.restrict_stdin,
        restrict_stdout: section.restrict_stdout,
        restrict_signal: section.restrict_signal,
        per_interpreter_gil: section.per_interpreter_gil,
        switch_interval: section.switch_interval,
    }
}

/// The scripts that are to be loaded in the group's processes.
fn preload(definition: &DaemonDefinition<'_>) -> Vec<PreloadScript> {
    config::preloads(definition.base())
        .filter(|script| script.process_group.as_c_str() == definition.name())
        .map(|script| PreloadScript {
            path: os_c(&script.script),
            application_group: os_c(&script.application_group),
            reload: true,
        })
        .collect()
}

fn server() -> ServerSpec {
    let mpm = Mpm::query();
    ServerSpec {
        pid: nix::unistd::getpid().as_raw(),
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
