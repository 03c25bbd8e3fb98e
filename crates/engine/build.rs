//! Passes on what pyo3 found out about the Python the engine is built for.

/// The environment variable by which pyo3 is told to leave the linking of libpython to others.
const EXTENSION: &str = "PYO3_BUILD_EXTENSION_MODULE";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // `Py_3_12` and friends, with their `check-cfg`.
    pyo3_build_config::use_pyo3_cfgs();
    // What the engine takes for Python's home if the configuration does not name one.
    let python = pyo3_build_config::get().executable().unwrap_or_default();
    println!("cargo::rustc-env=ENGINE_PYTHON={python}");
    let version = pyo3_build_config::get().version();
    let (major, minor) = (version.major, version.minor);
    let is_free_threaded = pyo3_build_config::get()
        .target_abi()
        .kind()
        .is_free_threaded();
    let suffix = if is_free_threaded { "t" } else { "" };
    println!("cargo::rustc-env=ENGINE_TAG=cp{major}{minor}{suffix}");
    // What the interpreter is called in whatever home is named.
    println!("cargo::rustc-env=ENGINE_PROGRAM=python{major}.{minor}{suffix}");
    // Only what links libpython, which tests do, needs to find it.
    println!("cargo::rerun-if-env-changed={EXTENSION}");
    if std::env::var_os(EXTENSION).is_none() && !libpython_is_the_system_s() {
        pyo3_build_config::add_libpython_rpath_link_args();
    }
}

/// Whether the dynamic linker finds libpython by itself. An rpath into a system directory would
/// only tie the engine to this machine's layout.
fn libpython_is_the_system_s() -> bool {
    pyo3_build_config::get()
        .lib_dir()
        .is_some_and(|directory| directory.starts_with("/usr/lib") || directory.starts_with("/lib"))
}
