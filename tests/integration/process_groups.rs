//! What configtest finds out about process groups: those that do not exist, that nobody uses, that
//! belong to others, and whose Python or scripts are out of reach. Each costs one site only.

use testkit::{Answer, Site, ours};

use crate::apps::answering;
use crate::daemon_site::as_root;

fn site() -> Site {
    Site::new().script("a.wsgi", &answering("ran"))
}

fn configtest(site: &Site) -> Answer {
    let answer = site.configtest();
    assert!(answer.success, "{}", answer.text);
    answer
}

/// The warnings of ours that configtest prints for this configuration and that contain `part`.
fn warnings(config: &str, part: &str) -> Vec<String> {
    warnings_of(&site().config(config), part)
}

fn warnings_of(site: &Site, part: &str) -> Vec<String> {
    let answer = configtest(site);
    let is_meant = |line: &&str| line.contains("[wsgi:warn]") && line.contains(part);
    answer
        .text
        .lines()
        .filter(is_meant)
        .map(str::to_owned)
        .collect()
}

/// Asserts that there is one such warning. mod_wsgi has none of them.
fn check_warned(config: &str, parts: &[&str]) {
    check_site_warned(&site().config(config), parts);
}

fn check_site_warned(site: &Site, parts: &[&str]) {
    let found = warnings_of(site, parts.first().expect("a part"));
    if ours("D04") {
        assert_eq!(found.len(), 1, "{found:?}");
        for part in parts {
            assert!(
                found.iter().all(|line| line.contains(part)),
                "{part}: {found:?}"
            );
        }
    }
}

#[test]
fn a_group_that_nothing_defines_is_a_warning_with_the_nearest_name() {
    for config in [
        "WSGIDaemonProcess blog
         WSGIProcessGroup blgo",
        "WSGIDaemonProcess blog
         <Location /x>
             WSGIProcessGroup blgo
         </Location>",
        "WSGIDaemonProcess blog
         WSGIScriptAlias /x ${WSGI}/a.wsgi process-group=blgo
         WSGIScriptAlias /y ${WSGI}/a.wsgi process-group=blgo",
        "WSGIScriptAlias /x ${WSGI}/a.wsgi process-group=blgo
         WSGIDaemonProcess blog",
    ] {
        check_warned(config, &["blgo", "\"blog\"", "conf:"]);
    }
}

#[test]
fn what_is_said_of_a_group_that_nothing_defines_is_a_warning_with_the_nearest_name() {
    let used = "WSGIDaemonProcess blog
                WSGIScriptAlias /x ${WSGI}/a.wsgi process-group=blog";
    for config in [
        "WSGIRestrictProcess blgo %{GLOBAL}",
        "<WSGIInterpreterOptions process-group=blgo>
             WSGISwitchInterval 0.01
         </WSGIInterpreterOptions>",
    ] {
        let config = format!("{used}\n{config}");
        check_warned(&config, &["blgo", "\"blog\"", "WSGI1038", "conf:"]);
    }
    for config in [
        "WSGIRestrictProcess Blog %{GLOBAL}",
        "<WSGIInterpreterOptions process-group=%{GLOBAL}>
         </WSGIInterpreterOptions>
         <WSGIInterpreterOptions process-group=blog>
         </WSGIInterpreterOptions>
         <WSGIInterpreterOptions application-group=blgo>
         </WSGIInterpreterOptions>",
    ] {
        let found = warnings(&format!("{used}\n{config}"), "WSGI");
        assert!(found.is_empty(), "{config}: {found:?}");
    }
}

#[test]
fn preloading_into_a_group_that_nothing_defines_is_an_error() {
    let answer = site()
        .config(
            "WSGIDaemonProcess blog
             WSGIScriptAlias / ${WSGI}/a.wsgi process-group=blgo application-group=%{GLOBAL}",
        )
        .configtest();
    assert!(!answer.success);
    assert!(
        answer.text.contains("not yet configured"),
        "{}",
        answer.text
    );
    if ours("D03") {
        assert!(answer.text.contains("\"blog\""), "{}", answer.text);
    }
}

#[test]
fn a_group_that_is_defined_twice_is_an_error_that_names_the_first() {
    let site = site()
        .config("WSGIDaemonProcess blog")
        .config("WSGIDaemonProcess blog threads=3");
    let answer = site.configtest();
    assert!(!answer.success, "{}", answer.text);
    if ours("D03") {
        let first = answer.text.split("blog\" already (").nth(1);
        let first = first.and_then(|text| text.split(')').next());
        let (file, line) = first
            .and_then(|place| place.rsplit_once(':'))
            .expect(&answer.text);
        let config = std::fs::read_to_string(file).expect("the configuration");
        let number: usize = line.parse().expect("a line");
        let text = config.lines().nth(number - 1).expect("that line");
        assert_eq!(text.trim(), "WSGIDaemonProcess blog");
    }
}

#[test]
fn groups_that_depend_on_a_request_are_not_judged() {
    for form in [
        "%{GLOBAL}",
        "%{ENV:NAME}",
        "%{RESOURCE}",
        "%{SERVER}",
        "%{HOST}",
    ] {
        let config = format!("WSGIDaemonProcess blog\nWSGIProcessGroup {form}");
        let found = warnings(&config, "does not exist");
        assert!(found.is_empty(), "{form}: {found:?}");
        if form != "%{GLOBAL}" {
            let idle = warnings(&config, "never used");
            assert!(idle.is_empty(), "{form}: {idle:?}");
        }
    }
}

#[test]
fn a_group_that_nobody_uses_is_a_warning() {
    check_warned(
        "WSGIDaemonProcess blog",
        &["never used", "\"blog\"", "httpd.conf:"],
    );
    for used in [
        "WSGIProcessGroup blog",
        "<Directory /srv>\nWSGIProcessGroup blog\n</Directory>",
        "WSGIScriptAlias / ${WSGI}/a.wsgi process-group=blog",
        "WSGIImportScript ${WSGI}/a.wsgi process-group=blog application-group=a",
    ] {
        let found = warnings(&format!("WSGIDaemonProcess blog\n{used}"), "never used");
        assert!(found.is_empty(), "{used}: {found:?}");
    }
}

#[test]
fn groups_of_the_main_server_are_counted_once_however_many_hosts_there_are() {
    check_warned(
        "WSGIDaemonProcess blog
         <VirtualHost *:*>
             ServerName one.test
         </VirtualHost>
         <VirtualHost *:*>
             ServerName two.test
         </VirtualHost>",
        &["never used"],
    );
}

#[test]
fn a_group_of_another_host_is_a_warning() {
    let config = |user: &str| {
        format!(
            "<VirtualHost *:*>
                 ServerName owner.test
                 WSGIDaemonProcess blog
             </VirtualHost>
             <VirtualHost *:*>
                 ServerName {user}
                 WSGIScriptAlias / ${{WSGI}}/a.wsgi process-group=blog
             </VirtualHost>"
        )
    };
    check_warned(
        &config("other.test"),
        &["belongs to the virtual host", "owner.test"],
    );
    let found = warnings(&config("owner.test"), "belongs to");
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn so_is_one_that_a_virtual_host_uses_for_all_its_scripts() {
    let config = |other: &str| {
        format!(
            "<VirtualHost *:*>
                 ServerName owner.test
                 WSGIDaemonProcess blog
                 WSGIProcessGroup blog
             </VirtualHost>
             {other}"
        )
    };
    let host = |name: &str, lines: &str| {
        config(&format!(
            "<VirtualHost *:*>
                 ServerName {name}
                 {lines}
             </VirtualHost>"
        ))
    };
    let place = "<Directory /srv>
                     WSGIProcessGroup blog
                 </Directory>";
    for lines in ["WSGIProcessGroup blog", place] {
        let config = host("other.test", lines);
        check_warned(&config, &["WSGI1030", "WSGIProcessGroup", "owner.test"]);
    }
    for config in [
        host("owner.test", "WSGIProcessGroup blog"),
        host("other.test", ""),
        // It may be for the requests of that host.
        config(place),
    ] {
        let found = warnings(&config, "WSGI1030");
        assert!(found.is_empty(), "{config}: {found:?}");
    }
}

#[test]
fn applications_that_are_kept_out_of_everywhere_are_a_warning() {
    let site = |lines: &str| {
        site()
            .config("WSGIDaemonProcess blog")
            .config("WSGIRestrictEmbedded On")
            .config("WSGIScriptAlias /x ${WSGI}/a.wsgi process-group=blog")
            .config(lines)
    };
    for lines in [
        "WSGIScriptAlias / ${WSGI}/a.wsgi",
        "WSGIScriptAlias / ${WSGI}/a.wsgi process-group=%{GLOBAL}",
    ] {
        check_site_warned(&site(lines), &["WSGI1039", "WSGIScriptAlias / (", "conf:"]);
    }
    for lines in [
        "WSGIScriptAlias / ${WSGI}/a.wsgi process-group=blog",
        "WSGIScriptAlias / ${WSGI}/a.wsgi\nWSGIProcessGroup blog",
        // It loads what decides about requests.
        "WSGIImportScript ${WSGI}/a.wsgi process-group=%{GLOBAL} application-group=a",
        "WSGIScriptAlias / ${WSGI}/a.wsgi process-group=%{GLOBAL}\nWSGIDispatchScript ${WSGI}/a.wsgi",
    ] {
        let found = warnings_of(&site(lines), "WSGI1039");
        assert!(found.is_empty(), "{lines}: {found:?}");
    }
}

#[test]
fn the_python_home_of_a_group_is_looked_at() {
    check_warned(
        "WSGIDaemonProcess blog python-home=${ROOT}/no-such-venv
         WSGIProcessGroup blog",
        &["no-such-venv", "WSGI0100", "\"blog\""],
    );
    let site = site()
        .file("closed/venv/pyvenv.cfg", "")
        .config("WSGIDaemonProcess blog python-home=${ROOT}/closed/venv\nWSGIProcessGroup blog");
    site.set_mode("closed", 0);
    if as_root() {
        check_site_warned(&site, &["/closed", "WSGI0102", "\"blog\""]);
    }
    site.set_mode("closed", 0o755);
}

#[test]
fn scripts_must_be_readable_for_those_who_run_them() {
    if !as_root() {
        return;
    }
    let site = |options: &str| {
        let site = site()
            .script("private.wsgi", &answering("ran"))
            .config(&format!(
                "WSGIDaemonProcess nobodies user=nobody
             WSGIProcessGroup nobodies
             WSGIScriptAlias / ${{WSGI}}/private.wsgi {options}"
            ));
        site.set_mode("wsgi/private.wsgi", 0o400);
        site
    };
    check_site_warned(
        &site("process-group=nobodies"),
        &["private.wsgi", "\"nobody\""],
    );
    check_site_warned(
        &site("process-group=%{GLOBAL}"),
        &["private.wsgi", "\"www-data\""],
    );
    // Who runs it depends on where it lies, which only httpd finds out.
    let found = warnings_of(&site(""), "private.wsgi");
    assert!(found.is_empty(), "{found:?}");
}
