//! The Python of a process group: its home, its path, and what its options set in it.

use std::os::unix::fs::symlink;

use testkit::{Mark, Site, ours};

use crate::daemon_site::{SELF, told};

#[test]
fn python() {
    let own = told("switch-interval=0.25 python-eggs=/var/cache/eggs python-path=/usr/share");
    assert_eq!(own.value("switch"), "0.25");
    assert_eq!(own.value("eggs"), "/var/cache/eggs");
    assert_eq!(own.value("path"), "/usr/share");
}

/// Each directory of it is a site directory, and `WSGIPythonPath` is for httpd's own processes.
#[test]
fn the_python_path_is_the_groups() {
    let script = "import sys\n\ndef application(environ, start_response):\n    \
                  start_response('200 OK', [])\n    return [':'.join(sys.path).encode()]\n";
    let server = Site::new()
        .script("path.wsgi", script)
        .file("one/more.pth", "../further\n")
        .file("further/module.py", "")
        .file("two/module.py", "")
        .file("global/module.py", "")
        .config(
            "WSGIPythonPath ${ROOT}/global
             WSGIDaemonProcess own python-path=${ROOT}/one:${ROOT}/two
             WSGIDaemonProcess other
             WSGIScriptAlias /main ${WSGI}/path.wsgi process-group=own application-group=%{GLOBAL}
             WSGIScriptAlias /sub ${WSGI}/path.wsgi process-group=own application-group=sub
             WSGIScriptAlias /other ${WSGI}/path.wsgi process-group=other application-group=sub
             WSGIScriptAlias /httpd ${WSGI}/path.wsgi application-group=%{GLOBAL}",
        )
        .start();
    let at = |name: &str| server.site().text_path(name);
    let expected = [at("one"), at("further"), at("two")].join(":");
    for url in ["/main", "/sub"] {
        let path = server.get(url).text();
        assert!(path.starts_with(&format!("{expected}:")), "{url}: {path}");
    }
    let own = [at("one"), at("global")];
    let other = server.get("/other").text();
    assert!(!own.iter().any(|own| other.contains(own)), "{other}");
    assert!(server.get("/httpd").text().starts_with(&at("global")));
}

#[test]
fn home_comes_before_the_python_path() {
    let own = told("home=/usr/lib python-path=/usr/share");
    let first = own.value("path");
    // mod_wsgi puts it before as well, whatever its manual says.
    assert_eq!(first, "/usr/lib");
}

/// It is as it was written: the release that a link leads to is for each import to find. And it
/// comes first whatever sections add; what `.pth` files in it say is for those who name it in a
/// path.
#[test]
fn home_is_at_the_front_of_the_path_as_it_is_written() {
    let script = "import sys\n\ndef application(environ, start_response):\n    \
                  start_response('200 OK', [])\n    return [':'.join(sys.path[:3]).encode()]\n";
    let site = Site::new()
        .script("path.wsgi", script)
        .file("releases/a:1/more.pth", "../../other\n")
        .file("other/module.py", "")
        .file("section/module.py", "")
        .config(
            "WSGIDaemonProcess own home=${ROOT}/current:1 python-path=/usr/share
             <WSGIInterpreterOptions process-group=own>
                 WSGIPythonPath ${ROOT}/section
             </WSGIInterpreterOptions>
             WSGIScriptAlias /main ${WSGI}/path.wsgi process-group=own application-group=%{GLOBAL}
             WSGIScriptAlias /sub ${WSGI}/path.wsgi process-group=own application-group=sub",
        );
    symlink(site.path("releases/a:1"), site.path("current:1")).expect("a link");
    let (home, section) = (site.text_path("current:1"), site.text_path("section"));
    let server = site.start();
    for url in ["/main", "/sub"] {
        let expected = format!("{home}:{section}:/usr/share");
        assert_eq!(server.get(url).text(), expected, "{url}");
    }
}

#[test]
fn a_python_home_that_is_none_costs_its_group_only() {
    // mod_wsgi starts its processes without a Python, and answers 500.
    if !ours("D64") {
        return;
    }
    let site = Site::new()
        .script("self.wsgi", SELF)
        .file("empty/README", "no Python here");
    let server = site
        .config(
            "WSGIDaemonProcess own
             WSGIDaemonProcess missing python-home=${ROOT}/nowhere
             WSGIDaemonProcess empty python-home=${ROOT}/empty
             WSGIApplicationGroup %{GLOBAL}
             WSGIScriptAlias /own ${WSGI}/self.wsgi process-group=own
             WSGIScriptAlias /missing ${WSGI}/self.wsgi process-group=missing
             WSGIScriptAlias /empty ${WSGI}/self.wsgi process-group=empty",
        )
        .start();
    for (group, cause) in [("missing", "nowhere"), ("empty", "pyvenv.cfg")] {
        let said = server.log().wait_for(
            Mark::START,
            &format!("process group '{group}' did not start"),
        );
        assert!(said.contains("WSGI1206") && said.contains(cause), "{said}");
        let response = server.get(&format!("/{group}"));
        assert_eq!(response.head.status, 503, "{group}");
        assert!(response.header("Retry-After").is_some(), "{group}");
    }
    assert_eq!(server.get("/own").head.status, 200);
    let dump = server
        .log()
        .matching(Mark::START, "Could not find platform");
    assert!(dump.is_empty(), "{dump:?}");
}

#[test]
fn a_python_without_an_engine_costs_its_group_only() {
    if !ours("D64") {
        return;
    }
    let site = Site::new()
        .script("self.wsgi", SELF)
        .file("strange/pyvenv.cfg", "home = /usr/bin\nversion = 3.99.1\n")
        .config(
            "WSGIDaemonProcess own
             WSGIDaemonProcess strange python-home=${ROOT}/strange
             WSGIApplicationGroup %{GLOBAL}
             WSGIScriptAlias /own ${WSGI}/self.wsgi process-group=own
             WSGIScriptAlias /strange ${WSGI}/self.wsgi process-group=strange",
        );
    let answer = site.configtest();
    assert!(answer.success, "{}", answer.text);
    for part in ["WSGI1232", "3.99", "apxs/build"] {
        assert!(answer.text.contains(part), "{part}: {}", answer.text);
    }
    let server = site.start();
    let response = server.get("/strange");
    assert_eq!(response.head.status, 503);
    assert!(response.header("Retry-After").is_some());
    assert_eq!(server.get("/own").head.status, 200);
}
