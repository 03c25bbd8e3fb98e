//! The stage of the tests of process groups: an application that tells what its process is like.

use testkit::{Httpd, Process, Site, skip};

use crate::apps::{Environ, environ};

/// Answers with what its process is like, as JSON.
pub(crate) const SELF: &str = r#"
import json, locale, os, resource, socket, stat, sys, threading

def sizes(option):
    found = set()
    for name in os.listdir('/proc/self/fd'):
        try:
            if stat.S_ISSOCK(os.stat(int(name)).st_mode):
                with socket.socket(fileno=os.dup(int(name))) as it:
                    found.add(it.getsockopt(socket.SOL_SOCKET, option))
        except OSError:
            pass
    return sorted(found)

def application(environ, start_response):
    umask = os.umask(0)
    os.umask(umask)
    answer = {
        'uid': os.getuid(), 'gid': os.getgid(), 'groups': sorted(os.getgroups()),
        'umask': oct(umask), 'cwd': os.getcwd(), 'path': sys.path[0],
        'LANG': os.environ.get('LANG'), 'LC_ALL': os.environ.get('LC_ALL'),
        'locale': locale.setlocale(locale.LC_ALL),
        'HOME': os.environ.get('HOME'), 'eggs': os.environ.get('PYTHON_EGG_CACHE'),
        'scheduling': os.sched_getscheduler(0) == os.SCHED_BATCH,
        'nice': os.getpriority(os.PRIO_PROCESS, 0),
        'shown': open('/proc/self/cmdline').read().split('\0')[0].strip(),
        'switch': sys.getswitchinterval(),
        'sent': sizes(socket.SO_SNDBUF), 'received': sizes(socket.SO_RCVBUF),
        'cpu': resource.getrlimit(resource.RLIMIT_CPU),
        'data': resource.getrlimit(resource.RLIMIT_DATA),
        'space': resource.getrlimit(resource.RLIMIT_AS),
        'multithread': environ['wsgi.multithread'], 'multiprocess': environ['wsgi.multiprocess'],
    }
    start_response('200 OK', [('Content-Type', 'application/json')])
    return [json.dumps({key: str(value) for key, value in answer.items()}).encode()]
"#;

/// A server in whose process group, with these options, [`SELF`] answers.
pub(crate) fn with_options(options: &str) -> Httpd {
    serving(SELF, options)
}

/// A server whose one application is this script, in a process group with these options.
pub(crate) fn serving(source: &str, options: &str) -> Httpd {
    Site::new()
        .script("only.wsgi", source)
        .config(&format!(
            "WSGISocketPrefix ${{ROOT}}/logs/wsgi
             WSGIDaemonProcess own {options}
             WSGIScriptAlias / ${{WSGI}}/only.wsgi process-group=own application-group=%{{GLOBAL}}"
        ))
        .start()
}

/// What [`SELF`] tells of a process group with these options.
pub(crate) fn told(options: &str) -> Environ {
    environ(&with_options(options).get("/"))
}

/// Whether the tests run as root: only then do applications run as other users.
pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// The same, for a test that needs it, or a part of one: what is skipped must not look like what
/// passed.
pub(crate) fn as_root() -> bool {
    if !is_root() {
        skip("only root can have applications run as other users");
    }
    is_root()
}

/// The supervisors of a server: more than one while a configuration takes the place of another.
pub(crate) fn supervisors(server: &Httpd) -> impl Iterator<Item = Process> {
    let children = server.process().children().into_iter();
    children.filter(|child| {
        let name = std::fs::read_to_string(format!("/proc/{}/comm", child.pid));
        name.is_ok_and(|name| name.starts_with("(wsgi-supervis"))
    })
}
