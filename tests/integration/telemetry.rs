//! The directives of telemetry, and what has taken the place of its reports: lines in the log.

use std::time::{Duration, Instant};

use testkit::{Httpd, Site, is_reference, ours, wait_until};

/// Takes as long as the query says.
const TAKING: &str = "
import time

def application(environ, start_response):
    time.sleep(float(environ['QUERY_STRING']))
    start_response('200 OK', [])
    return [b'done']
";

fn server(config: &str) -> Httpd {
    Site::new()
        .script("taking.wsgi", TAKING)
        .config(
            "WSGISocketPrefix ${ROOT}/logs/wsgi
             WSGIDaemonProcess group threads=2
             WSGIScriptAlias /embedded ${WSGI}/taking.wsgi
             WSGIScriptAlias /daemon ${WSGI}/taking.wsgi process-group=group",
        )
        .config(config)
        .start()
}

#[test]
fn a_slow_request_is_logged_when_it_has_ended() {
    if !ours("D71") {
        return;
    }
    let server = server("WSGISlowRequests 0.4");
    for mode in ["/embedded", "/daemon"] {
        // The first request may be slow for other reasons: Python starts.
        server.get(&format!("{mode}?0"));
        // And on a busy machine any other. One that the client did not find slow was not.
        let mark = wait_until("a request that is not slow", || {
            let (mark, begin) = (server.log().mark(), Instant::now());
            assert_eq!(server.get(&format!("{mode}?0")).text(), "done");
            (begin.elapsed() < Duration::from_millis(400)).then_some(mark)
        });
        assert_eq!(server.get(&format!("{mode}?0.5")).text(), "done");
        let line = server.log().wait_for(mark, "WSGI1400");
        assert!(line.contains(":warn]"), "{line}");
        assert!(line.contains("taking.wsgi"), "{line}");
        assert!(line.contains(&format!("GET {mode}?0.5 HTTP/1.1")), "{line}");
    }
}

#[test]
fn no_request_is_slow_by_default() {
    for config in ["", "WSGISlowRequests 0"] {
        let server = server(config);
        let mark = server.log().mark();
        assert_eq!(server.get("/embedded?0.1").text(), "done");
        let lines = server.log().since(mark);
        assert!(!lines.iter().any(|line| line.contains("WSGI1400")));
    }
}

/// A configuration with all of them serves.
#[test]
fn telemetry_is_accepted() {
    let server = server(
        "WSGITelemetryService unix:${ROOT}/telemetry.sock interval=2
         WSGITelemetryOptions +CaptureUserAgent
         WSGIServerMetrics On
         WSGISlowRequests 60",
    );
    assert_eq!(server.get("/embedded?0").text(), "done");
    assert_eq!(server.get("/daemon?0").text(), "done");
}

/// In mod_wsgi the service takes the figures away from whoever asks.
#[test]
fn metrics_may_be_asked_for_beside_the_service() {
    const ASKING: &str = "
import mod_wsgi
mod_wsgi.start_recording_metrics()

def application(environ, start_response):
    start_response('200 OK', [])
    return [repr([type(mod_wsgi.request_metrics()).__name__,
                  type(mod_wsgi.process_metrics()).__name__]).encode()]
";
    let server = server("WSGITelemetryService unix:${ROOT}/telemetry.sock");
    server.site().write("wsgi/taking.wsgi", ASKING);
    let expected = match ours("D71") {
        true => "['dict', 'dict']",
        false => "['NoneType', 'NoneType']",
    };
    assert_eq!(server.get("/embedded").text(), expected);
    assert_eq!(server.get("/daemon").text(), expected);
}

#[test]
fn a_server_says_once_that_it_sends_none() {
    if !ours("D71") {
        return;
    }
    let server = server("WSGITelemetryService unix:${ROOT}/telemetry.sock");
    let said = server.site().read("logs/output") + &server.log().text();
    assert_eq!(said.matches("sends no telemetry").count(), 1, "{said}");
}

#[test]
fn what_has_no_effect_says_so() {
    let mut notices = vec![("WSGIVerboseDebugging On", "deprecated and has no effect")];
    if ours("D71") {
        notices.push(("WSGITelemetryService unix:/t", "sends no telemetry"));
    }
    // What these set, mod_wsgi has.
    if !is_reference() {
        notices.extend([
            ("WSGISocketRotation Off", "WSGISocketRotation has no effect"),
            ("WSGIAcceptMutex default", "WSGIAcceptMutex has no effect"),
            (
                "WSGIDaemonProcess own response-flush-delay=5",
                "response-flush-delay has no effect",
            ),
        ]);
    }
    for (line, phrase) in notices {
        let answer = Site::new().config(line).configtest();
        assert!(answer.success, "{}", answer.text);
        assert!(answer.text.contains(phrase), "{}", answer.text);
        assert!(answer.text.contains("info"), "{}", answer.text);
    }
}

#[test]
fn what_is_remarked_while_directives_are_read_is_in_the_log_of_their_server() {
    if is_reference() {
        return;
    }
    let server = Site::new()
        .config(
            "WSGIVerboseDebugging On
             WSGIPythonOptimize 7
             <VirtualHost *:*>
                 ServerName other.test
                 ErrorLog logs/other.log
                 WSGITrustedProxyHeaders X-Foo
             </VirtualHost>",
        )
        .start();
    let (own, other) = (server.log().text(), server.site().read("logs/other.log"));
    for remark in ["WSGIVerboseDebugging is deprecated", "WSGI1027"] {
        assert_eq!(own.matches(remark).count(), 1, "{own}");
    }
    assert_eq!(other.matches("WSGI1026").count(), 1, "{other}");
    assert!(!own.contains("WSGI1026"), "{own}");
}
