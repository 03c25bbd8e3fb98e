//! What a request leaves behind: nothing. Each ending of a request is repeated, and what Python
//! has allocated and the process has open must not grow with it.

use testkit::{Httpd, Request};

use crate::wsgi_site::{threaded, wsgi_site};

const ENDINGS: &str = r#"
import gc, io, sys

def counted():
    gc.collect()
    return sys.getallocatedblocks()

def raising():
    yield b'some'
    raise ValueError('later')

def application(environ, start_response):
    way = environ['QUERY_STRING']
    if way == 'count':
        start_response('200 OK', [])
        return [str(counted()).encode()]
    if way == 'raises':
        raise ValueError('at once')
    if way == 'refused':
        start_response('not a status', [])
    if way == 'body':
        environ['wsgi.input'].readline()
        environ['wsgi.input'].read()
    if way == 'cycle':
        environ['itself'] = environ
        environ['start_response'] = start_response
    if way == 'cleared':
        environ.clear()
    write = start_response('200 OK', [('Content-Type', 'text/plain'), ('X-Header', 'v' * 100)])
    if way == 'write':
        write(b'written')
    if way == 'prints':
        print('printed', file=environ['wsgi.errors'])
        environ['wsgi.errors'].write('pending')
    if way == 'file':
        return environ['wsgi.file_wrapper'](open(__file__, 'rb'))
    if way == 'file-like':
        return environ['wsgi.file_wrapper'](io.BytesIO(b'x' * 10000), 1000)
    if way == 'raises-later':
        return raising()
    if way == 'text':
        return ['text']
    if way == 'hang-up':
        return (b'x' * 65536 for n in range(1000))
    return (b'%d' % n for n in range(20)) if way == 'streams' else [b'done']
"#;

/// How often an ending is repeated in one round.
const REPETITIONS: usize = 200;

/// Caches fill in some rounds and then stop; a leak grows in every one.
const ROUNDS: usize = 12;

#[test]
fn no_ending_of_a_request_leaves_objects_or_files_behind() {
    // Few threads, for each keeps something of its own.
    let server = wsgi_site()
        .mpm(threaded())
        .script("endings.wsgi", ENDINGS)
        .config("LogLevel crit\nServerLimit 1\nThreadsPerChild 2\nMaxRequestWorkers 2")
        .start();
    for way in [
        "done",
        "streams",
        "write",
        "body",
        "prints",
        "file",
        "file-like",
        "raises",
        "refused",
        "raises-later",
        "text",
        "cycle",
        "cleared",
        "hang-up",
    ] {
        let url = format!("/endings.wsgi?{way}");
        let grows = (0..ROUNDS).all(|_| grows_with(&server, &url));
        assert!(!grows, "{way}");
    }
}

const HOOKS: &str = r#"
def allow_access(environ, host):
    way = environ['QUERY_STRING']
    if way == 'raises':
        raise ValueError('at once')
    if way == 'asks':
        environ['mod_ssl.is_https']()
        environ['mod_ssl.var_lookup']('HTTPS')
    if way == 'prints':
        print('printed', file=environ['wsgi.errors'])
        environ['wsgi.errors'].write('pending')
    if way == 'cycle':
        environ['itself'] = environ
    if way == 'cleared':
        environ.clear()
    return {'other': [environ], 'denied': False}.get(way, True)

def process_group(environ):
    environ['seen'] = [environ]

def callable_object(environ):
    return {'text': 'application', 'bytes': b'application',
            'number': 1}.get(environ['QUERY_STRING'])
"#;

#[test]
fn no_answer_of_a_hook_leaves_objects_or_files_behind() {
    let server = wsgi_site()
        .mpm(threaded())
        .script("endings.wsgi", ENDINGS)
        .script("hooks.py", HOOKS)
        .config(
            "
            LogLevel crit
            ServerLimit 1
            ThreadsPerChild 2
            MaxRequestWorkers 2
            <Location /endings.wsgi/hook>
                WSGIAccessScript ${WSGI}/hooks.py
                WSGIDispatchScript ${WSGI}/hooks.py
            </Location>
            ",
        )
        .start();
    for way in [
        "allowed", "denied", "other", "raises", "asks", "prints", "cycle", "cleared", "text",
        "bytes", "number",
    ] {
        let url = format!("/endings.wsgi/hook?{way}");
        let grows = (0..ROUNDS).all(|_| grows_with(&server, &url));
        assert!(!grows, "{way}");
    }
}

/// Whether what the server holds grows by something like an object or a file for each request.
fn grows_with(server: &Httpd, url: &str) -> bool {
    let (blocks, files) = (allocated(server), open_files(server));
    repeat(server, url);
    allocated(server) > blocks + REPETITIONS / 4 || open_files(server) > files + REPETITIONS / 4
}

fn repeat(server: &Httpd, url: &str) {
    let request = Request::post(url, "a line\nand more").header("Connection", "close");
    for _ in 0..REPETITIONS {
        let mut connection = server.connect();
        connection.send(&request.to_bytes());
        if url.ends_with("hang-up") {
            drop(connection.read_exactly(1000));
        } else {
            drop(connection.read_to_end());
        }
    }
}

/// How many blocks of memory Python has handed out.
fn allocated(server: &Httpd) -> usize {
    let answer = server.get("/endings.wsgi?count").text();
    answer.parse().expect("a number")
}

/// How many files are open in what serves: of a process group that is a grandchild of httpd.
fn open_files(server: &Httpd) -> usize {
    server
        .process()
        .descendants()
        .iter()
        .map(|child| child.open_files())
        .sum()
}
