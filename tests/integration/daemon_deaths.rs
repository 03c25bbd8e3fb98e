//! Applications that misbehave: they cost the process they are in, and the others go on.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::{Connection, Httpd, Mark, Process, Site, is_reference, ours, wait_until};

/// Ends, hangs or grows in the way it is told to; answers with its process.
const WAYS: &str = r#"
import ctypes, os, signal, sys, time

DATA = os.path.join(os.path.dirname(os.path.dirname(__file__)), 'data')
kept = []

def hold_the_gil():
    # Whoever sees the file finds the GIL taken: it is not given up before the interval is over.
    sys.setswitchinterval(60)
    libc = ctypes.PyDLL(None)
    libc.creat(os.path.join(DATA, f'holding-{os.getpid()}').encode(), 0o644)
    libc.sleep(60)

def fork():
    parent = os.getppid()
    if os.fork() == 0:
        # As long as there is a server.
        while os.path.exists(f'/proc/{parent}'):
            time.sleep(0.05)
        os._exit(0)
    os.kill(os.getpid(), 9)

def fork_and_return():
    # Both the process and its child return to the server.
    if os.fork() == 0:
        return

def fork_and_terminate():
    pid = os.fork()
    if pid == 0:
        time.sleep(60)
        os._exit(0)
    os.kill(pid, signal.SIGTERM)
    return os.waitpid(pid, 0)[1]

def close_polls():
    for name in os.listdir('/proc/self/fd'):
        try:
            if os.readlink(f'/proc/self/fd/{name}') == 'anon_inode:[eventpoll]':
                os.close(int(name))
        except FileNotFoundError:
            pass

WAYS = {
    'exit-7': lambda: os._exit(7),
    'exit-0': lambda: os._exit(0),
    'abort': os.abort,
    'kill': lambda: os.kill(os.getpid(), signal.SIGKILL),
    'segv': lambda: ctypes.string_at(8),
    'sys.exit': sys.exit,
    'hold-the-gil': hold_the_gil,
    'grow': lambda: kept.append(bytearray(1 << 31)),
    'fork-and-die': fork,
    'fork-and-return': fork_and_return,
    'fork-and-terminate': fork_and_terminate,
    'close-polls': close_polls,
    '': lambda: None,
}

def application(environ, start_response):
    result = WAYS[environ['QUERY_STRING']]()
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [str(os.getpid() if result is None else result).encode()]
"#;

fn group(options: &str) -> Httpd {
    let server = Site::new()
        .script("a.wsgi", WAYS)
        .config(&format!(
            "CoreDumpDirectory /tmp
             WSGISocketPrefix ${{ROOT}}/logs/wsgi
             WSGIDaemonProcess one threads=3 {options}
             WSGIDaemonProcess other
             WSGIApplicationGroup %{{GLOBAL}}
             WSGIScriptAlias /one ${{WSGI}}/a.wsgi process-group=one
             WSGIScriptAlias /other ${{WSGI}}/a.wsgi process-group=other"
        ))
        .start();
    if is_reference() {
        // How httpd reports what mod_wsgi's processes die of.
        server.log().expect_alarm("exit signal");
    }
    server
}

fn worker(server: &Httpd) -> Process {
    let response = server.get("/one");
    assert_eq!(response.head.status, 200);
    let pid = response.text().parse().expect("a process id");
    Process { pid }
}

fn ask(server: &Httpd, way: &str) -> Connection {
    let mut connection = server.connect();
    let request = format!("GET /one?{way} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    connection.send(request.as_bytes());
    connection
}

#[test]
fn one_that_dies_is_replaced_and_named() {
    let server = group("");
    for (way, fate) in [
        ("exit-7", "ended with exit status 7"),
        ("exit-0", "ended with exit status 0"),
        ("abort", "died of signal 6 (SIGABRT"),
        ("kill", "died of signal 9 (SIGKILL"),
        ("segv", "died of signal 11 (SIGSEGV"),
    ] {
        if fate.starts_with("died") {
            server.log().expect_alarm(fate);
        }
        let old = worker(&server);
        let mark = server.log().mark();
        let status = server.get(&format!("/one?{way}")).head.status;
        assert_eq!(status, 502, "{way}");
        assert_eq!(server.get("/other").head.status, 200, "{way}");
        assert_ne!(worker(&server), old, "{way}");
        if ours("D65") {
            let line = server.log().wait_for(mark, "No complete answer");
            for part in ["GET /one", "'one'", fate, &format!("worker {}", old.pid)] {
                assert!(line.contains(part), "{way}: {part}: {line}");
            }
            let lines = server.log().matching(mark, "GET /one");
            assert_eq!(lines.len(), 1, "{way}: {lines:?}");
        }
    }
}

#[test]
fn one_that_is_killed_young_is_replaced_at_once_if_it_has_answered() {
    let server = group("");
    server.log().expect_alarm("died of signal 9 (SIGKILL)");
    for _ in 0..6 {
        // A request that finds no worker, nor any on its way, is refused.
        let victim = worker(&server);
        kill(Pid::from_raw(victim.pid), Signal::SIGKILL).expect("it runs");
        wait_until("its end", || (!victim.is_running()).then_some(()));
    }
}

/// As one does that closes all there is from some number on.
#[test]
fn one_that_closes_what_its_threads_wait_with_is_replaced() {
    let server = group("connect-timeout=5");
    server.log().expect_alarm("WSGI1214");
    assert_eq!(server.get("/one?close-polls").head.status, 200);
    // More than there are threads.
    for _ in 0..6 {
        worker(&server);
    }
}

#[test]
fn one_that_calls_sys_exit_lives_on() {
    let server = group("");
    let old = worker(&server);
    assert_eq!(server.get("/one?sys.exit").head.status, 500);
    server.log().wait_for(Mark::START, "WSGI0175");
    assert_eq!(worker(&server), old);
}

#[test]
fn one_that_holds_the_gil_for_ever_is_replaced() {
    let server = group("deadlock-timeout=1 shutdown-timeout=1");
    let old = worker(&server);
    let mut hanging = ask(&server, "hold-the-gil");
    assert_eq!(hanging.read_response().head.status, 502);
    assert_ne!(worker(&server), old);
    wait_until("the end of the old process", || {
        (!old.is_running()).then_some(())
    });
}

/// Those that come while one does: they need not wait with it.
#[test]
fn one_that_holds_the_gil_leaves_requests_to_others() {
    if !ours("D253") {
        return;
    }
    const CLIENTS: usize = 12;
    let script = r#"
import ctypes, os, time

DATA = os.path.join(os.path.dirname(os.path.dirname(__file__)), 'data')
HOLD = f'touch {DATA}/held; until [ -e {DATA}/gate ]; do sleep 0.01; done'

def application(environ, start_response):
    if environ['QUERY_STRING']:
        ctypes.PyDLL(None).system(HOLD.encode())
    time.sleep(0.05)
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [b'answered']
"#;
    let server = Site::new()
        .script("a.wsgi", script)
        .config(
            "WSGISocketPrefix ${ROOT}/logs/wsgi
             WSGIDaemonProcess one processes=2 threads=8
             WSGIScriptAlias /one ${WSGI}/a.wsgi process-group=one application-group=%{GLOBAL}",
        )
        .start();
    let mut holding = ask(&server, "hold");
    let held = server.site().text_path("data/held");
    wait_until("it to hold the GIL", || {
        fs::exists(&held).ok()?.then_some(())
    });
    let served = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                for _ in 0..5 {
                    assert_eq!(server.get("/one").text(), "answered");
                }
                served.fetch_add(1, Ordering::Relaxed);
            });
        }
        // However this ends, so that all clients end.
        let _gate = Gate(&server);
        wait_until("all but two", || {
            (served.load(Ordering::Relaxed) >= CLIENTS - 2).then_some(())
        });
    });
    assert_eq!(holding.read_response().text(), "answered");
}

/// Opens what a request waits for, as it is dropped.
struct Gate<'s>(&'s Httpd);

impl Drop for Gate<'_> {
    fn drop(&mut self) {
        self.0.site().write("data/gate", "");
    }
}

/// One that a signal has asked to leave waits for its successor, and may come to stand still
/// meanwhile.
#[test]
fn one_that_holds_the_gil_ends_for_that_whatever_it_was_asked_before() {
    if !ours("D61") {
        return;
    }
    let slow_to_load =
        "import os, time\nwhile os.path.exists(os.environ['GATE']):\n    time.sleep(0.01)\n";
    let site = Site::new().script("a.wsgi", &format!("{slow_to_load}{WAYS}"));
    let gate = site.text_path("data/gate");
    let server = site
        .env("GATE", &gate)
        .config(
            "WSGISocketPrefix ${ROOT}/logs/wsgi
             WSGIDaemonProcess one threads=3 deadlock-timeout=1 shutdown-timeout=1
             WSGIScriptAlias /one ${WSGI}/a.wsgi process-group=one application-group=%{GLOBAL}",
        )
        .start();
    let old = worker(&server);
    server.site().write("data/gate", "");
    kill(Pid::from_raw(old.pid), Signal::SIGUSR1).expect("it runs");
    server
        .log()
        .wait_for(Mark::START, "is to be replaced (graceful_signal)");
    let mut hanging = ask(&server, "hold-the-gil");
    let line = server.log().wait_for(Mark::START, "Stopping a worker");
    assert!(line.contains("(deadlock_timeout)"), "{line}");
    assert_eq!(hanging.read_response().head.status, 502);
    server.site().remove("data/gate");
    assert_ne!(worker(&server), old);
}

/// The process that has said that it holds the GIL.
fn holder(server: &Httpd) -> Option<Process> {
    let entries = fs::read_dir(server.site().path("data")).expect("data/");
    let names = entries.flatten().map(|entry| entry.file_name());
    let mut pids = names.filter_map(|name| name.to_str()?.strip_prefix("holding-")?.parse().ok());
    pids.next().map(|pid| Process { pid })
}

#[test]
fn while_one_holds_the_gil_other_processes_serve() {
    // Other threads of the one would take requests, too, which wait as long.
    let server = group("processes=2 threads=1 deadlock-timeout=2 shutdown-timeout=1");
    worker(&server);
    let mut hanging = ask(&server, "hold-the-gil");
    let holder = wait_until("one to hold it", || holder(&server));
    let mut rounds = 0;
    while hanging.pending().is_empty() {
        assert_eq!(server.get("/other").head.status, 200);
        assert_ne!(worker(&server), holder);
        rounds += 1;
    }
    assert!(rounds > 0, "the others answer before it ends");
    assert_eq!(hanging.read_response().head.status, 502);
    for _ in 0..10 {
        worker(&server);
    }
}

#[test]
fn one_that_grows_beyond_its_limit_gets_no_more() {
    for limit in ["memory-limit=800000000", "virtual-memory-limit=1500000000"] {
        let server = group(limit);
        let old = worker(&server);
        let status = server.get("/one?grow").head.status;
        assert_eq!(status, 500, "{limit}");
        server.log().wait_for(Mark::START, "MemoryError");
        assert_eq!(worker(&server), old, "{limit}");
    }
}

#[test]
fn what_it_has_forked_keeps_no_client_waiting() {
    let server = group("socket-timeout=20");
    if !ours("D66") {
        return;
    }
    let old = worker(&server);
    server.log().expect_alarm("died of signal 9 (SIGKILL)");
    let begin = std::time::Instant::now();
    assert_eq!(server.get("/one?fork-and-die").head.status, 502);
    let took = begin.elapsed();
    assert!(took < std::time::Duration::from_secs(10), "{took:?}");
    assert_ne!(worker(&server), old);
}

#[test]
fn what_it_has_forked_serves_nobody() {
    let server = group("");
    if !ours("D66") {
        return;
    }
    let old = worker(&server);
    for _ in 0..10 {
        let response = server.get("/one?fork-and-return");
        assert_eq!(response.text(), old.pid.to_string());
    }
    wait_until("the forked processes to end", || {
        old.children().is_empty().then_some(())
    });
    assert_eq!(worker(&server), old);
}

#[test]
fn what_it_has_forked_can_be_terminated() {
    let server = group("");
    if !ours("D66") {
        return;
    }
    let old = worker(&server);
    for _ in 0..10 {
        let status = server.get("/one?fork-and-terminate").text();
        assert_eq!(status, "15", "it died of SIGTERM");
    }
    assert_eq!(worker(&server), old);
}
