//! Which program a process of a group is: Python's own, where that has all of Python in it, or else
//! ours, with Python as a library.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::{Httpd, Mark, Site, copy_of_module, is_reference, module_under_test, ours};

use crate::apps::answering;
use crate::daemon_site::as_root;

/// What a process says of itself, and what one says that it starts.
const PROGRAM: &str = r#"
import ctypes, os, subprocess, sys

class Library(ctypes.Structure):
    _fields_ = [('address', ctypes.c_void_p), ('name', ctypes.c_char_p)]

def libraries():
    names = []
    see = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(Library), ctypes.c_size_t, ctypes.c_void_p)
    own = see(lambda library, size, data: names.append(library[0].name.decode()) or 0)
    ctypes.CDLL(None).dl_iterate_phdr(own, None)
    return names

def application(environ, start_response):
    with open('/proc/self/maps') as maps:
        library = '/libpython' in maps.read()
    preloaded = subprocess.check_output('echo "$LD_PRELOAD"', shell=True, text=True)
    own = ctypes.pythonapi.Py_GetVersion
    own.restype = ctypes.c_char_p
    start_response('200 OK', [])
    said = {
        'program': os.readlink('/proc/self/exe'),
        'library': library,
        'environment': os.environ.get('LD_PRELOAD'),
        'child': preloaded.strip(),
        'version': own().decode() == sys.version,
        'arguments': open('/proc/self/cmdline').read().rstrip('\0'),
        'nameless': any(name.startswith('/proc/') for name in libraries()),
    }
    return ['\n'.join(f'{name}={value}' for name, value in said.items()).encode()]
"#;

/// Both modes, as far as the tests here need them.
const BOTH: &str = "
    WSGISocketPrefix ${ROOT}/logs/wsgi
    WSGIDaemonProcess one
    WSGIScriptAlias /group ${WSGI}/program.wsgi process-group=one application-group=%{GLOBAL}
    WSGIScriptAlias /httpd ${WSGI}/program.wsgi process-group=%{GLOBAL} application-group=%{GLOBAL}";

/// The tag of the Python that is used when no home is named: `cp311`.
pub(crate) fn tag(module: &Path) -> String {
    let engine = fs::read_link(module.with_file_name("mod_wsgi").join("wsgi-engine.so"));
    let engine = engine.expect("a default engine");
    let name = engine.file_name().and_then(|name| name.to_str());
    let tag = name.and_then(|name| name.strip_prefix("wsgi-engine-")?.strip_suffix(".so"));
    tag.expect("an engine's name").to_owned()
}

/// What stands beside the engines of a module.
fn beside(module: &Path, name: &str) -> PathBuf {
    module.with_file_name("mod_wsgi").join(name)
}

/// Python's own program, which processes of a group are to be; `None` where Python is built as a
/// library only.
pub(crate) fn program(module: &Path) -> Option<PathBuf> {
    let program = beside(module, &format!("python-{}", tag(module)));
    let program = program.canonicalize().ok();
    let is_whole = system_python().is_some_and(|whole| whole == tag(module));
    assert!(program.is_some() || !is_whole, "it was not linked");
    program
}

/// The tag of `/usr/bin/python3`, if all of Python is in that program.
fn system_python() -> Option<String> {
    const TAG: &str = "import sys; tag = 'cp%d%d' % sys.version_info[:2]; \
                       print('' if 'libpython' in open('/proc/self/maps').read() else tag)";
    let output = Command::new("/usr/bin/python3").args(["-Ic", TAG]).output();
    let tag = String::from_utf8(output.ok()?.stdout).ok()?;
    Some(tag.trim().to_owned()).filter(|tag| !tag.is_empty())
}

/// That Python as a library.
fn library(module: &Path) -> PathBuf {
    beside(module, &format!("libpython-{}.so", tag(module)))
}

/// A value of what a process has said.
fn value(server: &Httpd, url: &str, name: &str) -> String {
    let answer = server.get(url);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let text = answer.text();
    let mut lines = text.lines().filter_map(|line| line.split_once('='));
    let line = lines.find(|(found, _)| *found == name);
    line.expect("it is said").1.to_owned()
}

#[test]
fn a_process_of_a_group_is_pythons_own_program() {
    if !ours("D212") {
        return;
    }
    let module = module_under_test();
    let Some(python) = program(module) else {
        assert!(library(module).exists(), "one of them is there");
        return;
    };
    let server = Site::new()
        .script("program.wsgi", PROGRAM)
        .config(BOTH)
        .start();
    let said = |name| value(&server, "/group", name);
    assert_eq!(Path::new(&said("program")), python);
    assert_eq!(said("library"), "False", "all of Python is in the program");
    assert_eq!(said("arguments"), "(wsgi:one)");
    assert_eq!(value(&server, "/httpd", "library"), "True");
}

/// What an application sees of its process is as it is everywhere.
#[test]
fn what_makes_python_a_process_of_a_group_cannot_be_seen() {
    for others in [
        None,
        Some(""),
        Some("libm.so.6"),
        Some("libm.so.6:libdl.so.2"),
    ] {
        let mut site = Site::new().script("program.wsgi", PROGRAM).config(BOTH);
        if let Some(others) = others {
            site = site.env("LD_PRELOAD", others);
        }
        let server = site.start();
        for url in ["/group", "/httpd"] {
            let said = |name| value(&server, url, name);
            assert_eq!(said("environment"), others.unwrap_or("None"), "{url}");
            assert_eq!(said("child"), others.unwrap_or_default(), "{url}");
            assert_eq!(said("version"), "True", "{url}");
            assert_eq!(said("nameless"), "False", "{url}");
        }
        if !is_reference()
            && let Some(python) = program(module_under_test())
        {
            assert_eq!(Path::new(&value(&server, "/group", "program")), python);
        }
    }
}

/// Python's `main` would run what is installed with the rights that the process still has.
#[test]
fn a_program_into_which_nothing_is_loaded_runs_nothing_of_python() {
    const TRACE: &str = "import os\nopen(f\"{os.environ['DATA']}/{os.getuid()}\", 'w').close()\n";
    if !ours("D212") || !as_root() {
        return;
    }
    let place = tempfile::tempdir().expect("a place");
    let module = copy_of_module(place.path());
    if program(&module).is_none() {
        return;
    }
    fs::write(beside(&module, "mod_wsgi-worker.so"), "").expect("it is ours");

    let site = Site::new()
        .subject(&module)
        .script("program.wsgi", PROGRAM)
        .file("path/sitecustomize.py", TRACE)
        .config(BOTH);
    let (data, path) = (site.text_path("data"), site.text_path("path"));
    let server = site.env("DATA", &data).env("PYTHONPATH", &path).start();
    assert_eq!(value(&server, "/group", "library"), "True");
    server.log().expect_alarm("WSGI1240");
    server.log().wait_for(Mark::START, "WSGI1240");
    let traces = fs::read_dir(&data).expect("it is there").flatten();
    let users: Vec<_> = traces.map(|trace| trace.file_name()).collect();
    assert!(
        !users.is_empty() && !users.contains(&"0".into()),
        "{users:?}"
    );
}

/// The system loads nothing of ours into a program that gives rights to whoever runs it.
#[test]
fn a_program_that_gives_rights_is_left_alone() {
    if !ours("D212") || !as_root() {
        return;
    }
    let place = tempfile::tempdir().expect("a place");
    let module = copy_of_module(place.path());
    let Some(python) = program(&module) else {
        return;
    };
    let link = beside(&module, &format!("python-{}", tag(&module)));
    fs::remove_file(&link).expect("it was there");
    fs::copy(python, &link).expect("room");
    chown(&link, None, Some(1)).expect("we are root");
    fs::set_permissions(&link, fs::Permissions::from_mode(0o2755)).expect("it is ours");

    let site = Site::new().subject(&module);
    let server = site.script("program.wsgi", PROGRAM).config(BOTH).start();
    let program = value(&server, "/group", "program");
    assert!(program.ends_with("/mod_wsgi-daemon"), "{program}");
    assert_eq!(value(&server, "/group", "library"), "True");
    server.log().expect_alarm("WSGI1240");
    let line = server.log().wait_for(Mark::START, "WSGI1240");
    assert!(line.contains("set-user-ID bits or capabilities"), "{line}");
}

/// As Python is built unless somebody asks for more, and as many programs that install Pythons have
/// it.
#[test]
fn a_python_without_a_shared_library_serves_in_process_groups() {
    if !ours("D212") {
        return;
    }
    let place = tempfile::tempdir().expect("a place");
    let module = copy_of_module(place.path());
    if program(&module).is_none() {
        return;
    }
    fs::remove_file(library(&module)).expect("it was there");

    let server = Site::new()
        .subject(&module)
        .script("program.wsgi", &answering("ran"))
        .config(BOTH)
        .start();
    assert_eq!(server.get("/group").text(), "ran");
    assert_eq!(server.get("/httpd").status, 500);
    server
        .log()
        .wait_for(Mark::START, "no shared library of Python");
    server.log().expect_alarm("no shared library of Python");
}

/// `configtest` says which directive cannot have its way, and the first is enough.
#[test]
fn what_cannot_run_without_a_shared_library_is_told_by_configtest() {
    if !ours("D212") {
        return;
    }
    let place = tempfile::tempdir().expect("a place");
    let module = copy_of_module(place.path());
    let told = |lines: &str| {
        let site = Site::new().subject(&module);
        let site = site.script("a.wsgi", &answering("ran")).config(lines);
        let answer = site.configtest();
        assert!(answer.success, "{}", answer.text);
        let mut lines = answer.text.lines().map(str::to_owned);
        lines.find(|line| line.contains("WSGI1376"))
    };
    let nothing = "WSGIDaemonProcess one
         WSGIScriptAlias /group ${WSGI}/a.wsgi process-group=one
         WSGIImportScript ${WSGI}/a.wsgi process-group=one application-group=%{GLOBAL}";
    let cases = [
        ("WSGIScriptAlias / ${WSGI}/a.wsgi", "WSGIScriptAlias /"),
        (
            "WSGIScriptAlias / ${WSGI}/a.wsgi process-group=%{GLOBAL}",
            "WSGIScriptAlias /",
        ),
        (
            "WSGIImportScript ${WSGI}/a.wsgi process-group=%{GLOBAL} application-group=%{GLOBAL}",
            "WSGIImportScript",
        ),
        (
            "WSGIHandlerScript own ${WSGI}/a.wsgi",
            "WSGIHandlerScript own",
        ),
        (
            "WSGIRestrictEmbedded On
             <Location />\nWSGIAccessScript ${WSGI}/a.wsgi\n</Location>",
            "WSGIAccessScript",
        ),
    ];
    for (lines, _) in cases {
        assert_eq!(told(lines), None, "there is a library still");
    }
    fs::remove_file(library(&module)).expect("it was there");
    for (lines, directive) in cases {
        let lines = format!("{nothing}\n{lines}");
        let line = told(&lines).unwrap_or_else(|| panic!("{lines}"));
        for part in [directive, "no shared library", "--enable-shared"] {
            assert!(line.contains(part), "{lines}: {line}");
        }
    }
    let several = told("WSGIScriptAlias /a ${WSGI}/a.wsgi\nWSGIScriptAlias /b ${WSGI}/a.wsgi");
    assert!(several.is_some_and(|line| line.contains(", and 1 more")));
    for lines in [
        "",
        // Who is asked for it may be in the group.
        "WSGIScriptAlias / ${WSGI}/a.wsgi
         <Location />\nWSGIProcessGroup one\n</Location>",
        "WSGIRestrictEmbedded On
         WSGIScriptAlias / ${WSGI}/a.wsgi",
    ] {
        assert_eq!(told(&format!("{nothing}\n{lines}")), None, "{lines}");
    }
}
