//! `apachectl configtest`: wrong words are errors that say what was meant, mistakes that cost one
//! site only are warnings, and nothing is started or written.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use testkit::{Mark, Site, ours};

use crate::apps::answering;

pub(crate) fn site() -> Site {
    Site::new().script("a.wsgi", &answering("ran"))
}

/// Asserts that `line` is refused by a message that names its directive.
fn check_refused(line: &str) -> String {
    let answer = site().config(line).configtest();
    assert!(!answer.success, "{line}");
    assert!(
        answer.text.contains("AH00526: Syntax error on line"),
        "{line}: {}",
        answer.text
    );
    let directive = line.split(' ').next().expect("a directive");
    // httpd puts the name before the message itself, but only for some kinds of directives.
    if ours("D03") {
        assert!(answer.text.contains(directive), "{line}: {}", answer.text);
    }
    answer.text
}

fn check_accepted(line: &str) {
    let answer = site().config(line).configtest();
    assert!(answer.success, "{line}: {}", answer.text);
}

#[test]
fn a_wrong_word_is_named_and_so_is_the_nearest_right_one() {
    for (line, word, nearest) in [
        (
            "WSGIScriptAlias / ${WSGI}/a.wsgi proces-group=x",
            "proces-group",
            "process-group",
        ),
        (
            "WSGIScriptAlias / ${WSGI}/a.wsgi Process-Group=x",
            "Process-Group",
            "process-group",
        ),
        (
            "WSGIScriptAlias / ${WSGI}/a.wsgi aplication-group=x",
            "aplication-",
            "application-group",
        ),
        (
            "WSGIScriptAlias / ${WSGI}/a.wsgi callable_object=x",
            "callable_",
            "callable-object",
        ),
        (
            "WSGIScriptAlias / ${WSGI}/a.wsgi pass-auth=On",
            "pass-auth",
            "pass-authorization",
        ),
        (
            "WSGIScriptAlias / ${WSGI}/a.wsgi pass-authorization=Onn",
            "Onn",
            "On",
        ),
        (
            "WSGIScriptAliasMatch ^/ ${WSGI}/a.wsgi proces-group=x",
            "proces-group",
            "process-group",
        ),
        ("WSGIDaemonProcess a 'home=/srv'", "'home=/srv'", ""),
        ("WSGIDaemonProcess a threads=2 # two", "\"#\"", ""),
        ("WSGIMapHEADToGET Autto", "Autto", "Auto"),
        ("WSGIScriptReloading Of", "Of", "Off"),
        ("WSGIPassAuthorization Onn", "Onn", "On"),
        ("WSGIChunkedRequest Onn", "Onn", "On"),
        ("WSGIEnableSendfile Onn", "Onn", "On"),
        ("WSGICaseSensitivity Onn", "Onn", "On"),
        ("WSGIDontWriteBytecode Onn", "Onn", "On"),
        ("WSGIRestrictEmbedded Onn", "Onn", "On"),
        ("WSGIRestrictStdin Onn", "Onn", "On"),
        ("WSGIRestrictStdout Onn", "Onn", "On"),
        ("WSGIRestrictSignal Onn", "Onn", "On"),
        ("WSGIDestroyInterpreter Onn", "Onn", "On"),
        ("WSGIPythonHashSeed randon", "randon", "random"),
    ] {
        let text = check_refused(line);
        if ours("D03") {
            assert!(text.contains(word), "{line}: {text}");
            let quoted = format!("\"{nearest}\"");
            let is_named = nearest.is_empty() || text.contains(&quoted);
            assert!(is_named, "{line}: {text}");
        }
    }
}

#[test]
fn options_that_make_no_sense_are_refused() {
    for options in [
        "user=www-data",
        "process-group",
        "process-group=",
        "application-group=",
        "callable-object=",
        "pass-authorization=",
        "=value",
        "process-group =x",
        "process-group=x more",
    ] {
        check_refused(&format!("WSGIScriptAlias / ${{WSGI}}/a.wsgi {options}"));
    }
}

#[test]
fn missing_words_are_refused() {
    for line in [
        "WSGIScriptAlias",
        "WSGIScriptAlias /",
        "WSGIScriptAliasMatch ^/",
        "WSGIApplicationGroup",
        "WSGICallableObject",
        "WSGIPythonHome",
        "WSGIPythonPath",
        "WSGIScriptReloading",
    ] {
        check_refused(line);
    }
}

#[test]
fn an_expression_that_does_not_compile_is_refused() {
    check_refused("WSGIScriptAliasMatch ^/(unclosed ${WSGI}/a.wsgi");
}

#[test]
fn a_static_process_group_must_exist() {
    let line = "WSGIScriptAlias / ${WSGI}/a.wsgi process-group=nowhere application-group=%{GLOBAL}";
    let text = check_refused(line);
    assert!(text.contains("nowhere") || !ours("D03"), "{text}");
}

#[test]
fn a_process_group_that_is_not_static_is_left_to_the_request() {
    for options in [
        "process-group=nowhere",
        "process-group=%{ENV:NAME} application-group=a",
        "process-group=nowhere application-group=%{RESOURCE}",
    ] {
        check_accepted(&format!("WSGIScriptAlias / ${{WSGI}}/a.wsgi {options}"));
    }
}

#[test]
fn hash_seeds_have_a_range() {
    for seed in ["random", "0", "4294967295"] {
        check_accepted(&format!("WSGIPythonHashSeed {seed}"));
    }
    for seed in ["-1", "4294967296", "1x", "x"] {
        check_refused(&format!("WSGIPythonHashSeed {seed}"));
    }
}

#[test]
fn trusted_proxies_are_addresses_and_networks() {
    for proxy in [
        "10.0.0.1",
        "10.0.0.0/8",
        "10.0.0.0/255.0.0.0",
        "fe80::1",
        "2001:db8::/32",
        "10.0.0.1 10.0.0.2 ::1",
    ] {
        check_accepted(&format!("WSGITrustedProxies {proxy}"));
    }
    for proxy in [
        "proxy.test",
        "10.0.0.0/99",
        "10.0.0.256",
        "FE80::1",
        "::ffff:10.0.0.1",
        "*",
    ] {
        check_refused(&format!("WSGITrustedProxies {proxy}"));
    }
}

#[test]
fn unknown_proxy_headers_are_accepted() {
    check_accepted("WSGITrustedProxyHeaders X-Forwarded-For X-Something-New");
}

/// Everything below `root`: names, and contents of files.
fn contents(root: &Path) -> BTreeSet<(String, Vec<u8>)> {
    let mut found = BTreeSet::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).expect("a directory").flatten() {
            let path = entry.path();
            let content = fs::read(&path).unwrap_or_default();
            found.insert((path.display().to_string(), content));
            if path.is_dir() {
                open.push(path);
            }
        }
    }
    found
}

#[test]
fn nothing_runs_and_nothing_is_written() {
    let source = "from pathlib import Path\n\
                  (Path(__file__).resolve().parents[1] / 'data' / 'ran').touch()\n";
    let site = Site::new().script("traces.wsgi", source).config(
        "WSGIScriptAlias / ${WSGI}/traces.wsgi process-group=%{GLOBAL} application-group=%{GLOBAL}
         WSGIPythonPath ${WSGI}
         WSGIRestrictEmbedded Off",
    );
    // Once before, to have its configuration written.
    site.configtest();
    let before = contents(&site.path(""));
    let answer = site.configtest();
    assert!(answer.success, "{}", answer.text);
    assert_eq!(contents(&site.path("")), before);
    assert!(!answer.text.contains("Python"), "{}", answer.text);
}

/// The lines of `text` that are warnings and contain `part`.
pub(crate) fn warnings<'a>(text: &'a str, part: &str) -> Vec<&'a str> {
    text.lines()
        .filter(|line| line.contains(":warn]") && line.contains(part))
        .collect()
}

/// Asserts that a site gets one warning with `part` from configtest, and serves all the same.
fn check_warned(site: Site, part: &str) {
    let answer = site.configtest();
    assert!(answer.success, "{}", answer.text);
    if ours("D04") {
        assert_eq!(
            warnings(&answer.text, part).len(),
            1,
            "{part}: {}",
            answer.text
        );
    }
    let server = site.start();
    assert_eq!(server.get("/good").text(), "ran");
}

fn site_with_a_good_script() -> Site {
    site().config("WSGIScriptAlias /good ${WSGI}/a.wsgi")
}

#[test]
fn a_script_that_is_missing_is_a_warning() {
    let site = site_with_a_good_script().config("WSGIScriptAlias /x ${WSGI}/missing.wsgi");
    check_warned(site, "wsgi/missing.wsgi");
    let site = site_with_a_good_script().config(
        "<VirtualHost *:*>
             ServerName localhost
             WSGIScriptAlias /x ${WSGI}/missing.wsgi
         </VirtualHost>",
    );
    check_warned(site, "wsgi/missing.wsgi");
    let site = site_with_a_good_script().config("WSGIScriptAlias /x ${WSGI}/none/missing.wsgi");
    check_warned(site, "none/missing.wsgi\" is not there");
}

#[test]
fn a_mistake_of_the_main_server_is_told_once_however_many_hosts_there_are() {
    let site = site_with_a_good_script().config(
        "WSGIScriptAlias /x ${WSGI}/missing.wsgi
         <VirtualHost *:*>
             ServerName without-wsgi.test
         </VirtualHost>
         <VirtualHost *:*>
             ServerName with-wsgi.test
             WSGIScriptAlias /y ${WSGI}/a.wsgi
         </VirtualHost>",
    );
    check_warned(site, "wsgi/missing.wsgi");
}

#[test]
fn a_script_that_the_user_cannot_read_is_a_warning() {
    let site = site_with_a_good_script()
        .script("private.wsgi", "")
        .config("WSGIScriptAlias /x ${WSGI}/private.wsgi");
    site.set_mode("wsgi/private.wsgi", 0);
    check_warned(site, "wsgi/private.wsgi");
}

#[test]
fn a_directory_that_the_user_cannot_enter_is_a_warning() {
    let site = site_with_a_good_script()
        .script("closed/inner.wsgi", "")
        .config("WSGIScriptAlias /x ${WSGI}/closed/inner.wsgi");
    site.set_mode("wsgi/closed", 0);
    check_warned(site, "wsgi/closed");
}

#[test]
fn an_alias_that_an_earlier_one_shadows_is_a_warning() {
    for (earlier, shadowed) in [
        (
            "WSGIScriptAlias /x ${WSGI}/a.wsgi",
            "WSGIScriptAlias /x/longer ${WSGI}/a.wsgi",
        ),
        (
            "WSGIScriptAlias /x ${WSGI}/a.wsgi",
            "WSGIScriptAlias /x ${WSGI}/a.wsgi",
        ),
        (
            "WSGIScriptAlias / ${WSGI}/a.wsgi",
            "WSGIScriptAliasMatch ^/(a|b) ${WSGI}/a.wsgi",
        ),
        (
            "WSGIScriptAlias /x ${WSGI}/a.wsgi",
            "WSGIScriptAliasMatch ^/x/([^/]+) ${WSGI}/a.wsgi",
        ),
    ] {
        let site = site_with_a_good_script().config(earlier).config(shadowed);
        let url = shadowed.split(' ').nth(1).expect("a URL");
        check_warned(site, url);
    }
}

#[test]
fn aliases_in_the_right_order_and_for_different_urls_are_no_reason_to_warn() {
    let site = site_with_a_good_script().config(
        "WSGIScriptAlias /x/longer ${WSGI}/a.wsgi
         WSGIScriptAlias /x ${WSGI}/a.wsgi
         WSGIScriptAlias /xy ${WSGI}/a.wsgi
         WSGIScriptAlias /dir/ ${WSGI}/
         WSGIScriptAlias /dir ${WSGI}/a.wsgi
         WSGIScriptAliasMatch ^/(m) ${WSGI}/$1.wsgi
         <VirtualHost *:*>
             ServerName other.test
             WSGIScriptAlias /x ${WSGI}/a.wsgi
         </VirtualHost>",
    );
    let answer = site.configtest();
    assert!(answer.success, "{}", answer.text);
    assert_eq!(warnings(&answer.text, "wsgi").len(), 0, "{}", answer.text);
}

#[test]
fn a_home_that_is_missing_is_a_warning() {
    let site = site().config(
        "WSGIPythonHome ${ROOT}/no-such-venv
         WSGIScriptAlias /x ${WSGI}/a.wsgi",
    );
    let answer = site.configtest();
    assert!(answer.success, "{}", answer.text);
    if ours("D04") {
        let found = warnings(&answer.text, "no-such-venv").len();
        assert_eq!(found, 1, "{}", answer.text);
    }
}

#[test]
fn a_home_that_is_none_is_a_warning_that_names_the_one_around_it() {
    if !ours("D04") {
        return;
    }
    for (home, meant) in [("venv/bin", Some("/venv\"?")), ("wsgi", None)] {
        for line in [
            format!("WSGIPythonHome ${{ROOT}}/{home}"),
            format!("WSGIDaemonProcess one python-home=${{ROOT}}/{home}"),
        ] {
            let site = site()
                .file("venv/pyvenv.cfg", "")
                .file("venv/bin/python", "")
                .config(&line)
                .config("WSGIScriptAlias /x ${WSGI}/a.wsgi process-group=%{ENV:GROUP}");
            let answer = site.configtest();
            assert!(answer.success, "{}", answer.text);
            let found = warnings(&answer.text, "WSGI1033");
            let [warning] = found.as_slice() else {
                panic!("{line}: {}", answer.text);
            };
            let is_meant = warning.contains("did you mean");
            assert_eq!(is_meant, meant.is_some(), "{warning}");
            assert!(
                meant.is_none_or(|meant| warning.contains(meant)),
                "{warning}"
            );
        }
    }
}

#[test]
fn a_name_that_looks_like_a_form_is_a_warning() {
    if !ours("D04") {
        return;
    }
    for (line, meant) in [
        ("WSGIApplicationGroup %{GLOBAl}", "%{GLOBAL}"),
        ("WSGIProcessGroup %{SEVER}", "%{SERVER}"),
        ("WSGIApplicationGroup {GLOBAL}", "%{GLOBAL}"),
        (
            "WSGIScriptAlias /y ${WSGI}/a.wsgi application-group=%{RESOURC}",
            "%{RESOURCE}",
        ),
        (
            "WSGIHandlerScript own ${WSGI}/a.wsgi application-group=%{HOTS}",
            "%{HOST}",
        ),
    ] {
        let answer = site().config(line).configtest();
        assert!(answer.success, "{}", answer.text);
        let found = warnings(&answer.text, "WSGI1034");
        let [warning] = found.as_slice() else {
            panic!("{line}: {}", answer.text);
        };
        let directive = line.split(' ').next().expect("a directive");
        assert!(warning.contains(directive), "{warning}");
        let nearest = format!("did you mean \"{meant}\"?");
        assert!(warning.contains(&nearest), "{warning}");
    }
    for name in ["%{GLOBAL}", "%{ENV:X}", "name", "100%"] {
        let line = format!("WSGIApplicationGroup {name}");
        let answer = site().config(&line).configtest();
        let found = warnings(&answer.text, "WSGI1034");
        assert!(answer.success && found.is_empty(), "{}", answer.text);
    }
}

#[test]
fn an_alias_with_its_words_in_the_wrong_order_is_told_as_that() {
    for url in ["/a", "/"] {
        check_warned(
            Site::new()
                .script("a.wsgi", &answering("ran"))
                .config(&format!("WSGIScriptAlias ${{WSGI}}/a.wsgi {url}"))
                .config("WSGIScriptAlias / ${WSGI}/a.wsgi"),
            "the URL comes first, then the script",
        );
    }
}

#[test]
fn with_a_home_that_is_missing_the_server_serves_its_other_pages() {
    let server = site()
        .file("www/page", "a page")
        .config(
            "WSGIPythonHome ${ROOT}/no-such-venv
             WSGIScriptAlias /x ${WSGI}/a.wsgi",
        )
        .start();
    for id in ["WSGI0036", "WSGI0001"] {
        server.log().expect_alarm(id);
    }
    assert_eq!(server.get("/page").text(), "a page");
    assert_eq!(server.get("/x").status, 500);
    for id in ["WSGI0100", "WSGI0036", "WSGI0210"] {
        server.log().wait_for(Mark::START, id);
    }
}

#[test]
fn the_scripts_of_hooks_are_looked_at() {
    if !ours("D04") {
        return;
    }
    let site = site()
        .script("hook.py", "")
        .script("private.py", "")
        .config(
            "
            WSGIDaemonProcess perhaps
            WSGIRestrictEmbedded On
            WSGIDispatchScript ${WSGI}/hook.py
            <Location />
                WSGIAccessScript ${WSGI}/none.py
                WSGIAuthUserScript ${WSGI}/private.py application-group=auth
                WSGIAuthGroupScript hook.py
            </Location>
            ",
        );
    site.set_mode("wsgi/private.py", 0o600);
    let answer = site.configtest();
    assert!(answer.success, "{}", answer.text);
    let found: Vec<&str> = answer
        .text
        .lines()
        .filter(|line| line.contains("WSGI"))
        .collect();
    let [missing, private, relative] = found.as_slice() else {
        panic!("{found:#?}");
    };
    for (line, id, directive) in [
        (missing, "WSGI1020", "WSGIAccessScript"),
        (private, "WSGI1021", "WSGIAuthUserScript"),
        (relative, "WSGI1024", "WSGIAuthGroupScript hook.py"),
    ] {
        assert!(line.contains(id) && line.contains(directive), "{line}");
        assert!(line.contains("httpd.conf:"), "{line}");
    }
}

#[test]
fn a_wrong_word_about_a_hook_is_refused() {
    for (line, word) in [
        ("WSGIAccessScript", "missing"),
        ("WSGIAuthUserScript ''", "missing"),
        (
            "WSGIAuthGroupScript /a aplication-group=x",
            "\"application-group\"",
        ),
        ("WSGIDispatchScript /a application-group=", "needs a value"),
        ("WSGIAccessScript /a process-group=x", "application-group"),
        ("WSGIAuthUserScript /a auth", "option=value"),
        ("WSGIGroupAuthoritative Onn", "\"On\""),
        ("WSGIPassApacheRequest Onn", "\"On\""),
    ] {
        let config = format!("<Location />\n{line}\n</Location>");
        let answer = site().config(&config).configtest();
        assert!(!answer.success, "{line}");
        if ours("D03") {
            let directive = line.split(' ').next().expect("a directive");
            assert!(answer.text.contains(directive), "{line}: {}", answer.text);
            assert!(answer.text.contains(word), "{line}: {}", answer.text);
        }
    }
}

#[test]
fn a_directive_without_effect_is_told_once_where_one_looks_for_it() {
    let config = "
        LogLevel info
        <Location /a>
            WSGIGroupAuthoritative Off
        </Location>
        <Location /b>
            WSGIGroupAuthoritative On
        </Location>
    ";
    let told = |config: &str| {
        let answer = site().config(config).configtest();
        assert!(answer.success, "{}", answer.text);
        answer
            .text
            .matches("WSGIGroupAuthoritative has no effect")
            .count()
    };
    if ours("D04") {
        assert_eq!(told(config), 1);
        assert_eq!(told(&config.replace("info", "notice")), 0);
    }
}
