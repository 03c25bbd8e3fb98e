//! The sockets of process groups: private while they are used, and gone afterwards.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::{Uid, chown};
use testkit::{Httpd, Mark, Site, is_reference, ours, wait_until};
use wire::{Decoder, RequestHead, ToChild, ToWorker};

use crate::apps::answering;
use crate::daemon_site::as_root;

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
fn one_that_the_user_of_httpd_cannot_reach_is_told_of() {
    if !as_root() {
        return;
    }
    let site = Site::new()
        .script("a.wsgi", &answering("ran"))
        .file("private/placeholder", "")
        .config(
            "WSGISocketPrefix ${ROOT}/private/wsgi
             WSGIDaemonProcess one
             WSGIScriptAlias /one ${WSGI}/a.wsgi process-group=one",
        );
    site.set_mode("private", 0o700);
    let server = site.start();
    assert_eq!(server.get("/one").status, 503);
    let line = server.log().wait_for(Mark::START, "WSGI0117");
    assert!(line.contains("one"), "{line}");
}

#[test]
fn one_that_was_removed_is_told_of() {
    // Nobody has asked yet: a child of httpd keeps the connections that it has.
    let server = Site::new()
        .script("a.wsgi", &answering("ran"))
        .config(GROUPS)
        .start();
    for socket in sockets(&server) {
        fs::remove_file(socket).expect("a socket to remove");
    }
    let mark = server.log().mark();
    assert_eq!(server.get("/one").status, 503);
    let line = server.log().wait_for(mark, "WSGI0117");
    assert!(line.contains("one"), "{line}");
}

/// Shuts down what its process listens on, if it is asked to.
const SHUTTING_DOWN: &str = r#"
import os, socket

def shut_down():
    for name in os.listdir('/proc/self/fd'):
        try:
            it = socket.socket(fileno=int(name))
        except OSError:
            continue
        if it.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            it.shutdown(socket.SHUT_RDWR)
        it.detach()

def application(environ, start_response):
    if environ['PATH_INFO'] == '/shut':
        shut_down()
    start_response('200 OK', [])
    return [b'ran']
"#;

#[test]
fn one_that_was_shut_down_is_replaced_at_a_graceful_restart() {
    let server = Site::new()
        .script("shut.wsgi", SHUTTING_DOWN)
        .config(
            "WSGISocketPrefix ${ROOT}/logs/wsgi
             WSGIDaemonProcess one processes=2
             WSGIScriptAlias / ${WSGI}/shut.wsgi process-group=one",
        )
        .start();
    // A process of mod_wsgi's ends, perhaps before it has answered.
    let answer = server.get("/shut");
    if !is_reference() {
        assert_eq!(answer.text(), "ran");
        let line = server.log().wait_for(Mark::START, "WSGI1360");
        assert!(line.contains("shut its socket down"), "{line}");
    }
    server.restart_gracefully();
    wait_until("another socket", || {
        (server.get("/").status == 200).then_some(())
    });
    // It is there to stay.
    server.restart_gracefully();
    assert_eq!(server.get("/").text(), "ran");
}

/// mod_wsgi's default is where the httpd it was built for has its own files.
#[test]
fn without_a_prefix_they_are_in_the_runtime_directory() {
    if !ours("D126") {
        return;
    }
    let site = Site::new()
        .script("a.wsgi", &answering("ran"))
        .config(&GROUPS.replace(
            "WSGISocketPrefix ${DATA}/socket",
            "DefaultRuntimeDir ${DATA}",
        ));
    let server = site.start();
    assert_eq!(server.get("/one").text(), "ran");
    let sockets = sockets(&server);
    assert_eq!(sockets.len(), 2, "{sockets:?}");
    for socket in sockets {
        let name = socket.file_name().unwrap_or_default().to_string_lossy();
        assert!(name.starts_with("wsgi."), "{name}");
    }
}

/// Whoever reads the log at the start sees it; requests of others are no worse for it.
#[test]
fn a_group_whose_socket_cannot_be_made_is_not_available() {
    let server = Site::new()
        .script("a.wsgi", &answering("ran"))
        .config(
            "WSGISocketPrefix ${ROOT}/missing/socket
             WSGIDaemonProcess one
             WSGIScriptAlias /one ${WSGI}/a.wsgi process-group=one
             WSGIScriptAlias /embedded ${WSGI}/a.wsgi",
        )
        .start();
    server.log().expect_alarm("WSGI0013");
    let line = server.log().wait_for(Mark::START, "WSGI0013");
    assert!(line.contains(":alert]"), "{line}");
    assert!(line.contains("Daemon group will not start"), "{line}");
    assert!(line.contains("/missing/socket."), "{line}");
    let mark = server.log().mark();
    assert_eq!(server.get("/one").status, 503);
    server.log().wait_for(mark, "WSGI0117");
    assert_eq!(server.get("/embedded").text(), "ran");

    fs::create_dir(server.site().path("missing")).expect("the directory");
    server.site().set_mode("missing", 0o755);
    server.restart_gracefully();
    assert_eq!(server.get("/one").text(), "ran");
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
        has_window: false,
        asks_first: false,
        body_is_whole: false,
        ignore_activity: false,
        content_length: None,
        request_start: 0,
        queue_start: 0,
        script_mtime: 0,
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

/// A program in Python, run by a user who has nothing to do with the server.
fn as_nobody(program: &str, argument: &Path) -> Command {
    const NOBODY: u32 = 65534;
    let mut command = Command::new("python3");
    command.args(["-c", program]).arg(argument);
    command.uid(NOBODY).gid(NOBODY);
    command
}

/// A server whose sockets are in a directory that only root may write to, and the socket of a group
/// with these options.
fn private(options: &str) -> (Httpd, PathBuf) {
    let server = Site::new()
        .script("a.wsgi", &answering("ran"))
        .file("run/empty", "")
        .config(&format!(
            "WSGISocketPrefix ${{ROOT}}/run/socket
             WSGIDaemonProcess one {options}
             WSGIScriptAlias / ${{WSGI}}/a.wsgi process-group=one"
        ))
        .start();
    let entries = fs::read_dir(server.site().path("run")).expect("a directory");
    let mut paths = entries.map(|entry| entry.expect("an entry").path());
    let socket = paths.find(|path| fs::metadata(path).is_ok_and(|it| it.file_type().is_socket()));
    (server, socket.expect("a socket"))
}

#[test]
fn another_user_can_neither_connect_to_one_nor_replace_it() {
    if !as_root() {
        return;
    }
    let attempts = "
import os, socket, sys
path = sys.argv[1]
new = lambda: socket.socket(socket.AF_UNIX)
for attempt in (lambda: new().connect(path), lambda: os.unlink(path),
                lambda: os.rename(path, path + '.old'), lambda: os.chmod(path, 0o777),
                lambda: new().bind(path + '.new')):
    try:
        attempt()
        print('done')
    except PermissionError:
        print('refused')
";
    let (server, socket) = private("");
    assert_eq!(server.get("/").text(), "ran");
    let output = as_nobody(attempts, &socket).output().expect("Python runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said, "refused\n".repeat(5), "{output:?}");
    assert_eq!(server.get("/").text(), "ran");
}

/// Answers with the descriptors that a program has which it starts; with `?large` not only that.
const STARTS: &str = "
import os, subprocess

def application(environ, start_response):
    command = ['ls', '-l', '/proc/self/fd']
    names = subprocess.run(command, close_fds=False, stdout=subprocess.PIPE).stdout
    start_response('200 OK', [])
    return [names + b' ' * (1 << 20 if environ['QUERY_STRING'] else 0)]
";

#[test]
fn a_program_that_an_application_starts_has_none_of_the_connections() {
    let server = Site::new()
        .script("a.wsgi", STARTS)
        .config(
            "WSGISocketPrefix ${DATA}/socket
             WSGIDaemonProcess one
             WSGIScriptAlias /group ${WSGI}/a.wsgi process-group=one
             WSGIScriptAlias /httpd ${WSGI}/a.wsgi process-group=%{GLOBAL}",
        )
        .start();
    for target in ["/group?large", "/group", "/httpd"] {
        let names = server.get(target).text();
        if target != "/httpd" && !ours("D66") {
            continue;
        }
        assert!(names.contains("/fd"), "{target}: {names}");
        let of_the_server = |line: &&str| {
            let kinds = ["socket:", "anon_inode:", "memfd:"];
            kinds.iter().any(|kind| line.contains(kind))
        };
        let found: Vec<_> = names.lines().filter(of_the_server).collect();
        assert!(found.is_empty(), "{target}: {found:?}");
    }
}

/// Connects, and says how that went. A worker that does not want a caller hangs up; mod_wsgi's says
/// nothing until it is spoken to.
const CONNECT: &str = "
import socket, sys
caller = socket.socket(socket.AF_UNIX)
caller.connect(sys.argv[1])
caller.settimeout(2)
try:
    print('open' if caller.recv(1) else 'closed')
except TimeoutError:
    print('open')
";

#[test]
fn whose_it_is_says_socket_user() {
    if !as_root() {
        return;
    }
    let (server, socket) = private("socket-user=nobody");
    // httpd's own children are kept out.
    assert_eq!(server.get("/").status, 503);
    let line = server.log().wait_for(Mark::START, "WSGI0117");
    let is_explained = line.contains("It belongs to uid 65534; socket-user");
    assert!(is_explained || is_reference(), "{line}");
    let output = as_nobody(CONNECT, &socket).output().expect("Python runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said, "open\n", "{output:?}");
}

#[test]
fn a_worker_hangs_up_on_a_user_who_is_not_that_of_httpd() {
    // mod_wsgi looks at nothing but the secret.
    if !ours("D62") || !as_root() {
        return;
    }
    let (server, socket) = private("");
    assert_eq!(server.get("/").text(), "ran");
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).expect("a mode");
    let output = as_nobody(CONNECT, &socket).output().expect("Python runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said, "closed\n", "{output:?}");
    let line = server.log().wait_for(Mark::START, "WSGI1215");
    assert!(line.contains("it comes from uid 65534"), "{line}");
    assert_eq!(server.get("/").text(), "ran");
}

#[test]
fn a_socket_that_somebody_else_listens_on_gets_no_request() {
    if !ours("D93") || !as_root() {
        return;
    }
    let listener = "
import socket, sys
listening = socket.socket(socket.AF_UNIX)
listening.bind(sys.argv[1])
listening.listen()
print('listening', flush=True)
print(listening.accept()[0].recv(1000), flush=True)
";
    let (server, socket) = private("");
    assert_eq!(server.get("/").text(), "ran");
    // Fresh children have no connection yet that they could use instead.
    server.restart_gracefully();
    let theirs = server.site().path("run/open/theirs");
    fs::create_dir(theirs.with_file_name("")).expect("a directory");
    server.site().set_mode("run/open", 0o777);
    let mut program = as_nobody(listener, &theirs);
    let mut spoof = program.stdout(Stdio::piped()).spawn().expect("Python runs");
    let said = BufReader::new(spoof.stdout.take().expect("its output"));
    let mut said = said.lines().map(|line| line.expect("a line"));
    assert_eq!(said.next().as_deref(), Some("listening"));
    let owner = fs::metadata(&socket).expect("a socket").uid();
    // As if the directory let anybody do that.
    fs::rename(&theirs, &socket).expect("it is replaced");
    chown(&socket, Some(Uid::from_raw(owner)), None).expect("an owner");

    assert_eq!(server.get("/").status, 503);
    assert_eq!(said.next().as_deref(), Some("b''"), "nothing was sent");
    spoof.wait().expect("it ends");
}
