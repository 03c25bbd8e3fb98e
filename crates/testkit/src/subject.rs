//! The module under test: ours, or the reference to check a test against.

use std::collections::BTreeSet;
use std::env;
use std::io::{Write, stderr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;

/// The path of the module under test: `MOD_WSGI_SO`, or what `apxs/build` leaves in
/// `target/dist/`.
pub fn module_under_test() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let path = env::var_os("MOD_WSGI_SO").map_or_else(built_here, PathBuf::from);
        path.canonicalize().unwrap_or_else(|error| {
            panic!(
                "no module to test at {}: {error}; run apxs/build or set MOD_WSGI_SO",
                path.display()
            )
        })
    })
}

fn built_here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/dist/mod_wsgi.so")
}

/// A copy of the module under test in the directory `place`, with what belongs to it. Links stay
/// links.
pub fn copy_of_module(place: &Path) -> PathBuf {
    let module = module_under_test();
    let copied = Command::new("cp")
        .arg("-a")
        .args([module, &module.with_file_name("mod_wsgi"), place])
        .status();
    assert!(
        copied.is_ok_and(|status| status.success()),
        "a copy in {place:?}"
    );
    place.join(module.file_name().unwrap_or_default())
}

/// Whether the module under test is the reference, mod_wsgi 6.1.1: it has no directory of engines
/// beside it. `MOD_WSGI_IS_REFERENCE` (`1` or `0`) overrides that guess.
pub fn is_reference() -> bool {
    match env::var("MOD_WSGI_IS_REFERENCE").as_deref() {
        Ok("1") => true,
        Ok("0") => false,
        _ => !module_under_test().with_file_name("mod_wsgi").is_dir(),
    }
}

/// Whether to expect the behaviour that `docs/compatibility.md` lists under `difference`, which
/// the reference does not have.
///
/// On the reference this is false and says so on standard error, past the capture of the test
/// runner: a test or a part of it that is skipped must not look like one that passed.
///
/// ```no_run
/// if !testkit::ours("D01") {
///     return;
/// }
/// ```
pub fn ours(difference: &str) -> bool {
    if !is_reference() {
        return true;
    }
    let test = thread::current().name().unwrap_or("?").to_owned();
    let skip = format!("skipped on the reference: {test}: difference {difference}");
    static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    if said.insert(skip.clone()) {
        // If standard error is closed there is nobody to tell.
        let _ = writeln!(stderr(), "{skip}");
    }
    false
}

/// Says that the calling test is skipped, past the capture of the test runner: it must not look
/// like one that passed.
pub fn skip(cause: &str) {
    let test = thread::current().name().unwrap_or("?").to_owned();
    // If standard error is closed there is nobody to tell.
    let _ = writeln!(stderr(), "skipped: {test}: {cause}");
}
