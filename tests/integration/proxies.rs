//! `WSGITrustedProxyHeaders` and `WSGITrustedProxies`: what a front-end proxy may say about the
//! client, and what anyone else may not.

use testkit::{Httpd, Request, SharedHttpd, Site, ours};

use crate::apps::{ENVIRON, Environ, environ};
use crate::wsgi_site::wsgi_site;

/// Tests say which peers and headers are trusted by the `location` they ask.
static SERVER: SharedHttpd = SharedHttpd::new(site);

fn site() -> Site {
    wsgi_site().script("environ.wsgi", ENVIRON).config(
        "<Location /environ.wsgi/anyone>
            WSGITrustedProxyHeaders X-Forwarded-For X-Forwarded-Host X-Forwarded-Server \
                X-Forwarded-Port X-Forwarded-Proto X-Script-Name
        </Location>
        <Location /environ.wsgi/others>
            WSGITrustedProxies 10.0.0.0/8
            WSGITrustedProxyHeaders X-Forwarded-For X-Forwarded-Host X-Forwarded-Server \
                X-Forwarded-Port X-Forwarded-Proto X-Script-Name
        </Location>
        <Location /environ.wsgi/chain>
            WSGITrustedProxies 127.0.0.1 10.0.0.0/8 192.168.1.7
            WSGITrustedProxyHeaders X-Forwarded-For
        </Location>
        <Location /environ.wsgi/real-ip>
            WSGITrustedProxyHeaders X-Real-IP X-Client-IP
        </Location>
        <Location /environ.wsgi/hosts>
            WSGITrustedProxyHeaders X-Host X-Forwarded-Host
        </Location>
        <Location /environ.wsgi/schemes>
            WSGITrustedProxyHeaders X-Forwarded-Proto X-Forwarded-Scheme X-Scheme \
                X-Forwarded-HTTPS X-Forwarded-SSL X-HTTPS
        </Location>
        <Location /environ.wsgi/script>
            WSGITrustedProxyHeaders X-Forwarded-Script-Name
        </Location>",
    )
}

/// The environ of a request for `location` with `headers`.
fn seen(location: &str, headers: &[(&str, &str)]) -> Environ {
    let request = headers.iter().fold(
        Request::get(&format!("/environ.wsgi/{location}")),
        |request, (name, value)| request.header(name, value),
    );
    environ(&SERVER.borrow().send(&request))
}

const FORWARDED: [(&str, &str); 6] = [
    ("X-Forwarded-For", "203.0.113.9"),
    ("X-Forwarded-Host", "public.example:81"),
    ("X-Forwarded-Server", "front.example"),
    ("X-Forwarded-Port", "8443"),
    ("X-Forwarded-Proto", "https"),
    ("X-Script-Name", "/mounted"),
];

#[test]
fn without_the_directives_they_are_headers_like_others() {
    let environ = seen("untouched", &FORWARDED);

    assert_eq!(environ.value("REMOTE_ADDR"), "127.0.0.1");
    assert_eq!(environ.value("HTTP_HOST"), "localhost");
    assert_eq!(environ.value("wsgi.url_scheme"), "http");
    for (name, value) in FORWARDED {
        let key = format!("HTTP_{}", name.to_uppercase().replace('-', "_"));
        assert_eq!(environ.value(&key), value);
    }
}

#[test]
fn trusted_headers_replace_what_the_connection_says() {
    let environ = seen("anyone/path", &FORWARDED);

    for (key, value) in [
        ("REMOTE_ADDR", "203.0.113.9"),
        ("HTTP_HOST", "public.example:81"),
        ("SERVER_NAME", "front.example"),
        ("SERVER_PORT", "8443"),
        ("wsgi.url_scheme", "https"),
        ("SCRIPT_NAME", "/mounted"),
        ("PATH_INFO", "/anyone/path"),
        ("mod_wsgi.mount_point", "/mounted"),
        // What the server made of the URL itself.
        ("mod_wsgi.script_name", "/environ.wsgi"),
        ("mod_wsgi.path_info", "/anyone/path"),
        // The headers that were applied stay.
        ("HTTP_X_FORWARDED_FOR", "203.0.113.9"),
        ("HTTP_X_FORWARDED_HOST", "public.example:81"),
        ("HTTP_X_FORWARDED_PROTO", "https"),
        ("HTTP_X_SCRIPT_NAME", "/mounted"),
    ] {
        assert_eq!(environ.value(key), value, "{key}");
    }
}

#[test]
fn other_headers_of_a_trusted_category_are_removed() {
    let environ = seen(
        "anyone",
        &[
            ("X-Forwarded-For", "203.0.113.9"),
            ("X-Client-IP", "forged"),
            ("X-Real-IP", "forged"),
            ("X-Host", "forged"),
            ("X-Forwarded-SSL", "on"),
            ("X-Scheme", "https"),
            ("X-Forwarded-Script-Name", "/forged"),
        ],
    );

    assert_eq!(environ.value("REMOTE_ADDR"), "203.0.113.9");
    assert_eq!(environ.value("wsgi.url_scheme"), "http");
    for key in [
        "HTTP_X_CLIENT_IP",
        "HTTP_X_REAL_IP",
        "HTTP_X_HOST",
        "HTTP_X_FORWARDED_SSL",
        "HTTP_X_SCHEME",
        "HTTP_X_FORWARDED_SCRIPT_NAME",
    ] {
        assert!(!environ.has(key), "{key}");
    }
}

#[test]
fn headers_of_categories_that_are_not_trusted_are_untouched() {
    let environ = seen(
        "real-ip",
        &[
            ("X-Forwarded-Host", "public.example"),
            ("X-Forwarded-Proto", "https"),
        ],
    );

    assert_eq!(environ.value("HTTP_X_FORWARDED_HOST"), "public.example");
    assert_eq!(environ.value("HTTP_X_FORWARDED_PROTO"), "https");
    assert_eq!(environ.value("HTTP_HOST"), "localhost");
    assert_eq!(environ.value("wsgi.url_scheme"), "http");
}

#[test]
fn from_an_untrusted_peer_all_of_them_are_removed() {
    let environ = seen("others", &FORWARDED);

    for (key, value) in [
        ("REMOTE_ADDR", "127.0.0.1"),
        ("HTTP_HOST", "localhost"),
        ("wsgi.url_scheme", "http"),
        ("SCRIPT_NAME", "/environ.wsgi"),
    ] {
        assert_eq!(environ.value(key), value, "{key}");
    }
    assert_ne!(environ.value("SERVER_NAME"), "front.example");
    assert_ne!(environ.value("SERVER_PORT"), "8443");
    assert!(!environ.has("mod_wsgi.mount_point"));
    for (name, _) in FORWARDED {
        let key = format!("HTTP_{}", name.to_uppercase().replace('-', "_"));
        assert!(!environ.has(&key), "{key}");
    }
}

#[test]
fn when_every_peer_is_trusted_the_first_address_is_the_client() {
    for (header, client) in [
        ("203.0.113.9", "203.0.113.9"),
        ("203.0.113.9, 10.0.0.1", "203.0.113.9"),
        (" , 203.0.113.9 ,10.0.0.1", "203.0.113.9"),
        ("2001:db8::1", "2001:db8::1"),
    ] {
        let environ = seen("anyone", &[("X-Forwarded-For", header)]);
        assert_eq!(environ.value("REMOTE_ADDR"), client, "{header}");
        assert_eq!(
            environ.value("HTTP_X_FORWARDED_FOR"),
            header.trim(),
            "{header}"
        );
    }
}

#[test]
fn otherwise_it_is_the_one_before_the_trusted_ones() {
    for (header, client, left) in [
        ("203.0.113.9", "203.0.113.9", "203.0.113.9"),
        (
            "203.0.113.9, 10.1.2.3",
            "203.0.113.9",
            "203.0.113.9, 10.1.2.3",
        ),
        (
            "forged, 203.0.113.9, 10.1.2.3",
            "203.0.113.9",
            "203.0.113.9, 10.1.2.3",
        ),
        (
            "1.1.1.1, 203.0.113.9, 192.168.1.7,10.1.2.3",
            "203.0.113.9",
            "203.0.113.9, 192.168.1.7, 10.1.2.3",
        ),
        ("10.9.9.9, 203.0.113.9", "203.0.113.9", "203.0.113.9"),
        ("10.9.9.9, 10.8.8.8", "10.9.9.9", "10.9.9.9, 10.8.8.8"),
        (
            "203.0.113.9, , 10.1.2.3",
            "203.0.113.9",
            "203.0.113.9, 10.1.2.3",
        ),
    ] {
        let environ = seen("chain", &[("X-Forwarded-For", header)]);
        assert_eq!(environ.value("REMOTE_ADDR"), client, "{header}");
        assert_eq!(environ.value("HTTP_X_FORWARDED_FOR"), left, "{header}");
    }
}

#[test]
fn of_several_headers_of_a_category_the_last_configured_counts() {
    let both = [("X-Real-IP", "192.0.2.1"), ("X-Client-IP", "192.0.2.2")];
    let environ = seen("real-ip", &both);
    assert_eq!(environ.value("REMOTE_ADDR"), "192.0.2.2");
    assert_eq!(environ.value("HTTP_X_CLIENT_IP"), "192.0.2.2");
    assert!(!environ.has("HTTP_X_REAL_IP"));

    let environ = seen("real-ip", &both[..1]);
    assert_eq!(environ.value("REMOTE_ADDR"), "192.0.2.1");

    let hosts = [
        ("X-Forwarded-Host", "last.example"),
        ("X-Host", "first.example"),
    ];
    let environ = seen("hosts", &hosts);
    assert_eq!(environ.value("HTTP_HOST"), "last.example");
    assert!(!environ.has("HTTP_X_HOST"));
}

#[test]
fn what_is_no_scheme_takes_none_back() {
    for (first, second, scheme) in [
        ("https", "yes", "https"),
        ("https", "off", "http"),
        ("http", "on", "https"),
        ("gopher", "on", "https"),
        ("gopher", "yes", "http"),
    ] {
        let headers = [("X-Forwarded-Proto", first), ("X-Forwarded-SSL", second)];
        let environ = seen("schemes", &headers);
        assert_eq!(
            environ.value("wsgi.url_scheme"),
            scheme,
            "{first}, {second}"
        );
    }
}

#[test]
fn schemes_are_named_in_two_ways() {
    for header in ["X-Forwarded-Proto", "X-Forwarded-Scheme", "X-Scheme"] {
        for (value, scheme) in [
            ("https", "https"),
            ("HTTPS", "https"),
            ("http", "http"),
            ("wss", "http"),
            ("on", "http"),
        ] {
            let environ = seen("schemes", &[(header, value)]);
            assert_eq!(
                environ.value("wsgi.url_scheme"),
                scheme,
                "{header}: {value}"
            );
        }
    }
    for header in ["X-Forwarded-HTTPS", "X-Forwarded-SSL", "X-HTTPS"] {
        for (value, scheme) in [
            ("on", "https"),
            ("True", "https"),
            ("1", "https"),
            ("off", "http"),
            ("https", "http"),
        ] {
            let environ = seen("schemes", &[(header, value)]);
            assert_eq!(
                environ.value("wsgi.url_scheme"),
                scheme,
                "{header}: {value}"
            );
        }
    }
}

#[test]
fn a_script_name_of_the_proxys_own_is_the_mount_point() {
    let environ = seen("script/rest", &[("X-Forwarded-Script-Name", "/app")]);

    assert_eq!(environ.value("SCRIPT_NAME"), "/app");
    assert_eq!(environ.value("mod_wsgi.mount_point"), "/app");
    assert_eq!(environ.value("PATH_INFO"), "/script/rest");
}

#[test]
fn mod_remoteip_speaks_first() {
    let server: Httpd = wsgi_site()
        .module("remoteip")
        .script("environ.wsgi", ENVIRON)
        .config(
            "RemoteIPHeader X-Remote
            RemoteIPInternalProxy 127.0.0.1
            WSGITrustedProxies 198.51.100.0/24
            WSGITrustedProxyHeaders X-Forwarded-For",
        )
        .start();
    for (remote, client) in [("198.51.100.7", "203.0.113.9"), ("192.0.2.1", "192.0.2.1")] {
        let request = Request::get("/environ.wsgi")
            .header("X-Remote", remote)
            .header("X-Forwarded-For", "203.0.113.9");
        let environ = environ(&server.send(&request));
        assert_eq!(environ.value("REMOTE_ADDR"), client, "{remote}");
    }
}

#[test]
fn a_name_in_a_chain_is_the_client() {
    for (chain, client, rest) in [
        ("unknown", "unknown", "unknown"),
        ("host.invalid", "host.invalid", "host.invalid"),
        (
            "203.0.113.9, host.invalid, 10.0.0.1",
            "host.invalid",
            "host.invalid, 10.0.0.1",
        ),
    ] {
        let environ = seen("chain", &[("X-Forwarded-For", chain)]);
        assert_eq!(environ.value("REMOTE_ADDR"), client, "{chain}");
        assert_eq!(environ.value("HTTP_X_FORWARDED_FOR"), rest, "{chain}");
    }
}

#[test]
fn a_name_is_not_looked_up() {
    if !ours("D125") {
        return;
    }
    let environ = seen("chain", &[("X-Forwarded-For", "203.0.113.9, localhost")]);
    assert_eq!(environ.value("REMOTE_ADDR"), "localhost");
}
