//! `drover up`: every part in one process. Which parts those are and what they are told; how a process runs is in `runtime`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use drover_runtime::{Announcement, Env, Part, Program, Stop, limits, logs, signals};

use crate::config::Configs;
use crate::setting_args::SettingArgs;
use crate::{banner, open_files};

/// Arguments of `drover up`.
#[derive(Args, Debug)]
pub struct UpArgs {
    /// Where everything is kept
    #[arg(long, env = "DROVER_DATA_DIR", value_name = "DIR", default_value = "drover-data")]
    data_dir: PathBuf,
    /// Stop as at SIGTERM when the process that started this one is gone (Linux)
    #[arg(long, hide = true)]
    end_with_parent: bool,
    #[command(flatten)]
    settings: SettingArgs,
}

/// Runs every part until a signal comes. Errors are said here; `quiet` leaves out where everything is.
pub fn up(args: UpArgs, quiet: bool) -> ExitCode {
    match start(args, quiet) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell when stderr is closed.
            let _ = writeln!(std::io::stderr(), "drover: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(args: UpArgs, quiet: bool) -> anyhow::Result<()> {
    if args.end_with_parent {
        end_with_parent().context("the end of the parent process")?;
    }
    let mut configs = args.settings.read(&args.data_dir)?;
    logs::start(&configs.runtime.logging)?;
    for warning in args.settings.warnings() {
        tracing::warn!("{warning}");
    }
    if let Some(warning) = open_files::fit(&mut configs, limits::raise_open_files())? {
        tracing::warn!("{warning}");
    }
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if configs.runtime.process.worker_threads > 0 {
        builder.worker_threads(configs.runtime.process.worker_threads);
    }
    let runtime = builder.thread_name("drover").enable_all().build().context("threads")?;
    let outcome = runtime.block_on(serve(configs, args.data_dir, quiet));
    // What did not end within its deadline must not keep the process.
    runtime.shutdown_background();
    outcome
}

#[cfg(target_os = "linux")]
fn end_with_parent() -> std::io::Result<()> {
    use rustix::process::{Signal, set_parent_process_death_signal};
    Ok(set_parent_process_death_signal(Some(Signal::TERM))?)
}

#[cfg(not(target_os = "linux"))]
fn end_with_parent() -> std::io::Result<()> {
    Ok(())
}

async fn serve(configs: Configs, data_dir: PathBuf, quiet: bool) -> anyhow::Result<()> {
    let stop = Stop::default();
    signals::watch(stop.clone()).context("signals")?;
    let program = Program::new(configs.runtime.clone(), data_dir.clone());
    let build = |env: Env| async move { parts(configs, &env).await };
    let announce = |announcement: &Announcement| {
        if !quiet {
            banner::show(announcement, &data_dir);
        }
    };
    drover_runtime::run(program, stop, build, announce).await
}

/// Every part of Drover, in the order in which they are told of.
async fn parts(configs: Configs, env: &Env) -> anyhow::Result<Vec<Part>> {
    Ok(vec![
        drover_provisioning::build(configs.provisioning, env).await.context("part provisioning")?,
        drover_devices::build(configs.devices, env).await.context("part devices")?,
        drover_stream::build(configs.stream, env).await.context("part stream")?,
        drover_mqtt::build(configs.mqtt, env).await.context("part mqtt")?,
        drover_api::build(configs.api, env).await.context("part api")?,
    ])
}
