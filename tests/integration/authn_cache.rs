//! `WSGIAuthUserScript` beside mod_authn_socache: `AuthnCacheProvideFor wsgi` has it remember what
//! the script said.

use testkit::{Curl, Httpd, Mark, Site, ours};

use crate::hook_site::{ask_as, ask_by_digest, hook_site, variable};

/// Says that it was asked.
const USERS: &str = r#"
import hashlib

def check_password(environ, user, password):
    print('asked for', user, file=environ['wsgi.errors'])
    answers = {'same': user, 'mapped': 'somebody', 'absent': None}
    return answers.get(user, True) if password == 'secret' else False

def get_realm_hash(environ, user, realm):
    print('asked for', user, file=environ['wsgi.errors'])
    if user == 'absent':
        return None
    return hashlib.md5(f'{user}:{realm}:secret'.encode()).hexdigest()
"#;

fn site(kind: &str, provided: &str) -> Site {
    hook_site()
        .module("socache_shmcb")
        .module("authn_socache")
        .script("users.py", USERS)
        .config(&format!(
            "AuthnCacheSOCache shmcb
            <Location /app>
                AuthType {kind}
                AuthName area
                Auth{kind}Provider socache wsgi
                {provided}
                WSGIAuthUserScript ${{WSGI}}/users.py
                Require valid-user
            </Location>"
        ))
}

fn times_asked(server: &Httpd, user: &str) -> usize {
    let lines = server
        .log()
        .matching(Mark::START, &format!("asked for {user}"));
    lines.len()
}

#[test]
fn a_password_is_remembered() {
    if !ours("D98") {
        return;
    }
    let server = site("Basic", "AuthnCacheProvideFor wsgi").start();
    for user in ["plain", "same"] {
        for _ in 0..3 {
            let answer = ask_as(&server, "/app", user);
            assert_eq!(variable(&answer, "REMOTE_USER"), user);
        }
        assert_eq!(times_asked(&server, user), 1, "{user}");
    }
    let wrong = Curl::http(&server, "/app").args(["--user", "plain:wrong"]);
    assert_eq!(wrong.send().status, 401);
}

#[test]
fn what_stands_for_a_password_is_remembered() {
    if !ours("D98") {
        return;
    }
    let server = site("Digest", "AuthnCacheProvideFor file \"wsgi\"").start();
    for _ in 0..3 {
        let answer = ask_by_digest(&server, "/app", "plain");
        assert_eq!(variable(&answer, "REMOTE_USER"), "plain");
    }
    assert_eq!(times_asked(&server, "plain"), 1);
}

/// The cache has the password, not the name that the script gives the user.
#[test]
fn a_user_who_goes_by_another_name_is_asked_for_each_time() {
    let server = site("Basic", "AuthnCacheProvideFor wsgi").start();
    for _ in 0..2 {
        let answer = ask_as(&server, "/app", "mapped");
        assert_eq!(variable(&answer, "REMOTE_USER"), "somebody");
    }
    assert_eq!(times_asked(&server, "mapped"), 2);
}

#[test]
fn one_who_is_not_let_in_is_asked_for_each_time() {
    for (kind, ask) in [
        ("Basic", ask_as as fn(&Httpd, &str, &str) -> _),
        ("Digest", ask_by_digest),
    ] {
        let server = site(kind, "AuthnCacheProvideFor wsgi").start();
        for _ in 0..2 {
            assert_eq!(ask(&server, "/app", "absent").status, 401);
        }
        assert_eq!(times_asked(&server, "absent"), 2, "{kind}");
    }
}

#[test]
fn nothing_is_remembered_unasked() {
    for provided in ["", "AuthnCacheProvideFor file"] {
        let server = site("Basic", provided).start();
        for _ in 0..2 {
            assert_eq!(ask_as(&server, "/app", "plain").status, 200);
        }
        assert_eq!(times_asked(&server, "plain"), 2, "{provided}");
    }
}

/// The cache does not know of scripts, but of contexts.
#[test]
fn scripts_that_are_not_kept_apart_are_warned_of() {
    if !ours("D98") {
        return;
    }
    for (provided, context, is_warned) in [
        ("AuthnCacheProvideFor wsgi", "", true),
        (
            "AuthnCacheProvideFor wsgi",
            "AuthnCacheContext server",
            true,
        ),
        (
            "AuthnCacheProvideFor wsgi",
            "AuthnCacheContext other",
            false,
        ),
        ("AuthnCacheProvideFor file", "", false),
    ] {
        let one = site("Basic", provided);
        let answer = one.configtest();
        assert!(!answer.text.contains("WSGI1470"), "{}", answer.text);

        let two = site("Basic", provided)
            .script("others.py", USERS)
            .config(&format!(
                "<Location /other>
                    {provided}
                    {context}
                    WSGIAuthUserScript ${{WSGI}}/others.py
                </Location>"
            ));
        let answer = two.configtest();
        assert!(answer.success, "{}", answer.text);
        let warning = answer.text.contains("WSGI1470: WSGIAuthUserScript ");
        assert_eq!(warning, is_warned, "{provided} {context}: {}", answer.text);
    }
}
