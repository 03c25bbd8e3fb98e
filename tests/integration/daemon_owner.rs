//! `script-user` and `script-group`: whose scripts a process group runs.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;

use nix::unistd::{Gid, Group, Uid, User};
use testkit::{Httpd, Site, is_reference, ours};

use crate::apps::answering;
use crate::daemon_site::as_root;

/// A site with one group that accepts what the tests write, and one that does not. `option` is
/// `script-user` or `script-group`, `owner` finds the name of the right owner, and `stranger` is
/// somebody else.
fn site(option: &str, owner: fn(&Path) -> String, stranger: &str) -> Httpd {
    let site = Site::new().script("a.wsgi", &answering("ran"));
    let owner = owner(&site.path("wsgi/a.wsgi"));
    site.config(&format!(
        "WSGIDaemonProcess right {option}={owner}
         WSGIDaemonProcess wrong {option}={stranger}
         WSGIScriptAlias /right ${{WSGI}}/a.wsgi process-group=right
         WSGIScriptAlias /wrong ${{WSGI}}/a.wsgi process-group=wrong"
    ))
    .start()
}

fn users() -> Httpd {
    site("script-user", user, "nobody")
}

fn groups() -> Httpd {
    site("script-group", group, "nogroup")
}

fn user(path: &Path) -> String {
    let uid = fs::metadata(path).expect("a file").uid();
    let user = User::from_uid(Uid::from_raw(uid)).expect("the users");
    user.expect("a user").name
}

fn group(path: &Path) -> String {
    let gid = fs::metadata(path).expect("a file").gid();
    let group = Group::from_gid(Gid::from_raw(gid)).expect("the groups");
    group.expect("a group").name
}

/// Adds write permission for some to the script, or its directory.
fn let_write(server: &Httpd, path: &str, who: u32) {
    let path = server.site().path(path);
    let mode = fs::metadata(&path).expect("a file").mode();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode | who)).expect("our own file");
}

/// Asks for what is refused, and finds the reason in the log by its id.
fn check_refused(server: &Httpd, url: &str, id: &str) {
    let mark = server.log().mark();
    assert_eq!(server.get(url).status, 403, "{url} {id}");
    server.log().wait_for(mark, id);
}

#[test]
fn the_right_user_is_needed() {
    let server = users();
    assert_eq!(server.get("/right").text(), "ran");
    check_refused(&server, "/wrong", "WSGI0164");
}

#[test]
fn the_right_group_is_needed() {
    let server = groups();
    assert_eq!(server.get("/right").text(), "ran");
    check_refused(&server, "/wrong", "WSGI0155");
}

#[test]
fn with_a_user_nobody_else_may_write_to_script_or_directory() {
    for (path, who, id) in [
        ("wsgi/a.wsgi", 0o020, "WSGI0166"),
        ("wsgi/a.wsgi", 0o002, "WSGI0168"),
        ("wsgi", 0o020, "WSGI0173"),
        ("wsgi", 0o022, "WSGI0172"),
    ] {
        let server = users();
        assert_eq!(server.get("/right").text(), "ran");
        let_write(&server, path, who);
        check_refused(&server, "/right", id);
    }
}

#[test]
fn with_a_group_its_members_may_write() {
    let server = groups();
    let_write(&server, "wsgi/a.wsgi", 0o020);
    assert_eq!(server.get("/right").text(), "ran");
    let_write(&server, "wsgi/a.wsgi", 0o002);
    check_refused(&server, "/right", "WSGI0157");
}

#[test]
fn with_a_group_not_everybody_may_write_to_the_directory() {
    let server = groups();
    let_write(&server, "wsgi", 0o022);
    check_refused(&server, "/right", "WSGI0161");
}

#[test]
fn the_directory_must_belong_to_the_owner_too() {
    if !as_root() {
        return;
    }
    for (server, id) in [(users(), "WSGI0171"), (groups(), "WSGI0160")] {
        let directory = server.site().path("wsgi");
        chown(&directory, Some(65534), Some(65534)).expect("root may");
        check_refused(&server, "/right", id);
    }
}

#[test]
fn of_a_handler_the_script_is_judged_not_the_resource() {
    let site = Site::new()
        .script(
            "h.py",
            &answering("ran").replace("application", "handle_request"),
        )
        .file("www/page.own", "a page");
    let owner = user(&site.path("wsgi/h.py"));
    let server = site
        .config(&format!(
            "WSGISocketPrefix ${{ROOT}}/logs/wsgi
             WSGIDaemonProcess right script-user={owner}
             WSGIDaemonProcess wrong script-user=nobody
             WSGIHandlerScript right ${{WSGI}}/h.py process-group=right
             WSGIHandlerScript wrong ${{WSGI}}/h.py process-group=wrong
             <Location /right>
                 SetHandler right
             </Location>
             <Location /page.own>
                 SetHandler right
             </Location>
             <Location /wrong>
                 SetHandler wrong
             </Location>"
        ))
        .start();
    for (url, status) in [("/right", 200), ("/page.own", 200), ("/wrong", 403)] {
        assert_eq!(server.get(url).status, status, "{url}");
    }
}

/// A server on which what a handler implements is in `own/`, and whose group accepts scripts of
/// this owner.
fn handling(option: &str, user: u32, mode: u32) -> Httpd {
    let source = answering("ran").replace("application", "handle_request");
    let site = Site::new().file("own/h.py", source);
    site.set_mode("own", mode);
    for path in ["own", "own/h.py"] {
        chown(site.path(path), Some(user), Some(user)).expect("root may");
    }
    site.config(&format!(
        "WSGISocketPrefix ${{ROOT}}/logs/wsgi
         WSGIDaemonProcess one {option}=bin
         WSGIHandlerScript own ${{ROOT}}/own/h.py process-group=one
         WSGIHandlerScript missing ${{ROOT}}/own/missing.py process-group=one
         WSGIHandlerScript nowhere ${{ROOT}}/nowhere/missing.py process-group=one
         <Location /own>
             SetHandler own
         </Location>
         <Location /missing>
             SetHandler missing
         </Location>
         <Location /nowhere>
             SetHandler nowhere
         </Location>"
    ))
    .start()
}

/// `bin` has this number, as user and as group, on every Debian.
const BIN: u32 = 2;

/// mod_wsgi looks at the file that the URL leads to.
#[test]
fn the_script_of_a_handler_is_what_must_belong_to_the_owner() {
    if !ours("D195") || !as_root() {
        return;
    }
    for (option, stranger) in [("script-user", "WSGI0164"), ("script-group", "WSGI0155")] {
        let server = handling(option, BIN, 0o755);
        assert_eq!(server.get("/own").text(), "ran");
        // Of one that is not there its process tells.
        let mark = server.log().mark();
        assert_eq!(server.get("/missing").status, 500);
        server.log().wait_for(mark, "WSGI0082");
        let server = handling(option, 65534, 0o755);
        check_refused(&server, "/own", stranger);
    }
}

/// What httpd's user cannot look at is not run, in mod_wsgi because that does not look at it.
#[test]
fn the_script_of_a_handler_that_cannot_be_looked_at_is_refused() {
    if !as_root() {
        return;
    }
    for (option, no_script, no_directory) in [
        ("script-user", "WSGI0162", "WSGI0169"),
        ("script-group", "WSGI0153", "WSGI0158"),
    ] {
        let server = handling(option, BIN, 0o700);
        if is_reference() {
            assert_eq!(server.get("/own").status, 403);
        } else {
            check_refused(&server, "/own", no_script);
            check_refused(&server, "/nowhere", no_directory);
        }
    }
}
