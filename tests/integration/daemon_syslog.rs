//! Where `ErrorLog` is `syslog`, so is what a process group says outside of requests.

use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;

use testkit::{DEADLINE, Site, skip};

/// The place of syslog's daemon, as long as there is no other.
struct Syslog(UnixDatagram);

const PLACE: &str = "/dev/log";

impl Syslog {
    /// Listens there; `None` where that is somebody else's.
    fn listen() -> Option<Self> {
        // What was left over, by a run that was killed.
        let is_left_over = UnixDatagram::unbound()
            .and_then(|socket| socket.connect(PLACE))
            .is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused);
        if is_left_over {
            let _ = fs::remove_file(PLACE);
        }
        let socket = match UnixDatagram::bind(PLACE) {
            Ok(socket) => socket,
            Err(error) => {
                skip(&format!("{PLACE} cannot be bound: {error}"));
                return None;
            }
        };
        fs::set_permissions(PLACE, Permissions::from_mode(0o666)).expect("it is ours");
        socket.set_read_timeout(Some(DEADLINE)).expect("a time");
        Some(Self(socket))
    }

    /// The next message that contains this.
    fn wait_for(&self, text: &str) -> String {
        let mut message = [0; 8192];
        loop {
            let length = match self.0.recv(&mut message) {
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => panic!("waited for {text}: {error}"),
            };
            let message = String::from_utf8_lossy(&message[..length]).into_owned();
            if message.contains(text) {
                return message;
            }
        }
    }
}

impl Drop for Syslog {
    fn drop(&mut self) {
        let _ = fs::remove_file(PLACE);
    }
}

#[test]
fn what_belongs_to_no_request_is_there() {
    let Some(syslog) = Syslog::listen() else {
        return;
    };
    let _server = Site::new()
        .script(
            "a.wsgi",
            "print('here I am')\n\ndef application(environ, start_response):\n    pass\n",
        )
        .config(
            "WSGISocketPrefix ${ROOT}/logs/wsgi
             <VirtualHost *:*>
                 ServerName localhost
                 ErrorLog syslog:local1:shop
                 WSGIDaemonProcess one
                 WSGIScriptAlias / ${WSGI}/a.wsgi process-group=one application-group=%{GLOBAL}
             </VirtualHost>",
        )
        .start();
    let message = syslog.wait_for("here I am");
    // local1 is 17; what a script prints is an error, which is 3.
    assert!(message.starts_with("<139>"), "{message}");
    assert!(message.contains(" shop["), "{message}");
    assert!(message.contains(": [wsgi:error] [pid "), "{message}");
}
