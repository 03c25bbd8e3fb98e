//! Loading scripts, and loading them again.

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use engine_abi::{Bytes, Outcome, Script};

use crate::memory::{App, Asked, engine, notices, server_log};
use crate::telling;

/// How often the log says that a script was loaded, or loaded again.
fn count(verb: &str, app: &App) -> usize {
    let said = format!("{verb} WSGI script '{}' into", app.path().display());
    notices().iter().filter(|line| line.contains(&said)).count()
}

#[test]
fn a_script_is_a_module_with_a_name_made_of_its_path() {
    let app = App::new(&format!(
        "import sys, hashlib, os\n{}",
        telling(
            "(__name__ == '_mod_wsgi_' + hashlib.md5(__file__.encode()).hexdigest(), \
             sys.modules[__name__].__dict__ is globals(), \
             __mtime__ == os.stat(__file__).st_mtime_ns // 1000, __file__)"
        )
    ));
    let expected = format!("(True, True, True, '{}')", app.path().display());
    assert_eq!(app.ask().answer().text(), expected);
}

#[test]
fn a_script_is_loaded_once_for_each_group() {
    let app = App::new(&format!(
        "loads = []\nloads.append(1)\n{}",
        telling("len(loads)")
    ));
    for group in ["", "loading", "", "loading"] {
        assert_eq!(app.ask().group(group).answer().text(), "1");
    }
    assert_eq!(count("Loading", &app), 2);
    assert_eq!(count("Reloading", &app), 0);
}

#[test]
fn while_one_thread_loads_the_others_wait() {
    all_wait_for_one(|asked| asked.group("slow"));
}

#[test]
fn without_reloading_the_others_wait_too() {
    all_wait_for_one(|asked| asked.group("slow-and-kept").without_reloading());
}

fn all_wait_for_one(how: impl Fn(Asked) -> Asked + Sync) {
    // The script's import starts a thread and waits for it, as some libraries do.
    let app = App::new(&format!(
        "
import threading, time
thread = threading.Thread(target=time.sleep, args=(0.2,))
thread.start()
thread.join()
{}",
        telling("'loaded'")
    ));
    let together = Barrier::new(8);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                together.wait();
                assert_eq!(how(app.ask()).answer().text(), "loaded");
            });
        }
    });
    assert_eq!(count("Loading", &app), 1);
}

#[test]
fn a_script_that_loads_holds_no_other_up() {
    let slow = App::new(&format!("import time\ntime.sleep(0.5)\n{}", telling("1")));
    let quick = App::new(&telling("2"));
    let finished = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            slow.ask().group("two").answer().text();
            finished.fetch_add(1, Ordering::SeqCst);
        });
        let deadline = Instant::now() + Duration::from_secs(10);
        while count("Loading", &slow) == 0 {
            assert!(Instant::now() < deadline, "the slow script is never loaded");
            std::thread::yield_now();
        }
        assert_eq!(quick.ask().group("two").answer().text(), "2");
        assert_eq!(finished.load(Ordering::SeqCst), 0);
    });
}

#[test]
fn a_changed_script_is_loaded_again() {
    let app = App::new(&format!("kept = 1\n{}", telling("'old'")));
    assert_eq!(app.ask().group("changed").answer().text(), "old");
    app.rewrite(&telling("'kept' in globals()"));
    assert_eq!(app.ask().group("changed").answer().text(), "False");
    assert_eq!(app.ask().group("changed").answer().text(), "False");
    assert_eq!(count("Reloading", &app), 1);
}

#[test]
fn a_changed_script_is_loaded_again_once_however_many_ask() {
    let app = App::new(&telling("'old'"));
    assert_eq!(app.ask().group("herd").answer().text(), "old");
    app.rewrite(&format!(
        "import time\ntime.sleep(0.1)\n{}",
        telling("'new'")
    ));
    let together = Barrier::new(8);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                together.wait();
                assert_eq!(app.ask().group("herd").answer().text(), "new");
            });
        }
    });
    assert_eq!(count("Reloading", &app), 1);
}

#[test]
fn without_reloading_a_changed_script_stays() {
    let app = App::new(&telling("'old'"));
    assert_eq!(app.ask().group("stays").answer().text(), "old");
    app.rewrite(&telling("'new'"));
    assert_eq!(
        app.ask().group("stays").without_reloading().answer().text(),
        "old"
    );
}

#[test]
fn an_outdated_modification_time_of_the_host_loads_nothing_again() {
    let app = App::new(&telling("'new'"));
    assert_eq!(app.ask().group("outdated").answer().text(), "new");
    assert_eq!(app.ask().group("outdated").mtime(12).answer().text(), "new");
    assert_eq!(count("Reloading", &app), 0);
}

#[test]
fn a_script_can_ask_to_be_loaded_again() {
    let app = App::new(&format!(
        "
import sys
def reload_required(resource):
    sys.asked = getattr(sys, 'asked', []) + [resource]
    return len(sys.asked) == 2
{}",
        telling("len(sys.asked) if hasattr(sys, 'asked') else 0")
    ));
    let ask = || app.ask().group("asked").answer().text();
    assert_eq!([ask(), ask(), ask()], ["0", "1", "2"]);
    assert_eq!(count("Reloading", &app), 1);
}

#[test]
fn a_hook_that_raises_is_reported_and_means_no() {
    let app = App::new(&format!(
        "def reload_required(resource):\n    raise KeyError('hook')\n{}",
        telling("'same'")
    ));
    app.ask().group("hook").answer().text();
    let answer = app.ask().group("hook").answer();
    assert_eq!(answer.text(), "same");
    assert!(
        answer.log_text().contains("KeyError: 'hook'"),
        "{answer:#?}"
    );
}

#[test]
fn a_broken_script_is_explained_and_works_once_it_is_mended() {
    let app = App::new("def application(:\n");
    let answer = app.ask().group("broken").answer();
    answer.assert_refused("WSGI0105: Could not read or compile WSGI script");
    answer.assert_refused("SyntaxError: invalid syntax");
    app.rewrite("import nowhere_to_be_found\n");
    let answer = app.ask().group("broken").answer();
    answer.assert_refused("WSGI0109: ");
    answer.assert_refused("WSGI0174: ModuleNotFoundError exception raised processing WSGI script");
    answer.assert_refused("Traceback (most recent call last):");
    answer.assert_refused("ModuleNotFoundError: No module named 'nowhere_to_be_found'");
    app.rewrite(&telling("'mended'"));
    assert_eq!(app.ask().group("broken").answer().text(), "mended");
}

#[test]
fn a_script_that_failed_is_no_module() {
    let app = App::new("import sys\nsys.last_script = __name__\nraise ValueError('no')\n");
    app.ask()
        .group("failed")
        .answer()
        .assert_refused("ValueError: no");
    let after = App::new(&format!(
        "import sys\n{}",
        telling("sys.last_script in sys.modules")
    ));
    assert_eq!(after.ask().group("failed").answer().text(), "False");
}

#[test]
fn a_script_that_exits_ends_nothing() {
    let app = App::new("import sys\nsys.exit(3)\n");
    let answer = app.ask().group("exits").answer();
    answer.assert_refused("WSGI0107: SystemExit exception raised");
    answer.assert_refused("SystemExit: 3");
}

#[test]
fn a_missing_script_is_explained() {
    let app = App::new("");
    std::fs::remove_file(app.path()).unwrap();
    app.ask()
        .group("missing")
        .answer()
        .assert_refused("No such file or directory");
}

#[test]
fn a_missing_callable_is_not_found() {
    let app = App::new("answer = 1\n");
    let answer = app.ask().group("callable").answer();
    assert_eq!(
        (answer.outcome.kind, answer.outcome.status),
        (Outcome::REFUSED, 404)
    );
    let said = "does not contain WSGI application 'application'";
    assert!(answer.log_text().contains(said), "{answer:#?}");
}

#[test]
fn one_of_a_usual_name_is_said_to_be_there() {
    let app = App::new(&telling("'app'").replace("application", "app"));
    let answer = app.ask().group("usual").answer();
    let said = "WSGICallableObject app names that";
    assert!(answer.log_text().contains(said), "{answer:#?}");
}

#[test]
fn the_callable_can_have_another_name() {
    let app = App::new(&telling("'main'").replace("application", "main"));
    assert_eq!(
        app.ask().group("name").callable("main").answer().text(),
        "main"
    );
}

#[test]
fn the_encoding_is_what_the_source_declares() {
    let app = App::new("");
    let source = [
        b"# coding: latin-1\ntext = '\xe9'\n",
        telling("ascii(text)").as_bytes(),
    ]
    .concat();
    std::fs::write(app.path(), source).unwrap();
    assert_eq!(app.ask().group("encoding").answer().text(), "'\\xe9'");
}

#[test]
fn what_follows_a_nul_is_ignored() {
    let app = App::new(&format!("{}\0 this is no Python", telling("'fine'")));
    assert_eq!(app.ask().group("nul").answer().text(), "fine");
}

/// Loads the script before any request, and returns whether that could be done.
fn preload(app: &App) -> bool {
    let path = app.path().to_str().unwrap();
    let script = Script {
        path: Bytes::from(path),
        application_group: Bytes::new(b"preloaded"),
        mtime: Script::UNKNOWN_MTIME,
        reload: true,
    };
    // SAFETY: the script lives until the call returns.
    unsafe { (engine().preload)(&raw const script) == 0 }
}

#[test]
fn a_preloaded_script_is_there_at_its_first_request() {
    let app = App::new(&telling("'there'"));
    assert!(preload(&app));
    assert_eq!(count("Loading", &app), 1);
    assert_eq!(app.ask().group("preloaded").answer().text(), "there");
    assert_eq!(count("Loading", &app), 1);
}

#[test]
fn a_script_that_cannot_be_preloaded_is_explained() {
    let app = App::new("raise KeyError('preloading')\n");
    assert!(!preload(&app));
    let log = server_log();
    assert!(
        log.iter().any(|line| line.starts_with("WSGI0110: ")),
        "{log:#?}"
    );
    assert!(
        log.contains(&"KeyError: 'preloading'".to_owned()),
        "{log:#?}"
    );
}
