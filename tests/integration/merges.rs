//! How what directives say in places inside each other adds up: the nearest value wins, and lists
//! replace each other as a whole.

use testkit::{Httpd, Request, SharedHttpd, Site};

use crate::apps::{ENVIRON, environ};

/// Answers with its method and with what of the request it got.
const SWITCHED: &str = r#"
def application(environ, start_response):
    status = '503 Busy' if 'busy' in environ['QUERY_STRING'] else '200 OK'
    seen = [name for name in ('HTTP_AUTHORIZATION', 'apache.request_rec') if name in environ]
    start_response(status, [('X-Method', environ['REQUEST_METHOD']), ('X-Seen', ' '.join(seen))])
    return [b'of the application', environ['wsgi.input'].read()]
"#;

/// On, Off and On again, from the outside in, for the switches that requests tell apart.
static SWITCHES: SharedHttpd = SharedHttpd::new(|| {
    let all = |value: &str| {
        [
            "WSGIPassAuthorization",
            "WSGIChunkedRequest",
            "WSGIErrorOverride",
            "WSGIMapHEADToGET",
        ]
        .map(|name| format!("{name} {value}\n"))
        .concat()
    };
    let (on, off) = (all("On"), all("Off"));
    Site::new()
        .script("switched.wsgi", SWITCHED)
        .file("www/off/switched.wsgi", SWITCHED)
        .file("www/off/.htaccess", &off)
        .file("www/off/on/switched.wsgi", SWITCHED)
        .file("www/off/on/.htaccess", &on)
        .config(&format!(
            "{on}
             WSGIPassApacheRequest On
             WSGIDaemonProcess group
             WSGIScriptAlias /httpd ${{WSGI}}/switched.wsgi
             WSGIScriptAlias /group ${{WSGI}}/switched.wsgi process-group=group
             <Directory ${{WWW}}>
                 AllowOverride FileInfo
                 Options ExecCGI
                 SetHandler wsgi-script
             </Directory>
             <LocationMatch ^/(httpd|group)/off>
                 {off}
                 WSGIPassApacheRequest Off
             </LocationMatch>
             <LocationMatch ^/(httpd|group)/off/on>
                 {on}
                 WSGIPassApacheRequest On
             </LocationMatch>
             <If \"%{{QUERY_STRING}} =~ /if/\">
                 {off}
                 WSGIPassApacheRequest Off
             </If>
             <VirtualHost *:*>
                 ServerName on.test
             </VirtualHost>
             <VirtualHost *:*>
                 ServerName off.test
                 {off}
                 WSGIPassApacheRequest Off
             </VirtualHost>"
        ))
});

/// Host and URL of a place, and whether the switches are on there.
const PLACES: [(&str, &str, bool); 12] = [
    ("on.test", "/httpd", true),
    ("off.test", "/httpd", false),
    ("off.test", "/httpd/off/on", true),
    ("on.test", "/httpd/off", false),
    ("on.test", "/httpd/off/on", true),
    ("on.test", "/httpd/off/on?if", false),
    ("on.test", "/group", true),
    ("off.test", "/group", false),
    ("on.test", "/group/off", false),
    ("off.test", "/group/off/on", true),
    ("on.test", "/off/switched.wsgi", false),
    ("off.test", "/off/on/switched.wsgi", true),
];

/// Asserts for each place what `observed` makes of whether the switches are on.
fn check_places(observed: impl Fn(&Httpd, &str, &str) -> bool) {
    let server = SWITCHES.borrow();
    for (host, url, on) in PLACES {
        assert_eq!(observed(&server, host, url), on, "{host}{url}");
    }
}

#[test]
fn the_nearest_switch_decides_what_of_the_authorization_is_seen() {
    check_places(|server, host, url| {
        let request = Request::get(url)
            .header("Host", host)
            .header("Authorization", "Basic eA==");
        let seen = server.send(&request);
        seen.header("X-Seen")
            .is_some_and(|seen| seen.contains("HTTP_AUTHORIZATION"))
    });
}

#[test]
fn the_nearest_switch_decides_about_bodies_in_chunks() {
    check_places(|server, host, url| {
        let request = Request::new("POST", url)
            .header("Host", host)
            .chunked(["data"]);
        let response = server.send(&request);
        assert!([200, 411].contains(&response.status), "{response:?}");
        response.status == 200
    });
}

#[test]
fn the_nearest_switch_decides_which_method_a_head_request_has() {
    check_places(|server, host, url| {
        let request = Request::new("HEAD", url).header("Host", host);
        server.send(&request).header("X-Method") == Some("GET")
    });
}

/// Responses of httpd's own processes are never replaced.
#[test]
fn the_nearest_switch_decides_whether_errors_are_replaced() {
    let server = SWITCHES.borrow();
    for (host, url, on) in PLACES {
        let separator = if url.contains('?') { '&' } else { '?' };
        let request = Request::get(&format!("{url}{separator}busy")).header("Host", host);
        let response = server.send(&request);
        assert_eq!(response.status, 503, "{host}{url}");
        let replaced = !response.text().starts_with("of the application");
        assert_eq!(replaced, on && url.starts_with("/group"), "{host}{url}");
    }
}

/// Nor has `.htaccess` a say in that, nor is there one in a process group.
#[test]
fn the_nearest_switch_decides_whether_the_record_is_passed() {
    let server = SWITCHES.borrow();
    for (host, url, on) in PLACES {
        if url.ends_with(".wsgi") {
            continue;
        }
        let seen = server.send(&Request::get(url).header("Host", host));
        let seen = seen.header("X-Seen").unwrap_or_default();
        let passed = seen.contains("apache.request_rec");
        assert_eq!(passed, on && url.starts_with("/httpd"), "{host}{url}");
    }
}

/// A directory and a `.htaccess` file below it count for a script that no alias names.
#[test]
fn the_nearest_value_wins() {
    let server = Site::new()
        .script("environ.wsgi", ENVIRON)
        .file("www/dir/environ.wsgi", ENVIRON)
        .file("www/dir/sub/environ.wsgi", ENVIRON)
        .file("www/dir/sub/.htaccess", "WSGIPassAuthorization On\n")
        .config(
            "WSGIScriptAlias /a ${WSGI}/environ.wsgi
             WSGIScriptAlias /located ${WSGI}/environ.wsgi
             WSGIPassAuthorization On
             <Location /located>
                 WSGIPassAuthorization On
             </Location>
             <Directory ${WWW}/dir>
                 AllowOverride FileInfo
                 SetHandler wsgi-script
                 Options ExecCGI
                 WSGIPassAuthorization Off
             </Directory>
             <VirtualHost *:*>
                 ServerName inherits.test
             </VirtualHost>
             <VirtualHost *:*>
                 ServerName off.test
                 WSGIPassAuthorization Off
             </VirtualHost>",
        )
        .start();
    for (host, url, passed) in [
        ("inherits.test", "/a", true),
        ("off.test", "/a", false),
        ("off.test", "/located", true),
        ("inherits.test", "/dir/environ.wsgi", false),
        ("inherits.test", "/dir/sub/environ.wsgi", true),
        ("off.test", "/dir/sub/environ.wsgi", true),
    ] {
        let request = Request::get(url)
            .header("Host", host)
            .header("Authorization", "Basic eA==");
        let seen = environ(&server.send(&request));
        assert_eq!(seen.has("HTTP_AUTHORIZATION"), passed, "{host}{url}");
    }
}

/// `<Files>` comes after directories, locations after both, and `<If>` after everything.
#[test]
fn sections_count_in_the_order_of_httpd() {
    let server = Site::new()
        .script("environ.wsgi", ENVIRON)
        .config(
            "WSGIApplicationGroup server
             WSGIScriptAlias /a ${WSGI}/environ.wsgi
             <If \"%{QUERY_STRING} == 'if'\">
                 WSGIApplicationGroup if
             </If>
             <Else>
                 WSGICallableObject application
             </Else>
             <Location /a/location>
                 WSGIApplicationGroup location
             </Location>
             <Location /a/location/inner>
                 <If \"%{QUERY_STRING} == 'if'\">
                     WSGIApplicationGroup inner
                 </If>
             </Location>
             <Files environ.wsgi>
                 WSGIApplicationGroup files
             </Files>
             <Directory ${WSGI}>
                 WSGIApplicationGroup directory
             </Directory>",
        )
        .start();
    for (url, group) in [
        ("/a", "files"),
        ("/a/location", "location"),
        ("/a?if", "if"),
        ("/a/location?if", "if"),
        ("/a/location/inner?if", "inner"),
        ("/a/location/inner", "location"),
    ] {
        let seen = environ(&server.get(url));
        assert_eq!(seen.value("mod_wsgi.application_group"), group, "{url}");
    }
}

#[test]
fn macros_and_included_files_are_read_as_if_they_stood_there() {
    let server = Site::new()
        .module("macro")
        .script("environ.wsgi", ENVIRON)
        .file(
            "conf/sites/a.conf",
            "WSGIScriptAlias /x/y ${WSGI}/environ.wsgi \\\n    application-group=first\n",
        )
        .file(
            "conf/sites/b.conf",
            "wsgiscriptalias /x ${WSGI}/environ.wsgi application-group=second\n",
        )
        .config(
            "Define GROUP defined
             <Macro App $name $group>
                 WSGIScriptAlias /$name ${WSGI}/environ.wsgi application-group=$group
                 <Location /$name>
                     WSGIPassAuthorization On
                 </Location>
             </Macro>
             Use App one a
             Use App two ${GROUP}
             Include ${ROOT}/conf/sites/*.conf
             <IfModule mod_wsgi.c>
                 WSGIScriptAlias / ${WSGI}/environ.wsgi application-group='a b'
             </IfModule>",
        )
        .start();
    for (url, group, passed) in [
        ("/one", "a", true),
        ("/two/x", "defined", true),
        ("/x/y/z", "first", false),
        ("/x/z", "second", false),
        ("/other", "a b", false),
    ] {
        let request = Request::get(url).header("Authorization", "Basic eA==");
        let seen = environ(&server.send(&request));
        assert_eq!(seen.value("mod_wsgi.application_group"), group, "{url}");
        assert_eq!(seen.has("HTTP_AUTHORIZATION"), passed, "{url}");
    }
}

/// Handlers of a virtual host, of the main server and of a place.
#[test]
fn handlers_are_replaced_one_by_one() {
    let handling =
        |text: &str| crate::apps::answering(text).replace("application", "handle_request");
    let server = Site::new()
        .script("outer.py", &handling("outer"))
        .script("host.py", &handling("host"))
        .script("place.py", &handling("place"))
        .config(
            "WSGIHandlerScript one ${WSGI}/outer.py
             WSGIHandlerScript two ${WSGI}/outer.py
             WSGIHandlerScript three ${WSGI}/place.py
             WSGIHandlerScript three ${WSGI}/outer.py
             <Location /one>
                 SetHandler one
             </Location>
             <Location /two>
                 SetHandler two
             </Location>
             <Location /three>
                 SetHandler three
             </Location>
             <Location /one/place>
                 WSGIHandlerScript one ${WSGI}/place.py
             </Location>
             <VirtualHost *:*>
                 ServerName bare.test
             </VirtualHost>
             <VirtualHost *:*>
                 ServerName host.test
                 WSGIHandlerScript one ${WSGI}/host.py
             </VirtualHost>",
        )
        .start();
    for (host, url, script) in [
        ("bare.test", "/one", "outer"),
        ("bare.test", "/two", "outer"),
        ("bare.test", "/three", "outer"),
        ("bare.test", "/one/place", "place"),
        ("host.test", "/one", "host"),
        ("host.test", "/two", "outer"),
        ("host.test", "/one/place", "place"),
    ] {
        let response = server.send(&Request::get(url).header("Host", host));
        assert_eq!(response.text(), script, "{host}{url}");
    }
}

#[test]
fn a_nearer_list_of_proxy_headers_replaces_the_outer_one() {
    let server = Site::new()
        .script("environ.wsgi", ENVIRON)
        .config(
            "WSGIScriptAlias / ${WSGI}/environ.wsgi
             WSGITrustedProxyHeaders X-Forwarded-Host
             WSGITrustedProxyHeaders X-Forwarded-Port
             <Location /inner>
                 WSGITrustedProxyHeaders X-Forwarded-Port
             </Location>
             <Location /nothing>
                 WSGITrustedProxyHeaders
             </Location>
             <Location /nothing/more>
                 WSGITrustedProxyHeaders
                 WSGITrustedProxyHeaders X-Forwarded-Host
             </Location>",
        )
        .start();
    for (url, host, has_port) in [
        ("/outer", "proxied.test", true),
        ("/inner", "localhost", true),
        ("/nothing", "localhost", false),
        ("/nothing/more", "proxied.test", false),
    ] {
        let request = Request::get(url)
            .header("X-Forwarded-Host", "proxied.test")
            .header("X-Forwarded-Port", "99");
        let seen = environ(&server.send(&request));
        assert_eq!(seen.value("HTTP_HOST"), host, "{url}");
        assert_eq!(seen.value("SERVER_PORT") == "99", has_port, "{url}");
    }
}

/// An empty list is one, too: a variable of the configuration that has nothing in it must not have
/// everybody trusted.
#[test]
fn so_does_a_nearer_list_of_proxies() {
    let server = Site::new()
        .script("environ.wsgi", ENVIRON)
        .config(
            "WSGIScriptAlias / ${WSGI}/environ.wsgi
             WSGITrustedProxyHeaders X-Forwarded-Host
             WSGITrustedProxies 127.0.0.0/8
             WSGITrustedProxies 10.0.0.0/8
             <Location /others>
                 WSGITrustedProxies 10.0.0.0/8
             </Location>
             <Location /others/own>
                 WSGITrustedProxies 10.0.0.0/8
                 WSGITrustedProxies 127.0.0.1
             </Location>
             <Location /nobody>
                 WSGITrustedProxies
             </Location>
             <Location /nobody/else>
                 WSGITrustedProxies
                 WSGITrustedProxies 127.0.0.1
             </Location>",
        )
        .start();
    for (url, host) in [
        ("/", "proxied.test"),
        ("/others", "localhost"),
        ("/others/own", "proxied.test"),
        ("/nobody", "localhost"),
        ("/nobody/else", "proxied.test"),
    ] {
        let request = Request::get(url).header("X-Forwarded-Host", "proxied.test");
        let seen = environ(&server.send(&request));
        assert_eq!(seen.value("HTTP_HOST"), host, "{url}");
    }
    let everybody = Site::new()
        .script("environ.wsgi", ENVIRON)
        .config(
            "WSGIScriptAlias / ${WSGI}/environ.wsgi
             WSGITrustedProxyHeaders X-Forwarded-Host
             <Location /nobody>
                 WSGITrustedProxies
             </Location>",
        )
        .start();
    for (url, host) in [("/", "proxied.test"), ("/nobody", "localhost")] {
        let request = Request::get(url).header("X-Forwarded-Host", "proxied.test");
        let seen = environ(&everybody.send(&request));
        assert_eq!(seen.value("HTTP_HOST"), host, "{url}");
    }
}
