//! Generates the bindings from the headers that `apxs` names.
//!
//! Environment: `APXS` names the `apxs` to ask; without it the first on `PATH` is used.

use std::env;
use std::error::Error;
use std::panic;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use bindgen::RustTarget;

/// The release series whose ABI the safe layer is written for: httpd 2.4.
const MODULE_MAGIC_NUMBER_MAJOR: &str = "20120211";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            for line in error.to_string().lines() {
                println!("cargo::error={line}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    for cause in ["wrapper.h", "build.rs"] {
        println!("cargo::rerun-if-changed={cause}");
    }
    // Not PATH: it differs between a shell, a virtual environment and a cargo under cargo, and
    // each of them would build everything anew.
    for variable in ["APXS", "LIBCLANG_PATH"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    let apxs = Apxs::from_env();
    let flags = apxs.compiler_flags()?;
    let out = PathBuf::from(env::var("OUT_DIR")?).join("bindings.rs");
    let bindings = generate(&flags)?;
    check_magic_number(&bindings.to_string())?;
    bindings.write_to_file(out)?;
    let libexecdir = apxs.query("LIBEXECDIR")?;
    println!("cargo::rustc-env=HTTPD_LIBEXECDIR={libexecdir}");
    Ok(())
}

/// The tool that knows where httpd's headers are.
struct Apxs(String);

impl Apxs {
    fn from_env() -> Self {
        Self(env::var("APXS").unwrap_or_else(|_| "apxs".to_owned()))
    }

    fn query(&self, name: &str) -> Result<String, String> {
        let Self(apxs) = self;
        let output = Command::new(apxs)
            .args(["-q", name])
            .output()
            .map_err(|error| {
                format!(
                    "cannot run `{apxs}`, which tells where the headers of httpd are: {error}\n\
                 install apache2-dev (Debian) or httpd-devel (Fedora), or set APXS to its path"
                )
            })?;
        if !output.status.success() {
            let cause = String::from_utf8_lossy(&output.stderr);
            return Err(format!("`{apxs} -q {name}` failed: {}", cause.trim()));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    fn compiler_flags(&self) -> Result<Vec<String>, String> {
        let mut flags: Vec<String> = self
            .query("EXTRA_CPPFLAGS")?
            .split_whitespace()
            .map(str::to_owned)
            .collect();
        for name in ["INCLUDEDIR", "APR_INCLUDEDIR", "APU_INCLUDEDIR"] {
            flags.push(format!("-I{}", self.query(name)?));
        }
        Ok(flags)
    }
}

/// Runs bindgen. It panics when it finds no libclang, with a message that does not help.
fn generate(flags: &[String]) -> Result<bindgen::Bindings, Box<dyn Error>> {
    let target = minimum_rust()?;
    panic::set_hook(Box::new(|_| ()));
    let bindings = panic::catch_unwind(|| builder(flags, target).generate());
    drop(panic::take_hook());
    let bindings = bindings.map_err(|cause| {
        let cause = cause
            .downcast_ref::<String>()
            .map_or("no cause given", String::as_str);
        format!(
            "bindgen failed, probably because libclang is missing: {cause}\n\
             install libclang-dev (Debian) or clang-libs (Fedora), or set LIBCLANG_PATH"
        )
    })?;
    Ok(bindings?)
}

fn builder(flags: &[String], target: RustTarget) -> bindgen::Builder {
    bindgen::Builder::default()
        .header("wrapper.h")
        .clang_args(flags)
        .rust_target(target)
        .rust_edition(bindgen::RustEdition::Edition2024)
        .allowlist_function("(ap|apr|unixd)_.*")
        .allowlist_type("(ap|apr|unixd|authn|authz)_.*|.*_rec|module|cmd_.*|core_server_config")
        .allowlist_var(
            "(ap|apr|AP|APR|APLOG|AUTHN|AUTHZ|HTTP|M|MODULE_MAGIC|OPT|OR|REMOTE|REQUEST|SATISFY)_.*",
        )
        .allowlist_var("OK|DECLINED|DONE|ENABLE_MMAP_OFF|RSRC_CONF|ACCESS_CONF|EXEC_ON_READ|GLOBAL_ONLY")
        .default_macro_constant_type(bindgen::MacroTypeVariation::Signed)
        .derive_default(true)
        .generate_comments(false)
        .generate_cstr(true)
}

/// The `rust-version` of the workspace, for which bindgen shall write.
fn minimum_rust() -> Result<RustTarget, Box<dyn Error>> {
    Ok(env::var("CARGO_PKG_RUST_VERSION")?.parse::<RustTarget>()?)
}

fn check_magic_number(bindings: &str) -> Result<(), String> {
    let wanted = format!("pub const MODULE_MAGIC_NUMBER_MAJOR: i32 = {MODULE_MAGIC_NUMBER_MAJOR};");
    if bindings.contains(&wanted) {
        return Ok(());
    }
    Err(format!(
        "these headers are not those of httpd 2.4 \
         (its MODULE_MAGIC_NUMBER_MAJOR is {MODULE_MAGIC_NUMBER_MAJOR})"
    ))
}
