//! What [`Connection`](crate::Connection) does not speak, TLS and HTTP/2, through the `curl`
//! program.

use std::process::Command;

use crate::httpd::Httpd;

/// A request made by `curl`.
#[derive(Debug)]
pub struct Curl {
    command: Command,
}

impl Curl {
    /// A request for `target` over plain HTTP.
    pub fn http(server: &Httpd, target: &str) -> Self {
        Self::new(&format!("http://127.0.0.1:{}{target}", server.port()))
    }

    /// A request for `target` on `${TLS_PORT}`; the certificate is checked.
    pub fn https(server: &Httpd, target: &str) -> Self {
        let port = server.tls_port();
        let mut curl = Self::new(&format!("https://localhost:{port}{target}"));
        let resolve = format!("localhost:{port}:127.0.0.1");
        curl.command.arg("--resolve").arg(resolve);
        curl.command
            .arg("--cacert")
            .arg(server.site().path("conf/server.crt"));
        curl
    }

    /// A request for a URL of any server.
    pub fn new(url: &str) -> Self {
        let mut command = Command::new("curl");
        command.args([
            "--silent",
            "--show-error",
            "--path-as-is",
            "--max-time",
            "30",
        ]);
        command.args(["--include", "--noproxy", "*", url]);
        Self { command }
    }

    /// Adds arguments: `["--http2", "-d", "data"]`.
    pub fn args<'a>(mut self, arguments: impl IntoIterator<Item = &'a str>) -> Self {
        self.command.args(arguments);
        self
    }

    /// Sends the request.
    pub fn send(mut self) -> CurlAnswer {
        let output = self.command.output().expect("curl runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (head, body) = last_response(&text);
        CurlAnswer {
            exit: output.status.code().unwrap_or(-1),
            status: head
                .split(' ')
                .nth(1)
                .and_then(|code| code.parse().ok())
                .unwrap_or(0),
            head: head.to_owned(),
            body: body.to_owned(),
            error: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Splits what `curl --include` printed; heads of interim responses come first and are dropped.
fn last_response(text: &str) -> (&str, &str) {
    let (head, rest) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
    let is_interim = head
        .split(' ')
        .nth(1)
        .is_some_and(|code| code.starts_with('1'));
    if is_interim {
        last_response(rest)
    } else {
        (head, rest)
    }
}

/// What `curl` got.
#[derive(Clone, Debug)]
pub struct CurlAnswer {
    /// The exit status of `curl`: 0 if the response was whole.
    pub exit: i32,
    /// The status of the response, 0 if there was none.
    pub status: u16,
    /// The status line and the headers.
    pub head: String,
    /// The body.
    pub body: String,
    /// What `curl` complained about.
    pub error: String,
}
