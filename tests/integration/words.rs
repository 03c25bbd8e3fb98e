//! Every word of every directive, good and bad: what mod_wsgi accepts is accepted, what it refuses
//! is refused. The tables say what it does, so these tests run on it, too.

use testkit::{Site, ours};

/// Asserts which of these lines make a configuration that httpd takes.
fn check(directive: &str, accepted: &[&str], refused: &[&str]) {
    let expected = accepted.iter().map(|words| (words, true));
    for (words, accept) in expected.chain(refused.iter().map(|words| (words, false))) {
        let line = format!("{directive} {words}");
        let answer = Site::new().config(&line).configtest();
        assert_eq!(answer.success, accept, "{line}\n{}", answer.text);
        let directive = directive.rsplit('\n').next().unwrap_or(directive);
        if !accept && ours("D03") {
            assert!(answer.text.contains(directive), "{line}\n{}", answer.text);
        }
    }
}

const ALIAS_OPTIONS: [&str; 13] = [
    "application-group=\"a b\" process-group='%{GLOBAL}'",
    "application-group=\"no end",
    "process-group=name",
    "process-group=%{ENV:NAME} application-group=name",
    "process-group=name application-group=%{RESOURCE}",
    "process-group=%{global} application-group=name",
    "process-group=one process-group=two",
    "process-group= name",
    "process-group=%{GLOBAL} application-group=%{GLOBAL}",
    "callable-object=name",
    "callable-object=a=b",
    "pass-authorization=oN",
    "pass-authorization=\"Off\"",
];

const NO_ALIAS_OPTIONS: [&str; 19] = [
    "word",
    "unknown=word",
    "=word",
    "process-group =name",
    "process-group = name",
    "process-group=",
    "process-group=\"\"",
    "process-group='' application-group=name",
    "application-group=",
    "callable-object=",
    "pass-authorization=",
    "pass-authorization=yes",
    "pass-authorization=\"o\\\"n\"",
    "Process-Group=name",
    "user=name",
    "process-group=name word",
    "process-group=\"a\"b",
    "\"process-group=name\"",
    "\"process-group\"=name",
];

#[test]
fn script_alias() {
    let good = ALIAS_OPTIONS.map(|options| format!("/x /w/a.wsgi {options}"));
    let bad = NO_ALIAS_OPTIONS.map(|options| format!("/x /w/a.wsgi {options}"));
    check(
        "WSGIScriptAlias",
        &good.each_ref().map(String::as_str),
        &bad.each_ref().map(String::as_str),
    );
    check(
        "WSGIScriptAlias",
        &[
            "/x /w/a.wsgi",
            "x a.wsgi",
            "\"/x y\" '/w/a b.wsgi'",
            "/x \"/w/a.wsgi\"process-group=name",
            "/x\t/w/a.wsgi\tprocess-group=name",
        ],
        &[
            "",
            "/x",
            "\"\" /w/a.wsgi",
            "/x \"\"",
            "/x\\ y /w/a.wsgi",
            "/x \"/w/a\"b",
        ],
    );
}

#[test]
fn script_alias_match() {
    let good = ALIAS_OPTIONS.map(|options| format!("^/x /w/a.wsgi {options}"));
    let bad = NO_ALIAS_OPTIONS.map(|options| format!("^/x /w/a.wsgi {options}"));
    check(
        "WSGIScriptAliasMatch",
        &good.each_ref().map(String::as_str),
        &bad.each_ref().map(String::as_str),
    );
    check(
        "WSGIScriptAliasMatch",
        &[
            "^/x /w/a.wsgi",
            "^/(.*)\\.wsgi$ /w/$1.wsgi process-group=name application-group=name",
        ],
        &[
            "",
            "^/x",
            "^/x( /w/a.wsgi",
            "\"\" /w/a.wsgi",
            "^/x /w/a.wsgi process-group=name application-group=name",
        ],
    );
}

#[test]
fn switches() {
    for directive in [
        "WSGIScriptReloading",
        "WSGIPassAuthorization",
        "WSGIChunkedRequest",
        "WSGIEnableSendfile",
        "WSGICaseSensitivity",
        "WSGIDontWriteBytecode",
        "WSGIRestrictEmbedded",
        "WSGIRestrictStdin",
        "WSGIRestrictStdout",
        "WSGIRestrictSignal",
        "WSGIDestroyInterpreter",
        "WSGIServerMetrics",
        "WSGIVerboseDebugging",
    ] {
        check(
            directive,
            &["On", "oFF", "\"On\""],
            &["", "\"\"", "yes", "1", "Auto", "On Off", "\"On \""],
        );
    }
    check(
        "WSGIMapHEADToGET",
        &["On", "off", "AUTO"],
        &["", "yes", "On Auto"],
    );
}

#[test]
fn names() {
    for directive in ["WSGIApplicationGroup", "WSGICallableObject"] {
        check(
            directive,
            &["name", "%{GLOBAL}", "%{nonsense", "\"a b\"", "a.b"],
            &["", "\"\"", "one two"],
        );
    }
}

#[test]
fn python() {
    for directive in ["WSGIPythonHome", "WSGIPythonPath", "WSGIPythonEggs"] {
        check(
            directive,
            &["/nowhere", "relative", "/etc/passwd"],
            &["", "\"\"", "/a /b"],
        );
    }
    check(
        "WSGIPythonOptimize",
        &["0", "2", "7", "-1", "word", "2x", "99999999999999"],
        &["", "\"\"", "1 2"],
    );
    check(
        "WSGIPythonWarnings",
        &["word", "error::UserWarning"],
        &["", "one two"],
    );
    check(
        "WSGIPythonHashSeed",
        &["random", "0", "4294967295", "\" 1\"", "007"],
        &[
            "",
            "\"\"",
            "RANDOM",
            "-1",
            "+1",
            "1x",
            "0x10",
            "4294967296",
            "99999999999999999999999",
        ],
    );
}

#[test]
fn telemetry() {
    check(
        "WSGITelemetryService",
        &[
            "unix:/t",
            "unix:",
            "unix:relative",
            "\"unix:/a b\"",
            "unix:/t interval=2",
            "unix:/t interval=0.5",
            "unix:/t interval=1x",
            "unix:/t \"\"",
        ],
        &[
            "",
            "\"\"",
            "udp:host:1",
            "UNIX:/t",
            "/t",
            "unix:/t interval=0.4",
            "unix:/t interval=-1",
            "unix:/t interval=word",
            "unix:/t interval=",
            "unix:/t Interval=1",
            "unix:/t 2",
            "unix:/t interval=1 word",
        ],
    );
    check(
        "WSGITelemetryOptions",
        &[
            "CaptureUserAgent",
            "captureuseragent",
            "+CaptureUserAgent -CaptureUserAgent",
            "None",
            "ALL CaptureUserAgent",
            "\"\"",
        ],
        &[
            "",
            "+",
            "CaptureUserAgents",
            "++CaptureUserAgent",
            "+All",
            "-None",
            "+CaptureUserAgent CaptureUserAgent",
            "None -CaptureUserAgent",
        ],
    );
    check(
        "WSGISlowRequests",
        &["0", "1", "0.5", "1.5x", "word", "inf"],
        &["", "\"\"", "-1", "-0.1", "1 2"],
    );
}

#[test]
fn daemon_process() {
    let options = |options: &[&str]| -> Vec<String> {
        options
            .iter()
            .map(|option| format!("name {option}"))
            .collect()
    };
    let accepted = options(&[
        "",
        "user=#5",
        "user=www-data group=www-data",
        "supplementary-groups=root,,www-data",
        "supplementary-groups=",
        "processes=1",
        "threads=0",
        "threads=65533",
        "umask=0022",
        "home=/tmp",
        "display-name=%{GROUP}",
        "display-name=",
        "python-home=",
        "python-home=/nowhere",
        "lang=",
        "switch-interval=0.005",
        "cpu-priority=-20",
        "send-buffer-size=0",
        "header-buffer-size=8192",
        "response-flush-delay=0",
        "server-metrics=oN",
        "threads=1 threads=2",
    ]);
    let refused = options(&[
        "word",
        "bogus=1",
        "Threads=1",
        "user=nobody-of-this-name",
        "user=root",
        "user=",
        "group=",
        "processes=0",
        "processes=x",
        "processes=",
        "threads=65534",
        "threads=-1",
        "umask=9",
        "home=relative",
        "switch-interval=0",
        "stack-size=0",
        "maximum-requests=-1",
        "send-buffer-size=100",
        "header-buffer-size=100",
        "response-buffer-size=100",
        "request-timeout=",
        "request-timeout=-1",
        "server-metrics=1",
        "script-user=root script-group=root",
        "socket-user=nobody-of-this-name",
        "user=#4294967295",
        "socket-user=#4294967295",
        "script-user=#4294967295",
        "script-group=#4294967295",
    ]);
    check("WSGIDaemonProcess", &as_strs(&accepted), &as_strs(&refused));
    if ours("D09") {
        let refused = options(&[
            "threads=many",
            "cpu-priority=21",
            "request-timeout=60s",
            "request-timeout=1.5",
        ]);
        check("WSGIDaemonProcess", &[], &as_strs(&refused));
    }
    check(
        "WSGIDaemonProcess",
        &[],
        &["", "\"\"", "name\nWSGIDaemonProcess name"],
    );
}

fn as_strs(lines: &[String]) -> Vec<&str> {
    lines.iter().map(String::as_str).collect()
}

#[test]
fn process_groups() {
    check(
        "WSGIProcessGroup",
        &["name", "%{GLOBAL}", "%{nonsense"],
        &["", "one two"],
    );
    check(
        "WSGIRestrictProcess",
        &["", "name", "one %{GLOBAL} two"],
        &[],
    );
    check(
        "WSGISocketPrefix",
        &["run/wsgi", "/tmp/wsgi"],
        &["", "\"\"", "one two"],
    );
    check("WSGISocketRotation", &["On", "off"], &["", "yes"]);
    check(
        "WSGIAcceptMutex",
        &["fcntl", "DEFAULT", "sysvsem"],
        &["", "none", "sem"],
    );
}

#[test]
fn import_script() {
    let global = "process-group=%{GLOBAL} application-group=%{GLOBAL}";
    let with = |script: &str| format!("{script} {global}");
    let accepted = [
        with("/w/a.wsgi"),
        with("relative"),
        "/a process-group=%{GLOBAL} application-group=%{RESOURCE}".to_owned(),
    ];
    let refused = [
        String::new(),
        with("\"\""),
        "/a".to_owned(),
        "/a process-group=%{GLOBAL}".to_owned(),
        "/a application-group=%{GLOBAL}".to_owned(),
        "/a process-group= application-group=%{GLOBAL}".to_owned(),
        "/a process-group=name application-group=%{GLOBAL}".to_owned(),
        "/a process-group=%{ENV:NAME} application-group=%{GLOBAL}".to_owned(),
        with("/a callable-object=name"),
        with("/a word"),
    ];
    check("WSGIImportScript", &as_strs(&accepted), &as_strs(&refused));
}

#[test]
fn handler_script() {
    let with = |options: &str| format!("name /a {options}");
    let accepted = [
        with(""),
        with("process-group=%{GLOBAL} application-group=\"a b\" pass-authorization=oN"),
        with("process-group=%{nonsense application-group=%{ENV:NAME}"),
        "name relative".to_owned(),
    ];
    let refused = [
        String::new(),
        "name".to_owned(),
        "\"\" /a".to_owned(),
        "name \"\"".to_owned(),
        with("process-group="),
        with("process-group=''"),
        with("application-group="),
        with("application-group=\"\""),
        with("pass-authorization="),
        with("pass-authorization=yes"),
        with("callable-object=name"),
        with("word"),
    ];
    check("WSGIHandlerScript", &as_strs(&accepted), &as_strs(&refused));
}

#[test]
fn scripts_that_decide_about_a_request() {
    let accepted = [
        "/a",
        "relative",
        "/a application-group=name",
        "/a application-group=%{GLOBAL}",
        "/a application-group=%{nonsense",
        "/a application-group='a b'",
        "/a application-group=one application-group=two",
        "/a application-group= name",
    ];
    let refused = [
        "",
        "\"\"",
        "/a application-group=",
        "/a application-group=\"\"",
        "/a process-group=name",
        "/a callable-object=name",
        "/a Application-Group=name",
        "/a word",
    ];
    for directive in [
        "WSGIAccessScript",
        "WSGIAuthUserScript",
        "WSGIAuthGroupScript",
        "WSGIDispatchScript",
    ] {
        // They may stand in a place, three of them only there.
        let end = |words: &&str| format!("{words}\n</Location>");
        check(
            &format!("<Location /x>\n{directive}"),
            &as_strs(&accepted.each_ref().map(end)),
            &as_strs(&refused.each_ref().map(end)),
        );
    }
}

#[test]
fn trusted_proxies() {
    check(
        "WSGITrustedProxies",
        &[
            "",
            "1.2.3.4",
            "1.2.3",
            "10",
            "10.",
            "0",
            "01.2.3.4",
            "10.1.2.3/8",
            "1.2.3.4/016",
            "1.2.3.4/255.255.0.0",
            "1.2.3.4/255.0.255.0",
            "::1",
            "::1/64",
            "1.2.3.4 ::1 5.6.7.8",
        ],
        &[
            "\"\"",
            "localhost",
            "10.1/16",
            "10/8",
            "10/",
            "0/0",
            "/8",
            "10..1",
            "300",
            "256.1.1.1",
            "1.2.3.4.5",
            "1.2.3.4/",
            "1.2.3.4/0",
            "1.2.3.4/33",
            "1.2.3.4/8/8",
            "1.2.3.4/255.255",
            "10.0.0.0/256.0.0.0",
            "1.2.3.4/99999999999",
            "::/0",
            "FE80::1/64",
            "fe80::1/129",
            "fe80::/ffff::",
            "fe80:::1",
            "::ffff:1.2.3.4",
            "1:2:3:4:5:6:7:8:9",
            "1.2.3.4 word",
        ],
    );
    check(
        "WSGITrustedProxyHeaders",
        &[
            "",
            "\"\"",
            "X-Forwarded-For",
            "x-real-ip  X-Scheme",
            "X-Unknown",
            "X_Forwarded_For",
        ],
        &[],
    );
}
