//! From the start of a child to its end: preloading, restarts, stopping, crashes.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rstest::rstest;
use testkit::{Httpd, Mark, Mpm, Process, Request, Site, assert_soon, ours, wait_until};

use crate::apps::{WHERE, answering, environ};

/// The end of a process with nothing to do takes a moment; after so long httpd asks it again.
const PROMPTLY: Duration = Duration::from_secs(3);

/// Leaves a trace in `data/`, named after what happens, the application group and the process.
const TRACES: &str = r#"
import mod_wsgi, os
from pathlib import Path

group = mod_wsgi.application_group or 'main'
data = Path(__file__).resolve().parents[1] / 'data'

def trace(event):
    (data / f'{event}-{group}-{os.getpid()}').touch()
"#;

fn trace(server: &Httpd, event: &str, child: Process) -> bool {
    server
        .site()
        .path(&format!("data/{event}-{}", child.pid))
        .exists()
}

fn wait_for_trace(server: &Httpd, event: &str, child: Process) {
    wait_until(&format!("{event} in {}", child.pid), || {
        trace(server, event, child).then_some(())
    });
}

/// Waits until there are `count` children.
fn children(server: &Httpd, count: usize) -> Vec<Process> {
    wait_until(&format!("{count} children"), || {
        Some(server.children()).filter(|children| children.len() == count)
    })
}

#[rstest]
fn scripts_with_both_groups_are_loaded_in_each_child_and_each_generation(
    #[values(Mpm::Event, Mpm::Worker, Mpm::Prefork)] mpm: Mpm,
) {
    let server = Site::new()
        .mpm(mpm)
        .script("eager.wsgi", &format!("{TRACES}\ntrace('loaded')\n{}", answering("ran")))
        .config(
            "WSGIScriptAlias /a ${WSGI}/eager.wsgi process-group=%{GLOBAL} application-group=sub
             WSGIScriptAlias /b ${WSGI}/eager.wsgi application-group=%{GLOBAL} process-group=%{GLOBAL}
             StartServers 2",
        )
        .config(match mpm {
            Mpm::Prefork => "MinSpareServers 2",
            Mpm::Event | Mpm::Worker => "MinSpareThreads 32",
        })
        .start();
    let first = children(&server, 2);
    for child in &first {
        wait_for_trace(&server, "loaded-sub", *child);
        wait_for_trace(&server, "loaded-main", *child);
    }
    server.restart_gracefully();
    let next: Vec<Process> = wait_until("a new generation", || {
        let now = server.children();
        (now.len() == 2 && !now.iter().any(|child| first.contains(child))).then_some(now)
    });
    for child in next {
        wait_for_trace(&server, "loaded-sub", child);
        wait_for_trace(&server, "loaded-main", child);
    }
    assert_eq!(server.get("/a").text(), "ran");
}

#[test]
fn only_scripts_with_both_groups_known_beforehand_are_loaded_early() {
    let script = format!("{TRACES}\ntrace('loaded')\n{}", answering("ran"));
    let both = "process-group=%{GLOBAL} application-group";
    let server = Site::new()
        .mpm(Mpm::Prefork)
        .script("a.wsgi", &script)
        .config(&format!(
            "MaxRequestWorkers 1
             WSGIScriptAlias /last ${{WSGI}}/a.wsgi {both}=last
             WSGIScriptAlias /application ${{WSGI}}/a.wsgi application-group=only-application
             WSGIScriptAlias /process ${{WSGI}}/a.wsgi process-group=%{{GLOBAL}}
             WSGIScriptAlias /variable ${{WSGI}}/a.wsgi {both}=%{{RESOURCE}}
             WSGIScriptAliasMatch ^/(a) ${{WSGI}}/$1.wsgi {both}=with-reference
             WSGIScriptAliasMatch ^/match ${{WSGI}}/a.wsgi {both}=match"
        ))
        .start();
    let child = children(&server, 1)[0];
    assert_eq!(server.get("/last").text(), "ran");
    let loaded = |group: &str| trace(&server, &format!("loaded-{group}"), child);
    assert!(loaded("last") && loaded("match"));
    for group in ["only-application", "main", "with-reference"] {
        assert!(!loaded(group), "{group}");
    }
}

#[test]
fn a_script_that_cannot_be_preloaded_is_tried_again_by_a_request() {
    let server = Site::new()
        .mpm(Mpm::Prefork)
        .script("broken.wsgi", "raise ValueError('not yet')\n")
        .config(
            "MaxRequestWorkers 1
             WSGIScriptAlias / ${WSGI}/broken.wsgi process-group=%{GLOBAL} application-group=a",
        )
        .start();
    server.log().wait_for(Mark::START, "ValueError: not yet");
    assert_eq!(server.get("/").status, 500);
    server.site().write("wsgi/broken.wsgi", answering("mended"));
    assert_eq!(server.get("/").text(), "mended");
}

/// Registers what should happen at the end of its interpreter, and answers with its process.
const ENDING: &str = r#"
import atexit, threading
atexit.register(trace, 'atexit')
threading._register_atexit(trace, 'threading')

def application(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [str(os.getpid()).encode()]
"#;

fn ending_site() -> Site {
    Site::new()
        .script("ending.wsgi", &format!("{TRACES}{ENDING}"))
        .config(
            "WSGIScriptAlias /main ${WSGI}/ending.wsgi application-group=%{GLOBAL}
         WSGIScriptAlias /sub ${WSGI}/ending.wsgi application-group=sub",
        )
}

/// Has one child serve both groups, and returns that child.
fn serve_both_groups(server: &Httpd) -> Process {
    let mut connection = server.connect();
    let pids = ["/main", "/sub"].map(|url| {
        connection.send(&Request::get(url).to_bytes());
        connection.read_response().text()
    });
    assert_eq!(pids[0], pids[1], "one connection is served by one child");
    let pid = pids[0].parse().expect("a process id");
    Process { pid }
}

const ENDS: [&str; 4] = [
    "atexit-main",
    "atexit-sub",
    "threading-main",
    "threading-sub",
];

#[rstest]
fn what_is_registered_for_the_end_runs_when_the_server_stops(
    #[values(Mpm::Event, Mpm::Worker, Mpm::Prefork)] mpm: Mpm,
) {
    let mut server = ending_site().mpm(mpm).start();
    let child = serve_both_groups(&server);
    server.stop();
    for event in ENDS {
        assert!(trace(&server, event, child), "{event}");
    }
}

#[rstest]
fn what_is_registered_for_the_end_runs_at_a_graceful_restart(
    #[values(Mpm::Event, Mpm::Worker, Mpm::Prefork)] mpm: Mpm,
) {
    let server = ending_site().mpm(mpm).start();
    let child = serve_both_groups(&server);
    server.restart_gracefully();
    wait_until("the old child to end", || {
        (!child.is_running()).then_some(())
    });
    for event in ENDS {
        assert!(trace(&server, event, child), "{event}");
    }
}

/// A thread that is not a daemon (those that a request starts are, unless it says otherwise) is
/// told of the end by `threading`, and waited for.
#[rstest]
fn threads_are_waited_for_at_the_end(#[values(Mpm::Event, Mpm::Worker, Mpm::Prefork)] mpm: Mpm) {
    if !ours("D07") {
        return;
    }
    let thread = "
import time
end = threading.Event()
threading._register_atexit(end.set)

def until_the_end():
    end.wait()
    time.sleep(0.1)
    trace('joined')

threading.Thread(target=until_the_end, daemon=False).start()
";
    let mut server = ending_site().mpm(mpm).start();
    server
        .site()
        .write("wsgi/ending.wsgi", format!("{TRACES}{ENDING}{thread}"));
    let child = serve_both_groups(&server);
    server.stop();
    for event in ENDS.iter().chain(&["joined-main", "joined-sub"]) {
        assert!(trace(&server, event, child), "{event}");
    }
}

#[test]
fn a_child_that_has_served_enough_ends_in_order() {
    let server = ending_site()
        .mpm(Mpm::Prefork)
        .config("MaxConnectionsPerChild 1\nMaxRequestWorkers 1")
        .start();
    let child = serve_both_groups(&server);
    wait_until("the child to end", || (!child.is_running()).then_some(()));
    for event in ENDS {
        assert!(trace(&server, event, child), "{event}");
    }
    assert_ne!(serve_both_groups(&server), child);
}

/// A child of prefork is stopped by a signal, whatever its one thread is at.
#[test]
fn a_child_of_prefork_that_is_busy_in_python_stops_at_once() {
    assert_soon(PROMPTLY, || {
        let mut server = ending_site()
            .mpm(Mpm::Prefork)
            .script(
                "busy.wsgi",
                &format!("{TRACES}def application(*_):\n    trace('busy')\n    while True: pass\n"),
            )
            .config("WSGIScriptAlias /busy ${WSGI}/busy.wsgi application-group=%{GLOBAL}")
            .start();
        let mut client = server.connect();
        client.send(&Request::get("/busy").to_bytes());
        wait_until("the application to be busy", || {
            let children = server.children();
            let busy = |child: &Process| trace(&server, "busy-main", *child);
            children.iter().any(busy).then_some(())
        });
        server.stop()
    });
}

#[test]
fn interpreters_that_are_not_destroyed_run_nothing_at_the_end() {
    let mut server = ending_site().config("WSGIDestroyInterpreter Off").start();
    let child = serve_both_groups(&server);
    server.stop();
    for event in ["atexit-main", "atexit-sub"] {
        assert!(!trace(&server, event, child), "{event}");
    }
}

#[rstest]
fn neither_idle_connections_nor_daemon_threads_delay_the_end(
    #[values(Mpm::Event, Mpm::Worker, Mpm::Prefork)] mpm: Mpm,
) {
    let sleeper = "import threading, time\n\
                   threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n";
    assert_soon(PROMPTLY, || {
        let mut server = Site::new()
            .mpm(mpm)
            .script("sleeper.wsgi", &format!("{sleeper}{}", answering("ran")))
            .config(
                "KeepAliveTimeout 60
             WSGIScriptAlias / ${WSGI}/sleeper.wsgi application-group=%{GLOBAL}",
            )
            .start();
        let mut idle = server.connect();
        idle.send(&Request::get("/").to_bytes());
        assert_eq!(idle.read_response().text(), "ran");
        server.stop()
    });
}

#[rstest]
fn a_graceful_restart_lets_requests_finish(
    #[values(Mpm::Event, Mpm::Worker, Mpm::Prefork)] mpm: Mpm,
) {
    let waits = "
import time
from pathlib import Path
data = Path(__file__).resolve().parents[1] / 'data'

def application(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    yield b'begun, '
    (data / 'arrived').touch()
    while not (data / 'go').exists():
        time.sleep(0.01)
    yield b'finished'
";
    let server = Site::new()
        .mpm(mpm)
        .script("slow.wsgi", waits)
        .script("quick.wsgi", &answering("new generation"))
        .config(
            "WSGIScriptAlias /slow ${WSGI}/slow.wsgi
             WSGIScriptAlias /quick ${WSGI}/quick.wsgi",
        )
        .start();
    thread::scope(|scope| {
        let slow = scope.spawn(|| server.get("/slow"));
        let arrived = server.site().path("data/arrived");
        wait_until("the request to arrive", || arrived.exists().then_some(()));
        server.restart_gracefully();
        assert_eq!(server.get("/quick").text(), "new generation");
        server.site().write("data/go", "");
        let response = slow.join().expect("a response");
        assert_eq!(response.text(), "begun, finished");
        assert!(response.is_whole());
    });
}

/// Restarts so often, while clients keep asking, and returns how many answers they got.
fn restart_under_load(server: &Httpd, restarts: usize) -> usize {
    let done = AtomicBool::new(false);
    let answers = AtomicUsize::new(0);
    let client = || {
        while !done.load(Ordering::Relaxed) {
            let response = server.get("/");
            assert_eq!((response.status, response.is_whole()), (200, true));
            answers.fetch_add(1, Ordering::Relaxed);
        }
    };
    thread::scope(|scope| {
        let clients = [(); 3].map(|()| scope.spawn(client));
        for _ in 0..restarts {
            let before = answers.load(Ordering::Relaxed);
            server.restart_gracefully();
            wait_until("answers after the restart", || {
                let stuck = clients.iter().any(|client| client.is_finished());
                (stuck || answers.load(Ordering::Relaxed) > before).then_some(())
            });
        }
        done.store(true, Ordering::Relaxed);
    });
    answers.into_inner()
}

#[rstest]
#[case(Mpm::Event, 100)]
#[case(Mpm::Worker, 20)]
#[case(Mpm::Prefork, 20)]
fn graceful_restarts_under_load_lose_nothing_and_leak_nothing(
    #[case] mpm: Mpm,
    #[case] restarts: usize,
) {
    let server = Site::new()
        .mpm(mpm)
        .script("where.wsgi", WHERE)
        .config(
            "WSGIScriptAlias / ${WSGI}/where.wsgi process-group=%{GLOBAL} application-group=sub",
        )
        .start();
    restart_under_load(&server, 5);
    let parent = server.process();
    let files = parent.open_files();
    let memory = parent.resident_kib();

    let answers = restart_under_load(&server, restarts);

    assert!(answers >= restarts, "{answers} answers");
    assert_eq!(
        parent.open_files(),
        files,
        "{:#?}",
        parent.open_file_names()
    );
    let growth = parent.resident_kib().saturating_sub(memory);
    assert!(growth < 2048, "the parent grew by {growth} KiB");
    let pid = environ(&server.get("/")).value("pid").to_owned();
    wait_until("the old generations to end", || {
        let children: BTreeSet<_> = server.children().into_iter().collect();
        let fits = match mpm {
            Mpm::Prefork => children.len() <= 5,
            Mpm::Event | Mpm::Worker => children.len() == 1,
        };
        fits.then_some(())
    });
    assert!(!pid.is_empty());
}

#[rstest]
fn a_child_that_crashes_is_replaced(#[values(Mpm::Event, Mpm::Worker, Mpm::Prefork)] mpm: Mpm) {
    let source = "
import os, signal, time

def application(environ, start_response):
    if environ['QUERY_STRING'] == 'crash':
        os.kill(os.getpid(), signal.SIGSEGV)
        time.sleep(60)
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [str(os.getpid()).encode()]
";
    let server = Site::new()
        .mpm(mpm)
        .script("crash.wsgi", source)
        .config("WSGIScriptAlias / ${WSGI}/crash.wsgi")
        .start();
    server
        .log()
        .expect_alarm("exit signal Segmentation fault (11)");
    let before = server.get("/").text();
    let mut connection = server.connect();
    connection.send(&Request::get("/?crash").to_bytes());
    assert!(connection.is_closed());
    server
        .log()
        .wait_for(Mark::START, "exit signal Segmentation fault (11)");
    let after = server.get("/").text();
    assert!(!after.is_empty());
    if mpm != Mpm::Prefork {
        assert_ne!(before, after);
    }
}
