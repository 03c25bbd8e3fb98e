//! A private `ServerRoot` and its configuration, before and while an httpd runs on it.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use crate::httpd::{Httpd, StartFailure};
use crate::installation::{Installation, Mpm};
use crate::subject::{is_reference, module_under_test};
use crate::terminal::Terminal;

/// What httpd needs to answer at all.
const BASE_MODULES: [&str; 3] = ["unixd", "log_config", "authz_core"];

/// A `ServerRoot` in a temporary directory, and the configuration for it.
///
/// Its directories, and the names that configuration may use for them:
///
/// | directory | defined as | for |
/// |---|---|---|
/// | `.` | `${ROOT}` | |
/// | `wsgi/` | `${WSGI}` | scripts; access is granted |
/// | `www/` | `${WWW}` | the `DocumentRoot`; access is granted |
/// | `data/` | `${DATA}` | what applications write: the server's user may |
///
/// `${PORT}` is the port of the server, `${TLS_PORT}` a second one, nothing listens on by itself.
#[derive(Debug)]
pub struct Site {
    root: TempDir,
    mpm: Mpm,
    modules: Vec<String>,
    config: String,
    subject: Subject,
    environment: Vec<(String, String)>,
    arguments: Vec<String>,
    missing_capability: Option<String>,
    through: Vec<String>,
    terminal: Option<String>,
}

impl Default for Site {
    fn default() -> Self {
        Self::new()
    }
}

impl Site {
    /// A site with the module under test and no configuration for it.
    pub fn new() -> Self {
        let root = tempfile::Builder::new()
            .prefix("mod_wsgi-test-")
            .tempdir()
            .expect("a temporary directory");
        let site = Self {
            root,
            mpm: Mpm::from_environment(),
            modules: BASE_MODULES.map(str::to_owned).to_vec(),
            config: String::new(),
            subject: Subject::UnderTest,
            environment: Vec::new(),
            arguments: Vec::new(),
            missing_capability: None,
            through: Vec::new(),
            terminal: None,
        };
        for directory in ["conf", "logs", "wsgi", "www", "data"] {
            fs::create_dir(site.path(directory)).expect("a directory in a new one");
        }
        site.set_mode("", 0o755);
        site.set_mode("data", 0o777);
        site
    }

    /// Chooses the MPM; otherwise `MOD_WSGI_TEST_MPM` does.
    pub fn mpm(mut self, mpm: Mpm) -> Self {
        self.mpm = mpm;
        self
    }

    /// Loads a module of httpd: `.module("headers")`.
    pub fn module(mut self, name: &str) -> Self {
        self.modules.push(name.to_owned());
        self
    }

    /// Loads `module` as mod_wsgi instead of the module under test, such as a copy of it.
    pub fn subject(mut self, module: &Path) -> Self {
        self.subject = Subject::At(module.to_owned());
        self
    }

    /// Does not load the module under test.
    pub fn without_subject(mut self) -> Self {
        self.subject = Subject::None;
        self
    }

    /// Adds lines to the configuration, after all lines before.
    pub fn config(mut self, lines: &str) -> Self {
        self.config.push_str(lines);
        self.config.push('\n');
        self
    }

    /// Sets a variable in httpd's environment, which is empty but for `PATH`.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds an argument to httpd's: `-X`.
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Starts httpd without a capability that it would have as root: `sys_nice`.
    pub fn without_capability(mut self, name: &str) -> Self {
        self.missing_capability = Some(name.to_owned());
        self
    }

    /// Starts httpd by this program, which is to become the one that its further arguments say.
    pub fn through(mut self, program: &[&str]) -> Self {
        self.through = program.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Starts httpd in the foreground of this terminal, which is its standard input. Such a site
    /// can only be started.
    pub fn terminal(mut self, terminal: &Terminal) -> Self {
        self.terminal = Some(terminal.path().to_owned());
        self
    }

    /// The name of httpd's terminal.
    pub(crate) fn chosen_terminal(&self) -> Option<&str> {
        self.terminal.as_deref()
    }

    /// Whether httpd has this argument.
    pub(crate) fn has_argument(&self, argument: &str) -> bool {
        self.arguments.iter().any(|it| it == argument)
    }

    /// Puts a script into `wsgi/`.
    pub fn script(self, name: &str, source: &str) -> Self {
        self.file(&format!("wsgi/{name}"), source)
    }

    /// Puts a file anywhere below the root, with the directories it needs.
    pub fn file(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.write(path, content);
        self
    }

    /// Makes a self-signed certificate for `localhost`: `conf/server.crt` and `conf/server.key`.
    /// The module `ssl` and a virtual host on `${TLS_PORT}` are up to the caller.
    pub fn certificate(self) -> Self {
        let output = Command::new("openssl")
            .args([
                "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
            ])
            .args([
                "-subj",
                "/CN=localhost",
                "-addext",
                "subjectAltName=DNS:localhost",
            ])
            .arg("-keyout")
            .arg(self.path("conf/server.key"))
            .arg("-out")
            .arg(self.path("conf/server.crt"))
            .output()
            .expect("openssl runs");
        assert!(output.status.success(), "openssl req: {output:?}");
        self
    }

    /// A virtual host `localhost` on `${TLS_PORT}` that speaks TLS, with such a certificate.
    pub fn tls_host(self) -> Self {
        self.module("socache_shmcb")
            .module("ssl")
            .certificate()
            .config(
                "Listen 127.0.0.1:${TLS_PORT}
                <VirtualHost *:${TLS_PORT}>
                    ServerName localhost
                    SSLEngine On
                    SSLCertificateFile ${ROOT}/conf/server.crt
                    SSLCertificateKeyFile ${ROOT}/conf/server.key
                </VirtualHost>",
            )
    }

    /// The `ServerRoot`.
    pub(crate) fn root(&self) -> &Path {
        self.root.path()
    }

    /// The absolute path of `relative`.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.root.path().join(relative)
    }

    /// The absolute path of `relative`, as text for configuration or an application.
    pub fn text_path(&self, relative: &str) -> String {
        self.path(relative).display().to_string()
    }

    /// Writes or replaces a file: at no moment can a part of it be seen, and the modification
    /// time of a replaced file always changes, however quickly one version follows another.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let target = self.path(path);
        let directory = target.parent().expect("a file is in a directory");
        fs::create_dir_all(directory).expect("directories below the root");
        // Tests that share a site write different files of it at the same time.
        let name = target.file_name().expect("a path to a file").display();
        let fresh = directory.join(format!(".testkit-new-{name}"));
        fs::write(&fresh, content).expect("a new file");
        if let Some(time) = modified(&target) {
            let file = fs::File::options().append(true).open(&fresh);
            let later = SystemTime::now().max(time + Duration::from_millis(10));
            file.and_then(|file| file.set_modified(later))
                .expect("a modification time");
        }
        fs::rename(&fresh, &target).expect("a rename within a directory");
    }

    /// Removes a file.
    pub fn remove(&self, path: &str) {
        fs::remove_file(self.path(path)).expect("a file to remove");
    }

    /// Reads a file as text.
    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path))
            .unwrap_or_else(|error| panic!("cannot read {path}: {error}"))
    }

    /// Sets the permission bits of a file or directory.
    pub fn set_mode(&self, path: &str, mode: u32) {
        let permissions = Permissions::from_mode(mode);
        fs::set_permissions(self.path(path), permissions).expect("permissions of an own file");
    }

    /// Starts httpd on this site and waits until it serves; panics with the log if it does not.
    pub fn start(self) -> Httpd {
        self.try_start()
            .unwrap_or_else(|failure| panic!("{failure}"))
    }

    /// Starts httpd on this site and waits until it serves, or until it gives up.
    pub fn try_start(self) -> Result<Httpd, StartFailure> {
        Httpd::start(self)
    }

    /// Runs `httpd -t` on this site, as `apachectl configtest` does.
    pub fn configtest(&self) -> Answer {
        self.run(&["-t"])
    }

    /// Runs httpd on this site with `arguments` that make it answer and exit: `-L`, `-M`.
    pub fn run(&self, arguments: &[&str]) -> Answer {
        self.write_config(1, 2);
        let output = self.command().args(arguments).output();
        Answer::from(output.expect("httpd runs"))
    }

    /// A command that runs httpd on this site's configuration.
    pub(crate) fn command(&self) -> Command {
        let mut command = self.program();
        // Variables of whoever runs the tests, such as `PYTHON…`, would reach Python.
        command
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .arg("-d")
            .arg(self.root.path())
            .arg("-f")
            .arg(self.path("conf/httpd.conf"))
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    fn program(&self) -> Command {
        // Each becomes the next, and the last httpd, so their pid is the parent's.
        let mut words: Vec<OsString> = Vec::new();
        if self.terminal.is_some() {
            words.extend(["setsid", "--ctty"].map(OsString::from));
        }
        if let Some(capability) = &self.missing_capability {
            let bounds = format!("--bounding-set=-{capability}");
            let inherited = format!("--inh-caps=-{capability}");
            words.extend(["setpriv".into(), bounds.into(), inherited.into()]);
        }
        words.extend(self.through.iter().map(OsString::from));
        words.push(Installation::find().program.clone().into());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        command
    }

    /// Writes `conf/httpd.conf` for a server on `port`.
    pub(crate) fn write_config(&self, port: u16, tls_port: u16) {
        self.write("conf/httpd.conf", self.whole_config(port, tls_port));
    }

    fn whole_config(&self, port: u16, tls_port: u16) -> String {
        let installation = Installation::find();
        let mut text = format!(
            "Define ROOT {root}\nDefine WSGI {root}/wsgi\nDefine WWW {root}/www\n\
             Define DATA {root}/data\nDefine PORT {port}\nDefine TLS_PORT {tls_port}\n",
            root = self.root.path().display()
        );
        text += &installation.load(&format!("mpm_{}", self.mpm.name()));
        for module in &self.modules {
            text += &installation.load(module);
        }
        if let Some(subject) = self.subject.path() {
            text += &format!("LoadModule wsgi_module {}\n", subject.display());
        }
        text += BASE_CONFIG;
        if is_reference() {
            text += REFERENCE_CONFIG;
        }
        text += self.mpm.limits();
        text += &self.config;
        text
    }
}

/// What is loaded as mod_wsgi.
#[derive(Debug)]
enum Subject {
    UnderTest,
    At(PathBuf),
    None,
}

impl Subject {
    fn path(&self) -> Option<&Path> {
        match self {
            Self::UnderTest => Some(module_under_test()),
            Self::At(path) => Some(path),
            Self::None => None,
        }
    }
}

/// What the reference needs beside that: it does not know `DefaultRuntimeDir`.
const REFERENCE_CONFIG: &str = "\
<IfModule mod_wsgi.c>
WSGISocketPrefix ${ROOT}/logs/wsgi
</IfModule>
";

/// The configuration every site starts from. What a test adds comes later and wins.
const BASE_CONFIG: &str = "\
ServerRoot ${ROOT}
DefaultRuntimeDir ${ROOT}/logs
PidFile ${ROOT}/logs/httpd.pid
ErrorLog ${ROOT}/logs/error.log
LogLevel info
ServerName localhost
Listen 127.0.0.1:${PORT}
User www-data
Group www-data
DocumentRoot ${WWW}
Timeout 60
<Directory />
    AllowOverride None
    Require all denied
</Directory>
<DirectoryMatch ^${WSGI}>
    Require all granted
</DirectoryMatch>
<Directory ${WWW}>
    Require all granted
</Directory>
";

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).ok()?.modified().ok()
}

/// What a run of httpd that answers and exits said.
#[derive(Debug)]
pub struct Answer {
    /// Whether it exited with status 0.
    pub success: bool,
    /// Everything it printed: standard output, then standard error.
    pub text: String,
}

impl From<Output> for Answer {
    fn from(output: Output) -> Self {
        let stdout = String::from_utf8_lossy(&output.stdout);
        let stderr = String::from_utf8_lossy(&output.stderr);
        Self {
            success: output.status.success(),
            text: format!("{stdout}{stderr}"),
        }
    }
}
