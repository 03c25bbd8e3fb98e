//! What the system refuses to a process group: who its processes are to be, the socket that it
//! listens on, the connection to it. Each has an id of its own, which is mod_wsgi's.

use std::os::unix::fs::chown;

use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rstest::rstest;
use testkit::{Httpd, Mark, Mpm, Request, Site, is_reference, ours, wait_until};

use crate::apps::answering;
use crate::daemon_site::as_root;

const GROUP: &str = "
    WSGISocketPrefix ${ROOT}/logs/wsgi
    WSGIScriptAlias /embedded ${WSGI}/a.wsgi
    WSGIScriptAlias /group ${WSGI}/a.wsgi process-group=one";

fn site(options: &str) -> Site {
    Site::new()
        .script("a.wsgi", &answering("ran"))
        .config(&format!("{GROUP}\nWSGIDaemonProcess one {options}"))
}

/// The line of the log with this id, which is about an alarming event.
fn alert(server: &Httpd, id: &str) -> String {
    let id = format!("{id}: ");
    server.log().expect_alarm(&id);
    // mod_wsgi says behind the one that nothing comes of the process.
    server.log().expect_alarm("WSGI0025");
    let line = server.log().wait_for(Mark::START, &id);
    assert!(line.contains(":alert]"), "{line}");
    line
}

#[rstest]
#[case::root_directory(
    "chroot=/missing",
    "WSGI0003",
    "Unable to change root directory to",
    "/missing"
)]
#[case::directory(
    "home=/missing",
    "WSGI0009",
    "Unable to change working directory to",
    "/missing"
)]
#[case::home(
    "user=nobody",
    "WSGI0010",
    "Unable to change working directory to home directory",
    "/nonexistent"
)]
fn a_process_that_cannot_go_where_it_is_to_be_is_told_of(
    #[case] options: &str,
    #[case] id: &str,
    #[case] step: &str,
    #[case] value: &str,
) {
    if !options.starts_with("home") && !as_root() {
        return;
    }
    let server = site(options).start();
    let line = alert(&server, id);
    assert!(line.contains(step) && line.contains(value), "{line}");
    assert!(line.contains("No such file or directory"), "{line}");
    assert_eq!(server.get("/embedded").text(), "ran");
    // A request would wait for mod_wsgi's next attempt.
    if ours("D64") {
        assert_eq!(server.get("/group").status, 503);
        let name = "process group 'one'";
        assert!(line.contains(name), "{line}");
    }
}

/// Whose capabilities are not those of root, as in a container.
#[rstest]
#[case::root("chroot=/tmp", "sys_chroot", "WSGI0003", "Unable to change root")]
#[case::group("", "setgid", "WSGI0004", "Unable to set group id to gid=")]
#[case::groups(
    "group=root supplementary-groups=www-data",
    "setgid",
    "WSGI0005",
    "Unable to set supplementary groups"
)]
#[case::groups_of_user(
    "group=root",
    "setgid",
    "WSGI0006",
    "Unable to initialise groups for uname="
)]
#[case::user("", "setuid", "WSGI0007", "Unable to change to uid=")]
fn a_process_that_may_not_become_who_it_is_to_be_is_told_of(
    #[case] options: &str,
    #[case] capability: &str,
    #[case] id: &str,
    #[case] step: &str,
) {
    if !as_root() {
        return;
    }
    // Nor may httpd, which ends, or goes on as root with a line of its own.
    let log = match site(options).without_capability(capability).try_start() {
        Err(failure) => failure.text,
        Ok(server) => {
            for other in ["AH0", "WSGI0008", "exit signal"] {
                server.log().expect_alarm(other);
            }
            alert(&server, id);
            server.log().text()
        }
    };
    let line = log.lines().find(|line| line.contains(&format!("{id}: ")));
    let line = line.unwrap_or_else(|| panic!("no {id} in {log}"));
    assert!(line.contains(step), "{line}");
    assert!(line.contains("Operation not permitted"), "{line}");
}

/// Has a system call fail, if one of its arguments has this value, in the program that it becomes.
const REFUSING: &str = r"
import ctypes, os, struct, sys

number, argument, value, error = map(int, sys.argv[1:5])
step = lambda *words: struct.pack('HBBI', *words)
code = ctypes.create_string_buffer(b''.join([
    step(0x20, 0, 0, 0), step(0x15, 0, 3, number),
    step(0x20, 0, 0, 16 + 8 * argument), step(0x15, 0, 1, value),
    step(6, 0, 0, 0x50000 | error), step(6, 0, 0, 0x7fff0000)]))

class Filter(ctypes.Structure):
    _fields_ = [('length', ctypes.c_ushort), ('code', ctypes.c_void_p)]

prctl = ctypes.CDLL(None).prctl
assert os.geteuid() == 0 or prctl(38, 1, 0, 0, 0) == 0
assert prctl(22, 2, ctypes.byref(Filter(6, ctypes.addressof(code)))) == 0
os.execvp(sys.argv[5], sys.argv[5:])
";

fn refused(options: &str, call: libc::c_long, argument: u8, value: i32) -> Httpd {
    failing(options, call, argument, value, libc::EACCES)
}

/// Without an error, the call only looks as if it had been made.
fn failing(options: &str, call: libc::c_long, argument: u8, value: i32, error: i32) -> Httpd {
    let words = [
        call.to_string(),
        argument.to_string(),
        value.to_string(),
        error.to_string(),
    ];
    let mut program = vec!["python3", "-c", REFUSING];
    program.extend(words.iter().map(String::as_str));
    site(options).through(&program).start()
}

/// The system says that it has changed the user, or the groups, and has not.
#[rstest]
#[case::user("", libc::SYS_setuid, 65534)]
#[case::groups("supplementary-groups=#4", libc::SYS_setgroups, 2)]
fn a_process_that_is_not_who_it_should_be_is_told_of(
    #[case] options: &str,
    #[case] call: libc::c_long,
    #[case] argument: i32,
) {
    if !ours("D127") || !as_root() {
        return;
    }
    let options = format!("user=nobody group=nogroup home=/tmp {options}");
    let server = failing(&options, call, 0, argument, 0);
    let line = alert(&server, "WSGI0008");
    assert!(
        line.contains("other user or group ids than 65534:65534"),
        "{line}"
    );
    assert_eq!(server.get("/group").status, 503);
}

#[test]
fn a_process_that_could_gain_privileges_is_told_of() {
    if !ours("D127") || !as_root() {
        return;
    }
    let server = refused("", libc::SYS_prctl, 0, libc::PR_SET_NO_NEW_PRIVS);
    let line = alert(&server, "WSGI0025");
    assert!(
        line.contains("Unable to give up the right to gain privileges"),
        "{line}"
    );
    assert_eq!(server.get("/group").status, 503);
}

fn check_unmade(server: &Httpd, id: &str) {
    let line = alert(server, id);
    assert!(line.contains("Daemon group will not start"), "{line}");
    assert_eq!(server.get("/embedded").text(), "ran");
    let status = server.get("/group").status;
    // A child of mod_wsgi's looks for the socket, or cannot make one to do that.
    assert!(status == 503 || is_reference() && status == 500, "{status}");
}

#[test]
fn a_socket_that_cannot_be_created_is_told_of() {
    let server = refused("", libc::SYS_socket, 0, libc::AF_UNIX);
    check_unmade(&server, "WSGI0012");
}

#[test]
fn a_socket_that_cannot_be_listened_on_is_told_of() {
    let server = refused("listen-backlog=77", libc::SYS_listen, 1, 77);
    check_unmade(&server, "WSGI0014");
}

#[test]
fn a_socket_that_cannot_be_given_to_its_user_is_told_of() {
    if !as_root() {
        return;
    }
    let server = site("").without_capability("chown").start();
    check_unmade(&server, "WSGI0015");
}

/// Puts sockets where the program that it becomes will have its own.
const LEAVING: &str = "
import os, socket, sys

root = sys.argv[sys.argv.index('-d') + 1]
for name in ('0.1', '1'):
    socket.socket(socket.AF_UNIX).bind(f'{root}/logs/wsgi.{os.getpid()}.{name}.sock')
os.execvp(sys.argv[1], sys.argv[1:])
";

#[test]
fn a_socket_that_was_left_over_is_replaced_and_told_of() {
    let server = site("").through(&["python3", "-c", LEAVING]).start();
    assert_eq!(server.get("/group").text(), "ran");
    let line = server.log().wait_for(Mark::START, "WSGI0065: ");
    let words = ":warn]";
    assert!(line.contains(words), "{line}");
    let words = "Removing stale unix domain socket";
    assert!(
        line.contains(words) && line.contains("/logs/wsgi."),
        "{line}"
    );
}

/// Lets its process have no descriptors beyond those that every program begins with.
const GREEDY: &str = "
import resource

def application(environ, start_response):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    start_response('200 OK', [('Content-Length', '0')])
    return [b'']
";

#[test]
fn a_child_of_httpd_without_descriptors_has_no_socket_to_connect_with() {
    let server = site("")
        .mpm(Mpm::Prefork)
        .script("greedy.wsgi", GREEDY)
        .config("WSGIScriptAlias /greedy ${WSGI}/greedy.wsgi\nMaxRequestWorkers 1")
        .start();
    let mut connection = server.connect();
    connection.send(&Request::get("/greedy").to_bytes());
    assert_eq!(connection.read_response().status, 200);
    connection.send(&Request::get("/group").to_bytes());
    assert_eq!(connection.read_response().status, 500);
    let line = server.log().wait_for(Mark::START, "WSGI0115: ");
    assert!(line.contains(":error]"), "{line}");
    assert!(
        line.contains("Unable to create socket to connect"),
        "{line}"
    );
    assert!(line.contains("oo many open files"), "{line}");
}

/// Begins a response, and then does what the query says.
const BEGINNING: &str = "
import os, time

def application(environ, start_response):
    start_response('200 OK', [])
    yield b'begun'
    if environ['QUERY_STRING'] == 'die':
        os.kill(os.getpid(), 9)
    time.sleep(15)
";

#[rstest]
#[case::death("die")]
#[case::silence("sleep")]
fn a_response_that_does_not_go_on_is_told_of(#[case] conduct: &str) {
    let server = site("socket-timeout=3 shutdown-timeout=1")
        .script("begins.wsgi", BEGINNING)
        .config("WSGIScriptAlias /begins ${WSGI}/begins.wsgi process-group=one")
        .start();
    if conduct == "die" {
        server.log().expect_alarm("died of signal 9 (SIGKILL)");
    }
    let response = server.get(&format!("/begins?{conduct}"));
    assert_eq!((response.status, response.text().as_str()), (200, "begun"));
    let line = server.log().wait_for(Mark::START, "WSGI0119: ");
    assert!(line.contains(":error]"), "{line}");
    let words = "Unable to proxy response from daemon to client";
    assert!(line.contains(words), "{line}");
    if ours("D65") {
        assert!(line.contains("GET /begins"), "{line}");
    }
}

/// Answers with more than a client that reads nothing takes.
const ENDLESS: &str = "
def application(environ, start_response):
    start_response('200 OK', [])
    for _ in range(5000):
        yield b'x' * 10_000
";

#[test]
fn a_client_that_takes_no_more_is_told_of() {
    let server = site("response-socket-timeout=1")
        .script("endless.wsgi", ENDLESS)
        .config("WSGIScriptAlias /endless ${WSGI}/endless.wsgi process-group=one")
        .start();
    let mut connection = server.connect();
    connection.send(&Request::get("/endless").to_bytes());
    let line = server.log().wait_for(Mark::START, "WSGI0120: ");
    assert!(line.contains(":error]"), "{line}");
    let words = "Unable to proxy response to client (write timeout)";
    assert!(line.contains(words), "{line}");
}

/// Answers with the id of its process.
const PID: &str = "
import os

def application(environ, start_response):
    start_response('200 OK', [])
    return [b'%d' % os.getpid()]
";

/// No connection has room for its head.
#[test]
fn a_request_that_nobody_takes_is_told_of() {
    let server = site("socket-timeout=3")
        .module("env")
        .script("pid.wsgi", PID)
        .config(&format!(
            "WSGIScriptAlias /pid ${{WSGI}}/pid.wsgi process-group=one\nSetEnv BIG {}",
            "x".repeat(1_000_000)
        ))
        .start();
    let pid = server.get("/pid").text().parse().expect("a process id");
    let pid = Pid::from_raw(pid);
    kill(pid, Signal::SIGSTOP).expect("it is there");
    let status = server.get("/pid").status;
    kill(pid, Signal::SIGCONT).expect("it is there");
    assert_eq!(status, 500);
    let line = server.log().wait_for(Mark::START, "WSGI0121: ");
    assert!(line.contains(":error]"), "{line}");
    assert!(line.contains("Unable to send request details"), "{line}");
    assert_eq!(server.get("/pid").text(), pid.to_string());
}

#[test]
fn a_process_that_does_not_start_over_and_over_is_told_of_once() {
    // mod_wsgi starts its processes without a Python.
    if !ours("D64") {
        return;
    }
    let server = Site::new()
        .script("a.wsgi", &answering("ran"))
        .config(
            "LogLevel wsgi:debug
             WSGIDaemonProcess one python-home=${ROOT}/nowhere
             WSGIScriptAlias / ${WSGI}/a.wsgi process-group=one",
        )
        .start();
    let told = |level: &str| {
        let mut lines = server.log().matching(Mark::START, "did not start");
        lines.retain(|line| line.contains(level));
        lines
    };
    wait_until("two more attempts", || {
        (told("[wsgi:debug]").len() >= 2).then_some(())
    });
    let errors = told("[wsgi:error]");
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].contains("WSGI1206"), "{errors:?}");
    assert_eq!(server.get("/").status, 503);
}

/// As in a container that is started as anybody.
#[test]
fn httpd_may_run_as_a_user_without_a_name() {
    if !as_root() {
        return;
    }
    const NOBODY: u32 = 77777;
    let site = site("");
    for directory in ["", "conf", "logs"] {
        chown(site.path(directory), Some(NOBODY), Some(NOBODY)).expect("root may");
    }
    let server = site
        .through(&[
            "setpriv",
            "--reuid=77777",
            "--regid=77777",
            "--clear-groups",
        ])
        .start();
    assert_eq!(server.get("/embedded").text(), "ran");
    if is_reference() {
        // Whose processes look for its home.
        alert(&server, "WSGI0011");
    }
    if ours("D151") {
        assert_eq!(server.get("/group").text(), "ran");
    }
}
