//! The settings of `drover up`: its sections, and what each part is told. What is read here is checked: `up` and
//! `config check` refuse the same in the same words.

use std::net::{IpAddr, ToSocketAddrs};

use drover_runtime::{ConfigError, Layers, Settings};

/// Sections of the parts.
pub const SECTIONS: [(&str, &str); 5] = [
    ("provisioning", drover_provisioning::DEFAULTS),
    ("devices", drover_devices::DEFAULTS),
    ("stream", drover_stream::DEFAULTS),
    ("mqtt", drover_mqtt::DEFAULTS),
    ("api", drover_api::DEFAULTS),
];

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
    /// Reads and checks every section, and what they say together. All that is wrong is told, with what was before.
    pub fn read(layers: &Layers, mut problems: Vec<String>) -> Result<Self, ConfigError> {
        let runtime = Settings::read(layers).map_err(|error| problems.extend(error.problems)).ok();
        let provisioning = layers.section_or("provisioning", &mut problems);
        let devices = layers.section_or("devices", &mut problems);
        let stream = layers.section_or("stream", &mut problems);
        let mqtt = layers.section_or("mqtt", &mut problems);
        let api = layers.section_or("api", &mut problems);
        if let (Some(runtime), Some(mqtt)) = (&runtime, &mqtt) {
            problems.extend(exposed(runtime, mqtt));
        }
        match (runtime, provisioning, devices, stream, mqtt, api) {
            (Some(runtime), Some(provisioning), Some(devices), Some(stream), Some(mqtt), Some(api))
                if problems.is_empty() =>
            {
                Ok(Self { runtime, provisioning, devices, stream, mqtt, api })
            }
            _ => Err(ConfigError { problems }),
        }
    }
}

/// Plain listeners for other machines, while clients without credentials are let in from this one.
fn exposed(runtime: &Settings, mqtt: &drover_mqtt::Config) -> Vec<String> {
    if !mqtt.anonymous.allow {
        return Vec::new();
    }
    let plain = [("mqtt", &runtime.listen.mqtt), ("ws", &runtime.listen.ws)];
    let exposed = plain.into_iter().filter(|(_, address)| !address.is_empty() && !is_loopback(address));
    let problem = |(name, address): (&str, &String)| {
        let port = address.rsplit_once(':').map_or("0", |(_, port)| port);
        format!(
            "anonymous clients are allowed on loopback only, but {name} listens on {address}; \
             drop --allow-anonymous, or set --listen-{name} 127.0.0.1:{port}"
        )
    };
    exposed.map(problem).collect()
}

/// Whether all that an address may mean is on this machine. A name that nobody knows is not.
fn is_loopback(address: &str) -> bool {
    let resolved: Vec<IpAddr> =
        address.to_socket_addrs().into_iter().flatten().map(|address| address.ip()).collect();
    !resolved.is_empty() && resolved.iter().all(IpAddr::is_loopback)
}

#[cfg(test)]
mod tests;
