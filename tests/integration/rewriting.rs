//! URLs that httpd makes into others before an application gets them: rewritten, of a directory's
//! index, of an error document.

use rstest::rstest;
use testkit::{Httpd, Site};

use crate::wsgi_site::Mode;

/// Answers where it is, as it sees it: script name, path info, query, file; and for whom it stands
/// in.
const PLACE: &str = r#"
import os.path

def application(environ, start_response):
    start_response('200 OK', [])
    place = [environ['SCRIPT_NAME'], environ['PATH_INFO'], environ['QUERY_STRING'],
             os.path.basename(environ['SCRIPT_FILENAME'])]
    if 'REDIRECT_STATUS' in environ:
        place += [environ['REDIRECT_STATUS'], environ['REDIRECT_URL']]
    return [' | '.join(place).encode('latin-1')]
"#;

const HTACCESS: &str = "
RewriteEngine On
RewriteRule ^one$ page.wsgi/fixed [L]
RewriteRule ^two/(.*)$ page.wsgi/$1 [L,QSA,E=MARK:set]
RewriteCond %{REQUEST_FILENAME} !-f
RewriteRule ^rest/(.*)$ page.wsgi/$1?more=1 [L]
";

fn site(mode: Mode) -> Site {
    let group = match mode {
        Mode::Embedded => "",
        Mode::Daemon => {
            "WSGISocketPrefix ${ROOT}/logs/wsgi\nWSGIDaemonProcess wsgi\nWSGIProcessGroup wsgi"
        }
    };
    ["alias", "dir", "env", "mime", "rewrite"]
        .into_iter()
        .fold(Site::new(), Site::module)
        .file("conf/types", "")
        .script("app.wsgi", PLACE)
        .script("sub/inner.wsgi", PLACE)
        .file("www/index.wsgi", PLACE)
        .file("www/page.wsgi", PLACE)
        .file("www/below/index.wsgi", PLACE)
        .file("www/below/page.wsgi", PLACE)
        .file("www/below/.htaccess", HTACCESS)
        .config(group)
        .config(
            r"
            TypesConfig ${ROOT}/conf/types
            WSGIApplicationGroup %{GLOBAL}
            WSGIScriptAlias /app ${WSGI}/app.wsgi
            WSGIScriptAlias /dir ${WSGI}/
            WSGIScriptAliasMatch ^/match/(\w+) ${WSGI}/$1.wsgi
            Alias /plain ${WWW}/
            DirectoryIndex index.wsgi
            <Directory ${WWW}>
                Options +ExecCGI +FollowSymLinks
                AddHandler wsgi-script .wsgi
                AllowOverride All
            </Directory>
            ErrorDocument 403 /app/denied
            ErrorDocument 404 /app/lost
            RewriteEngine On
            RewriteRule ^/through/(.*)$ /app/$1 [PT]
            RewriteRule ^/forging/(.*)$ /app/$1 [PT,E=SCRIPT_NAME:/forged,E=PATH_INFO:/forged]
            RewriteRule ^/query/(.*)$ /app/x?first=$1 [PT,QSA]
            RewriteRule ^/closed$ - [F]
            RewriteRule ^/handled/(.*)$ - [H=wsgi-script]
            ",
        )
}

fn check(server: &Httpd, rows: &[(&str, &str)]) {
    for (url, place) in rows {
        let response = server.get(url);
        assert_eq!(response.text(), *place, "{url}: {}", response.status);
    }
}

#[rstest]
fn what_is_rewritten_has_the_place_of_its_target(
    #[values(Mode::Embedded, Mode::Daemon)] mode: Mode,
) {
    check(
        &site(mode).start(),
        &[
            ("/through/x", "/app | /x |  | app.wsgi"),
            ("/through/x//y?q=1", "/app | /x/y | q=1 | app.wsgi"),
            ("/through/", "/app | / |  | app.wsgi"),
            ("/through/%c3%a9", "/app | /\u{e9} |  | app.wsgi"),
            ("/forging/x", "/app | /x |  | app.wsgi"),
            ("/query/val?a=b", "/app | /x | first=val&a=b | app.wsgi"),
            ("/match/app//a", "/match/app | /a |  | app.wsgi"),
            ("/dir//app.wsgi//a//b", "/dir/app.wsgi | /a/b |  | app.wsgi"),
            (
                "/dir/sub/inner.wsgi/p",
                "/dir/sub/inner.wsgi | /p |  | inner.wsgi",
            ),
            ("/app/a/../b/./c", "/app | /b/c |  | app.wsgi"),
            ("/app/a;p=1+%25%3F%23", "/app | /a;p=1+%?# |  | app.wsgi"),
            ("/app?b=c?d", "/app |  | b=c?d | app.wsgi"),
            ("/app?", "/app |  |  | app.wsgi"),
        ],
    );
}

#[rstest]
fn the_index_of_a_directory_may_be_an_application(
    #[values(Mode::Embedded, Mode::Daemon)] mode: Mode,
) {
    check(
        &site(mode).start(),
        &[
            ("/", "/index.wsgi |  |  | index.wsgi"),
            ("/?q=1", "/index.wsgi |  | q=1 | index.wsgi"),
            ("/app/..", "/index.wsgi |  |  | index.wsgi"),
            ("/plain/", "/plain/index.wsgi |  |  | index.wsgi"),
            ("/below/?q", "/below/index.wsgi |  | q | index.wsgi"),
            ("/page.wsgi//pi//x", "/page.wsgi | /pi/x |  | page.wsgi"),
            ("/plain/page.wsgi/a", "/plain/page.wsgi | /a |  | page.wsgi"),
        ],
    );
}

#[rstest]
fn what_a_directory_rewrites_is_a_redirect_inside(
    #[values(Mode::Embedded, Mode::Daemon)] mode: Mode,
) {
    check(
        &site(mode).start(),
        &[
            (
                "/below/one",
                "/below/page.wsgi | /fixed |  | page.wsgi | 200 | /below/one",
            ),
            (
                "/below/two/a//b?x",
                "/below/page.wsgi | /a/b | x | page.wsgi | 200 | /below/two/a/b",
            ),
            (
                "/below/rest/z",
                "/below/page.wsgi | /z | more=1 | page.wsgi | 200 | /below/rest/z",
            ),
            ("/below/page.wsgi/q", "/below/page.wsgi | /q |  | page.wsgi"),
        ],
    );
}

#[rstest]
fn an_error_document_may_be_an_application(#[values(Mode::Embedded, Mode::Daemon)] mode: Mode) {
    let server = site(mode).start();
    check(
        &server,
        &[
            (
                "/nothing?x=y",
                "/app | /lost |  | app.wsgi | 404 | /nothing",
            ),
            ("/App/x", "/app | /lost |  | app.wsgi | 404 | /App/x"),
            ("/appx", "/app | /lost |  | app.wsgi | 404 | /appx"),
            (
                "/dir/none.wsgi/x",
                "/app | /lost |  | app.wsgi | 404 | /dir/none.wsgi/x",
            ),
            ("/dir/", "/app | /denied |  | app.wsgi | 403 | /dir/"),
            ("/closed", "/app | /denied |  | app.wsgi | 403 | /closed"),
            (
                "/handled/x",
                "/app | /lost |  | app.wsgi | 404 | /handled/x",
            ),
        ],
    );
    // The status is the application's.
    assert_eq!(server.get("/nothing").status, 200);
}
