//! The program `mod_wsgi-daemon`; what it does is in the library.

use std::process::ExitCode;

use daemon::Program;

fn main() -> ExitCode {
    ExitCode::from(daemon::run(Program::Daemon))
}
