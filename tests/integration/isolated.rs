//! Which interpreters have a GIL of their own, what they cannot do then, and whose switch interval
//! is whose. As all of `WSGIPerInterpreterGIL` it takes the second Python.

use rstest::rstest;
use testkit::{Httpd, Mark, ours};

use crate::own_gil::REFUSING;
use crate::second_python::SecondPython;
use crate::wsgi_site::{CALCULATOR, Mode, calculate};

/// The main interpreter and two others, in httpd's processes or in those of a group.
const URLS: [&str; 3] = ["/main", "/one", "/shared"];

/// What an interpreter with a GIL of its own says to a thread that is a daemon, and others do not.
const HAS_OWN: &str = "import threading
try:
    thread = threading.Thread(target=int, daemon=True)
    thread.start()
    thread.join()
    r = False
except RuntimeError as refused:
    r = 'daemon thread' in str(refused)";

/// Every interpreter has its own GIL but `shared` and the main one.
const ALL_BUT_ONE: &str = "WSGIPerInterpreterGIL On
    <WSGIInterpreterOptions application-group=shared>
        WSGIPerInterpreterGIL Off
    </WSGIInterpreterOptions>";

fn server(mode: Mode, config: &str) -> Option<Httpd> {
    let second = SecondPython::with_own_gils()?;
    let mut site = second
        .alone()
        .script("asked.wsgi", CALCULATOR)
        .script("refusing.wsgi", REFUSING)
        .config("WSGISocketPrefix ${ROOT}/logs/wsgi")
        .config(config);
    for (group, name) in [("%{GLOBAL}", "main"), ("one", "one"), ("shared", "shared")] {
        for (directory, script) in [("", "asked"), ("/refusing", "refusing")] {
            site = site.config(&format!(
                "WSGIScriptAlias {directory}/{name} ${{WSGI}}/{script}.wsgi application-group={group}"
            ));
        }
    }
    if mode == Mode::Daemon {
        site = site
            .config(&second.group("group"))
            .config("WSGIProcessGroup group");
    }
    Some(site.start())
}

#[rstest]
fn an_isolated_interpreter_is_refused_processes_like_it_and_daemon_threads(
    #[values(Mode::Embedded, Mode::Daemon)] mode: Mode,
) {
    let Some(server) = server(mode, ALL_BUT_ONE) else {
        return;
    };
    let thread = "import threading; r = []
thread = threading.Thread(target=r.append, args=[1]); thread.start(); thread.join()";
    let program =
        "import subprocess; r = subprocess.run(['/bin/echo', 'told'], capture_output=True).stdout";
    for url in URLS {
        // First of all: CPython 3.13.0 ends the new process where others have GILs of their own.
        if url == "/main" {
            let fork = "import os
pid = os.fork()
if pid == 0: os._exit(7)
r = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])";
            assert_eq!(calculate(&server, url, fork), "7");
        }
        let own = if url == "/one" { "True" } else { "False" };
        assert_eq!(calculate(&server, url, HAS_OWN), own, "{url}");
        assert_eq!(calculate(&server, url, thread), "[1]", "{url}");
        assert_eq!(calculate(&server, url, program), r"b'told\n'", "{url}");
    }
    for code in [
        "import os; os.fork()",
        "import os; os.execv('/bin/true', ['true'])",
        "import threading; threading.Thread(target=int, daemon=True).start()",
    ] {
        let refused = calculate(&server, "/one", code);
        assert!(refused.starts_with("RuntimeError: "), "{code}: {refused}");
    }
}

#[rstest]
fn a_module_that_shares_its_state_is_refused_by_an_isolated_interpreter_only(
    #[values(Mode::Embedded, Mode::Daemon)] mode: Mode,
) {
    let Some(server) = server(mode, ALL_BUT_ONE) else {
        return;
    };
    for url in ["/refusing/main", "/refusing/shared"] {
        let response = server.get(url);
        // A Python that was built without such a module has words of it, which refuse everywhere.
        if response.status == 500 {
            server.log().wait_for(Mark::START, "module x does not");
            continue;
        }
        assert_eq!(response.text(), "loaded", "{url}");
    }
    let mark = server.log().mark();
    assert_eq!(server.get("/refusing/one").status, 500);
    server.log().wait_for(mark, "WSGI0109");
    server
        .log()
        .wait_for(mark, "does not support loading in subinterpreters");
    // The interpreter serves on.
    assert_eq!(calculate(&server, "/one", "r = 1"), "1");
}

#[rstest]
fn the_main_interpreter_keeps_the_gil_of_the_process_without_a_word(
    #[values(Mode::Embedded, Mode::Daemon)] mode: Mode,
) {
    let config = "WSGIPerInterpreterGIL On
        <WSGIInterpreterOptions application-group=%{GLOBAL}>
            WSGIPerInterpreterGIL On
        </WSGIInterpreterOptions>";
    let Some(server) = server(mode, config) else {
        return;
    };
    assert_eq!(calculate(&server, "/main", HAS_OWN), "False");
    assert_eq!(calculate(&server, "/one", HAS_OWN), "True");
    // Nor is there one about a Python that could not do it.
    for id in ["WSGI0198", "WSGI0199", "WSGI02"] {
        let lines = server.log().matching(Mark::START, id);
        assert!(lines.is_empty(), "{lines:?}");
    }
}

#[rstest]
#[case::by_no_name("", true, true)]
#[case::by_an_interpreter(" application-group=one", true, false)]
#[case::by_the_other(" application-group=shared", false, true)]
#[case::by_process(" process-group=group", true, true)]
#[case::by_another_process(" process-group=other", false, false)]
#[case::by_httpd(" process-group=%{GLOBAL}", false, false)]
#[case::by_both(" process-group=group application-group=one", true, false)]
#[case::by_the_wrong_both(" process-group=%{GLOBAL} application-group=one", false, false)]
fn a_section_gives_those_it_chooses_a_gil(
    #[case] head: &str,
    #[case] one: bool,
    #[case] shared: bool,
) {
    let config = format!(
        "<WSGIInterpreterOptions{head}>
             WSGIPerInterpreterGIL On
         </WSGIInterpreterOptions>"
    );
    let Some(server) = server(Mode::Daemon, &config) else {
        return;
    };
    for (url, own) in [("/main", false), ("/one", one), ("/shared", shared)] {
        let expected = if own { "True" } else { "False" };
        assert_eq!(calculate(&server, url, HAS_OWN), expected, "{url}");
    }
}

#[test]
fn of_several_sections_the_one_that_says_most_decides_and_then_the_later() {
    let Some(server) = server(
        Mode::Daemon,
        "WSGIPerInterpreterGIL On
         <WSGIInterpreterOptions process-group=group application-group=one>
             WSGIPerInterpreterGIL On
         </WSGIInterpreterOptions>
         <WSGIInterpreterOptions application-group=shared>
             WSGIPerInterpreterGIL On
         </WSGIInterpreterOptions>
         <WSGIInterpreterOptions process-group=group>
             WSGIPerInterpreterGIL Off
         </WSGIInterpreterOptions>",
    ) else {
        return;
    };
    for (url, own) in [("/one", "True"), ("/shared", "False")] {
        assert_eq!(calculate(&server, url, HAS_OWN), own, "{url}");
    }
}

/// The interval of an interpreter, in milliseconds.
fn interval(server: &Httpd, url: &str) -> String {
    let code = "import sys; r = round(sys.getswitchinterval() * 1000)";
    calculate(server, url, code)
}

#[rstest]
fn each_gil_has_the_interval_of_its_section(#[values(Mode::Embedded, Mode::Daemon)] mode: Mode) {
    let config = format!(
        "{ALL_BUT_ONE}
         WSGISwitchInterval 0.020
         <WSGIInterpreterOptions application-group=one>
             WSGISwitchInterval 0.030
         </WSGIInterpreterOptions>
         <WSGIInterpreterOptions application-group=shared>
             WSGISwitchInterval 0.040
         </WSGIInterpreterOptions>"
    );
    let Some(server) = server(mode, &config) else {
        return;
    };
    assert_eq!(interval(&server, "/one"), "30");
    let early = server.log().matching(Mark::START, "WSGI0199");
    assert!(early.is_empty(), "{early:?}");
    assert_eq!(interval(&server, "/main"), "20");
    // One that shares the GIL of the process has no say in it, and that is told as it is made.
    assert_eq!(interval(&server, "/shared"), "20");
    let line = server.log().wait_for(Mark::START, "WSGI0199");
    assert!(line.contains("'shared'"), "{line}");
    assert_eq!(interval(&server, "/one"), "30");
}

#[test]
fn the_interval_of_a_group_is_that_of_what_is_loaded_when_it_starts() {
    let Some(second) = SecondPython::with_own_gils() else {
        return;
    };
    let server = second
        .alone()
        .script("asked.wsgi", CALCULATOR)
        .config(&format!("{} switch-interval=0.030", second.group("group")))
        .config(
            "WSGISocketPrefix ${ROOT}/logs/wsgi
             WSGIPerInterpreterGIL On
             WSGISwitchInterval 0.020
             WSGIProcessGroup group
             WSGIScriptAlias /main ${WSGI}/asked.wsgi application-group=%{GLOBAL}
             WSGIScriptAlias /late ${WSGI}/asked.wsgi application-group=late
             WSGIScriptAlias /early ${WSGI}/asked.wsgi process-group=group application-group=early",
        )
        .start();
    if ours("D135") {
        assert_eq!(interval(&server, "/main"), "30");
    }
    assert_eq!(interval(&server, "/early"), "30");
    assert_eq!(interval(&server, "/late"), "20");
    // Nor does making one change the interval of others.
    assert_eq!(interval(&server, "/early"), "30");
    if ours("D135") {
        assert_eq!(interval(&server, "/main"), "30");
    }
}

#[test]
fn a_python_that_can_is_warned_of_nothing_but_free_threading() {
    let Some(second) = SecondPython::with_own_gils() else {
        return;
    };
    let answer = second
        .alone()
        .config("WSGIPerInterpreterGIL On\nWSGIFreeThreading On")
        .configtest();
    assert!(answer.success, "{}", answer.text);
    assert!(!answer.text.contains("WSGI0198"), "{}", answer.text);
    assert!(answer.text.contains("WSGI0200"), "{}", answer.text);
}

#[test]
fn a_group_of_an_older_python_is_named_in_the_warning() {
    if !ours("D72") {
        return;
    }
    let Some(second) = SecondPython::with_own_gils() else {
        return;
    };
    let answer = second
        .site()
        .config(&second.group("new"))
        .config(
            "WSGIDaemonProcess old
             WSGIPerInterpreterGIL On
             <WSGIInterpreterOptions process-group=%{GLOBAL}>
                 WSGIPerInterpreterGIL Off
             </WSGIInterpreterOptions>",
        )
        .configtest();
    let warnings: Vec<_> = answer
        .text
        .lines()
        .filter(|line| line.contains("WSGI0198"))
        .collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("\"old\""), "{warnings:?}");
}

/// Every interpreter but the main one leaves while Python makes it.
const LEAVING: &str = "
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
if interpreters.get_current() != interpreters.get_main():
    raise SystemExit
";

#[test]
fn an_interpreter_that_python_cannot_make_costs_no_process() {
    if !ours("D136") {
        return;
    }
    let Some(second) = SecondPython::with_own_gils() else {
        return;
    };
    let site = second.alone();
    let libs = site.text_path("libs");
    let server = site
        .env("PYTHONPATH", &libs)
        .file("libs/sitecustomize.py", LEAVING)
        .script("asked.wsgi", CALCULATOR)
        .config(ALL_BUT_ONE)
        .config(
            "WSGIScriptAlias /main ${WSGI}/asked.wsgi application-group=%{GLOBAL}
             WSGIScriptAlias /one ${WSGI}/asked.wsgi application-group=one
             WSGIScriptAlias /shared ${WSGI}/asked.wsgi application-group=shared",
        )
        .start();
    let pid = calculate(&server, "/main", "import os; r = os.getpid()");
    for url in ["/one", "/shared"] {
        let mark = server.log().mark();
        assert_eq!(server.get(url).status, 500, "{url}");
        server.log().wait_for(mark, "WSGI0103");
        server.log().wait_for(mark, "WSGI0087");
    }
    assert_eq!(
        calculate(&server, "/main", "import os; r = os.getpid()"),
        pid
    );
}
