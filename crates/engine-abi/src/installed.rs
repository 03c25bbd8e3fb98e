//! Finding the engines: which are installed, and which one a Python home needs.
//!
//! Engines lie in a directory `mod_wsgi` beside the module's own file, so that the tree can be
//! copied anywhere; failing that, in the directory that httpd's modules were installed to when the
//! module was built. An engine's file name tells its Python: `wsgi-engine-cp311.so` is for 3.11.
//! The link `wsgi-engine.so` names the default.
//!
//! Used in the httpd parent (for the version banner and the checks of a configuration test) and
//! in children (to load). Reads nothing but directories and `pyvenv.cfg` files; no Python runs.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The directory of the engines, below that of the module.
const DIRECTORY: &str = "mod_wsgi";
/// The link to the default engine.
const DEFAULT_ENGINE: &str = "wsgi-engine.so";

/// Why there is no engine to use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnginesError {
    /// No engine anywhere.
    #[error(
        "no Python engine (wsgi-engine-cp*.so) is in {0}; install the directory 'mod_wsgi' that \
         was built with this module beside it, readable by the server's User"
    )]
    NoneInstalled(String),
    /// The home's Python has no engine.
    #[error(
        "the Python home {home:?} is for Python {wanted}, and no engine for it is installed in \
         {directory:?} (there: {installed}); build one with: apxs/build --python \
         /path/to/python{wanted}"
    )]
    NoneFor {
        /// `WSGIPythonHome`.
        home: PathBuf,
        /// The version it is for.
        wanted: PythonVersion,
        /// Where the engines are.
        directory: PathBuf,
        /// Their versions.
        installed: String,
    },
}

/// The `major.minor` that decides whether an engine fits a Python home.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PythonVersion {
    major: u32,
    minor: u32,
}

impl PythonVersion {
    /// Of these two numbers.
    pub const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }

    /// From the tag in an engine's file name: `cp311` is 3.11.
    fn from_tag(tag: &str) -> Option<Self> {
        let digits = tag.strip_prefix("cp")?;
        let (major, minor) = digits.split_at_checked(1)?;
        Some(Self {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
        })
    }

    /// From a number like `PY_VERSION_HEX`.
    pub const fn from_hex(hex: u32) -> Self {
        Self {
            major: hex >> 24,
            minor: hex >> 16 & 0xff,
        }
    }

    /// From the start of a version number: `3.11.2` is 3.11.
    fn from_number(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('.');
        Some(Self {
            major: parts.next()?.parse().ok()?,
            minor: parts.next()?.parse().ok()?,
        })
    }
}

impl fmt::Display for PythonVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// An installed engine.
#[derive(Clone, Debug)]
pub struct EngineFile {
    /// Its file.
    pub path: PathBuf,
    /// The Python it is for.
    pub python: PythonVersion,
}

impl EngineFile {
    /// The engine in `path`, if that is the name of one.
    fn from_path(path: PathBuf) -> Option<Self> {
        let tag = path
            .file_name()?
            .to_str()?
            .strip_prefix("wsgi-engine-")?
            .strip_suffix(".so")?;
        let python = PythonVersion::from_tag(tag)?;
        Some(Self { path, python })
    }
}

/// The engines that are installed with this module.
#[derive(Clone, Debug)]
pub struct Engines {
    directory: PathBuf,
    /// Sorted by version; never empty.
    files: Vec<EngineFile>,
}

impl Engines {
    /// The engines in the directory `mod_wsgi` of the first of `places` that has any: the
    /// module's own directory, then the one httpd's modules are installed to.
    ///
    /// # Errors
    ///
    /// When no engine is found in any of them.
    pub fn in_first_of(places: &[&Path]) -> Result<Self, EnginesError> {
        let places: Vec<_> = places.iter().map(|place| place.join(DIRECTORY)).collect();
        for directory in &places {
            let files = installed_in(directory).unwrap_or_default();
            if !files.is_empty() {
                return Ok(Self {
                    directory: directory.clone(),
                    files,
                });
            }
        }
        let places: Vec<_> = places.iter().map(|place| format!("{place:?}")).collect();
        Err(EnginesError::NoneInstalled(places.join(" or ")))
    }

    /// The directory they are in, and what else belongs to the module.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The engine that serves a Python home: the one of its version. Without a home, or with one
    /// that does not tell its version, the default engine.
    ///
    /// # Errors
    ///
    /// When the home is for a Python that no installed engine is for.
    pub fn for_home(&self, home: Option<&Path>) -> Result<&EngineFile, EnginesError> {
        let Some((home, wanted)) = home.and_then(|home| Some((home, version_of_home(home)?)))
        else {
            return Ok(self.default_engine());
        };
        self.files
            .iter()
            .find(|file| file.python == wanted)
            .ok_or_else(|| EnginesError::NoneFor {
                home: home.to_owned(),
                wanted,
                directory: self.directory.clone(),
                installed: self.versions(),
            })
    }

    /// The engine that the link names; without a usable link, that of the newest Python.
    pub fn default_engine(&self) -> &EngineFile {
        let linked = fs::read_link(self.directory.join(DEFAULT_ENGINE)).ok();
        let linked = linked.as_deref().and_then(Path::file_name);
        self.files
            .iter()
            .find(|file| linked.is_some() && file.path.file_name() == linked)
            .unwrap_or(&self.files[self.files.len() - 1])
    }

    fn versions(&self) -> String {
        let versions: Vec<_> = self
            .files
            .iter()
            .map(|file| file.python.to_string())
            .collect();
        versions.join(", ")
    }
}

/// The engines in `directory`, oldest Python first.
fn installed_in(directory: &Path) -> io::Result<Vec<EngineFile>> {
    let mut files: Vec<_> = fs::read_dir(directory)?
        .filter_map(|entry| EngineFile::from_path(entry.ok()?.path()))
        .collect();
    files.sort_by_key(|file| file.python);
    Ok(files)
}

/// The version that a Python home is for: what its `pyvenv.cfg` says, or else the one directory
/// `lib/pythonX.Y` below it.
fn version_of_home(home: &Path) -> Option<PythonVersion> {
    match fs::read_to_string(home.join("pyvenv.cfg")) {
        Ok(config) => version_in_pyvenv(&config),
        Err(_) => version_of_library(&home.join("lib")),
    }
}

/// The value of `version` (written by venv) or `version_info` (by virtualenv).
fn version_in_pyvenv(config: &str) -> Option<PythonVersion> {
    config
        .lines()
        .filter_map(|line| line.split_once('='))
        .find(|(key, _)| matches!(key.trim(), "version" | "version_info"))
        .and_then(|(_, value)| PythonVersion::from_number(value))
}

fn version_of_library(lib: &Path) -> Option<PythonVersion> {
    let mut versions = fs::read_dir(lib)
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|name| PythonVersion::from_number(name.strip_prefix("python")?));
    let only = versions.next()?;
    versions.next().is_none().then_some(only)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    const V311: PythonVersion = PythonVersion {
        major: 3,
        minor: 11,
    };
    const V313: PythonVersion = PythonVersion {
        major: 3,
        minor: 13,
    };

    /// A directory with a module's engines for 3.9, 3.11 and 3.13 in it.
    fn tree() -> tempfile::TempDir {
        let place = tempfile::tempdir().unwrap();
        let engines = place.path().join(DIRECTORY);
        fs::create_dir(&engines).unwrap();
        for name in [
            "wsgi-engine-cp313.so",
            "wsgi-engine-cp39.so",
            "wsgi-engine-cp311.so",
        ] {
            fs::write(engines.join(name), "").unwrap();
        }
        fs::write(engines.join("wsgi-engine-readme.so"), "").unwrap();
        place
    }

    fn home(pyvenv: &str) -> tempfile::TempDir {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("pyvenv.cfg"), pyvenv).unwrap();
        home
    }

    #[test]
    fn engines_are_found_in_the_first_place_that_has_any() {
        let empty = tempfile::tempdir().unwrap();
        let place = tree();
        let engines = Engines::in_first_of(&[empty.path(), place.path()]).unwrap();
        let versions: Vec<_> = engines
            .files
            .iter()
            .map(|file| file.python.to_string())
            .collect();
        assert_eq!(versions, ["3.9", "3.11", "3.13"]);
    }

    #[test]
    fn without_engines_the_error_names_the_places() {
        let empty = tempfile::tempdir().unwrap();
        let error = Engines::in_first_of(&[empty.path()])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(&empty.path().join(DIRECTORY).display().to_string()),
            "{error}"
        );
    }

    #[test]
    fn the_link_names_the_default_and_without_it_the_newest_is_taken() {
        let place = tree();
        let engines = Engines::in_first_of(&[place.path()]).unwrap();
        assert_eq!(engines.default_engine().python, V313);
        symlink(
            "wsgi-engine-cp311.so",
            place.path().join(DIRECTORY).join(DEFAULT_ENGINE),
        )
        .unwrap();
        assert_eq!(engines.default_engine().python, V311);
    }

    #[test]
    fn a_virtualenv_gets_the_engine_of_its_version() {
        let place = tree();
        let engines = Engines::in_first_of(&[place.path()]).unwrap();
        for config in [
            "home = /usr/bin\nversion = 3.11.2\n",
            "home=/usr/bin\nversion_info=3.11.2.final.0\n",
        ] {
            let home = home(config);
            assert_eq!(
                engines.for_home(Some(home.path())).unwrap().python,
                V311,
                "{config}"
            );
        }
    }

    #[test]
    fn a_home_without_an_engine_is_an_error_that_says_what_is_installed() {
        let place = tree();
        let engines = Engines::in_first_of(&[place.path()]).unwrap();
        let home = home("version = 3.12.1\n");
        let error = engines.for_home(Some(home.path())).unwrap_err().to_string();
        assert!(error.contains("Python 3.12"), "{error}");
        assert!(error.contains("3.9, 3.11, 3.13"), "{error}");
    }

    #[test]
    fn a_plain_installation_tells_its_version_by_its_library() {
        let place = tree();
        let engines = Engines::in_first_of(&[place.path()]).unwrap();
        let home = tempfile::tempdir().unwrap();
        fs::create_dir_all(home.path().join("lib/python3.11/encodings")).unwrap();
        assert_eq!(engines.for_home(Some(home.path())).unwrap().python, V311);
        fs::create_dir(home.path().join("lib/python3.9")).unwrap();
        assert_eq!(
            engines.for_home(Some(home.path())).unwrap().python,
            V313,
            "ambiguous"
        );
    }
}
