//! The manual page of `WSGIScriptAlias`, sentence by sentence. The sentences are quoted at
//! the tests.

use std::fs;

use testkit::{Mpm, Site, wait_until};

use crate::apps::{ENVIRON, WHERE, answering, environ};

/// "behaves in the same manner as the Alias directive, except that it additionally marks the
/// target directory as containing WSGI scripts … that should be processed by mod_wsgi's
/// wsgi-script handler"
#[test]
fn it_maps_like_alias_and_marks_the_directory() {
    let server = Site::new()
        .module("alias")
        .script("scripts/name", ENVIRON)
        .config(
            "Alias /files/ ${WSGI}/scripts/
             WSGIScriptAlias /scripts/ ${WSGI}/scripts/",
        )
        .start();
    assert_eq!(server.get("/files/name").text(), ENVIRON);
    let seen = environ(&server.get("/scripts/name"));
    assert_eq!(
        seen.value("SCRIPT_FILENAME"),
        server.site().text_path("wsgi/scripts/name")
    );
    assert_eq!(seen.value("mod_wsgi.request_handler"), "wsgi-script");
}

/// "or marks the specific file-path as a script"
#[test]
fn it_marks_a_file() {
    let server = Site::new()
        .script("name", ENVIRON)
        .script("other", ENVIRON)
        .config("WSGIScriptAlias /name ${WSGI}/name")
        .start();
    let seen = environ(&server.get("/name"));
    assert_eq!(seen.value("mod_wsgi.request_handler"), "wsgi-script");
    assert_eq!(server.get("/other").status, 404);
}

/// "URLs with a case-sensitive (%-decoded) path beginning with URL-path will be mapped to scripts
/// contained in the indicated directory … `WSGIScriptAlias /wsgi-scripts/ /web/wsgi-scripts/`"
#[test]
fn a_directory_path_contains_the_scripts() {
    let server = Site::new()
        .script("wsgi-scripts/name", ENVIRON)
        .config("WSGIScriptAlias /wsgi-scripts/ ${WSGI}/wsgi-scripts/")
        .start();
    for url in ["/wsgi-scripts/name", "/wsgi%2Dscripts/n%61me"] {
        let seen = environ(&server.get(url));
        assert_eq!(
            seen.value("__file__"),
            server.site().text_path("wsgi/wsgi-scripts/name")
        );
    }
    assert_eq!(server.get("/WSGI-scripts/name").status, 404);
}

/// "This configuration is essentially equivalent to: Alias … SetHandler wsgi-script … Options
/// +ExecCGI"
#[test]
fn the_equivalent_configuration_runs_the_same_script() {
    let server = Site::new()
        .module("alias")
        .script("wsgi-scripts/name", ENVIRON)
        .config(
            "Alias /wsgi-scripts/ ${WSGI}/wsgi-scripts/
             <Location /wsgi-scripts>
             SetHandler wsgi-script
             Options +ExecCGI
             </Location>",
        )
        .start();
    let seen = environ(&server.get("/wsgi-scripts/name"));
    assert_eq!(
        seen.value("__file__"),
        server.site().text_path("wsgi/wsgi-scripts/name")
    );
    assert_eq!(seen.value("SCRIPT_NAME"), "/wsgi-scripts/name");
}

/// "Where the target is a file-path, URLs with a case-sensitive (%-decoded) path beginning with
/// URL-path will be mapped to the script defined by the file-path."
#[test]
fn a_file_path_is_the_script_of_all_urls_below() {
    let server = Site::new()
        .script("name", ENVIRON)
        .config("WSGIScriptAlias /name ${WSGI}/name")
        .start();
    for (url, path_info) in [("/name", ""), ("/n%61me/p", "/p")] {
        let seen = environ(&server.get(url));
        assert_eq!(seen.value("__file__"), server.site().text_path("wsgi/name"));
        assert_eq!(seen.value("PATH_INFO"), path_info);
    }
    assert_eq!(server.get("/Name").status, 404);
}

/// "avoid placing WSGI scripts under the DocumentRoot in order to avoid accidentally revealing
/// their source code … multiple URL-paths can map to the same filesystem location, potentially
/// bypassing the WSGIScriptAlias"
#[test]
fn below_the_document_root_another_url_reveals_the_source() {
    let source = answering("ran");
    let server = Site::new()
        .file("www/wsgi-scripts/name", &source)
        .script("outside", &source)
        .config(
            "WSGIScriptAlias /bypassed ${WWW}/wsgi-scripts/name
             WSGIScriptAlias /outside ${WSGI}/outside",
        )
        .start();
    assert_eq!(server.get("/bypassed").text(), "ran");
    assert_eq!(server.get("/wsgi-scripts/name").text(), source);
    assert_eq!(server.get("/outside").text(), "ran");
}

/// "do not use WSGIScriptAlias. Instead, use <Directory>, SetHandler and Options"
#[test]
fn a_directory_section_protects_the_source_under_every_url() {
    let server = Site::new()
        .module("alias")
        .file("www/wsgi-scripts/name", answering("ran"))
        .config(
            "Alias /another ${WWW}/wsgi-scripts
             <Directory ${WWW}/wsgi-scripts>
             SetHandler wsgi-script
             Options ExecCGI
             </Directory>",
        )
        .start();
    for url in ["/wsgi-scripts/name", "/another/name"] {
        assert_eq!(server.get(url).text(), "ran", "{url}");
    }
}

/// "process-group … If the name is set to be %{GLOBAL} the process group name will be set to the
/// empty string … always be executed within the context of the standard Apache child processes …
/// run as the user that Apache would normally run as"
#[test]
fn the_global_process_group_is_the_child_of_httpd() {
    let server = Site::new()
        .script("where", WHERE)
        .config("WSGIScriptAlias /where ${WSGI}/where process-group=%{GLOBAL}")
        .start();
    let seen = environ(&server.get("/where"));
    assert_eq!(seen.value("process_group"), "");
    let child = server
        .children()
        .into_iter()
        .find(|child| child.pid.to_string() == seen.value("pid"))
        .expect("a child of httpd");
    assert_eq!(seen.value("uid"), child.user().to_string());
}

/// "All WSGI applications within the same application group will execute within the context of
/// the same Python sub interpreter of the process handling the request."
#[test]
fn an_application_group_is_an_interpreter() {
    let server = Site::new()
        .script("one", WHERE)
        .script("two", WHERE)
        .config(
            "WSGIScriptAlias /one ${WSGI}/one application-group=shared
             WSGIScriptAlias /two ${WSGI}/two application-group=shared
             WSGIScriptAlias /other ${WSGI}/two application-group=other",
        )
        .start();
    let one = environ(&server.get("/one"));
    let two = environ(&server.get("/two"));
    let other = environ(&server.get("/other"));
    assert_eq!(one.value("application_group"), "shared");
    assert_eq!(one.value("interpreter"), two.value("interpreter"));
    assert_eq!((one.value("counted"), two.value("counted")), ("1", "2"));
    assert_ne!(one.value("interpreter"), other.value("interpreter"));
    assert_eq!(other.value("counted"), "1");
    assert_eq!(one.value("pid"), other.value("pid"));
}

/// "application-group … %{GLOBAL} the application group will be set to the empty string … always
/// be executed within the context of the first interpreter created by Python"
#[test]
fn the_global_application_group_is_the_first_interpreter() {
    let server = Site::new()
        .script("where", WHERE)
        .config(
            "WSGIScriptAlias /global ${WSGI}/where application-group=%{GLOBAL}
             WSGIScriptAlias /other ${WSGI}/where application-group=other",
        )
        .start();
    let global = environ(&server.get("/global"));
    let other = environ(&server.get("/other"));
    assert_eq!(global.value("application_group"), "");
    assert_eq!(global.value("interpreter"), global.value("main"));
    assert_ne!(other.value("interpreter"), other.value("main"));
}

/// "If both process-group and application-group options are set, the WSGI script file will be
/// pre-loaded when the process it is to run in is started, rather than being lazily loaded on the
/// first request."
#[test]
fn with_both_groups_the_script_is_loaded_when_the_process_starts() {
    let loaded = "import os\n\
                  from pathlib import Path\n\
                  data = Path(__file__).resolve().parents[1] / 'data'\n\
                  (data / (Path(__file__).name + '-' + str(os.getpid()))).touch()\n";
    let source = format!("{loaded}{}", answering("ran"));
    let server = Site::new()
        .mpm(Mpm::Prefork)
        .script("eager", &source)
        .script("lazy", &source)
        .config(
            "WSGIScriptAlias /eager ${WSGI}/eager process-group=%{GLOBAL} application-group=a
             WSGIScriptAlias /lazy ${WSGI}/lazy application-group=a
             StartServers 3",
        )
        .start();
    let children = wait_until("three children", || {
        Some(server.children()).filter(|children| children.len() == 3)
    });
    for child in children {
        let trace = server.site().path(&format!("data/eager-{}", child.pid));
        wait_until("the script to be loaded", || trace.exists().then_some(()));
    }
    let files = fs::read_dir(server.site().path("data")).expect("a directory");
    let lazy = files
        .flatten()
        .filter(|file| file.file_name().to_string_lossy().contains("lazy"));
    assert_eq!(lazy.count(), 0);
    assert_eq!(server.get("/lazy").text(), "ran");
}
