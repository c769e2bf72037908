//! The `umbel` program: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    umbel::command_line(std::env::args_os().collect())
}
