//! The drop-in promise for what mod_wsgi-express offers beside an application: scripts that decide
//! who may enter, and services.

use testkit::wait_until;

use crate::drop_in::{flask, start};
use crate::express::{Package, told};

/// Lets `spam` in with `eggs`, who is in the group `breakfast`.
const USERS: &str = "\
def check_password(environ, user, password):
    if user != 'spam':
        return None
    return password == 'eggs'

def groups_for_user(environ, user):
    return ['breakfast']
";

#[test]
fn users_are_asked_for_and_known_to_the_application() {
    for mode in [&[][..], &["--embedded-mode"]] {
        let Some(package) = Package::find() else {
            return;
        };
        let options = [&["--auth-user-script", "users.py"], mode].concat();
        let site = flask().file("users.py", USERS);
        let server = start(site, &package, &options);
        let refused = server.get("/");
        assert_eq!(refused.status, 401);
        assert!(refused.head.contains("Basic realm="), "{}", refused.head);
        let wrong = server.curl("/").args(["--user", "spam:bacon"]).send();
        assert_eq!(wrong.status, 401);
        let right = server.curl("/").args(["--user", "spam:eggs"]).send();
        assert_eq!(told(&right)["user"], "spam");
    }
}

#[test]
fn groups_and_hosts_are_checked() {
    let Some(package) = Package::find() else {
        return;
    };
    let site = flask().file("users.py", USERS).file(
        "hosts.py",
        "def allow_access(environ, host):\n    return 'HTTP_X_STRANGER' not in environ\n",
    );
    let options = [
        "--auth-user-script",
        "users.py",
        "--auth-group-script",
        "users.py",
        "--auth-group",
        "breakfast",
        "--host-access-script",
        "hosts.py",
    ];
    let server = start(site, &package, &options);
    let user = ["--user", "spam:eggs"];
    assert_eq!(server.curl("/").args(user).send().status, 200);
    let stranger = server.curl("/").args(user).args(["-H", "X-Stranger: 1"]);
    assert_eq!(stranger.send().status, 403);
}

#[test]
fn a_service_runs_beside_the_application() {
    let Some(package) = Package::find() else {
        return;
    };
    let service = "\
import os, time
from pathlib import Path
place = Path(__file__).parent / 'data' / 'service'
place.with_name('service.new').write_text(str(os.getpid()))
place.with_name('service.new').rename(place)
while True:
    time.sleep(0.1)
";
    let site = flask().file("service.py", service);
    let options = ["--service-script", "work", "service.py"];
    let server = start(site, &package, &options);
    let file = server.site().path("data/service");
    wait_until("the service to run", || file.exists().then_some(()));
    let pid = server.site().read("data/service");
    assert_ne!(told(&server.get("/"))["pid"], pid);
}

#[test]
fn a_single_process_in_debug_mode_serves_and_records() {
    let Some(package) = Package::find() else {
        return;
    };
    for options in [
        &["--debug-mode"][..],
        &["--enable-recorder", "--recorder-directory", "data"],
        &["--enable-profiler", "--profiler-directory", "data"],
    ] {
        let server = start(flask(), &package, options);
        let seen = told(&server.get("/"));
        assert_eq!(seen["process_group"], "", "{options:?}");
        assert_eq!(server.get("/fail").status, 500);
    }
}
