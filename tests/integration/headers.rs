//! Request headers in the environ: how names are mapped, and which are kept from the application.

use testkit::{Request, SharedHttpd, Site};

use crate::apps::{ENVIRON, Environ, environ};
use crate::wsgi_site::wsgi_site;

static SERVER: SharedHttpd = SharedHttpd::new(|| {
    wsgi_site()
        .script("environ.wsgi", ENVIRON)
        .script("aliased/environ.wsgi", ENVIRON)
        .config(
            "LimitRequestFields 0
            <Location /environ.wsgi/pass>
                WSGIPassAuthorization On
            </Location>
            <Location /environ.wsgi/cgi-pass>
                CGIPassAuth On
            </Location>
            <Location /environ.wsgi/pass/but-not-here>
                WSGIPassAuthorization Off
            </Location>",
        )
});

fn environ_of(request: &Request) -> Environ {
    environ(&SERVER.borrow().send(request))
}

#[test]
fn names_are_upper_case_with_underscores() {
    let environ = environ_of(
        &Request::get("/environ.wsgi")
            .header("x-miXed-Case-9", "Value with  blanks ; kept")
            .header("User-Agent", "test/1")
            .header("Cookie", "a=1; b=2"),
    );

    assert_eq!(
        environ.value("HTTP_X_MIXED_CASE_9"),
        "Value with  blanks ; kept"
    );
    assert_eq!(environ.value("HTTP_USER_AGENT"), "test/1");
    assert_eq!(environ.value("HTTP_COOKIE"), "a=1; b=2");
}

#[test]
fn repeated_headers_are_joined_in_their_order() {
    let environ = environ_of(
        &Request::get("/environ.wsgi")
            .header("X-Many", "one")
            .header("X-Other", "between")
            .header("x-many", "two")
            .header("X-MANY", "three"),
    );

    assert_eq!(environ.value("HTTP_X_MANY"), "one, two, three");
}

#[test]
fn a_header_without_a_value_is_an_empty_string() {
    let environ = environ_of(&Request::get("/environ.wsgi").header("X-Empty", ""));

    assert_eq!(environ.value("HTTP_X_EMPTY"), "");
}

#[test]
fn values_are_latin_1_whatever_their_bytes() {
    // All that httpd lets through in the value of a header.
    let bytes: Vec<u8> = (0x21..=0xff).filter(|&byte| byte != 0x7f).collect();
    let environ = environ_of(&Request::get("/environ.wsgi").header("X-Bytes", &bytes));

    let text: String = bytes.iter().map(|&byte| char::from(byte)).collect();
    assert_eq!(environ.value("HTTP_X_BYTES"), text);
}

#[test]
fn names_that_could_pass_for_another_are_dropped() {
    let environ = environ_of(
        &Request::get("/environ.wsgi")
            .header("X-Forwarded-For", "honest")
            .header("X_Forwarded_For", "forged")
            .header("X_Forwarded-For", "forged")
            .header("X.Forwarded.For", "forged")
            .header("X!Forwarded~For", "forged")
            .header("Content_Length", "forged")
            .header("Under_Score", "forged")
            .header("wsgi.version", "forged"),
    );

    assert_eq!(environ.value("HTTP_X_FORWARDED_FOR"), "honest");
    for key in environ.keys() {
        assert!(!environ.value(key).contains("forged"), "{key}");
    }
    assert!(!environ.has("HTTP_UNDER_SCORE"));
}

#[test]
fn every_token_character_but_letters_digits_and_hyphen_drops_the_header() {
    for character in "!#$%&'*+.^_`|~".chars() {
        let name = format!("X{character}Y");
        let environ = environ_of(&Request::get("/environ.wsgi").header(&name, "dropped"));
        for key in environ.keys() {
            assert_ne!(environ.value(key), "dropped", "{name} became {key}");
        }
    }
}

#[test]
fn the_proxy_header_never_becomes_http_proxy() {
    for name in ["Proxy", "proxy", "PROXY"] {
        let request = Request::get("/environ.wsgi").header(name, "http://evil.example");
        assert!(!environ_of(&request).has("HTTP_PROXY"), "{name}");
    }
}

#[test]
fn headers_cannot_pass_for_cgi_variables() {
    let environ = environ_of(
        &Request::get("/environ.wsgi")
            .header("Remote-User", "root")
            .header("Https", "on")
            .header("Script-Name", "/evil"),
    );

    assert!(!environ.has("REMOTE_USER"));
    assert_eq!(environ.value("HTTP_REMOTE_USER"), "root");
    assert_eq!(environ.value("wsgi.url_scheme"), "http");
    assert_eq!(environ.value("SCRIPT_NAME"), "/environ.wsgi");
}

const CREDENTIALS: [(&str, &str); 2] = [
    ("Authorization", "Bearer a"),
    ("Proxy-Authorization", "Bearer p"),
];

/// Which of the two headers with credentials an application at `path` sees.
fn credentials_at(path: &str) -> [bool; 2] {
    let mut request = Request::get(path);
    for (name, value) in CREDENTIALS {
        request = request.header(name, value);
    }
    let environ = environ_of(&request);
    let seen = |key, value| {
        environ
            .has(key)
            .then(|| assert_eq!(environ.value(key), value))
    };
    [
        seen("HTTP_AUTHORIZATION", "Bearer a").is_some(),
        seen("HTTP_PROXY_AUTHORIZATION", "Bearer p").is_some(),
    ]
}

#[test]
fn credentials_are_withheld() {
    assert_eq!(credentials_at("/environ.wsgi"), [false, false]);
}

#[test]
fn wsgi_pass_authorization_passes_those_for_this_server_only() {
    assert_eq!(credentials_at("/environ.wsgi/pass"), [true, false]);
    assert_eq!(
        credentials_at("/environ.wsgi/pass/but-not-here"),
        [false, false]
    );
}

#[test]
fn cgi_pass_auth_passes_both() {
    assert_eq!(credentials_at("/environ.wsgi/cgi-pass"), [true, true]);
}

#[test]
fn the_option_of_the_alias_decides_over_the_directive() {
    let server = Site::new()
        .script("environ.wsgi", ENVIRON)
        .config(
            "WSGIPassAuthorization Off
            WSGIScriptAlias /on ${WSGI}/environ.wsgi pass-authorization=On
            WSGIScriptAlias /default ${WSGI}/environ.wsgi
            WSGIScriptAlias /off ${WSGI}/environ.wsgi pass-authorization=Off
            <Location /off>
                WSGIPassAuthorization On
            </Location>",
        )
        .start();

    for (path, passed) in [("/on", true), ("/default", false), ("/off", false)] {
        let request = Request::get(path).header("Authorization", "Bearer a");
        let environ = environ(&server.send(&request));
        assert_eq!(environ.has("HTTP_AUTHORIZATION"), passed, "{path}");
    }
}

#[test]
fn many_and_large_headers_arrive_whole() {
    let mut request = Request::get("/environ.wsgi").header("X-Large", "x".repeat(8000));
    for number in 0..300 {
        request = request.header(&format!("X-Number-{number}"), number.to_string());
    }

    let environ = environ_of(&request);

    assert_eq!(environ.value("HTTP_X_LARGE").len(), 8000);
    for number in 0..300 {
        assert_eq!(
            environ.value(&format!("HTTP_X_NUMBER_{number}")),
            number.to_string()
        );
    }
}

#[test]
fn names_differing_only_in_case_or_sent_to_different_requests_do_not_mix() {
    let first = environ_of(&Request::get("/environ.wsgi").header("X-Abc", "1"));
    let second = environ_of(&Request::get("/environ.wsgi").header("x-aBC", "2"));

    assert_eq!(first.value("HTTP_X_ABC"), "1");
    assert_eq!(second.value("HTTP_X_ABC"), "2");
}
