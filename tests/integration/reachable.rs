//! Which process groups a request may use: by what name it asks for one, in which virtual host, and
//! what `WSGIRestrictProcess` allows.

use rstest::rstest;
use testkit::{Httpd, Request, Response, Site};

use crate::apps::{WHERE, environ};

fn site() -> Site {
    Site::new()
        .module("env")
        .module("setenvif")
        .script("where.wsgi", WHERE)
        .config("WSGISocketPrefix ${ROOT}/logs/wsgi")
}

fn ask(server: &Httpd, host: &str, url: &str) -> Response {
    server.send(&Request::get(url).header("Host", host))
}

fn group(server: &Httpd, host: &str, url: &str) -> String {
    let response = ask(server, host, url);
    environ(&response).value("process_group").to_owned()
}

/// Asserts that the request is refused with 500 and a line with `id` that names `group`.
fn check_refused(server: &Httpd, host: &str, url: &str, id: &str, group: &str) {
    let mark = server.log().mark();
    assert_eq!(ask(server, host, url).status, 500, "{host}{url}");
    let line = server.log().wait_for(mark, id);
    assert!(line.contains(&format!("'{group}'")), "{line}");
}

#[test]
fn a_process_group_may_be_that_of_the_host_the_server_the_resource_or_a_variable() {
    let server = site()
        .config(
            "WSGIDaemonProcess site.test
             WSGIDaemonProcess other.test:8080
             WSGIDaemonProcess site.test|/resource
             WSGIDaemonProcess chosen
             ServerName site.test
             SetEnvIf X-Group (.+) GROUP=$1
             WSGIScriptAlias /host ${WSGI}/where.wsgi process-group=%{HOST}
             WSGIScriptAlias /server ${WSGI}/where.wsgi process-group=%{SERVER}
             WSGIScriptAlias /resource ${WSGI}/where.wsgi process-group=%{RESOURCE}
             WSGIScriptAlias /variable ${WSGI}/where.wsgi
             WSGIScriptAlias /global ${WSGI}/where.wsgi
             <Location /variable>
                 WSGIProcessGroup %{ENV:GROUP}
             </Location>
             <Location /global>
                 WSGIProcessGroup %{GLOBAL}
             </Location>",
        )
        .start();
    for (host, url, expected) in [
        ("site.test", "/host", "site.test"),
        ("other.test:8080", "/host/path", "other.test:8080"),
        ("other.test", "/server", "site.test"),
        ("site.test", "/resource/path", "site.test|/resource"),
        ("site.test", "/global", ""),
    ] {
        assert_eq!(group(&server, host, url), expected, "{host}{url}");
    }
    for (header, expected) in [
        ("chosen", "chosen"),
        ("%{SERVER}", "site.test"),
        ("%{GLOBAL}", ""),
    ] {
        let request = Request::get("/variable").header("Host", "site.test");
        let seen = environ(&server.send(&request.header("X-Group", header)));
        assert_eq!(seen.value("process_group"), expected, "{header}");
    }
    check_refused(
        &server,
        "site.test",
        "/variable",
        "WSGI0151",
        "%{ENV:GROUP}",
    );
    check_refused(&server, "third.test", "/host", "WSGI0151", "third.test");
}

#[test]
fn a_group_of_a_virtual_host_is_for_the_hosts_of_its_name() {
    let server = site()
        .config(
            "WSGIDaemonProcess of-all
             WSGIScriptAlias / ${WSGI}/where.wsgi
             <VirtualHost *:*>
                 ServerName one.test
                 ServerAlias two.alias
                 WSGIDaemonProcess of-one
                 WSGIProcessGroup of-one
                 <Location /all>
                     WSGIProcessGroup of-all
                 </Location>
             </VirtualHost>
             <VirtualHost *:*>
                 ServerName two.test
                 ServerAlias one.alias
                 WSGIProcessGroup of-one
                 <Location /all>
                     WSGIProcessGroup of-all
                 </Location>
             </VirtualHost>
             Listen 127.0.0.1:${TLS_PORT}
             <VirtualHost *:${TLS_PORT}>
                 ServerName one.test:${TLS_PORT}
                 WSGIProcessGroup of-one
             </VirtualHost>",
        )
        .start();
    assert_eq!(group(&server, "one.test", "/"), "of-one");
    assert_eq!(group(&server, "two.alias", "/"), "of-one");
    for host in ["one.test", "two.test"] {
        assert_eq!(group(&server, host, "/all"), "of-all", "{host}");
    }
    check_refused(&server, "two.test", "/", "WSGI0152", "of-one");
    check_refused(&server, "one.alias", "/", "WSGI0152", "of-one");
    // That of the other port has the same name.
    let other = std::net::SocketAddr::from(([127, 0, 0, 1], server.tls_port()));
    let mut connection = testkit::Connection::open(other);
    connection.send(&Request::get("/").header("Host", "one.test").to_bytes());
    let seen = environ(&connection.read_response());
    assert_eq!(seen.value("process_group"), "of-one");
}

#[test]
fn wsgi_restrict_process_says_which_groups_may_be_chosen() {
    let server = site()
        .config(
            "WSGIDaemonProcess first
             WSGIDaemonProcess second
             WSGIScriptAlias / ${WSGI}/where.wsgi
             WSGIRestrictProcess first %{GLOBAL}
             <Location /first>
                 WSGIProcessGroup first
             </Location>
             <Location /second>
                 WSGIProcessGroup second
             </Location>
             <Location /second/case>
                 WSGIRestrictProcess SECOND
             </Location>
             <Location /second/replaced>
                 WSGIRestrictProcess second
             </Location>
             <Location /embedded>
                 WSGIRestrictProcess first second
             </Location>
             <Location /none>
                 WSGIRestrictProcess
             </Location>
             <VirtualHost *:*>
                 ServerName one.test
             </VirtualHost>
             <VirtualHost *:*>
                 ServerName two.test
                 WSGIRestrictProcess second
             </VirtualHost>",
        )
        .start();
    assert_eq!(group(&server, "one.test", "/first"), "first");
    assert_eq!(group(&server, "one.test", "/"), "");
    assert_eq!(group(&server, "one.test", "/second/case"), "second");
    assert_eq!(group(&server, "one.test", "/second/replaced"), "second");
    assert_eq!(group(&server, "two.test", "/second"), "second");
    check_refused(&server, "one.test", "/second", "WSGI0149", "second");
    check_refused(&server, "two.test", "/first", "WSGI0149", "first");
    // It is about embedded mode, too.
    for (host, url) in [
        ("one.test", "/embedded"),
        ("one.test", "/none"),
        ("two.test", "/"),
    ] {
        check_refused(&server, host, url, "WSGI0149", "");
    }
}

/// The scripts of an alias with both groups, or of `WSGIImportScript`, are loaded at start: their
/// group must be there by then.
#[test]
fn a_script_that_is_loaded_at_start_names_a_group_that_is_defined_and_in_reach() {
    let import = "WSGIImportScript ${WSGI}/where.wsgi process-group=own application-group=a";
    let alias = "WSGIScriptAlias / ${WSGI}/where.wsgi process-group=own application-group=a";
    for line in [import, alias] {
        let host = |name: &str, lines: &str| {
            let name = match name {
                "" => String::new(),
                name => format!("ServerName {name}\n"),
            };
            format!("<VirtualHost *:*>\n{name}{lines}\n</VirtualHost>\n")
        };
        let group = "WSGIDaemonProcess own";
        for (config, accepted) in [
            (format!("{group}\n{line}"), true),
            (format!("{line}\n{group}"), false),
            (format!("{group}\n{}", host("one.test", line)), true),
            (host("one.test", &format!("{group}\n{line}")), true),
            (host("one.test", group) + &host("one.test", line), true),
            (host("one.test", group) + &host("two.test", line), false),
            (host("one.test", group) + line, false),
            (host("", group) + &host("two.test", line), false),
            // A name that comes later does not count.
            (
                host("one.test", group) + &host("", &format!("{line}\nServerName one.test")),
                false,
            ),
            (
                host("", &format!("{group}\n{line}\nServerName one.test")),
                true,
            ),
        ] {
            let answer = site().config(&config).configtest();
            assert_eq!(answer.success, accepted, "{config}\n{}", answer.text);
        }
    }
}

/// What loads a script at the start of a process must know the process: its group has to stand
/// before, and where it is that of a virtual host, the names of both hosts, which are compared as
/// they are written.
#[rstest]
#[case::in_its_host("ServerName a.test\nGROUP\nUSE", "", "")]
#[case::named_too_late("GROUP\nUSE\nServerName a.test", "", "")]
#[case::of_another_host("ServerName a.test\nGROUP", "ServerName b.test\nUSE", "not accessible")]
#[case::of_a_host_of_that_name("ServerName a.test\nGROUP", "ServerName a.test\nUSE", "")]
#[case::at_another_port("ServerName a.test:80\nGROUP", "ServerName a.test:81\nUSE", "")]
#[case::in_other_letters("ServerName a.test\nGROUP", "ServerName A.test\nUSE", "not accessible")]
#[case::used_without_a_name("ServerName a.test\nGROUP", "USE", "not matchable")]
#[case::made_without_a_name("GROUP", "ServerName b.test\nUSE", "not matchable")]
#[case::named_after_the_group("GROUP\nServerName a.test", "ServerName a.test\nUSE", "")]
#[case::used_in_both("GROUP\nServerName a.test\nUSE", "ServerName a.test\nUSE", "")]
#[case::used_before_a_name("GROUP\nServerName a.test", "USE\nServerName a.test", "not matchable")]
#[case::both_without_names("GROUP", "USE", "")]
#[case::later("USE\nGROUP", "", "not yet configured")]
fn a_group_to_load_a_script_in_is_known_by_then(
    #[case] first: &str,
    #[case] second: &str,
    #[case] refusal: &str,
) {
    for directive in [
        "WSGIImportScript",
        "WSGIScriptAlias /x",
        "WSGIScriptAliasMatch ^/x",
    ] {
        let import = format!(
            "{directive} ${{WSGI}}/where.wsgi process-group=one application-group=%{{GLOBAL}}"
        );
        let host = |lines: &str| {
            let lines = lines.replace("GROUP", "WSGIDaemonProcess one");
            format!(
                "<VirtualHost *:*>\n{}\n</VirtualHost>",
                lines.replace("USE", &import)
            )
        };
        let answer = site()
            .config(&host(first))
            .config(&host(second))
            .configtest();
        assert_eq!(
            answer.success,
            refusal.is_empty(),
            "{directive}: {}",
            answer.text
        );
        assert!(
            answer.text.contains(refusal),
            "{directive}: {}",
            answer.text
        );
    }
}

/// One of the main server is for all hosts; one of a host is not for the main server.
#[test]
fn a_group_of_the_main_server_is_for_all_hosts() {
    let import =
        "WSGIImportScript ${WSGI}/where.wsgi process-group=one application-group=%{GLOBAL}";
    let host =
        |lines: &str| format!("<VirtualHost *:*>\nServerName a.test\n{lines}\n</VirtualHost>");
    let group = "WSGIDaemonProcess one";
    let answer = site().config(group).config(&host(import)).configtest();
    assert!(answer.success, "{}", answer.text);
    let answer = site().config(&host(group)).config(import).configtest();
    assert!(answer.text.contains("not accessible"), "{}", answer.text);
}
