//! mod_wsgi's own package from PyPI with the module under test in the place of its own, and the
//! servers that its commands start.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::{Write as _, stderr};
use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tempfile::TempDir;
use testkit::{
    Connection, Curl, CurlAnswer, Process, Program, Site, Terminal, free_port, is_reference,
    module_under_test, wait_until,
};

/// A virtual environment in which mod_wsgi's package runs the module under test.
#[derive(Debug)]
pub(crate) struct Package {
    directory: TempDir,
}

static SHARED: Mutex<Weak<Package>> = Mutex::new(Weak::new());

impl Package {
    /// The package. Without a virtual environment that has it, that is said, and there is none:
    /// `apxs/test` makes `target/express-venv`, and `MOD_WSGI_TEST_EXPRESS_VENV` names another one.
    pub(crate) fn find() -> Option<Arc<Self>> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(package) = shared.upgrade() {
            return Some(package);
        }
        let named = env::var_os("MOD_WSGI_TEST_EXPRESS_VENV").map(PathBuf::from);
        let made = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/express-venv");
        let installed = named.clone().unwrap_or(made);
        if !installed.join("bin/mod_wsgi-express").exists() {
            assert_eq!(named, None, "mod_wsgi is not installed there");
            let place = installed.display();
            // If standard error is closed there is nobody to tell.
            let _ = writeln!(
                stderr(),
                "SKIPPED, not passed: no mod_wsgi in {place}; apxs/test installs it"
            );
            return None;
        }
        let package = Arc::new(Self::copy(&installed));
        *shared = Arc::downgrade(&package);
        Some(package)
    }

    fn copy(installed: &Path) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("mod_wsgi-test-package-")
            .tempdir()
            .expect("a temporary directory");
        let package = Self { directory };
        run(Command::new("chmod")
            .arg("755")
            .arg(package.directory.path()));
        copy(installed, &package.home());
        // The reference is tested as it was installed.
        if !is_reference() {
            package.replace_module();
        }
        package
    }

    /// Puts our module, and what belongs beside it, in the place of theirs.
    fn replace_module(&self) {
        let server = run(self.python().args([
            "-c",
            "import importlib.util as u; print(*u.find_spec('mod_wsgi').submodule_search_locations)",
        ]));
        let server = String::from_utf8(server.stdout).expect("a path in UTF-8");
        let server = Path::new(server.trim()).join("server");
        let theirs = fs::read_dir(&server)
            .expect("the package mod_wsgi.server")
            .flatten()
            .map(|entry| entry.path())
            .find(|path| path.extension().is_some_and(|extension| extension == "so"))
            .expect("their module");
        let ours = module_under_test();
        fs::remove_file(&theirs).expect("their module is in our copy");
        copy(ours, &theirs);
        copy(&ours.with_file_name("mod_wsgi"), &server.join("mod_wsgi"));
    }

    fn home(&self) -> PathBuf {
        self.directory.path().join("venv")
    }

    /// A command that runs the Python of the environment.
    pub(crate) fn python(&self) -> Command {
        let mut command = Command::new(self.home().join("bin/python"));
        command
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::null());
        command
    }

    /// The command `mod_wsgi-express`.
    pub(crate) fn express(&self) -> Command {
        let mut command = self.python();
        command.arg(self.home().join("bin/mod_wsgi-express"));
        command
    }
}

fn copy(from: &Path, to: &Path) {
    run(Command::new("cp").arg("-a").arg(from).arg(to));
}

/// Runs a command to its end, which must be a good one.
pub(crate) fn run(command: &mut Command) -> Output {
    let output = command.output().expect("the program runs");
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// A server that the package sets up in `express/` below the root of a site, which is where the
/// commands run.
#[derive(Debug)]
pub(crate) struct Express {
    site: Site,
    port: u16,
    https_port: u16,
    program: Option<Program>,
    /// The package must outlive the server.
    _package: Arc<Package>,
}

impl Express {
    /// Starts a server in the foreground. `command` is one of the package that takes the options of
    /// `start-server`; to these are added what a test needs: ports, user, place, log.
    pub(crate) fn start(
        site: Site,
        package: Arc<Package>,
        command: Command,
        options: &[&str],
    ) -> Self {
        let mut server = Self::new(site, package);
        let mut command = server.complete(command, options);
        let output = fs::File::create(server.site.path("output")).expect("a file for the output");
        let errors = output.try_clone().expect("a second descriptor");
        command.stdout(output).stderr(errors);
        server.program = Some(Program::start(&mut command));
        server.wait_until_it_serves();
        server
    }

    /// Starts a server as somebody does who sits at a terminal, and does not wait for it to serve.
    pub(crate) fn start_at(
        terminal: &Terminal,
        site: Site,
        package: Arc<Package>,
        command: Command,
        options: &[&str],
    ) -> Self {
        let mut server = Self::new(site, package);
        let mut command = server.complete(command, options);
        command
            .stdin(terminal.stream())
            .stdout(terminal.stream())
            .stderr(terminal.stream());
        server.program = Some(Program::start(&mut command));
        server
    }

    /// Stops a server that was started in the foreground.
    pub(crate) fn stop(&mut self) {
        let mut program = self.program.take().expect("a server in the foreground");
        assert!(program.stop(), "something did not stop\n{}", self.log());
    }

    /// The first process of httpd.
    pub(crate) fn httpd(&self) -> Process {
        let pid = self.site.read("express/httpd.pid").trim().parse();
        Process {
            pid: pid.expect("a number"),
        }
    }

    /// Sets a server up, for [`Express::apachectl`].
    pub(crate) fn set_up(
        site: Site,
        package: Arc<Package>,
        command: Command,
        options: &[&str],
    ) -> Self {
        let server = Self::new(site, package);
        run(&mut server.complete(command, options));
        server
    }

    fn new(site: Site, package: Arc<Package>) -> Self {
        Self {
            site,
            port: free_port(),
            https_port: free_port(),
            program: None,
            _package: package,
        }
    }

    fn complete(&self, mut command: Command, options: &[&str]) -> Command {
        let (port, https_port) = (self.port.to_string(), self.https_port.to_string());
        command
            .current_dir(self.site.path(""))
            .args(
                options
                    .iter()
                    .map(|option| option.replace("HTTPS_PORT", &https_port)),
            )
            .args([
                "--port",
                &port,
                "--log-level",
                "info",
                "--locale",
                "C.UTF-8",
            ])
            .arg("--server-root")
            .arg(self.site.path("express"));
        let root = fs::metadata(self.site.path("")).expect("the root of the site");
        if root.uid() == 0 {
            command.args(["--user", "www-data", "--group", "www-data"]);
        }
        command
    }

    /// The files that the server runs with.
    pub(crate) fn site(&self) -> &Site {
        &self.site
    }

    /// The port that it listens on for plain HTTP.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// A connection to that port.
    pub(crate) fn connect(&self) -> Connection {
        Connection::open((Ipv4Addr::LOCALHOST, self.port).into())
    }

    /// Runs the control script that the package has made.
    pub(crate) fn apachectl(&self, arguments: &[&str]) -> Output {
        run(Command::new(self.site.path("express/apachectl"))
            .env("PATH", "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .args(arguments)
            .stdin(Stdio::null()))
    }

    /// Waits until the server answers, whatever that is.
    pub(crate) fn wait_until_it_serves(&mut self) {
        let url = format!("http://127.0.0.1:{}/", self.port);
        wait_until("the server to answer", || {
            if let Some(program) = &mut self.program {
                assert!(!program.has_ended(), "the server did not start");
            }
            (Curl::new(&url).send().status != 0).then_some(())
        });
    }

    /// Asks for `target` over plain HTTP.
    pub(crate) fn curl(&self, target: &str) -> Curl {
        self.ask(&format!("http://localhost:{}{target}", self.port))
    }

    /// Asks for `target` over HTTPS; the certificate of the site is checked.
    pub(crate) fn curl_https(&self, target: &str) -> Curl {
        let certificate = self.site.text_path("conf/server.crt");
        self.ask(&format!("https://localhost:{}{target}", self.https_port))
            .args(["--cacert", certificate.as_str()])
    }

    fn ask(&self, url: &str) -> Curl {
        let resolved =
            [self.port, self.https_port].map(|port| format!("localhost:{port}:127.0.0.1"));
        let [http, https] = &resolved;
        Curl::new(url).args(["--resolve", http.as_str(), "--resolve", https.as_str()])
    }

    pub(crate) fn get(&self, target: &str) -> CurlAnswer {
        self.curl(target).send()
    }

    /// The name of the process group that express makes for its application.
    pub(crate) fn group(&self) -> String {
        format!("localhost:{}", self.port)
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.site.path("express/error_log")).unwrap_or_default()
    }

    /// Waits for a text in the error log.
    pub(crate) fn wait_for_log(&self, text: &str) {
        wait_until(text, || self.log().contains(text).then_some(()));
    }

    /// Waits until a server that `apachectl` has stopped is gone.
    pub(crate) fn wait_until_it_is_gone(&self) {
        let pid_file = self.site.path("express/httpd.pid");
        wait_until("httpd to end", || (!pid_file.exists()).then_some(()));
    }
}

impl Drop for Express {
    fn drop(&mut self) {
        let ended = match &mut self.program {
            Some(program) => program.stop(),
            None => true,
        };
        if std::thread::panicking() {
            let output = fs::read_to_string(self.site.path("output")).unwrap_or_default();
            let _ = writeln!(stderr(), "--- the server said ---\n{output}{}", self.log());
            // One that runs in the background.
            if self.program.is_none() && self.site.path("express/httpd.pid").exists() {
                let _ = Command::new(self.site.path("express/apachectl"))
                    .arg("stop")
                    .status();
            }
            return;
        }
        assert!(ended, "something did not stop\n{}", self.log());
        for alarm in [":crit]", ":alert]", ":emerg]", "panicked", "exit signal"] {
            assert!(!self.log().contains(alarm), "{alarm}: {}", self.log());
        }
    }
}

/// The JSON object of an answer.
pub(crate) fn told(answer: &CurlAnswer) -> BTreeMap<String, String> {
    assert_eq!(answer.status, 200, "{answer:?}");
    serde_json::from_str(&answer.body).expect("a JSON object of texts")
}
