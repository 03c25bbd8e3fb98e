//! Which modules of Python's library an application cannot take the place of: those that mod_wsgi
//! has imported before the directories of applications are on the path, and no others.

use std::process::Command;

use testkit::Site;

use crate::second_python::{SecondPython, output};

/// Prints which modules of its library Python has from files when it has started and imported what
/// mod_wsgi needs.
const IMPORTING: &str = "
import sys, importlib, threading, logging, signal, traceback

def has_file(name):
    module = sys.modules.get(name)
    return module is not None and module.__spec__ is not None and module.__spec__.has_location

print(*sorted(filter(has_file, sys.stdlib_module_names)))
";

/// Names that an application may well give its modules. Some versions of Python need some of them.
const LIKELY: [&str; 16] = [
    "ast",
    "calendar",
    "codeop",
    "contextlib",
    "copy",
    "dataclasses",
    "dis",
    "email",
    "inspect",
    "json",
    "linecache",
    "queue",
    "textwrap",
    "token",
    "tokenize",
    "types",
];

/// Answers with the program of its Python.
const PROGRAM: &str = "
import sys

def application(environ, start_response):
    start_response('200 OK', [])
    program = '%s/bin/python%d.%d' % (sys.base_prefix, *sys.version_info[:2])
    return [program.encode()]
";

/// Imports what the directory has names of, and answers with those that are not the application's
/// own.
const OWN: &str = "
import mod_wsgi, os, sys

def is_of_library(name):
    return not hasattr(__import__(name), 'own')

names = {file.removesuffix('.py') for file in os.listdir(DIRECTORY) if file.endswith('.py')}
names = ' '.join(sorted(filter(is_of_library, names)))
assert hasattr(mod_wsgi.LogHandler, 'setFormatter')

# As importlib's own finders are called, which others may be in between.
for finder in sys.meta_path:
    for arguments in [(('re', None, None), {}), (('re',), {'path': None, 'target': None}),
                      ((), {'fullname': 're', 'path': None})]:
        finder.find_spec(*arguments[0], **arguments[1])

def application(environ, start_response):
    start_response('200 OK', [])
    return [names.encode()]
";

fn check(site: Site) {
    let own = format!("DIRECTORY = {:?}\n{OWN}", site.text_path("own"));
    let server = site
        .script("program.wsgi", PROGRAM)
        .script("own.wsgi", &own)
        .file("importing.py", IMPORTING)
        .file("own/placeholder", "")
        .config(
            "WSGIPythonPath ${ROOT}/own
             WSGIScriptAlias /program ${WSGI}/program.wsgi
             WSGIScriptAlias /main ${WSGI}/own.wsgi application-group=%{GLOBAL}
             WSGIScriptAlias /sub ${WSGI}/own.wsgi application-group=sub",
        )
        .start();
    let site = server.site();
    let printed = output(
        Command::new(server.get("/program").text())
            .arg("-I")
            .arg(site.path("importing.py")),
    );
    let expected = printed.expect("a Python that can import them");
    for name in expected.split(' ').chain(LIKELY) {
        site.write(&format!("own/{name}.py"), "own = True\n");
    }
    for url in ["/main", "/sub"] {
        assert_eq!(server.get(url).text(), expected, "{url}");
    }
}

#[test]
fn the_default_python() {
    check(Site::new());
}

#[test]
fn the_second_python() {
    if let Some(second) = SecondPython::find() {
        check(second.alone());
    }
}
