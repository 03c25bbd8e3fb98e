//! The sockets of process groups: private while they are used, and gone afterwards.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use testkit::{Httpd, Mark, Site, ours, wait_until};
use wire::{Decoder, RequestHead, ToChild, ToWorker};

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
fn a_request_without_the_secret_is_not_run() {
    if !ours("D62") {
        return;
    }
    let server = groups();
    server.log().expect_alarm("WSGI0034");
    let sockets = sockets(&server);
    for socket in &sockets {
        let mut stream = UnixStream::connect(socket).expect("a connection");
        let frames = forged_request(&server);
        stream.write_all(&frames).expect("the request is sent");
        let mut answer = Vec::new();
        // It is closed, or reset.
        let _ = stream.read_to_end(&mut answer);
        let mut decoder = Decoder::new();
        decoder.feed(&answer);
        let greeting = decoder.next().expect("a frame");
        assert!(
            matches!(greeting, Some((0, ToChild::Hello(_)))),
            "{greeting:?}"
        );
        assert!(!decoder.has_bytes(), "nothing but a greeting: {answer:?}");
    }
    let refused = || server.log().matching(Mark::START, "WSGI0034").len();
    wait_until("every worker to refuse", || {
        (refused() == sockets.len()).then_some(())
    });
    assert_eq!(server.get("/one").text(), "ran");
}

/// A request for the script, from somebody who does not know the secret.
fn forged_request(server: &Httpd) -> Vec<u8> {
    let script = server.site().path("wsgi/a.wsgi");
    let head = RequestHead {
        https: false,
        reload: false,
        body_on_demand: false,
        has_place: false,
        body_is_whole: false,
        ignore_activity: false,
        content_length: None,
        request_start: 0,
        queue_start: 0,
        connects: 1,
        restarts: 0,
        log_level: 6,
        secret: &[0; 32],
        script: script.as_os_str().as_encoded_bytes(),
        application_group: b"",
        callable: b"application",
        resource: b"",
        environ: None,
    };
    let mut frames = Vec::new();
    ToWorker::encode_request(&mut frames, 1, &head, std::iter::empty()).expect("it fits");
    ToWorker::encode_body_end(&mut frames, 1, Ok(()));
    frames
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
