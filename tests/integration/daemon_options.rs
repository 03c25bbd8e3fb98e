//! As whom, where and how the processes of a group run: what `WSGIDaemonProcess` says is so.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use testkit::{Httpd, Mark, Site, is_reference, ours};

use crate::apps::{ENVIRON, Environ, environ};

/// Answers with what its process is like, as JSON.
const SELF: &str = r#"
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

fn with_options(options: &str) -> Httpd {
    serving(SELF, options)
}

/// A server whose one application is this script, in a process group with these options.
fn serving(source: &str, options: &str) -> Httpd {
    Site::new()
        .script("only.wsgi", source)
        .config(&format!(
            "WSGISocketPrefix ${{ROOT}}/logs/wsgi
             WSGIDaemonProcess own {options}
             WSGIScriptAlias / ${{WSGI}}/only.wsgi process-group=own application-group=%{{GLOBAL}}"
        ))
        .start()
}

fn told(options: &str) -> Environ {
    environ(&with_options(options).get("/"))
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

#[test]
fn user_groups_umask_and_directory() {
    if !is_root() {
        return;
    }
    let server = with_options(
        "user=nobody group=nogroup supplementary-groups=www-data,#4 umask=0027 home=/usr/share",
    );
    let own = environ(&server.get("/"));
    let nobody = nix::unistd::User::from_name("nobody").ok().flatten();
    let nobody = nobody.expect("a user that every system has");
    let group = |name: &str| {
        let group = nix::unistd::Group::from_name(name).ok().flatten();
        group.expect("a group that every Debian has").gid
    };
    let nogroup = group("nogroup");
    let mut groups = [4, nogroup.as_raw(), group("www-data").as_raw()];
    groups.sort_unstable();
    assert_eq!(own.value("uid"), nobody.uid.to_string());
    assert_eq!(own.value("gid"), nogroup.to_string());
    assert_eq!(own.value("groups"), format!("{groups:?}"));
    assert_eq!(own.value("HOME"), nobody.dir.display().to_string());
    assert_eq!(own.value("umask"), "0o27");
    assert_eq!(own.value("cwd"), "/usr/share");
    assert_eq!(own.value("path"), "/usr/share");
}

/// `HOME` is always the user's; the others are what they should be if they are there at all.
#[test]
fn the_environment_names_the_user() {
    const NAMES: &str = "
import os, pwd

def application(environ, start_response):
    names = ['HOME', 'USER', 'USERNAME', 'LOGNAME']
    found = [os.environ.get(name) for name in names]
    user = pwd.getpwuid(os.geteuid())
    start_response('200 OK', [])
    return [repr([{user.pw_name: 'name', user.pw_dir: 'home'}.get(text, text)
                  for text in found]).encode()]
";
    for (set, in_group, in_httpd) in [
        (
            &[][..],
            "['home', None, None, None]",
            "[None, None, None, None]",
        ),
        (
            &[("USER", "somebody"), ("LOGNAME", "else"), ("HOME", "/x")],
            "['home', 'name', None, 'name']",
            "['/x', 'somebody', None, 'else']",
        ),
        (
            &[("USERNAME", "somebody")],
            "['home', None, 'name', None]",
            "[None, None, 'somebody', None]",
        ),
    ] {
        let site = Site::new().script("names.wsgi", NAMES).config(
            "WSGISocketPrefix ${ROOT}/logs/wsgi
             WSGIDaemonProcess own
             WSGIScriptAlias /group ${WSGI}/names.wsgi process-group=own
             WSGIScriptAlias /httpd ${WSGI}/names.wsgi",
        );
        let site = set
            .iter()
            .fold(site, |site, (name, value)| site.env(name, value));
        let server = site.start();
        assert_eq!(server.get("/group").text(), in_group, "{set:?}");
        assert_eq!(server.get("/httpd").text(), in_httpd, "{set:?}");
    }
}

#[test]
fn language_and_name() {
    let own = told("lang=C.UTF-8 locale=C.UTF-8 display-name=%{GROUP}");
    assert_eq!(own.value("LANG"), "C.UTF-8");
    assert_eq!(own.value("LC_ALL"), "C.UTF-8");
    assert_eq!(own.value("locale"), "C.UTF-8");
    assert_eq!(own.value("shown"), "(wsgi:own)");
    // mod_wsgi has only as much room as httpd's own name took.
    assert_eq!(told("display-name=wsgi").value("shown"), "wsgi");
}

#[test]
fn a_locale_that_the_system_lacks_is_told_of() {
    let server = with_options("locale=xx_XX.NONE");
    server.get("/");
    let line = server.log().wait_for(Mark::START, "WSGI0079");
    assert!(
        line.contains(":warn]") && line.contains("xx_XX.NONE"),
        "{line}"
    );
}

#[test]
fn priority_and_limits() {
    let own = told(
        "cpu-priority=7 cpu-time-limit=3600 shutdown-timeout=9 memory-limit=2000000000 \
         virtual-memory-limit=8000000000",
    );
    assert_eq!(own.value("nice"), "7");
    assert_eq!(own.value("cpu"), "(3600, 3610)");
    assert_eq!(own.value("data"), "(2000000000, 2000000000)");
    assert_eq!(own.value("space"), "(8000000000, 8000000000)");
}

#[test]
fn threads_that_serve_do_not_preempt_unless_they_are_told_to() {
    if !ours("D111") {
        return;
    }
    assert_eq!(told("").value("scheduling"), "True");
    assert_eq!(told("cpu-scheduling=batch").value("scheduling"), "True");
    let server = with_options("cpu-scheduling=other");
    assert_eq!(environ(&server.get("/")).value("scheduling"), "False");
    // Nor do those of httpd, which wait for them.
    let do_preempt = |server: &Httpd| !server.children().iter().any(|it| it.has_batch_threads());
    assert!(do_preempt(&server));
    let server = with_options("");
    server.get("/");
    assert!(!do_preempt(&server));
}

#[test]
fn python() {
    let own = told("switch-interval=0.25 python-eggs=/var/cache/eggs python-path=/usr/share");
    assert_eq!(own.value("switch"), "0.25");
    assert_eq!(own.value("eggs"), "/var/cache/eggs");
    assert_eq!(own.value("path"), "/usr/share");
}

#[test]
fn home_comes_before_the_python_path() {
    let own = told("home=/usr/lib python-path=/usr/share");
    let first = own.value("path");
    // mod_wsgi puts it before as well, whatever its manual says.
    assert_eq!(first, "/usr/lib");
}

/// It is as it was written: the release that a link leads to is for each import to find. And it
/// comes first whatever sections add; what `.pth` files in it say is for those who name it in a path.
#[test]
fn home_is_at_the_front_of_the_path_as_it_is_written() {
    let script = "import sys\n\ndef application(environ, start_response):\n    \
                  start_response('200 OK', [])\n    return [':'.join(sys.path[:3]).encode()]\n";
    let site = Site::new()
        .script("path.wsgi", script)
        .file("releases/a:1/more.pth", "../../other\n")
        .file("other/module.py", "")
        .file("section/module.py", "")
        .config(
            "WSGIDaemonProcess own home=${ROOT}/current:1 python-path=/usr/share
             <WSGIInterpreterOptions process-group=own>
                 WSGIPythonPath ${ROOT}/section
             </WSGIInterpreterOptions>
             WSGIScriptAlias /main ${WSGI}/path.wsgi process-group=own application-group=%{GLOBAL}
             WSGIScriptAlias /sub ${WSGI}/path.wsgi process-group=own application-group=sub",
        );
    symlink(site.path("releases/a:1"), site.path("current:1")).expect("a link");
    let (home, section) = (site.text_path("current:1"), site.text_path("section"));
    let server = site.start();
    for url in ["/main", "/sub"] {
        let expected = format!("{home}:{section}:/usr/share");
        assert_eq!(server.get(url).text(), expected, "{url}");
    }
}

#[test]
fn buffers_of_sockets() {
    let own = told("send-buffer-size=20480 receive-buffer-size=10240");
    // Linux doubles them, for its own needs.
    assert!(own.value("sent").contains("40960"), "{}", own.value("sent"));
    let received = own.value("received");
    assert!(received.contains("20480"), "{received}");
}

/// Answers with the size of the stack of the thread that serves, as C sees it.
const STACK: &str = r#"
import ctypes

libc = ctypes.CDLL(None)
libc.pthread_self.restype = ctypes.c_ulong
libc.pthread_getattr_np.argtypes = [ctypes.c_ulong, ctypes.c_void_p]
libc.pthread_attr_getstacksize.argtypes = [ctypes.c_void_p, ctypes.POINTER(ctypes.c_size_t)]

def application(environ, start_response):
    attributes, size = ctypes.create_string_buffer(256), ctypes.c_size_t()
    assert libc.pthread_getattr_np(libc.pthread_self(), attributes) == 0
    assert libc.pthread_attr_getstacksize(attributes, ctypes.byref(size)) == 0
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [str(size.value).encode()]
"#;

#[test]
fn stacks_of_threads() {
    for size in [512 << 10, 1 << 20, 64 << 20] {
        let server = Site::new()
            .script("a.wsgi", STACK)
            .config(&format!(
                "WSGIDaemonProcess own stack-size={size}
                 WSGIScriptAlias / ${{WSGI}}/a.wsgi process-group=own application-group=%{{GLOBAL}}"
            ))
            .start();
        let own: usize = server.get("/").text().parse().expect("a size");
        // The page that guards it may count.
        assert!(
            (size - 65_536..=size + 65_536).contains(&own),
            "{size}: {own}"
        );
    }
}

#[test]
fn another_user_is_at_home_and_in_its_groups() {
    if !is_root() {
        return;
    }
    let user = nix::unistd::User::from_name("bin").ok().flatten();
    let user = user.expect("a user that every Debian has");
    let own = told("user=bin");
    assert_eq!(own.value("uid"), user.uid.to_string());
    let home = std::fs::canonicalize(&user.dir).expect("its home");
    let cwd = std::fs::canonicalize(own.value("cwd")).expect("a directory");
    assert_eq!(cwd, home);
    assert_ne!(Path::new(own.value("path")), home, "it is no home= option");
    // The group is httpd's as long as no other is given.
    let www = nix::unistd::Group::from_name("www-data").ok().flatten();
    assert_eq!(own.value("gid"), www.expect("httpd's").gid.to_string());
}

#[test]
fn a_user_may_be_a_number_without_a_name() {
    if !is_root() || !ours("D151") {
        return;
    }
    let own = told("user=#77777 group=#77778");
    assert_eq!(own.value("uid"), "77777");
    assert_eq!(own.value("gid"), "77778");
    assert_eq!(own.value("groups"), "[77778]");
}

#[test]
fn each_process_is_another() {
    let server = Site::new()
        .script("a.wsgi", WAITS)
        .config(
            "WSGIDaemonProcess own processes=3 threads=2
             WSGIScriptAlias / ${WSGI}/a.wsgi process-group=own application-group=%{GLOBAL}",
        )
        .start();
    // Six requests at a time, that end when all of them run: in three processes, two in each.
    let ask = || {
        let mut client = server.connect();
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        client
    };
    let mut clients: Vec<_> = (0..6).map(|_| ask()).collect();
    let mut pids: Vec<_> = clients
        .iter_mut()
        .map(|it| it.read_response().text())
        .collect();
    pids.sort();
    assert!(
        pids.iter().all(|pid| pid.parse::<u32>().is_ok()),
        "{pids:?}"
    );
    pids.dedup();
    assert_eq!(pids.len(), 3);
}

/// Answers with its process, once six requests wait for that.
const WAITS: &str = r#"
import os, tempfile, threading, time
from pathlib import Path

data = Path(__file__).resolve().parents[1] / 'data'

def application(environ, start_response):
    (data / f'{os.getpid()}-{threading.get_ident()}').touch()
    deadline = time.time() + 20
    while len(list(data.iterdir())) < 6 and time.time() < deadline:
        time.sleep(0.01)
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [str(os.getpid()).encode() if time.time() < deadline else b'too few']
"#;

#[test]
fn processes_and_threads() {
    let shape = |options| {
        let own = told(options);
        [own.value("multiprocess"), own.value("multithread")].map(str::to_owned)
    };
    assert_eq!(shape(""), ["False", "True"]);
    assert_eq!(shape("processes=1 threads=1"), ["True", "False"]);
    assert_eq!(shape("processes=2 threads=2"), ["True", "True"]);
}

#[test]
fn the_stack_of_a_thread_has_the_size_that_was_asked_for() {
    const MEASURING: &str = "
import ctypes

def application(environ, start_response):
    libc = ctypes.CDLL(None)
    libc.pthread_self.restype = ctypes.c_ulong
    attributes = ctypes.create_string_buffer(128)
    libc.pthread_getattr_np(ctypes.c_ulong(libc.pthread_self()), attributes)
    size = ctypes.c_size_t()
    libc.pthread_attr_getstacksize(attributes, ctypes.byref(size))
    libc.pthread_attr_destroy(attributes)
    start_response('200 OK', [])
    return [str(size.value).encode()]
";
    let size = |options: &str| -> u64 {
        let text = serving(MEASURING, options).get("/").text();
        text.parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"))
    };
    for asked in [512 << 10, 3 << 20] {
        let found = size(&format!("stack-size={asked}"));
        assert!(
            (asked..asked + (128 << 10)).contains(&found),
            "{asked}: {found}"
        );
    }
    // Python code may nest deeply.
    let default = size("");
    assert!(default >= 8 << 20, "{default}");
}

/// A process with one thread that serves one request runs its application once.
#[test]
fn a_process_for_each_request_says_so() {
    const ASKING: &str = "
def application(environ, start_response):
    start_response('200 OK', [])
    return [str(environ['wsgi.run_once']).encode()]
";
    for (options, expected) in [
        ("threads=1 maximum-requests=1", "True"),
        ("threads=1 maximum-requests=2", "False"),
        ("threads=2 maximum-requests=1", "False"),
        ("threads=1", "False"),
    ] {
        let server = serving(ASKING, options);
        assert_eq!(server.get("/").text(), expected, "{options}");
    }
}

#[test]
fn rotation_and_mutex_may_be_set() {
    let mutexes = ["default", "flock", "fcntl", "sysvsem", "pthread"];
    let rotations = ["WSGISocketRotation On", "WSGISocketRotation Off"];
    let mutexes = mutexes.map(|name| format!("WSGIAcceptMutex {name}"));
    for line in mutexes.into_iter().chain(rotations.map(str::to_owned)) {
        let server = Site::new()
            .script("environ.wsgi", ENVIRON)
            .config(&format!(
                "WSGISocketPrefix ${{ROOT}}/logs/wsgi
                 {line}
                 WSGIDaemonProcess own processes=2 threads=2
                 WSGIProcessGroup own
                 WSGIScriptAlias / ${{WSGI}}/environ.wsgi"
            ))
            .start();
        if is_reference() {
            // Its processes wait for the mutex until they are told to end, and some mutexes are gone by then.
            server.log().expect_alarm("WSGI0017");
        }
        let seen = environ(&server.get("/"));
        assert_eq!(seen.value("mod_wsgi.process_group"), "own", "{line}");
    }
}

/// Makes a root directory with a Python in it, below the site's own.
fn jail(site: &Site) {
    let lib = site.path("jail/usr/lib");
    std::fs::create_dir_all(&lib).expect("a directory");
    let python = Command::new("/usr/bin/python3")
        .args(["-c", "import os; print(os.path.dirname(os.__file__))"])
        .output()
        .expect("python3");
    let library = String::from_utf8_lossy(&python.stdout).trim().to_owned();
    copy(Path::new(&library), &lib);
    let bin = site.path("jail/usr/bin");
    std::fs::create_dir_all(&bin).expect("a directory");
    std::fs::copy("/usr/bin/python3", bin.join("python3")).expect("a program");
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(status.expect("cp").success(), "cp {from:?} {to:?}");
}

#[test]
fn below_another_root_paths_are_as_they_are_there() {
    if !is_root() {
        return;
    }
    let site = Site::new()
        .file("jail/srv/a.wsgi", ENVIRON)
        .script("outside.wsgi", ENVIRON);
    jail(&site);
    let server = site
        .config(
            "WSGISocketPrefix ${ROOT}/logs/wsgi
             WSGIDaemonProcess jailed chroot=${ROOT}/jail
             <Directory ${ROOT}/jail>
                 Require all granted
             </Directory>
             WSGIProcessGroup jailed
             WSGIApplicationGroup %{GLOBAL}
             WSGIScriptAlias /in ${ROOT}/jail/srv/a.wsgi
             WSGIScriptAlias /out ${WSGI}/outside.wsgi",
        )
        .start();
    let own = environ(&server.get("/in"));
    assert_eq!(own.value("SCRIPT_FILENAME"), "/srv/a.wsgi");
    assert!(!own.has("DOCUMENT_ROOT"), "it lies outside");
    assert_eq!(server.get("/out").head.status, 502);
    server.log().wait_for(Mark::START, "WSGI0081");
}

#[test]
fn a_python_home_that_is_none_costs_its_group_only() {
    // mod_wsgi starts its processes without a Python, and answers 500.
    if !ours("D64") {
        return;
    }
    let site = Site::new()
        .script("self.wsgi", SELF)
        .file("empty/README", "no Python here");
    let server = site
        .config(
            "WSGIDaemonProcess own
             WSGIDaemonProcess missing python-home=${ROOT}/nowhere
             WSGIDaemonProcess empty python-home=${ROOT}/empty
             WSGIApplicationGroup %{GLOBAL}
             WSGIScriptAlias /own ${WSGI}/self.wsgi process-group=own
             WSGIScriptAlias /missing ${WSGI}/self.wsgi process-group=missing
             WSGIScriptAlias /empty ${WSGI}/self.wsgi process-group=empty",
        )
        .start();
    for (group, cause) in [("missing", "nowhere"), ("empty", "pyvenv.cfg")] {
        let said = server.log().wait_for(
            Mark::START,
            &format!("process group '{group}' did not start"),
        );
        assert!(said.contains("WSGI1206") && said.contains(cause), "{said}");
        let response = server.get(&format!("/{group}"));
        assert_eq!(response.head.status, 503, "{group}");
        assert!(response.header("Retry-After").is_some(), "{group}");
    }
    assert_eq!(server.get("/own").head.status, 200);
    let dump = server
        .log()
        .matching(Mark::START, "Could not find platform");
    assert!(dump.is_empty(), "{dump:?}");
}

#[test]
fn a_python_without_an_engine_costs_its_group_only() {
    if !ours("D64") {
        return;
    }
    let site = Site::new()
        .script("self.wsgi", SELF)
        .file("strange/pyvenv.cfg", "home = /usr/bin\nversion = 3.99.1\n")
        .config(
            "WSGIDaemonProcess own
             WSGIDaemonProcess strange python-home=${ROOT}/strange
             WSGIApplicationGroup %{GLOBAL}
             WSGIScriptAlias /own ${WSGI}/self.wsgi process-group=own
             WSGIScriptAlias /strange ${WSGI}/self.wsgi process-group=strange",
        );
    let answer = site.configtest();
    assert!(answer.success, "{}", answer.text);
    for part in ["WSGI1232", "3.99", "apxs/build"] {
        assert!(answer.text.contains(part), "{part}: {}", answer.text);
    }
    let server = site.start();
    let response = server.get("/strange");
    assert_eq!(response.head.status, 503);
    assert!(response.header("Retry-After").is_some());
    assert_eq!(server.get("/own").head.status, 200);
}

#[test]
fn what_an_application_yields_arrives_with_any_response_flush_delay() {
    const WAITS: &str = "
import os, time

def application(environ, start_response):
    start_response('200 OK', [])
    yield b'first'
    deadline = time.monotonic() + 30
    while not os.path.exists(environ['QUERY_STRING']) and time.monotonic() < deadline:
        time.sleep(0.01)
    yield b'second'
";
    for delay in ["0", "5", "200"] {
        let server = serving(WAITS, &format!("response-flush-delay={delay}"));
        let mut connection = server.connect();
        let gate = server.site().text_path("data/gate");
        connection.send(format!("GET /?{gate} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
        assert_eq!(connection.read_head().expect("a head").status, 200);
        assert_eq!(
            connection.read_chunk().as_deref(),
            Some(&b"first"[..]),
            "{delay}"
        );
        server.site().write("data/gate", "");
        assert_eq!(
            connection.read_chunk().as_deref(),
            Some(&b"second"[..]),
            "{delay}"
        );
    }
}

#[test]
fn what_an_application_starts_gains_no_privileges() {
    const STATUS: &str = "
import subprocess

def application(environ, start_response):
    start_response('200 OK', [])
    return [subprocess.run(['grep', 'NoNewPrivs', '/proc/self/status'], stdout=-1).stdout]
";
    if !ours("D127") {
        return;
    }
    let server = Site::new()
        .script("status.wsgi", STATUS)
        .config(
            "WSGIDaemonProcess own
             WSGIScriptAlias / ${WSGI}/status.wsgi process-group=own",
        )
        .start();
    assert_eq!(server.get("/").text(), "NoNewPrivs:\t1\n");
}
