//! Behaviour over a real httpd: one binary, a module for each topic. `docs/testing.md` tells how
//! to run it, also against the reference.

#[path = "integration/alias.rs"]
mod alias; // which URL is which script
#[path = "integration/apps.rs"]
mod apps; // small applications that several topics use
#[path = "integration/handler.rs"]
mod handler; // what is checked before an application runs
#[path = "integration/project.rs"]
mod project; // which crate may depend on which, and that differences are documented
#[path = "integration/seed.rs"]
mod seed; // the founding document of WSGIScriptAlias, sentence by sentence
