//! TLS, which mod_ssl speaks: the scheme, the variables it gives, bodies both ways.

use testkit::{Curl, CurlAnswer, Httpd, SharedHttpd, Site, ours};

use crate::apps::{ECHO_IN_PIECES, ENVIRON};
use crate::wsgi_site::{app, threaded, wsgi_site};

static SERVER: SharedHttpd = SharedHttpd::new(site);

fn site() -> Site {
    wsgi_site()
        .mpm(threaded())
        .module("env")
        .module("http2")
        .tls_host()
        .script("environ.wsgi", ENVIRON)
        .config(
            "Protocols h2 http/1.1
            KeepAliveTimeout 300
            <Location /environ.wsgi/std-env-vars>
                SSLOptions +StdEnvVars +ExportCertData
            </Location>
            <Location /environ.wsgi/behind-proxy>
                WSGITrustedProxyHeaders X-Forwarded-Proto
            </Location>
            <Location /environ.wsgi/forged>
                SetEnv HTTPS off
                SetEnv wsgi.url_scheme http
            </Location>",
        )
}

fn https(server: &Httpd, target: &str, arguments: &[&str]) -> CurlAnswer {
    let answer = Curl::https(server, target)
        .args(arguments.iter().copied())
        .send();
    assert_eq!(answer.exit, 0, "{answer:?}");
    answer
}

fn environ_of(target: &str, arguments: &[&str]) -> serde_json::Value {
    let answer = https(&SERVER.borrow(), target, arguments);
    assert_eq!(answer.status, 200, "{answer:?}");
    serde_json::from_str(&answer.body).expect("JSON")
}

#[test]
fn the_scheme_is_https() {
    let server = SERVER.borrow();
    let environ = environ_of("/environ.wsgi", &["--http1.1"]);

    assert_eq!(environ["wsgi.url_scheme"], "https");
    assert_eq!(environ["REQUEST_SCHEME"], "https");
    let port = server.tls_port();
    assert_eq!(environ["HTTP_HOST"], format!("localhost:{port}"));
    assert!(environ["HTTPS"].is_null(), "{environ}");
}

#[test]
fn plain_http_on_the_same_server_is_not() {
    let server = SERVER.borrow();
    let environ = crate::apps::environ(&server.get("/environ.wsgi"));

    assert_eq!(environ.value("wsgi.url_scheme"), "http");
}

#[test]
fn without_std_env_vars_there_are_no_ssl_variables() {
    let environ = environ_of("/environ.wsgi", &["--http1.1"]);

    let keys = environ.as_object().expect("an object").keys();
    let ssl: Vec<_> = keys.filter(|key| key.starts_with("SSL_")).collect();
    // The name the client asked for is always there.
    assert!(ssl.iter().all(|key| *key == "SSL_TLS_SNI"), "{ssl:?}");
}

#[test]
fn std_env_vars_describe_the_connection() {
    let environ = environ_of("/environ.wsgi/std-env-vars", &["--http1.1", "--tlsv1.2"]);

    let protocol = environ["SSL_PROTOCOL"].as_str().expect("a protocol");
    assert!(protocol.starts_with("TLSv1."), "{protocol}");
    assert!(environ["SSL_CIPHER"].is_string(), "{environ}");
    assert_eq!(environ["SSL_SERVER_S_DN_CN"], "localhost");
    assert_eq!(environ["SSL_TLS_SNI"], "localhost");
    assert_eq!(environ["SSL_CLIENT_VERIFY"], "NONE");
    let certificate = environ["SSL_SERVER_CERT"].as_str().expect("a certificate");
    assert!(
        certificate.starts_with("-----BEGIN CERTIFICATE-----\n"),
        "{certificate}"
    );
    assert!(environ["HTTPS"].is_null(), "{environ}");
}

#[test]
fn set_env_does_not_make_it_plain() {
    let environ = environ_of("/environ.wsgi/forged", &["--http1.1"]);

    assert_eq!(environ["wsgi.url_scheme"], "https");
}

#[test]
fn what_a_trusted_proxy_says_of_the_scheme_decides() {
    for (header, scheme) in [
        ("X-Other: http", "https"),
        ("X-Forwarded-Proto: https", "https"),
        ("X-Forwarded-Proto: http", "http"),
        ("X-Forwarded-Proto: unheard-of", "https"),
    ] {
        let arguments = ["--http1.1", "--header", header];
        let environ = environ_of("/environ.wsgi/behind-proxy", &arguments);
        assert_eq!(environ["wsgi.url_scheme"], scheme, "{header}");
    }
}

#[test]
fn http_2_over_tls_is_https_too() {
    let environ = environ_of("/environ.wsgi", &["--http2"]);

    assert_eq!(environ["wsgi.url_scheme"], "https");
    assert_eq!(environ["SERVER_PROTOCOL"], "HTTP/2.0");
}

#[test]
fn http_2_over_tls_has_the_ssl_variables() {
    let environ = environ_of("/environ.wsgi/std-env-vars", &["--http2"]);

    assert_eq!(environ["SSL_SERVER_S_DN_CN"], "localhost");
}

#[test]
fn bodies_go_both_ways() {
    let server = SERVER.borrow();
    let url = app(&server, "echo", ECHO_IN_PIECES);
    let body = "0123456789abcdef".repeat(50_000);
    server.site().write("data/body", &body);
    let argument = format!("@{}", server.site().text_path("data/body"));

    for protocol in ["--http1.1", "--http2"] {
        let answer = https(&server, &url, &[protocol, "--data-binary", &argument]);
        assert!(
            answer.body == body,
            "{protocol}: {} bytes came",
            answer.body.len()
        );
    }
}

#[test]
fn a_file_is_sent() {
    let server = SERVER.borrow();
    let url = app(
        &server,
        "file",
        r#"
def application(environ, start_response):
    start_response('200 OK', [])
    return environ['wsgi.file_wrapper'](open(__file__, 'rb'))
"#,
    );

    let answer = https(&server, &url, &["--http1.1"]);

    assert_eq!(answer.body, server.site().read("wsgi/file.wsgi"));
}

const FAILS: &str = r#"
def application(environ, start_response):
    start_response('200 OK', [])
    yield b'begun'
    raise ValueError('in mid-response')
"#;

#[test]
fn a_failure_after_output_is_a_cut_response() {
    let server = SERVER.borrow();
    let url = app(&server, "fails", FAILS);

    let answer = Curl::https(&server, &url)
        .args(["--http1.1", "--header", "Connection: close"])
        .send();

    assert_ne!(answer.exit, 0, "{answer:?}");
    assert_eq!((answer.status, answer.body.as_str()), (200, "begun"));
}

#[test]
fn a_failure_after_output_is_a_cut_response_on_a_connection_that_could_be_kept() {
    if !ours("D40") {
        return;
    }
    let server = SERVER.borrow();
    let url = app(&server, "fails_kept", FAILS);

    let answer = Curl::https(&server, &url).args(["--http1.1"]).send();

    assert_ne!(answer.exit, 0, "{answer:?}");
    assert_eq!((answer.status, answer.body.as_str()), (200, "begun"));
}

#[test]
fn a_failure_after_output_is_a_cut_response_over_http_2() {
    if !ours("D42") {
        return;
    }
    let server = SERVER.borrow();
    let url = app(&server, "fails_h2", FAILS);

    let answer = Curl::https(&server, &url).args(["--http2"]).send();

    // mod_http2 may drop what it has not sent yet, so the head need not have come.
    assert_ne!(answer.exit, 0, "{answer:?}");
}
