//! `WSGIAuthUserScript` with `AuthType Digest`: what stands for a user's password in a realm.

use testkit::{Httpd, Site, ours};

use crate::hook_site::{
    ask_as, ask_by_digest, check_logged, guarded_site, hook_site, variable, with_values,
};

/// Knows a user for each way to tell the hash; others are as `value` says.
const HASHES: &str = r#"
import hashlib

def get_realm_hash(environ, user, realm):
    right = hashlib.md5(f'{user}:{realm}:secret'.encode('latin-1')).hexdigest()
    known = {'str': right, 'octets': right.encode(), 'derived': Text(right), 'other': 'x' * 32,
             'upper': right.upper(), 'cut': right + '\0x', 'array': bytearray(right.encode())}
    return known[user] if user in known else value(user)
"#;

const DIGEST: &str = "
AuthType Digest
AuthName \"my realm\"
AuthDigestProvider wsgi
Require valid-user
";

fn site() -> Site {
    guarded_site(DIGEST, &with_values(HASHES))
}

fn check(server: &Httpd, url: &str, user: &str, status: u16, id: &str) {
    let mark = server.log().mark();
    let answer = ask_by_digest(server, url, user);
    assert_eq!(answer.status, status, "{user}: {answer:?}");
    check_logged(server, mark, id);
}

#[test]
fn each_result_has_its_status() {
    let server = site().start();
    for (user, status, id) in [
        ("str", 200, ""),
        ("octets", 200, ""),
        ("derived", 200, ""),
        ("other", 401, ""),
        ("upper", 401, ""),
        ("none", 401, ""),
        ("empty", 500, "WSGI0178"),
        ("true", 500, "WSGI0179"),
        ("false", 500, "WSGI0179"),
        ("one", 500, "WSGI0179"),
        ("list", 500, "WSGI0179"),
        ("array", 500, "WSGI0179"),
        ("euro", 500, "WSGI0174"),
        ("surrogate", 500, "WSGI0174"),
        ("raise", 500, "WSGI0174"),
        ("exit", 500, "WSGI0175"),
    ] {
        check(&server, "/app", user, status, id);
    }
    if ours("D86") {
        check(&server, "/app", "cut", 500, "WSGI1300");
    }
}

#[test]
fn a_user_is_known_by_name_and_realm() {
    let server = site().start();
    let answer = ask_by_digest(&server, "/app", "str");
    assert_eq!(variable(&answer, "REMOTE_USER"), "str");
    assert_eq!(variable(&answer, "AUTH_TYPE"), "Digest");
}

#[test]
fn a_script_that_cannot_be_asked_is_an_error() {
    let server = site().start();
    check(&server, "/app/missing", "str", 500, "WSGI0105");
    check(&server, "/app/broken", "str", 500, "WSGI0109");
    check(&server, "/app/empty", "str", 500, "WSGI0046");
    check(&server, "/unset", "str", 500, "WSGI0044");
}

#[test]
fn a_user_that_is_not_known_is_left_to_the_next_provider() {
    let server = hook_site()
        .script(
            "hashes.py",
            "def get_realm_hash(environ, user, realm): return None\n",
        )
        // MD5 of `filed:my realm:secret`
        .file(
            "conf/hashes",
            "filed:my realm:ae7607ac660f540eca7310efde95dcfb\n",
        )
        .config(&format!(
            "<Location /app>\n{DIGEST}\nAuthDigestProvider wsgi file\n\
             AuthUserFile ${{ROOT}}/conf/hashes\nWSGIAuthUserScript ${{WSGI}}/hashes.py\n\
             </Location>"
        ))
        .start();
    assert_eq!(ask_by_digest(&server, "/app", "filed").status, 200);
    assert_eq!(ask_by_digest(&server, "/app", "eve").status, 401);
}

/// httpd may look up the hash for `AuthType Basic`, too.
#[test]
fn basic_authentication_can_use_the_hash() {
    let server = hook_site()
        .script("hashes.py", &with_values(HASHES))
        .config(
            "
            <Location /app>
                AuthType Basic
                AuthName \"my realm\"
                AuthBasicProvider wsgi
                AuthBasicUseDigestAlgorithm MD5
                WSGIAuthUserScript ${WSGI}/hashes.py
                Require valid-user
            </Location>
            ",
        )
        .start();
    assert_eq!(ask_as(&server, "/app", "str").status, 200);
    assert_eq!(ask_as(&server, "/app", "other").status, 401);
    assert_eq!(ask_as(&server, "/app", "none").status, 401);
    assert_eq!(ask_as(&server, "/app", "one").status, 500);
}
