//! Generates the Rust side of /proto without protoc, and the descriptors.

use std::error::Error;
use std::path::{Path, PathBuf};

use prost::Message;

const FILES: [&str; 13] = [
    "drover/backbone/v1/record.proto",
    "drover/devices/v1/devices.proto",
    "drover/mqtt/v1/sessions.proto",
    "drover/provisioning/v1/api_keys.proto",
    "drover/provisioning/v1/credentials.proto",
    "drover/provisioning/v1/tenants.proto",
    "drover/sessions/v1/journal.proto",
    "drover/stream/v1/backups.proto",
    "drover/stream/v1/erasures.proto",
    "drover/stream/v1/feed.proto",
    "drover/stream/v1/publish.proto",
    "drover/stream/v1/retention.proto",
    "drover/stream/v1/telemetry.proto",
];

#[expect(clippy::disallowed_methods, reason = "cargo speaks to build scripts by the environment")]
fn main() -> Result<(), Box<dyn Error>> {
    // Relative to the package, where build scripts run: a path compiled in would go stale in a target folder that clones share.
    let root = Path::new("../../proto");
    println!("cargo::rerun-if-changed={}", root.display());
    let descriptors = protox::compile(FILES, [root])?;
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo names a folder for what is built")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".drover.backbone.v1.Record.payload")
        .bytes(".drover.sessions.v1.Message")
        .bytes(".drover.stream.v1.CreateBackupResponse.data")
        .bytes(".drover.stream.v1.Publication.payload")
        .bytes(".drover.stream.v1.QueryResponse.piece")
        // By key, as values are shown everywhere.
        .btree_map(".drover.stream.v1.Measurement.values")
        .build_transport(false)
        .compile_fds(descriptors)?;
    Ok(())
}
