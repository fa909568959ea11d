//! Messages and services generated from /proto, and the conversions between them and the model.

/// Records on the backbone.
pub mod backbone {
    /// Version 1: within it there are only additions.
    #[allow(clippy::all, clippy::restriction, clippy::pedantic, unused_qualifications, reason = "generated")]
    pub mod v1 {
        tonic::include_proto!("drover.backbone.v1");
    }
}

/// The registry of devices.
pub mod devices {
    /// Version 1: within it there are only additions.
    #[allow(clippy::all, clippy::restriction, clippy::pedantic, unused_qualifications, reason = "generated")]
    pub mod v1 {
        tonic::include_proto!("drover.devices.v1");
    }
}

/// The MQTT gateway.
pub mod mqtt {
    /// Version 1: within it there are only additions.
    #[allow(clippy::all, clippy::restriction, clippy::pedantic, unused_qualifications, reason = "generated")]
    pub mod v1 {
        tonic::include_proto!("drover.mqtt.v1");
    }
}

/// Tenants, credentials and API keys.
pub mod provisioning {
    /// Version 1: within it there are only additions.
    #[allow(clippy::all, clippy::restriction, clippy::pedantic, unused_qualifications, reason = "generated")]
    pub mod v1 {
        tonic::include_proto!("drover.provisioning.v1");
    }
}

/// State of MQTT sessions.
pub mod sessions {
    /// Version 1: within it there are only additions.
    #[allow(clippy::all, clippy::restriction, clippy::pedantic, unused_qualifications, reason = "generated")]
    pub mod v1 {
        tonic::include_proto!("drover.sessions.v1");
    }
}

/// What was measured.
pub mod stream {
    /// Version 1: within it there are only additions.
    #[allow(clippy::all, clippy::restriction, clippy::pedantic, unused_qualifications, reason = "generated")]
    pub mod v1 {
        tonic::include_proto!("drover.stream.v1");
    }
}

mod record;

/// All files of /proto with their comments, as an encoded `google.protobuf.FileDescriptorSet`.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

pub use record::{InvalidRecord, RecordRef, RecordView};
