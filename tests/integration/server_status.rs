//! The page of mod_status: what it tells of process groups, and httpd's own lines about their
//! requests.

use std::collections::BTreeMap;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rstest::rstest;
use testkit::{
    Connection, Httpd, Mpm, Request, Site, load_module, module_under_test, ours, wait_until,
};

use crate::daemon_site::supervisors;
use crate::wsgi_site::Mode;

/// Answers with its process; with `?NAME` only when `data/NAME` is there.
const GATED: &str = "
import os, time

def application(environ, start_response):
    gate = environ['QUERY_STRING']
    while gate and not os.path.exists(os.path.join(os.environ['DATA'], gate)):
        time.sleep(0.005)
    start_response('200 OK', [])
    return [str(os.getpid()).encode()]
";

/// Where the page is.
const PAGE: &str = "<Location /server-status>
    SetHandler server-status
</Location>";

/// With one child.
fn site(name: &str, options: &str) -> Site {
    site_without_limits(name, options, Mpm::Event)
        .config("ServerLimit 1\nThreadsPerChild 32\nMaxRequestWorkers 32")
}

fn site_without_limits(name: &str, options: &str, mpm: Mpm) -> Site {
    let site = Site::new().script("a.wsgi", GATED);
    let data = site.text_path("data");
    site.env("DATA", &data)
        .mpm(mpm)
        .module("status")
        .config(PAGE)
        .config(&format!(
            "WSGISocketPrefix ${{DATA}}/socket
             WSGIDaemonProcess \"{name}\" {options}
             WSGIProcessGroup \"{name}\"
             WSGIApplicationGroup %{{GLOBAL}}
             WSGIScriptAlias /app ${{WSGI}}/a.wsgi"
        ))
}

fn group(options: &str) -> Httpd {
    site("one", options).start()
}

/// What `?auto` tells.
#[derive(Debug)]
struct Told(BTreeMap<String, String>);

impl Told {
    /// Each line is a key and a value, and no key is there twice. Of httpd's own, a line has the
    /// name of the server alone.
    fn by(server: &Httpd) -> Self {
        let page = server.get("/server-status?auto");
        assert_eq!(page.status, 200);
        let mut told = BTreeMap::new();
        for line in page.text().lines().filter(|line| line.starts_with("WSGI")) {
            let (key, value) = line.split_once(": ").expect("a key and a value");
            let earlier = told.insert(key.to_owned(), value.to_owned());
            assert_eq!(earlier, None, "{line}");
        }
        Self(told)
    }

    /// Of the first group.
    fn group(&self, key: &str) -> &str {
        self.value(&format!("WSGIGroup[0]{key}"))
    }

    /// Of the first process of that.
    fn process(&self, key: &str) -> &str {
        self.value(&format!("WSGIGroup[0]Process[0]{key}"))
    }

    fn value(&self, key: &str) -> &str {
        self.0.get(key).map_or("", String::as_str)
    }

    /// The states of the processes of the first group.
    fn states(&self) -> Vec<&str> {
        let states = self
            .0
            .iter()
            .filter(|(key, _)| key.starts_with("WSGIGroup[0]Process[") && key.ends_with("]State"));
        states.map(|(_, state)| state.as_str()).collect()
    }
}

/// Looks until what is told is so.
fn wait_until_told(server: &Httpd, what: &str, is_so: impl Fn(&Told) -> bool) -> Told {
    wait_until(what, || Some(Told::by(server)).filter(|told| is_so(told)))
}

fn wait_until_serving(server: &Httpd) -> Told {
    wait_until_told(server, "it to serve", |told| {
        told.group("State") == "serving"
    })
}

fn ask(server: &Httpd, target: &str) -> Connection {
    let mut client = server.connect();
    let request = Request::get(target).header("Connection", "close");
    client.send(&request.to_bytes());
    client
}

fn signal(pid: &str, signal: Signal) {
    let pid = pid.parse().expect("a number");
    kill(Pid::from_raw(pid), signal).expect("a process");
}

#[test]
fn the_page_tells_how_a_group_is_while_all_its_threads_hang() {
    if !ours("D204") {
        return;
    }
    let server = group("threads=2");
    let worker = server.get("/app").text();
    let told = wait_until_told(&server, "the worker to be idle", |told| {
        told.group("IdleThreads") == "2"
    });
    assert_eq!(told.value("WSGIGroups"), "1");
    for (key, value) in [
        ("Name", "one"),
        ("State", "serving"),
        ("Processes", "1"),
        ("ServingProcesses", "1"),
        ("BusyThreads", "0"),
        ("Waiting", "0"),
        ("LongestWait", ""),
        ("Requests", "1"),
        ("Restarts", "0"),
        ("LastEnd", ""),
        ("Process[0]Slot", "0"),
        ("Process[0]PID", &worker),
        ("Process[0]State", "serving"),
        ("Process[0]BusyThreads", "0"),
        ("Process[0]Requests", "1"),
    ] {
        assert_eq!(told.group(key), value, "{key}: {told:#?}");
    }
    assert_ne!(told.group("User"), "");
    let resident: u64 = told.process("RSS").parse().expect("a number");
    assert!((1000..1_000_000).contains(&resident), "{resident} KiB");

    let mut clients: Vec<_> = (0..3).map(|_| ask(&server, "/app?gate")).collect();
    let told = wait_until_told(&server, "one to wait", |told| {
        told.group("BusyThreads") == "2" && told.group("Waiting") == "1"
    });
    assert_eq!(told.group("IdleThreads"), "0");
    assert_eq!(told.group("Requests"), "3", "that one is not counted yet");
    wait_until_told(&server, "it to wait longer", |told| {
        told.group("LongestWait")
            .parse()
            .is_ok_and(|wait: f64| wait > 0.2)
    });

    server.site().write("data/gate", "");
    for client in &mut clients {
        assert_eq!(client.read_response().status, 200);
    }
    let told = wait_until_told(&server, "the worker to be idle again", |told| {
        told.group("BusyThreads") == "0" && told.group("Waiting") == "0"
    });
    assert_eq!(
        (told.group("Requests"), told.process("Requests")),
        ("4", "4")
    );
}

#[test]
fn nobody_waits_of_a_child_that_was_killed() {
    if !ours("D204") {
        return;
    }
    let server = group("threads=1");
    let worker = server.get("/app").text();
    let _clients = [(); 3].map(|()| ask(&server, "/app?gate"));
    wait_until_told(&server, "two to wait", |told| told.group("Waiting") == "2");
    let mut children = server.children().into_iter();
    let child = children.find(|child| child.children().is_empty());
    let child = child.expect("a child").pid.to_string();
    assert_ne!(child, worker);
    signal(&child, Signal::SIGKILL);
    let told = wait_until_told(&server, "none to wait", |told| told.group("Waiting") == "0");
    assert_eq!(told.group("LongestWait"), "");
    server.site().write("data/gate", "");
    assert_eq!(server.get("/app").text(), worker);
}

#[test]
fn the_page_tells_how_workers_have_ended() {
    if !ours("D204") {
        return;
    }
    let server = group("threads=1");
    server.log().expect_alarm("died of signal 9 (SIGKILL)");
    let first = server.get("/app").text();
    signal(&first, Signal::SIGKILL);
    let told = wait_until_told(&server, "another one", |told| {
        told.group("Restarts") == "1" && told.process("State") == "serving"
    });
    assert_eq!(told.group("LastEnd"), "died of signal 9 (SIGKILL)");
    assert_eq!(told.group("LastEndPID"), first);
    assert_eq!(told.group("LastEndReason"), "", "nobody wanted it to end");
    assert!(told.group("LastEndAge").parse::<u64>().is_ok());
    assert_ne!(told.process("PID"), first);
    assert_eq!(
        (told.group("Requests"), told.process("Requests")),
        ("1", "0")
    );

    let second = told.process("PID").to_owned();
    signal(&second, Signal::SIGUSR1);
    let told = wait_until_told(&server, "the next one", |told| {
        told.group("LastEndPID") == second
    });
    assert_eq!(told.group("LastEndReason"), "graceful_signal");
    assert_eq!(told.group("LastEnd"), "ended with exit status 0");
    assert_eq!(told.group("Restarts"), "2");
}

#[test]
fn one_that_drains_is_told_beside_its_successor() {
    if !ours("D204") {
        return;
    }
    let server = group("threads=1 graceful-timeout=60");
    let mut client = ask(&server, "/app?gate");
    let told = wait_until_told(&server, "it to run", |told| {
        told.group("BusyThreads") == "1"
    });
    signal(told.process("PID"), Signal::SIGUSR1);
    let told = wait_until_told(&server, "a successor", |told| {
        told.states() == ["draining", "serving"] || told.states() == ["serving", "draining"]
    });
    assert_eq!(told.group("ServingProcesses"), "1");
    assert_eq!(
        told.group("IdleThreads"),
        "1",
        "its thread is no more to be had"
    );
    server.site().write("data/gate", "");
    assert_eq!(client.read_response().status, 200);
    wait_until_told(&server, "it to be gone", |told| {
        told.states() == ["serving"]
    });
}

#[test]
fn a_group_keeps_its_numbers_at_a_graceful_restart() {
    if !ours("D204") {
        return;
    }
    let server = group("threads=1");
    server.get("/app");
    server.restart_gracefully();
    let told = wait_until_told(&server, "the old one to be gone", |told| {
        told.group("LastEndReason") == "graceful_signal" && told.states() == ["serving"]
    });
    assert_eq!((told.group("Restarts"), told.group("Requests")), ("1", "1"));
}

/// Each child, or each thread of one, makes the page of the same table.
#[rstest]
fn the_page_is_the_same_under_every_mpm(#[values(Mpm::Event, Mpm::Worker, Mpm::Prefork)] mpm: Mpm) {
    if !ours("D204") {
        return;
    }
    // Under prefork each of the clients takes a child.
    let limits = match mpm {
        Mpm::Prefork => "StartServers 6",
        _ => "",
    };
    let server = site_without_limits("one", "threads=2", mpm)
        .config(limits)
        .start();
    let worker = server.get("/app").text();
    let mut clients: Vec<_> = (0..3).map(|_| ask(&server, "/app?gate")).collect();
    let told = wait_until_told(&server, "one to wait", |told| {
        told.group("BusyThreads") == "2" && told.group("Waiting") == "1"
    });
    assert_eq!(told.group("State"), "serving");
    assert_eq!(told.process("PID"), worker);
    let page = server.get("/server-status").text();
    let (_, section) = page
        .split_once("<h3>WSGI process groups</h3>")
        .expect("a section");
    assert!(section.contains(&format!("<td>{worker}</td>")), "{section}");
    assert!(section.trim_end().ends_with("</html>"), "{section}");
    server.site().write("data/gate", "");
    for client in &mut clients {
        assert_eq!(client.read_response().text(), worker);
    }
    let told = wait_until_told(&server, "the worker to be idle again", |told| {
        told.group("BusyThreads") == "0" && told.group("Waiting") == "0"
    });
    assert_eq!(told.group("Requests"), "4");
}

/// Its workers serve until those of the next supervisor do.
#[test]
fn workers_without_a_supervisor_are_told_as_long_as_they_are_there() {
    if !ours("D204") {
        return;
    }
    const SLOW: &str = "
import os, time
data = os.environ['DATA']
while os.path.exists(os.path.join(data, 'hold')):
    time.sleep(0.005)
";
    let server = site("one", "threads=2 graceful-timeout=60")
        .script("slow.py", SLOW)
        .config("WSGIImportScript ${WSGI}/slow.py process-group=one application-group=%{GLOBAL}")
        .start();
    server
        .log()
        .expect_alarm("supervisor of the process groups died of signal 9");
    let old = server.get("/app").text();
    let mut client = ask(&server, "/app?gate");
    wait_until_told(&server, "it to run", |told| {
        told.group("BusyThreads") == "1"
    });
    server.site().write("data/hold", "");
    let supervisor = only_supervisor(&server);
    signal(&supervisor, Signal::SIGKILL);
    wait_until("another supervisor", || {
        (only_supervisor(&server) != supervisor).then_some(())
    });
    let told = wait_until_told(&server, "the next worker to start", |told| {
        told.states().contains(&"starting")
    });
    assert_eq!(told.states(), ["starting", "serving"], "{told:#?}");
    assert_eq!(told.value("WSGIGroup[0]Process[1]PID"), old);
    assert_eq!(told.value("WSGIGroup[0]Process[1]BusyThreads"), "1");
    assert_eq!(told.group("State"), "serving");
    assert_eq!(told.group("ServingProcesses"), "1");
    assert_eq!(server.get("/app").text(), old);

    std::fs::remove_file(server.site().path("data/hold")).expect("it was there");
    let told = wait_until_told(&server, "the next worker to serve", |told| {
        told.states().contains(&"draining")
    });
    assert_eq!(told.states(), ["serving", "draining"], "{told:#?}");
    assert_eq!(told.value("WSGIGroup[0]Process[1]PID"), old);
    server.site().write("data/gate", "");
    assert_eq!(client.read_response().status, 200);
    wait_until_told(&server, "the old one to be gone", |told| {
        told.states() == ["serving"]
    });
}

/// The supervisor's process; empty while there is none.
fn only_supervisor(server: &Httpd) -> String {
    let mut supervisors = supervisors(server).map(|it| it.pid.to_string());
    supervisors.next().unwrap_or_default()
}

#[test]
fn the_page_tells_that_workers_fail_to_start() {
    if !ours("D204") {
        return;
    }
    let server = site("one", "processes=2 threads=1")
        .script("fatal.wsgi", "import os\nos._exit(3)\n")
        .config("WSGIImportScript ${WSGI}/fatal.wsgi process-group=one application-group=%{GLOBAL}")
        .start();
    let told = wait_until_told(&server, "it to be tried later", |told| {
        told.states() == ["backing off"; 2]
    });
    assert_eq!(told.group("State"), "backing off");
    assert_eq!(told.group("ServingProcesses"), "0");
    assert_eq!(told.group("LastEnd"), "ended with exit status 3");
    assert!(
        told.process("FailedStarts")
            .parse::<u32>()
            .is_ok_and(|count| count > 0)
    );
    assert!(
        told.process("NextStart")
            .parse::<u32>()
            .is_ok_and(|wait| wait <= 60)
    );
    assert_eq!(told.process("PID"), "");
}

#[rstest]
fn whatever_a_group_is_called_the_page_is_html(#[values("", "?notable")] query: &str) {
    if !ours("D204") {
        return;
    }
    let server = site("a<b>&c'é: x", "threads=1").start();
    wait_until_serving(&server);
    let page = server.get(&format!("/server-status{query}")).text();
    let (_, section) = page
        .split_once("<h3>WSGI process groups</h3>")
        .expect("a section");
    assert!(
        section.contains("a&#60;b&#62;&#38;c&#39;&#233;: x"),
        "{section}"
    );
    assert!(
        !section.contains("<b>&c") && section.is_ascii(),
        "{section}"
    );
    assert_eq!(section.contains("<table"), query.is_empty(), "{section}");
    assert_eq!(
        section.matches("<td>serving</td>").count(),
        if query.is_empty() { 2 } else { 0 }
    );
    assert!(section.contains("serving"), "{section}");
    assert!(section.trim_end().ends_with("</html>"), "{section}");
    let told = Told::by(&server);
    assert_eq!(told.group("Name"), "a<b>&c'é: x");
}

#[test]
fn without_extended_status_there_is_nothing_of_single_processes() {
    if !ours("D204") {
        return;
    }
    let server = site("one", "threads=1")
        .config("ExtendedStatus Off")
        .start();
    let told = wait_until_serving(&server);
    assert_eq!(told.states(), [""; 0]);
    let page = server.get("/server-status").text();
    let (_, section) = page.split_once("WSGI process groups").expect("a section");
    assert_eq!(section.matches("<table").count(), 1, "{section}");
}

#[test]
fn where_there_are_no_groups_the_page_is_httpds_own() {
    let site = Site::new().module("status").config(PAGE);
    let server = site.start();
    for query in ["", "?auto", "?notable"] {
        let page = server.get(&format!("/server-status{query}"));
        assert_eq!(page.status, 200);
        assert!(!page.text().contains("WSGI"), "{}", page.text());
    }
}

#[test]
fn the_groups_of_all_virtual_hosts_are_told_in_each() {
    if !ours("D204") {
        return;
    }
    let server = site("first", "threads=1")
        .config(
            "<VirtualHost *:*>
                 ServerName second.test
                 WSGIDaemonProcess second threads=0 processes=1
             </VirtualHost>
             <VirtualHost *:*>
                 ServerName third.test
                 WSGIDaemonProcess third threads=7
             </VirtualHost>",
        )
        .start();
    let told = wait_until_told(&server, "all to run", |told| {
        let states = (0..3).map(|number| told.value(&format!("WSGIGroup[{number}]State")));
        states.eq(["serving", "running", "serving"])
    });
    assert_eq!(told.value("WSGIGroups"), "3");
    let names = (0..3).map(|number| told.value(&format!("WSGIGroup[{number}]Name")));
    assert!(names.eq(["first", "second", "third"]), "{told:#?}");
    assert_eq!(told.value("WSGIGroup[1]IdleThreads"), "", "it has none");
    assert_eq!(told.value("WSGIGroup[2]IdleThreads"), "7");
}

#[test]
fn modules_may_be_loaded_in_any_order() {
    if !ours("D204") {
        return;
    }
    let server = Site::new()
        .without_subject()
        .config(&format!(
            "LoadModule wsgi_module {}
             {}
             WSGISocketPrefix ${{DATA}}/socket
             WSGIDaemonProcess one threads=1",
            module_under_test().display(),
            load_module("status")
        ))
        .config(PAGE)
        .start();
    assert_eq!(Told::by(&server).group("Name"), "one");
}

#[test]
fn a_worker_that_writes_anything_into_shared_memory_harms_no_page() {
    if !ours("D204") {
        return;
    }
    let server = site("one", "threads=1")
        .script(
            "hostile.wsgi",
            "
import mmap, os

def application(environ, start_response):
    for name in os.listdir('/proc/self/fd'):
        path = '/proc/self/fd/' + name
        try:
            if 'wsgi-workers' in os.readlink(path):
                size = 2048 + 1280
                with mmap.mmap(int(name), size) as memory:
                    memory[:] = b'\\xff' * size
        except OSError:
            pass
    start_response('200 OK', [])
    return [b'done']
",
        )
        .config(
            "WSGIScriptAlias /hostile ${WSGI}/hostile.wsgi process-group=one application-group=%{GLOBAL}",
        )
        .start();
    assert_eq!(server.get("/hostile").text(), "done");
    for query in ["", "?auto", "?notable"] {
        let page = server.get(&format!("/server-status{query}"));
        assert_eq!(page.status, 200);
        assert!(page.is_whole(), "{}", page.text());
    }
    let told = Told::by(&server);
    assert_eq!(told.group("Name"), "one");
    assert_eq!(
        told.group("Requests"),
        u64::MAX.to_string(),
        "it is what was written"
    );
}

#[rstest]
fn a_request_that_runs_is_told_by_httpd_as_any_other(
    #[values(Mode::Embedded, Mode::Daemon)] mode: Mode,
) {
    let site = mode.site().script("gated.wsgi", GATED);
    let data = site.text_path("data");
    let server = site
        .env("DATA", &data)
        .module("status")
        .config(PAGE)
        .start();
    let mut client = ask(&server, "/gated.wsgi?gate");
    let line = |state: &str| {
        let request = "<td nowrap>GET /gated.wsgi?gate HTTP/1.1</td>";
        let page = server.get("/server-status").text();
        let mut rows = page.split("<tr>").map(|row| row.replace('\n', ""));
        rows.find(|row| row.contains(request) && row.contains(state))
    };
    let row = wait_until("it to run", || line("<b>W</b>"));
    assert!(row.contains("<td>127.0.0.1</td><td>http/1.1</td>"), "{row}");
    server.site().write("data/gate", "");
    assert_eq!(client.read_response().status, 200);
    // Its thread may be the one that makes the page next, so the line may be gone, but not as it
    // was.
    wait_until("it to have run", || {
        line("<b>W</b>").is_none().then_some(())
    });
}
