//! The directives about Python itself: its path, flags, streams and signals.

use rstest::rstest;
use testkit::{Httpd, Mark, Mpm, Site, module_under_test, ours};

use crate::apps::{Environ, answering, environ};
use crate::daemon_program;
use crate::wsgi_site::{Mode, app};

/// Answers with facts of its interpreter.
pub(crate) const PYTHON: &str = r#"
import json, os, sys

def application(environ, start_response):
    start_response('200 OK', [])
    return [json.dumps({
        'prefix': sys.prefix,
        'executable': os.path.realpath(sys.executable),
        'base_prefix': sys.base_prefix,
        'version': 'python%d.%d' % sys.version_info[:2],
        'path': os.pathsep.join(sys.path),
        'optimize': str(sys.flags.optimize),
        'warnoptions': ' '.join(sys.warnoptions),
        'dont_write_bytecode': str(sys.dont_write_bytecode),
        'hash_randomization': str(sys.flags.hash_randomization),
        'hash': str(hash('some text')),
        'argv': ' '.join(sys.argv),
        'eggs': os.environ.get('PYTHON_EGG_CACHE', ''),
    }).encode()]
"#;

pub(crate) fn python(config: &str) -> Environ {
    let server = Site::new()
        .script("python.wsgi", PYTHON)
        .config("WSGIScriptAlias / ${WSGI}/python.wsgi")
        .config(config)
        .start();
    environ(&server.get("/"))
}

#[test]
fn python_is_started_plainly_by_default() {
    let seen = python("");
    assert_eq!(seen.value("prefix"), seen.value("base_prefix"));
    assert_eq!(seen.value("optimize"), "0");
    assert_eq!(seen.value("warnoptions"), "");
    assert_eq!(seen.value("dont_write_bytecode"), "False");
    assert_eq!(seen.value("hash_randomization"), "1");
    assert_eq!(seen.value("argv"), "mod_wsgi");
}

#[test]
fn python_is_the_same_whatever_path_says() {
    if !ours("D150") {
        return;
    }
    let server = Site::new()
        .script("python.wsgi", PYTHON)
        .config("WSGIScriptAlias / ${WSGI}/python.wsgi")
        .env("PATH", "/nowhere")
        .start();
    let (seen, plain) = (environ(&server.get("/")), python(""));
    for name in ["prefix", "path"] {
        assert_eq!(seen.value(name), plain.value(name), "{name}");
    }
}

#[test]
fn python_optimize_sets_the_level() {
    for (given, level) in [
        ("0", "0"),
        ("1", "1"),
        ("2", "2"),
        ("-1", "0"),
        ("word", "0"),
        ("2x", "2"),
        ("7", "7"),
        ("1\nWSGIPythonOptimize 2", "2"),
    ] {
        let seen = python(&format!("WSGIPythonOptimize {given}"));
        assert_eq!(seen.value("optimize"), level, "{given}");
    }
}

#[test]
fn python_warnings_adds_a_filter_each_time() {
    let seen = python("WSGIPythonWarnings ignore\nWSGIPythonWarnings error::UserWarning");
    assert_eq!(seen.value("warnoptions"), "ignore error::UserWarning");
}

#[test]
fn dont_write_bytecode_is_seen_by_python() {
    let seen = python("WSGIDontWriteBytecode On");
    assert_eq!(seen.value("dont_write_bytecode"), "True");
}

#[test]
fn a_fixed_hash_seed_gives_the_same_hashes() {
    let first = python("WSGIPythonHashSeed 42");
    let second = python("WSGIPythonHashSeed 42");
    let other = python("WSGIPythonHashSeed 43");
    assert_eq!(first.value("hash"), second.value("hash"));
    assert_ne!(first.value("hash"), other.value("hash"));
    let unhashed = python("WSGIPythonHashSeed 0");
    assert_eq!(unhashed.value("hash_randomization"), "0");
}

#[test]
fn a_random_hash_seed_is_random() {
    if !ours("D02") {
        return;
    }
    let first = python("WSGIPythonHashSeed random");
    let second = python("WSGIPythonHashSeed random");
    assert_ne!(first.value("hash"), second.value("hash"));
    assert_eq!(first.value("hash_randomization"), "1");
}

#[test]
fn python_path_comes_first_and_honours_path_files() {
    let server = Site::new()
        .script(
            "python.wsgi",
            &format!("import in_one, in_two, in_three\n{PYTHON}"),
        )
        .file("libs/one/in_one.py", "")
        .file("libs/two/in_two.py", "")
        .file("libs/two/more.pth", "../three\n")
        .file("libs/three/in_three.py", "")
        .config(
            "WSGIPythonPath ${ROOT}/libs/one:${ROOT}/libs/two
             WSGIScriptAlias /main ${WSGI}/python.wsgi application-group=%{GLOBAL}
             WSGIScriptAlias /sub ${WSGI}/python.wsgi application-group=sub",
        )
        .start();
    for url in ["/main", "/sub"] {
        let seen = environ(&server.get(url));
        let root = server.site().text_path("libs");
        let path: Vec<&str> = seen.value("path").split(':').take(3).collect();
        let expected = ["one", "two", "three"].map(|name| format!("{root}/{name}"));
        assert_eq!(path, expected, "{url}");
    }
}

/// What is on the path already stays where it is, and what is not there is added all the same.
#[test]
fn python_path_is_taken_as_it_is_written() {
    let seen = python(
        "WSGIPythonPath /usr/lib/python3/dist-packages:/nowhere:/usr/share:/usr/share
         WSGIDaemonProcess own",
    );
    let plain = python("");
    let path = |seen: &Environ| -> Vec<String> {
        seen.value("path").split(':').map(str::to_owned).collect()
    };
    let new: Vec<_> = path(&seen)
        .into_iter()
        .filter(|it| !path(&plain).contains(it))
        .collect();
    assert_eq!(path(&seen), [new.clone(), path(&plain)].concat());
    assert_eq!(new, ["/nowhere", "/usr/share"]);
}

#[test]
fn nothing_between_colons_is_no_directory() {
    if !ours("D156") {
        return;
    }
    for config in [
        "WSGIPythonPath :/usr/share:",
        "WSGIDaemonProcess own python-path=:/usr/share:\nWSGIProcessGroup own",
    ] {
        let seen = python(config);
        let here = std::env::current_dir().expect("a directory");
        let here = here.display().to_string();
        assert!(seen.value("path").starts_with("/usr/share:"), "{config}");
        assert!(
            !seen
                .value("path")
                .split(':')
                .any(|it| it == here || it.is_empty())
        );
    }
}

#[test]
fn what_path_files_say_is_in_the_log() {
    let server = Site::new()
        .script("a.wsgi", &answering("ran"))
        .file(
            "libs/some.pth",
            "import sys; print('printed by', 'some.pth')\nimport no_such_module\n",
        )
        .config(
            "WSGIPythonPath ${ROOT}/libs
             WSGIDaemonProcess own python-path=${ROOT}/libs
             WSGIScriptAlias /main ${WSGI}/a.wsgi application-group=%{GLOBAL}
             WSGIScriptAlias /sub ${WSGI}/a.wsgi application-group=sub
             WSGIScriptAlias /daemon ${WSGI}/a.wsgi process-group=own",
        )
        .start();
    for url in ["/main", "/sub", "/daemon"] {
        assert_eq!(server.get(url).text(), "ran", "{url}");
    }
    for text in ["printed by some.pth", "No module named 'no_such_module'"] {
        let line = server.log().wait_for(Mark::START, text);
        assert!(line.contains("[wsgi:error]"), "{line}");
    }
    let lines = server.log().since(Mark::START);
    assert!(lines.iter().all(|line| line.starts_with('[')), "{lines:#?}");
}

/// What is said of Python is said of that of process groups, too, but for what their own options
/// are about.
#[test]
fn the_python_of_a_process_group_has_the_same_settings_but_for_its_path() {
    let group = "WSGISocketPrefix ${ROOT}/logs/wsgi\nWSGIDaemonProcess own\nWSGIProcessGroup own\n";
    let plain = python(group);
    assert_eq!(plain.value("optimize"), "0");
    assert_eq!(plain.value("hash_randomization"), "1");
    assert_eq!(plain.value("argv"), "mod_wsgi");
    let settings = "WSGIPythonOptimize 2
         WSGIPythonWarnings ignore
         WSGIPythonWarnings error::UserWarning
         WSGIDontWriteBytecode On
         WSGIPythonHashSeed 42
         WSGIPythonPath /usr/share
         WSGIPythonEggs /var/cache/eggs
         ";
    let seen = python(&(settings.to_owned() + group));
    let embedded = python(settings);
    for (name, value) in [
        ("optimize", "2"),
        ("warnoptions", "ignore error::UserWarning"),
        ("dont_write_bytecode", "True"),
        ("hash", embedded.value("hash")),
        ("eggs", ""),
        ("path", plain.value("path")),
    ] {
        assert_eq!(seen.value(name), value, "{name}");
    }
    assert!(embedded.value("path").starts_with("/usr/share:"));
    assert_eq!(embedded.value("eggs"), "/var/cache/eggs");
}

#[test]
fn python_eggs_is_in_the_environment_of_every_interpreter() {
    let server = Site::new()
        .script("python.wsgi", PYTHON)
        .config(
            "WSGIPythonEggs /var/eggs
             WSGISocketPrefix ${ROOT}/logs/wsgi
             WSGIDaemonProcess group
             WSGIScriptAlias /main ${WSGI}/python.wsgi application-group=%{GLOBAL}
             WSGIScriptAlias /sub ${WSGI}/python.wsgi application-group=sub
             WSGIScriptAlias /daemon ${WSGI}/python.wsgi process-group=group",
        )
        .start();
    for (url, eggs) in [
        ("/main", "/var/eggs"),
        ("/sub", "/var/eggs"),
        ("/daemon", ""),
    ] {
        assert_eq!(environ(&server.get(url)).value("eggs"), eggs, "{url}");
    }
}

/// Does what is asked for in the query and answers with the result or the exception.
const STREAMS: &str = r#"
import signal, sys

def read():
    return sys.stdin.read(0)

def printing():
    print('printed by the application')
    return 'printed'

def handle():
    handler = lambda *arguments: None
    return str(signal.signal(signal.SIGUSR2, handler) is handler)

actions = {'read': read, 'print': printing, 'signal': handle}

def application(environ, start_response):
    try:
        result = repr(actions[environ['QUERY_STRING']]())
    except Exception as error:
        result = type(error).__name__
    start_response('200 OK', [])
    return [result.encode()]
"#;

fn streams(site: Site) -> Httpd {
    site.script("streams.wsgi", STREAMS)
        .config("WSGIScriptAlias /main ${WSGI}/streams.wsgi application-group=%{GLOBAL}")
        .config("WSGIScriptAlias /sub ${WSGI}/streams.wsgi application-group=sub")
        .start()
}

#[test]
fn streams_and_signals_by_default() {
    let server = streams(Site::new());
    for url in ["/main", "/sub"] {
        assert_eq!(server.get(&format!("{url}?read")).text(), "''");
        let mark = server.log().mark();
        assert_eq!(server.get(&format!("{url}?print")).text(), "'printed'");
        let line = server.log().wait_for(mark, "printed by the application");
        assert!(line.contains(":error]"), "{line}");
        assert_eq!(server.get(&format!("{url}?signal")).text(), "'True'");
    }
}

#[test]
fn python_knows_how_its_process_was_started() {
    const ARGUMENTS: &str = "
import signal, sys

def application(environ, start_response):
    start_response('200 OK', [])
    handlers = [signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGSEGV)]
    return [repr([sys.argv, sys.orig_argv, [getattr(handler, 'name', None) for handler in handlers]]).encode()]
";
    for mode in [Mode::Embedded, Mode::Daemon] {
        let server = mode.server();
        let answer = server.get(&app(&server, "arguments", ARGUMENTS)).text();
        assert!(answer.starts_with("[['mod_wsgi'], [], "), "{answer}");
        if ours("D168") && mode == Mode::Daemon {
            // Rust has a handler in its own programs, which is none of Python's.
            let fault = match daemon_program::program(module_under_test()) {
                Some(_) => "'SIG_DFL'",
                None => "None",
            };
            let expected = format!("[['mod_wsgi'], [], ['SIG_DFL', {fault}]]");
            assert_eq!(answer, expected);
        }
    }
}

/// A process that an application forks is its own: what it registers counts.
#[test]
fn in_a_process_that_was_forked_signals_are_those_of_python() {
    const FORKING: &str = "
import os, signal, sys

def application(environ, start_response):
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            caught = []
            signal.signal(signal.SIGUSR2, lambda *arguments: caught.append(1))
            # Threads of httpd leave signals to others.
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR2])
            os.kill(os.getpid(), signal.SIGUSR2)
            text = str(caught)
        except BaseException as error:
            text = type(error).__name__
        os.write(write, text.encode())
        os._exit(0)
    os.waitpid(child, 0)
    start_response('200 OK', [])
    return [os.read(read, 100)]
";
    for group in ["", "WSGIDaemonProcess own\nWSGIProcessGroup own"] {
        let server = Site::new()
            .script("forking.wsgi", FORKING)
            .config("WSGISocketPrefix ${ROOT}/logs/wsgi")
            .config(group)
            .config("WSGIApplicationGroup %{GLOBAL}\nWSGIScriptAlias / ${WSGI}/forking.wsgi")
            .start();
        assert_eq!(server.get("/").text(), "[1]", "{group}");
    }
}

#[test]
fn restricted_streams_raise() {
    let server = streams(Site::new().config("WSGIRestrictStdin On\nWSGIRestrictStdout On"));
    for url in ["/main", "/sub"] {
        assert_eq!(server.get(&format!("{url}?read")).text(), "OSError");
        assert_eq!(server.get(&format!("{url}?print")).text(), "OSError");
    }
}

/// So that Python's debugger can be used, which asks its questions there.
#[rstest]
fn where_httpd_is_one_process_stdout_is_its_own(
    #[values("", "WSGIRestrictStdout On")] config: &str,
) {
    let server = Site::new()
        .script(
            "prints.wsgi",
            "def application(environ, start_response):
    print('for whoever debugs', environ['QUERY_STRING'], flush=True)
    start_response('200 OK', [])
    return [b'done']",
        )
        .config(config)
        .config(
            "WSGIScriptAlias /main ${WSGI}/prints.wsgi application-group=%{GLOBAL}
             WSGIScriptAlias /sub ${WSGI}/prints.wsgi application-group=sub",
        )
        .argument("-X")
        .start();
    assert_eq!(server.get("/main?main").text(), "done");
    assert_eq!(server.get("/sub?sub").text(), "done");
    let output = server.site().path("logs/output");
    let output = std::fs::read_to_string(output).expect("what httpd has printed");
    assert_eq!(output, "for whoever debugs main\nfor whoever debugs sub\n");
}

#[test]
fn unrestricted_signals_are_those_of_python() {
    // Python allows it on its main thread only, which with these MPMs serves no requests.
    for mpm in [Mpm::Event, Mpm::Worker] {
        let server = streams(Site::new().mpm(mpm).config("WSGIRestrictSignal Off"));
        for url in ["/main", "/sub"] {
            assert_eq!(server.get(&format!("{url}?signal")).text(), "ValueError");
        }
    }
}

#[test]
fn under_prefork_unrestricted_signals_depend_on_the_main_thread_of_python() {
    let server = streams(
        Site::new()
            .mpm(Mpm::Prefork)
            .config("WSGIRestrictSignal Off"),
    );
    let answer = server.get("/main?signal").text();
    assert_eq!(answer, if ours("D10") { "ValueError" } else { "'False'" });
}

#[test]
fn a_broken_module_named_apache_stops_nobody() {
    for group in ["%{GLOBAL}", "sub"] {
        let server = Site::new()
            .file("libs/apache.py", "raise ImportError('broken')\n")
            .script("a.wsgi", &answering("ran"))
            .config("WSGIPythonPath ${ROOT}/libs")
            .config(&format!(
                "WSGIScriptAlias / ${{WSGI}}/a.wsgi application-group={group}"
            ))
            .start();
        assert_eq!(server.get("/").text(), "ran", "{group}");
        server.log().wait_for(Mark::START, "ImportError: broken");
    }
}
