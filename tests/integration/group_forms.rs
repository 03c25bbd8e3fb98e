//! Every form of a group's name, in every directive that takes one: in which process group and in
//! which application group the script runs, and whether it was loaded before the first request.

use std::fs;

use rstest::rstest;
use testkit::{Httpd, Request, SharedHttpd, Site, wait_until};

use crate::apps::environ;
use crate::hook_site::hook_site;

/// The forms: a word for it in URLs, the value of the option, and what that is for a process group
/// and for an application group. `RESOURCE` stands for the server and the script's URL.
const FORMS: [(&str, &str, &str, &str); 7] = [
    ("absent", "", "", "RESOURCE"),
    ("global", "%{GLOBAL}", "", ""),
    ("server", "%{SERVER}", "site.test", "site.test"),
    ("host", "%{HOST}", "other.test", "other.test"),
    ("resource", "%{RESOURCE}", "RESOURCE", "RESOURCE"),
    ("variable", "%{ENV:GROUP}", "varied", "varied"),
    ("plain", "plain", "plain", "plain"),
];

/// Tells in which groups it runs, by the environ and by the module, and what had it loaded: only
/// while a request is served there are data of one.
const TELLING: &str = "
import json, mod_wsgi

try:
    mod_wsgi.request_data()
    loaded = 'request'
except RuntimeError:
    loaded = 'start'

def application(environ, start_response):
    body = json.dumps({
        'process': environ['mod_wsgi.process_group'],
        'module.process': mod_wsgi.process_group,
        'application': environ['mod_wsgi.application_group'],
        'module.application': mod_wsgi.application_group,
        'loaded': loaded,
    }).encode()
    start_response('200 OK', [])
    return [body]

handle_request = application
";

/// Leaves a file in `data/` that is called as the groups that it runs in.
const IMPORTED: &str = "
import mod_wsgi
from pathlib import Path
name = mod_wsgi.process_group + '|' + mod_wsgi.application_group
(Path(__file__).resolve().parents[1] / 'data' / name).touch()
";

/// The words behind a directive for these forms.
fn options(process: &str, application: &str) -> String {
    let option = |key: &str, value: &str| match value {
        "" => String::new(),
        _ => format!(" {key}={value}"),
    };
    option("process-group", process) + &option("application-group", application)
}

/// What is asked of `other.test` at `/KIND-PROCESS-APPLICATION` goes to a script of its own, which
/// a directive of that kind names with these forms. Each process group that a form comes to is
/// there.
static FORMED: SharedHttpd = SharedHttpd::new(|| formed(|application| application != "global"));

/// The same, for the main interpreter only: in mod_wsgi, no thread may have served another one
/// before.
static FORMED_GLOBAL: SharedHttpd =
    SharedHttpd::new(|| formed(|application| application == "global"));

fn formed(is_there: fn(&str) -> bool) -> Site {
    let groups = ["site.test", "other.test", "varied", "plain"].map(daemon);
    let mut site = Site::new()
        .module("env")
        .config(
            "ServerName site.test
             WSGISocketPrefix ${ROOT}/logs/wsgi
             StartServers 1
             ServerLimit 1
             SetEnv GROUP varied",
        )
        .config(&groups.concat());
    for kind in ["alias", "match", "substituted", "handler"] {
        for (process, process_form, ..) in FORMS {
            for (application, application_form, ..) in FORMS {
                if !is_there(application) {
                    continue;
                }
                let name = format!("{kind}-{process}-{application}");
                let options = options(process_form, application_form);
                site = site
                    .script(&format!("{name}.wsgi"), TELLING)
                    .config(&format!("{}{options}", directive(kind, &name)));
                if kind == "handler" {
                    let place = format!("<Location /{name}>\nSetHandler {name}\n</Location>");
                    site = site.config(&place);
                }
                if process == "resource" {
                    site = site.config(&daemon(&resource(&format!("/{name}"))));
                }
            }
        }
    }
    site
}

/// A directive of this kind that names the script of `name`.
fn directive(kind: &str, name: &str) -> String {
    match kind {
        "alias" => format!("WSGIScriptAlias /{name} ${{WSGI}}/{name}.wsgi"),
        "match" => format!("WSGIScriptAliasMatch ^/{name} ${{WSGI}}/{name}.wsgi"),
        "substituted" => format!("WSGIScriptAliasMatch ^/({name}) ${{WSGI}}/$1.wsgi"),
        _ => format!("WSGIHandlerScript {name} ${{WSGI}}/{name}.wsgi"),
    }
}

fn daemon(name: &str) -> String {
    format!("WSGIDaemonProcess {name} threads=1\n")
}

fn resource(url: &str) -> String {
    format!("site.test|{url}")
}

/// The option's value of a form, and what it is for a process group and for an application group.
fn form(name: &str) -> (&'static str, &'static str, &'static str) {
    let found = FORMS.iter().find(|(form, ..)| *form == name);
    let (_, value, process, application) = found.expect("a form in the table");
    (value, process, application)
}

#[rstest]
fn a_script_runs_in_the_groups_that_the_forms_name_and_is_loaded_at_start_where_both_are_fixed(
    #[values("alias", "match", "substituted", "handler")] kind: &str,
    #[values("absent", "global", "server", "host", "resource", "variable", "plain")] process: &str,
) {
    for (application, _, _, application_group) in FORMS {
        let url = format!("/{kind}-{process}-{application}");
        let server = match application {
            "global" => FORMED_GLOBAL.borrow(),
            _ => FORMED.borrow(),
        };
        let seen = environ(&server.send(&Request::get(&url).header("Host", "other.test")));
        let expected = |form: &str| form.replace("RESOURCE", &resource(&url));
        let is_fixed = |form: &str| matches!(form, "global" | "plain");
        let is_at_start =
            matches!(kind, "alias" | "match") && is_fixed(process) && is_fixed(application);
        for (name, value) in [
            ("process", expected(form(process).1)),
            ("module.process", expected(form(process).1)),
            ("application", expected(application_group)),
            ("module.application", expected(application_group)),
            (
                "loaded",
                if is_at_start { "start" } else { "request" }.to_owned(),
            ),
        ] {
            assert_eq!(seen.value(name), value, "{url}: {name}");
        }
    }
}

/// Of a handler script, what it does not say itself the place says.
#[test]
fn an_option_that_a_handler_script_does_not_have_is_that_of_the_place() {
    let server = Site::new()
        .script("handler.py", TELLING)
        .config(
            "WSGISocketPrefix ${ROOT}/logs/wsgi
             WSGIDaemonProcess one threads=1
             WSGIDaemonProcess two threads=1
             WSGIHandlerScript neither ${WSGI}/handler.py
             WSGIHandlerScript process ${WSGI}/handler.py process-group=two
             WSGIHandlerScript application ${WSGI}/handler.py application-group=own
             WSGIHandlerScript both ${WSGI}/handler.py process-group=%{GLOBAL} application-group=%{GLOBAL}
             WSGIProcessGroup one
             WSGIApplicationGroup place",
        )
        .config(&["neither", "process", "application", "both"].map(|name| {
            format!("<Location /{name}>\nSetHandler {name}\n</Location>\n")
        }).concat())
        .start();
    for (name, process, application) in [
        ("neither", "one", "place"),
        ("process", "two", "place"),
        ("application", "one", "own"),
        ("both", "", ""),
    ] {
        let seen = environ(&server.get(&format!("/{name}")));
        assert_eq!(seen.value("process"), process, "{name}");
        assert_eq!(seen.value("application"), application, "{name}");
    }
}

/// Tells in the file of `data/` that the query names where it was asked, and lets everybody do
/// anything.
const HOOKS: &str = "
import mod_wsgi, os
DATA = os.path.join(os.path.dirname(os.path.dirname(__file__)), 'data')

def note(environ):
    groups = environ['mod_wsgi.application_group'], mod_wsgi.application_group, mod_wsgi.process_group
    with open(os.path.join(DATA, environ['QUERY_STRING']), 'w') as file:
        file.write('|'.join(groups))

def allow_access(environ, host):
    note(environ)
    return True

def check_password(environ, user, password):
    note(environ)
    return True

def groups_for_user(environ, user):
    note(environ)
    return ['staff']

def callable_object(environ):
    note(environ)
";

const HOOK_DIRECTIVES: [&str; 4] = [
    "WSGIAccessScript",
    "WSGIAuthUserScript",
    "WSGIAuthGroupScript",
    "WSGIDispatchScript",
];

/// Each of these scripts is asked about `/app/DIRECTIVE-FORM`, for the forms that are there.
fn hooked(is_there: fn(&str) -> bool) -> Site {
    let mut site = hook_site()
        .script("hooks.py", HOOKS)
        .file("conf/users", "eve:{SHA}0L4txCG+T80BcuWvzuo5cOLz2UA=\n")
        .config(
            "ServerName site.test
         SetEnv GROUP varied",
        );
    for hook in HOOK_DIRECTIVES {
        for (name, form, ..) in FORMS {
            if is_there(name) {
                let besides = match hook {
                    "WSGIAuthGroupScript" => {
                        "AuthBasicProvider file\nAuthUserFile ${ROOT}/conf/users\nRequire wsgi-group staff"
                    }
                    "WSGIAuthUserScript" => "AuthBasicProvider wsgi\nRequire valid-user",
                    _ => "",
                };
                let options = options("", form);
                site = site.config(&format!(
                    "<Location /app/{hook}-{name}>
                         AuthType Basic
                         AuthName here
                         {besides}
                         {hook} ${{WSGI}}/hooks.py{options}
                     </Location>"
                ));
            }
        }
    }
    site
}

static HOOKED: SharedHttpd = SharedHttpd::new(|| hooked(|name| !is_main(name)));
static HOOKED_MAIN: SharedHttpd = SharedHttpd::new(|| hooked(is_main));

/// Whether this form of a hook script's group is the main interpreter.
fn is_main(name: &str) -> bool {
    matches!(name, "absent" | "global")
}

/// They are asked in the processes of httpd, whatever there is besides, and know no resource and no
/// variables.
#[rstest]
fn a_hook_script_runs_in_the_group_that_the_form_names(
    #[values(0, 1, 2, 3)] hook: usize,
    #[values("absent", "global", "server", "host", "resource", "variable", "plain")] name: &str,
) {
    let hook = HOOK_DIRECTIVES[hook];
    let server = match is_main(name) {
        true => HOOKED_MAIN.borrow(),
        false => HOOKED.borrow(),
    };
    let noted = format!("{hook}-{name}");
    // `eve:apple`
    let request = Request::get(&format!("/app/{noted}?{noted}"))
        .header("Host", "other.test")
        .header("Authorization", "Basic ZXZlOmFwcGxl");
    assert_eq!(server.send(&request).status, 200);
    let group = match name {
        "resource" => "%{RESOURCE}",
        "variable" => "%{ENV:GROUP}",
        "absent" => "",
        _ => form(name).2,
    };
    let expected = format!("{group}|{group}|");
    assert_eq!(server.site().read(&format!("data/{noted}")), expected);
}

#[rstest]
fn a_script_that_is_imported_takes_a_form_as_it_stands(
    #[values("absent", "global", "server", "host", "resource", "variable", "plain")] process: &str,
) {
    for (application, application_form, ..) in FORMS {
        let process_form = form(process).0;
        let options = options(process_form, application_form);
        let site = Site::new().script("job.py", IMPORTED).config(&format!(
            "WSGISocketPrefix ${{ROOT}}/logs/wsgi
             WSGIDaemonProcess plain threads=1
             WSGIImportScript ${{WSGI}}/job.py{options}"
        ));
        let is_accepted = matches!(process, "global" | "plain") && application != "absent";
        if !is_accepted {
            assert!(!site.configtest().success, "{options}");
            continue;
        }
        let group = |form: &str| match form {
            "%{GLOBAL}" => String::new(),
            literal => literal.to_owned(),
        };
        let expected = format!("{}|{}", group(process_form), group(application_form));
        let server = site.start();
        wait_until(&expected, || {
            (traces(&server) == [&*expected]).then_some(())
        });
    }
}

/// The names of the files that were left in `data/`.
fn traces(server: &Httpd) -> Vec<String> {
    let entries = fs::read_dir(server.site().path("data")).expect("data/");
    let names = entries.flatten().map(|entry| entry.file_name());
    names
        .map(|name| name.to_string_lossy().into_owned())
        .collect()
}

/// A configuration is bytes: names are not always UTF-8.
#[test]
fn a_group_may_be_named_in_any_encoding() {
    let config = b"
        WSGIDaemonProcess caf\xe9
        WSGIDaemonProcess caf\xe8
        WSGIScriptAlias /acute ${WSGI}/a.wsgi process-group=caf\xe9
        WSGIScriptAlias /grave ${WSGI}/a.wsgi process-group=caf\xe8";
    let server = Site::new()
        .script("a.wsgi", TELLING)
        .file("conf/groups.conf", config)
        .config("WSGISocketPrefix ${ROOT}/logs/wsgi\nInclude ${ROOT}/conf/groups.conf")
        .start();
    for (target, name) in [("/acute", "caf\u{e9}"), ("/grave", "caf\u{e8}")] {
        let told: serde_json::Value =
            serde_json::from_slice(&server.get(target).body).expect("JSON");
        assert_eq!(told["process"], name);
    }
}
