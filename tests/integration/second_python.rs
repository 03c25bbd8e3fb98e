//! A second Python for the tests that need one, and a module with an engine for it.
//!
//! `apxs/test` provides both. Where they are not, as with a bare `cargo test`, they are made here:
//! `apxs/second-python` finds or makes a Python, and the engine is built beside a copy of the
//! module. The reference serves one Python only, so another build of it stands in for the module
//! under test.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use testkit::{Site, is_reference, module_under_test, skip};

use crate::scripts;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A kind of Python that a test may need.
struct Kind {
    /// The variable that names one.
    program: &'static str,
    /// The one that names mod_wsgi itself, built for it.
    reference: &'static str,
    /// What `apxs/second-python` is told, to find or make one.
    option: Option<&'static str>,
    /// What the tag of its engine ends in.
    suffix: &'static str,
}

const ANOTHER: Kind = Kind {
    program: "MOD_WSGI_TEST_SECOND_PYTHON",
    reference: "MOD_WSGI_TEST_SECOND_SO",
    option: None,
    suffix: "",
};

const FREE_THREADED: Kind = Kind {
    program: "MOD_WSGI_TEST_FREE_PYTHON",
    reference: "MOD_WSGI_TEST_FREE_SO",
    option: Some("--free-threaded"),
    suffix: "t",
};

/// A Python that is not the default one.
#[derive(Debug)]
pub(crate) struct SecondPython {
    /// The module, with engines for both Pythons beside it; the reference as built for this one.
    pub(crate) module: PathBuf,
    /// The interpreter.
    pub(crate) program: PathBuf,
    /// Its installation.
    pub(crate) prefix: String,
    /// Major and minor version.
    pub(crate) version: (u32, u32),
}

impl SecondPython {
    /// The second Python. Without one the test is skipped, and says so past the capture of the test
    /// runner.
    pub(crate) fn find() -> Option<&'static Self> {
        static FOUND: OnceLock<Result<SecondPython, String>> = OnceLock::new();
        match FOUND.get_or_init(|| Self::make(&ANOTHER)) {
            Ok(found) => Some(found),
            Err(cause) => {
                skip(&format!("there is no second Python: {cause}"));
                None
            }
        }
    }

    /// A free-threaded Python, found like the second one.
    pub(crate) fn free_threaded() -> Option<&'static Self> {
        static FOUND: OnceLock<Result<SecondPython, String>> = OnceLock::new();
        match FOUND.get_or_init(|| Self::make(&FREE_THREADED)) {
            Ok(found) => Some(found),
            Err(cause) => {
                skip(&format!("there is no free-threaded Python: {cause}"));
                None
            }
        }
    }

    /// The second Python, if it is one whose interpreters can have GILs of their own.
    pub(crate) fn with_own_gils() -> Option<&'static Self> {
        let found = Self::find()?;
        if found.version < (3, 12) {
            let (major, minor) = found.version;
            skip(&format!("the second Python is {major}.{minor}, not 3.12"));
            return None;
        }
        Some(found)
    }

    /// A site with the module that knows both Pythons.
    pub(crate) fn site(&self) -> Site {
        Site::new().subject(&self.module)
    }

    /// A site where everything runs in this one, embedded applications too: on the reference, which
    /// knows one Python at a time, it is the only kind there is.
    pub(crate) fn alone(&self) -> Site {
        self.site()
            .config(&format!("WSGIPythonHome {}", self.prefix))
    }

    /// A line that has a process group `name` run this Python, as it is installed.
    pub(crate) fn group(&self, name: &str) -> String {
        format!(
            "WSGIDaemonProcess {name} threads=8 python-home={}",
            self.prefix
        )
    }

    /// Makes a virtual environment `venv` of it in the site, as a person does.
    pub(crate) fn add_venv(&self, site: &Site) {
        let made = Command::new(&self.program)
            .args(["-I", "-m", "venv", "--without-pip"])
            .arg(site.path("venv"))
            .status();
        assert!(made.is_ok_and(|status| status.success()), "a venv");
    }

    fn make(kind: &Kind) -> Result<Self, String> {
        let given = std::env::var_os(kind.program).map(PathBuf::from);
        let program = given.map_or_else(|| make_python(kind), Ok)?;
        let facts = output(Command::new(&program).args([
            "-I",
            "-c",
            "import sys; print(sys.prefix, *sys.version_info[:2])",
        ]))?;
        let facts: Vec<&str> = facts.split_whitespace().collect();
        let [prefix, major, minor] = facts.as_slice() else {
            return Err(format!("{} says {facts:?}", program.display()));
        };
        let number = |text: &str| text.parse().map_err(|_| format!("no version: {text}"));
        let version = (number(major)?, number(minor)?);
        let module = if is_reference() {
            reference_for_it(kind)?
        } else {
            module_with_engine(&program, version, kind.suffix)?
        };
        Ok(Self {
            module,
            program,
            prefix: (*prefix).to_owned(),
            version,
        })
    }
}

fn make_python(kind: &Kind) -> Result<PathBuf, String> {
    let place = Path::new(ROOT).join("target/second-python");
    let mut command = scripts::command("second-python");
    output(command.args(kind.option).arg(place)).map(PathBuf::from)
}

/// mod_wsgi as somebody has built it for that Python.
fn reference_for_it(kind: &Kind) -> Result<PathBuf, String> {
    let path = std::env::var_os(kind.reference).map(PathBuf::from);
    let path = path.ok_or(format!("{} names no mod_wsgi for it", kind.reference))?;
    path.canonicalize()
        .map_err(|error| format!("{}: {error}", path.display()))
}

/// The module under test if it has an engine for this Python, else a copy of it for which one is
/// built.
fn module_with_engine(
    program: &Path,
    (major, minor): (u32, u32),
    suffix: &str,
) -> Result<PathBuf, String> {
    let module = module_under_test();
    let tag = format!("cp{major}{minor}{suffix}");
    let engine = format!("wsgi-engine-{tag}.so");
    let engines = module.with_file_name("mod_wsgi");
    if engines.join(&engine).exists() {
        return Ok(module.to_owned());
    }
    let target = Path::new(ROOT).join(format!("target/engine-{tag}"));
    let facts = Path::new(ROOT).join("apxs/python_facts.py");
    let facts = output(Command::new(program).arg("-I").arg(facts))?;
    let library = facts.lines().nth(4).unwrap_or_default();
    output(
        scripts::command_of(Path::new(env!("CARGO")))
            .args([
                "build",
                "--quiet",
                "--release",
                "-p",
                "engine",
                "--target-dir",
            ])
            .arg(&target)
            .env("PYO3_PYTHON", program)
            .env("PYO3_BUILD_EXTENSION_MODULE", "1")
            // As apxs/build does for 3.13t; other Pythons do not mind.
            .env("UNSAFE_PYO3_SKIP_VERSION_CHECK", "1")
            .current_dir(ROOT),
    )?;
    let place = target.join("dist");
    let copy = place.join("mod_wsgi");
    let copied = fs::create_dir_all(&copy)
        .and_then(|()| copy_into(module, &place))
        .and_then(|()| {
            let files = fs::read_dir(&engines)?.flatten();
            files
                .into_iter()
                .try_for_each(|file| copy_into(&file.path(), &copy))
        })
        .and_then(|()| {
            let built = target.join("release/libwsgi_engine.so");
            fs::copy(built, copy.join(&engine)).map(drop)
        })
        .and_then(|()| {
            let link = copy.join(format!("libpython-{tag}.so"));
            let _may_be_new = fs::remove_file(&link);
            symlink(library, link)
        });
    copied.map_err(|error| format!("{} cannot be made: {error}", place.display()))?;
    Ok(place.join(module.file_name().unwrap_or_default()))
}

/// Copies a file, or the link that names the default engine.
fn copy_into(file: &Path, directory: &Path) -> std::io::Result<()> {
    let copy = directory.join(file.file_name().unwrap_or_default());
    match fs::remove_file(&copy) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    match fs::read_link(file) {
        Ok(target) => symlink(target, copy),
        Err(_) => fs::copy(file, copy).map(drop),
    }
}

/// What a command prints, or the last thing it says if it fails.
pub(crate) fn output(command: &mut Command) -> Result<String, String> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{command:?}: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    let said = text(&output.stderr);
    Err(said.lines().last().unwrap_or("it failed").to_owned())
}
