//! Several Pythons in one httpd: process groups whose `python-home` are of different versions,
//! beside each other and beside embedded mode.

use std::os::unix::fs::symlink;

use testkit::{Httpd, Mark, Site, is_reference, ours};

use crate::apps::{Environ, answering, at_once, environ};
use crate::second_python::SecondPython;

/// Answers with its Python.
const PYTHON: &str = r#"
import json, sys

def application(environ, start_response):
    start_response('200 OK', [])
    return [json.dumps({
        'version': '%d.%d' % sys.version_info[:2],
        'prefix': sys.prefix,
        'base_prefix': sys.base_prefix,
        'group': environ['mod_wsgi.process_group'],
    }).encode()]
"#;

fn ask(server: &Httpd, url: &str) -> Environ {
    environ(&server.get(url))
}

#[test]
fn groups_of_two_pythons_answer_side_by_side_and_beside_embedded_mode() {
    if !ours("D73") {
        return;
    }
    let Some(second) = SecondPython::find() else {
        return;
    };
    let site = second
        .site()
        .script("python.wsgi", PYTHON)
        .config(&second.group("new"))
        .config(
            "WSGIDaemonProcess old threads=8
             WSGIDaemonProcess venv threads=8 python-home=${ROOT}/venv
             WSGIScriptAlias /embedded ${WSGI}/python.wsgi
             WSGIScriptAlias /old ${WSGI}/python.wsgi process-group=old
             WSGIScriptAlias /new ${WSGI}/python.wsgi process-group=new application-group=sub
             WSGIScriptAlias /venv ${WSGI}/python.wsgi process-group=venv application-group=%{GLOBAL}",
        );
    second.add_venv(&site);
    let venv = site.text_path("venv");
    let server = site.start();
    let (major, minor) = second.version;
    let version = format!("{major}.{minor}");

    let check = |server: &Httpd| {
        let embedded = ask(server, "/embedded");
        assert_ne!(embedded.value("version"), version);
        assert_eq!(
            ask(server, "/old").value("version"),
            embedded.value("version")
        );
        for (url, prefix) in [("/new", &second.prefix), ("/venv", &venv)] {
            let seen = ask(server, url);
            assert_eq!(seen.value("version"), version, "{url}");
            assert_eq!(seen.value("prefix"), prefix, "{url}");
            assert_eq!(seen.value("base_prefix"), second.prefix, "{url}");
            assert_eq!(seen.value("group"), &url[1..], "{url}");
        }
    };
    check(&server);
    let urls = ["/embedded", "/old", "/new", "/venv"];
    at_once(32, |number| {
        let url = urls[number % urls.len()];
        let seen = ask(&server, url);
        let is_second = matches!(url, "/new" | "/venv");
        assert_eq!(seen.value("version") == version, is_second, "{url}");
    });
    server.restart_gracefully();
    check(&server);
}

#[test]
fn embedded_mode_runs_the_python_of_its_home() {
    if !ours("D73") {
        return;
    }
    let Some(second) = SecondPython::find() else {
        return;
    };
    let server = second
        .site()
        .script("python.wsgi", PYTHON)
        .config(&format!("WSGIPythonHome {}", second.prefix))
        .config("WSGIScriptAlias / ${WSGI}/python.wsgi")
        .start();
    let seen = ask(&server, "/");
    let (major, minor) = second.version;
    assert_eq!(seen.value("version"), format!("{major}.{minor}"));
    assert_eq!(seen.value("prefix"), second.prefix);
}

#[test]
fn a_home_that_no_engine_is_for_costs_its_group_only() {
    if !ours("D73") {
        return;
    }
    let site = Site::new()
        .script("a.wsgi", &answering("ran"))
        .file("venv/pyvenv.cfg", "home = /usr/bin\nversion = 3.99.1\n")
        .config(
            "WSGIDaemonProcess future python-home=${ROOT}/venv
             WSGIDaemonProcess present
             WSGIScriptAlias /future ${WSGI}/a.wsgi process-group=future
             WSGIScriptAlias /present ${WSGI}/a.wsgi process-group=present
             WSGIScriptAlias /embedded ${WSGI}/a.wsgi",
        );
    let answer = site.configtest();
    assert!(answer.success, "{}", answer.text);
    for named in ["WSGI1232", "\"future\"", "3.99", "apxs/build --python"] {
        assert!(answer.text.contains(named), "{named}: {}", answer.text);
    }
    assert!(!answer.text.contains("\"present\""), "{}", answer.text);
    let server = site.start();
    server.log().wait_for(Mark::START, "WSGI1232");
    assert_eq!(server.get("/future").status, 503);
    for url in ["/present", "/embedded"] {
        assert_eq!(server.get(url).text(), "ran", "{url}");
    }
}

#[test]
fn of_a_home_with_several_pythons_one_is_taken_with_a_warning_unless_it_says_which() {
    if !ours("D73") {
        return;
    }
    let Some(second) = SecondPython::find() else {
        return;
    };
    let (major, minor) = second.version;
    let homes = |site: Site, home: &str| {
        let site = site.file(&format!("{home}/bin/python{major}.{minor}"), "");
        (10..20).fold(site, |site, other| {
            site.file(&format!("{home}/lib/python3.{other}/os.py"), "")
        })
    };
    let site = homes(homes(second.site(), "unclear"), "clear").config(
        "WSGIPythonHome ${ROOT}/unclear
         WSGIDaemonProcess one python-home=${ROOT}/unclear
         WSGIDaemonProcess other python-home=${ROOT}/clear",
    );
    let link = site.path("clear/bin/python3");
    symlink(format!("python{major}.{minor}"), link).expect("a link");
    let answer = site.configtest();
    assert!(answer.success, "{}", answer.text);
    let lines: Vec<_> = answer.text.lines().collect();
    let told = |named: &str| {
        let lines = lines.iter().filter(|line| line.contains("WSGI1302"));
        lines.filter(|line| line.contains(named)).count()
    };
    assert_eq!(told("WSGIPythonHome: "), 1, "{lines:?}");
    assert_eq!(told("process group \"one\""), 1, "{lines:?}");
    assert_eq!(told("process group \"other\""), 0, "{lines:?}");
    assert_eq!(told(&format!("{major}.{minor}")), 2, "{lines:?}");
}

#[test]
fn a_home_that_is_not_there_costs_its_group_only() {
    let server = Site::new()
        .script("a.wsgi", &answering("ran"))
        .config(
            "WSGISocketPrefix ${ROOT}/logs/wsgi
             WSGIDaemonProcess lost python-home=${ROOT}/no-such-venv
             WSGIDaemonProcess present
             WSGIScriptAlias /lost ${WSGI}/a.wsgi process-group=lost
             WSGIScriptAlias /present ${WSGI}/a.wsgi process-group=present",
        )
        .start();
    if is_reference() {
        // The process goes on without Python.
        server.log().expect_alarm("WSGI0028");
        server.log().expect_alarm("WSGI0036");
    }
    server.log().wait_for(Mark::START, "WSGI0100");
    assert_eq!(server.get("/present").text(), "ran");
    if ours("D73") {
        assert_eq!(server.get("/lost").status, 503);
    }
}
