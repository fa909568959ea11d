//! Generates the Rust side of /proto without protoc.

use std::error::Error;
use std::path::Path;

const FILES: [&str; 11] = [
    "drover/backbone/v1/record.proto",
    "drover/devices/v1/devices.proto",
    "drover/mqtt/v1/sessions.proto",
    "drover/provisioning/v1/api_keys.proto",
    "drover/provisioning/v1/credentials.proto",
    "drover/provisioning/v1/tenants.proto",
    "drover/sessions/v1/journal.proto",
    "drover/stream/v1/backups.proto",
    "drover/stream/v1/erasures.proto",
    "drover/stream/v1/retention.proto",
    "drover/stream/v1/telemetry.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    // Relative to the package, where build scripts run: a path compiled in would go stale in a target folder that clones share.
    let root = Path::new("../../proto");
    println!("cargo::rerun-if-changed={}", root.display());
    let descriptors = protox::compile(FILES, [root])?;
    tonic_prost_build::configure()
        .bytes(".drover.backbone.v1.Record.payload")
        .bytes(".drover.sessions.v1.Message")
        .bytes(".drover.stream.v1.CreateBackupResponse.data")
        .bytes(".drover.stream.v1.QueryResponse.piece")
        .build_transport(false)
        .compile_fds(descriptors)?;
    Ok(())
}
