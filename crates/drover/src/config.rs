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
    /// Reads and checks every section, and what they say together.
    pub fn read(layers: &Layers) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        let runtime = Settings::read(layers).map_err(|error| problems.extend(error.problems)).ok();
        let provisioning = layers.section_or("provisioning", &mut problems);
        let devices = layers.section_or("devices", &mut problems);
        let stream = layers.section_or("stream", &mut problems);
        let mqtt = layers.section_or("mqtt", &mut problems);
        let api = layers.section_or("api", &mut problems);
        if let (Some(runtime), Some(provisioning), Some(devices), Some(stream), Some(mqtt), Some(api)) =
            (runtime, provisioning, devices, stream, mqtt, api)
        {
            let configs = Self { runtime, provisioning, devices, stream, mqtt, api };
            problems = configs.exposed();
            if problems.is_empty() {
                return Ok(configs);
            }
        }
        Err(ConfigError { problems })
    }

    /// Plain listeners for other machines, while clients without credentials are let in from this one.
    fn exposed(&self) -> Vec<String> {
        if !self.mqtt.anonymous.allow {
            return Vec::new();
        }
        let listen = &self.runtime.listen;
        let plain = [("mqtt", &listen.mqtt), ("ws", &listen.ws)];
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
}

/// Whether all that an address may mean is on this machine. A name that nobody knows is not.
fn is_loopback(address: &str) -> bool {
    let resolved: Vec<IpAddr> =
        address.to_socket_addrs().into_iter().flatten().map(|address| address.ip()).collect();
    !resolved.is_empty() && resolved.iter().all(IpAddr::is_loopback)
}

#[cfg(test)]
mod tests;
