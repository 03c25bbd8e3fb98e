//! The module `mod_wsgi` in many interpreters at once, each with a GIL of its own where Python has
//! that.

use std::time::Duration;

use crate::memory::{App, engine};
use crate::{in_own_process, stop};

/// Uses all of the module, and answers what it should have come to.
const API: &str = r#"
import logging, mod_wsgi, sys

seen = []

@mod_wsgi.subscribe_events
def watch(name, **payload):
    assert isinstance(payload, dict)
    seen.append(name)
    if name == 'request_started':
        payload['request_data']['started'] = payload['request_id']
        return {'told': mod_wsgi.application_group}
    if name == 'process_signal':
        print('signal', payload['signum'], mod_wsgi.application_group, file=sys.__stderr__)

@mod_wsgi.subscribe_events
def second(name, **payload):
    if name == 'request_started':
        assert payload['told'] == mod_wsgi.application_group
    elif name == 'request_finished':
        raise ValueError('ignored')

log = logging.getLogger('api')
log.addHandler(mod_wsgi.LogHandler())
log.setLevel(logging.INFO)
mod_wsgi.start_recording_metrics()

def application(environ, start_response):
    number = environ['mod_wsgi.request_id']
    data = mod_wsgi.request_data()
    assert data == {'started': number}, data
    assert mod_wsgi.active_requests[number] is data
    log.info('request %s', number)
    mod_wsgi.request_metrics()
    assert mod_wsgi.process_metrics()['active_requests'] > 0
    if number.endswith('3'):
        raise mod_wsgi.RequestTimeout
    start_response('200 OK', [('X-Seen', str('response_started' in seen))])
    del seen[:]
    return [mod_wsgi.application_group.encode()]
"#;

#[test]
fn all_of_it_works_in_many_interpreters_at_once() {
    let configure = |config: &mut engine_abi::ProcessConfig<'_>| {
        config.per_interpreter_gil = true;
        config.process_group = engine_abi::Bytes::new(b"group");
        config.threads_per_process = 4;
    };
    in_own_process(
        "api::all_of_it_works_in_many_interpreters_at_once",
        configure,
        || {
            let app = App::new(API);
            std::thread::scope(|scope| {
                for thread in 0..4 {
                    let app = &app;
                    scope.spawn(move || {
                        for round in 0..50 {
                            ask(app, thread, round);
                        }
                    });
                }
            });
            // SAFETY: the engine was started.
            unsafe { (engine().signal)(libc_signal::USR2) };
            let (status, _) = stop(Duration::from_secs(10));
            assert_eq!(status, 0);
        },
    );
}

/// The numbers of signals on Linux, whatever the machine.
mod libc_signal {
    pub(super) const USR2: i32 = 12;
}

fn ask(app: &App, thread: usize, round: usize) {
    let group = ["", "one", "two", "three"][round % 4];
    let id = format!("{thread}.{round}");
    let answer = app
        .ask()
        .group(group)
        .variable("mod_wsgi.request_id", &id)
        .answer();
    assert!(
        answer.notices.contains(&format!("request {id}")),
        "{answer:#?}"
    );
    assert!(
        answer.log_text().contains("ValueError: ignored"),
        "{answer:#?}"
    );
    if id.ends_with('3') {
        assert_eq!(answer.head().status, 504, "{answer:#?}");
    } else {
        assert_eq!(answer.text(), group, "{answer:#?}");
    }
}
