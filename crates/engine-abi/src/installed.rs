//! Finding the engines: which are installed, and which one a Python home needs.
//!
//! Engines lie in a directory `mod_wsgi` beside the module's own file, so that the tree can be
//! copied anywhere; failing that, in the directory that httpd's modules were installed to when the
//! module was built. An engine's file name tells its Python: `wsgi-engine-cp311.so` is for 3.11,
//! and `wsgi-engine-cp313t.so` for the free-threaded build of 3.13, which is another Python than 3.13.
//! The link `wsgi-engine.so` names the default.
//!
//! Used in the httpd parent (for the version banner and the checks of a configuration test) and
//! in children (to load). What a home says of itself is read in `home.rs`; no Python runs.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::home::Pythons;

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

/// What decides whether an engine fits a Python home: `major.minor`, and whether it is a
/// free-threaded build, whose objects have another layout. CPython calls that one `3.13t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PythonVersion {
    major: u32,
    minor: u32,
    is_free_threaded: bool,
}

impl PythonVersion {
    /// Of these two numbers, built as usual.
    pub const fn new(major: u32, minor: u32) -> Self {
        Self {
            major,
            minor,
            is_free_threaded: false,
        }
    }

    /// Whether a directory is a home of such a Python: a virtual environment, which says so, or
    /// where its library is. `None` if it cannot be looked at.
    pub fn is_at_home_in(self, home: &Path) -> Option<bool> {
        let library = format!("python{self}/os.py");
        let marks = [
            home.join("pyvenv.cfg"),
            home.join("lib").join(&library),
            home.join("lib64").join(&library),
        ];
        let mut found = Some(false);
        for mark in marks {
            match mark.try_exists() {
                Ok(true) => return Some(true),
                Ok(false) => {}
                Err(_) => found = None,
            }
        }
        found
    }

    /// From the tag of an engine: `cp311` is 3.11, `cp313t` the free-threaded 3.13.
    pub fn from_tag(tag: &str) -> Option<Self> {
        let (major, minor) = tag.strip_prefix("cp")?.split_at_checked(1)?;
        Self::of_parts(major, minor)
    }

    /// How it is called in the names of files: `cp313t`.
    fn tag(self) -> String {
        let Self { major, minor, .. } = self;
        let suffix = if self.is_free_threaded { "t" } else { "" };
        format!("cp{major}{minor}{suffix}")
    }

    /// Whether it is a free-threaded build: one that can do without a GIL.
    pub const fn is_free_threaded(self) -> bool {
        self.is_free_threaded
    }

    /// Whether its interpreters can each have a GIL of their own.
    pub fn has_own_gils(self) -> bool {
        (self.major, self.minor) >= (3, 12)
    }

    /// The free-threaded build of the same version.
    pub(crate) const fn free_threaded(self) -> Self {
        Self {
            is_free_threaded: true,
            ..self
        }
    }

    /// The version of the language: `3.13`, however Python was built.
    pub fn number(self) -> String {
        format!("{}.{}", self.major, self.minor)
    }

    /// From the start of a version number: `3.11.2` is 3.11. What comes before the second point may
    /// end in a `t`.
    pub(crate) fn from_number(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('.');
        Self::of_parts(parts.next()?, parts.next()?)
    }

    fn of_parts(major: &str, minor: &str) -> Option<Self> {
        let (minor, is_free_threaded) = match minor.strip_suffix('t') {
            Some(minor) => (minor, true),
            None => (minor, false),
        };
        Some(Self {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
            is_free_threaded,
        })
    }
}

impl fmt::Display for PythonVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suffix = if self.is_free_threaded { "t" } else { "" };
        write!(f, "{}.{}{suffix}", self.major, self.minor)
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
    pub(crate) fn from_path(path: PathBuf) -> Option<Self> {
        let tag = path
            .file_name()?
            .to_str()?
            .strip_prefix("wsgi-engine-")?
            .strip_suffix(".so")?;
        let python = PythonVersion::from_tag(tag)?;
        Some(Self { path, python })
    }

    /// The shared library of its Python: what the link `libpython-cp311.so` beside it names.
    ///
    /// # Errors
    ///
    /// When there is none: the link, which is missing, or leads nowhere.
    pub fn library(&self) -> Result<PathBuf, PathBuf> {
        let link = self.beside("libpython-", ".so");
        link.canonicalize().map_err(|_| link)
    }

    /// The program that has all of its Python in it, if there is to be one: what the link
    /// `python-cp311` beside the engine names. One that leads nowhere is given as it is.
    pub fn program(&self) -> Option<PathBuf> {
        let link = self.beside("python-", "");
        let is_there = link.symlink_metadata().is_ok();
        is_there.then(|| link.canonicalize().unwrap_or(link))
    }

    /// A file of the same Python in the same directory.
    fn beside(&self, prefix: &str, suffix: &str) -> PathBuf {
        let tag = self.python.tag();
        self.path.with_file_name(format!("{prefix}{tag}{suffix}"))
    }
}

/// The engine for a Python home.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Choice<'e> {
    /// The engine.
    pub engine: &'e EngineFile,
    /// The Pythons of the home, for messages, if which of them is meant can only be guessed: there
    /// is an engine for more than one, and `bin/python3` is none of these.
    pub guessed_of: Option<String>,
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
    /// that does not tell its version, the default engine. Of several Pythons in a home it is the
    /// one that `bin/python3` is, or else one that there is an engine for, rather the default one.
    ///
    /// # Errors
    ///
    /// When the home is for a Python that no installed engine is for.
    pub fn for_home(&self, home: Option<&Path>) -> Result<Choice<'_>, EnginesError> {
        let pythons = home.map(Pythons::of).unwrap_or_default();
        let (Some(home), Some(newest)) = (home, pythons.versions.last()) else {
            return Ok(Choice {
                engine: self.default_engine(),
                guessed_of: None,
            });
        };
        let fits = |file: &&EngineFile| pythons.versions.contains(&file.python);
        let fitting: Vec<_> = self.files.iter().filter(fits).collect();
        let is_main = |file: &&EngineFile| Some(file.python) == pythons.main;
        let main = fitting.iter().copied().find(is_main);
        let engine = main.or_else(|| self.preferred(&fitting));
        let engine = engine.ok_or_else(|| EnginesError::NoneFor {
            home: home.to_owned(),
            wanted: pythons.main.unwrap_or(*newest),
            directory: self.directory.clone(),
            installed: versions(&self.files),
        })?;
        let is_guessed = main.is_none() && fitting.len() > 1;
        Ok(Choice {
            engine,
            guessed_of: is_guessed.then(|| versions(fitting)),
        })
    }

    /// The engine that the link names; without a usable link, that of the newest Python, and rather
    /// of one that is not free-threaded.
    pub fn default_engine(&self) -> &EngineFile {
        let files: Vec<_> = self.files.iter().collect();
        self.preferred(&files)
            .unwrap_or(&self.files[self.files.len() - 1])
    }

    /// What is taken of several engines, if nobody says which.
    fn preferred<'e>(&self, files: &[&'e EngineFile]) -> Option<&'e EngineFile> {
        let linked = fs::read_link(self.directory.join(DEFAULT_ENGINE)).ok();
        let linked = linked.as_deref().and_then(Path::file_name);
        let is_linked = |file: &&&EngineFile| linked.is_some() && file.path.file_name() == linked;
        let is_usual = |file: &&&EngineFile| !file.python.is_free_threaded();
        let mut all = files.iter();
        let linked = all.clone().find(is_linked);
        let usual = || all.clone().rfind(is_usual);
        linked.or_else(usual).or_else(|| all.next_back()).copied()
    }
}

/// The versions of engines, for messages.
fn versions<'e>(files: impl IntoIterator<Item = &'e EngineFile>) -> String {
    let versions = files.into_iter().map(|file| file.python.to_string());
    versions.collect::<Vec<_>>().join(", ")
}

/// The engines in `directory`, oldest Python first.
fn installed_in(directory: &Path) -> io::Result<Vec<EngineFile>> {
    let mut files: Vec<_> = fs::read_dir(directory)?
        .filter_map(|entry| EngineFile::from_path(entry.ok()?.path()))
        .collect();
    files.sort_by_key(|file| file.python);
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    const V311: PythonVersion = PythonVersion::new(3, 11);
    const V313: PythonVersion = PythonVersion::new(3, 13);
    const V313T: PythonVersion = PythonVersion {
        is_free_threaded: true,
        ..V313
    };

    /// A directory with a module's engines for 3.9, 3.11, 3.13 and the free-threaded 3.13 in it.
    fn tree() -> tempfile::TempDir {
        let place = tempfile::tempdir().unwrap();
        let engines = place.path().join(DIRECTORY);
        fs::create_dir(&engines).unwrap();
        for name in [
            "wsgi-engine-cp313t.so",
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
        assert_eq!(versions, ["3.9", "3.11", "3.13", "3.13t"]);
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
                engines.for_home(Some(home.path())).unwrap().engine.python,
                V311,
                "{config}"
            );
        }
    }

    #[test]
    fn of_several_pythons_it_is_the_main_one_or_else_the_default() {
        let place = tree();
        let engines = Engines::in_first_of(&[place.path()]).unwrap();
        let home = tempfile::tempdir().unwrap();
        let chosen = || {
            let Choice { engine, guessed_of } = engines.for_home(Some(home.path())).unwrap();
            (engine.python, guessed_of)
        };
        let add = |version: &str| {
            fs::create_dir_all(home.path().join("lib").join(version).join("encodings")).unwrap();
        };
        assert_eq!(chosen(), (V313, None), "it does not tell");
        add("python3.12");
        add("python3.11");
        assert_eq!(chosen(), (V311, None), "there is an engine for one");
        add("python3.13t");
        let unclear = |versions: &str| Some(versions.to_owned());
        assert_eq!(
            chosen(),
            (V311, unclear("3.11, 3.13t")),
            "one that has a GIL"
        );
        add("python3.13");
        assert_eq!(chosen(), (V313, unclear("3.11, 3.13, 3.13t")));
        let link = place.path().join(DIRECTORY).join(DEFAULT_ENGINE);
        symlink("wsgi-engine-cp311.so", link).unwrap();
        assert_eq!(chosen(), (V311, unclear("3.11, 3.13, 3.13t")));
        fs::create_dir(home.path().join("bin")).unwrap();
        fs::write(home.path().join("bin/python3.13t"), "").unwrap();
        symlink("python3.13t", home.path().join("bin/python3")).unwrap();
        assert_eq!(chosen(), (V313T, None));
    }

    #[test]
    fn what_is_beside_an_engine_is_its_python() {
        let place = tree();
        let beside = |name: &str| place.path().join(DIRECTORY).join(name);
        let engine = EngineFile::from_path(beside("wsgi-engine-cp313t.so")).unwrap();
        let link = beside("libpython-cp313t.so");
        assert_eq!(engine.library(), Err(link.clone()));
        assert_eq!(engine.program(), None);
        let other = beside("wsgi-engine-readme.so").canonicalize().unwrap();
        symlink(&other, &link).unwrap();
        assert_eq!(engine.library(), Ok(other));
        symlink("/nowhere/python", beside("python-cp313t")).unwrap();
        assert_eq!(engine.program(), Some(beside("python-cp313t")));
    }

    #[test]
    fn a_free_threaded_python_needs_an_engine_of_its_own() {
        let place = tree();
        fs::remove_file(place.path().join(DIRECTORY).join("wsgi-engine-cp313t.so")).unwrap();
        let engines = Engines::in_first_of(&[place.path()]).unwrap();
        let home = tempfile::tempdir().unwrap();
        fs::create_dir_all(home.path().join("lib/python3.13t/encodings")).unwrap();
        let error = engines.for_home(Some(home.path())).unwrap_err().to_string();
        assert!(error.contains("Python 3.13t"), "{error}");
        assert!(error.contains("/path/to/python3.13t"), "{error}");
    }

    #[test]
    fn tags_are_those_of_wheels() {
        for (tag, version) in [("cp311", V311), ("cp313", V313), ("cp313t", V313T)] {
            assert_eq!(PythonVersion::from_tag(tag), Some(version));
            assert_eq!(version.tag(), tag);
        }
        assert_eq!(V313T.to_string(), "3.13t");
        assert_eq!(V313T.number(), "3.13");
        assert_eq!(PythonVersion::from_tag("cp3"), None);
        let has_own_gils = [V311, V313, V313T].map(PythonVersion::has_own_gils);
        assert_eq!(has_own_gils, [false, true, true]);
    }

    #[test]
    fn a_home_without_an_engine_is_an_error_that_says_what_is_installed() {
        let place = tree();
        let engines = Engines::in_first_of(&[place.path()]).unwrap();
        let home = home("version = 3.12.1\n");
        let error = engines.for_home(Some(home.path())).unwrap_err().to_string();
        assert!(error.contains("Python 3.12"), "{error}");
        assert!(error.contains("3.9, 3.11, 3.13, 3.13t"), "{error}");
    }
}
