//! The arguments that are settings: where they are read from, and the few that have flags. `up` and `config` take the same ones.

use std::path::{Path, PathBuf};

use clap::Args;
use drover_runtime::{ConfigError, Layers, Sources};
use toml::Value;

use crate::config::{Configs, SECTIONS};

/// Name of the file of settings, looked for in the data directory and then in the working directory.
const FILE: &str = "drover.toml";

/// A flag as a layer: key, value, what the flag is called.
type Flag = (String, Value, String);

/// Where settings come from beside the environment.
#[derive(Args, Debug)]
pub struct SettingArgs {
    /// File of settings [default: drover.toml in the data directory or here, when there is one]
    #[arg(long, env = "DROVER_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Let MQTT clients without user name use all topics of the tenant `default`; on this machine only
    #[arg(long)]
    allow_anonymous: bool,
    #[command(flatten)]
    listen: ListenArgs,
}

impl SettingArgs {
    /// All layers, with the file that is in this data directory or named. What is wrong is added to `problems`.
    pub fn layers(&self, data_dir: &Path, problems: &mut Vec<String>) -> Result<Layers, ConfigError> {
        let mut flags = self.listen.flags();
        if self.allow_anonymous {
            let key = "mqtt.anonymous.allow".to_owned();
            flags.push((key, Value::Boolean(true), "--allow-anonymous".to_owned()));
        }
        let file = self.config.clone();
        let search = vec![data_dir.join(FILE), PathBuf::from(FILE)];
        let variables = drover_runtime::config::environment();
        Layers::load_or(Sources { sections: &SECTIONS, file, search, variables, flags }, problems)
    }

    /// What the settings say, checked.
    pub fn read(&self, data_dir: &Path) -> Result<Configs, ConfigError> {
        let mut problems = Vec::new();
        let layers = self.layers(data_dir, &mut problems)?;
        Configs::read(&layers, problems)
    }

    /// What was asked for and will not be.
    pub fn warnings(&self) -> impl Iterator<Item = String> {
        self.listen.unserved().into_iter().map(|name| {
            format!("--listen-{name}: this version of drover does not serve {name}; nothing listens there")
        })
    }
}

/// One address for each listener; port 0 takes any free one.
#[derive(Args, Debug)]
#[command(next_help_heading = "Listeners (port 0: any free one; empty: none; also DROVER_LISTEN_<NAME>)")]
struct ListenArgs {
    /// MQTT [default: 127.0.0.1:1883]
    #[arg(long = "listen-mqtt", value_name = "ADDR")]
    mqtt: Option<String>,
    /// MQTT over TLS [default: 0.0.0.0:8883]
    #[arg(long = "listen-mqtts", value_name = "ADDR")]
    mqtts: Option<String>,
    /// MQTT over WebSocket [default: 127.0.0.1:8083]
    #[arg(long = "listen-ws", value_name = "ADDR")]
    ws: Option<String>,
    /// REST [default: 127.0.0.1:8080]
    #[arg(long = "listen-api", value_name = "ADDR")]
    api: Option<String>,
    /// gRPC [default: 127.0.0.1:8081]
    #[arg(long = "listen-grpc", value_name = "ADDR")]
    grpc: Option<String>,
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
}

impl ListenArgs {
    fn flags(&self) -> Vec<Flag> {
        let served = [
            ("mqtt", &self.mqtt),
            ("mqtts", &self.mqtts),
            ("ws", &self.ws),
            ("api", &self.api),
            ("grpc", &self.grpc),
        ];
        let given = served.into_iter().filter_map(|(name, address)| Some((name, address.clone()?)));
        given
            .map(|(name, address)| {
                (format!("listen.{name}"), Value::String(address), format!("--listen-{name}"))
            })
            .collect()
    }

    /// Names of given listeners that no part of this version serves.
    fn unserved(&self) -> Vec<&'static str> {
        let unserved =
            [("coap", &self.coap), ("coaps", &self.coaps), ("http", &self.http), ("https", &self.https)];
        let given = |address: &Option<String>| address.as_ref().is_some_and(|address| !address.is_empty());
        unserved.into_iter().filter(|(_, address)| given(address)).map(|(name, _)| name).collect()
    }
}
