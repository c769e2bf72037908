//! The `umbel` program: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    umbel::node::run::main(std::env::args_os().collect())
}
