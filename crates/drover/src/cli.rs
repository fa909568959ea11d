//! The command line as a tree, and which file of `commands` does what. Parsing only; nothing here talks to a server.

use std::process::ExitCode;

use clap::builder::Resettable;
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::client::{CONNECTION, Target};
use crate::commands::{
    api_key, backup, completions, configuration, context, credential, deadletters, demo, device, doctor,
    export, health, ledger, login, man, query, restore, retention, session, sim, tail, telemetry, tenant,
    topic, watch,
};
use crate::failure::{Failure, Outcome};
use crate::output::{Format, Output, note};
use crate::up::{self, UpArgs};

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  refused or failed, as the message says
  2  wrong usage
  3  not found
  4  denied: no token, a wrong one, or not enough rights
  5  no server reached

Which server, and as whom; what comes first counts:
  1  --url, --token, --tenant; --context
  2  DROVER_URL, DROVER_TOKEN, DROVER_TENANT
  3  --data-dir or DROVER_DATA_DIR: the server that runs there, with its administrator's token
  4  the context that `drover login` saved, or DROVER_CONTEXT
  5  ./drover-data, else http://127.0.0.1:8080
A token of 3 to 5 is sent to the server that it belongs to and to no other.";

/// Drover: the IoT platform that you run yourself.
#[derive(Parser)]
#[command(name = "drover", version, after_help = EXIT_CODES, propagate_version = true)]
pub struct Cli {
    #[command(flatten)]
    target: Target,
    /// Form of the output
    #[arg(
        short,
        long,
        global = true,
        env = "DROVER_OUTPUT",
        value_enum,
        default_value_t,
        value_name = "FORM",
        help_heading = CONNECTION
    )]
    output: Format,
    /// Only the output and errors: no hints, no progress
    #[arg(short, long, global = true, help_heading = CONNECTION)]
    quiet: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start Drover: every service in this process
    Up(UpArgs),
    /// Start Drover with a small fleet that sends real recorded measurements
    Demo(demo::DemoArgs),
    /// Devices: who may send
    #[command(subcommand)]
    Device(device::DeviceCommand),
    /// Credentials: what a device proves its identity with
    #[command(subcommand)]
    Credential(credential::CredentialCommand),
    /// API keys: what an application proves its identity with, and what it may do
    #[command(subcommand)]
    ApiKey(api_key::ApiKeyCommand),
    /// Tenants: separate customers of one installation
    #[command(subcommand)]
    Tenant(tenant::TenantCommand),
    /// Sessions: MQTT clients as the server knows them, connected or not
    #[command(subcommand)]
    Session(session::SessionCommand),
    /// Topics: what MQTT clients publish for one another
    #[command(subcommand)]
    Topic(topic::TopicCommand),
    /// What a device measured
    Telemetry(telemetry::TelemetryArgs),
    /// Simulate a fleet, and count what of its messages is lost or doubled
    Sim(sim::SimArgs),
    /// How long points are kept
    #[command(subcommand)]
    Retention(retention::RetentionCommand),
    /// Ask in SQL: once, or in a shell
    Query(query::QueryArgs),
    /// History into a file, Parquet or CSV
    Export(export::ExportArgs),
    /// Messages as they arrive
    Tail(tail::TailArgs),
    /// The fleet at a glance, again and again
    Watch(watch::WatchArgs),
    /// Whether everything accepted is stored
    Ledger,
    /// Messages that could not be understood, with the reason
    Deadletters(deadletters::DeadlettersArgs),
    /// Which parts of the server are well
    Health,
    /// Try a server and a token, and save them for later commands
    Login(login::LoginArgs),
    /// Servers that `drover login` saved
    #[command(subcommand)]
    Context(context::ContextCommand),
    /// What may keep Drover from working well here, and what to do about it
    Doctor(doctor::DoctorArgs),
    /// Keep the whole installation in a folder, while the server runs
    Backup(backup::BackupArgs),
    /// Make a data directory of a backup
    Restore(restore::RestoreArgs),
    /// The server's settings
    #[command(subcommand)]
    Config(configuration::ConfigCommand),
    /// A completion script for a shell
    Completions(completions::CompletionsArgs),
    /// Manual pages
    Man(man::ManArgs),
}

/// Runs the program's command line.
pub fn main() -> ExitCode {
    let matches = without_empty_variables(command_line()).get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let output = Output::new(cli.output).quiet(cli.quiet);
    let outcome = match cli.command {
        Command::Up(args) => return up::up(args, cli.quiet),
        Command::Config(command) => configuration::run(command, &cli.target, output),
        Command::Context(command) => context::run(command, &cli.target, output),
        Command::Restore(args) => restore::run(&args, &cli.target, output),
        Command::Completions(args) => completions::run(&args, &mut command_line()),
        Command::Man(args) => man::run(&args, command_line(), output),
        Command::Demo(args) => in_runtime(demo::run(args, &cli.target, output)),
        Command::Login(args) => in_runtime(login::run(args, &cli.target, output)),
        command => cli
            .target
            .with_context(|id| is_flag(&matches, id))
            .and_then(|target| in_runtime(remote(command, &target, output))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            note(&format!("drover: {failure}"));
            failure.exit_code()
        }
    }
}

/// Whether an option stands on the command line rather than in the environment.
fn is_flag(matches: &ArgMatches, id: &str) -> bool {
    matches.value_source(id) == Some(ValueSource::CommandLine)
}

/// The tree, in which a command does not offer global options that mean nothing to it.
fn command_line() -> clap::Command {
    let remote = ["url", "token", "tenant", "context"];
    let no_server = [&remote[..], &["config_dir"]].concat();
    let no_output = [&no_server[..], &["output"]].concat();
    let nothing = [&no_output[..], &["data_dir"]].concat();
    let hidden = [
        ("up", no_output.clone()),
        ("demo", no_output),
        ("config", no_server.clone()),
        ("restore", no_server),
        ("context", [&remote[..], &["data_dir"]].concat()),
        ("login", vec!["context", "output"]),
        ("completions", [&nothing[..], &["quiet"]].concat()),
        ("man", nothing),
    ];
    hidden.into_iter().fold(Cli::command(), |command, (name, options)| {
        let options =
            command.get_arguments().filter(|argument| options.contains(&argument.get_id().as_str()));
        // An option of its own stands in the place of the global one.
        let own: Vec<_> = options.map(|argument| argument.clone().hide(true)).collect();
        command.mut_subcommand(name, |command| command.args(own))
    })
}

/// A variable that is empty is one that is not set. Of a listener, empty means none.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    #[expect(clippy::disallowed_methods, reason = "clap looks at the same variables")]
    let is_empty = |arg: &clap::Arg| {
        arg.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty())
            && arg.get_long().is_none_or(|name| !name.starts_with("listen-"))
    };
    let command = command.mut_args(|arg| if is_empty(&arg) { arg.env(Resettable::Reset) } else { arg });
    command.mut_subcommands(without_empty_variables)
}

fn in_runtime(work: impl Future<Output = Outcome>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.map_err(|error| Failure::failed(format!("can't start: {error}")))?.block_on(work)
}

async fn remote(command: Command, target: &Target, output: Output) -> Outcome {
    match command {
        Command::Device(command) => device::run(command, target, output).await,
        Command::Credential(command) => credential::run(command, target, output).await,
        Command::ApiKey(command) => api_key::run(command, target, output).await,
        Command::Tenant(command) => tenant::run(command, target, output).await,
        Command::Session(command) => session::run(command, target, output).await,
        Command::Topic(command) => topic::run(command, target, output).await,
        Command::Retention(command) => retention::run(command, target, output).await,
        Command::Telemetry(args) => telemetry::run(args, target, output).await,
        Command::Query(args) => query::run(args, target, output).await,
        Command::Export(args) => export::run(args, target, output).await,
        Command::Sim(args) => sim::run(args, target, output).await,
        Command::Tail(args) => tail::run(args, target, output).await,
        Command::Watch(args) => watch::run(args, target, output).await,
        Command::Ledger => ledger::run(target, output).await,
        Command::Deadletters(args) => deadletters::run(args, target, output).await,
        Command::Health => health::run(target, output).await,
        Command::Doctor(args) => doctor::run(args, target, output).await,
        Command::Backup(args) => backup::run(args, target, output).await,
        Command::Up(_)
        | Command::Demo(_)
        | Command::Config(_)
        | Command::Login(_)
        | Command::Context(_)
        | Command::Restore(_)
        | Command::Completions(_)
        | Command::Man(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parses(line: &str) -> bool {
        Cli::try_parse_from(line.split_whitespace()).is_ok()
    }

    #[test]
    fn the_tree_is_consistent() {
        command_line().debug_assert();
    }

    #[test]
    fn a_command_offers_only_what_means_something_to_it() {
        let help = |path: &[&str]| {
            let mut command = command_line();
            command.build();
            let found = path.iter().try_fold(&mut command, |command, name| command.find_subcommand_mut(name));
            found.unwrap().render_long_help().to_string()
        };
        for path in [&["up"][..], &["demo"], &["config", "check"], &["completions"]] {
            let text = help(path);
            assert!(!text.contains("--url") && !text.contains("--tenant"), "{path:?}: {text}");
        }
        assert!(help(&["up"]).contains("--data-dir"));
        let text = help(&["device", "list"]);
        let (own, shared) = text.split_once("Connection and output:").unwrap();
        assert!(own.contains("--limit") && !own.contains("--url"), "{text}");
        for option in ["--url", "--token", "--tenant", "--data-dir", "--output"] {
            assert!(shared.contains(option), "{option}: {text}");
        }
    }

    #[test]
    fn global_options_stand_before_or_after_the_command() {
        assert!(parses("drover -o json device list"));
        assert!(parses("drover device list -o yaml --url http://x --tenant acme --limit 5"));
        assert!(parses("drover telemetry pump --from -1h --keys a,b"));
        assert!(parses("drover device create pump --label site=north --credential"));
    }

    #[test]
    fn an_impossible_id_or_time_is_wrong_usage() {
        assert!(!parses("drover device get a/b"));
        assert!(!parses("drover telemetry pump --from yesterday"));
        assert!(!parses("drover telemetry pump --agg median"));
        assert!(!parses("drover device create pump --label site"));
        assert!(!parses("drover api-key create board --scope everything"));
        assert!(parses("drover session list --api-key board"));
        assert!(!parses("drover session list --api-key board --device pump"));
        assert!(parses("drover api-key create board --scope mqtt:publish:a/# --scope api:read"));
        assert!(!parses("drover device create pump --profile a/b"));
        assert!(parses("drover device create pump --profile pumps"));
        assert!(!parses("drover device update pump"));
        assert!(parses("drover device update pump --remove-label site"));
    }
}
