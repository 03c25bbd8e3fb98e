//! The sockets of process groups: private while they are used, and gone afterwards.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::PathBuf;

use testkit::{Httpd, Site, wait_until};

use crate::apps::answering;

const GROUPS: &str = "WSGISocketPrefix ${DATA}/socket
     WSGIDaemonProcess one
     WSGIDaemonProcess two processes=2
     WSGIScriptAlias /one ${WSGI}/a.wsgi process-group=one
     WSGIScriptAlias /two ${WSGI}/a.wsgi process-group=two";

fn groups() -> Httpd {
    let server = Site::new()
        .script("a.wsgi", &answering("ran"))
        .config(GROUPS)
        .start();
    for path in ["/one", "/two"] {
        assert_eq!(server.get(path).text(), "ran");
    }
    server
}

fn sockets(server: &Httpd) -> Vec<PathBuf> {
    fs::read_dir(server.site().path("data"))
        .expect("the directory")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| fs::metadata(path).is_ok_and(|file| file.file_type().is_socket()))
        .collect()
}

fn wait_until_gone(server: &Httpd) {
    wait_until("the sockets to be removed", || {
        sockets(server).is_empty().then_some(())
    });
}

#[test]
fn only_their_owner_can_use_them() {
    let server = groups();
    let sockets = sockets(&server);
    assert!(!sockets.is_empty());
    for socket in sockets {
        let mode = fs::metadata(&socket).expect("a socket").mode() & 0o077;
        assert_eq!(mode, 0, "{socket:?}");
    }
}

#[test]
fn a_server_that_stops_removes_them() {
    let mut server = groups();
    server.stop();
    wait_until_gone(&server);
}

#[test]
fn a_group_that_is_no_more_has_none() {
    let server = groups();
    let before = sockets(&server).len();
    let config = server.site().read("conf/httpd.conf");
    let without = config.replace("WSGIDaemonProcess two processes=2", "");
    let without = without.replace("/a.wsgi process-group=two", "/a.wsgi process-group=one");
    server.site().write("conf/httpd.conf", without);
    server.restart_gracefully();
    wait_until("the sockets of one group to be removed", || {
        (sockets(&server).len() < before).then_some(())
    });
    assert_eq!(server.get("/two").text(), "ran");
}
