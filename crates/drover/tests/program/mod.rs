//! The program of this build, run to its end.

#![allow(dead_code, reason = "each test program uses some of it")]

use std::process::{Command, Output};

/// The program with these arguments, and no settings of whoever runs the tests.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_drover"));
    for variable in ["DROVER_URL", "DROVER_TOKEN", "DROVER_TENANT", "DROVER_DATA_DIR", "DROVER_OUTPUT"] {
        command.env_remove(variable);
    }
    command.env_remove("DROVER_CONTEXT").env("DROVER_CONFIG_DIR", "/nonexistent");
    command.args(arguments);
    command
}

pub fn drover(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

/// What it said on standard error.
pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
