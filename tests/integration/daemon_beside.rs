//! Other modules of httpd before a process group: caches, home directories, time zones.

use rstest::rstest;
use testkit::{Httpd, Mark, Request, Site, ours};

use crate::apps::{ENVIRON, environ};

/// Each response differs from the last.
const COUNTING: &str = r#"
import itertools

numbers = itertools.count()

def application(environ, start_response):
    headers = [('Cache-Control', 'max-age=60'), ('ETag', '"one"')]
    start_response('200 OK', headers if environ['PATH_INFO'] != '/private' else
                   [('Cache-Control', 'no-store')])
    body = [str(next(numbers)).encode()]
    return body if environ['PATH_INFO'] != '/stream' else iter(body)
"#;

/// An application that a cache stands before.
fn cached(application: &str, group: &str, quick: &str) -> Httpd {
    let site = Site::new()
        .module("cache")
        .module("cache_disk")
        .script("a.wsgi", application)
        .file("cache/of", "httpd")
        .config(&format!(
            "CacheRoot ${{ROOT}}/cache
             CacheEnable disk /
             CacheQuickHandler {quick}
             WSGIDaemonProcess one threads=2
             WSGIScriptAlias / ${{WSGI}}/a.wsgi process-group={group} application-group=%{{GLOBAL}}"
        ));
    site.set_mode("cache", 0o777);
    site.start()
}

#[test]
fn a_cache_answers_in_their_place() {
    for quick in ["On", "Off"] {
        let server = cached(COUNTING, "one", quick);
        for path in ["/list", "/stream"] {
            let first = server.get(path).text();
            assert_eq!(server.get(path).text(), first, "{quick} {path}");
            let known = Request::get(path).header("If-None-Match", "\"one\"");
            assert_eq!(server.send(&known).status, 304, "{quick} {path}");
            let anew = Request::get(path).header("Cache-Control", "no-cache");
            assert_ne!(server.send(&anew).text(), first, "{quick} {path}");
        }
        let first = server.get("/private").text();
        assert_ne!(server.get("/private").text(), first, "{quick}");
    }
}

/// Fails in the middle of its first response.
const FAILING_ONCE: &str = r#"
import itertools

numbers = itertools.count()

def application(environ, start_response):
    start_response('200 OK', [('Cache-Control', 'max-age=60')])
    yield b'first'
    if next(numbers) == 0:
        raise RuntimeError('on purpose')
    yield b', second'
"#;

#[rstest]
fn of_a_response_that_is_cut_off_a_cache_keeps_nothing(
    #[values("%{GLOBAL}", "one")] group: &str,
    #[values("On", "Off")] quick: &str,
) {
    if !ours("D40") {
        return;
    }
    let server = cached(FAILING_ONCE, group, quick);
    let ask = || {
        let mut client = server.connect();
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        client.read_response()
    };
    assert!(!ask().is_whole(), "it fails once for each child");
    server.log().expect_alarm("on purpose");
    let response = loop {
        let response = ask();
        if response.is_whole() {
            break response;
        }
    };
    assert_eq!(response.text(), "first, second");
    assert_eq!(ask().text(), "first, second", "it is kept");
}

#[test]
fn scripts_in_home_directories_run_in_the_groups_of_their_owners() {
    let server = Site::new()
        .module("userdir")
        .module("mime")
        .file("mime.types", "")
        .file("home/daemon/public/a.wsgi", ENVIRON)
        .file("home/bin/public/a.wsgi", ENVIRON)
        .config(
            "UserDir ${ROOT}/home/*/public
             AddHandler wsgi-script .wsgi
             WSGIDaemonProcess one
             WSGIDaemonProcess of-bin
             <Directory ${ROOT}/home>
                 Require all granted
                 Options +ExecCGI +FollowSymLinks
                 WSGIProcessGroup one
             </Directory>
             <Directory ${ROOT}/home/bin>
                 WSGIProcessGroup of-bin
             </Directory>",
        )
        .start();
    for (user, group) in [("daemon", "one"), ("bin", "of-bin")] {
        let seen = environ(&server.get(&format!("/~{user}/a.wsgi/info?q")));
        assert_eq!(seen.value("mod_wsgi.process_group"), group);
        assert_eq!(seen.value("SCRIPT_NAME"), format!("/~{user}/a.wsgi"));
        assert_eq!(seen.value("PATH_INFO"), "/info");
        let script = server
            .site()
            .text_path(&format!("home/{user}/public/a.wsgi"));
        assert_eq!(seen.value("SCRIPT_FILENAME"), script);
        assert_eq!(seen.value("CONTEXT_PREFIX"), format!("/~{user}"));
        assert_eq!(server.get(&format!("/~{user}/none.wsgi")).status, 404);
    }
}

/// An application that lives in another time zone than its server.
const ELSEWHERE: &str = r#"
import os, threading, time

os.environ['TZ'] = 'XXX-9'
time.tzset()

def application(environ, start_response):
    print('within the request', flush=True)
    beside = threading.Thread(target=print, args=('beside it',), kwargs={'flush': True})
    beside.start()
    beside.join()
    start_response('200 OK', [])
    return [time.strftime('%H').encode()]
"#;

#[test]
fn the_time_in_the_log_is_the_servers() {
    // In mod_wsgi it is that of whichever application of the process has set one last.
    if !ours("D177") {
        return;
    }
    let server = Site::new()
        .env("TZ", "UTC")
        .script("a.wsgi", ELSEWHERE)
        .config(
            "WSGIDaemonProcess one
             WSGIScriptAlias / ${WSGI}/a.wsgi process-group=one application-group=%{GLOBAL}",
        )
        .start();
    let hour: u32 = server.get("/").text().parse().expect("an hour");
    // `[Fri Nov 27 04:38:38.481993 2026] …`
    let logged = |text: &str| -> u32 {
        let line = server.log().wait_for(Mark::START, text);
        let time = line.split(' ').nth(3).expect("a time").to_owned();
        time[..2].parse().expect("an hour")
    };
    for text in ["within the request", "beside it"] {
        let ahead = (hour + 24 - logged(text)) % 24;
        // The hour may have changed meanwhile.
        assert!([8, 9].contains(&ahead), "{text}: {ahead} hours");
    }
}
