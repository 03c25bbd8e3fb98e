//! `WSGIPythonHome`: which Python runs, and what is said where it cannot.

use testkit::{Mark, Site};

use crate::apps::{answering, environ};
use crate::daemon_site::is_root;
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
        let program = std::fs::canonicalize(program).expect("an interpreter");
        assert_eq!(seen.value("executable"), program.display().to_string());
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
    if !is_root() {
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
