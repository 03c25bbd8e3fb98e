//! The supervisor, when process groups come and go, and when it dies itself.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::{
    Connection, Httpd, Mark, Process, Site, copy_of_module, load_module, module_under_test, ours,
    wait_until,
};

use crate::apps::answering;
use crate::daemon_site::supervisors;

/// Says that it has begun, and answers when a file is there.
const WAITING: &str = r#"
import os, time
data = os.environ['DATA']

def application(environ, start_response):
    open(f'{data}/begun', 'w').close()
    while not os.path.exists(f'{data}/gate'):
        time.sleep(0.01)
    start_response('200 OK', [])
    return [b'waited']
"#;

const WHO: &str = "
import os

def application(environ, start_response):
    start_response('200 OK', [])
    return [str(os.getpid()).encode()]
";

/// A site with both.
fn site() -> Site {
    let site = Site::new()
        .script("who.wsgi", WHO)
        .script("wait.wsgi", WAITING);
    let data = site.text_path("data");
    site.env("DATA", &data)
}

/// A request that waits, once it has begun.
fn ask_to_wait(server: &Httpd) -> Connection {
    let mut client = server.connect();
    client.send(b"GET /wait HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let begun = server.site().path("data/begun");
    wait_until("the request to begin", || begun.exists().then_some(()));
    client
}

const SECOND: &str = "
    WSGIDaemonProcess second graceful-timeout=60
    WSGIScriptAlias /second ${WSGI}/a.wsgi process-group=second
    WSGIScriptAlias /wait ${WSGI}/wait.wsgi process-group=second";

#[test]
fn a_group_that_comes_back_serves_while_its_old_workers_are_still_there() {
    let site = Site::new()
        .script("a.wsgi", &answering("ran"))
        .script("wait.wsgi", WAITING)
        .file("conf/second.conf", SECOND);
    let data = site.text_path("data");
    let server = site
        .env("DATA", &data)
        .config(
            "WSGISocketPrefix ${ROOT}/logs/wsgi
             WSGIDaemonProcess first
             Include ${ROOT}/conf/second.conf",
        )
        .start();
    let _waiting = ask_to_wait(&server);

    server.site().write("conf/second.conf", "");
    server.restart_gracefully();
    wait_for_status(&server, "/second", 404);
    server.site().write("conf/second.conf", SECOND);
    server.restart_gracefully();
    wait_for_status(&server, "/second", 200);
    server.site().write("data/gate", "open");
}

#[test]
fn of_a_worker_that_dies_while_it_leaves_the_log_has_the_cause() {
    if !ours("D92") {
        return;
    }
    let server = site()
        .config(
            "WSGISocketPrefix ${ROOT}/logs/wsgi
             WSGIDaemonProcess one graceful-timeout=60
             WSGIScriptAlias /who ${WSGI}/who.wsgi process-group=one
             WSGIScriptAlias /wait ${WSGI}/wait.wsgi process-group=one",
        )
        .start();
    server.log().expect_alarm("died of signal 9 (SIGKILL)");
    let mut waiting = ask_to_wait(&server);
    let worker = || server.get("/who").text().parse().expect("a process id");
    let old: i32 = worker();
    server.restart_gracefully();
    wait_until("its successor", || (worker() != old).then_some(()));
    kill(Pid::from_raw(old), Signal::SIGKILL).expect("it runs");
    assert_eq!(waiting.read_response().status, 502);
    let line = server.log().wait_for(Mark::START, "WSGI1207");
    assert!(line.contains("died of signal 9"), "{line}");
}

#[test]
fn groups_end_when_the_configuration_does_without_the_module() {
    let site = Site::new().without_subject();
    let server = site
        .script("a.wsgi", &answering("ran"))
        .script("service.py", "import time\ntime.sleep(3600)\n")
        .file("conf/module.conf", with_module(module_under_test()))
        .config("Include ${ROOT}/conf/module.conf")
        .start();
    assert_eq!(server.get("/").text(), "ran");
    assert!(!processes_of_groups(&server).is_empty());

    server.site().write("conf/module.conf", "");
    server.restart_gracefully();
    wait_for_status(&server, "/", 404);
    wait_until("the process groups to end", || {
        processes_of_groups(&server).is_empty().then_some(())
    });

    server
        .site()
        .write("conf/module.conf", with_module(module_under_test()));
    server.restart_gracefully();
    wait_for_status(&server, "/", 200);
}

#[test]
fn a_build_that_is_elsewhere_takes_over_at_a_graceful_restart() {
    if !ours("D92") {
        return;
    }
    let (old, new) = (tempfile::tempdir(), tempfile::tempdir());
    let old = copy_of_module(old.as_ref().expect("a place").path());
    let new = copy_of_module(new.as_ref().expect("a place").path());
    let directives = |module: &Path| {
        format!(
            "LoadModule wsgi_module {}
             WSGISocketPrefix ${{ROOT}}/logs/wsgi
             WSGIDaemonProcess one graceful-timeout=60
             WSGIScriptAlias /wait ${{WSGI}}/wait.wsgi process-group=one
             WSGIScriptAlias / ${{WSGI}}/who.wsgi process-group=one",
            module.display()
        )
    };
    let server = site()
        .without_subject()
        .file("conf/module.conf", directives(&old))
        .config("Include ${ROOT}/conf/module.conf")
        .start();
    let worker = server.get("/").text();
    let mut waiting = ask_to_wait(&server);

    server.site().write("conf/module.conf", directives(&new));
    server.restart_gracefully();
    wait_until("a worker of the new build", || {
        let response = server.get("/");
        assert_eq!(response.status, 200);
        (response.text() != worker).then_some(())
    });
    server
        .log()
        .wait_for(Mark::START, "names no process groups to this supervisor");
    server.site().write("data/gate", "open");
    assert_eq!(waiting.read_response().text(), "waited");
    wait_until("the old supervisor to end", || {
        (supervisors(&server).count() == 1).then_some(())
    });
    assert_eq!(sockets(&server), 1, "that of the new build");
}

/// How many sockets of process groups there are.
fn sockets(server: &Httpd) -> usize {
    let logs = fs::read_dir(server.site().path("logs")).expect("logs");
    let names = logs.flatten().map(|entry| entry.file_name());
    names
        .filter(|name| name.to_string_lossy().ends_with(".sock"))
        .count()
}

/// A child of the last generation may take one more connection.
fn wait_for_status(server: &Httpd, target: &str, status: u16) {
    wait_until("the new configuration", || {
        (server.get(target).status == status).then_some(())
    });
}

/// What loads the module, and has it serve.
fn with_module(module: &Path) -> String {
    format!(
        "LoadModule wsgi_module {}
         WSGISocketPrefix ${{ROOT}}/logs/wsgi
         WSGIDaemonProcess one display-name=%{{GROUP}}
         WSGIDaemonProcess service threads=0 display-name=%{{GROUP}}
         WSGIImportScript ${{WSGI}}/service.py process-group=service application-group=%{{GLOBAL}}
         WSGIScriptAlias / ${{WSGI}}/a.wsgi process-group=one",
        module.display()
    )
}

/// The processes below httpd that are not httpd itself.
fn processes_of_groups(server: &Httpd) -> Vec<Process> {
    let children = server.children().into_iter();
    let mut found: Vec<_> = children
        .flat_map(|it| [it.children(), vec![it]].concat())
        .collect();
    found.retain(|it| {
        let command = fs::read(format!("/proc/{}/cmdline", it.pid));
        command.is_ok_and(|command| command.starts_with(b"(wsgi"))
    });
    found
}

fn supervisor(server: &Httpd) -> Option<Process> {
    supervisors(server).next()
}

#[test]
fn a_supervisor_that_cannot_be_started_is_tried_again() {
    if !ours("D92") {
        return;
    }
    let place = tempfile::tempdir().expect("a place");
    let module = copy_of_module(place.path());
    let program = place.path().join("mod_wsgi/mod_wsgi-daemon");
    let server = Site::new()
        .subject(&module)
        .script("a.wsgi", &answering("ran"))
        .config(
            "WSGISocketPrefix ${ROOT}/logs/wsgi
             WSGIDaemonProcess one
             WSGIScriptAlias / ${WSGI}/a.wsgi process-group=one",
        )
        .start();
    server
        .log()
        .expect_alarm("supervisor of the process groups died of signal 9");
    assert_eq!(server.get("/").text(), "ran");
    server.log().expect_alarm("WSGI1231");

    let gone = program.with_extension("gone");
    fs::rename(&program, &gone).expect("it was there");
    let old = supervisor(&server).expect("a supervisor");
    kill(Pid::from_raw(old.pid), Signal::SIGKILL).expect("it runs");
    server.log().wait_for(Mark::START, "WSGI1231");
    // Nor is it the end of httpd if there is none at a restart.
    let mark = server.log().mark();
    server.restart_gracefully();
    server.log().wait_for(mark, "WSGI1231");
    assert_eq!(server.get("/").text(), "ran");
    fs::rename(&gone, &program).expect("it was there");
    wait_until("another supervisor", || supervisor(&server));
    assert_eq!(server.get("/").text(), "ran");
    // What was written down of it is true.
    server.restart_gracefully();
    assert_eq!(server.get("/").text(), "ran");
}

/// A message that is one packet, as those of up to 128 KiB are.
const LONG_MESSAGE: usize = 100_000;

#[test]
fn a_supervisor_that_stands_still_is_replaced_and_leaves_its_successor_the_sockets() {
    if !ours("D92") {
        return;
    }
    let mut site = Site::new().script("a.wsgi", &answering("ran"));
    // More to say than the link holds until somebody reads.
    let directory = site.text_path("wsgi");
    let long = vec![directory.as_str(); LONG_MESSAGE / (directory.len() + 1)].join(":");
    let held = fs::read_to_string("/proc/sys/net/core/wmem_default").expect("a number");
    let held: usize = held.trim().parse().expect("a number");
    let names: Vec<String> = (0..held / LONG_MESSAGE + 2)
        .map(|number| format!("group{number}"))
        .collect();
    for name in &names {
        site = site.config(&format!(
            "WSGIDaemonProcess {name} processes=1 python-path={long}
             WSGIScriptAlias /{name} ${{WSGI}}/a.wsgi process-group={name}"
        ));
    }
    let server = site.config("WSGISocketPrefix ${ROOT}/logs/wsgi").start();
    assert_eq!(server.get("/group0").text(), "ran");
    let old = supervisor(&server).expect("a supervisor");
    let pid = Pid::from_raw(old.pid);
    kill(pid, Signal::SIGSTOP).expect("it runs");
    server.restart_gracefully();
    // If it is there still, it goes on now.
    let _ = kill(pid, Signal::SIGCONT);
    wait_until("its end", || (!old.is_running()).then_some(()));
    wait_until("another supervisor", || supervisor(&server));
    for name in &names {
        assert_eq!(server.get(&format!("/{name}")).text(), "ran");
    }
}

#[test]
fn a_supervisor_that_fails_takes_no_worker_along() {
    if !ours("D92") {
        return;
    }
    let server = site()
        .config(
            "WSGISocketPrefix ${ROOT}/logs/wsgi
             WSGIDaemonProcess one threads=2 graceful-timeout=60
             WSGIScriptAlias /wait ${WSGI}/wait.wsgi process-group=one
             WSGIScriptAlias / ${WSGI}/who.wsgi process-group=one",
        )
        .start();
    server.log().expect_alarm("WSGI1201");
    let worker = server.get("/").text();
    let mut waiting = ask_to_wait(&server);

    // It cannot wait for more than it may have open.
    let old = supervisor(&server).expect("a supervisor");
    let pid = old.pid.to_string();
    let mut limit = Command::new("prlimit");
    limit.args(["--nofile=1", "--pid", &pid]);
    assert!(limit.status().expect("prlimit runs").success());
    kill(Pid::from_raw(old.pid), Signal::SIGUSR1).expect("it runs");
    server.log().wait_for(Mark::START, "WSGI1201");
    wait_until("a worker of the next one", || {
        (server.get("/").text() != worker).then_some(())
    });
    server.site().write("data/gate", "open");
    assert_eq!(waiting.read_response().text(), "waited");
}

#[test]
fn without_a_supervisor_httpd_serves_what_needs_none() {
    if !ours("D92") {
        return;
    }
    let place = tempfile::tempdir().expect("a place");
    let module = copy_of_module(place.path());
    let program = place.path().join("mod_wsgi/mod_wsgi-daemon");
    fs::set_permissions(&program, Permissions::from_mode(0o644)).expect("it was there");
    let site = || {
        Site::new()
            .subject(&module)
            .script("a.wsgi", &answering("ran"))
            .config(
                "WSGISocketPrefix ${ROOT}/logs/wsgi
                 WSGIDaemonProcess one
                 WSGIScriptAlias /group ${WSGI}/a.wsgi process-group=one
                 WSGIScriptAlias / ${WSGI}/a.wsgi",
            )
    };
    let told = site().configtest();
    assert!(
        told.success && told.text.contains("WSGI1233"),
        "{}",
        told.text
    );
    let server = site().start();
    server.log().expect_alarm("WSGI1231");
    server.log().wait_for(Mark::START, "WSGI1231");
    assert_eq!(server.get("/").text(), "ran");
    let refused = server.get("/group");
    assert_eq!(refused.head.status, 503);
    assert!(refused.header("Retry-After").is_some());

    fs::set_permissions(&program, Permissions::from_mode(0o755)).expect("it was there");
    wait_until("a supervisor", || supervisor(&server));
    wait_for_status(&server, "/group", 200);
}

#[test]
fn a_worker_serves_on_though_the_next_supervisor_cannot_start_another() {
    if !ours("D92") {
        return;
    }
    let place = tempfile::tempdir().expect("a place");
    let module = copy_of_module(place.path());
    let server = Site::new()
        .subject(&module)
        .script("who.wsgi", WHO)
        .config(
            "WSGISocketPrefix ${ROOT}/logs/wsgi
             WSGIDaemonProcess one
             WSGIScriptAlias / ${WSGI}/who.wsgi process-group=one",
        )
        .start();
    server
        .log()
        .expect_alarm("supervisor of the process groups died of signal 9");
    let worker = server.get("/").text();

    for file in fs::read_dir(place.path().join("mod_wsgi")).expect("engines") {
        let file = file.expect("engines").path();
        if file.extension().is_some_and(|it| it == "so") {
            // Another file, as the worker has this one mapped.
            fs::remove_file(&file).expect("an engine");
            fs::write(&file, "no engine").expect("room");
        }
    }
    let old = supervisor(&server).expect("a supervisor");
    kill(Pid::from_raw(old.pid), Signal::SIGKILL).expect("it runs");
    server.log().wait_for(Mark::START, "WSGI1206");
    wait_until("the worker to be found", || {
        (server.get("/").text() == worker).then_some(())
    });
}

#[test]
fn a_worker_without_a_supervisor_that_waits_for_a_request_ends_with_httpd() {
    if !ours("D92") {
        return;
    }
    let mut server = site()
        .config(
            "WSGISocketPrefix ${ROOT}/logs/wsgi
             WSGIDaemonProcess one threads=2 graceful-timeout=60 shutdown-timeout=2
             WSGIScriptAlias /wait ${WSGI}/wait.wsgi process-group=one
             WSGIScriptAlias / ${WSGI}/who.wsgi process-group=one",
        )
        .start();
    server
        .log()
        .expect_alarm("supervisor of the process groups died of signal 9");
    let worker = server.get("/").text();
    let mut waiting = server.connect();
    waiting.send(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
    let begun = server.site().path("data/begun");
    wait_until("the request to begin", || begun.exists().then_some(()));

    let old = supervisor(&server).expect("a supervisor");
    kill(Pid::from_raw(old.pid), Signal::SIGKILL).expect("it runs");
    wait_until("a successor", || {
        (server.get("/").text() != worker).then_some(())
    });
    let time = server.stop();
    // httpd gives its child ten seconds, and then the worker has those of its own: by no means
    // sixty.
    assert!(time.as_secs() < 30, "{time:?}");
    let worker = Pid::from_raw(worker.parse().expect("a process id"));
    wait_until("its end", || kill(worker, None).is_err().then_some(()));
}

#[test]
fn a_process_keeps_hold_of_httpd_from_the_start() {
    if !ours("D92") {
        return;
    }
    let server = Site::new()
        .script("who.wsgi", WHO)
        .config(
            "WSGIDaemonProcess one
             WSGIScriptAlias / ${WSGI}/who.wsgi process-group=one",
        )
        .start();
    let worker = server.get("/").text();
    let descriptors = fs::read_dir(format!("/proc/{worker}/fdinfo")).expect("it runs");
    let held = descriptors.flatten().filter_map(|descriptor| {
        let text = fs::read_to_string(descriptor.path()).ok()?;
        let pid = text.lines().find_map(|line| line.strip_prefix("Pid:"))?;
        pid.trim().parse::<i32>().ok()
    });
    let held: Vec<_> = held.collect();
    assert_eq!(held, [server.process().pid]);
}

#[test]
fn workers_are_told_of_modules_that_are_loaded_behind() {
    let server = Site::new()
        .module("socache_shmcb")
        .without_subject()
        .script(
            "a.wsgi",
            "
import apache

def application(environ, start_response):
    start_response('200 OK', [])
    return [apache.description.encode()]
",
        )
        .config(&format!(
            "LoadModule wsgi_module {}
             {}
             WSGISocketPrefix ${{ROOT}}/logs/wsgi
             WSGIDaemonProcess one
             WSGIScriptAlias / ${{WSGI}}/a.wsgi process-group=one",
            module_under_test().display(),
            load_module("ssl")
        ))
        .start();
    let description = server.get("/").text();
    assert!(description.contains(" OpenSSL/"), "{description}");
}
