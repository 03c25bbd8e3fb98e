//! How `WSGIScriptAlias` maps URLs to scripts.

use testkit::{SharedHttpd, Site};

use crate::apps::{ENVIRON, answering};
use crate::mapping::{check_mappings, check_statuses, site_with};

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

#[test]
fn an_alias_comes_before_the_directories_of_users_and_hosts() {
    let server = Site::new()
        .module("userdir")
        .module("vhost_alias")
        .script("answer.wsgi", &answering("the application"))
        .file("www/~someone/page", "never")
        .file("hosts/localhost/page", "of the host")
        .config(
            "UserDir ${WWW}
             VirtualDocumentRoot ${ROOT}/hosts/%0
             UseCanonicalName Off
             <Directory ${ROOT}/hosts>
                 Require all granted
             </Directory>
             WSGIScriptAlias /~someone ${WSGI}/answer.wsgi
             WSGIScriptAlias /app ${WSGI}/answer.wsgi",
        )
        .start();
    assert_eq!(server.get("/~someone/page").text(), "the application");
    assert_eq!(server.get("/app").text(), "the application");
    assert_eq!(server.get("/page").text(), "of the host");
}
