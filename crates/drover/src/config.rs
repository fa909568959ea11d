//! The settings of `drover up`: its sections, the layers over them, and what each part is told.

use std::path::{Path, PathBuf};

use anyhow::Context;
use drover_runtime::{ConfigError, Layers, Settings, Sources};
use toml::Value;

/// Name of the file of settings, looked for in the data directory and then in the working directory.
const FILE: &str = "drover.toml";

/// Sections of the parts.
const SECTIONS: [(&str, &str); 5] = [
    ("provisioning", drover_provisioning::DEFAULTS),
    ("devices", drover_devices::DEFAULTS),
    ("stream", drover_stream::DEFAULTS),
    ("mqtt", drover_mqtt::DEFAULTS),
    ("api", drover_api::DEFAULTS),
];

/// A flag as a layer: key, value, what the flag is called.
pub type Flag = (String, Value, String);

/// What each part and the runtime are told.
pub struct Configs {
    pub runtime: Settings,
    pub provisioning: drover_provisioning::Config,
    pub devices: drover_devices::Config,
    pub stream: drover_stream::Config,
    pub mqtt: drover_mqtt::Config,
    pub api: drover_api::Config,
}

impl Configs {
    /// Reads every section.
    pub fn read(layers: &Layers) -> Result<Self, ConfigError> {
        Ok(Self {
            runtime: Settings::read(layers)?,
            provisioning: layers.section("provisioning")?,
            devices: layers.section("devices")?,
            stream: layers.section("stream")?,
            mqtt: layers.section("mqtt")?,
            api: layers.section("api")?,
        })
    }
}

/// The layers as `drover up` sees them with this file, data directory and these flags.
pub fn layers(file: Option<PathBuf>, data_dir: &Path, flags: Vec<Flag>) -> Result<Layers, ConfigError> {
    let search = vec![data_dir.join(FILE), PathBuf::from(FILE)];
    let variables = drover_runtime::config::environment();
    Layers::load(Sources { sections: &SECTIONS, file, search, variables, flags })
}

/// Whether the settings are right: everything that can be known without starting.
pub fn check(file: Option<PathBuf>, data_dir: &Path) -> anyhow::Result<()> {
    let layers = layers(file, data_dir, Vec::new()).context("the configuration is wrong")?;
    Configs::read(&layers).context("the configuration is wrong")?;
    Ok(())
}

/// The settings in force as TOML, secrets masked, with the origin of each that is not the default.
pub fn show(file: Option<PathBuf>, data_dir: &Path) -> anyhow::Result<String> {
    Ok(layers(file, data_dir, Vec::new())?.show_masked())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_of_every_part_fit_its_configuration() {
        let layers = Layers::load(Sources { sections: &SECTIONS, ..Sources::default() }).unwrap();
        Configs::read(&layers).unwrap();
        assert!(layers.value("mqtt.anonymous.deny").is_some());
    }
}
