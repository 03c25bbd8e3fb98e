//! Which Python a home is for, as far as its files tell; no Python runs.
//!
//! A virtual environment is for one Python, and `pyvenv.cfg` has its version, but not whether that
//! is a free-threaded build: the directory of its packages does, or whoever made it. An
//! installation has one library for each Python that was installed there.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use crate::PythonVersion;

/// Where packages and Python's own library are, below a home. Which of the two depends on the
/// system.
const LIBRARIES: [&str; 2] = ["lib", "lib64"];

/// More than any `pyvenv.cfg` has, in bytes.
const LONGEST_CONFIG: u64 = 64 << 10;

/// The Pythons of a home.
#[derive(Debug, Default)]
pub(crate) struct Pythons {
    /// Oldest first; none if nothing tells.
    pub(crate) versions: Vec<PythonVersion>,
    /// The one of these that `bin/python3` is.
    pub(crate) main: Option<PythonVersion>,
}

impl Pythons {
    /// Those of this home.
    pub(crate) fn of(home: &Path) -> Self {
        match config_of_venv(home) {
            Some(config) => Self {
                versions: versions_of_venv(home, &config),
                main: None,
            },
            None => Self::of_installation(home),
        }
    }

    fn of_installation(home: &Path) -> Self {
        let in_library = |library| versions_in(&home.join(library));
        let mut versions: Vec<_> = LIBRARIES.into_iter().flat_map(in_library).collect();
        versions.sort_unstable();
        versions.dedup();
        // Debian's /usr/local has packages for the Python in /usr beside one that is installed
        // there.
        if versions.iter().any(|version| has(home, *version, "os.py")) {
            versions.retain(|version| has(home, *version, "os.py"));
        }
        let main = main_program(home).filter(|main| versions.contains(main));
        Self { versions, main }
    }
}

/// What `pyvenv.cfg` says. A home may belong to somebody whom root, who looks here, does not trust:
/// so nothing is opened but a regular file, and not read to its end if it has none. A FIFO would be
/// waited for, and so would be whoever has a lease on a file; a device may do anything.
fn config_of_venv(home: &Path) -> Option<String> {
    let mut options = File::options();
    options.read(true).custom_flags(libc::O_PATH);
    let place = options.open(home.join("pyvenv.cfg")).ok()?;
    if !place.metadata().ok()?.is_file() {
        return None;
    }
    options.custom_flags(libc::O_NONBLOCK);
    let file = options.open(format!("/proc/self/fd/{}", place.as_raw_fd()));
    let file = file.ok()?;
    let mut config = String::new();
    let read = file.take(LONGEST_CONFIG).read_to_string(&mut config);
    read.is_ok().then_some(config)
}

/// Both builds of a version only if nothing says which of them the environment is for.
fn versions_of_venv(home: &Path, config: &str) -> Vec<PythonVersion> {
    let version = value(config, &["version", "version_info"]).and_then(PythonVersion::from_number);
    let Some(usual) = version else {
        return Vec::new();
    };
    let builds = [usual, usual.free_threaded()];
    let in_use = builds.into_iter().filter(|build| has(home, *build, ""));
    let in_use: Vec<_> = in_use.collect();
    if in_use.len() == 1 {
        return in_use;
    }
    // `venv` notes who made it, and so does `virtualenv`.
    let maker = value(config, &["executable", "base-executable"]);
    let maker = maker.and_then(|program| PythonVersion::of_program(Path::new(program)));
    let named = maker.or_else(|| main_program(home));
    match named.filter(|named| builds.contains(named)) {
        Some(named) => vec![named],
        None if in_use.is_empty() => vec![usual],
        None => in_use,
    }
}

/// The value of the first of these keys in `pyvenv.cfg`.
fn value<'c>(config: &'c str, keys: &[&str]) -> Option<&'c str> {
    let mut lines = config.lines().filter_map(|line| line.split_once('='));
    let (_, value) = lines.find(|(key, _)| keys.contains(&key.trim()))?;
    Some(value.trim())
}

/// The versions that there are directories for.
fn versions_in(library: &Path) -> Vec<PythonVersion> {
    let entries = fs::read_dir(library).into_iter().flatten();
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names
        .filter_map(|name| PythonVersion::from_number(name.strip_prefix("python")?))
        .collect()
}

/// Whether a Python has this in its directory.
fn has(home: &Path, version: PythonVersion, name: &str) -> bool {
    let directory = format!("python{version}");
    let mut libraries = LIBRARIES.iter().map(|library| home.join(library));
    libraries.any(|library| library.join(&directory).join(name).exists())
}

fn main_program(home: &Path) -> Option<PythonVersion> {
    let mut names = ["bin/python3", "bin/python"].into_iter();
    names.find_map(|name| PythonVersion::of_program(&home.join(name)))
}

impl PythonVersion {
    /// The version of an interpreter by its name: `python3.13t`, or a link to that.
    pub fn of_program(path: &Path) -> Option<Self> {
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let name = path.file_name()?.to_str()?;
        let version = Self::from_number(name.strip_prefix("python")?)?;
        // A free-threaded build is installed under the name of the usual one, too, as a hard link.
        let free_threaded = version.free_threaded();
        let with_suffix = path.with_file_name(format!("python{free_threaded}"));
        let is_free_threaded = is_same_file(&path, &with_suffix);
        Some(if is_free_threaded {
            free_threaded
        } else {
            version
        })
    }
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    let identity = |path: &Path| {
        let metadata = path.metadata().ok()?;
        Some((metadata.dev(), metadata.ino()))
    };
    identity(one).is_some_and(|one| identity(other) == Some(one))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::process::Command;
    use std::sync::mpsc::channel;
    use std::thread;
    use std::time::Duration;

    use super::*;

    /// How long a test waits for what takes no time.
    const DEADLINE: Duration = Duration::from_secs(30);

    /// A home with these files and directories, which end in `/`.
    fn home(entries: &[&str]) -> tempfile::TempDir {
        let home = tempfile::tempdir().unwrap();
        for entry in entries {
            let path = home.path().join(entry);
            if entry.ends_with('/') {
                fs::create_dir_all(path).unwrap();
                continue;
            }
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        home
    }

    fn versions(home: &tempfile::TempDir) -> String {
        let Pythons { versions, main } = Pythons::of(home.path());
        let all: Vec<_> = versions.iter().map(ToString::to_string).collect();
        let main = main.map_or_else(String::new, |main| format!(", rather {main}"));
        all.join(" ") + &main
    }

    #[test]
    fn an_environment_is_for_the_build_that_its_packages_are_for() {
        let venv = home(&[]);
        let config = "home = /opt/bin\nversion = 3.13.5\n";
        fs::write(venv.path().join("pyvenv.cfg"), config).unwrap();
        assert_eq!(versions(&venv), "3.13");
        let packages = |version| venv.path().join("lib").join(version).join("site-packages");
        fs::create_dir_all(packages("python3.13t")).unwrap();
        assert_eq!(versions(&venv), "3.13t");
        fs::create_dir_all(packages("python3.13")).unwrap();
        assert_eq!(versions(&venv), "3.13 3.13t", "it has been both");
        // Others are of no account.
        fs::create_dir_all(packages("python3.12")).unwrap();
        assert_eq!(versions(&venv), "3.13 3.13t");
    }

    #[test]
    fn what_is_no_file_is_not_read() {
        let venv = home(&["lib/python3.11/"]);
        let config = venv.path().join("pyvenv.cfg");
        let made = Command::new("mkfifo").arg(&config).status();
        assert!(made.unwrap().success());
        let (told, tell) = channel();
        thread::spawn(move || told.send((versions(&venv), venv)));
        let (said, venv) = tell.recv_timeout(DEADLINE).expect("nobody is waited for");
        assert_eq!(said, "3.11");
        fs::remove_file(&config).unwrap();
        symlink("/dev/zero", &config).unwrap();
        assert_eq!(versions(&venv), "3.11");
    }

    #[test]
    fn an_environment_that_has_been_both_is_for_whoever_made_it() {
        let base = home(&["bin/python3.13t", "other/python3.13"]);
        let at = |name: &str| base.path().join(name);
        fs::hard_link(at("bin/python3.13t"), at("bin/python3.13")).unwrap();
        symlink("bin/python3.13t", at("python")).unwrap();
        let both = ["lib/python3.13/", "lib/python3.13t/", "bin/"];
        for (key, maker, expected) in [
            ("executable", at("bin/python3.13t"), "3.13t"),
            ("executable", at("bin/python3.13"), "3.13t"),
            ("base-executable", at("python"), "3.13t"),
            ("executable", at("other/python3.13"), "3.13"),
            ("executable", "/gone/python3.13t".into(), "3.13t"),
            ("executable", "/gone/python3.13".into(), "3.13"),
            ("executable", "/gone/python3".into(), "3.13 3.13t"),
            ("executable", "/gone/python3.12".into(), "3.13 3.13t"),
        ] {
            let venv = home(&both);
            let config = format!("version = 3.13.5\n{key} = {}\n", maker.display());
            fs::write(venv.path().join("pyvenv.cfg"), config).unwrap();
            assert_eq!(versions(&venv), expected, "{key} {maker:?}");
        }
        // Where that is not noted, its program tells.
        let venv = home(&both);
        fs::write(
            venv.path().join("pyvenv.cfg"),
            "version_info = 3.13.5.final.0\n",
        )
        .unwrap();
        symlink(at("python"), venv.path().join("bin/python")).unwrap();
        assert_eq!(versions(&venv), "3.13t");
    }

    #[test]
    fn an_installation_has_the_pythons_whose_libraries_are_there() {
        let installation = home(&["lib/python3/dist-packages/", "lib/python3.11/encodings/"]);
        assert_eq!(versions(&installation), "3.11", "the only one");
        let more = home(&["lib/python3.11/dist-packages/", "lib64/python3.13t/os.py"]);
        assert_eq!(versions(&more), "3.13t", "the only one with a library");
        let both = home(&[
            "lib/python3.13t/os.py",
            "lib/python3.13/os.py",
            "bin/python3.13",
            "bin/python3.12",
        ]);
        assert_eq!(versions(&both), "3.13 3.13t");
        symlink("python3.12", both.path().join("bin/python3")).unwrap();
        assert_eq!(versions(&both), "3.13 3.13t", "it is none of these");
        symlink("python3.13", both.path().join("bin/python")).unwrap();
        assert_eq!(versions(&both), "3.13 3.13t", "bin/python3 counts");
        fs::remove_file(both.path().join("bin/python3")).unwrap();
        assert_eq!(versions(&both), "3.13 3.13t, rather 3.13");
        assert_eq!(versions(&home(&[])), "");
    }
}
