//! A response that a filter of httpd's does not take, and filters that take an error for nothing.

use rstest::rstest;
use testkit::{Ending, Mark, Request, SharedHttpd, Site, ours};

use crate::apps::httpd_module;

/// Behind a filter that gives up where a line is longer than a kilobyte.
static SERVER: SharedHttpd = SharedHttpd::new(|| {
    Site::new()
        .module("substitute")
        .script(
            "long.wsgi",
            r"
import os, time
from pathlib import Path

DATA = Path(__file__).resolve().parents[1] / 'data'

def parts(gate):
    yield b'a line\n'
    while not (DATA / gate).exists():
        time.sleep(0.01)
    yield b'a' * 5000 + b'\n'
    yield b'the end\n'

def slow():
    yield b'a' * 5000 + b'\n'
    while not (DATA / 'answered').exists():
        time.sleep(0.01)
    yield b'in vain'

def application(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    if environ['PATH_INFO'] in ('/whole', '/page'):
        return [b'x' * 5000]
    if environ['PATH_INFO'] == '/large':
        return [b'x' * 500000]
    if environ['PATH_INFO'] == '/slow':
        return slow()
    return parts(environ['QUERY_STRING'])
",
        )
        .config(
            "WSGIDaemonProcess one threads=2
             WSGIApplicationGroup %{GLOBAL}
             WSGIScriptAlias /embedded ${WSGI}/long.wsgi
             WSGIScriptAlias /daemon ${WSGI}/long.wsgi process-group=one
             <LocationMatch ^/(missing-)?embedded/page>
                 ErrorDocument 404 /embedded/page
                 ErrorDocument 500 /embedded/page
             </LocationMatch>
             <LocationMatch ^/(missing-)?daemon/page>
                 ErrorDocument 404 /daemon/page
                 ErrorDocument 500 /daemon/page
             </LocationMatch>
             SetOutputFilter SUBSTITUTE
             Substitute s/a/b/
             SubstituteMaxLineLength 1k",
        )
});

#[rstest]
fn one_of_which_nothing_was_sent_is_an_error(
    #[values("embedded", "daemon")] mode: &str,
    #[values("whole", "large")] response: &str,
) {
    if !ours("D233") {
        return;
    }
    let server = SERVER.borrow();
    let answer = server.get(&format!("/{mode}/{response}"));
    assert_eq!(answer.status, 500);
    assert!(answer.text().contains("Internal Server Error"));
    let line = server.log().wait_for(Mark::START, "WSGI1222");
    assert!(line.contains("long.wsgi"), "{line}");
}

#[rstest]
fn one_that_has_begun_does_not_look_whole(#[values("embedded", "daemon")] mode: &str) {
    if !ours("D233") {
        return;
    }
    let server = SERVER.borrow();
    let mut client = server.connect();
    client.send(&Request::get(&format!("/{mode}/parts?{mode}")).to_bytes());
    assert_eq!(client.read_head().expect("a response").status, 200);
    assert_eq!(client.read_chunk().as_deref(), Some(&b"b line\n"[..]));
    server.site().write(&format!("data/{mode}"), "");
    let rest = client.read_to_end();
    assert!(rest.is_empty(), "not even the end of the chunks");
}

#[rstest]
fn its_client_does_not_wait_for_the_application(#[values("embedded", "daemon")] mode: &str) {
    if !ours("D233") {
        return;
    }
    let server = SERVER.borrow();
    assert_eq!(server.get(&format!("/{mode}/slow")).status, 500);
    server.site().write("data/answered", "");
}

#[test]
fn as_the_document_for_an_error_it_leaves_the_error_what_it_was() {
    if !ours("D233") {
        return;
    }
    let server = SERVER.borrow();
    for mode in ["embedded", "daemon"] {
        assert_eq!(server.get(&format!("/missing-{mode}/page")).status, 404);
        // mod_substitute's own line.
        let failure = format!("AH01328: Line too long, URI /{mode}/page");
        let failures = server.log().matching(Mark::START, &failure);
        assert_eq!(failures.len(), 1, "the document is asked for once");
    }
}

/// Refuses a response as mod_security's filter does: by an error bucket, and a failure.
const REFUSES: &str = r#"
#include "httpd.h"
#include "http_config.h"
#include "http_protocol.h"
#include "util_filter.h"

static apr_status_t refuse(ap_filter_t *f, apr_bucket_brigade *response)
{
    apr_bucket_alloc_t *alloc = f->c->bucket_alloc;
    apr_bucket_brigade *refusal = apr_brigade_create(f->r->pool, alloc);
    apr_bucket *error = ap_bucket_error_create(HTTP_FORBIDDEN, NULL, f->r->pool, alloc);

    APR_BRIGADE_INSERT_TAIL(refusal, error);
    APR_BRIGADE_INSERT_TAIL(refusal, apr_bucket_eos_create(alloc));
    ap_remove_output_filter(f);
    ap_pass_brigade(f->next, refusal);
    return APR_EGENERAL;
}

static void register_hooks(apr_pool_t *pool)
{
    ap_register_output_filter("REFUSE", refuse, NULL, AP_FTYPE_CONTENT_SET);
}

AP_DECLARE_MODULE(refuse) = { STANDARD20_MODULE_STUFF, .register_hooks = register_hooks };
"#;

const ANSWERS: &str = "
def application(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [b'a line']
";

/// Fails in the middle of its response.
const FAILS: &str = "
def application(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    yield b'a line\\n'
    raise ValueError('in mid-response')
";

/// Behind filters that say what becomes of a response in ways of their own.
static OTHERS: SharedHttpd = SharedHttpd::new(|| {
    let site = Site::new().module("sed");
    let refuse = httpd_module(&site, "refuse", REFUSES);
    site.script("answers.wsgi", ANSWERS)
        .script("fails.wsgi", FAILS)
        .config(&format!(
            "LoadModule refuse_module {refuse}
             WSGIDaemonProcess one threads=2
             WSGIApplicationGroup %{{GLOBAL}}
             WSGIScriptAlias /embedded ${{WSGI}}
             WSGIScriptAlias /daemon ${{WSGI}} process-group=one
             <LocationMatch answers>
                 SetOutputFilter REFUSE
             </LocationMatch>
             <LocationMatch fails>
                 SetOutputFilter Sed
                 OutputSed s/a/b/
             </LocationMatch>"
        ))
});

#[rstest]
fn one_that_was_answered_by_an_error_is_over(#[values("embedded", "daemon")] mode: &str) {
    let server = OTHERS.borrow();
    let mark = server.log().mark();
    let answer = server.get(&format!("/{mode}/answers.wsgi"));
    assert_eq!(answer.status, 403);
    assert!(answer.text().contains("</html>"), "{:?}", answer.text());
    assert_eq!(server.log().matching(mark, "WSGI1222").len(), 0);
}

#[rstest]
fn one_that_fails_does_not_look_whole_behind_a_filter_that_hides_it(
    #[values("embedded", "daemon")] mode: &str,
) {
    if mode == "daemon" && !ours("D40") {
        return;
    }
    let answer = OTHERS.borrow().get(&format!("/{mode}/fails.wsgi"));
    assert_eq!(answer.ending, Ending::Cut, "{:?}", answer.text());
}
