//! How `WSGIScriptAliasMatch` maps URLs to scripts.

use testkit::SharedHttpd;

use crate::mapping::{check_mappings, check_statuses, site_with};

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

/// What stands in an expression, and in what it maps to, beyond the usual.
static WORDS: SharedHttpd = SharedHttpd::new(|| {
    site_with(&["a.wsgi"]).config(
        r"
        WSGIScriptAliasMatch ^/ten/(.)(.)(.)(.)(.)(.)(.)(.)(.)(.) ${WSGI}/a.wsgi/$1-$9-$10
        WSGIScriptAliasMatch ^/and/(.*)$ ${WSGI}/a.wsgi/&x
        WSGIScriptAliasMatch ^/escaped/(x) ${WSGI}/a.wsgi/\$1-\\-\q
        WSGIScriptAliasMatch ^/dollar ${WSGI}/a.wsgi/$
        WSGIScriptAliasMatch ^/un(a)?(b) ${WSGI}/a.wsgi/[$1]$2$7
        WSGIScriptAliasMatch (?i)^/case ${WSGI}/a.wsgi
        WSGIScriptAliasMatch ^/one|^/two ${WSGI}/a.wsgi
        WSGIScriptAliasMatch ^/look(?=/x) ${WSGI}/a.wsgi
        WSGIScriptAliasMatch '^/sp ace' ${WSGI}/a.wsgi
        WSGIScriptAliasMatch ^/named/(?<name>.) ${WSGI}/a.wsgi/$1
        WSGIScriptAliasMatch ^/twice/(.*) ${WSGI}/a.wsgi/$1/$1
        WSGIScriptAliasMatch \.end$ ${WSGI}/a.wsgi
        ",
    )
});

#[test]
fn expressions_are_those_of_httpd() {
    check_mappings(
        &WORDS.borrow(),
        "localhost",
        &[
            ("/CaSe/x", "a.wsgi", "/CaSe", "/x"),
            ("/one/1", "a.wsgi", "/one", "/1"),
            ("/two/1", "a.wsgi", "/two", "/1"),
            ("/look/x", "a.wsgi", "/look", "/x"),
            ("/sp%20ace/1", "a.wsgi", "/sp ace", "/1"),
            ("/x/y.end", "a.wsgi", "/x/y.end", ""),
        ],
    );
    check_statuses(
        &WORDS.borrow(),
        "localhost",
        &[("/look", 404), ("/x/y.end/z", 404)],
    );
}

#[test]
fn targets_are_those_of_httpd() {
    check_mappings(
        &WORDS.borrow(),
        "localhost",
        &[
            // There are ten references, the last of which is `$9`.
            (
                "/ten/abcdefghij/r",
                "a.wsgi",
                "/ten/abcdefghij",
                "/a-i-a0/r",
            ),
            ("/and/y/z", "a.wsgi", "/and/y/z", "/&x"),
            ("/escaped/x/y", "a.wsgi", "/escaped/x", "/$1--q/y"),
            ("/dollar/z", "a.wsgi", "/dollar", "/$/z"),
            ("/unb", "a.wsgi", "/unb", "/[]b"),
            ("/unab/x", "a.wsgi", "/unab", "/[a]b/x"),
            ("/named/q/r", "a.wsgi", "/named", "/q/r"),
            ("/twice/r/s", "a.wsgi", "/twice", "/r/s/r/s"),
        ],
    );
}

/// What matches nothing at the end of a URL matches there.
#[test]
fn an_empty_match_at_the_end_is_one() {
    let server = site_with(&["a.wsgi"])
        .config("WSGIScriptAliasMatch $ ${WSGI}/a.wsgi")
        .start();
    check_mappings(
        &server,
        "localhost",
        &[
            ("/", "a.wsgi", "", "/"),
            ("/x", "a.wsgi", "/x", ""),
            ("/x/y", "a.wsgi", "/x/y", ""),
        ],
    );
}
