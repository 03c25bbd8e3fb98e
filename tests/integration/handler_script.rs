//! `WSGIHandlerScript`: handlers that scripts implement.

use testkit::{Mark, Request, SharedHttpd, Site};

use crate::apps::{answering, environ};

/// Answers with its environ, as the script of a handler.
const HANDLER: &str = r#"
import json

def handle_request(environ, start_response):
    seen = {key: value if isinstance(value, str) else repr(value)
            for key, value in environ.items()}
    seen.update(__file__=__file__)
    body = json.dumps(seen).encode()
    start_response('200 OK', [('Content-Type', 'application/json')])
    return [body]

def application(environ, start_response):
    raise RuntimeError('not this one')
"#;

/// `answering`, for a handler.
fn handling(text: &str) -> String {
    answering(text).replace("application", "handle_request")
}

static SERVER: SharedHttpd = SharedHttpd::new(|| {
    Site::new()
        .module("alias")
        .module("mime")
        .module("rewrite")
        .module("env")
        .script("handler.py", HANDLER)
        .script("other.py", &handling("other"))
        .script("bare.py", "x = 1\n")
        .script("raises.py", "def handle_request(e, s):\n    raise ValueError('no')\n")
        .script("app.wsgi", &answering("the application"))
        .file("www/set/page.txt", "a page")
        .file("www/set/directory/x", "x")
        .file("www/add/page.own", "a page")
        .file("www/add/page.txt", "a page")
        .file("www/inner/page.own", "a page")
        .file("www/htaccess/page.txt", "a page")
        .file("www/htaccess/.htaccess", "SetHandler our-handler\n")
        .file("www/refused/.htaccess", "WSGIHandlerScript x /x.py\n")
        .config(
            "
            TypesConfig /dev/null
            WSGISocketPrefix ${ROOT}/logs/wsgi
            WSGIDaemonProcess one threads=2
            WSGIDaemonProcess two threads=2
            WSGIHandlerScript our-handler ${WSGI}/handler.py application-group=%{GLOBAL}
            WSGIHandlerScript other ${WSGI}/other.py
            WSGIHandlerScript daemon ${WSGI}/handler.py process-group=one application-group=%{GLOBAL} pass-authorization=On
            WSGIHandlerScript chosen ${WSGI}/handler.py process-group=%{ENV:CHOSEN} application-group=%{ENV:GROUP}
            WSGIHandlerScript plain ${WSGI}/handler.py
            WSGIHandlerScript bare ${WSGI}/bare.py application-group=%{GLOBAL}
            WSGIHandlerScript bare-daemon ${WSGI}/bare.py process-group=one application-group=%{GLOBAL}
            WSGIHandlerScript missing ${WSGI}/missing.py application-group=%{GLOBAL}
            WSGIHandlerScript missing-daemon ${WSGI}/missing.py process-group=one application-group=%{GLOBAL}
            WSGIHandlerScript raises ${WSGI}/raises.py application-group=%{GLOBAL}
            WSGIHandlerScript raises-daemon ${WSGI}/raises.py process-group=one
            WSGIHandlerScript unknown-group ${WSGI}/handler.py process-group=nowhere
            WSGIScriptAlias /app ${WSGI}/app.wsgi
            <Directory ${WWW}>
                AllowOverride All
            </Directory>
            <Location /set>
                SetHandler our-handler
            </Location>
            <Directory ${WWW}/add>
                AddHandler our-handler .own
            </Directory>
            <Directory ${WWW}/inner>
                AddHandler our-handler .own
                WSGIHandlerScript our-handler ${WSGI}/other.py application-group=%{GLOBAL}
                WSGICallableObject application
            </Directory>
            <Location /union>
                WSGIHandlerScript third ${WSGI}/other.py
            </Location>
            <Location /union/first>
                SetHandler other
            </Location>
            <Location /union/third>
                SetHandler third
            </Location>
            <Location /unregistered>
                SetHandler third
            </Location>
            <Location /callable>
                SetHandler our-handler
                WSGICallableObject application
            </Location>
            <Location /no-path-info>
                SetHandler our-handler
                AcceptPathInfo Off
            </Location>
            <Location /no-reading>
                Require all denied
                SetHandler our-handler
            </Location>
            <Location /daemon>
                SetHandler daemon
            </Location>
            <Location /chosen/daemon>
                SetHandler chosen
                SetEnv CHOSEN two
                SetEnv GROUP %{SERVER}
            </Location>
            <Location /chosen/embedded>
                SetHandler chosen
                SetEnv CHOSEN %{GLOBAL}
            </Location>
            <Location /scope>
                SetHandler plain
                WSGIProcessGroup one
                WSGIApplicationGroup of-scope
                WSGIPassAuthorization On
            </Location>
            <Location /plain>
                SetHandler plain
            </Location>
            <Location /app/taken>
                SetHandler our-handler
            </Location>
            <Location /bare/embedded>
                SetHandler bare
            </Location>
            <Location /bare/daemon>
                SetHandler bare-daemon
            </Location>
            <Location /missing/embedded>
                SetHandler missing
            </Location>
            <Location /missing/daemon>
                SetHandler missing-daemon
            </Location>
            <Location /raises/embedded>
                SetHandler raises
            </Location>
            <Location /raises/daemon>
                SetHandler raises-daemon
            </Location>
            <Location /unknown-group>
                SetHandler unknown-group
            </Location>
            RewriteEngine On
            RewriteRule ^/rewritten/ - [H=our-handler]
            ",
        )
});

fn authorized(url: &str) -> Request {
    Request::get(url).header("Authorization", "Basic abc")
}

#[test]
fn set_handler_add_handler_and_rewrite_rule_name_a_handler() {
    let server = SERVER.borrow();
    for url in [
        "/set/page.txt",
        "/add/page.own",
        "/htaccess/page.txt",
        "/rewritten/x",
    ] {
        let seen = environ(&server.get(url));
        assert_eq!(
            seen.value("mod_wsgi.request_handler"),
            "our-handler",
            "{url}"
        );
        assert_eq!(
            seen.value("__file__"),
            server.site().text_path("wsgi/handler.py")
        );
    }
    assert_eq!(server.get("/add/page.txt").text(), "a page");
}

#[test]
fn the_environ_describes_the_resource_and_names_the_script() {
    let server = SERVER.borrow();
    let seen = environ(&server.get("/set/page.txt/p/q"));
    assert_eq!(seen.value("SCRIPT_NAME"), "/set/page.txt");
    assert_eq!(seen.value("PATH_INFO"), "/p/q");
    assert_eq!(
        seen.value("SCRIPT_FILENAME"),
        server.site().text_path("www/set/page.txt")
    );
    assert_eq!(
        seen.value("mod_wsgi.handler_script"),
        server.site().text_path("wsgi/handler.py")
    );
    assert_eq!(seen.value("mod_wsgi.callable_object"), "handle_request");
    assert_eq!(seen.value("mod_wsgi.application_group"), "");
    assert_eq!(seen.value("mod_wsgi.process_group"), "");
    assert_eq!(seen.value("mod_wsgi.script_name"), "/set/page.txt");
}

#[test]
fn the_resource_need_not_exist_and_may_be_a_directory() {
    let server = SERVER.borrow();
    for (url, script_name, path_info, filename) in [
        ("/set/none", "/set/none", "", "www/set/none"),
        ("/set/none/more", "/set/none", "/more", "www/set/none"),
        (
            "/set/directory/",
            "/set/directory/",
            "",
            "www/set/directory/",
        ),
        ("/set/", "/set/", "", "www/set/"),
        ("/daemon/none", "/daemon", "/none", "www/daemon"),
    ] {
        let seen = environ(&server.get(url));
        assert_eq!(seen.value("SCRIPT_NAME"), script_name, "{url}");
        assert_eq!(seen.value("PATH_INFO"), path_info, "{url}");
        assert_eq!(
            seen.value("SCRIPT_FILENAME"),
            server.site().text_path(filename)
        );
    }
    assert_eq!(server.get("/no-reading/x").status, 403);
    assert_eq!(server.get("/no-path-info/none").status, 404);
    assert_eq!(server.get("/no-path-info").status, 200);
}

#[test]
fn a_handler_runs_in_the_groups_of_its_options() {
    let server = SERVER.borrow();
    let seen = environ(&server.send(&authorized("/daemon")));
    assert_eq!(seen.value("mod_wsgi.process_group"), "one");
    assert_eq!(seen.value("mod_wsgi.application_group"), "");
    assert_eq!(seen.value("HTTP_AUTHORIZATION"), "Basic abc");
    let seen = environ(&server.send(&authorized("/chosen/daemon")));
    assert_eq!(seen.value("mod_wsgi.process_group"), "two");
    assert_eq!(seen.value("mod_wsgi.application_group"), "localhost");
    assert_eq!(seen.value("HTTP_AUTHORIZATION"), "<absent>");
    let seen = environ(&server.get("/chosen/embedded"));
    assert_eq!(seen.value("mod_wsgi.process_group"), "");
    assert_eq!(seen.value("mod_wsgi.application_group"), "%{ENV:GROUP}");
}

#[test]
fn what_the_options_leave_open_the_place_decides() {
    let server = SERVER.borrow();
    let seen = environ(&server.send(&authorized("/scope/x")));
    assert_eq!(seen.value("mod_wsgi.process_group"), "one");
    assert_eq!(seen.value("mod_wsgi.application_group"), "of-scope");
    assert_eq!(seen.value("HTTP_AUTHORIZATION"), "Basic abc");
    let seen = environ(&server.send(&authorized("/plain")));
    assert_eq!(seen.value("mod_wsgi.process_group"), "");
    assert_eq!(seen.value("mod_wsgi.application_group"), "localhost|/plain");
    assert_eq!(seen.value("HTTP_AUTHORIZATION"), "<absent>");
}

#[test]
fn the_handlers_of_an_inner_place_come_on_top() {
    let server = SERVER.borrow();
    assert_eq!(server.get("/inner/page.own").text(), "other");
    assert_eq!(server.get("/union/first").text(), "other");
    assert_eq!(server.get("/union/third").text(), "other");
    // Where a name is no handler httpd serves files.
    assert_eq!(server.get("/unregistered").status, 404);
}

#[test]
fn the_callable_is_handle_request_whatever_else_is_said() {
    let seen = environ(&SERVER.borrow().get("/callable"));
    assert_eq!(seen.value("mod_wsgi.callable_object"), "handle_request");
}

#[test]
fn a_handler_takes_what_an_alias_had_mapped() {
    let server = SERVER.borrow();
    assert_eq!(server.get("/app/x").text(), "the application");
    let seen = environ(&server.get("/app/taken"));
    assert_eq!(seen.value("PATH_INFO"), "/taken");
    assert_eq!(
        seen.value("SCRIPT_FILENAME"),
        server.site().text_path("wsgi/app.wsgi")
    );
}

#[test]
fn a_script_without_the_callable_is_not_found_or_in_a_group_an_error() {
    let server = SERVER.borrow();
    let mark = server.log().mark();
    assert_eq!(server.get("/bare/embedded").status, 404);
    server.log().wait_for(mark, "WSGI0089");
    let mark = server.log().mark();
    assert_eq!(server.get("/bare/daemon").status, 500);
    server.log().wait_for(mark, "WSGI0089");
}

#[test]
fn a_script_that_is_not_there_is_an_error() {
    let server = SERVER.borrow();
    for mode in ["embedded", "daemon"] {
        assert_eq!(server.get(&format!("/missing/{mode}")).status, 500);
    }
    assert_eq!(server.get("/unknown-group").status, 500);
}

#[test]
fn an_exception_is_logged_with_the_resource() {
    let server = SERVER.borrow();
    let resource = server.site().text_path("www/raises");
    for mode in ["embedded", "daemon"] {
        let mark = server.log().mark();
        assert_eq!(server.get(&format!("/raises/{mode}/page")).status, 500);
        // Other tests have exceptions of their own in this log.
        let own = format!("WSGI0174: [script {resource}]");
        server.log().wait_for(mark, &own);
    }
}

#[test]
fn it_has_no_place_in_htaccess() {
    let server = SERVER.borrow();
    server
        .log()
        .expect_alarm("WSGIHandlerScript not allowed here");
    assert_eq!(server.get("/refused/x").status, 500);
}

/// A site whose handler `own` takes everything, with these options.
fn everything(options: &str) -> Site {
    Site::new()
        .script("h.py", &handling("old"))
        .config(&format!(
            "WSGISocketPrefix ${{ROOT}}/logs/wsgi
         WSGIDaemonProcess one threads=2
         WSGIHandlerScript own ${{WSGI}}/h.py {options}
         <Location />
             SetHandler own
         </Location>"
        ))
}

#[test]
fn a_changed_script_is_loaded_anew() {
    for group in ["%{GLOBAL}", "one"] {
        let server = everything(&format!("process-group={group}")).start();
        assert_eq!(server.get("/x").text(), "old", "{group}");
        for round in 0..3 {
            let text = format!("new {round}");
            server.site().write("wsgi/h.py", handling(&text));
            assert_eq!(server.get("/x").text(), text, "{group}");
        }
        server.site().remove("wsgi/h.py");
        assert_eq!(server.get("/x").status, 500, "{group}");
        server.site().write("wsgi/h.py", handling("again"));
        assert_eq!(server.get("/x").text(), "again", "{group}");
    }
}

#[test]
fn a_changed_script_stays_where_reloading_is_off() {
    for group in ["%{GLOBAL}", "one"] {
        let server = everything(&format!("process-group={group}"))
            .config("WSGIScriptReloading Off")
            .start();
        assert_eq!(server.get("/x").text(), "old", "{group}");
        server.site().write("wsgi/h.py", handling("new"));
        assert_eq!(server.get("/x").text(), "old", "{group}");
    }
}

#[test]
fn a_script_is_asked_about_the_resource_whether_it_is_up_to_date() {
    const ASKED: &str = "
import sys
sys.loaded = getattr(sys, 'loaded', 0) + 1
sys.asked = getattr(sys, 'asked', [])

def reload_required(resource):
    sys.asked.append(resource)
    return resource.endswith('/stale') and len(sys.asked) == 2

def handle_request(environ, start_response):
    start_response('200 OK', [])
    return [repr([sys.loaded, [path.rsplit('/', 1)[1] for path in sys.asked]]).encode()]
";
    for group in ["%{GLOBAL}", "one"] {
        let server = everything(&format!(
            "process-group={group} application-group=%{{GLOBAL}}"
        ))
        .script("h.py", ASKED)
        .start();
        // The one that loads it does not ask.
        for (url, expected) in [("/first", "[1, []]"), ("/second", "[1, ['second']]")] {
            assert_eq!(server.get(url).text(), expected, "{group}");
        }
        // In a process group another process is asked next.
        let expected = match group {
            "one" => "[1, []]",
            _ => "[2, ['second', 'stale']]",
        };
        assert_eq!(server.get("/stale").text(), expected, "{group}");
    }
}

/// Counts how often it is loaded in its interpreter.
const COUNTING: &str = r#"
import sys
sys.loaded = getattr(sys, 'loaded', 0) + 1

def handle_request(environ, start_response):
    start_response('200 OK', [])
    return [f'loaded {sys.loaded}'.encode()]
"#;

#[test]
fn a_script_that_was_imported_at_start_is_the_same_module() {
    for group in ["%{GLOBAL}", "one"] {
        let groups = format!("process-group={group} application-group=%{{GLOBAL}}");
        let server = everything(&groups)
            .script("h.py", COUNTING)
            .config(&format!("WSGIImportScript ${{WSGI}}/h.py {groups}"))
            .start();
        server.log().wait_for(Mark::START, "Loading WSGI script");
        assert_eq!(server.get("/x").text(), "loaded 1", "{group}");
    }
}

#[test]
fn names_are_in_lower_case_and_those_of_scripts_are_taken() {
    let server = Site::new()
        .script("h.py", &handling("the handler"))
        .script("a.wsgi", &answering("the script"))
        .config(
            "WSGIHandlerScript Own ${WSGI}/h.py
             WSGIHandlerScript wsgi-script ${WSGI}/h.py
             WSGIScriptAlias /a ${WSGI}/a.wsgi
             <Location /own>
                 SetHandler Own
             </Location>",
        )
        .start();
    assert_eq!(
        server.get("/own").status,
        404,
        "httpd makes the name \"own\""
    );
    assert_eq!(server.get("/a").text(), "the script");
}

#[test]
fn mistakes_are_errors_of_the_configuration() {
    for (arguments, ours) in [
        ("", "two arguments are needed"),
        ("own", "two arguments are needed"),
        ("own /x.py process-group=", "process-group= needs a value"),
        (
            "own /x.py application-group=''",
            "application-group= needs a value",
        ),
        (
            "own /x.py pass-authorization=maybe",
            "\"maybe\" is not one of On, Off",
        ),
        (
            "own /x.py callable-object=x",
            "\"callable-object\" is not one of",
        ),
        ("own /x.py word", "\"word\" is not of the form option=value"),
    ] {
        let answer = Site::new()
            .config(&format!("WSGIHandlerScript {arguments}"))
            .configtest();
        assert!(!answer.success, "{arguments}");
        if testkit::ours("D03") {
            assert!(answer.text.contains(ours), "{}", answer.text);
        }
    }
}

#[test]
fn configtest_warns_of_handlers_that_cannot_work() {
    if !testkit::ours("D04") {
        return;
    }
    let site = Site::new()
        .script("readable.py", "")
        .script("secret.py", "")
        .config(
            "WSGIDaemonProcess one
             WSGIHandlerScript good ${WSGI}/readable.py process-group=one
             WSGIHandlerScript missing ${WSGI}/no/such.py process-group=one
             WSGIHandlerScript relative such.py
             WSGIHandlerScript Upper ${WSGI}/readable.py
             <Location /x>
                 WSGIHandlerScript secret ${WSGI}/secret.py process-group=%{GLOBAL}
                 WSGIHandlerScript lost ${WSGI}/readable.py process-group=ome
             </Location>",
        );
    site.set_mode("wsgi/secret.py", 0o600);
    let answer = site.configtest();
    assert!(answer.success, "{}", answer.text);
    for expected in [
        "WSGI1020: WSGIHandlerScript missing",
        "WSGI1024: WSGIHandlerScript relative",
        "WSGI1320: WSGIHandlerScript Upper",
        "WSGI1021: WSGIHandlerScript secret",
        "WSGI1029: the process group \"ome\"",
    ] {
        assert!(
            answer.text.contains(expected),
            "{expected}: {}",
            answer.text
        );
    }
    assert!(
        !answer.text.contains("WSGIHandlerScript good"),
        "{}",
        answer.text
    );
}
