//! `drover config`: the settings as the layers give them, checked or shown. Needs no server.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::client::Target;
use crate::config;
use crate::failure::Outcome;
use crate::output::{Format, Output};

#[derive(Subcommand)]
pub enum ConfigCommand {
    /// Say whether the settings are right, without starting
    Check(FileArgs),
    /// Show every setting as TOML, secrets masked, with where it was given
    Show(FileArgs),
}

#[derive(Args)]
pub struct FileArgs {
    /// File of settings [default: drover.toml in the data directory or here, when there is one]
    #[arg(long, env = "DROVER_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

pub fn run(command: ConfigCommand, target: &Target) -> Outcome {
    let output = Output::new(Format::Table);
    match command {
        ConfigCommand::Check(args) => {
            config::check(args.config, &target.directory())?;
            output.line("the settings are right")
        }
        ConfigCommand::Show(args) => output.line(config::show(args.config, &target.directory())?.trim_end()),
    }
}
