//! How `WSGIScriptAlias` and `WSGIScriptAliasMatch` map URLs to scripts.

use testkit::{Httpd, Request, Response, SharedHttpd, Site};

use crate::apps::{ENVIRON, answering, environ};

/// A URL, and what it must map to: a script below `wsgi/`, and the URL split in two.
type Mapping = (&'static str, &'static str, &'static str, &'static str);

fn check_mappings(server: &Httpd, host: &str, mappings: &[Mapping]) {
    for (url, script, script_name, path_info) in mappings {
        let seen = environ(&ask(server, host, url));
        let script = server.site().text_path(&format!("wsgi/{script}"));
        let found = [
            seen.value("__file__"),
            seen.value("SCRIPT_FILENAME"),
            seen.value("SCRIPT_NAME"),
            seen.value("PATH_INFO"),
        ];
        assert_eq!(found, [&*script, &*script, script_name, path_info], "{url}");
    }
}

fn check_statuses(server: &Httpd, host: &str, statuses: &[(&str, u16)]) {
    for (url, status) in statuses {
        assert_eq!(ask(server, host, url).status, *status, "{url}");
    }
}

fn ask(server: &Httpd, host: &str, url: &str) -> Response {
    server.send(&Request::get(url).header("Host", host))
}

/// A site with the same script under several names.
fn site_with(scripts: &[&str]) -> Site {
    let add = |site: Site, name: &&str| site.script(name, ENVIRON);
    scripts.iter().fold(Site::new(), add)
}

/// Files and directories as targets. The last alias takes whatever no other one takes.
static PLAIN: SharedHttpd = SharedHttpd::new(|| {
    site_with(&[
        "root.wsgi",
        "app.wsgi",
        "first.wsgi",
        "second.wsgi",
        "dir/a.wsgi",
        "dir/no-suffix",
        "dir/sub/b.wsgi",
    ])
    .config(
        r#"
        WSGIScriptAlias /name ${WSGI}/app.wsgi
        WSGIScriptAlias /unmirrored/ ${WSGI}/app.wsgi
        WSGIScriptAlias /mirrored/ ${WSGI}/app.wsgi/
        WSGIScriptAlias /scripts/ ${WSGI}/dir/
        WSGIScriptAlias /bare ${WSGI}/dir
        WSGIScriptAlias "/two words" ${WSGI}/app.wsgi
        WSGIScriptAlias /caf%C3%A9 ${WSGI}/first.wsgi
        WSGIScriptAlias /café ${WSGI}/second.wsgi
        WSGIScriptAlias /order ${WSGI}/first.wsgi
        WSGIScriptAlias /order/longer ${WSGI}/second.wsgi
        WSGIScriptAlias /again ${WSGI}/first.wsgi
        WSGIScriptAlias /again ${WSGI}/second.wsgi
        WSGIScriptAlias /deep//run ${WSGI}/app.wsgi
        WSGIScriptAlias /missing ${WSGI}/missing.wsgi
        WSGIScriptAlias / ${WSGI}/root.wsgi
        "#,
    )
});

#[test]
fn a_file_target_is_the_script_and_the_rest_is_path_info() {
    check_mappings(
        &PLAIN.borrow(),
        "localhost",
        &[
            ("/name", "app.wsgi", "/name", ""),
            ("/name/", "app.wsgi", "/name", "/"),
            ("/name/x", "app.wsgi", "/name", "/x"),
            ("/name/x/y.html", "app.wsgi", "/name", "/x/y.html"),
            ("/name?x=/y", "app.wsgi", "/name", ""),
            ("http://localhost/name/x", "app.wsgi", "/name", "/x"),
        ],
    );
}

#[test]
fn the_root_alias_has_an_empty_script_name() {
    check_mappings(
        &PLAIN.borrow(),
        "localhost",
        &[
            ("/", "root.wsgi", "", "/"),
            ("/a/b", "root.wsgi", "", "/a/b"),
        ],
    );
}

#[test]
fn a_prefix_ends_at_a_path_segment() {
    check_mappings(
        &PLAIN.borrow(),
        "localhost",
        &[
            ("/namex", "root.wsgi", "", "/namex"),
            ("/nam", "root.wsgi", "", "/nam"),
            ("/name.wsgi", "root.wsgi", "", "/name.wsgi"),
            ("/barely", "root.wsgi", "", "/barely"),
            ("/scripts", "root.wsgi", "", "/scripts"),
        ],
    );
}

#[test]
fn case_counts() {
    check_mappings(
        &PLAIN.borrow(),
        "localhost",
        &[
            ("/NAME", "root.wsgi", "", "/NAME"),
            ("/Name/x", "root.wsgi", "", "/Name/x"),
        ],
    );
}

#[test]
fn the_url_is_decoded_before_it_is_compared_but_the_alias_is_not() {
    check_mappings(
        &PLAIN.borrow(),
        "localhost",
        &[
            ("/n%61me/%78", "app.wsgi", "/name", "/x"),
            ("/two%20words/a%20b", "app.wsgi", "/two words", "/a b"),
            ("/caf%C3%A9", "second.wsgi", "/caf\u{c3}\u{a9}", ""),
            ("/caf%25C3%25A9", "first.wsgi", "/caf%C3%A9", ""),
            ("/name/%C3%A9", "app.wsgi", "/name", "/\u{c3}\u{a9}"),
            ("/name/../name/%2e%2e/x", "root.wsgi", "", "/x"),
        ],
    );
    check_statuses(&PLAIN.borrow(), "localhost", &[("/na%2Fme", 404)]);
}

#[test]
fn repeated_slashes_count_as_one() {
    check_mappings(
        &PLAIN.borrow(),
        "localhost",
        &[
            ("//name", "app.wsgi", "/name", ""),
            ("/name//x///y", "app.wsgi", "/name", "/x/y"),
            ("/deep/run", "app.wsgi", "/deep/run", ""),
            ("/deep///run/x", "app.wsgi", "/deep/run", "/x"),
        ],
    );
}

#[test]
fn the_first_alias_in_the_configuration_wins_not_the_longest() {
    check_mappings(
        &PLAIN.borrow(),
        "localhost",
        &[
            ("/order/longer", "first.wsgi", "/order", "/longer"),
            ("/again", "first.wsgi", "/again", ""),
        ],
    );
}

#[test]
fn a_directory_target_holds_the_scripts() {
    check_mappings(
        &PLAIN.borrow(),
        "localhost",
        &[
            ("/scripts/a.wsgi", "dir/a.wsgi", "/scripts/a.wsgi", ""),
            ("/scripts/a.wsgi/p", "dir/a.wsgi", "/scripts/a.wsgi", "/p"),
            (
                "/scripts/no-suffix",
                "dir/no-suffix",
                "/scripts/no-suffix",
                "",
            ),
            (
                "/scripts/sub/b.wsgi/",
                "dir/sub/b.wsgi",
                "/scripts/sub/b.wsgi",
                "/",
            ),
            ("/bare/a.wsgi/p", "dir/a.wsgi", "/bare/a.wsgi", "/p"),
        ],
    );
}

#[test]
fn a_target_that_is_no_script_is_refused() {
    check_statuses(
        &PLAIN.borrow(),
        "localhost",
        &[
            ("/scripts/", 403),
            ("/scripts/sub", 403),
            ("/scripts/sub/", 403),
            ("/bare", 403),
            ("/scripts/none.wsgi", 404),
            ("/missing", 404),
            ("/missing/x", 404),
        ],
    );
}

#[test]
fn a_relative_target_is_not_found() {
    let server = site_with(&["app.wsgi"])
        .config(
            "WSGIScriptAlias /relative wsgi/app.wsgi
             <Location />
                 Require all granted
             </Location>",
        )
        .start();
    check_statuses(&server, "localhost", &[("/relative", 404)]);
}

#[test]
fn a_trailing_slash_of_the_alias_must_be_mirrored_by_the_target() {
    let server = PLAIN.borrow();
    check_statuses(&server, "localhost", &[("/unmirrored/x", 404)]);
    check_mappings(
        &server,
        "localhost",
        &[("/mirrored/x", "app.wsgi", "/mirrored", "/x")],
    );
}

#[test]
fn a_request_for_the_server_itself_is_not_mapped() {
    let server = PLAIN.borrow();
    let mut connection = server.connect();
    connection.send(b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let response = connection.read_response();
    assert_eq!((response.status, &*response.text()), (200, ""));
}

#[test]
fn slashes_kept_by_httpd_are_still_matched_as_runs() {
    let server = site_with(&["app.wsgi", "root.wsgi"])
        .config(
            "MergeSlashes Off
             WSGIScriptAlias /name ${WSGI}/app.wsgi
             WSGIScriptAlias /deep//run ${WSGI}/app.wsgi
             WSGIScriptAlias / ${WSGI}/root.wsgi",
        )
        .start();
    check_mappings(
        &server,
        "localhost",
        &[
            ("//name", "app.wsgi", "/name", ""),
            ("///name//x///y", "app.wsgi", "/name", "/x/y"),
            ("/deep/run/x", "app.wsgi", "/deep/run", "/x"),
            ("/deep////run//x", "app.wsgi", "/deep/run", "/x"),
            ("//other//x", "root.wsgi", "", "/other/x"),
        ],
    );
}

/// Two virtual hosts, and a base server whose aliases they inherit.
static HOSTS: SharedHttpd = SharedHttpd::new(|| {
    site_with(&["base.wsgi", "one.wsgi", "two.wsgi"]).config(
        "
        WSGIScriptAlias /both/longer ${WSGI}/base.wsgi
        WSGIScriptAlias /both ${WSGI}/base.wsgi
        WSGIScriptAlias /base ${WSGI}/base.wsgi
        <VirtualHost *:*>
            ServerName one.test
            WSGIScriptAlias /both ${WSGI}/one.wsgi
            WSGIScriptAlias /own ${WSGI}/one.wsgi
        </VirtualHost>
        <VirtualHost *:*>
            ServerName two.test
            WSGIScriptAliasMatch ^/both ${WSGI}/two.wsgi
        </VirtualHost>
        <VirtualHost *:*>
            ServerName three.test
        </VirtualHost>
        ",
    )
});

#[test]
fn aliases_of_the_virtual_host_come_before_those_of_the_base_server() {
    let server = HOSTS.borrow();
    check_mappings(
        &server,
        "one.test",
        &[
            ("/both/longer", "one.wsgi", "/both", "/longer"),
            ("/base", "base.wsgi", "/base", ""),
            ("/own", "one.wsgi", "/own", ""),
        ],
    );
    check_mappings(
        &server,
        "two.test",
        &[("/both/longer", "two.wsgi", "/both", "/longer")],
    );
    check_mappings(
        &server,
        "three.test",
        &[("/both/longer/x", "base.wsgi", "/both/longer", "/x")],
    );
}

#[test]
fn an_alias_of_one_virtual_host_is_unknown_to_the_others() {
    let server = HOSTS.borrow();
    check_statuses(&server, "two.test", &[("/own", 404)]);
    check_statuses(&server, "three.test", &[("/own", 404)]);
}

/// Regular expressions, between plain aliases.
static MATCH: SharedHttpd = SharedHttpd::new(|| {
    site_with(&[
        "a.wsgi",
        "foo.wsgi",
        "foo-bar.wsgi",
        "h.py",
        "any12.wsgi",
        "plain.wsgi",
        "rest.wsgi",
        "dollar$1.wsgi",
    ])
    .config(
        r"
        WSGIScriptAlias /plain/first ${WSGI}/plain.wsgi
        WSGIScriptAliasMatch ^/plain ${WSGI}/a.wsgi
        WSGIScriptAlias /plain ${WSGI}/plain.wsgi
        WSGIScriptAliasMatch ^/x/([^/]+) ${WSGI}/$1.wsgi
        WSGIScriptAliasMatch ^/(admin|files) ${WSGI}/h.py/$1
        WSGIScriptAliasMatch /any([0-9]+) ${WSGI}/any$1.wsgi
        WSGIScriptAliasMatch ^/(f)(o+)(/opt)?-(b)(a)(r) ${WSGI}/$1$2$3-$4$5$6.wsgi
        WSGIScriptAliasMatch ^/foo\.wsgi$ ${WSGI}$0
        WSGIScriptAliasMatch ^/(dollar) ${WSGI}/$1\$1.wsgi
        WSGIScriptAliasMatch z* ${WSGI}/a.wsgi
        WSGIScriptAliasMatch ^/ ${WSGI}/rest.wsgi
        ",
    )
});

#[test]
fn back_references_build_the_target() {
    check_mappings(
        &MATCH.borrow(),
        "localhost",
        &[
            ("/x/foo/bar", "foo.wsgi", "/x/foo", "/bar"),
            ("/x/foo", "foo.wsgi", "/x/foo", ""),
            ("/foo-bar/x", "foo-bar.wsgi", "/foo-bar", "/x"),
            ("/foo.wsgi", "foo.wsgi", "/foo.wsgi", ""),
            ("/dollar", "dollar$1.wsgi", "/dollar", ""),
        ],
    );
    check_statuses(&MATCH.borrow(), "localhost", &[("/x/unknown", 404)]);
}

#[test]
fn what_a_target_has_beyond_the_script_is_path_info() {
    check_mappings(
        &MATCH.borrow(),
        "localhost",
        &[
            ("/admin/z", "h.py", "", "/admin/z"),
            ("/files", "h.py", "", "/files"),
        ],
    );
}

#[test]
fn an_expression_is_found_anywhere_in_the_url() {
    check_mappings(
        &MATCH.borrow(),
        "localhost",
        &[("/pre/any12/rest", "any12.wsgi", "/pre/any12", "/rest")],
    );
}

#[test]
fn an_expression_is_case_sensitive_and_an_empty_match_is_none() {
    check_mappings(
        &MATCH.borrow(),
        "localhost",
        &[
            ("/X/foo", "rest.wsgi", "", "/X/foo"),
            ("/zz", "rest.wsgi", "", "/zz"),
        ],
    );
}

#[test]
fn plain_aliases_and_expressions_share_one_order() {
    check_mappings(
        &MATCH.borrow(),
        "localhost",
        &[
            ("/plain/first", "plain.wsgi", "/plain/first", ""),
            ("/plain/x", "a.wsgi", "/plain", "/x"),
        ],
    );
    // An expression does not care for path segments: this asks for a script `a.wsgier`.
    check_statuses(&MATCH.borrow(), "localhost", &[("/plainer", 404)]);
}

#[test]
fn an_alias_of_mod_alias_comes_first() {
    let server = Site::new()
        .module("alias")
        .script("app.wsgi", ENVIRON)
        .file("www/files/static.txt", "from mod_alias")
        .config(
            "WSGIScriptAlias / ${WSGI}/app.wsgi
             WSGIScriptAlias /files ${WSGI}/app.wsgi
             Alias /files ${WWW}/files",
        )
        .start();
    assert_eq!(server.get("/files/static.txt").text(), "from mod_alias");
    assert_eq!(server.get("/files/none.txt").status, 404);
    check_mappings(
        &server,
        "localhost",
        &[("/other", "app.wsgi", "", "/other")],
    );
}

/// The other ways to say that a file is a script.
static HANDLERS: SharedHttpd = SharedHttpd::new(|| {
    Site::new()
        .module("alias")
        .module("mime")
        .script("dir/a.wsgi", ENVIRON)
        .file("www/handler/a.wsgi", ENVIRON)
        .file("www/handler/page.txt", "a page")
        .file("www/type/a.wsgi", ENVIRON)
        .file("www/plain/a.wsgi", ENVIRON)
        .file("www/allowed/a.wsgi", ENVIRON)
        .file(
            "www/allowed/.htaccess",
            "SetHandler wsgi-script\nOptions +ExecCGI\n",
        )
        .file("www/halfway/a.wsgi", ENVIRON)
        .file("www/halfway/.htaccess", "SetHandler wsgi-script\n")
        .config(
            "
            TypesConfig /dev/null
            WSGIScriptAlias /ours/ ${WSGI}/dir/
            Alias /equivalent/ ${WSGI}/dir/
            <Location /equivalent>
                SetHandler wsgi-script
                Options +ExecCGI
            </Location>
            Alias /no-exec/ ${WSGI}/dir/
            <Location /no-exec>
                SetHandler wsgi-script
            </Location>
            <Directory ${WWW}/handler>
                AddHandler wsgi-script .wsgi
                Options +ExecCGI
            </Directory>
            <Directory ${WWW}/type>
                AddType application/x-httpd-wsgi .wsgi
                Options +ExecCGI
            </Directory>
            <Directory ${WWW}>
                AllowOverride All
            </Directory>
            ",
        )
});

#[test]
fn alias_with_set_handler_and_exec_cgi_is_equivalent() {
    let server = HANDLERS.borrow();
    for url in ["/a.wsgi", "/a.wsgi/p/q"] {
        let ours = environ(&server.get(&format!("/ours{url}")));
        let other = environ(&server.get(&format!("/equivalent{url}")));
        for key in [
            "__file__",
            "SCRIPT_FILENAME",
            "PATH_INFO",
            "mod_wsgi.request_handler",
        ] {
            assert_eq!(ours.value(key), other.value(key), "{url} {key}");
        }
        assert_eq!(other.value("SCRIPT_NAME"), "/equivalent/a.wsgi");
    }
}

#[test]
fn a_handler_without_an_alias_needs_exec_cgi() {
    let server = HANDLERS.borrow();
    let mark = server.log().mark();
    check_statuses(
        &server,
        "localhost",
        &[("/no-exec/a.wsgi", 403), ("/halfway/a.wsgi", 403)],
    );
    server.log().wait_for(mark, "WSGI0134");
}

#[test]
fn an_alias_needs_no_exec_cgi() {
    let server = HANDLERS.borrow();
    assert_eq!(server.get("/ours/a.wsgi").status, 200);
}

#[test]
fn add_handler_makes_scripts_of_a_suffix() {
    let server = HANDLERS.borrow();
    let seen = environ(&server.get("/handler/a.wsgi/p"));
    assert_eq!(seen.value("SCRIPT_NAME"), "/handler/a.wsgi");
    assert_eq!(seen.value("PATH_INFO"), "/p");
    assert_eq!(seen.value("mod_wsgi.request_handler"), "wsgi-script");
    assert_eq!(server.get("/handler/page.txt").text(), "a page");
}

#[test]
fn add_type_makes_scripts_of_a_suffix() {
    let seen = environ(&HANDLERS.borrow().get("/type/a.wsgi"));
    assert_eq!(seen.value("SCRIPT_NAME"), "/type/a.wsgi");
    assert_eq!(
        seen.value("mod_wsgi.request_handler"),
        "application/x-httpd-wsgi"
    );
}

#[test]
fn htaccess_makes_scripts_below_the_document_root() {
    let server = HANDLERS.borrow();
    let seen = environ(&server.get("/allowed/a.wsgi/p"));
    assert_eq!(seen.value("SCRIPT_NAME"), "/allowed/a.wsgi");
    assert_eq!(
        server.get("/plain/a.wsgi").text(),
        ENVIRON,
        "no script without a handler"
    );
}

#[test]
fn the_directory_of_the_script_must_be_granted() {
    let server = Site::new()
        .file("elsewhere/app.wsgi", answering("secret"))
        .config("WSGIScriptAlias /secret ${ROOT}/elsewhere/app.wsgi")
        .start();
    let response = server.get("/secret");
    assert_eq!(response.status, 403);
    assert!(!response.text().contains("secret\n"), "{}", response.text());
}
