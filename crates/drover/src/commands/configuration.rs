//! `drover config`: the settings as the layers give them, checked or shown. Needs no server.

use clap::Subcommand;
use drover_runtime::ConfigError;
use serde_json::{Value, json};

use crate::client::Target;
use crate::failure::{Failure, Outcome};
use crate::output::{Format, Output, note};
use crate::setting_args::SettingArgs;

#[derive(Subcommand)]
pub enum ConfigCommand {
    /// Say whether the settings are right, without starting: what `drover up` would refuse is refused
    Check(SettingArgs),
    /// Show every setting, secrets masked, with where it was given; as a table it is TOML that `drover up` reads
    Show(SettingArgs),
}

pub fn run(command: ConfigCommand, target: &Target, output: Output) -> Outcome {
    match command {
        ConfigCommand::Check(args) => check(&args, target, output),
        ConfigCommand::Show(args) => show(&args, target, output),
    }
}

fn check(args: &SettingArgs, target: &Target, output: Output) -> Outcome {
    for warning in args.warnings() {
        note(&format!("drover: {warning}"));
    }
    let problems = match args.read(&target.directory()) {
        Ok(_) => Vec::new(),
        Err(ConfigError { problems }) => problems,
    };
    if output.format != Format::Table {
        output.value(&json!({ "valid": problems.is_empty(), "problems": problems }))?;
    }
    match (problems.is_empty(), output.format) {
        (false, _) => Err(Failure::failed(problems.join("\n"))),
        (true, Format::Table) => output.line("the settings are right"),
        (true, _) => Ok(()),
    }
}

fn show(args: &SettingArgs, target: &Target, output: Output) -> Outcome {
    let mut problems = Vec::new();
    let layers = args
        .layers(&target.directory(), &mut problems)
        .map_err(|error| Failure::failed(error.to_string()))?;
    if !problems.is_empty() {
        return Err(Failure::failed(problems.join("\n")));
    }
    if output.format == Format::Table {
        return output.line(layers.show_masked().trim_end());
    }
    let settings = serde_json::to_value(layers.masked())
        .map_err(|error| Failure::failed(format!("the settings are no JSON: {error}")))?;
    let origins: serde_json::Map<_, _> = layers
        .origins()
        .iter()
        .map(|(key, origin)| (key.clone(), Value::String(origin.to_string())))
        .collect();
    output.value(&json!({ "settings": settings, "given": origins }))
}
