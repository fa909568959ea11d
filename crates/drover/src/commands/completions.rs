//! `drover completions`: scripts that let a shell complete the command line.

use clap::{Args, Command};
use clap_complete::Shell;

use crate::failure::Outcome;
use crate::output::{Format, Output};

#[derive(Args)]
#[command(
    after_help = "Example:\n  drover completions bash > ~/.local/share/bash-completion/completions/drover"
)]
pub struct CompletionsArgs {
    shell: Shell,
}

pub fn run(args: &CompletionsArgs, command: &mut Command) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, command, "drover", &mut script);
    Output::new(Format::Table).line(String::from_utf8_lossy(&script).trim_end())
}
