//! What options of mod_wsgi's own command-line tool mean for clients: under which names a site is
//! there, to whom, for how long, and what else is behind it.

use std::net::TcpStream;

use testkit::Site;

use crate::apps::ENVIRON;
use crate::drop_in_effects::{start, words};
use crate::express::{Package, told};

#[test]
fn a_site_with_a_name_is_there_under_its_names_only() {
    let Some(package) = Package::find() else {
        return;
    };
    let named = "--server-name www.site.test --server-alias other.test --host 127.0.0.1";
    for (more, of_localhost) in [("", 403), ("--allow-localhost", 200)] {
        let server = start(Site::new(), &package, &words(&format!("{named} {more}")));
        let status = |host: &str| {
            let header = format!("Host: {host}");
            let answer = server.curl("/").args(["-H", &*header]).send();
            let is_moved = answer.head.contains("Location: http://www.site.test");
            (answer.status, is_moved)
        };
        assert_eq!(status("www.site.test"), (200, false));
        assert_eq!(status("other.test"), (200, false));
        assert_eq!(status("site.test"), (301, true));
        assert_eq!(status("localhost"), (of_localhost, false));
        // This machine has more addresses than the one that was said.
        assert!(TcpStream::connect(("127.0.0.2", server.port())).is_err());
    }
}

#[test]
fn a_site_over_https_is_as_safe_as_the_options_say() {
    let Some(package) = Package::find() else {
        return;
    };
    let site = Site::new().certificate();
    let [certificate, key] =
        ["crt", "key"].map(|end| site.text_path(&format!("conf/server.{end}")));
    let mut options = words(
        "--server-name localhost --ssl-port HTTPS_PORT --https-only --hsts-policy max-age=99
         --http2 --ssl-verify-client /private",
    );
    options.extend(["--ssl-certificate-file", &certificate]);
    options.extend(["--ssl-certificate-key-file", &key]);
    options.extend(["--ssl-ca-certificate-file", &certificate]);
    options.extend(["--ssl-certificate-chain-file", &certificate]);
    let server = start(site, &package, &options);
    let seen = server.curl_https("/").args(["--http2"]).send();
    assert!(seen.head.starts_with("HTTP/2 200"), "{seen:?}");
    assert!(
        seen.head.contains("strict-transport-security: max-age=99"),
        "{seen:?}"
    );
    assert_eq!(told(&seen)["scheme"], "https");
    assert_eq!(server.get("/").status, 302);
    let private = || {
        let curl = server.curl_https("/private");
        curl.args(["--http1.1", "--tls-max", "1.2"])
    };
    assert_ne!(private().send().status, 200);
    let known = private().args(["--cert", &*certificate, "--key", &*key]);
    assert_eq!(known.send().status, 200);
}

#[test]
fn other_servers_are_there_below_and_beside_the_application() {
    let Some(package) = Package::find() else {
        return;
    };
    let backend = Site::new()
        .script("environ.wsgi", ENVIRON)
        .config("WSGIScriptAlias / ${WSGI}/environ.wsgi")
        .start();
    let url = format!("http://127.0.0.1:{}/", backend.port());
    let options = [
        ["--proxy-mount-point", "/below/", &url],
        ["--proxy-virtual-host", "beside.test", &url],
    ];
    let mut options = options.concat();
    options.extend(["--proxy-timeout", "5", "--server-name", "localhost"]);
    let server = start(Site::new(), &package, &options);
    let below = told(&server.get("/below/x"));
    assert_eq!(below["PATH_INFO"], "/x");
    assert_eq!(below["HTTP_X_FORWARDED_PORT"], server.port().to_string());
    let beside = server.curl("/y").args(["-H", "Host: beside.test"]).send();
    assert_eq!(told(&beside)["PATH_INFO"], "/y");
    assert_eq!(told(&server.get("/z"))["scheme"], "http");
}

#[test]
fn clients_have_the_time_that_the_options_give_them() {
    let Some(package) = Package::find() else {
        return;
    };
    let options = "--embedded-mode --server-mpm prefork --max-clients 4 --keep-alive-timeout 0
        --header-timeout 1 --header-max-timeout 2 --body-timeout 1 --body-max-timeout 2";
    let server = start(Site::new(), &package, &words(options));
    let seen = server.get("/");
    assert_eq!(told(&seen)["mpm"], "prefork");
    assert!(seen.head.contains("Connection: close"), "{}", seen.head);
    for begun in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"GET /run.cgi HTTP/1.1\r\nHost: localhost\r\nX-Slow:",
    ] {
        let mut connection = server.connect();
        connection.send(begun);
        assert_eq!(connection.read_response().status, 408);
    }
}

#[test]
fn users_may_be_asked_for_by_digest() {
    let Some(package) = Package::find() else {
        return;
    };
    let users = "\
import hashlib

def get_realm_hash(environ, user, realm):
    if user == 'spam':
        return hashlib.md5(f'{user}:{realm}:eggs'.encode()).hexdigest()
";
    let site = Site::new().file("users.py", users);
    let options = ["--auth-user-script", "users.py", "--auth-type", "Digest"];
    let server = start(site, &package, &options);
    let refused = server.get("/");
    assert_eq!(refused.status, 401);
    assert!(refused.head.contains("Digest realm="), "{}", refused.head);
    let known = server
        .curl("/")
        .args(["--digest", "--user", "spam:eggs"])
        .send();
    assert!(known.body.contains("\"user\": \"spam\""), "{known:?}");
}
