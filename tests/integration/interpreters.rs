//! Interpreters, and the threads that enter them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use rstest::rstest;
use testkit::{Httpd, Mark, Mpm, Request, Response, Site, ours, wait_until};

use crate::apps::{WHERE, at_once, environ};
use crate::second_python::SecondPython;
use crate::wsgi_site::Mode;

/// All the threads of one child.
const THREADS: usize = 16;

/// Adds to [`WHERE`] that a request waits for as many others as there are threads: then every
/// thread of the child serves one of them.
const WHERE_ON_EVERY_THREAD: &str = r#"
import threading
barrier = threading.Barrier(16)
where = application

def application(environ, start_response):
    barrier.wait(timeout=20)
    return where(environ, start_response)
"#;

/// Asks for `url` from as many clients at once as a child has threads.
fn get_on_every_thread(server: &Httpd, url: &str) -> Vec<Response> {
    at_once(THREADS, |_| server.get(url))
}

/// Calls back into Python through C, with the GIL released and with it held, as extension modules
/// do with `PyGILState_Ensure`. Answers with the interpreters the callbacks ran in.
const CALLBACKS: &str = r#"
import ctypes

Compare = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)

def interpreters_of_callbacks(library):
    seen = set()
    def compare(a, b):
        seen.add(number(interpreters.get_current()))
        return 0
    items = (ctypes.c_int * 2)(1, 2)
    library.qsort(items, ctypes.c_size_t(2), ctypes.c_size_t(4), Compare(compare))
    return seen

def application(environ, start_response):
    seen = interpreters_of_callbacks(ctypes.CDLL(None))
    seen |= interpreters_of_callbacks(ctypes.PyDLL(None))
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [repr(sorted(seen)).encode()]
"#;

fn site_with_groups() -> Site {
    Site::new()
        .script("where.wsgi", &format!("{WHERE}{WHERE_ON_EVERY_THREAD}"))
        .script(
            "callbacks.wsgi",
            &format!("{WHERE}{CALLBACKS}{WHERE_ON_EVERY_THREAD}"),
        )
        .config(
            "ServerLimit 1
             MaxRequestWorkers 16
             WSGIScriptAlias /global ${WSGI}/where.wsgi application-group=%{GLOBAL}
             WSGIScriptAlias /callbacks ${WSGI}/callbacks.wsgi application-group=%{GLOBAL}
             WSGIScriptAlias /one ${WSGI}/where.wsgi application-group=one
             WSGIScriptAlias /two ${WSGI}/where.wsgi application-group=two",
        )
}

#[rstest]
fn the_global_group_is_the_main_interpreter_on_every_thread(
    #[values(Mpm::Event, Mpm::Worker)] mpm: Mpm,
) {
    let server = site_with_groups().mpm(mpm).start();
    // The reference serves that group rightly only on threads that served it first.
    if !ours("D06") {
        get_on_every_thread(&server, "/global");
    }
    for url in ["/one", "/global", "/two", "/global"] {
        let answers: Vec<_> = get_on_every_thread(&server, url)
            .iter()
            .map(environ)
            .collect();
        let threads: BTreeSet<_> = answers.iter().map(|seen| seen.value("thread")).collect();
        assert_eq!(threads.len(), THREADS);
        for seen in &answers {
            let is_main = seen.value("interpreter") == seen.value("main");
            assert_eq!(is_main, url == "/global", "{url}: {seen:?}");
        }
    }
}

#[test]
fn extension_modules_may_use_the_simplified_api_in_the_global_group() {
    let server = site_with_groups().mpm(Mpm::Event).start();
    for answer in get_on_every_thread(&server, "/callbacks") {
        assert_eq!(answer.text(), "[0]");
    }
}

#[rstest]
fn they_may_so_on_threads_that_served_other_groups(#[values(Mpm::Event, Mpm::Worker)] mpm: Mpm) {
    let server = site_with_groups().mpm(mpm).start();
    if !ours("D06") {
        get_on_every_thread(&server, "/callbacks");
    }
    for url in ["/one", "/two"] {
        get_on_every_thread(&server, url);
    }
    for answer in get_on_every_thread(&server, "/callbacks") {
        assert_eq!(answer.text(), "[0]");
    }
}

/// Calls back into Python through C as its interpreter ends, and notes which one that ran in.
/// Requests wait for each other, so that each has a thread of its own.
const CALLBACKS_AT_THE_END: &str = r#"
import ctypes, os, threading

barrier = threading.Barrier(4)
own = number(interpreters.get_current())
file = os.open(os.path.join(os.path.dirname(os.path.dirname(__file__)), 'data', 'noted'),
               os.O_WRONLY | os.O_CREAT)

# What is needed then is not looked up, for the module's names are gone.
@ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
def compare(a, b, number=number, current=interpreters.get_current, own=own, write=os.write, file=file):
    write(file, b'own ' if number(current()) == own else b'another ')
    return 0

class Last:
    sorts = ctypes.CDLL(None).qsort, ctypes.PyDLL(None).qsort
    arguments = (ctypes.c_int * 2)(1, 2), ctypes.c_size_t(2), ctypes.c_size_t(4), compare
    def __del__(self):
        for sort in self.sorts:
            sort(*self.arguments)

last = Last()

def application(environ, start_response):
    barrier.wait(timeout=20)
    start_response('200 OK', [])
    return [b'served']
"#;

/// In a process group, whose threads are there until it ends.
fn check_callbacks_at_the_end(site: Site, group: &str) {
    if !ours("D240") {
        return;
    }
    let mut server = site
        .script("ending.wsgi", &format!("{WHERE}{CALLBACKS_AT_THE_END}"))
        .config(group)
        .config("WSGIScriptAlias / ${WSGI}/ending.wsgi process-group=group application-group=sub")
        .start();
    for answer in at_once(4, |_| server.get("/")) {
        assert_eq!(answer.text(), "served");
    }
    server.stop();
    assert_eq!(server.site().read("data/noted"), "own own ");
}

#[test]
fn they_find_their_interpreter_as_it_ends() {
    check_callbacks_at_the_end(Site::new(), "WSGIDaemonProcess group threads=8");
}

#[test]
fn they_find_their_interpreter_as_it_ends_with_the_second_python() {
    if let Some(second) = SecondPython::find() {
        check_callbacks_at_the_end(second.alone(), &second.group("group"));
    }
}

#[test]
fn extension_modules_work_in_the_global_group_on_many_threads() {
    let source = "
import ctypes, datetime, decimal, hashlib, sqlite3, ssl, threading, zlib

database = sqlite3.connect(':memory:', check_same_thread=False)
database.execute('create table hits (digest text)')
lock = threading.Lock()

def application(environ, start_response):
    digest = hashlib.sha256(zlib.compress(environ['QUERY_STRING'].encode())).hexdigest()
    with lock:
        database.execute('insert into hits values (?)', (digest,))
        count, = database.execute('select count(*) from hits').fetchone()
    value = decimal.Decimal(count) / 2
    start_response('200 OK', [('Date-Of', datetime.datetime.now().isoformat())])
    return [str(value).encode()]
";
    let server = Site::new()
        .mpm(Mpm::Event)
        .script("extensions.wsgi", source)
        .config(
            "ServerLimit 1
             MaxRequestWorkers 16
             WSGIScriptAlias / ${WSGI}/extensions.wsgi application-group=%{GLOBAL}",
        )
        .start();
    let mut counts: Vec<f64> = at_once(THREADS, |number| {
        let answers = (0..20).map(|round| server.get(&format!("/?{number}-{round}")).text());
        answers
            .map(|text| text.parse::<f64>().expect("a number"))
            .collect::<Vec<_>>()
    })
    .concat();
    counts.sort_by(f64::total_cmp);
    let expected: Vec<f64> = (1..=20 * THREADS as u32)
        .map(|count| f64::from(count) / 2.0)
        .collect();
    assert_eq!(counts, expected);
}

#[rstest]
fn a_group_never_has_two_interpreters_in_a_process(
    #[values(Mpm::Event, Mpm::Worker, Mpm::Prefork)] mpm: Mpm,
) {
    const CLIENTS: usize = 64;
    const GROUPS: usize = 20;
    let site = Site::new()
        .mpm(mpm)
        .module("setenvif")
        .script("where.wsgi", WHERE)
        .config(
            r#"SetEnvIf Request_URI "^/(group-[0-9]+)" GROUP=$1
               WSGIApplicationGroup %{ENV:GROUP}
               WSGIScriptAliasMatch ^/group-[0-9]+ ${WSGI}/where.wsgi"#,
        );
    let limits = match mpm {
        // Each child makes all the interpreters, so a few children are enough work.
        Mpm::Prefork => "MaxRequestWorkers 4\n",
        Mpm::Event | Mpm::Worker => "ServerLimit 1\nThreadsPerChild 64\nMaxRequestWorkers 64\n",
    };
    let server = site.config(limits).start();

    let answers = at_once(CLIENTS, |number| {
        let groups = (0..GROUPS).map(|round| format!("group-{}", (number + round) % GROUPS));
        groups
            .map(|group| environ(&server.get(&format!("/{group}"))))
            .collect::<Vec<_>>()
    });

    let mut interpreters: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    for seen in answers.iter().flatten() {
        let key = (
            seen.value("pid").to_owned(),
            seen.value("application_group").to_owned(),
        );
        interpreters
            .entry(key)
            .or_default()
            .insert(seen.value("interpreter").to_owned());
    }
    for (key, found) in &interpreters {
        assert_eq!(found.len(), 1, "{key:?}");
    }
    for (pid, group) in interpreters.keys() {
        let created = format!("Creating sub-interpreter '{group}'");
        let lines = server.log().matching(Mark::START, &created);
        let by_process = lines
            .iter()
            .filter(|line| line.contains(&format!("[pid {pid}:")));
        assert_eq!(by_process.count(), 1, "{group} in {pid}");
    }
}

#[test]
fn groups_of_a_process_have_separate_modules() {
    let server = Site::new()
        .script("where.wsgi", WHERE)
        .config(
            "WSGIScriptAlias /one ${WSGI}/where.wsgi application-group=one
             WSGIScriptAlias /two ${WSGI}/where.wsgi application-group=two",
        )
        .start();
    for count in ["1", "2", "3"] {
        for url in ["/one", "/two"] {
            assert_eq!(environ(&server.get(url)).value("counted"), count, "{url}");
        }
    }
}

/// In a process with one thread, data of that thread lasts from request to request.
#[test]
fn the_data_of_a_thread_is_kept_between_requests() {
    let source = "
import threading
local = threading.local()

def application(environ, start_response):
    local.count = getattr(local, 'count', 0) + 1
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [str(local.count).encode()]
";
    let server = Site::new()
        .mpm(Mpm::Prefork)
        .script("local.wsgi", source)
        .config(
            "MaxRequestWorkers 1
             WSGIScriptAlias /main ${WSGI}/local.wsgi application-group=%{GLOBAL}
             WSGIScriptAlias /sub ${WSGI}/local.wsgi application-group=sub",
        )
        .start();
    for count in ["1", "2", "3"] {
        for url in ["/main", "/sub"] {
            assert_eq!(server.get(url).text(), count, "{url}");
        }
    }
}

/// Forks, and ends the new process by C's `exit`, as CPython does when it cannot go on after a
/// fork.
const EXIT_AFTER_FORK: &str = r#"
import ctypes, os, time

def status_of(pid):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    return 'did not end'

def application(environ, start_response):
    pid = os.fork()
    if pid == 0:
        ctypes.PyDLL(None).exit(7)
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [str(status_of(pid)).encode()]
"#;

#[test]
fn a_process_that_an_application_forked_can_exit() {
    let server = Site::new()
        .script("fork.wsgi", EXIT_AFTER_FORK)
        .config("WSGIScriptAlias /fork ${WSGI}/fork.wsgi application-group=%{GLOBAL}")
        .start();
    assert_eq!(server.get("/fork").text(), "7");
}

/// Raises as an extension module of Cython does that was loaded in another interpreter first, the
/// way a framework passes it on.
const REFUSING: &str = r#"
def load():
    raise ImportError('Interpreter change detected - this module can only be loaded into one '
                      'interpreter per process.')

def application(environ, start_response):
    try:
        load()
    except ImportError as error:
        raise RuntimeError('no database') from error
"#;

#[test]
fn a_module_that_refuses_a_sub_interpreter_is_told_with_the_directive_that_mends_it() {
    if !ours("D74") {
        return;
    }
    let server = Site::new()
        .script("refusing.wsgi", REFUSING)
        .config(
            "WSGIScriptAlias /sub ${WSGI}/refusing.wsgi
             WSGIScriptAlias /main ${WSGI}/refusing.wsgi application-group=%{GLOBAL}",
        )
        .start();
    assert_eq!(server.get("/sub").status, 500);
    let line = server.log().wait_for(Mark::START, "WSGI1403");
    assert!(line.contains("WSGIApplicationGroup %{GLOBAL}"), "{line}");
    assert!(line.contains("Interpreter change detected"), "{line}");
    // Where it has no GIL of its own, that is not what to turn off.
    assert!(!line.contains("WSGIPerInterpreterGIL"), "{line}");
    let mark = server.log().mark();
    assert_eq!(server.get("/main").status, 500);
    server.log().wait_for(mark, "RuntimeError: no database");
    let lines = server.log().since(mark);
    assert!(!lines.iter().any(|line| line.contains("WSGI1403")));
}

/// In every interpreter but the main one, `io` is gone before the server needs it.
const BREAKING: &str = "
import sys
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
if interpreters.get_current() != interpreters.get_main():
    sys.modules['io'] = None
";

#[rstest]
fn an_interpreter_that_cannot_be_set_up_is_told_with_its_cause(
    #[values(Mode::Embedded, Mode::Daemon)] mode: Mode,
) {
    let site = mode.site();
    let libs = site.text_path("libs");
    let server = site
        .env("PYTHONPATH", &libs)
        .file("libs/sitecustomize.py", BREAKING)
        .script("where.wsgi", WHERE)
        .script("main.wsgi", WHERE)
        .config("<Files main.wsgi>\nWSGIApplicationGroup %{GLOBAL}\n</Files>")
        .start();
    // The reference tells of it four times, and calls the first a critical one.
    server.log().expect_alarm("WSGI0035");
    assert_eq!(server.get("/where.wsgi").status, 500);
    let cause = server.log().wait_for(Mark::START, "WSGI0103");
    assert!(cause.contains("sub-interpreter"), "{cause}");
    server.log().wait_for(Mark::START, "io halted");
    let line = server.log().wait_for(Mark::START, "WSGI0087");
    assert!(line.contains("where.wsgi"), "{line}");
    // The process and the main interpreter live on.
    assert_eq!(server.get("/main.wsgi").status, 200);
}

#[test]
fn an_interpreter_that_cannot_be_set_up_is_not_made_for_every_request() {
    if !ours("D108") {
        return;
    }
    let server = Site::new()
        .script("where.wsgi", WHERE)
        .file("broken/break.pth", "import sys; del sys.modules\n")
        .config(
            "LogLevel info
             WSGIScriptAlias /broken ${WSGI}/where.wsgi application-group=broken
             WSGIScriptAlias /whole ${WSGI}/where.wsgi application-group=whole
             <WSGIInterpreterOptions application-group=broken>
                 WSGIPythonPath ${ROOT}/broken
             </WSGIInterpreterOptions>",
        )
        .start();
    let begin = Instant::now();
    for _ in 0..10 {
        assert_eq!(server.get("/broken").status, 500);
    }
    let seconds = begin.elapsed().as_secs();
    let log = server.log();
    assert_eq!(log.matching(Mark::START, "WSGI0087").len(), 10);
    // One, and then one in a second.
    let attempts = log.matching(Mark::START, "Creating sub-interpreter 'broken'");
    assert!(
        (1..=1 + seconds).contains(&(attempts.len() as u64)),
        "{attempts:#?}"
    );
    let reasons = log.matching(Mark::START, "WSGI0103");
    assert_eq!(reasons.len(), attempts.len(), "{reasons:#?}");
    assert_eq!(server.get("/whole").status, 200);

    server.site().remove("broken/break.pth");
    wait_until("another attempt", || {
        (server.get("/broken").status == 200).then_some(())
    });
}

/// But not fork: CPython 3.11 ends such a process on the spot.
#[rstest]
fn a_sub_interpreter_may_run_programs_and_threads(
    #[values(Mode::Embedded, Mode::Daemon)] mode: Mode,
) {
    const STARTING: &str = "
import subprocess, threading

def executed():
    return subprocess.run(['/bin/sh', '-c', 'echo $0', 'told'], capture_output=True).stdout

def threaded(daemon):
    found = []
    thread = threading.Thread(target=found.append, args=[daemon], daemon=daemon)
    thread.start()
    thread.join()
    return found

def application(environ, start_response):
    start_response('200 OK', [])
    return [repr([environ['mod_wsgi.application_group'] != '', executed(), threaded(True),
                  threaded(False)]).encode()]
";
    let server = mode.site().script("starting.wsgi", STARTING).start();
    for _ in 0..3 {
        assert_eq!(
            server.get("/starting.wsgi").text(),
            "[True, b'told\\n', [True], [False]]"
        );
    }
}

/// Clients may name as many as they like.
#[rstest]
fn a_process_that_has_made_very_many_says_so(#[values("%{GLOBAL}", "one")] process_group: &str) {
    if !ours("D226") {
        return;
    }
    let server = Site::new()
        .script("where.wsgi", WHERE)
        .config(&format!(
            "WSGISocketPrefix ${{ROOT}}/logs/wsgi
             WSGIDaemonProcess one
             WSGIScriptAlias / ${{WSGI}}/where.wsgi process-group={process_group} application-group=%{{HOST}}"
        ))
        .start();
    let told = || server.log().matching(Mark::START, "WSGI1375");
    // The main interpreter is one of them.
    for number in 1..=99 {
        assert!(told().is_empty(), "{number}");
        let request = Request::get("/").header("Host", format!("host-{number}.test"));
        let seen = environ(&server.send(&request));
        assert_eq!(
            seen.value("application_group"),
            format!("host-{number}.test")
        );
    }
    let line = server.log().wait_for(Mark::START, "WSGI1375");
    for part in ["wsgi:warn", "WSGIApplicationGroup", "host-99.test"] {
        assert!(line.contains(part), "{line}");
    }
    for number in 100..=102 {
        let request = Request::get("/").header("Host", format!("host-{number}.test"));
        assert_eq!(server.send(&request).status, 200);
    }
    assert_eq!(told().len(), 1);
}
