//! `WSGIAuthGroupScript`: whether a user is in one of the groups that `Require wsgi-group` names.

use testkit::{Httpd, Site, ours};

use crate::hook_site::{ask_as, check_logged, hook_site};

/// Every user is who they say they are, and in the groups that their name says.
const GROUPS: &str = r#"
class Text(str): pass

class Broken:
    def __iter__(self):
        raise ValueError('no iterator')

def giving(*items):
    yield from items
    raise ValueError('in the middle')

def check_password(environ, user, password):
    return True

def groups_for_user(environ, user):
    print('asked for', user, file=environ['wsgi.errors'])
    if user == 'raise': raise KeyError('boom')
    if user == 'exit': raise SystemExit('enough')
    return {
        'list': ['x', 'staff'], 'tuple': ('staff',), 'set': {'staff'}, 'dict': {'staff': 1},
        'iterator': iter(['x', 'staff']), 'octets': [b'staff'], 'derived': [Text('staff')],
        'upper': ['STAFF'], 'spaced': ['old hands'], 'latin': ['\xe9'],
        'none': None, 'number': 5, 'true': True, 'broken': Broken(), 'text': 'staff',
        'letters': 'xs', 'bytes': b'staff', 'items': ['staff', 1], 'euro': ['staff', '\u20ac'],
        'nobody': [], 'others': ['x', 'staffs'], 'blank': [''],
        'cut': giving('staff'), 'late': giving('x', 'y'), 'early': giving(), 'nul': ['staff\0x'],
    }[user]
"#;

fn site() -> Site {
    hook_site().script("groups.py", GROUPS).config(
        "
        <LocationMatch ^/(app|unset)>
            AuthType Basic
            AuthName test
            AuthBasicProvider wsgi
            WSGIAuthUserScript ${WSGI}/groups.py
        </LocationMatch>
        <Location /app>
            WSGIAuthGroupScript ${WSGI}/groups.py
            Require wsgi-group staff
        </Location>
        <Location /app/many>
            Require wsgi-group nobody 'old hands' s
        </Location>
        <Location /app/two>
            Require wsgi-group nobody
            Require wsgi-group staff
        </Location>
        <Location /app/no-name>
            Require wsgi-group
        </Location>
        <Location /app/empty-name>
            Require wsgi-group nobody '' staff
        </Location>
        <Location /app/empty-name-behind>
            Require wsgi-group staff '' nobody
        </Location>
        <Location /app/missing>
            WSGIAuthGroupScript ${WSGI}/none.py
        </Location>
        <Location /app/broken>
            WSGIAuthGroupScript ${WSGI}/broken.py
        </Location>
        <Location /app/empty>
            WSGIAuthGroupScript ${WSGI}/empty.py
        </Location>
        <Location /app/not>
            <RequireAll>
                Require valid-user
                Require not wsgi-group staff
            </RequireAll>
        </Location>
        <Location /app/none>
            <RequireAll>
                Require valid-user
                <RequireNone>
                    <RequireAny>
                        Require wsgi-group staff
                    </RequireAny>
                </RequireNone>
            </RequireAll>
        </Location>
        <Location /app/any>
            <RequireAny>
                Require wsgi-group staff
                Require ip 127.0.0.1
            </RequireAny>
        </Location>
        <Location /app/all>
            <RequireAll>
                Require wsgi-group staff
                Require not ip 127.0.0.1
            </RequireAll>
        </Location>
        <AuthzProviderAlias wsgi-group of-staff staff>
        </AuthzProviderAlias>
        <Location /app/alias>
            Require of-staff
        </Location>
        <Location /app/not-alias>
            <RequireAll>
                Require valid-user
                Require 'NOT' of-staff
            </RequireAll>
        </Location>
        WSGIScriptAlias /unset ${WSGI}/app.wsgi
        <Location /unset>
            Require wsgi-group staff
        </Location>
        ",
    )
}

fn check(server: &Httpd, url: &str, user: &str, status: u16, id: &str) {
    let mark = server.log().mark();
    let answer = ask_as(server, url, user);
    assert_eq!(answer.status, status, "{url} as {user}: {answer:?}");
    check_logged(server, mark, id);
}

#[test]
fn behind_an_empty_name_there_is_none() {
    let server = site().start();
    check(&server, "/app/empty-name", "list", 401, "WSGI0060");
    check(&server, "/app/empty-name-behind", "list", 200, "");
}

#[test]
fn each_result_has_its_status() {
    let server = site().start();
    for user in [
        "list", "tuple", "set", "dict", "iterator", "octets", "derived", "upper",
    ] {
        check(&server, "/app", user, 200, "");
    }
    for (user, id) in [
        ("nobody", "WSGI0059"),
        ("others", "WSGI0060"),
        ("blank", "WSGI0060"),
        // The letters of a text are what it gives.
        ("text", "WSGI0060"),
        ("letters", "WSGI0060"),
        ("items", "WSGI0050"),
        ("bytes", "WSGI0050"),
        ("euro", "WSGI0049"),
        ("none", "WSGI0051"),
        ("number", "WSGI0051"),
        ("true", "WSGI0051"),
        ("broken", "WSGI0051"),
        ("raise", "WSGI0174"),
        ("exit", "WSGI0175"),
    ] {
        check(&server, "/app", user, 401, id);
    }
    assert_eq!(ask_as(&server, "/app", "").status, 401);
}

#[test]
fn what_an_iteration_gave_before_it_failed_counts() {
    let server = site().start();
    check(&server, "/app", "cut", 200, "WSGI0174");
    for (user, id) in [("late", "WSGI0060"), ("early", "WSGI0059")] {
        let mark = server.log().mark();
        check(&server, "/app", user, 401, "WSGI0174");
        server.log().wait_for(mark, id);
    }
}

#[test]
fn a_group_is_not_cut_off_at_a_nul() {
    let server = site().start();
    let answer = ask_as(&server, "/app", "nul");
    if ours("D86") {
        assert_eq!(answer.status, 401);
    }
}

#[test]
fn several_groups_and_several_lines_may_be_required() {
    let server = site().start();
    check(&server, "/app/many", "spaced", 200, "");
    check(&server, "/app/many", "letters", 200, "");
    check(&server, "/app/many", "others", 401, "WSGI0060");
    check(&server, "/app/no-name", "list", 401, "WSGI0060");
    // The function is called for each line.
    let mark = server.log().mark();
    assert_eq!(ask_as(&server, "/app/two", "list").status, 200);
    assert_eq!(server.log().matching(mark, "asked for list").len(), 2);
    server.log().wait_for(mark, "WSGI0060");
}

#[test]
fn a_script_that_cannot_be_asked_lets_nobody_in() {
    let server = site().start();
    check(&server, "/app/missing", "list", 401, "WSGI0105");
    check(&server, "/app/broken", "list", 401, "WSGI0109");
    check(&server, "/app/empty", "list", 401, "WSGI0052");
    check(&server, "/unset", "list", 401, "WSGI0058");
}

#[test]
fn groups_combine_with_other_requirements() {
    let server = site().start();
    for (place, user, status) in [
        ("not", "list", 401),
        ("not", "others", 200),
        ("not", "nobody", 200),
        ("none", "list", 401),
        ("none", "others", 200),
        ("alias", "list", 200),
        ("alias", "others", 401),
        ("not-alias", "list", 401),
        ("not-alias", "others", 200),
        ("any", "", 200),
        ("any", "others", 200),
        ("all", "list", 403),
        ("all", "others", 403),
    ] {
        let answer = ask_as(&server, &format!("/app/{place}"), user);
        assert_eq!(answer.status, status, "{place} as {user}: {answer:?}");
    }
}

#[test]
fn a_failure_lets_nobody_in_where_groups_count_against_users() {
    let server = site().start();
    for place in ["/app/not", "/app/none", "/app/not-alias"] {
        for user in ["raise", "exit", "items", "none", "late", "early"] {
            let answer = ask_as(&server, place, user);
            if ours("D85") {
                assert_eq!(answer.status, 500, "{place} as {user}: {answer:?}");
            }
        }
        // What is certain is certain.
        assert_eq!(ask_as(&server, place, "cut").status, 401, "{place}");
    }
}

#[test]
fn a_denial_is_told_with_user_and_url() {
    let server = site().start();
    let mark = server.log().mark();
    ask_as(&server, "/app/x", "others");
    let line = server.log().wait_for(mark, "WSGI0060");
    let words = "Authorization of user 'others' to access '/app/x' failed";
    assert!(line.contains(words), "{line}");
}

/// That is for mod_authz_groupfile, which has files of groups, and asks nobody.
#[test]
fn require_group_is_not_ours() {
    let config = "
        <Location /app>
            AuthType Basic
            AuthName test
            AuthBasicProvider wsgi
            WSGIAuthUserScript ${WSGI}/groups.py
            WSGIAuthGroupScript ${WSGI}/groups.py
            WSGIGroupAuthoritative Off
            Require group staff
        </Location>
    ";
    let site = || hook_site().script("groups.py", GROUPS).config(config);
    let answer = site().configtest();
    assert!(!answer.success, "{}", answer.text);
    assert!(
        answer.text.contains("Unknown Authz provider: group"),
        "{}",
        answer.text
    );

    let server = site()
        .module("authz_groupfile")
        .file("conf/groups", "staff: filed\n")
        .config("<Location /app>\nAuthGroupFile ${ROOT}/conf/groups\n</Location>")
        .start();
    let mark = server.log().mark();
    assert_eq!(ask_as(&server, "/app", "filed").status, 200);
    assert_eq!(ask_as(&server, "/app", "list").status, 401);
    assert!(server.log().matching(mark, "asked for").is_empty());
}

#[test]
fn require_of_a_group_needs_a_user() {
    let server = hook_site()
        .script("groups.py", GROUPS)
        .config(
            "<Location /app>\nWSGIAuthGroupScript ${WSGI}/groups.py\n\
             Require wsgi-group staff\n</Location>",
        )
        .start();
    let mark = server.log().mark();
    let answer = ask_as(&server, "/app", "");
    assert!(matches!(answer.status, 401 | 403 | 500), "{answer:?}");
    assert!(server.log().matching(mark, "asked for").is_empty());
}
