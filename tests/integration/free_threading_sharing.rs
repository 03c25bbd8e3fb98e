//! Threads of an application that share what belongs to a request, in a Python without a GIL.

use testkit::{Ending, Request, ours};

use crate::apps::at_once;
use crate::second_python::SecondPython;

/// Shares all that a request has among eight threads, which use it at once, in and out of order.
const SHARING: &str = r#"
import logging, sys, threading
import mod_wsgi

ROUNDS = 60
log = logging.getLogger('shared')
handler = mod_wsgi.LogHandler()
log.addHandler(handler)
log.propagate = False
mod_wsgi.start_recording_metrics()

def listen(name, **payload):
    return {'seen': name}

def several(work):
    '''Runs the work on eight threads at once. What it raises is not the point.'''
    start = threading.Barrier(8)
    def run():
        start.wait()
        for _ in range(ROUNDS):
            try:
                work()
            except Exception:
                pass
    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

def callbacks():
    mod_wsgi.subscribe_events(listen)
    mod_wsgi.event_callbacks.pop()

def metrics():
    mod_wsgi.request_metrics()
    mod_wsgi.process_metrics()
    mod_wsgi.server_metrics()
    list(mod_wsgi.active_requests.items())

class Spare:
    def read(self, size=-1):
        return b'x'
    def close(self):
        pass

def application(environ, start_response):
    wrapper = environ['wsgi.file_wrapper'](Spare())
    input, errors, data = environ['wsgi.input'], environ['wsgi.errors'], mod_wsgi.request_data()
    pieces = []

    def read():
        pieces.append(input.read(700))
        pieces.append(input.readline(900))
        pieces.extend(input.readlines(500))
        pieces.extend(line for _, line in zip(range(3), input))

    def respond():
        start_response('200 OK', [('X-Thread', str(threading.get_ident()))])

    def wrap():
        wrapper.__init__(Spare(), 10)
        wrapper.filelike, wrapper.blksize, next(wrapper)
        wrapper.close()

    def write_log():
        errors.buffer.write(b'a line\n')
        errors.write('another line\n')
        log.warning('a record')
        data.setdefault('n', []).append(1)

    for work in read, respond, wrap, write_log, callbacks, metrics:
        several(work)
    write = start_response('200 OK', [('X-Length', str(sum(map(len, pieces))))])
    several(lambda: write(b'.'))
    return [b'']
"#;

#[test]
fn what_threads_share_withstands_all_of_them_at_once() {
    // There the process dies.
    if !ours("D131") {
        return;
    }
    let Some(free) = SecondPython::free_threaded() else {
        return;
    };
    let server = free
        .alone()
        .script("sharing.wsgi", SHARING)
        .config(&free.group("free"))
        .config(
            "WSGIFreeThreading On
             WSGIScriptAlias /main ${WSGI}/sharing.wsgi process-group=free application-group=%{GLOBAL}
             WSGIScriptAlias /sub ${WSGI}/sharing.wsgi process-group=free application-group=sub
             WSGIScriptAlias /embedded ${WSGI}/sharing.wsgi application-group=%{GLOBAL}",
        )
        .start();
    let body = b"some words on a line\n".repeat(2_000);
    let urls = ["/main", "/sub", "/embedded", "/main"];
    at_once(8, |number| {
        let url = urls[number % urls.len()];
        let response = server.send(&Request::new("POST", url).body(&body));
        assert_eq!(response.head.status, 200, "{url}");
        assert_ne!(response.ending, Ending::Cut, "{url}");
        // Every byte of the body was given to one of them.
        let read = response.head.header("X-Length");
        assert_eq!(read, Some(body.len().to_string().as_str()), "{url}");
        assert_eq!(response.text(), ".".repeat(8 * 60), "{url}");
    });
}
