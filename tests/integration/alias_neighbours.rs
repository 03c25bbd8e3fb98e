//! Aliases beside what else httpd makes of a URL: rewriting, error documents, indexes, handlers.
//! And words that only look like something else.

use testkit::{Request, SharedHttpd, Site};

use crate::apps::{ENVIRON, environ};
use crate::mapping::{check_mappings, check_statuses, site_with};

static NEIGHBOURS: SharedHttpd = SharedHttpd::new(|| {
    Site::new()
        .module("alias")
        .module("dir")
        .module("env")
        .module("rewrite")
        .script("a.wsgi", ENVIRON)
        .file("www/page", "a page")
        .config(
            "RewriteEngine On
             RewriteRule ^/passed/(.*)$ /app/$1 [PT]
             RewriteRule ^/file/(.*)$ ${WSGI}/a.wsgi/$1 [H=wsgi-script]
             RewriteRule ^/chosen/(.*)$ /group/$1 [PT,E=GROUP:rewritten]
             Redirect /moved /app
             Alias /source ${WSGI}/a.wsgi
             ErrorDocument 404 /app/errors/404
             ErrorDocument 403 /app/errors/403
             WSGIScriptAlias /app ${WSGI}/a.wsgi
             WSGIScriptAlias /group ${WSGI}/a.wsgi application-group=%{ENV:GROUP}
             WSGIScriptAlias /source/deeper ${WSGI}/a.wsgi
             WSGIScriptAlias /moved/x ${WSGI}/a.wsgi
             <Location /file>
                 Options +ExecCGI
             </Location>
             <Location /app/denied>
                 Require all denied
             </Location>
             <Location /app/no-handler>
                 SetHandler None
             </Location>
             <Directory ${WWW}>
                 DirectoryIndex index.html /app/index
             </Directory>",
        )
});

#[test]
fn rewriting_may_pass_a_url_on() {
    let server = NEIGHBOURS.borrow();
    for (url, script_name, path_info) in [
        ("/passed/x", "/app", "/x"),
        ("/chosen/x", "/group", "/x"),
        ("/file/x", "/file", "/x"),
    ] {
        let seen = environ(&server.get(url));
        assert_eq!(seen.value("SCRIPT_NAME"), script_name, "{url}");
        assert_eq!(seen.value("PATH_INFO"), path_info, "{url}");
    }
    let seen = environ(&server.get("/chosen/x"));
    assert_eq!(seen.value("mod_wsgi.application_group"), "rewritten");
}

#[test]
fn an_application_may_be_an_error_document_or_an_index() {
    let server = NEIGHBOURS.borrow();
    for (url, path_info) in [
        ("/missing", "/errors/404"),
        ("/app/denied", "/errors/403"),
        ("/", "/index"),
    ] {
        // Its status is its own, too.
        let seen = environ(&server.get(url));
        assert_eq!(seen.value("PATH_INFO"), path_info, "{url}");
    }
    assert_eq!(server.get("/page").text(), "a page");
}

#[test]
fn mod_alias_comes_first_also_where_its_words_are_shorter() {
    let server = NEIGHBOURS.borrow();
    assert_eq!(server.get("/source").text(), ENVIRON);
    assert_eq!(server.get("/moved/x").status, 302);
    let seen = environ(&server.get("/source/deeper"));
    assert_eq!(
        seen.value("REDIRECT_STATUS"),
        "404",
        "a file has nothing below"
    );
}

/// So a `<Location>` cannot take it away.
#[test]
fn the_handler_of_an_alias_stays() {
    let seen = environ(&NEIGHBOURS.borrow().get("/app/no-handler"));
    assert_eq!(seen.value("mod_wsgi.request_handler"), "wsgi-script");
}

#[test]
fn what_looks_like_a_query_or_a_pattern_is_part_of_the_path() {
    let server = site_with(&["a.wsgi", "sub/b.wsgi"])
        .config(
            "WSGIScriptAlias /b// ${WSGI}/a.wsgi/
             WSGIScriptAlias //c ${WSGI}/a.wsgi
             WSGIScriptAlias d ${WSGI}/a.wsgi
             WSGIScriptAlias /e?q ${WSGI}/a.wsgi
             WSGIScriptAlias /f/../g ${WSGI}/a.wsgi
             WSGIScriptAlias /j* ${WSGI}/a.wsgi
             WSGIScriptAlias /dirs ${WSGI}/sub/
             WSGIScriptAlias /dots ${WSGI}/./sub/../a.wsgi
             WSGIScriptAlias /more ${WSGI}/a.wsgi/extra
             WSGIScriptAlias /slash ${WSGI}/a.wsgi/",
        )
        .start();
    check_mappings(
        &server,
        "localhost",
        &[
            ("/b/", "a.wsgi", "/b", "/"),
            ("/b//x", "a.wsgi", "/b", "/x"),
            ("/c/x", "a.wsgi", "/c", "/x"),
            ("/e%3fq", "a.wsgi", "/e?q", ""),
            ("/j*", "a.wsgi", "/j*", ""),
            ("/dirs/b.wsgi", "sub/b.wsgi", "/dirs/b.wsgi", ""),
            ("/dots/x", "a.wsgi", "/dots", "/x"),
            ("/more", "a.wsgi", "/more", "/extra"),
            ("/more/x", "a.wsgi", "/more", "/extra/x"),
            ("/slash", "a.wsgi", "/slash", "/"),
            ("/slash/x", "a.wsgi", "/slash", "/x"),
        ],
    );
    check_statuses(
        &server,
        "localhost",
        &[
            ("/b", 404),
            ("/d", 404),
            ("/e?q", 404),
            ("/g", 404),
            ("/f/../g", 404),
            ("/jx", 404),
            ("/dirsb.wsgi", 404),
        ],
    );
    let connect = Request::new("CONNECT", "localhost:80");
    assert_eq!(server.send(&connect).status, 405);
}
