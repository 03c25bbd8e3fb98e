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
