//! What httpd finds on the way to a script: the same, whether the URL ends with the script or goes
//! on.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use testkit::{Httpd, Request, Site, ours};

use crate::apps::{ENVIRON, answering, environ};

/// URLs of the script that is mounted at `/app`, with and without anything behind it.
const URLS: [&str; 3] = ["/app", "/app/", "/app/a/b.html"];

fn statuses(server: &Httpd) -> [u16; 3] {
    URLS.map(|url| server.get(url).status)
}

/// A script that is a link to one elsewhere, mounted at `/app`.
fn linked(options: &str) -> Httpd {
    let site = Site::new()
        .file("elsewhere/real.wsgi", ENVIRON)
        .file("wsgi/.keep", "")
        .config(&format!(
            "WSGIScriptAlias /app ${{WSGI}}/link.wsgi
             <Directory ${{WSGI}}>
                 Options {options}
             </Directory>"
        ));
    let link = site.path("wsgi/link.wsgi");
    symlink(site.path("elsewhere/real.wsgi"), link).expect("a link");
    site.start()
}

#[test]
fn a_script_may_be_a_link_where_links_are_followed() {
    let server = linked("FollowSymLinks");
    let script = server.site().text_path("wsgi/link.wsgi");
    for (url, path_info) in URLS.iter().zip(["", "/", "/a/b.html"]) {
        let seen = environ(&server.get(url));
        assert_eq!(seen.value("SCRIPT_FILENAME"), script, "{url}");
        assert_eq!(seen.value("PATH_INFO"), path_info, "{url}");
    }
    assert_eq!(statuses(&linked("SymLinksIfOwnerMatch")), [200; 3]);
}

#[test]
fn a_script_may_be_no_link_where_none_is_followed() {
    assert_eq!(statuses(&linked("None")), [403; 3]);
}

#[test]
fn the_directories_on_the_way_may_be_no_links_where_none_is_followed() {
    let follow = |options: &str| {
        let site = Site::new()
            .file("elsewhere/app.wsgi", ENVIRON)
            .config(&format!(
                "WSGIScriptAlias /app ${{ROOT}}/link/app.wsgi
             <Directory ${{ROOT}}>
                 Options {options}
                 Require all granted
             </Directory>"
            ));
        symlink(site.path("elsewhere"), site.path("link")).expect("a link");
        statuses(&site.start())
    };
    assert_eq!(follow("FollowSymLinks"), [200; 3]);
    assert_eq!(follow("None"), [403; 3]);
}

#[test]
fn sections_and_htaccess_are_those_of_the_script() {
    let server = Site::new()
        .module("headers")
        .script("app.wsgi", ENVIRON)
        .script("other.wsgi", ENVIRON)
        .file("wsgi/.htaccess", "SetEnv from.htaccess yes")
        .module("env")
        .config(
            r#"WSGIScriptAlias /app ${WSGI}/app.wsgi
             WSGIScriptAlias /other ${WSGI}/other.wsgi
             <Directory ${WSGI}>
                 AllowOverride FileInfo
                 <Files app.wsgi>
                     SetEnv from.files yes
                 </Files>
             </Directory>
             <DirectoryMatch "/wsgi/app.wsgi$">
                 SetEnv from.directory yes
             </DirectoryMatch>
             <DirectoryMatch "/wsgi/app.wsgi/a">
                 Require all denied
             </DirectoryMatch>
             <Files b.html>
                 Require all denied
             </Files>"#,
        )
        .start();
    for url in URLS {
        let seen = environ(&server.get(url));
        for name in ["from.htaccess", "from.files", "from.directory"] {
            assert_eq!(seen.value(name), "yes", "{name} of {url}");
        }
    }
    let seen = environ(&server.get("/other/app.wsgi"));
    assert!(!seen.has("from.files"));
}

/// httpd takes sections for directories to be for a file that a URL ends with, and for that alone.
#[test]
fn a_section_for_directories_that_meets_the_script_is_for_the_url_that_ends_with_it() {
    for (place, section) in [("named", "named/app.wsgi"), ("pattern", "pattern/*")] {
        for (usual, special, expected) in [
            ("granted", "denied", [403, 200, 200]),
            ("denied", "granted", [200, 403, 403]),
        ] {
            let server = Site::new()
                .file(&format!("{place}/app.wsgi"), ENVIRON)
                .config(&format!(
                    r#"WSGIScriptAlias /app ${{ROOT}}/{place}/app.wsgi
                     <Directory "${{ROOT}}/{place}">
                         Require all {usual}
                     </Directory>
                     <Directory "${{ROOT}}/{section}">
                         Require all {special}
                     </Directory>"#
                ))
                .start();
            assert_eq!(statuses(&server), expected, "{section} {special}");
        }
    }
}

#[test]
fn a_target_is_resolved_as_httpd_resolves_it() {
    let site = Site::new()
        .file("elsewhere/below/.keep", "")
        .file("elsewhere/only.wsgi", ENVIRON)
        .file("wsgi/both.wsgi", ENVIRON)
        .file("elsewhere/both.wsgi", "raise RuntimeError('the wrong one')")
        .config(
            "WSGIScriptAlias /app ${WSGI}/link/../only.wsgi
             WSGIScriptAlias /both ${WSGI}/link/../both.wsgi",
        );
    symlink(site.path("elsewhere/below"), site.path("wsgi/link")).expect("a link");
    let server = site.start();
    assert_eq!(statuses(&server), [404; 3]);
    for url in ["/both", "/both/a"] {
        assert_eq!(server.get(url).status, 200, "{url}");
    }
}

#[test]
fn a_path_is_too_long_where_httpd_finds_it_too_long() {
    let server = Site::new()
        .script("app.wsgi", ENVIRON)
        .config("WSGIScriptAlias /app ${WSGI}/app.wsgi")
        .start();
    let script = server.site().text_path("wsgi/app.wsgi");
    // What httpd allows a name of a file to have, of which apr needs four bytes.
    let longest = 4096 - 4 - script.len();
    for (length, status) in [(longest, 200), (longest + 1, 404)] {
        let url = format!("/app/{}", "x".repeat(length - 1));
        assert_eq!(server.send(&Request::get(&url)).status, status, "{length}");
    }
}

#[test]
fn a_script_that_goes_and_comes_back_is_found_again() {
    let server = Site::new()
        .script("app.wsgi", ENVIRON)
        .config("WSGIScriptAlias /app ${WSGI}/app.wsgi")
        .start();
    let (script, away) = (
        server.site().path("wsgi/app.wsgi"),
        server.site().path("away"),
    );
    assert_eq!(statuses(&server), [200; 3]);
    fs::rename(&script, &away).expect("moved");
    assert_eq!(statuses(&server), [404; 3]);
    fs::create_dir(&script).expect("a directory");
    assert_eq!(statuses(&server), [403, 403, 404]);
    fs::remove_dir(&script).expect("removed");
    fs::rename(&away, &script).expect("moved back");
    assert_eq!(statuses(&server), [200; 3]);
}

#[test]
fn a_script_whose_name_is_not_utf_8_is_served() {
    if !ours("D241") {
        return;
    }
    let server = Site::new()
        .file("wsgi/app.wsgi", answering("served"))
        .config("WSGIScriptAlias /scripts ${WSGI}")
        .start();
    let directory = server.site().path("wsgi");
    let name = OsStr::from_bytes(b"gr\xfcn.wsgi");
    fs::copy(directory.join("app.wsgi"), directory.join(name)).expect("a copy");
    assert_eq!(server.get("/scripts/gr%FCn.wsgi").text(), "served");
}

#[test]
fn who_may_enter_is_asked_again_where_a_request_is_redirected_to_another_url_of_the_script() {
    let server = Site::new()
        .module("rewrite")
        .file("elsewhere/app.wsgi", answering("the application"))
        .config(
            r#"
            WSGIScriptAlias /app ${ROOT}/elsewhere/app.wsgi
            <Directory ${ROOT}/elsewhere>
                Require expr "%{REQUEST_URI} !~ m#/private#"
                Options FollowSymLinks
                RewriteEngine On
                RewriteRule go/in$ /app/private/a [L]
                RewriteRule go/on$ /app/open [L]
            </Directory>"#,
        )
        .start();
    let status = |url: &str| server.get(url).status;

    assert_eq!(status("/app/private/a"), 403);
    assert_eq!(status("/app/go/in"), 403);
    assert_eq!(status("/app/go/on"), 200);
}
