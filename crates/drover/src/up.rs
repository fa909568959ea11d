//! `drover up`: every part in one process. Which parts those are and what they are told; how a process runs is in `runtime`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use drover_runtime::{Env, Layers, Part, Program, Stop, listeners, logs, signals};
use toml::Value;

use crate::banner;
use crate::config::{self, Configs, Flag};

/// Listeners whose senders are not encrypted, so that anonymous ones must be on this machine.
const PLAIN: [(&str, &str); 2] = [("mqtt", "listen.mqtt"), ("ws", "listen.ws")];

/// Arguments of `drover up`.
#[derive(Args, Debug)]
pub struct UpArgs {
    /// Where everything is kept
    #[arg(long, env = "DROVER_DATA_DIR", value_name = "DIR", default_value = "drover-data")]
    data_dir: PathBuf,
    /// File of settings [default: drover.toml in the data directory or here, when there is one]
    #[arg(long, env = "DROVER_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Let MQTT clients without user name use all topics of the tenant `default`; on this machine only
    #[arg(long)]
    allow_anonymous: bool,
    #[command(flatten)]
    listen: ListenArgs,
}

/// One address for each listener; port 0 takes any free one.
#[derive(Args, Debug)]
#[command(next_help_heading = "Listeners (port 0: any free one; empty: none)")]
struct ListenArgs {
    /// MQTT [default: 127.0.0.1:1883]
    #[arg(long = "listen-mqtt", env = "DROVER_LISTEN_MQTT", value_name = "ADDR")]
    mqtt: Option<String>,
    /// MQTT over TLS [default: 0.0.0.0:8883]
    #[arg(long = "listen-mqtts", env = "DROVER_LISTEN_MQTTS", value_name = "ADDR")]
    mqtts: Option<String>,
    /// MQTT over WebSocket [default: 127.0.0.1:8083]
    #[arg(long = "listen-ws", env = "DROVER_LISTEN_WS", value_name = "ADDR")]
    ws: Option<String>,
    /// REST [default: 127.0.0.1:8080]
    #[arg(long = "listen-api", env = "DROVER_LISTEN_API", value_name = "ADDR")]
    api: Option<String>,
    /// CoAP; not served by this version
    #[arg(long = "listen-coap", env = "DROVER_LISTEN_COAP", value_name = "ADDR")]
    coap: Option<String>,
    /// CoAP over DTLS; not served by this version
    #[arg(long = "listen-coaps", env = "DROVER_LISTEN_COAPS", value_name = "ADDR")]
    coaps: Option<String>,
    /// HTTP for devices; not served by this version
    #[arg(long = "listen-http", env = "DROVER_LISTEN_HTTP", value_name = "ADDR")]
    http: Option<String>,
    /// HTTPS for devices; not served by this version
    #[arg(long = "listen-https", env = "DROVER_LISTEN_HTTPS", value_name = "ADDR")]
    https: Option<String>,
    /// gRPC; not served by this version
    #[arg(long = "listen-grpc", env = "DROVER_LISTEN_GRPC", value_name = "ADDR")]
    grpc: Option<String>,
}

impl ListenArgs {
    fn flags(&self) -> Vec<Flag> {
        let served = [("mqtt", &self.mqtt), ("mqtts", &self.mqtts), ("ws", &self.ws), ("api", &self.api)];
        let given = served.into_iter().filter_map(|(name, address)| Some((name, address.clone()?)));
        given
            .map(|(name, address)| {
                (format!("listen.{name}"), Value::String(address), format!("--listen-{name}"))
            })
            .collect()
    }

    /// Names of given listeners that no part of this version serves.
    fn unserved(&self) -> Vec<&'static str> {
        let unserved = [
            ("coap", &self.coap),
            ("coaps", &self.coaps),
            ("http", &self.http),
            ("https", &self.https),
            ("grpc", &self.grpc),
        ];
        let given = |address: &Option<String>| address.as_ref().is_some_and(|address| !address.is_empty());
        unserved.into_iter().filter(|(_, address)| given(address)).map(|(name, _)| name).collect()
    }
}

impl UpArgs {
    fn flags(&self) -> Vec<Flag> {
        let mut flags = self.listen.flags();
        if self.allow_anonymous {
            let key = "mqtt.anonymous.allow".to_owned();
            flags.push((key, Value::Boolean(true), "--allow-anonymous".to_owned()));
        }
        flags
    }
}

/// Runs every part until a signal comes. Errors are said here.
pub fn up(args: UpArgs) -> ExitCode {
    match start(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell when stderr is closed.
            let _ = writeln!(std::io::stderr(), "drover: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(args: UpArgs) -> anyhow::Result<()> {
    let layers = config::layers(args.config.clone(), &args.data_dir, args.flags())?;
    let configs = Configs::read(&layers)?;
    logs::start(&configs.runtime.logging)?;
    for name in args.listen.unserved() {
        tracing::warn!(
            "--listen-{name}: this version of drover does not serve {name}; nothing listens there"
        );
    }
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if configs.runtime.process.worker_threads > 0 {
        builder.worker_threads(configs.runtime.process.worker_threads);
    }
    let runtime = builder.thread_name("drover").enable_all().build().context("threads")?;
    let outcome = runtime.block_on(serve(&layers, configs, args.data_dir));
    // What did not end within its deadline must not keep the process.
    runtime.shutdown_background();
    outcome
}

async fn serve(layers: &Layers, configs: Configs, data_dir: PathBuf) -> anyhow::Result<()> {
    let stop = Stop::default();
    signals::watch(stop.clone()).context("signals")?;
    check_anonymous(layers).await?;
    let program = Program::new(configs.runtime.clone(), data_dir.clone());
    let build = |env: Env| async move { parts(configs, &env).await };
    drover_runtime::run(program, stop, build, |announcement| banner::show(announcement, &data_dir)).await
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

/// Clients without credentials may come from this machine only.
async fn check_anonymous(layers: &Layers) -> anyhow::Result<()> {
    let text = |key| layers.value(key).and_then(Value::as_str).unwrap_or_default();
    if layers.value("mqtt.anonymous.allow").and_then(Value::as_bool) != Some(true) {
        return Ok(());
    }
    for (name, key) in PLAIN {
        let address = text(key);
        if address.is_empty() {
            continue;
        }
        let resolved = listeners::resolve(name, address).await?;
        if !resolved.ip().is_loopback() {
            bail!(
                "anonymous clients are allowed on loopback only, but {name} listens on {address}; \
                 drop --allow-anonymous, or set --listen-{name} 127.0.0.1:{}",
                resolved.port()
            );
        }
    }
    Ok(())
}
