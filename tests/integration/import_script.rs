//! `WSGIImportScript`: which processes load a script when they start, and into which interpreter.

use std::fs;

use testkit::{Httpd, Mark, Site, wait_until};

use crate::apps::answering;

/// Leaves the names of its groups in `data/`.
const TRACE: &str = r"
import mod_wsgi
from pathlib import Path

process = mod_wsgi.process_group or 'httpd'
application = mod_wsgi.application_group or 'main'
(Path(__file__).resolve().parents[1] / 'data' / f'{process}-{application}').touch()
";

fn site() -> Site {
    Site::new().script("job.py", TRACE)
}

/// The traces that were left so far.
fn traces(server: &Httpd) -> Vec<String> {
    let entries = fs::read_dir(server.site().path("data")).expect("data/");
    let mut names: Vec<String> = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn wait_for_traces(server: &Httpd, expected: &[&str]) {
    wait_until(&format!("{expected:?}"), || {
        (traces(server) == expected).then_some(())
    });
}

#[test]
fn it_is_loaded_in_the_children_of_httpd() {
    let server = site()
        .config(
            "WSGIImportScript ${WSGI}/job.py process-group=%{GLOBAL} application-group=%{GLOBAL}
             WSGIImportScript ${WSGI}/job.py application-group=jobs process-group=%{GLOBAL}",
        )
        .start();
    wait_for_traces(&server, &["httpd-jobs", "httpd-main"]);
}

#[test]
fn it_is_loaded_in_the_processes_of_its_group_only() {
    let server = site()
        .script("a.wsgi", &answering("ran"))
        .config(
            "WSGIDaemonProcess one
             WSGIDaemonProcess two
             WSGIScriptAlias /two ${WSGI}/a.wsgi process-group=two
             WSGIScriptAlias /httpd ${WSGI}/a.wsgi
             <VirtualHost *:*>
                 ServerName localhost
                 WSGIImportScript ${WSGI}/job.py process-group=one application-group=jobs
             </VirtualHost>",
        )
        .start();
    wait_for_traces(&server, &["one-jobs"]);
    for url in ["/two", "/httpd"] {
        assert_eq!(server.get(url).text(), "ran");
    }
    assert_eq!(traces(&server), ["one-jobs"]);
}

#[test]
fn a_script_that_fails_keeps_nothing_from_starting() {
    let server = Site::new()
        .script("broken.py", "raise ValueError('not today')\n")
        .script("a.wsgi", &answering("ran"))
        .config(
            "WSGIDaemonProcess one
             WSGIImportScript ${WSGI}/broken.py process-group=one application-group=a
             WSGIImportScript ${WSGI}/missing.py process-group=one application-group=a
             WSGIScriptAlias / ${WSGI}/a.wsgi process-group=one application-group=a",
        )
        .start();
    server.log().wait_for(Mark::START, "ValueError: not today");
    assert_eq!(server.get("/").text(), "ran");
}

/// What goes wrong is told with other ids than when a request loads the script.
#[test]
fn each_failure_has_an_id_of_its_own() {
    for group in ["%{GLOBAL}", "one"] {
        let import = |script: &str| {
            format!(
                "WSGIImportScript ${{WSGI}}/{script}.py process-group={group} application-group=a\n"
            )
        };
        let names = ["missing", "syntax", "exits", "raises", "last"];
        let server = site()
            .script("syntax.py", "def\n")
            .script("exits.py", "import sys\nsys.exit('enough')\n")
            .script("raises.py", "raise ValueError('not today')\n")
            .script("last.py", "print('the last one')\n")
            .config("WSGIDaemonProcess one")
            .config(&names.map(import).concat())
            .start();
        let log = server.log();
        log.wait_for(Mark::START, "the last one");
        for (script, id, text) in [
            (
                "missing",
                "WSGI0106",
                "Could not read or compile WSGI script",
            ),
            (
                "syntax",
                "WSGI0106",
                "Could not read or compile WSGI script",
            ),
            ("exits", "WSGI0108", "SystemExit exception raised"),
            ("raises", "WSGI0110", ""),
            (
                "raises",
                "WSGI0174",
                "ValueError exception raised processing WSGI script",
            ),
        ] {
            let lines = log.matching(Mark::START, id);
            let path = server.site().text_path(&format!("wsgi/{script}.py"));
            let is_it = |line: &&String| line.contains(&path) && line.contains(text);
            let line = lines.iter().find(is_it);
            let line = line.unwrap_or_else(|| panic!("{group} {id} {script}: {lines:#?}"));
            assert!(
                line.contains(":error]") && !line.contains("[client"),
                "{line}"
            );
        }
    }
}

#[test]
fn a_script_for_httpds_own_processes_is_loaded_where_no_application_runs() {
    let server = site()
        .config(
            "WSGIRestrictEmbedded On
             WSGIImportScript ${WSGI}/job.py process-group=%{GLOBAL} application-group=hooks",
        )
        .start();
    wait_for_traces(&server, &["httpd-hooks"]);
}

/// Those of aliases with both groups are in the same list, in the order of the configuration; a
/// directory of scripts is none.
#[test]
fn scripts_are_loaded_in_the_order_in_which_they_are_named() {
    for group in ["%{GLOBAL}", "one"] {
        let groups = format!("process-group={group} application-group=a");
        let named = |name: &str| format!("print('loading {name}.')\n{}", answering(name));
        let server = Site::new()
            .script("first.py", &named("first"))
            .script("third.wsgi", &named("third"))
            .script("second.py", &named("second"))
            .script("scripts/fourth.wsgi", &named("fourth"))
            .config(&format!(
                "WSGISocketPrefix ${{ROOT}}/logs/wsgi
                 WSGIDaemonProcess one
                 StartServers 1
                 WSGIImportScript ${{WSGI}}/first.py {groups}
                 <VirtualHost *:*>
                     ServerName localhost
                     WSGIImportScript ${{WSGI}}/second.py {groups}
                 </VirtualHost>
                 WSGIScriptAlias /third ${{WSGI}}/third.wsgi {groups}
                 WSGIScriptAlias /scripts/ ${{WSGI}}/scripts/ {groups}"
            ))
            .start();
        let log = server.log();
        log.wait_for(Mark::START, "loading third.");
        assert_eq!(server.get("/third").text(), "third", "{group}");
        assert_eq!(
            server.get("/scripts/fourth.wsgi").text(),
            "fourth",
            "{group}"
        );
        let lines = log.matching(Mark::START, "loading ");
        let mut names: Vec<_> = lines
            .iter()
            .filter_map(|line| line.rsplit_once("loading "))
            .map(|(_, name)| name)
            .collect();
        // Each child of httpd loads them.
        names.dedup();
        names.truncate(4);
        assert_eq!(names, ["first.", "second.", "third.", "fourth."], "{group}");
        let failed = log.wait_for(Mark::START, "WSGI0106");
        assert!(failed.contains("/wsgi/scripts/'"), "{failed}");
    }
}
