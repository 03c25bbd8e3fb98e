//! `WSGIPerInterpreterGIL`: interpreters that run at the same time. They need Python 3.12, which
//! the default Python of a test is not, so these tests use the second one.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::thread;

use testkit::{Ending, Httpd, Mark, Request, Site, ours, wait_until};

use crate::apps::at_once;
use crate::second_python::SecondPython;

/// Does what the query says, in whichever interpreter it is.
const DOING: &str = r#"
import atexit, gc, itertools, mmap, os, sys, threading
import mod_wsgi

def note(name):
    open(DATA + name, 'w').close()

atexit.register(note, 'atexit-' + mod_wsgi.application_group)
counter = itertools.count(1)
ending = threading.Event()
mod_wsgi.subscribe_shutdown(lambda *arguments, **payload: ending.set())

def hold(environ):
    '''Keeps its GIL, in a call that never lets go of it, from when the first byte of the gate is 1
    until the second one is.'''
    with open(DATA + 'gate', 'w+b', buffering=0) as file:
        file.write(bytes(2))
        gate = mmap.mmap(file.fileno(), 2)
    begins = map(gate.__setitem__, [0], [1])
    any(itertools.chain(begins, map(gate.__getitem__, itertools.repeat(1))))
    return [b'held']

def stand_still(environ):
    '''Waits in C, for good, and keeps its GIL.'''
    import ctypes
    note('standing-still')
    ctypes.PyDLL(None).pause()

def wait_for_end(environ):
    note('waiting')
    ending.wait(60)
    note('told')
    return []

def count(environ):
    return [b'%d' % next(counter)]

def stream(environ):
    for number in range(5):
        yield b'%d ' % number

def echo(environ):
    return iter(lambda: environ['wsgi.input'].read(1000), b'')

def errors(environ):
    print('printed in', mod_wsgi.application_group)
    environ['wsgi.errors'].write('written to wsgi.errors\n')
    return [b'done']

def file(environ):
    return environ['wsgi.file_wrapper'](open(__file__, 'rb'))

def fails(environ):
    raise ValueError('as it should')

def cycles(environ):
    class Node:
        pass
    for _ in range(10_000):
        node = Node()
        node.itself = node
    return [b'%d' % (gc.collect() >= 0)]

def threads(environ):
    seen = []
    many = [threading.Thread(target=lambda: seen.append(mod_wsgi.application_group))
            for _ in range(4)]
    for one in many:
        one.start()
    for one in many:
        one.join()
    return [' '.join(seen).encode()]

def forks(environ):
    try:
        os.fork()
    except RuntimeError as refused:
        return [str(refused).encode()]

def calls_back(environ):
    '''A callback from C finds its interpreter by the simplified GIL API.'''
    try:
        import ctypes
    except ImportError:
        return [b'1 2 3']
    numbers = (ctypes.c_int * 3)(3, 1, 2)
    kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))
    compare = kind(lambda a, b: a[0] - b[0])
    ctypes.CDLL(None).qsort(numbers, 3, ctypes.sizeof(ctypes.c_int), compare)
    return [' '.join(map(str, numbers)).encode()]

def application(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return globals()[environ['QUERY_STRING']](environ)
"#;

/// An interpreter that hears of the end waits for the other one to hear of it, too, and then takes
/// its time.
const MEETING: &str = r#"
import atexit, mod_wsgi, os, time
one, other = 'one', 'two'
if mod_wsgi.application_group != one:
    one, other = other, one

def note(name):
    open(DATA + name, 'w').close()

@mod_wsgi.subscribe_shutdown
def stopping(name, **payload):
    note('hears-' + one)
    while not os.path.exists(DATA + 'hears-' + other):
        time.sleep(0.01)
    time.sleep(TAKES)
    note('met-' + one)

@atexit.register
def end():
    if os.path.exists(DATA + 'met-' + one):
        note('end-' + one)

def application(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [b'here']
"#;

/// Has two interpreters of a group told of its end, each of which waits for the other one; this is
/// how long that takes them.
pub(crate) fn meet_at_the_end(site: Site, takes: f32) {
    let facts = format!("DATA = {:?}\nTAKES = {takes}", site.text_path("data/"));
    let mut server = site
        .script("meeting.wsgi", &format!("{facts}\n{MEETING}"))
        .config(
            "WSGIScriptAlias /one ${WSGI}/meeting.wsgi process-group=group application-group=one
             WSGIScriptAlias /two ${WSGI}/meeting.wsgi process-group=group application-group=two",
        )
        .start();
    for url in ["/one", "/two"] {
        assert_eq!(server.get(url).text(), "here");
    }
    server.stop();
    for name in ["met-one", "met-two", "end-one", "end-two"] {
        let note = format!("data/{name}");
        assert!(server.site().path(&note).exists(), "{note}");
    }
}

/// The words of an extension module that refuses, from such a module where there is one.
pub(crate) const REFUSING: &str = r#"
try:
    import _testsinglephase
except ModuleNotFoundError:
    raise ImportError('module x does not support loading in subinterpreters') from None

def application(environ, start_response):
    start_response('200 OK', [])
    return [b'loaded']
"#;

#[test]
fn a_module_that_refuses_to_be_loaded_is_told_with_the_directive_that_mends_it() {
    if !ours("D74") {
        return;
    }
    let Some(second) = SecondPython::with_own_gils() else {
        return;
    };
    let server = second
        .site()
        .script("refusing.wsgi", REFUSING)
        .config(&second.group("group"))
        .config(
            "WSGIPerInterpreterGIL On
             WSGIScriptAlias / ${WSGI}/refusing.wsgi process-group=group",
        )
        .start();
    assert_eq!(server.get("/").status, 500);
    let line = server.log().wait_for(Mark::START, "WSGI1403");
    for named in [
        "does not support loading in subinterpreters",
        "WSGIApplicationGroup %{GLOBAL}",
        "WSGIPerInterpreterGIL Off",
        "refusing.wsgi",
    ] {
        assert!(line.contains(named), "{named}: {line}");
    }
}

/// `/main`, `/one`, `/two`, `/shared` in a process group, with a GIL of their own for two of them.
fn group() -> Option<Httpd> {
    group_with("")
}

/// The same, with further options of the process group.
fn group_with(options: &str) -> Option<Httpd> {
    let second = SecondPython::with_own_gils()?;
    let group = format!("{} {options}", second.group("group"));
    let site = doing(second.alone()).config(&group).config(
        "WSGIProcessGroup group
             WSGIPerInterpreterGIL On
             <WSGIInterpreterOptions process-group=group application-group=shared>
                 WSGIPerInterpreterGIL Off
             </WSGIInterpreterOptions>",
    );
    Some(site.start())
}

/// All of them, or but the last where requests for the main interpreter run in others.
fn without_confusion<'a>(urls: &'a [&'a str]) -> &'a [&'a str] {
    if ours("D06") {
        urls
    } else {
        &urls[..urls.len() - 1]
    }
}

fn doing(site: Site) -> Site {
    let data = format!("DATA = {:?}", site.text_path("data/"));
    site.script("doing.wsgi", &format!("{data}\n{DOING}"))
        .config(
            "WSGIScriptAlias /main ${WSGI}/doing.wsgi application-group=%{GLOBAL}
         WSGIScriptAlias /one ${WSGI}/doing.wsgi application-group=one
         WSGIScriptAlias /two ${WSGI}/doing.wsgi application-group=two
         WSGIScriptAlias /shared ${WSGI}/doing.wsgi application-group=shared",
        )
}

#[test]
fn interpreters_run_at_the_same_time() {
    let Some(server) = group() else { return };
    let others = without_confusion(&["/two", "/shared", "/main"]);
    for url in others {
        server.get(&format!("{url}?count"));
    }
    thread::scope(|scope| {
        let holder = scope.spawn(|| server.get("/one?hold"));
        let gate = server.site().path("data/gate");
        wait_until("the GIL to be held", || {
            (fs::read(&gate).ok()? == [1, 0]).then_some(())
        });
        for url in others {
            assert_eq!(server.get(&format!("{url}?count")).text(), "2", "{url}");
        }
        // In place, as the file is mapped.
        let file = File::options().write(true).open(&gate).expect("the gate");
        file.write_all_at(&[1], 1).expect("room for it");
        assert_eq!(holder.join().expect("an answer").text(), "held");
    });
}

#[test]
fn everything_works_that_an_application_may_do() {
    let Some(server) = group() else { return };
    let source = server.site().read("wsgi/doing.wsgi");
    for url in ["/main", "/one", "/two"] {
        let get = |action: &str| server.get(&format!("{url}?{action}"));
        assert_eq!(get("stream").text(), "0 1 2 3 4 ");
        assert_eq!(get("file").text(), source);
        assert_eq!(get("cycles").text(), "1");
        assert_eq!(get("calls_back").text(), "1 2 3");
        let own = url[1..].replace("main", "");
        assert_eq!(get("threads").text(), [own.as_str(); 4].join(" "));
        let body = vec![b'x'; 100_000];
        let echoed = server.send(&Request::new("POST", &format!("{url}?echo")).body(&body));
        assert_eq!(echoed.body, body);

        let mark = server.log().mark();
        assert_eq!(get("errors").text(), "done");
        server.log().wait_for(mark, &format!("printed in {own}"));
        server.log().wait_for(mark, "written to wsgi.errors");
        let mark = server.log().mark();
        assert_eq!(get("fails").status, 500);
        server.log().wait_for(mark, "WSGI0174");
        server.log().wait_for(mark, "ValueError: as it should");
    }
    let refused = server.get("/one?forks").text();
    assert!(refused.contains("fork"), "{refused}");
}

#[test]
fn many_threads_use_many_interpreters() {
    let Some(server) = group() else { return };
    const ROUNDS: usize = 20;
    let urls = without_confusion(&["/one", "/two", "/shared", "/main"]);
    at_once(16, |client| {
        for round in 0..ROUNDS {
            let url = urls[(client + round) % urls.len()];
            for action in ["count", "cycles", "stream"] {
                let response = server.get(&format!("{url}?{action}"));
                assert_eq!(response.status, 200, "{url}");
                assert_ne!(response.ending, Ending::Cut, "{url}");
            }
        }
    });
    // What the applications counted is theirs, and each thread of an interpreter counts the same.
    let total: usize = urls
        .iter()
        .map(|url| server.get(&format!("{url}?count")).text())
        .map(|text| text.parse::<usize>().expect("a number"))
        .sum();
    assert_eq!(total, 16 * ROUNDS + urls.len());
}

#[test]
fn interpreters_are_ended_with_their_process() {
    let Some(mut server) = group() else { return };
    for url in ["/main", "/one", "/two", "/shared"] {
        server.get(&format!("{url}?threads"));
    }
    server.stop();
    for group in ["", "one", "two", "shared"] {
        let note = format!("data/atexit-{group}");
        assert!(server.site().path(&note).exists(), "{note}");
    }
}

#[test]
fn one_that_stands_still_has_its_process_replaced_and_keeps_no_other_from_its_end() {
    if !ours("D180") {
        return;
    }
    let Some(server) = group_with("deadlock-timeout=2 shutdown-timeout=2") else {
        return;
    };
    for url in ["/main", "/one", "/two", "/shared"] {
        assert_eq!(server.get(&format!("{url}?count")).text(), "1");
    }
    let mut client = server.connect();
    client.send(&Request::get("/one?stand_still").to_bytes());
    let exists = |name: &str| server.site().path(name).exists();
    wait_until("the interpreter to stand still", || {
        exists("data/standing-still").then_some(())
    });
    assert_eq!(server.get("/two?count").text(), "2");
    server.log().wait_for(Mark::START, "deadlock_timeout");
    server.log().wait_for(Mark::START, "WSGI1217");
    for (group, ends) in [("", true), ("one", false), ("two", true), ("shared", true)] {
        let note = format!("data/atexit-{group}");
        assert_eq!(exists(&note), ends, "{note}");
    }
    assert_eq!(server.get("/one?count").text(), "1", "in another process");
}

#[test]
fn one_with_a_request_is_told_of_the_end_while_the_main_one_stands_still() {
    let Some(server) = group_with("deadlock-timeout=2 shutdown-timeout=4") else {
        return;
    };
    if !ours("D180") {
        return;
    }
    let data = |name: &str| server.site().path(&format!("data/{name}"));
    let ask = |url: &str, trace: &str| {
        let mut client = server.connect();
        client.send(&Request::get(url).to_bytes());
        wait_until(trace, || data(trace).exists().then_some(()));
        client
    };
    let _waiting = ask("/one?wait_for_end", "waiting");
    let _standing_still = ask("/main?stand_still", "standing-still");
    wait_until("it to be told", || data("told").exists().then_some(()));
    server.log().wait_for(Mark::START, "WSGI1217");
}

#[test]
fn interpreters_are_told_of_the_end_side_by_side() {
    if !ours("D180") {
        return;
    }
    let Some(second) = SecondPython::with_own_gils() else {
        return;
    };
    let site = second.alone().config(&second.group("group"));
    // More than half of what they have: the rest is for the ends of those who are done.
    meet_at_the_end(site.config("WSGIPerInterpreterGIL On"), 3.0);
}

/// Takes a moment for the news of the end, or, in the group `never`, for ever.
const LISTENING: &str = r#"
import atexit, mod_wsgi, threading
group = mod_wsgi.application_group
atexit.register(lambda: open(f'{DATA}atexit-{group}', 'w').close())

@mod_wsgi.subscribe_shutdown
def stopping(name, **payload):
    threading.Event().wait(None if group == 'never' else 0.3)

def application(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [b'here']
"#;

#[test]
fn one_that_is_never_done_with_the_end_keeps_no_other_from_its_own() {
    if !ours("D180") {
        return;
    }
    let Some(second) = SecondPython::with_own_gils() else {
        return;
    };
    let site = second
        .alone()
        .config(&format!("{} shutdown-timeout=4", second.group("group")))
        .config("WSGIPerInterpreterGIL On");
    let data = site.text_path("data/");
    let groups = ["never", "one", "two", "three", "four"];
    let alias = |group: &&str| {
        format!(
            "WSGIScriptAlias /{group} ${{WSGI}}/a.wsgi process-group=group application-group={group}\n"
        )
    };
    let aliases: String = groups.iter().map(alias).collect();
    let mut server = site
        .script("a.wsgi", &format!("DATA = {data:?}\n{LISTENING}"))
        .config(&aliases)
        .start();
    for group in groups {
        assert_eq!(server.get(&format!("/{group}")).text(), "here");
    }
    server.log().expect_alarm("WSGI1217");
    server.stop();
    for group in groups {
        let note = format!("data/atexit-{group}");
        let has_ended = server.site().path(&note).exists();
        assert_eq!(has_ended, group != "never", "{note}");
    }
}

#[test]
fn embedded_interpreters_have_gils_of_their_own_too() {
    let Some(second) = SecondPython::with_own_gils() else {
        return;
    };
    let mut server = doing(second.alone())
        .config("WSGIPerInterpreterGIL On")
        .start();
    for url in ["/main", "/one", "/two"] {
        assert_eq!(server.get(&format!("{url}?count")).text(), "1");
        assert_eq!(server.get(&format!("{url}?cycles")).text(), "1");
    }
    let refused = server.get("/one?forks").text();
    assert!(refused.contains("fork"), "{refused}");
    let line = server
        .log()
        .wait_for(Mark::START, "Creating sub-interpreter 'one'");
    assert!(line.contains("with own GIL"), "{line}");
    server.stop();
    assert!(server.site().path("data/atexit-two").exists());
}
