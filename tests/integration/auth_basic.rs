//! `WSGIAuthUserScript` with `AuthType Basic`: whether a password is a user's.

use testkit::{Httpd, Site, ours};

use crate::hook_site::{ask_as, check_logged, guarded_site, hook_site, variable, with_values};

/// Answers what the user's name says.
const PASSWORDS: &str = r#"
def check_password(environ, user, password):
    if password != 'secret':
        return False
    return value(user)
"#;

const BASIC: &str = "
AuthType Basic
AuthName test
AuthBasicProvider wsgi
Require valid-user
";

/// A site whose users are let in as `source` says.
fn guarded_by(source: &str) -> Site {
    guarded_site(BASIC, source)
}

fn site() -> Site {
    guarded_by(&with_values(PASSWORDS))
}

#[test]
fn each_result_has_its_status() {
    let server = site().start();
    for (user, status, id) in [
        ("true", 200, ""),
        ("text", 200, ""),
        ("subtype", 200, ""),
        ("euro", 200, ""),
        ("false", 401, ""),
        ("none", 401, ""),
        ("empty", 500, "WSGI0176"),
        ("one", 500, "WSGI0177"),
        ("zero", 500, "WSGI0177"),
        ("bytes", 500, "WSGI0177"),
        ("list", 500, "WSGI0177"),
        ("surrogate", 500, "WSGI0174"),
        ("raise", 500, "WSGI0174"),
        ("exit", 500, "WSGI0175"),
        ("interrupt", 500, "WSGI0174"),
    ] {
        let mark = server.log().mark();
        let answer = ask_as(&server, "/app", user);
        assert_eq!(answer.status, status, "{user}");
        check_logged(&server, mark, id);
        assert_eq!(
            answer.head.contains("WWW-Authenticate: Basic"),
            status == 401
        );
    }
    assert_eq!(ask_as(&server, "/app", "").status, 401);
}

#[test]
fn the_user_is_known_by_the_name_that_was_returned() {
    let server = site().start();
    for (user, name) in [
        ("true", "true"),
        ("text", "bob"),
        ("subtype", "bob"),
        // UTF-8, as WSGI has it: bytes taken for Latin-1.
        ("euro", "b\u{e2}\u{82}\u{ac}b"),
        ("latin", "b\u{c3}\u{a9}b"),
    ] {
        let answer = ask_as(&server, "/app", user);
        assert_eq!(variable(&answer, "REMOTE_USER"), name, "{user}");
        assert_eq!(variable(&answer, "AUTH_TYPE"), "Basic");
        assert_eq!(variable(&answer, "HTTP_AUTHORIZATION"), "<absent>");
    }
}

#[test]
fn a_name_is_not_cut_off_at_a_nul() {
    let server = site().start();
    let mark = server.log().mark();
    let answer = ask_as(&server, "/app", "nul");
    if ours("D86") {
        assert_eq!(answer.status, 500);
        check_logged(&server, mark, "WSGI1300");
    }
}

#[test]
fn a_script_that_cannot_be_asked_is_an_error() {
    let server = site().start();
    for (place, id) in [
        ("/app/missing", "WSGI0105"),
        ("/app/broken", "WSGI0109"),
        ("/app/empty", "WSGI0043"),
        ("/unset", "WSGI0041"),
    ] {
        let mark = server.log().mark();
        assert_eq!(ask_as(&server, place, "true").status, 500, "{place}");
        check_logged(&server, mark, id);
    }
}

#[test]
fn names_and_passwords_are_latin_1() {
    let server = guarded_by(
        "def check_password(environ, user, password):\n    \
             return ascii((user, password, 'HTTP_AUTHORIZATION' in environ))\n",
    )
    .start();
    let request = testkit::Request::get("/app");
    // `é:x:ü` in UTF-8: the name ends at the first colon.
    let request = request.header("Authorization", "Basic w6k6eDrDvA==");
    let seen = crate::apps::environ(&server.send(&request));
    assert_eq!(
        seen.value("REMOTE_USER"),
        r"('\xc3\xa9', 'x:\xc3\xbc', False)"
    );
}

/// A password file in which `filed` has the password `secret`.
const PASSWORD_FILE: &str = "filed:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n";

#[test]
fn a_user_that_is_not_known_is_left_to_the_next_provider() {
    let server = hook_site()
        .script(
            "passwords.py",
            &with_values(
                "def check_password(environ, user, password):\n    \
             return {'filed': None, 'known': True, 'wrong': False}.get(user, 1)\n",
            ),
        )
        .file("conf/passwords", PASSWORD_FILE)
        .config(
            "
            <Location /app>
                AuthType Basic
                AuthName test
                AuthBasicProvider wsgi file
                AuthUserFile ${ROOT}/conf/passwords
                WSGIAuthUserScript ${WSGI}/passwords.py
                Require valid-user
            </Location>
            <Location /app/turned>
                AuthBasicProvider file wsgi
            </Location>
            ",
        )
        .start();
    for (url, user, status) in [
        ("/app", "filed", 200),
        ("/app", "known", 200),
        ("/app", "wrong", 401),
        ("/app", "other", 500),
        ("/app/turned", "filed", 200),
        ("/app/turned", "known", 200),
        ("/app/turned", "other", 500),
    ] {
        assert_eq!(ask_as(&server, url, user).status, status, "{url} {user}");
    }
}

#[test]
fn the_require_of_httpd_sees_the_name_that_was_returned() {
    let server = site()
        .config("<Location /app/bob>\nRequire user bob\n</Location>")
        .start();
    assert_eq!(ask_as(&server, "/app/bob", "text").status, 200);
    assert_eq!(ask_as(&server, "/app/bob", "true").status, 401);
}

#[test]
fn a_changed_script_is_loaded_anew_in_place() {
    let source = |users: &str| {
        format!(
            "import sys, os
sys.loads = getattr(sys, 'loads', 0) + 1
def reload_required(resource):
    raise AssertionError('not asked')
def check_password(environ, user, password):
    return user in {users} and f'{{user}}-{{sys.loads}}-{{os.getpid()}}'
"
        )
    };
    let server = guarded_by(&source("('eve',)")).start();
    let pid = child_of(&server);
    let name = |user| variable(&ask_as(&server, "/app", user), "REMOTE_USER");
    assert_eq!(name("eve"), format!("eve-1-{pid}"));
    assert_eq!(name("eve"), format!("eve-1-{pid}"));
    server.site().write("wsgi/users.py", source("('adam',)"));
    assert_eq!(name("adam"), format!("adam-2-{pid}"));
    assert_eq!(ask_as(&server, "/app", "eve").status, 401);
    server
        .site()
        .write("wsgi/users.py", "import no_such_module\n");
    assert_eq!(ask_as(&server, "/app", "adam").status, 500);
    server.site().write("wsgi/users.py", source("('eve',)"));
    assert_eq!(name("eve"), format!("eve-3-{pid}"));
    let asked = server.log().matching(testkit::Mark::START, "not asked");
    assert!(asked.is_empty(), "{asked:?}");
}

fn child_of(server: &Httpd) -> i32 {
    let child = || server.children().first().map(|child| child.pid);
    testkit::wait_until("a child", child)
}

#[test]
fn a_script_that_changes_under_load_answers_every_request() {
    let version = |number: u32| format!("def check_password(e, u, p): return 'version{number}'\n");
    let server = guarded_by(&version(0)).start();
    let request = || {
        let request = testkit::Request::get("/app").header("Authorization", "Basic ZXZlOng=");
        let seen = crate::apps::environ(&server.send(&request));
        let version = seen.value("REMOTE_USER").strip_prefix("version");
        version.and_then(|number| number.parse::<u32>().ok())
    };
    crate::apps::at_once(6, |client| {
        for number in 1..=20 {
            match client {
                0 => {
                    server.site().write("wsgi/users.py", version(number));
                    assert_eq!(request(), Some(number), "it is not seen at once");
                }
                _ => assert!(request().is_some_and(|seen| seen <= 20)),
            }
        }
    });
}

#[test]
fn a_script_stays_as_it_is_where_reloading_is_off() {
    let always = |name: &str| format!("def check_password(e, u, p): return {name:?}");
    let server = guarded_by(&always("first"))
        .config("<Location /app>\nWSGIScriptReloading Off\n</Location>")
        .start();
    let name = || variable(&ask_as(&server, "/app", "eve"), "REMOTE_USER");
    assert_eq!(name(), "first");
    server.site().write("wsgi/users.py", always("second"));
    assert_eq!(name(), "first");
}

#[test]
fn an_application_in_a_process_group_is_guarded_from_httpds_processes() {
    let server = hook_site()
        .script(
            "passwords.py",
            "import os, mod_wsgi\ndef check_password(environ, user, password):\n    \
             return ascii((os.getpid(), environ['mod_wsgi.process_group'],\n                  \
             mod_wsgi.process_group))\n",
        )
        .script("where.wsgi", crate::apps::WHERE)
        .config(&format!(
            "
            WSGIRestrictEmbedded On
            WSGISocketPrefix ${{ROOT}}/logs/wsgi
            WSGIDaemonProcess guarded
            WSGIScriptAlias /guarded ${{WSGI}}/app.wsgi process-group=guarded
            <LocationMatch ^/(app|guarded)>
                {BASIC}
                WSGIAuthUserScript ${{WSGI}}/passwords.py
            </LocationMatch>
            "
        ))
        .start();
    let answer = ask_as(&server, "/guarded", "eve");
    assert_eq!(variable(&answer, "mod_wsgi.process_group"), "guarded");
    let name = variable(&answer, "REMOTE_USER");
    assert!(name.ends_with(", '', '')"), "{name}");
    let pid = variable(&answer, "mod_wsgi.server_pid");
    assert!(name.starts_with(&format!("({pid}, ")), "{name}: {pid}");
    // That hooks need Python there does not let applications in.
    let mark = server.log().mark();
    assert_eq!(ask_as(&server, "/app", "eve").status, 500);
    check_logged(&server, mark, "WSGI0143");
}

#[test]
fn many_users_are_let_in_at_once() {
    let server = guarded_by(
        "import time\ndef check_password(environ, user, password):\n    \
             time.sleep(0.01)\n    return None if user.endswith('3') else user + '!'\n",
    )
    .start();
    let answers = crate::apps::at_once(12, |number| {
        (0..5)
            .map(|round| {
                let user = format!("user{round}-{number}");
                let answer = ask_as(&server, "/app", &user);
                (user, answer)
            })
            .collect::<Vec<_>>()
    });
    for (user, answer) in answers.into_iter().flatten() {
        if user.ends_with('3') {
            assert_eq!(answer.status, 401, "{user}");
        } else {
            assert_eq!(variable(&answer, "REMOTE_USER"), format!("{user}!"));
        }
    }
}

#[test]
fn what_a_script_writes_is_in_the_log() {
    let server = guarded_by(
        "def check_password(environ, user, password):\n    \
             print('to the log of the request', file=environ['wsgi.errors'])\n    \
             print('printed')\n    \
             environ['wsgi.errors'].write('without an end')\n    return True\n",
    )
    .start();
    let mark = server.log().mark();
    assert_eq!(ask_as(&server, "/app", "eve").status, 200);
    for text in ["to the log of the request", "printed", "without an end"] {
        let line = server.log().wait_for(mark, text);
        assert!(line.contains("[wsgi:error]"), "{line}");
    }
    let line = server.log().wait_for(mark, "to the log of the request");
    assert!(line.contains("[client 127.0.0.1:"), "{line}");
}
