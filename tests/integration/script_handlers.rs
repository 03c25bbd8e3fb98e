//! The ways other than an alias to say that a file is a script: `SetHandler`, `AddHandler`,
//! `AddType`, in the configuration and in `.htaccess`.

use testkit::{SharedHttpd, Site};

use crate::apps::{ENVIRON, environ};
use crate::mapping::check_statuses;

/// The other ways to say that a file is a script.
static HANDLERS: SharedHttpd = SharedHttpd::new(|| {
    Site::new()
        .module("alias")
        .module("mime")
        .script("dir/a.wsgi", ENVIRON)
        .file("www/handler/a.wsgi", ENVIRON)
        .file("www/handler/page.txt", "a page")
        .file("www/type/a.wsgi", ENVIRON)
        .file("www/plain/a.wsgi", ENVIRON)
        .file("www/allowed/a.wsgi", ENVIRON)
        .file(
            "www/allowed/.htaccess",
            "SetHandler wsgi-script\nOptions +ExecCGI\n",
        )
        .file("www/halfway/a.wsgi", ENVIRON)
        .file("www/halfway/.htaccess", "SetHandler wsgi-script\n")
        .config(
            "
            TypesConfig /dev/null
            WSGIScriptAlias /ours/ ${WSGI}/dir/
            Alias /equivalent/ ${WSGI}/dir/
            <Location /equivalent>
                SetHandler wsgi-script
                Options +ExecCGI
            </Location>
            Alias /no-exec/ ${WSGI}/dir/
            <Location /no-exec>
                SetHandler wsgi-script
            </Location>
            <Directory ${WWW}/handler>
                AddHandler wsgi-script .wsgi
                Options +ExecCGI
            </Directory>
            <Directory ${WWW}/type>
                AddType application/x-httpd-wsgi .wsgi
                Options +ExecCGI
            </Directory>
            <Directory ${WWW}>
                AllowOverride All
            </Directory>
            ",
        )
});

#[test]
fn alias_with_set_handler_and_exec_cgi_is_equivalent() {
    let server = HANDLERS.borrow();
    for url in ["/a.wsgi", "/a.wsgi/p/q"] {
        let ours = environ(&server.get(&format!("/ours{url}")));
        let other = environ(&server.get(&format!("/equivalent{url}")));
        for key in [
            "__file__",
            "SCRIPT_FILENAME",
            "PATH_INFO",
            "mod_wsgi.request_handler",
        ] {
            assert_eq!(ours.value(key), other.value(key), "{url} {key}");
        }
        assert_eq!(other.value("SCRIPT_NAME"), "/equivalent/a.wsgi");
    }
}

#[test]
fn a_handler_without_an_alias_needs_exec_cgi() {
    let server = HANDLERS.borrow();
    let mark = server.log().mark();
    check_statuses(
        &server,
        "localhost",
        &[("/no-exec/a.wsgi", 403), ("/halfway/a.wsgi", 403)],
    );
    server.log().wait_for(mark, "WSGI0134");
}

#[test]
fn an_alias_needs_no_exec_cgi() {
    let server = HANDLERS.borrow();
    assert_eq!(server.get("/ours/a.wsgi").status, 200);
}

#[test]
fn add_handler_makes_scripts_of_a_suffix() {
    let server = HANDLERS.borrow();
    let seen = environ(&server.get("/handler/a.wsgi/p"));
    assert_eq!(seen.value("SCRIPT_NAME"), "/handler/a.wsgi");
    assert_eq!(seen.value("PATH_INFO"), "/p");
    assert_eq!(seen.value("mod_wsgi.request_handler"), "wsgi-script");
    assert_eq!(server.get("/handler/page.txt").text(), "a page");
}

#[test]
fn add_type_makes_scripts_of_a_suffix() {
    let seen = environ(&HANDLERS.borrow().get("/type/a.wsgi"));
    assert_eq!(seen.value("SCRIPT_NAME"), "/type/a.wsgi");
    assert_eq!(
        seen.value("mod_wsgi.request_handler"),
        "application/x-httpd-wsgi"
    );
}

#[test]
fn htaccess_makes_scripts_below_the_document_root() {
    let server = HANDLERS.borrow();
    let seen = environ(&server.get("/allowed/a.wsgi/p"));
    assert_eq!(seen.value("SCRIPT_NAME"), "/allowed/a.wsgi");
    assert_eq!(
        server.get("/plain/a.wsgi").text(),
        ENVIRON,
        "no script without a handler"
    );
}
