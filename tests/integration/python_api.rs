//! The names of the module `mod_wsgi`, and that docs/python.md tells of them all.

use std::collections::BTreeSet;

use rstest::rstest;
use testkit::{Httpd, Mpm, Request, Site, is_reference, ours};

use crate::wsgi_site::{Mode, app};

const PAGE: &str = include_str!("../../docs/python.md");

/// The names in the first column of the table about the module.
fn documented() -> BTreeSet<String> {
    let mut sections = PAGE.split("\n## ");
    let section = sections.find(|section| section.starts_with("`mod_wsgi`\n"));
    let section = section.expect("a section");
    let cells = section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    let names = cells.flat_map(|cell| cell.split("`, `"));
    names
        .map(|name| {
            name.trim_end_matches('`')
                .split('(')
                .next()
                .unwrap_or_default()
        })
        .map(str::to_owned)
        .collect()
}

fn answer(mode: Mode, name: &str, expression: &str) -> String {
    let server = mode.server();
    let source = format!(
        "import apache, mod_wsgi, sys
def application(environ, start_response):
    start_response('200 OK', [])
    return [str({expression}).encode()]
"
    );
    server.get(&app(&server, name, &source)).text()
}

#[rstest]
fn every_name_is_documented(#[values(Mode::Embedded, Mode::Daemon)] mode: Mode) {
    let names = answer(
        mode,
        "names",
        "' '.join(name for name in dir(mod_wsgi) if not name.startswith('__'))",
    );
    let mut names: BTreeSet<String> = names.split(' ').map(str::to_owned).collect();
    if is_reference() {
        names.insert("implementation_version".to_owned());
    }
    assert_eq!(names, documented());
}

#[rstest]
fn an_import_of_everything_brings_every_name(#[values(Mode::Embedded, Mode::Daemon)] mode: Mode) {
    const EVERYTHING: &str = "
before = set(globals())
from mod_wsgi import *
names = set(globals()) - before - {'before'}
import mod_wsgi

def application(environ, start_response):
    start_response('200 OK', [])
    public = {name for name in dir(mod_wsgi) if not name.startswith('_')}
    same = all(globals()[name] is getattr(mod_wsgi, name) for name in names)
    return [repr([sorted(public ^ names), same, hasattr(mod_wsgi, '__all__'),
                  issubclass(LogHandler, object)]).encode()]
";
    let server = mode.server();
    let url = app(&server, "everything", EVERYTHING);
    assert_eq!(server.get(&url).text(), "[[], True, False, True]");
}

#[rstest]
fn our_own_version_stands_beside_the_compatible_one(
    #[values(Mode::Embedded, Mode::Daemon)] mode: Mode,
) {
    assert_eq!(answer(mode, "version", "mod_wsgi.version"), "(6, 1, 1)");
    if ours("D81") {
        let own = answer(mode, "own", "mod_wsgi.implementation_version");
        assert_eq!(own, env!("CARGO_PKG_VERSION"));
    }
}

/// Each module of Python's library takes memory in every interpreter of every process.
#[rstest]
fn little_is_imported_before_it_is_needed(#[values(Mode::Embedded, Mode::Daemon)] mode: Mode) {
    if !ours("D113") {
        return;
    }
    const IMPORTED: &str = "
import sys
from mod_wsgi import version
imported = [name for name in ('logging', 're', 'signal', 'traceback') if name in sys.modules]

def application(environ, start_response):
    start_response('200 OK', [])
    return [repr(imported).encode()]
";
    let server = mode.site().script("imported.wsgi", IMPORTED).start();
    assert_eq!(server.get("/imported.wsgi").text(), "[]");
}

#[rstest]
fn apache_tells_of_httpd(#[values(Mode::Embedded, Mode::Daemon)] mode: Mode) {
    let names = "sorted(name for name in dir(apache) if not name.startswith('__'))";
    assert_eq!(
        answer(mode, "apache", names),
        "['build_date', 'description', 'maximum_processes', 'mpm_name', 'threads_per_process', \
         'version']"
    );
    let facts = answer(
        mode,
        "facts",
        "(apache.version[:2], 'Apache/2.4' in apache.description, apache.maximum_processes > 0, \
          apache.threads_per_process, apache is sys.modules['apache'])",
    );
    assert_eq!(facts, "((2, 4), True, True, 16, True)");
}

#[test]
fn the_numbers_are_those_of_the_group_or_of_the_mpm() {
    const NUMBERS: &str = "
import apache, mod_wsgi

def application(environ, start_response):
    start_response('200 OK', [])
    return [repr([mod_wsgi.process_group, mod_wsgi.application_group, mod_wsgi.maximum_processes,
                  mod_wsgi.threads_per_process, apache.maximum_processes,
                  apache.threads_per_process, apache.mpm_name]).encode()]
";
    let server = Site::new()
        .mpm(Mpm::Worker)
        .script("numbers.wsgi", NUMBERS)
        .config(
            "ServerLimit 3
             ThreadsPerChild 5
             MaxRequestWorkers 15
             WSGISocketPrefix ${ROOT}/logs/wsgi
             WSGIDaemonProcess several processes=2 threads=7
             WSGIDaemonProcess single threads=1
             WSGIScriptAlias /embedded ${WSGI}/numbers.wsgi application-group=%{GLOBAL}
             WSGIScriptAlias /several ${WSGI}/numbers.wsgi process-group=several application-group=own
             WSGIScriptAlias /single ${WSGI}/numbers.wsgi process-group=single",
        )
        .start();
    for (url, expected) in [
        ("/embedded", "['', '', 3, 5, 3, 5, 'worker']"),
        ("/several", "['several', 'own', 2, 7, 3, 5, 'worker']"),
        (
            "/single",
            "['single', 'localhost|/single', 1, 1, 3, 5, 'worker']",
        ),
    ] {
        let request = Request::get(url).header("Host", "localhost");
        let found = server.send(&request).text();
        if ours("D100") {
            assert_eq!(found, expected, "{url}");
        } else {
            // How many of the three it knows of depends on how it started.
            let found = found
                .replace(" 1, 5,", " 3, 5,")
                .replace(" 2, 5,", " 3, 5,");
            assert_eq!(found, expected, "{url}");
        }
    }
}

#[rstest]
fn request_timeout_is_an_exception_of_its_own_in_each_interpreter(
    #[values(Mode::Embedded, Mode::Daemon)] mode: Mode,
) {
    let bases = "(mod_wsgi.RequestTimeout.__bases__, mod_wsgi.RequestTimeout.__module__, \
                  mod_wsgi.RequestTimeout.__name__)";
    assert_eq!(
        answer(mode, "bases", bases),
        "((<class 'BaseException'>,), 'mod_wsgi', 'RequestTimeout')"
    );
    // Each script has an interpreter of its own.
    let [first, second] = ["first", "second"].map(|name| {
        let own =
            "setattr(mod_wsgi.RequestTimeout, 'own', __file__) or mod_wsgi.RequestTimeout.own";
        assert!(answer(mode, name, own).ends_with(&format!("/{name}.wsgi")));
        answer(
            mode,
            &format!("{name}-seen"),
            "hasattr(mod_wsgi.RequestTimeout, 'own')",
        )
    });
    assert_eq!([first, second], ["False", "False"]);
}

#[rstest]
fn objects_name_their_classes(#[values(Mode::Embedded, Mode::Daemon)] mode: Mode) {
    let kinds = "[type(thing).__module__ + '.' + type(thing).__qualname__ for thing in \
                 (environ['wsgi.input'], environ['wsgi.errors'].buffer, mod_wsgi.FileWrapper(1))] \
                 + [mod_wsgi.LogHandler.__mro__[1].__module__, callable(start_response)]";
    assert_eq!(
        answer(mode, "kinds", kinds),
        "['mod_wsgi.Input', 'mod_wsgi.Log', 'mod_wsgi.FileWrapper', 'logging', True]"
    );
}

/// The package that is on PyPI can be imported where the built-in module is: its submodules are
/// there, what it defines itself is not.
#[rstest]
fn a_package_of_the_same_name_lends_its_submodules(
    #[values(Mode::Embedded, Mode::Daemon)] mode: Mode,
) {
    const IMPORTING: &str = "
import mod_wsgi, mod_wsgi.inner
from mod_wsgi import version

def application(environ, start_response):
    start_response('200 OK', [])
    return [repr([version, mod_wsgi.inner.here, hasattr(mod_wsgi, 'own'),
                  hasattr(mod_wsgi, '__path__')]).encode()]
";
    for package in ["own = 1\n", "own = 1\nversion = 'another'\n"] {
        let server = with_package(mode, package, IMPORTING);
        let answer = server.get("/asking.wsgi").text();
        assert_eq!(answer, "[(6, 1, 1), 'inner', False, True]", "{package}");
    }
}

#[rstest]
fn a_package_of_that_name_that_fails_keeps_nobody_from_serving(
    #[values(Mode::Embedded, Mode::Daemon)] mode: Mode,
) {
    const ASKING: &str = "
import mod_wsgi

def application(environ, start_response):
    start_response('200 OK', [])
    return [repr(mod_wsgi.version).encode()]
";
    for package in [
        "raise ValueError('of the package')\n",
        "def\n",
        "import no_such\n",
    ] {
        let server = with_package(mode, package, ASKING);
        assert_eq!(server.get("/asking.wsgi").text(), "(6, 1, 1)", "{package}");
    }
}

/// A server with a package `mod_wsgi` on Python's path.
fn with_package(mode: Mode, package: &str, script: &str) -> Httpd {
    let site = mode.site();
    let libs = site.text_path("libs");
    site.env("PYTHONPATH", &libs)
        .file("libs/mod_wsgi/__init__.py", package)
        .file("libs/mod_wsgi/inner.py", "here = 'inner'\n")
        .script("asking.wsgi", script)
        .start()
}

/// In httpd's processes a module `apache` of somebody else is used, in those of groups never.
#[rstest]
fn a_module_apache_on_the_path_is_used_in_embedded_mode(
    #[values(Mode::Embedded, Mode::Daemon)] mode: Mode,
) {
    const ASKING: &str = "
import apache

def application(environ, start_response):
    start_response('200 OK', [])
    return [repr([getattr(apache, 'own', None), apache.version[:2]]).encode()]
";
    let path = "${ROOT}/libs";
    let (path, expected) = match mode {
        Mode::Embedded => (format!("WSGIPythonPath {path}"), "['own', (2, 4)]"),
        Mode::Daemon => (
            format!("WSGIDaemonProcess with-path python-path={path}\nWSGIProcessGroup with-path"),
            "[None, (2, 4)]",
        ),
    };
    let server = mode
        .site()
        .config(&path)
        .file("libs/apache.py", "own = 'own'\nversion = 'of its own'\n")
        .script("asking.wsgi", ASKING)
        .start();
    assert_eq!(server.get("/asking.wsgi").text(), expected);
}
