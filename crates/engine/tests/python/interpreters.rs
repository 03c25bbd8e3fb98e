//! Application groups, and the threads that serve them.

use std::collections::HashSet;
use std::sync::Barrier;

use crate::memory::{App, server_log};
use crate::telling;

#[test]
fn the_empty_group_is_the_main_interpreter() {
    let app = App::new(&format!(
        "import mod_wsgi\n{}",
        telling("mod_wsgi.application_group")
    ));
    assert_eq!(app.ask().answer().text(), "");
    assert_eq!(app.ask().group("blog").answer().text(), "blog");
}

#[test]
fn groups_share_no_modules() {
    let app = App::new(&format!(
        "import json\njson.seen = getattr(json, 'seen', 0) + 1\n{}",
        telling("json.seen")
    ));
    assert_eq!(app.ask().group("apart-1").answer().text(), "1");
    assert_eq!(app.ask().group("apart-2").answer().text(), "1");
}

#[test]
fn an_interpreter_is_created_once_however_many_ask() {
    const THREADS: usize = 16;
    let app = App::new(&telling("id(__import__('sys').modules)"));
    let together = Barrier::new(THREADS);
    let answers: HashSet<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    together.wait();
                    app.ask().group("created-once").answer().text()
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert_eq!(answers.len(), 1, "{answers:?}");
    let created = server_log()
        .into_iter()
        .filter(|line| line.contains("Creating sub-interpreter 'created-once' in embedded mode"));
    assert_eq!(created.count(), 1);
}

#[test]
fn many_threads_serve_many_groups() {
    const GROUPS: usize = 20;
    const ROUNDS: usize = 50;
    let app = App::new(&format!(
        "import mod_wsgi\n{}",
        telling("mod_wsgi.application_group")
    ));
    let app = &app;
    std::thread::scope(|scope| {
        for thread in 0..64 {
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let group = format!("group-{}", (thread + round * 7) % GROUPS);
                    assert_eq!(app.ask().group(&group).answer().text(), group);
                }
            });
        }
    });
}

#[test]
fn what_a_thread_keeps_is_there_at_its_next_request() {
    let app = App::new(&format!(
        "import threading\nlocal = threading.local()\n{}",
        telling(
            "local.__dict__.setdefault('id', threading.get_ident()) == threading.get_ident() \
                 and local.__dict__.setdefault('count', []).append(1) or len(local.count)"
        )
    ));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            assert_eq!(app.ask().group("local").answer().text(), "1");
            assert_eq!(app.ask().answer().text(), "1");
            assert_eq!(app.ask().group("local").answer().text(), "2");
        });
    });
}

#[test]
fn a_thread_that_ends_gives_its_states_back() {
    let app = App::new(
        "
import threading

class Gone:
    count = 0
    def __del__(self):
        Gone.count += 1

local = threading.local()

def application(environ, start_response):
    start_response('200 OK', [])
    if environ.get('KEEP'):
        local.kept = Gone()
    return [str(Gone.count).encode()]
",
    );
    let keep = || {
        app.ask()
            .group("leaving")
            .variable("KEEP", "1")
            .answer()
            .text()
    };
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| assert_eq!(keep(), "0"));
        // Joined, and not only left to the scope, which does not wait for thread-local destructors.
        thread.join().expect("the right answer");
    });
    // What the thread kept was destroyed with it.
    assert_eq!(app.ask().group("leaving").answer().text(), "1");
}

#[test]
fn the_main_thread_serves_no_requests() {
    let source = format!(
        "import threading\n{}",
        telling("threading.current_thread() is threading.main_thread()")
    );
    let app = App::new(&source);
    assert_eq!(app.ask().answer().text(), "False");
}

#[test]
fn python_is_set_up_as_the_directives_say() {
    let app = App::new(&format!(
        "import sys, os\n{}",
        telling(
            "[sys.argv, sys.path[0], os.environ.get('PYTHON_EGG_CACHE'), \
                 sys.flags.dont_write_bytecode, sys.dont_write_bytecode]"
        )
    ));
    let directory = crate::site_directory();
    let told = format!("[['mod_wsgi'], '{directory}', '/var/cache/eggs', 1, True]");
    assert_eq!(app.ask().answer().text(), told);
    assert_eq!(app.ask().group("set-up").answer().text(), told);
}

#[test]
fn the_path_leads_to_modules() {
    let app = App::new(&format!("import here\n{}", telling("here.answer")));
    assert_eq!(app.ask().group("path").answer().text(), "43");
}

#[test]
fn threads_of_the_application_live_in_its_group() {
    let app = App::new(
        "
import threading, mod_wsgi

def application(environ, start_response):
    seen = []
    def work():
        import sys
        seen.append(sys.modules[__name__].mod_wsgi.application_group)
        print('from a thread')
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    start_response('200 OK', [])
    return [seen[0].encode()]
",
    );
    assert_eq!(app.ask().group("threads").answer().text(), "threads");
    assert!(server_log().contains(&"from a thread".to_owned()));
}
