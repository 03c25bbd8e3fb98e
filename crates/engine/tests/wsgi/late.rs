//! Objects of a request that an application keeps for longer.

use crate::memory::App;

#[test]
fn what_is_kept_can_only_fail() {
    let app = App::new(
        "
import threading

kept = []
failures = []

def keep(environ, start_response):
    write = start_response('200 OK', [])
    kept.extend([environ, start_response, write, iter(environ['wsgi.input'])])
    return [b'']

def use(label, call):
    try:
        failures.append((label, call()))
    except RuntimeError as error:
        assert 'its request is over' in str(error) or 'the request is over' in str(error), error
        failures.append(label)

def application(environ, start_response):
    if not kept:
        return keep(environ, start_response)
    old, start, write, lines = kept
    use('read', old['wsgi.input'].read)
    use('read(0)', lambda: old['wsgi.input'].read(0))
    use('readline', old['wsgi.input'].readline)
    use('readlines', old['wsgi.input'].readlines)
    use('next', lambda: next(lines))
    use('iter', lambda: iter(old['wsgi.input']))
    use('close', old['wsgi.input'].close)
    use('start_response', lambda: start('200 OK', []))
    use('write', lambda: write(b'x'))
    use('errors', lambda: old['wsgi.errors'].write('x'))
    start_response('200 OK', [])
    return [repr(failures).encode()]
",
    );
    assert_eq!(app.ask().answer().text(), "");
    let expected = "['read', 'read(0)', 'readline', 'readlines', 'next', 'iter', 'close', \
        'start_response', 'write', 'errors']";
    assert_eq!(app.ask().body(&[b"abc"]).answer().text(), expected);
}

#[test]
fn a_thread_that_reads_on_holds_nothing_up() {
    let app = App::new(
        "
import threading

ended = []

def application(environ, start_response):
    write = start_response('200 OK', [])
    begun = threading.Event()
    def work():
        try:
            while True:
                environ['wsgi.input'].read(1)
                begun.set()
        except RuntimeError as error:
            ended.append(str(error))
    thread = threading.Thread(target=work)
    thread.start()
    begun.wait()
    environ['wsgi.errors'].write('%r\\n' % ended)
    environ['mod_wsgi.thread'] = thread
    if environ['PATH_INFO'] == '/join':
        before.join()
        return [repr(ended).encode()]
    globals()['before'] = thread
    return []
",
    );
    assert_eq!(app.ask().answer().text(), "");
    let text = app.ask().variable("PATH_INFO", "/join").answer().text();
    assert_eq!(
        text,
        "['wsgi.input cannot be used any more: its request is over']"
    );
}
