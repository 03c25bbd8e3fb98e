//! The stage of the tests of hook scripts: scripts that do as they are told, an application to be
//! let in to, and clients with a name.

use testkit::{Curl, CurlAnswer, Httpd, Mark, Site};

use crate::apps::ENVIRON;

/// `value(name)` is what a function is to return, or raises what it is to raise.
pub(crate) const VALUES: &str = r#"
class Text(str): pass

def value(name):
    if name == 'raise': raise KeyError('boom')
    if name == 'exit': raise SystemExit('enough')
    if name == 'interrupt': raise KeyboardInterrupt
    return {'true': True, 'false': False, 'none': None, 'one': 1, 'zero': 0, 'empty': '',
            'text': 'bob', 'subtype': Text('bob'), 'bytes': b'bob', 'list': ['bob'],
            'euro': 'b\u20acb', 'latin': 'b\xe9b', 'surrogate': '\udcff', 'nul': 'bob\0x'}[name]
"#;

/// A script whose functions, in `source`, may call `value(name)`.
pub(crate) fn with_values(source: &str) -> String {
    format!("{VALUES}{source}")
}

/// A site with the modules of httpd that access control takes, and an application at `/app` and
/// below, in the main interpreter, that answers with its environ.
pub(crate) fn hook_site() -> Site {
    [
        "alias",
        "authn_core",
        "authn_file",
        "auth_basic",
        "auth_digest",
        "authz_host",
        "authz_user",
        "access_compat",
        "env",
    ]
    .into_iter()
    .fold(Site::new(), Site::module)
    .script("app.wsgi", ENVIRON)
    .script("broken.py", "import no_such_module\n")
    .script("empty.py", "")
    .config("WSGIApplicationGroup %{GLOBAL}\nWSGIScriptAlias /app ${WSGI}/app.wsgi")
}

/// Places below `/app` for which a directive names scripts that cannot be asked: one that is not
/// there, one that cannot be loaded, one without functions.
pub(crate) fn unaskable(directive: &str) -> String {
    let place = |name: &str, script: &str| {
        format!("<Location /app/{name}>\n{directive} ${{WSGI}}/{script}.py\n</Location>\n")
    };
    [
        place("missing", "none"),
        place("broken", "broken"),
        place("empty", "empty"),
    ]
    .concat()
}

/// The same site with users who are let in as `users` says: to `/app` by the script `users.py`,
/// which is `source`, to places below it by [scripts that cannot be asked](unaskable), and to the
/// same application at `/unset` by none.
pub(crate) fn guarded_site(users: &str, source: &str) -> Site {
    hook_site()
        .script("users.py", source)
        .config(&format!(
            "
            <Location /app>
                {users}
                WSGIAuthUserScript ${{WSGI}}/users.py
            </Location>
            WSGIScriptAlias /unset ${{WSGI}}/app.wsgi
            <Location /unset>
                {users}
            </Location>
            "
        ))
        .config(&unaskable("WSGIAuthUserScript"))
}

/// What a user with this name and the password `secret` gets at `url`; an empty name is nobody's.
pub(crate) fn ask_as(server: &Httpd, url: &str, user: &str) -> CurlAnswer {
    let credentials = format!("{user}:secret");
    let curl = Curl::http(server, url);
    match user {
        "" => curl.send(),
        _ => curl.args(["--user", &credentials]).send(),
    }
}

/// The same, by `AuthType Digest`.
pub(crate) fn ask_by_digest(server: &Httpd, url: &str, user: &str) -> CurlAnswer {
    let credentials = format!("{user}:secret");
    let arguments = ["--digest", "--user", &credentials];
    let mut answer = Curl::http(server, url).args(arguments).send();
    // The first response is the challenge; the second is behind it.
    if let Some(second) = answer.body.find("HTTP/1.1 ") {
        let response = answer.body.split_off(second);
        let (head, body) = response.split_once("\r\n\r\n").unwrap_or((&response, ""));
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        answer.status = status.unwrap_or_default();
        (answer.head, answer.body) = (head.to_owned(), body.to_owned());
    }
    answer
}

/// The variable `name` of what the application has answered.
pub(crate) fn variable(answer: &CurlAnswer, name: &str) -> String {
    assert_eq!(answer.status, 200, "{answer:?}");
    let environ: serde_json::Value = serde_json::from_str(&answer.body).expect("JSON");
    let value = environ.get(name).and_then(serde_json::Value::as_str);
    value.unwrap_or("<absent>").to_owned()
}

/// Asserts that a line with `id` was logged since `mark`, or none of ours if `id` is empty.
pub(crate) fn check_logged(server: &Httpd, mark: Mark, id: &str) {
    if id.is_empty() {
        let lines = server.log().matching(mark, "WSGI0");
        assert!(lines.is_empty(), "{lines:#?}");
    } else {
        server.log().wait_for(mark, id);
    }
}
