//! Which methods integrators may call, and what they need for it. What is not in this table is not there for them.

use drover_model::Scope;

/// Who may call a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// The administrator, and keys with `api:read`.
    Read,
    /// The administrator, and keys with `api:write`.
    Write,
    /// The administrator.
    Administrator,
}

impl Needs {
    /// The scope without which no key is let in.
    pub const fn scope(self) -> Scope {
        match self {
            Self::Read => Scope::Read,
            Self::Write | Self::Administrator => Scope::Write,
        }
    }
}

/// The methods of one service.
pub struct Service {
    /// Full name, as in its path.
    pub name: &'static str,
    /// The part that serves it.
    pub peer: &'static str,
    pub methods: &'static [(&'static str, Needs)],
    /// Its methods whose answers last until somebody ends them.
    pub lasting: &'static [&'static str],
}

use Needs::{Administrator, Read, Write};

/// All of them.
pub const SERVICES: &[Service] = &[
    Service {
        name: "drover.devices.v1.Devices",
        peer: "devices",
        methods: &[
            ("CreateDevice", Write),
            ("GetDevice", Read),
            ("ListDevices", Read),
            ("UpdateDevice", Write),
            ("DeleteDevice", Write),
        ],
        lasting: &[],
    },
    Service {
        name: "drover.mqtt.v1.Sessions",
        peer: "mqtt",
        methods: &[("ListSessions", Read), ("GetSession", Read), ("EndSession", Write)],
        lasting: &[],
    },
    Service {
        name: "drover.provisioning.v1.ApiKeys",
        peer: "provisioning",
        methods: &[
            ("CreateApiKey", Administrator),
            ("GetApiKey", Administrator),
            ("ListApiKeys", Administrator),
            ("DeleteApiKey", Administrator),
        ],
        lasting: &[],
    },
    Service {
        name: "drover.provisioning.v1.Credentials",
        peer: "provisioning",
        methods: &[("CreateCredential", Write), ("ListCredentials", Read), ("DeleteCredential", Write)],
        lasting: &[],
    },
    Service {
        name: "drover.provisioning.v1.Tenants",
        peer: "provisioning",
        methods: &[
            ("CreateTenant", Administrator),
            ("GetTenant", Administrator),
            ("ListTenants", Administrator),
        ],
        lasting: &[],
    },
    Service {
        name: "drover.stream.v1.Erasures",
        peer: "stream",
        methods: &[("EraseTelemetry", Write)],
        lasting: &[],
    },
    Service {
        name: "drover.stream.v1.Feed",
        peer: "stream",
        methods: &[("Subscribe", Read), ("Acknowledge", Read), ("ListGroups", Read), ("DeleteGroup", Write)],
        lasting: &["Subscribe"],
    },
    Service {
        name: "drover.stream.v1.Publisher",
        peer: "stream",
        methods: &[("Publish", Write)],
        lasting: &[],
    },
    Service {
        name: "drover.stream.v1.Retention",
        peer: "stream",
        methods: &[("GetRetention", Administrator), ("SetRetention", Administrator)],
        lasting: &[],
    },
    Service {
        name: "drover.stream.v1.Telemetry",
        peer: "stream",
        methods: &[
            ("Range", Read),
            ("Latest", Read),
            ("ListLatest", Read),
            ("ListEvents", Read),
            ("ListDeadLetters", Read),
            ("GetLedger", Read),
            ("Query", Read),
        ],
        lasting: &[],
    },
];

/// A method that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Method {
    pub service: &'static str,
    pub name: &'static str,
    pub peer: &'static str,
    pub needs: Needs,
    pub lasts: bool,
}

/// The method of a path, `/<service>/<method>`.
pub fn find(path: &str) -> Option<Method> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    let service = SERVICES.iter().find(|known| known.name == service)?;
    let (name, needs) = service.methods.iter().copied().find(|(name, _)| *name == method)?;
    let lasts = service.lasting.contains(&name);
    Some(Method { service: service.name, name, peer: service.peer, needs, lasts })
}

#[cfg(test)]
mod tests {
    use drover_proto::FILE_DESCRIPTOR_SET;
    use prost::Message;
    use prost_types::FileDescriptorSet;

    use super::*;

    /// What services say to one another only.
    const INTERNAL: [&str; 6] = [
        "/drover.devices.v1.Devices/FilterDevices",
        "/drover.provisioning.v1.ApiKeys/FindApiKey",
        "/drover.provisioning.v1.ApiKeys/GetApiKeyVerifier",
        "/drover.provisioning.v1.Credentials/DeleteCredentialsOf",
        "/drover.provisioning.v1.Credentials/GetVerifiers",
        "/drover.stream.v1.Backups/CreateBackup",
    ];

    #[test]
    fn every_method_of_the_proto_files_is_either_open_to_integrators_or_known_as_internal() {
        let mut paths = Vec::new();
        for file in FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap().file {
            for service in &file.service {
                let of = |method: &str| format!("/{}.{}/{method}", file.package(), service.name());
                paths.extend(service.method.iter().map(|method| of(method.name())));
            }
        }
        for path in &paths {
            assert_ne!(find(path).is_some(), INTERNAL.contains(&path.as_str()), "{path}");
        }
        for service in SERVICES {
            for (method, _) in service.methods {
                let path = format!("/{}/{method}", service.name);
                assert!(paths.contains(&path), "{path}");
            }
            assert!(
                service.lasting.iter().all(|name| service.methods.iter().any(|(method, _)| method == name))
            );
        }
    }

    #[test]
    fn a_path_that_is_written_in_another_way_is_no_method() {
        for path in [
            "",
            "/",
            "drover.devices.v1.Devices/GetDevice",
            "/drover.devices.v1.Devices/GetDevice/",
            "//drover.devices.v1.Devices/GetDevice",
            "/drover.devices.v1.devices/GetDevice",
            "/drover.devices.v1.Devices/getDevice",
            "/drover.devices.v1.Devices/",
        ] {
            assert_eq!(find(path), None, "{path}");
        }
    }
}
