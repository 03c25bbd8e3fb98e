//! Signals to a process of a group that is loading a script before it serves.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rstest::rstest;
use testkit::{Httpd, Mark, Process, Site, ours, wait_until};

/// Says that a process loads it, and goes on when `data/gate` is there.
const SLOW: &str = r#"
import atexit, os, time
from pathlib import Path

data = Path(os.environ['DATA'])
atexit.register(lambda: (data / f'exited-{os.getpid()}').touch())
(data / f'loading-{os.getpid()}').touch()
while not (data / 'gate').exists():
    time.sleep(0.01)

def application(environ, start_response):
    start_response('200 OK', [])
    return [str(os.getpid()).encode()]
"#;

fn server() -> Httpd {
    let site = Site::new().script("a.wsgi", SLOW);
    let data = site.text_path("data");
    site.env("DATA", &data)
        .config(
            "WSGISocketPrefix ${ROOT}/logs/wsgi
             WSGIDaemonProcess one threads=2 shutdown-timeout=2 graceful-timeout=4
             WSGIScriptAlias / ${WSGI}/a.wsgi process-group=one application-group=%{GLOBAL}",
        )
        .start()
}

/// The processes that have begun to load the script.
fn loading(server: &Httpd) -> Vec<Process> {
    let entries = fs::read_dir(server.site().path("data")).expect("data/");
    let names = entries.flatten().map(|entry| entry.file_name());
    let pids = names.filter_map(|name| {
        let pid = name.to_str()?.strip_prefix("loading-")?.parse().ok()?;
        Some(Process { pid })
    });
    pids.collect()
}

fn send(process: Process, signal: Signal) {
    kill(Pid::from_raw(process.pid), signal).expect("a process that runs");
}

fn wait_for_end(process: Process) {
    wait_until("its end", || (!process.is_running()).then_some(()));
}

#[rstest]
fn a_process_that_is_told_to_end_while_it_loads_a_script_ends(
    #[values(Signal::SIGTERM, Signal::SIGINT)] signal: Signal,
) {
    let server = server();
    let first = wait_until("it to load", || loading(&server).first().copied());
    send(first, signal);
    if ours("D190") {
        // The script is still being loaded.
        wait_for_end(first);
        let end = format!(
            "died of signal {} ({signal}) before it served",
            signal as i32
        );
        server.log().expect_alarm(&end);
        let line = server.log().wait_for(Mark::START, "WSGI1207");
        assert!(line.contains(&end), "{line}");
    }
    server.site().write("data/gate", "");
    wait_for_end(first);
    assert_ne!(server.get("/").text(), first.pid.to_string());
    assert!(server.log().matching(Mark::START, "WSGI1206").is_empty());
}

#[rstest]
fn a_process_that_is_to_be_replaced_while_it_loads_a_script_is_replaced(
    #[values(Signal::SIGUSR1, Signal::SIGXCPU)] signal: Signal,
) {
    let server = server();
    let first = wait_until("it to load", || loading(&server).first().copied());
    send(first, signal);
    server.site().write("data/gate", "");
    wait_for_end(first);
    assert_ne!(server.get("/").text(), first.pid.to_string());
    let ended = server.site().path(&format!("data/exited-{}", first.pid));
    assert!(ended.exists(), "in order");
}

/// The applications' own signals are for those that have been loaded.
#[rstest]
fn a_process_that_loads_a_script_does_not_mind_other_signals(
    #[values(Signal::SIGHUP, Signal::SIGUSR2)] signal: Signal,
) {
    let server = server();
    let first = wait_until("it to load", || loading(&server).first().copied());
    send(first, signal);
    server.site().write("data/gate", "");
    assert_eq!(server.get("/").text(), first.pid.to_string());
}
