//! Every header that a proxy may be trusted with and every way to name a proxy, in httpd's own
//! processes and in a process group: what is believed, and that nobody else can make it up.

use testkit::{Httpd, Request, SharedHttpd, Site, ours};

use crate::apps::{ENVIRON, Environ, environ};

/// A header: its name, its value in these tests, the variable it sets and what that is then.
struct Header {
    name: &'static str,
    value: &'static str,
    variable: &'static str,
    becomes: &'static str,
    category: u8,
}

const fn header(
    category: u8,
    name: &'static str,
    value: &'static str,
    variable: &'static str,
    becomes: &'static str,
) -> Header {
    Header {
        name,
        value,
        variable,
        becomes,
        category,
    }
}

#[rustfmt::skip]
const HEADERS: [Header; 15] = [
    header(0, "X-Forwarded-For", "203.0.113.9", "REMOTE_ADDR", "203.0.113.9"),
    header(0, "X-Client-IP", "203.0.113.9", "REMOTE_ADDR", "203.0.113.9"),
    header(0, "X-Real-IP", "203.0.113.9", "REMOTE_ADDR", "203.0.113.9"),
    header(1, "X-Forwarded-Host", "public.example", "HTTP_HOST", "public.example"),
    header(1, "X-Host", "public.example", "HTTP_HOST", "public.example"),
    header(2, "X-Forwarded-Server", "front.example", "SERVER_NAME", "front.example"),
    header(3, "X-Forwarded-Port", "8443", "SERVER_PORT", "8443"),
    header(4, "X-Script-Name", "/mounted", "SCRIPT_NAME", "/mounted"),
    header(4, "X-Forwarded-Script-Name", "/mounted", "SCRIPT_NAME", "/mounted"),
    header(5, "X-Forwarded-Proto", "https", "wsgi.url_scheme", "https"),
    header(5, "X-Forwarded-Scheme", "https", "wsgi.url_scheme", "https"),
    header(5, "X-Scheme", "https", "wsgi.url_scheme", "https"),
    header(5, "X-Forwarded-HTTPS", "on", "wsgi.url_scheme", "https"),
    header(5, "X-Forwarded-SSL", "1", "wsgi.url_scheme", "https"),
    header(5, "X-HTTPS", "true", "wsgi.url_scheme", "https"),
];

/// The ways to run an application.
const MODES: [&str; 2] = ["/embedded", "/daemon"];

/// Below `/MODE/trusting/NAME` the header is believed from the peer of the tests, below
/// `/MODE/wary/NAME` from another one only.
static SERVER: SharedHttpd = SharedHttpd::new(|| {
    HEADERS.iter().fold(site(), |site, header| {
        let name = header.name;
        site.config(&format!(
            "<LocationMatch /trusting/{name}$>
                 WSGITrustedProxies 127.0.0.1
                 WSGITrustedProxyHeaders {name}
             </LocationMatch>
             <LocationMatch /wary/{name}$>
                 WSGITrustedProxies 127.0.0.2 127.1.0.0/16 ::1
                 WSGITrustedProxyHeaders {name}
             </LocationMatch>"
        ))
    })
});

fn site() -> Site {
    Site::new().script("environ.wsgi", ENVIRON).config(
        "WSGISocketPrefix ${ROOT}/logs/wsgi
         WSGIDaemonProcess group
         WSGIScriptAlias /embedded ${WSGI}/environ.wsgi
         WSGIScriptAlias /daemon ${WSGI}/environ.wsgi process-group=group",
    )
}

fn seen(server: &Httpd, target: &str, headers: &[(&str, &str)]) -> Environ {
    let request = headers
        .iter()
        .fold(Request::get(target), |request, (name, value)| {
            request.header(name, value)
        });
    environ(&server.send(&request))
}

fn variable(header: &Header) -> String {
    format!("HTTP_{}", header.name.to_uppercase().replace('-', "_"))
}

/// All headers, with their values.
fn all() -> Vec<(&'static str, &'static str)> {
    HEADERS
        .iter()
        .map(|header| (header.name, header.value))
        .collect()
}

#[test]
fn a_header_that_is_believed_sets_what_it_is_about_and_nothing_else() {
    let server = SERVER.borrow();
    for mode in MODES {
        for believed in &HEADERS {
            let target = format!("{mode}/trusting/{}", believed.name);
            let plain = seen(&server, &target, &[]);
            let seen = seen(&server, &target, &all());
            for header in &HEADERS {
                let is_about = header.variable == believed.variable;
                let (now, before) = (seen.value(header.variable), plain.value(header.variable));
                let expected = if is_about { believed.becomes } else { before };
                assert_eq!(now, expected, "{target}: {}", header.variable);
            }
        }
    }
}

#[test]
fn headers_of_the_same_meaning_that_are_not_believed_are_taken_away() {
    let server = SERVER.borrow();
    for mode in MODES {
        for believed in &HEADERS {
            let target = format!("{mode}/trusting/{}", believed.name);
            let seen = seen(&server, &target, &all());
            for header in &HEADERS {
                let stays = header.category != believed.category || header.name == believed.name;
                assert_eq!(
                    seen.has(&variable(header)),
                    stays,
                    "{target}: {}",
                    header.name
                );
            }
        }
    }
}

#[test]
fn from_anybody_else_it_sets_nothing_and_is_taken_away() {
    let server = SERVER.borrow();
    for mode in MODES {
        for believed in &HEADERS {
            let target = format!("{mode}/wary/{}", believed.name);
            let plain = seen(&server, &target, &[]);
            let seen = seen(&server, &target, &all());
            for header in &HEADERS {
                let (now, before) = (seen.value(header.variable), plain.value(header.variable));
                assert_eq!(now, before, "{target}: {}", header.variable);
                let stays = header.category != believed.category;
                assert_eq!(
                    seen.has(&variable(header)),
                    stays,
                    "{target}: {}",
                    header.name
                );
            }
            assert!(
                !seen.has("mod_wsgi.mount_point") || believed.category != 4,
                "{target}"
            );
        }
    }
}

/// `X_Real_IP` would be the same variable as `X-Real-IP`.
#[test]
fn a_header_with_underscores_is_not_taken_for_it() {
    let server = SERVER.borrow();
    for mode in MODES {
        for believed in &HEADERS {
            let target = format!("{mode}/trusting/{}", believed.name);
            let plain = seen(&server, &target, &[]);
            let forged = believed.name.replace('-', "_");
            let seen = seen(&server, &target, &[(&forged, believed.value)]);
            let (now, before) = (
                seen.value(believed.variable),
                plain.value(believed.variable),
            );
            assert_eq!(now, before, "{target}");
        }
    }
}

/// The client's own words come first, the proxy's last: in one line or in two.
#[test]
fn what_a_client_says_before_the_proxy_does_is_not_believed() {
    let server = SERVER.borrow();
    for mode in MODES {
        let target = format!("{mode}/trusting/X-Forwarded-For");
        for headers in [
            &[("X-Forwarded-For", "6.6.6.6, 203.0.113.9")][..],
            &[
                ("X-Forwarded-For", "6.6.6.6"),
                ("X-Forwarded-For", "203.0.113.9"),
            ],
            &[("X-Forwarded-For", "127.0.0.1,203.0.113.9")],
            &[("x-forwarded-for", "not an address, 203.0.113.9, 127.0.0.1")],
        ] {
            let seen = seen(&server, &target, headers);
            assert_eq!(seen.value("REMOTE_ADDR"), "203.0.113.9", "{headers:?}");
            let chain = seen.value("HTTP_X_FORWARDED_FOR");
            assert!(chain.starts_with("203.0.113.9"), "{headers:?}: {chain}");
        }
    }
}

/// `mod_remoteip` lets a test have any address.
#[test]
fn proxies_are_addresses_and_networks_of_both_families() {
    const CASES: [(&str, &[&str], &[&str]); 10] = [
        ("192.0.2.7", &["192.0.2.7"], &["192.0.2.8", "192.0.2.70"]),
        (
            "10.1",
            &["10.1.0.0", "10.1.255.255"],
            &["10.2.0.0", "10.10.0.1"],
        ),
        (
            "10.0.0.0/8",
            &["10.0.0.0", "10.255.1.1"],
            &["11.0.0.1", "9.255.255.255"],
        ),
        (
            "192.0.2.0/255.255.255.128",
            &["192.0.2.127"],
            &["192.0.2.128"],
        ),
        (
            "192.0.2.64/26",
            &["192.0.2.64", "192.0.2.127"],
            &["192.0.2.63", "192.0.2.128"],
        ),
        ("128.0.0.0/1", &["203.0.113.9"], &["2001:db8::1"]),
        (
            "2001:db8::7",
            &["2001:db8::7", "2001:db8:0:0::7"],
            &["2001:db8::8"],
        ),
        ("2001:db8::/32", &["2001:db8:ffff::1"], &["2001:db9::1"]),
        ("fd00::/9", &["fd00::1", "fd7f::1"], &["fd80::1"]),
        (
            "10.0.0.0/8 2001:db8::/32",
            &["10.0.0.1", "2001:db8::1"],
            &["192.0.2.1", "::1"],
        ),
    ];
    let site = site()
        .module("remoteip")
        .config("RemoteIPHeader X-Remote\nRemoteIPInternalProxy 127.0.0.1");
    let server = CASES
        .iter()
        .enumerate()
        .fold(site, |site, (number, (networks, _, _))| {
            site.config(&format!(
                "<LocationMatch /networks/{number}$>
                     WSGITrustedProxies {networks}
                     WSGITrustedProxyHeaders X-Forwarded-Host X-Forwarded-For
                 </LocationMatch>"
            ))
        })
        .start();
    for (number, (networks, trusted, others)) in CASES.iter().enumerate() {
        for mode in MODES {
            let host = |peer: &str| {
                let target = format!("{mode}/networks/{number}");
                let headers = [("X-Remote", peer), ("X-Forwarded-Host", "public.example")];
                seen(&server, &target, &headers)
                    .value("HTTP_HOST")
                    .to_owned()
            };
            for peer in *trusted {
                assert_eq!(host(peer), "public.example", "{networks}: {peer}");
            }
            for peer in *others {
                assert_ne!(host(peer), "public.example", "{networks}: {peer}");
            }
        }
    }
}

/// They are accepted, as they always were.
#[test]
fn names_that_mean_nothing_are_warned_of() {
    let answer = Site::new()
        .config("WSGITrustedProxyHeaders X-Forwarded-For X-Forwarded-Prot Forwarded")
        .configtest();
    assert!(answer.success, "{}", answer.text);
    if ours("D04") {
        for named in [
            "WSGI1026",
            "X-Forwarded-Prot",
            "X-Forwarded-Proto",
            "\"Forwarded\"",
        ] {
            assert!(answer.text.contains(named), "{named}: {}", answer.text);
        }
    }
}
