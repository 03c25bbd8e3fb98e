//! `mod_wsgi.request_metrics()` and `mod_wsgi.process_metrics()`: what requests come to, in
//! numbers.

use std::time::{SystemTime, UNIX_EPOCH};

use rstest::rstest;
use serde_json::{Value, json};
use testkit::{Httpd, Mpm, Request, Site, ours, wait_until};

use crate::apps::at_once;
use crate::wsgi_site::{Mode, threaded};

/// Answers what the function of `mod_wsgi` that the query names returns, as JSON; for a query of
/// digits, with that status, after reading its body; for `hold`, once it has kept the GIL for 50
/// ms.
const MEASURED: &str = r#"
import ctypes, json, mod_wsgi, time

def application(environ, start_response):
    query = environ['QUERY_STRING']
    if query.isdigit():
        environ['wsgi.input'].read()
        time.sleep(0.02)
        start_response(query + ' As asked', [])
        return [b'12345', b'67890']
    if query == 'hold':
        ctypes.PyDLL(None).usleep(50_000)
        start_response('200 OK', [])
        return [b'held']
    if query == 'fail':
        raise ValueError
    told = json.dumps(getattr(mod_wsgi, query)())
    start_response('200 OK', [])
    return [told.encode()]
"#;

const URL: &str = "/measured.wsgi";

fn server(mode: Mode) -> Httpd {
    mode.site().script("measured.wsgi", MEASURED).start()
}

fn told(server: &Httpd, function: &str) -> Value {
    let response = server.get(&format!("{URL}?{function}"));
    serde_json::from_slice(&response.body).expect("JSON")
}

/// Waits until no request is being served but the one that asks: a client may have its answer
/// before the request has ended.
fn settle(server: &Httpd) {
    wait_until("all requests to end", || {
        let metrics = told(server, "process_metrics");
        (metrics["active_requests"] == 1).then_some(())
    });
}

/// What kind of value each field has. `None` is a kind of its own.
fn kinds(record: &Value) -> Vec<(&str, &'static str)> {
    let fields = record.as_object().expect("a dict").iter();
    let mut kinds: Vec<_> = fields
        .map(|(name, value)| (name.as_str(), kind(value)))
        .collect();
    kinds.sort_unstable();
    kinds
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "None",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float",
        Value::Number(_) => "int",
        Value::String(_) => "str",
        Value::Array(_) => "list",
        Value::Object(_) => "dict",
    }
}

fn number(record: &Value, name: &str) -> f64 {
    let number = record[name].as_f64();
    number.unwrap_or_else(|| panic!("{name}: {record:#}"))
}

fn sum(list: &Value) -> f64 {
    let numbers = list.as_array().expect("a list").iter();
    numbers.filter_map(Value::as_f64).sum()
}

/// The kinds of times, and whether they are told in embedded mode.
const TIMES: [(&str, bool); 8] = [
    ("application_time", true),
    ("daemon_time", false),
    ("gil_wait_time", true),
    ("input_read_time", true),
    ("output_write_time", true),
    ("queue_time", false),
    ("request_time", true),
    ("server_time", true),
];

#[rstest]
fn nothing_is_told_until_it_is_recorded(#[values(Mode::Embedded, Mode::Daemon)] mode: Mode) {
    let server = server(mode);
    assert_eq!(told(&server, "request_metrics"), Value::Null);
    assert_eq!(told(&server, "process_metrics"), Value::Null);
    for _ in 0..2 {
        assert_eq!(told(&server, "start_recording_metrics"), Value::Null);
    }
    assert!(told(&server, "process_metrics").is_object());
    assert!(told(&server, "request_metrics").is_object());
}

#[rstest]
fn requests_are_counted_since_the_last_look(#[values(Mode::Embedded, Mode::Daemon)] mode: Mode) {
    let server = server(mode);
    told(&server, "start_recording_metrics");
    told(&server, "request_metrics");
    for status in ["204", "302", "404", "503"] {
        let request = Request::post(&format!("{URL}?{status}"), vec![b'x'; 1000]);
        assert_eq!(server.send(&request).status.to_string(), status);
    }
    assert_eq!(server.get(&format!("{URL}?fail")).status, 500);
    settle(&server);
    let metrics = told(&server, "request_metrics");
    // How often we looked meanwhile depends, and each look was a 200.
    let count = number(&metrics, "request_count");
    assert!(count >= 6.0, "{metrics:#}");
    for (name, value) in [
        ("status_1xx", 0),
        ("status_3xx", 1),
        ("status_4xx", 1),
        ("status_5xx", 2),
        ("input_bytes", 4000),
    ] {
        assert_eq!(metrics[name], value, "{name}: {metrics:#}");
    }
    assert_eq!(number(&metrics, "status_2xx"), count - 4.0, "{metrics:#}");
    assert!(number(&metrics, "output_writes") >= 8.0, "{metrics:#}");
    assert!(number(&metrics, "input_reads") >= 4.0, "{metrics:#}");
    for (name, told_embedded) in TIMES {
        let applies = told_embedded || mode == Mode::Daemon;
        let buckets = &metrics[format!("{name}_buckets")];
        assert_eq!(buckets.as_array().map(Vec::len), Some(65), "{name}");
        assert_eq!(sum(buckets), if applies { count } else { 0.0 }, "{name}");
        assert_eq!(metrics[name].is_f64(), applies, "{name}: {metrics:#}");
        for end in ["min", "max"] {
            let value = &metrics[format!("{name}_{end}_us")];
            assert_eq!(value.is_u64(), applies, "{name}_{end}_us: {metrics:#}");
        }
    }
    // Four requests took at least 20 ms, which is the twentieth bucket from 0.
    let slow = metrics["application_time_buckets"]
        .as_array()
        .expect("a list");
    assert!(sum(&slow[17..].to_vec().into()) >= 4.0, "{metrics:#}");
    assert!(
        number(&metrics, "application_time_max_us") >= 20_000.0,
        "{metrics:#}"
    );
    assert!(number(&metrics, "request_time") >= number(&metrics, "application_time"));
    // All of that was taken away.
    let next = told(&server, "request_metrics");
    assert_eq!(next["status_4xx"], 0, "{next:#}");
    assert!(number(&next, "request_count") <= 1.0, "{next:#}");
}

#[rstest]
fn waits_for_the_gil_are_summed_up(#[values(Mode::Embedded, Mode::Daemon)] mode: Mode) {
    let server = server(mode);
    told(&server, "start_recording_metrics");
    settle(&server);
    wait_until("a request to have waited for another one", || {
        told(&server, "request_metrics");
        at_once(4, |_| {
            assert_eq!(server.get(&format!("{URL}?hold")).text(), "held")
        });
        settle(&server);
        let metrics = told(&server, "request_metrics");
        let count = number(&metrics, "request_count");
        let longest = number(&metrics, "gil_wait_time_max_us");
        let mean = number(&metrics, "gil_wait_time") * 1e6;
        // Each takes it once at least, and what the longest has waited is a part of the sum.
        assert!(count >= 4.0, "{metrics:#}");
        assert!(number(&metrics, "gil_wait_count") >= count, "{metrics:#}");
        assert!(mean * count >= longest - 1.0, "{metrics:#}");
        assert!(
            mean <= longest && mean >= number(&metrics, "gil_wait_time_min_us"),
            "{metrics:#}"
        );
        (longest > 40_000.0).then_some(())
    });
}

#[rstest]
fn request_metrics_has_all_fields(#[values(Mode::Embedded, Mode::Daemon)] mode: Mode) {
    let server = server(mode);
    told(&server, "start_recording_metrics");
    server.get(&format!("{URL}?200"));
    settle(&server);
    let metrics = told(&server, "request_metrics");
    let mut expected: Vec<(String, &str)> = [
        ("capacity_utilization", "float"),
        ("cpu_system_time", "float"),
        ("cpu_system_utilization", "float"),
        ("cpu_time", "float"),
        ("cpu_user_time", "float"),
        ("cpu_user_utilization", "float"),
        ("cpu_utilization", "float"),
        ("gil_wait_count", "int"),
        ("input_bytes", "int"),
        ("input_reads", "int"),
        ("memory_max_rss", "int"),
        ("memory_rss", "int"),
        ("output_bytes", "int"),
        ("output_writes", "int"),
        ("pid", "int"),
        ("request_count", "int"),
        ("request_threads_active", "int"),
        ("request_threads_buckets", "list"),
        ("request_threads_busy_time", "list"),
        ("request_threads_completed", "list"),
        ("request_threads_cpu_time", "list"),
        ("request_threads_current_elapsed", "list"),
        ("request_threads_max_duration", "list"),
        ("request_threads_maximum", "int"),
        ("request_threads_started", "int"),
        ("request_throughput", "float"),
        ("sample_period", "float"),
        ("start_time", "float"),
        ("status_1xx", "int"),
        ("status_2xx", "int"),
        ("status_3xx", "int"),
        ("status_4xx", "int"),
        ("status_5xx", "int"),
        ("stop_time", "float"),
    ]
    .map(|(name, kind)| (name.to_owned(), kind))
    .to_vec();
    for (name, told_embedded) in TIMES {
        let applies = told_embedded || mode == Mode::Daemon;
        let or_none = |kind| if applies { kind } else { "None" };
        expected.push((name.to_owned(), or_none("float")));
        expected.push((format!("{name}_min_us"), or_none("int")));
        expected.push((format!("{name}_max_us"), or_none("int")));
        expected.push((format!("{name}_buckets"), "list"));
    }
    expected.sort();
    let expected: Vec<_> = expected
        .iter()
        .map(|(name, kind)| (name.as_str(), *kind))
        .collect();
    assert_eq!(kinds(&metrics), expected);
    check_threads(&metrics, mode);
    let (start, stop) = (
        number(&metrics, "start_time"),
        number(&metrics, "stop_time"),
    );
    let period = number(&metrics, "sample_period");
    assert!(stop > 1.6e9 && period > 0.0, "{metrics:#}");
    if ours("D83") {
        assert!((stop - start - period).abs() < 1e-3, "{metrics:#}");
    }
    assert!(number(&metrics, "memory_rss") > 1e6, "{metrics:#}");
    assert!(number(&metrics, "memory_max_rss") > 1e6, "{metrics:#}");
}

fn check_threads(metrics: &Value, mode: Mode) {
    let threads = match mode {
        Mode::Embedded => 16,
        Mode::Daemon => 15,
    };
    assert_eq!(metrics["request_threads_maximum"], threads);
    for name in [
        "buckets",
        "busy_time",
        "completed",
        "cpu_time",
        "current_elapsed",
        "max_duration",
    ] {
        let list = metrics[format!("request_threads_{name}")].as_array();
        assert_eq!(list.map(Vec::len), Some(threads), "{name}");
    }
    assert_eq!(
        metrics["request_threads_buckets"],
        metrics["request_threads_completed"]
    );
    assert_eq!(
        sum(&metrics["request_threads_completed"]),
        number(metrics, "request_count")
    );
    // The request that asks is being served.
    assert!(
        sum(&metrics["request_threads_current_elapsed"]) > 0.0,
        "{metrics:#}"
    );
    assert!(
        sum(&metrics["request_threads_busy_time"]) >= 0.02,
        "{metrics:#}"
    );
    assert!(
        sum(&metrics["request_threads_max_duration"]) >= 0.02,
        "{metrics:#}"
    );
    let utilization = number(metrics, "capacity_utilization");
    assert!(utilization > 0.0 && utilization < 1.0, "{metrics:#}");
    let active = number(metrics, "request_threads_active");
    assert!(
        active >= 1.0 && active <= number(metrics, "request_threads_started"),
        "{metrics:#}"
    );
}

#[rstest]
fn process_metrics_are_since_the_start(#[values(Mode::Embedded, Mode::Daemon)] mode: Mode) {
    let server = server(mode);
    let begin = SystemTime::now().duration_since(UNIX_EPOCH);
    let begin = begin.expect("a time").as_secs_f64();
    server.get(&format!("{URL}?200"));
    told(&server, "start_recording_metrics");
    settle(&server);
    let metrics = told(&server, "process_metrics");
    assert_eq!(
        kinds(&metrics),
        [
            ("active_requests", "int"),
            ("cpu_system_time", "float"),
            ("cpu_time", "float"),
            ("cpu_user_time", "float"),
            ("current_time", "float"),
            ("memory_max_rss", "int"),
            ("memory_rss", "int"),
            ("pid", "int"),
            ("request_busy_time", "float"),
            ("request_count", "int"),
            ("request_threads", "int"),
            ("restart_time", "float"),
            ("running_time", "int"),
            ("threads", "list"),
        ]
    );
    // That of the process, which may have started Python for the first request. The system counts
    // in hundredths.
    assert!(
        number(&metrics, "restart_time") <= begin + 0.02,
        "{metrics:#}, {begin}"
    );
    // Those before it was switched on count, too.
    assert!(number(&metrics, "request_count") >= 2.0, "{metrics:#}");
    assert!(number(&metrics, "active_requests") >= 1.0, "{metrics:#}");
    assert!(number(&metrics, "request_busy_time") >= 0.02, "{metrics:#}");
    assert!(
        number(&metrics, "current_time") >= number(&metrics, "restart_time"),
        "{metrics:#}"
    );
    assert!(number(&metrics, "cpu_time") > 0.0, "{metrics:#}");
    let threads = metrics["threads"].as_array().expect("a list");
    assert_eq!(json!(threads.len()), metrics["request_threads"]);
    for thread in threads {
        assert_eq!(
            kinds(thread),
            [("request_count", "int"), ("thread_id", "int")]
        );
    }
    let begun: f64 = threads
        .iter()
        .map(|thread| number(thread, "request_count"))
        .sum();
    let ended_or_not = number(&metrics, "request_count") + number(&metrics, "active_requests");
    assert_eq!(begun, ended_or_not, "{metrics:#}");
}

/// A site whose applications may see what httpd's processes do.
fn open_site(mode: Mode) -> Site {
    let site = match mode {
        Mode::Embedded => mode.site().config("WSGIServerMetrics On"),
        Mode::Daemon => Site::new().mpm(threaded()).config(
            "WSGISocketPrefix ${ROOT}/logs/wsgi
             WSGIDaemonProcess open server-metrics=On
             WSGIScriptAlias / ${WSGI}/ process-group=open",
        ),
    };
    site.module("status")
        .config("ExtendedStatus On")
        .script("measured.wsgi", MEASURED)
}

#[rstest]
fn what_the_server_does_is_told_where_that_is_allowed(
    #[values(Mode::Embedded, Mode::Daemon)] mode: Mode,
) {
    let server = open_site(mode).start();
    let before = told(&server, "server_metrics");
    let metrics = told(&server, "server_metrics");
    assert_eq!(
        kinds(&metrics),
        [
            ("current_time", "float"),
            ("processes", "list"),
            ("restart_time", "float"),
            ("running_generation", "int"),
            ("running_time", "int"),
            ("server_limit", "int"),
            ("thread_limit", "int"),
        ]
    );
    assert!(number(&metrics, "current_time") >= number(&metrics, "restart_time"));
    assert_eq!(metrics["running_generation"], 0, "{metrics:#}");
    let processes = metrics["processes"].as_array().expect("a list");
    assert_eq!(json!(processes.len()), metrics["server_limit"]);
    let process = &processes[0];
    assert_eq!(
        kinds(process),
        [
            ("generation", "int"),
            ("pid", "int"),
            ("process_num", "int"),
            ("quiescing", "bool"),
            ("workers", "list"),
        ]
    );
    let pids: Vec<_> = server
        .children()
        .iter()
        .map(|child| json!(child.pid))
        .collect();
    assert!(pids.contains(&process["pid"]), "{pids:?}: {metrics:#}");
    let workers = process["workers"].as_array().expect("a list");
    assert_eq!(json!(workers.len()), metrics["thread_limit"]);
    check_workers(workers);
    let served = |metrics: &Value| -> f64 {
        let workers = metrics["processes"][0]["workers"]
            .as_array()
            .expect("a list");
        workers
            .iter()
            .map(|worker| number(worker, "access_count"))
            .sum()
    };
    assert_eq!(served(&before), 0.0, "{before:#}");
    assert!(served(&metrics) <= 1.0, "{metrics:#}");
}

fn check_workers(workers: &[Value]) {
    let request = format!("GET {URL}?server_metrics HTTP/1.1");
    let asking = workers.iter().find(|worker| worker["status"] == "W");
    let asking = asking.expect("a thread that serves the request");
    assert_eq!(
        kinds(asking),
        [
            ("access_count", "int"),
            ("bytes_served", "int"),
            ("client", "str"),
            ("generation", "int"),
            ("last_used", "float"),
            ("request", "str"),
            ("start_time", "float"),
            ("status", "str"),
            ("stop_time", "float"),
            ("thread_num", "int"),
            ("vhost", "str"),
        ]
    );
    assert_eq!(asking["client"], "127.0.0.1");
    assert_eq!(asking["request"], request);
    assert!(number(asking, "start_time") > 1.6e9, "{asking:#}");
    let idle = workers.iter().filter(|worker| worker["status"] == "_");
    assert!(idle.count() > 0, "{workers:#?}");
    let dead = workers.iter().filter(|worker| worker["status"] == ".");
    assert!(dead.count() > 0, "{workers:#?}");
}

#[rstest]
fn what_the_server_does_is_a_secret_by_default(#[values(Mode::Embedded, Mode::Daemon)] mode: Mode) {
    assert_eq!(told(&server(mode), "server_metrics"), Value::Null);
}

#[rstest]
fn a_process_group_learns_of_it_under_every_mpm_and_after_a_restart(
    #[values(Mpm::Event, Mpm::Worker, Mpm::Prefork)] mpm: Mpm,
) {
    let server = open_site(Mode::Daemon).mpm(mpm).start();
    let metrics = told(&server, "server_metrics");
    assert_eq!(metrics["running_generation"], 0, "{metrics:#}");
    server.restart_gracefully();
    wait_until("the next generation", || {
        let metrics = told(&server, "server_metrics");
        (metrics["running_generation"] == 1).then_some(())
    });
}
