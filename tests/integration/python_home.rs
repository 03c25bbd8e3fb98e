//! `WSGIPythonHome`: which Python runs, and what is said where it cannot.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use testkit::{Mark, Site, ours};

use crate::apps::{answering, environ};
use crate::daemon_site::as_root;
use crate::python_settings::{PYTHON, python};

#[test]
fn python_home_of_a_virtual_environment_is_its_prefix() {
    let base = python("");
    let packages = format!("venv/lib/{}/site-packages", base.value("version"));
    let server = Site::new()
        .script("python.wsgi", &format!("import only_in_venv\n{PYTHON}"))
        .file(&format!("{packages}/only_in_venv.py"), "")
        .file(
            "venv/pyvenv.cfg",
            format!("home = {}/bin\n", base.value("base_prefix")),
        )
        .config(
            "WSGIPythonHome ${ROOT}/venv
             WSGIScriptAlias / ${WSGI}/python.wsgi",
        )
        .start();
    let seen = environ(&server.get("/"));
    assert_eq!(seen.value("prefix"), server.site().text_path("venv"));
    assert_eq!(seen.value("base_prefix"), base.value("base_prefix"));
    assert!(
        seen.value("path")
            .contains(&server.site().text_path(&packages))
    );
}

/// So that `multiprocessing`, for one, starts that.
#[test]
fn the_interpreter_is_the_one_of_the_home() {
    let base = python("").value("base_prefix").to_owned();
    for config in ["", "WSGIDaemonProcess own\nWSGIProcessGroup own\n"] {
        let seen = python(&format!("WSGIPythonHome {base}\n{config}"));
        assert_eq!(seen.value("prefix"), base, "{config}");
        let program = format!("{base}/bin/{}", seen.value("version"));
        let program = fs::canonicalize(program).expect("an interpreter");
        assert_eq!(seen.value("executable"), program.display().to_string());
    }
}

/// A home may be that of several versions, such as `/usr/local`.
#[test]
fn the_interpreter_is_none_of_another_version() {
    let base = python("");
    let library = format!("lib/{}", base.value("version"));
    let home = tempfile::tempdir().expect("a place");
    let at = |name: &str| home.path().join(name);
    for directory in ["bin", "lib"] {
        fs::create_dir(at(directory)).expect("room");
    }
    let own = Path::new(base.value("base_prefix")).join(&library);
    symlink(own, at(&library)).expect("room");
    fs::write(at("bin/python3.2"), "").expect("room");
    symlink("python3.2", at("bin/python3")).expect("room");
    fs::set_permissions(home.path(), Permissions::from_mode(0o755)).expect("it is ours");
    let config = format!("WSGIPythonHome {}", home.path().display());
    let seen = python(&config);
    assert_eq!(seen.value("prefix"), home.path().display().to_string());
    let program = seen.value("executable").to_owned();
    assert!(!program.contains("python3.2"), "{program}");

    if ours("D150") {
        let name = format!("bin/{}", base.value("version"));
        fs::write(at(&name), "").expect("room");
        fs::remove_file(at("bin/python3")).expect("it is there");
        symlink(at(&name), at("bin/python3")).expect("room");
        let own = at(&name).display().to_string();
        assert_eq!(python(&config).value("executable"), own);
    }
}

/// Asserts that there is no Python in httpd's processes, and that the log says so with these ids.
fn check_no_python(site: Site, ids: &[&str]) {
    let server = site
        .script("a.wsgi", &answering("ran"))
        .config("WSGIScriptAlias / ${WSGI}/a.wsgi")
        .start();
    for id in ["WSGI0001", "WSGI0002", "WSGI0035", "WSGI0036"] {
        server.log().expect_alarm(id);
    }
    assert_eq!(server.get("/").status, 500);
    for id in ids.iter().chain(&["WSGI0210"]) {
        server.log().wait_for(Mark::START, id);
    }
    for id in ["WSGI0001", "WSGI0002"] {
        let logged = !server.log().matching(Mark::START, id).is_empty();
        assert_eq!(logged, ids.contains(&id), "{id}");
    }
}

#[test]
fn a_home_that_is_a_file_is_told_of() {
    let site = Site::new()
        .file("home", "no directory")
        .config("WSGIPythonHome ${ROOT}/home");
    check_no_python(site, &["WSGI0101", "WSGI0036", "WSGI0001"]);
}

#[test]
fn a_home_that_the_user_cannot_enter_is_told_of() {
    if !as_root() {
        return;
    }
    let site = Site::new()
        .file("home/bin/python", "")
        .config("WSGIPythonHome ${ROOT}/home");
    site.set_mode("home", 0o700);
    check_no_python(site, &["WSGI0102", "WSGI0036", "WSGI0001"]);
}

#[test]
fn a_python_that_breaks_as_it_starts_is_told_of() {
    let site = Site::new().file("lib/sitecustomize.py", "raise SystemExit(3)\n");
    let library = site.text_path("lib");
    check_no_python(site.env("PYTHONPATH", &library), &["WSGI0036", "WSGI0001"]);
}

/// Python itself is there then.
#[test]
fn a_main_interpreter_that_cannot_be_set_up_is_told_of() {
    let site = Site::new().file(
        "lib/sitecustomize.py",
        "import builtins\nbuiltins.__import__ = None\n",
    );
    let library = site.text_path("lib");
    check_no_python(site.env("PYTHONPATH", &library), &["WSGI0035", "WSGI0002"]);
}
