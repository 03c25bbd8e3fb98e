//! What the options of mod_wsgi's own command-line tool for debugging do: the server is one process
//! then, which belongs to a terminal, and may be watched.

use std::fs;
use std::sync::Arc;
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use testkit::{Site, Terminal, wait_until};

use crate::drop_in_effects::{self, words};
use crate::express::{Express, Package, run};

/// Fails below `/fail`. Tests know its lines by their numbers.
const WATCHED: &str = "\
def application(environ, start_response):
    kept = 'eggs'
    if environ['PATH_INFO'] == '/fail':
        raise ValueError('on purpose')
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [kept.encode()]
";

fn watched() -> Site {
    Site::new().without_subject().file("watched.py", WATCHED)
}

/// A server with that application at a terminal, with these options.
fn at(terminal: &Terminal, package: &Arc<Package>, options: &[&str]) -> Express {
    let mut command = package.express();
    command.args(["start-server", "watched.py"]);
    Express::start_at(terminal, watched(), package.clone(), command, options)
}

#[test]
fn an_exception_can_be_looked_into() {
    let Some(package) = Package::find() else {
        return;
    };
    let terminal = Terminal::open();
    let mut server = at(&terminal, &package, &["--enable-debugger"]);
    server.wait_until_it_serves();
    thread::scope(|scope| {
        let failing = scope.spawn(|| server.get("/fail").status);
        terminal.wait_for("watched.py(4)application()");
        terminal.wait_for("(Pdb)");
        terminal.type_line("p kept * 2");
        terminal.wait_for("eggseggs");
        terminal.type_line("continue");
        assert_eq!(failing.join().expect("an answer"), 500);
    });
    assert_eq!(server.get("/").body, "eggs");
}

#[test]
fn the_debugger_may_be_there_before_the_application() {
    let Some(package) = Package::find() else {
        return;
    };
    let terminal = Terminal::open();
    let options = ["--enable-debugger", "--debugger-startup"];
    let mut server = at(&terminal, &package, &options);
    terminal.wait_for("(Pdb)");
    terminal.type_line("p 'spam' * 2");
    terminal.wait_for("spamspam");
    terminal.type_line("continue");
    server.wait_until_it_serves();
    assert_eq!(server.get("/").body, "eggs");
}

/// A server that was asked for `/` and has ended, with options that have it write to `data/`. The
/// thread that loads the application is the one that is watched, so it has to be the one that
/// serves.
fn ended(package: &Arc<Package>, options: &str) -> Express {
    let site = watched();
    let [data, script] = ["data", "watched.py"].map(|path| site.text_path(path));
    let options = options.replace("DATA", &data);
    let mut options = words(&options);
    options.extend(words("--server-mpm prefork --working-directory"));
    options.push(&data);
    let mut command = package.express();
    command.args(["start-server", &script]);
    let mut server = Express::start(site, package.clone(), command, &options);
    assert_eq!(server.get("/").body, "eggs");
    server.stop();
    server
}

#[test]
fn what_has_run_is_told() {
    let Some(package) = Package::find() else {
        return;
    };
    let server = ended(&package, "--enable-coverage --coverage-directory DATA");
    let site = server.site();
    let index = site.read("data/index.html");
    assert!(index.contains("watched.py"), "{index}");
    let json = run(package
        .python()
        .current_dir(site.path("data"))
        .args(words("-m coverage json --quiet -o -")));
    let report: Value = serde_json::from_slice(&json.stdout).expect("JSON");
    let files = report["files"].as_object().expect("files");
    let (_, file) = files
        .iter()
        .find(|(path, _)| path.ends_with("/watched.py"))
        .expect("the application");
    assert_eq!(file["executed_lines"], serde_json::json!([1, 2, 3, 5, 6]));
    assert_eq!(file["missing_lines"], serde_json::json!([4]));
}

const REPORT: &str = "import pstats, sys; pstats.Stats(sys.argv[1]).print_stats()";

#[test]
fn what_takes_time_is_told() {
    let Some(package) = Package::find() else {
        return;
    };
    let server = ended(&package, "--enable-profiler --profiler-directory DATA");
    let files = fs::read_dir(server.site().path("data")).expect("a directory");
    let mut paths = files.flatten().map(|entry| entry.path());
    let profile = paths
        .find(|path| path.extension().is_some_and(|end| end == "pstats"))
        .expect("a profile");
    let report = run(package.python().args(["-c", REPORT]).arg(profile));
    let report = String::from_utf8_lossy(&report.stdout).into_owned();
    assert!(report.contains("watched.py:1(application)"), "{report}");
}

/// Does with a program what it is told to, and takes note of that.
const GDB: &str = "\
#!/bin/sh
[ \"$1\" = -x ] || exit 1
cp \"$2\" DATA/commands
read -r run arguments < \"$2\"
[ \"$run\" = run ] || exit 1
eval exec \"$3\" \"$arguments\"
";

#[test]
fn httpd_may_run_under_gdb() {
    let Some(package) = Package::find() else {
        return;
    };
    let site = watched();
    let gdb = GDB.replace("DATA", &site.text_path("data"));
    let site = site.file("bin/gdb", gdb);
    site.set_mode("bin/gdb", 0o755);
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", site.text_path("bin"));
    let mut command = package.express();
    command
        .env("PATH", path)
        .args(["start-server", "watched.py"]);
    let server = Express::start(site, package, command, &["--enable-gdb"]);
    assert_eq!(server.get("/").body, "eggs");
    let commands = server.site().read("data/commands");
    for part in ["run ", " -DONE_PROCESS", " -k start", "FOREGROUND"] {
        assert!(commands.contains(part), "{part}: {commands}");
    }
    // The shell that has started gdb would leave it behind.
    let httpd = server.httpd();
    kill(Pid::from_raw(httpd.pid), Signal::SIGTERM).expect("a process that runs");
    wait_until("httpd to end", || (!httpd.is_running()).then_some(()));
}

#[test]
fn what_happens_can_be_watched() {
    let Some(package) = Package::find() else {
        return;
    };
    let options = [
        "--enable-recorder",
        "--recorder-directory",
        "data",
        "--log-to-terminal",
    ];
    let server = drop_in_effects::start(Site::new(), &package, &options);
    assert_eq!(server.get("/seen").status, 200);
    let entries = fs::read_dir(server.site().path("data")).expect("a directory");
    let ends: Vec<String> = entries
        .flatten()
        .filter_map(|entry| {
            entry
                .path()
                .extension()
                .map(|end| end.to_string_lossy().into_owned())
        })
        .collect();
    for end in ["iheaders", "icontent", "oheaders", "ocontent"] {
        assert!(ends.iter().any(|it| it == end), "{end}: {ends:?}");
    }
    wait_until("the log", || {
        server
            .site()
            .read("output")
            .contains("asked for /seen")
            .then_some(())
    });
}
