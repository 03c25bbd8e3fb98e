//! What the functions and objects that applications get take, give, and refuse: one row for each.

use rstest::rstest;
use testkit::ours;

use crate::wsgi_site::{CALCULATOR, Mode, app, calculate};

/// Asserts for each code that what it leaves in `r`, or the exception, begins as said.
fn assert_outcomes(mode: Mode, name: &str, cases: &[(&str, &str)]) {
    let server = mode.server();
    let url = app(&server, name, CALCULATOR);
    for (code, outcome) in cases {
        let answer = calculate(&server, &url, code);
        assert!(answer.starts_with(outcome), "{code}: {answer}");
    }
}

#[rstest]
fn functions_of_the_module_take_what_they_need_by_position(
    #[values(Mode::Embedded, Mode::Daemon)] mode: Mode,
) {
    let mut cases = Vec::new();
    for function in [
        "request_data",
        "server_metrics",
        "process_metrics",
        "request_metrics",
        "start_recording_metrics",
    ] {
        for arguments in ["1", "a=1", "None"] {
            cases.push(format!("{function}({arguments})"));
        }
    }
    for function in [
        "subscribe_events",
        "subscribe_shutdown",
        "subscribe_signals",
    ] {
        for arguments in ["", "1, 2", "callback=1"] {
            cases.push(format!("{function}({arguments})"));
        }
    }
    let cases: Vec<_> = cases
        .iter()
        .map(|call| format!("import mod_wsgi; mod_wsgi.{call}"))
        .collect();
    let cases: Vec<_> = cases
        .iter()
        .map(|code| (code.as_str(), "TypeError: "))
        .collect();
    assert_outcomes(mode, "by_position", &cases);
}

#[rstest]
fn names_of_the_module_have_their_kinds(#[values(Mode::Embedded, Mode::Daemon)] mode: Mode) {
    assert_outcomes(
        mode,
        "kinds",
        &[
            (
                "import mod_wsgi; r = {n: type(getattr(mod_wsgi, n)).__name__ for n in dir(mod_wsgi) \
                 if n[0] != '_' and n != 'implementation_version'}",
                "{'FileWrapper': 'type', 'LogHandler': 'type', 'RequestTimeout': 'type', \
                 'active_requests': 'dict', 'application_group': 'str', 'event_callbacks': 'list', \
                 'maximum_processes': 'int', 'process_group': 'str', \
                 'process_metrics': 'builtin_function_or_method', \
                 'request_data': 'builtin_function_or_method', \
                 'request_metrics': 'builtin_function_or_method', \
                 'server_metrics': 'builtin_function_or_method', 'shutdown_callbacks': 'list', \
                 'signal_callbacks': 'list', \
                 'start_recording_metrics': 'builtin_function_or_method', \
                 'subscribe_events': 'builtin_function_or_method', \
                 'subscribe_shutdown': 'builtin_function_or_method', \
                 'subscribe_signals': 'builtin_function_or_method', 'threads_per_process': 'int', \
                 'version': 'tuple'}",
            ),
            (
                "import mod_wsgi as m; r = repr(m), m.__name__, m.__loader__, m.__spec__, m.__package__",
                "(\"<module 'mod_wsgi'>\", 'mod_wsgi', None, None, None)",
            ),
            (
                "import mod_wsgi; mod_wsgi.nothing",
                "AttributeError: module 'mod_wsgi' has no",
            ),
            ("import mod_wsgi; mod_wsgi.__file__", "AttributeError: "),
            ("import mod_wsgi.nothing", "ModuleNotFoundError: "),
            (
                "import mod_wsgi; r = [type(n) is int for n in mod_wsgi.version]",
                "[True, True, True]",
            ),
            (
                "import apache; r = {n: type(getattr(apache, n)).__name__ for n in dir(apache) \
                 if n[0] != '_'}",
                "{'build_date': 'str', 'description': 'str', 'maximum_processes': 'int', \
                 'mpm_name': 'str', 'threads_per_process': 'int', 'version': 'tuple'}",
            ),
            (
                "import apache; r = apache.version == environ['apache.version'], \
                 apache.description.split()[0] == 'Apache/%d.%d.%d' % apache.version, \
                 apache.build_date.count(':'), [type(n) is int for n in apache.version]",
                "(True, True, 2, [True, True, True])",
            ),
            (
                "import mod_wsgi; r = mod_wsgi.version == environ['mod_wsgi.version'], \
                 mod_wsgi.process_group == environ['mod_wsgi.process_group'], \
                 mod_wsgi.application_group == environ['mod_wsgi.application_group'], \
                 mod_wsgi.FileWrapper is environ['wsgi.file_wrapper'], \
                 list(mod_wsgi.active_requests) == [environ['mod_wsgi.request_id']], \
                 mod_wsgi.active_requests[environ['mod_wsgi.request_id']] is mod_wsgi.request_data()",
                "(True, True, True, True, True, True)",
            ),
            (
                "import mod_wsgi; e = mod_wsgi.RequestTimeout('a', 1); r = e.args, str(e), repr(e), \
                 isinstance(e, Exception)",
                r#"(('a', 1), "('a', 1)", "RequestTimeout('a', 1)", False)"#,
            ),
            (
                "import mod_wsgi, pickle; r = pickle.loads(pickle.dumps(mod_wsgi.RequestTimeout(7))).args, \
                 pickle.loads(pickle.dumps(mod_wsgi.FileWrapper)) is mod_wsgi.FileWrapper, \
                 pickle.loads(pickle.dumps(mod_wsgi.LogHandler)) is mod_wsgi.LogHandler",
                "((7,), True, True)",
            ),
        ],
    );
}

#[rstest]
fn a_log_handler_is_one_of_logging(#[values(Mode::Embedded, Mode::Daemon)] mode: Mode) {
    assert_outcomes(
        mode,
        "log_handlers",
        &[
            (
                "import mod_wsgi; r = [repr(c) for c in mod_wsgi.LogHandler.__mro__], \
                 [n for n in vars(mod_wsgi.LogHandler) if n[0] != '_']",
                "([\"<class 'mod_wsgi.LogHandler'>\", \"<class 'logging.Handler'>\", \
                 \"<class 'logging.Filterer'>\", \"<class 'object'>\"], ['emit'])",
            ),
            (
                "import mod_wsgi; h = mod_wsgi.LogHandler(); r = repr(h), h.level, h.formatter, h.filters",
                "('<LogHandler (NOTSET)>', 0, None, [])",
            ),
            (
                "import mod_wsgi; r = [repr(h) for h in (mod_wsgi.LogHandler(10), \
                 mod_wsgi.LogHandler('INFO'), mod_wsgi.LogHandler(level=30))]",
                "['<LogHandler (DEBUG)>', '<LogHandler (INFO)>', '<LogHandler (WARNING)>']",
            ),
            ("import mod_wsgi; mod_wsgi.LogHandler(1, 2)", "TypeError: "),
            ("import mod_wsgi; mod_wsgi.LogHandler(lvl=1)", "TypeError: "),
            (
                "import mod_wsgi; mod_wsgi.LogHandler('NOPE')",
                "ValueError: Unknown level: 'NOPE'",
            ),
            (
                "import mod_wsgi; mod_wsgi.LogHandler().emit()",
                "TypeError: ",
            ),
            (
                "import mod_wsgi; mod_wsgi.LogHandler().emit(1, 2)",
                "TypeError: ",
            ),
            (
                "import mod_wsgi; mod_wsgi.LogHandler().emit(1)",
                "AttributeError: 'int' object has no",
            ),
            (
                "import mod_wsgi; r = '--' in (mod_wsgi.LogHandler.__doc__ or '')",
                "False",
            ),
        ],
    );
}

/// For `help()`, and for editors.
#[rstest]
fn names_say_what_they_are_for(#[values(Mode::Embedded, Mode::Daemon)] mode: Mode) {
    if !ours("D189") {
        return;
    }
    assert_outcomes(
        mode,
        "documented",
        &[(
            "import mod_wsgi; r = [n for n in dir(mod_wsgi) if n[0] != '_' and callable(v := \
             getattr(mod_wsgi, n)) and not v.__doc__], bool(start_response.__doc__)",
            "([], True)",
        )],
    );
}

#[rstest]
fn the_objects_of_a_request_are_what_they_are(#[values(Mode::Embedded, Mode::Daemon)] mode: Mode) {
    assert_outcomes(
        mode,
        "objects",
        &[
            (
                "i = environ['wsgi.input']; r = [n for n in dir(i) if n[0] != '_'], iter(i) is i, \
                 bool(i), i == i",
                "(['close', 'read', 'readline', 'readlines'], True, True, True)",
            ),
            ("len(environ['wsgi.input'])", "TypeError: "),
            ("environ['wsgi.input'].more = 1", "AttributeError: "),
            (
                "class Own(type(environ['wsgi.input'])): pass",
                "TypeError: ",
            ),
            (
                "import pickle; pickle.dumps(environ['wsgi.input'])",
                "TypeError: cannot pickle",
            ),
            (
                "import pickle; pickle.dumps(environ['wsgi.errors'])",
                "TypeError: cannot pickle",
            ),
            (
                "import pickle; pickle.dumps(environ['wsgi.errors'].buffer)",
                "TypeError: cannot pickle",
            ),
            (
                "import pickle; pickle.dumps(start_response)",
                "TypeError: cannot pickle",
            ),
            (
                "import copy; copy.deepcopy(environ)",
                "TypeError: cannot pickle",
            ),
            (
                "e = environ['wsgi.errors']; r = type(e).__name__, e.name, e.encoding, e.errors, \
                 e.line_buffering, e.write_through, e.closed, e.readable(), e.writable(), \
                 e.seekable(), e.isatty()",
                "('TextIOWrapper', '<wsgi.errors>', 'utf-8', 'replace', True, True, False, False, \
                 True, False, False)",
            ),
            (
                "b = environ['wsgi.errors'].buffer; r = [n for n in dir(b) if n[0] != '_']",
                "['close', 'closed', 'encoding', 'errors', 'fileno', 'flush', 'isatty', 'name', \
                 'readable', 'seekable', 'writable', 'write', 'writelines']",
            ),
            ("environ['wsgi.errors'].fileno()", "OSError: "),
            (
                "environ['wsgi.errors'].read()",
                "UnsupportedOperation: not readable",
            ),
            ("environ['wsgi.errors'].seek(0)", "UnsupportedOperation: "),
            ("environ['wsgi.errors'].write(b'x')", "TypeError: "),
            ("environ['wsgi.errors'].writelines([1])", "TypeError: "),
            ("environ['wsgi.errors'].buffer.write(1)", "TypeError: "),
            ("environ['wsgi.errors'].buffer.write()", "TypeError: "),
            (
                "environ['wsgi.errors'].buffer.write(b'', b'')",
                "TypeError: ",
            ),
            ("environ['wsgi.errors'].buffer.writelines(5)", "TypeError: "),
            (
                "environ['wsgi.errors'].buffer.writelines([1])",
                "TypeError: ",
            ),
            ("environ['wsgi.errors'].buffer.flush(1)", "TypeError: "),
            ("environ['wsgi.errors'].buffer.more = 1", "AttributeError: "),
            (
                "import sys; r = sys.stdout.name, sys.stderr.name",
                "('<stdout>', '<stderr>')",
            ),
            ("r = '--' in (start_response.__doc__ or '')", "False"),
            (
                "r = '--' in (start_response('200 OK', []).__doc__ or '')",
                "False",
            ),
        ],
    );
}

#[rstest]
fn reading_takes_a_size_by_position(#[values(Mode::Embedded, Mode::Daemon)] mode: Mode) {
    let cases: &[(&str, &str)] = &[
        ("i.read(1, 2)", "TypeError: "),
        ("i.read('1')", "TypeError: "),
        ("i.read(1.5)", "TypeError: "),
        ("i.read(size=1)", "TypeError: "),
        ("i.read(2**63)", "OverflowError: "),
        ("i.read(-2**63 - 1)", "OverflowError: "),
        (
            "r = i.read(-2**63), i.read(-1), i.read(True), i.read(False)",
            "(b'', b'', b'', b'')",
        ),
        ("i.readline(1, 2)", "TypeError: "),
        ("i.readline('1')", "TypeError: "),
        ("i.readline(size=1)", "TypeError: "),
        ("i.readline(2**64)", "OverflowError: "),
        (
            "r = i.readline(0), i.readline(-1), i.readline(5)",
            "(b'', b'', b'')",
        ),
        ("i.readlines(1, 2)", "TypeError: "),
        ("i.readlines('1')", "TypeError: "),
        ("i.readlines(hint=1)", "TypeError: "),
        ("i.readlines(2**64)", "OverflowError: "),
        (
            "r = i.readlines(0), i.readlines(-1), list(i)",
            "([], [], [])",
        ),
        ("next(i)", "StopIteration: "),
        ("i.close(1)", "TypeError: "),
        ("r = i.close(), i.close(), i.read()", "(None, None, b'')"),
        (
            "r = [hasattr(i, n) for n in ('seek', 'tell', 'readinto', 'fileno', 'closed', '__enter__')]",
            "[False, False, False, False, False, False]",
        ),
    ];
    let cases: Vec<_> = cases
        .iter()
        .map(|(code, outcome)| (format!("i = environ['wsgi.input']; {code}"), *outcome))
        .collect();
    let cases: Vec<_> = cases
        .iter()
        .map(|(code, outcome)| (code.as_str(), *outcome))
        .collect();
    assert_outcomes(mode, "sizes", &cases);
}

#[rstest]
fn a_size_is_no_more_than_a_limit(#[values(Mode::Embedded, Mode::Daemon)] mode: Mode) {
    if !ours("D167") {
        return;
    }
    assert_outcomes(
        mode,
        "limit",
        &[(
            "i = environ['wsgi.input']; r = i.read(2**62), i.readline(2**62)",
            "(b'', b'')",
        )],
    );
}

#[rstest]
fn what_is_no_signal_cannot_be_registered_for(#[values(Mode::Embedded, Mode::Daemon)] mode: Mode) {
    assert_outcomes(
        mode,
        "registered",
        &[
            (
                "import signal; h = lambda *a: 0; r = signal.signal(signal.SIGTERM, h) is h",
                "True",
            ),
            (
                "import signal; r = signal.signal(999, print) is print",
                "True",
            ),
            (
                "import signal; signal.signal('x', print)",
                "TypeError: 'str' object cannot be",
            ),
            ("import signal; signal.signal(None, print)", "TypeError: "),
            ("import signal; signal.signal()", "TypeError: "),
            ("import signal; signal.signal(1)", "TypeError: "),
            ("import signal; signal.signal(1, 2, 3)", "TypeError: "),
        ],
    );
}
