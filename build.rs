//! How the module is linked.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // httpd unloads and loads its modules with each restart. A Rust library must stay where it is:
    // a thread that ever ran it keeps destructors for its thread-local values, and what httpd still
    // holds of ours, such as cleanups of longer-lived pools, would lead into unmapped memory.
    println!("cargo::rustc-link-arg-cdylib=-Wl,-z,nodelete");
    // httpd makes the symbols of its modules global. Where a mod_wsgi from another path stays in
    // memory, its `wsgi_module` would be taken for ours.
    println!("cargo::rustc-link-arg-cdylib=-Wl,-Bsymbolic");
}
