//! What the handler checks before an application runs, in its order, and the statuses it answers.

use testkit::{Httpd, Mark, Request, SharedHttpd, Site, ours};

use crate::apps::{answering, environ};

/// Reads its whole body and answers with it, and with what it heard of its length.
const ECHO: &str = r#"
def application(environ, start_response):
    body = environ['wsgi.input'].read()
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [environ.get('CONTENT_LENGTH', 'absent').encode(), b':', body]
"#;

static SERVER: SharedHttpd = SharedHttpd::new(|| {
    Site::new()
        .module("alias")
        .script("echo.wsgi", ECHO)
        .script("dir/echo.wsgi", ECHO)
        .script("no-callable.wsgi", "app = 1\n")
        .script("not-callable.wsgi", "application = 'text'\n")
        .script("no-import.wsgi", "import no_such_module\n")
        .script("no-syntax.wsgi", "def application(:\n")
        .script("exits.wsgi", "import sys\nsys.exit('enough')\n")
        .config(
            "
            Alias /plain ${WSGI}
            <Location /plain>
                SetHandler wsgi-script
            </Location>
            Alias /exec ${WSGI}
            <Location /exec>
                SetHandler wsgi-script
                Options +ExecCGI
            </Location>
            WSGIApplicationGroup %{GLOBAL}
            WSGIScriptAlias /chunked ${WSGI}/echo.wsgi
            <Location /chunked>
                WSGIChunkedRequest On
            </Location>
            WSGIScriptAlias /small ${WSGI}/echo.wsgi
            <Location /small>
                LimitRequestBody 10
            </Location>
            WSGIScriptAlias /no-path ${WSGI}/echo.wsgi
            <Location /no-path>
                AcceptPathInfo Off
            </Location>
            WSGIScriptAlias /path ${WSGI}/echo.wsgi
            <Location /path>
                AcceptPathInfo On
            </Location>
            WSGIScriptAlias / ${WSGI}/
            ",
        )
});

/// Asks for a URL that must be refused with `status` and a line of the log with `id`.
fn check_refusal(server: &Httpd, request: &Request, status: u16, id: &str) {
    let mark = server.log().mark();
    let response = server.send(request);
    assert_eq!(response.status, status, "{request:?}: {}", response.text());
    assert!(response.is_whole(), "{response:?}");
    server.log().wait_for(mark, id);
}

#[test]
fn a_handler_without_exec_cgi_is_forbidden() {
    let request = Request::get("/plain/echo.wsgi");
    check_refusal(&SERVER.borrow(), &request, 403, "WSGI0134");
}

#[test]
fn a_missing_script_is_not_found() {
    let server = SERVER.borrow();
    for url in ["/none.wsgi", "/exec/none.wsgi", "/none.wsgi/path"] {
        check_refusal(&server, &Request::get(url), 404, "WSGI0135");
    }
}

#[test]
fn exec_cgi_is_checked_before_the_script() {
    let request = Request::get("/plain/none.wsgi");
    check_refusal(&SERVER.borrow(), &request, 403, "WSGI0134");
}

#[test]
fn a_directory_is_forbidden() {
    let server = SERVER.borrow();
    for url in ["/dir", "/dir/", "/exec/dir", "/"] {
        check_refusal(&server, &Request::get(url), 403, "WSGI0136");
    }
}

#[test]
fn the_log_names_the_script_that_was_refused() {
    let server = SERVER.borrow();
    let mark = server.log().mark();
    server.get("/named-in-the-log.wsgi");
    let line = server.log().wait_for(mark, "WSGI0135");
    let script = server.site().text_path("wsgi/named-in-the-log.wsgi");
    assert!(line.contains(&format!("[script {script}]")), "{line}");
    assert!(line.contains("[client 127.0.0.1:"), "{line}");
}

#[test]
fn accept_path_info_off_refuses_a_path() {
    let server = SERVER.borrow();
    check_refusal(&server, &Request::get("/no-path/x"), 404, "WSGI0137");
    assert_eq!(server.get("/no-path").status, 200);
    assert_eq!(server.get("/path/x").status, 200);
    assert_eq!(
        server.get("/echo.wsgi/x").status,
        200,
        "accepted by default"
    );
}

/// httpd refuses it before any handler sees it.
#[test]
fn an_unknown_transfer_encoding_is_a_bad_request() {
    let request = Request::new("POST", "/chunked").header("Transfer-Encoding", "gzip");
    assert_eq!(SERVER.borrow().send(&request).status, 400);
}

#[test]
fn a_chunked_request_needs_the_directive() {
    let server = SERVER.borrow();
    let request = Request::new("POST", "/echo.wsgi").chunked(["some ", "data"]);
    check_refusal(&server, &request, 411, "WSGI0139");
    let request = Request::new("POST", "/chunked").chunked(["some ", "data"]);
    assert_eq!(server.send(&request).text(), "absent:some data");
}

#[test]
fn of_two_lengths_the_chunks_count() {
    let server = SERVER.borrow();
    for headers in [
        "Content-Length: 3\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 300",
    ] {
        let mut connection = server.connect();
        connection.send(
            format!(
                "POST /chunked HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n\r\n\
                 5\r\nhello\r\n0\r\n\r\nGET /chunked HTTP/1.1\r\nHost: localhost\r\n\r\n"
            )
            .as_bytes(),
        );
        let response = connection.read_response();
        assert_eq!(response.text(), "absent:hello", "{headers}");
        // RFC 9112: whoever sent both may have an intermediary misled.
        assert!(connection.is_closed(), "{headers}");
    }
}

#[test]
fn the_name_of_the_chunked_coding_has_no_case() {
    let server = SERVER.borrow();
    let mut connection = server.connect();
    connection.send(
        b"POST /chunked HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: CHUNKED\r\n\
          Connection: close\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    );
    assert_eq!(connection.read_response().text(), "absent:abc");
}

#[test]
fn a_content_length_that_is_no_number_is_a_bad_request() {
    let server = SERVER.borrow();
    for length in ["x", "-1", "1x", "+1", "99999999999999999999999"] {
        let request = Request::new("POST", "/echo.wsgi").header("Content-Length", length);
        assert_eq!(server.send(&request).status, 400, "{length}");
    }
}

/// httpd looks at what the client sent; other modules may have changed it since.
#[test]
fn what_other_modules_make_of_the_headers_is_checked_as_well() {
    let server = Site::new()
        .module("headers")
        .script("echo.wsgi", ECHO)
        .config(
            "WSGIScriptAlias / ${WSGI}/echo.wsgi
             <Location /length/x>
                 RequestHeader set Content-Length x
             </Location>
             <Location /length/negative>
                 RequestHeader set Content-Length -1
             </Location>
             <Location /length/list>
                 RequestHeader set Content-Length 1,1
             </Location>
             <Location /length/huge>
                 RequestHeader set Content-Length 99999999999999999999
             </Location>
             <Location /coding/gzip>
                 RequestHeader set Transfer-Encoding gzip
             </Location>
             <Location /coding/both>
                 RequestHeader set Transfer-Encoding \"gzip, chunked\"
             </Location>
             <Location /coding/chunked>
                 RequestHeader set Transfer-Encoding Chunked
             </Location>",
        )
        .start();
    for (url, status, id) in [
        ("/length/x", 400, "WSGI0141"),
        ("/length/negative", 400, "WSGI0141"),
        ("/length/list", 400, "WSGI0141"),
        ("/length/huge", 400, "WSGI0141"),
        ("/coding/gzip", 501, "WSGI0138"),
        ("/coding/both", 501, "WSGI0138"),
        ("/coding/chunked", 411, "WSGI0139"),
    ] {
        check_refusal(&server, &Request::get(url), status, id);
    }
}

/// httpd cannot read a body by them: mod_wsgi lets the application find out, as `OSError`.
#[test]
fn a_length_that_httpd_cannot_read_a_body_by_is_a_bad_request() {
    let server = Site::new()
        .module("headers")
        .script("echo.wsgi", ECHO)
        .config(
            "WSGIScriptAlias / ${WSGI}/echo.wsgi
             <Location /length/empty>
                 RequestHeader set Content-Length \"\"
             </Location>
             <Location /length/signed>
                 RequestHeader set Content-Length +5
             </Location>",
        )
        .start();
    for url in ["/length/empty", "/length/signed"] {
        let request = Request::post(url, "hello");
        assert_eq!(server.send(&request).status, 400, "{url}");
        if ours("D186") {
            check_refusal(&server, &request, 400, "WSGI0141");
            check_refusal(&server, &Request::get(url), 400, "WSGI0141");
        }
    }
}

#[test]
fn a_body_within_its_content_length_reaches_the_application() {
    let server = SERVER.borrow();
    assert_eq!(
        server.send(&Request::post("/echo.wsgi", "abc")).text(),
        "3:abc"
    );
    assert_eq!(server.send(&Request::post("/echo.wsgi", "")).text(), "0:");
}

#[test]
fn a_body_over_the_limit_is_refused_before_the_application_runs() {
    let server = SERVER.borrow();
    assert_eq!(
        server.send(&Request::post("/small", "0123456789")).status,
        200
    );
    let response = server.send(&Request::post("/small", "0123456789x"));
    assert_eq!(response.status, 413);
    assert!(!response.text().contains("11:"), "{}", response.text());
}

#[test]
fn a_missing_callable_is_not_found() {
    let server = SERVER.borrow();
    check_refusal(&server, &Request::get("/no-callable.wsgi"), 404, "WSGI0089");
}

#[test]
fn something_that_cannot_be_called_is_an_error() {
    let server = SERVER.borrow();
    let mark = server.log().mark();
    assert_eq!(server.get("/not-callable.wsgi").status, 500);
    server
        .log()
        .wait_for(mark, "TypeError: 'str' object is not callable");
}

#[test]
fn a_script_that_does_not_load_is_an_error_with_a_traceback() {
    let server = SERVER.borrow();
    for (script, last_line) in [
        (
            "no-import.wsgi",
            "ModuleNotFoundError: No module named 'no_such_module'",
        ),
        ("no-syntax.wsgi", "SyntaxError: invalid syntax"),
        ("exits.wsgi", "WSGI0107"),
    ] {
        let mark = server.log().mark();
        let response = server.get(&format!("/{script}"));
        assert_eq!(response.status, 500, "{script}");
        assert!(
            !response.text().contains("Traceback"),
            "{}",
            response.text()
        );
        server.log().wait_for(mark, last_line);
        let named = server
            .log()
            .matching(mark, &server.site().text_path(&format!("wsgi/{script}")));
        assert!(!named.is_empty(), "{:#?}", server.log().since(mark));
    }
}

#[test]
fn the_traceback_shows_the_line_of_the_script() {
    let server = SERVER.borrow();
    let mark = server.log().mark();
    server.get("/no-import.wsgi");
    server
        .log()
        .wait_for(mark, "ModuleNotFoundError: No module");
    let lines = server.log().since(mark).join("\n");
    assert!(
        lines.contains("Traceback (most recent call last):"),
        "{lines}"
    );
    if ours("D01") {
        let place = "no-import.wsgi\", line 1, in <module>";
        assert!(lines.contains(place), "{lines}");
        assert!(lines.contains("import no_such_module"), "{lines}");
    }
}

#[test]
fn a_mended_script_serves_without_a_restart() {
    let server = Site::new()
        .script("broken.wsgi", "import no_such_module\n")
        .config("WSGIScriptAlias / ${WSGI}/broken.wsgi")
        .start();
    for _ in 0..3 {
        assert_eq!(server.get("/").status, 500);
    }
    server.site().write("wsgi/broken.wsgi", answering("mended"));
    assert_eq!(server.get("/").text(), "mended");
}

#[test]
fn a_script_that_the_user_cannot_read_is_refused() {
    let site = Site::new()
        .script("private.wsgi", &answering("ran"))
        .config("WSGIScriptAlias / ${WSGI}/private.wsgi");
    site.set_mode("wsgi/private.wsgi", 0);
    let server = site.start();
    check_refusal(&server, &Request::get("/"), 500, "WSGI0105");
    let line = server.log().wait_for(Mark::START, "WSGI0105");
    assert!(line.contains("Permission denied"), "{line}");
    let script = server.site().text_path("wsgi/private.wsgi");
    assert!(line.contains(&script), "{line}");
}

#[test]
fn every_method_reaches_the_application() {
    let server = Site::new()
        .script("method.wsgi", crate::apps::ENVIRON)
        .config("WSGIScriptAlias / ${WSGI}/method.wsgi")
        .start();
    for method in [
        "GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND", "WHATEVER",
    ] {
        let seen = environ(&server.send(&Request::new(method, "/")));
        assert_eq!(seen.value("REQUEST_METHOD"), method);
    }
}

#[test]
fn an_error_document_of_httpd_applies_to_refusals() {
    let server = Site::new()
        .script("broken.wsgi", "import no_such_module\n")
        .config(
            "WSGIScriptAlias / ${WSGI}/broken.wsgi
             ErrorDocument 500 \"our own words\"",
        )
        .start();
    assert_eq!(server.get("/").text(), "our own words");
}
