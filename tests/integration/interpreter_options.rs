//! `<WSGIInterpreterOptions>` and what may be said in it: which interpreters it is for, and which
//! of several sections wins.

use testkit::{Httpd, Site, ours};

use crate::apps::{Environ, environ};

/// Answers with what was set for its interpreter.
const OPTIONS: &str = r#"
import json, os, signal, sys

def allowed(stream):
    try:
        getattr(stream, 'encoding')
    except OSError:
        return 'restricted'
    return 'allowed'

def handles():
    handler = lambda *arguments: None
    try:
        return str(signal.signal(signal.SIGUSR2, handler) is handler)
    except ValueError:
        return 'ValueError'

def application(environ, start_response):
    start_response('200 OK', [])
    libs = [os.path.basename(path) for path in sys.path if '/libs/' in path]
    return [json.dumps({
        'path': ' '.join(libs),
        'stdin': allowed(sys.stdin),
        'stdout': allowed(sys.stdout),
        'signal': handles(),
        'interval': '%.4f' % sys.getswitchinterval(),
    }).encode()]
"#;

/// Two interpreters in httpd's own processes, and two in each of two process groups.
fn server(config: &str) -> Httpd {
    let site = ["base", "one", "two", "three", "four"]
        .iter()
        .fold(Site::new(), |site, name| {
            site.file(&format!("libs/{name}/placeholder"), "")
        });
    site.script("options.wsgi", OPTIONS)
        .config(
            "WSGISocketPrefix ${ROOT}/logs/wsgi
             WSGIDaemonProcess a
             WSGIDaemonProcess b
             WSGIScriptAlias /main ${WSGI}/options.wsgi application-group=%{GLOBAL}
             WSGIScriptAlias /sub ${WSGI}/options.wsgi application-group=sub
             WSGIScriptAlias /a/main ${WSGI}/options.wsgi process-group=a application-group=%{GLOBAL}
             WSGIScriptAlias /a/sub ${WSGI}/options.wsgi process-group=a application-group=sub
             WSGIScriptAlias /b/sub ${WSGI}/options.wsgi process-group=b application-group=sub",
        )
        .config(config)
        .start()
}

fn ask(server: &Httpd, url: &str) -> Environ {
    environ(&server.get(url))
}

#[test]
fn a_section_is_for_the_interpreters_it_chooses() {
    let server = server(
        "<WSGIInterpreterOptions>
             WSGIRestrictStdout On
         </WSGIInterpreterOptions>
         <WSGIInterpreterOptions process-group=%{GLOBAL}>
             WSGIRestrictStdin On
         </WSGIInterpreterOptions>
         <WSGIInterpreterOptions APPLICATION-GROUP=sub Process-Group=a>
             WSGIRestrictSignal Off
         </WSGIInterpreterOptions>",
    );
    for (url, stdin, signal) in [
        ("/main", "restricted", "True"),
        ("/sub", "restricted", "True"),
        ("/a/main", "allowed", "True"),
        ("/a/sub", "allowed", "ValueError"),
        ("/b/sub", "allowed", "True"),
    ] {
        let seen = ask(&server, url);
        assert_eq!(seen.value("stdout"), "restricted", "{url}");
        assert_eq!(seen.value("stdin"), stdin, "{url}");
        assert_eq!(seen.value("signal"), signal, "{url}");
    }
}

/// Names are compared as they come out for a request, and stand for nothing else.
#[test]
fn a_section_names_an_interpreter_literally() {
    for (selector, chosen) in [
        ("process-group= application-group=", "/main"),
        ("application-group=sub process-group=%{GLOBAL}", "/sub"),
        ("application-group=localhost process-group=", "/server"),
        ("application-group=localhost|/resource", "/resource"),
        ("application-group=%{SERVER}", ""),
        ("application-group=%{RESOURCE}", ""),
        ("application-group=%{global}", ""),
        ("application-group=SUB", ""),
        ("process-group=nobody", ""),
    ] {
        let server = server(&format!(
            "WSGIScriptAlias /server ${{WSGI}}/options.wsgi application-group=%{{SERVER}}
             WSGIScriptAlias /resource ${{WSGI}}/options.wsgi
             <WSGIInterpreterOptions {selector}>
                 WSGIRestrictStdin On
             </WSGIInterpreterOptions>"
        ));
        for url in ["/main", "/sub", "/server", "/resource", "/a/sub"] {
            let expected = if url == chosen {
                "restricted"
            } else {
                "allowed"
            };
            assert_eq!(
                ask(&server, url).value("stdin"),
                expected,
                "{selector} {url}"
            );
        }
    }
}

#[test]
fn a_section_wins_over_those_that_choose_by_fewer_names_and_those_before_it() {
    let server = server(
        "<WSGIInterpreterOptions process-group=a application-group=sub>
             WSGIRestrictStdin Off
         </WSGIInterpreterOptions>
         <WSGIInterpreterOptions application-group=sub>
             WSGIRestrictStdin On
             WSGIRestrictStdout On
         </WSGIInterpreterOptions>
         <WSGIInterpreterOptions process-group=b>
             WSGIRestrictStdout Off
         </WSGIInterpreterOptions>
         <WSGIInterpreterOptions>
             WSGIRestrictStdin Off
         </WSGIInterpreterOptions>
         WSGIRestrictStdin On",
    );
    for (url, stdin, stdout) in [
        ("/main", "allowed", "allowed"),
        ("/sub", "restricted", "restricted"),
        ("/a/main", "allowed", "allowed"),
        ("/a/sub", "allowed", "restricted"),
        ("/b/sub", "restricted", "allowed"),
    ] {
        let seen = ask(&server, url);
        assert_eq!(seen.value("stdin"), stdin, "{url}");
        assert_eq!(seen.value("stdout"), stdout, "{url}");
    }
}

#[test]
fn directories_add_up_those_of_the_winner_first() {
    let server = server(
        "<WSGIInterpreterOptions process-group=a application-group=sub>
             WSGIPythonPath ${ROOT}/libs/four
         </WSGIInterpreterOptions>
         <WSGIInterpreterOptions application-group=sub>
             WSGIPythonPath ${ROOT}/libs/two:${ROOT}/libs/three
         </WSGIInterpreterOptions>
         <WSGIInterpreterOptions>
             WSGIPythonPath ${ROOT}/libs/one
         </WSGIInterpreterOptions>
         WSGIPythonPath ${ROOT}/libs/base",
    );
    for (url, path) in [
        ("/main", "one base"),
        ("/sub", "two three one base"),
        ("/a/main", "one"),
        ("/a/sub", "four two three one"),
        ("/b/sub", "two three one"),
    ] {
        assert_eq!(ask(&server, url).value("path"), path, "{url}");
    }
}

#[test]
fn the_interval_outside_is_that_of_each_process_that_makes_an_interpreter() {
    let server = server("WSGISwitchInterval 0.02");
    for url in ["/main", "/sub", "/a/main", "/a/sub", "/b/sub"] {
        assert_eq!(ask(&server, url).value("interval"), "0.0200", "{url}");
    }
}

#[test]
fn the_interval_of_a_group_is_set_when_its_scripts_are_loaded() {
    let server = server(
        "WSGISwitchInterval 0.02
         WSGIDaemonProcess c switch-interval=0.03
         WSGIScriptAlias /c/main ${WSGI}/options.wsgi process-group=c application-group=%{GLOBAL}
         WSGIScriptAlias /c/late ${WSGI}/options.wsgi process-group=c",
    );
    assert_eq!(ask(&server, "/c/main").value("interval"), "0.0300");
    // Another interpreter has the outer value set again, for all that share the GIL.
    assert_eq!(ask(&server, "/c/late").value("interval"), "0.0200");
    assert_eq!(ask(&server, "/c/main").value("interval"), "0.0200");
}

#[test]
fn the_interval_of_a_section_is_not_that_of_one_interpreter_among_several() {
    let server = server(
        "WSGISwitchInterval 0.02
         <WSGIInterpreterOptions application-group=sub>
             WSGISwitchInterval 0.04
         </WSGIInterpreterOptions>
         <WSGIInterpreterOptions process-group=a>
             WSGISwitchInterval 0.05
         </WSGIInterpreterOptions>
         <WSGIInterpreterOptions application-group=%{GLOBAL} process-group=%{GLOBAL}>
             WSGISwitchInterval 0.06
         </WSGIInterpreterOptions>",
    );
    assert_eq!(ask(&server, "/main").value("interval"), "0.0600");
    let mark = server.log().mark();
    ask(&server, "/sub");
    let line = server.log().wait_for(mark, "WSGI0199");
    assert!(line.contains("sub-interpreter 'sub'"), "{line}");
    // Of two that choose by as many names the later wins.
    assert_eq!(ask(&server, "/a/sub").value("interval"), "0.0500");
    // Loaded as the process started, so that is where the line is.
    server.log().wait_for(testkit::Mark::START, "WSGI0199");
}

#[test]
fn a_directive_that_is_not_about_interpreters_counts_as_if_it_stood_outside() {
    let server = server(
        "<WSGIInterpreterOptions application-group=nobody>
             WSGIScriptAlias /inside ${WSGI}/options.wsgi
             <WSGIInterpreterOptions application-group=inner>
                 WSGIRestrictStdin On
             </WSGIInterpreterOptions>
             WSGIRestrictStdout On
             <IfModule wsgi_module>
                 WSGIRestrictSignal Off
             </IfModule>
         </WSGIInterpreterOptions>
         WSGIScriptAlias /inner ${WSGI}/options.wsgi application-group=inner
         WSGIScriptAlias /nobody ${WSGI}/options.wsgi application-group=nobody",
    );
    for (url, stdin, stdout, signal) in [
        ("/inside", "allowed", "allowed", "True"),
        ("/inner", "restricted", "allowed", "True"),
        ("/nobody", "allowed", "restricted", "ValueError"),
    ] {
        let seen = ask(&server, url);
        assert_eq!(seen.value("stdin"), stdin, "{url}");
        assert_eq!(seen.value("stdout"), stdout, "{url}");
        assert_eq!(seen.value("signal"), signal, "{url}");
    }
}

fn configtest(config: &str) -> testkit::Answer {
    Site::new().config(config).configtest()
}

fn within(head: &str, lines: &str) -> String {
    format!("<WSGIInterpreterOptions{head}>\n{lines}\n</WSGIInterpreterOptions>")
}

#[test]
fn heads_of_sections() {
    for head in [
        "",
        " ",
        " process-group=a",
        " process-group= application-group=",
        " PROCESS-GROUP=a Application-Group=%{GLOBAL}",
        " \"application-group=b c\"",
    ] {
        let answer = configtest(&within(head, "WSGIRestrictStdin On"));
        assert!(answer.success, "{head}: {}", answer.text);
    }
    for (head, named) in [
        (" word", "word"),
        (" application-group=\"b c\"", "c\""),
        (" process-group=a process-group=b", "process-group"),
        (" proces-group=a", "proces-group"),
        (" process-group =a", "process-group"),
        (" =a", ""),
    ] {
        let answer = configtest(&within(head, "WSGIRestrictStdin On"));
        assert!(!answer.success, "{head}");
        assert!(answer.text.contains(named), "{head}: {}", answer.text);
        assert!(
            answer.text.contains("WSGIInterpreterOptions"),
            "{head}: {}",
            answer.text
        );
    }
    let open = "<WSGIInterpreterOptions process-group=a\n</WSGIInterpreterOptions>";
    assert!(!configtest(open).success);
}

#[test]
fn a_wrong_word_inside_is_an_error_at_its_line() {
    for line in [
        "WSGIRestrictStdin yes",
        "WSGISwitchInterval 0",
        "WSGIPerInterpreterGIL yes",
        "NoSuchDirective",
    ] {
        let answer = configtest(&within("", line));
        assert!(!answer.success, "{line}");
        let name = line.split(' ').next().expect("a name");
        assert!(answer.text.contains(name), "{line}: {}", answer.text);
    }
}

#[test]
fn a_section_stands_in_the_main_server() {
    for section in ["VirtualHost *:*", "Directory /", "Location /"] {
        let name = section.split(' ').next().expect("a name");
        let config = format!("<{section}>\n{}\n</{name}>", within("", ""));
        let answer = configtest(&config);
        assert!(!answer.success, "{section}");
        assert!(answer.text.contains("WSGIInterpreterOptions"), "{section}");
    }
}

#[test]
fn intervals() {
    for (words, good) in [
        ("0.005", true),
        ("1", true),
        ("+.5", true),
        ("\" 1\"", true),
        ("0", false),
        ("-1", false),
        ("word", false),
        ("1s", false),
        ("", false),
        ("1 2", false),
    ] {
        let answer = configtest(&format!("WSGISwitchInterval {words}"));
        assert_eq!(answer.success, good, "{words}: {}", answer.text);
        assert!(good || answer.text.contains("WSGISwitchInterval"));
    }
    if !ours("D09") {
        return;
    }
    for word in ["inf", "-inf", "nan", "1e400", "0x10"] {
        assert!(
            !configtest(&format!("WSGISwitchInterval {word}")).success,
            "{word}"
        );
        let option = format!("WSGIDaemonProcess name switch-interval={word}");
        assert!(!configtest(&option).success, "{word}");
    }
}

#[test]
fn free_threading_warns_that_it_has_no_effect() {
    for config in [
        "WSGIFreeThreading On".to_owned(),
        within(" process-group=%{GLOBAL}", "WSGIFreeThreading On"),
    ] {
        let answer = configtest(&config);
        assert!(answer.success, "{}", answer.text);
        assert!(
            answer.text.contains("WSGIFreeThreading On has no effect"),
            "{}",
            answer.text
        );
        assert!(answer.text.contains("WSGI0200"), "{}", answer.text);
    }
    let answer = configtest("WSGIFreeThreading Off");
    assert!(!answer.text.contains("WSGI0200"), "{}", answer.text);
}

/// mod_wsgi takes the directive for the fact, and sets no interval where there is a GIL.
#[test]
fn a_python_with_a_gil_keeps_its_interval_whatever_is_said_of_free_threading() {
    if !ours("D72") {
        return;
    }
    let server = Site::new()
        .script("options.wsgi", OPTIONS)
        .config(
            "WSGISocketPrefix ${ROOT}/logs/wsgi
             WSGIFreeThreading On
             WSGISwitchInterval 0.02
             WSGIDaemonProcess one threads=1 switch-interval=0.03
             WSGIScriptAlias /httpd ${WSGI}/options.wsgi application-group=%{GLOBAL}
             WSGIScriptAlias /group ${WSGI}/options.wsgi process-group=one application-group=%{GLOBAL}",
        )
        .start();
    for (url, interval) in [("/httpd", "0.0200"), ("/group", "0.0300")] {
        assert_eq!(
            environ(&server.get(url)).value("interval"),
            interval,
            "{url}"
        );
    }
}

#[test]
fn free_threading_cannot_be_that_of_one_application_group() {
    let answer = configtest(&within(" application-group=x", "WSGIFreeThreading On"));
    assert!(answer.success, "{}", answer.text);
    assert!(answer.text.contains("WSGI0201"), "{}", answer.text);
}

/// The default engine of a test is that of the system's Python, 3.11 on Debian 12.
#[test]
fn a_gil_for_each_interpreter_needs_python_3_12() {
    let on = "WSGIPerInterpreterGIL On";
    for config in [
        on.to_owned(),
        within(" application-group=x", on),
        format!("WSGIDaemonProcess d\n{}", within(" process-group=d", on)),
    ] {
        let answer = configtest(&config);
        assert!(answer.success, "{}", answer.text);
        assert!(answer.text.contains("WSGI0198"), "{}", answer.text);
        assert!(answer.text.contains("3.12"), "{}", answer.text);
    }
    // The reference warns wherever the directive stands.
    if ours("D72") {
        let answer = configtest(&within(" process-group=nowhere", on));
        assert!(!answer.text.contains("WSGI0198"), "{}", answer.text);
    }
}
