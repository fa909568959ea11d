//! What is open to callers without a token: `grpc.health.v1`, and reflection of the methods that there are for integrators.

use anyhow::Context;
use drover_proto::FILE_DESCRIPTOR_SET;
use drover_runtime::{Health, Status, Stop};
use prost::Message;
use prost_types::FileDescriptorSet;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tonic_reflection::server::Builder;

use super::methods::{SERVICES, find};

/// Services that need no token.
pub const NAMES: [&str; 3] = [
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
];

/// The method that asks how a service is.
pub const CHECK: &str = "/grpc.health.v1.Health/Check";

/// The services, and the voice of the first.
///
/// # Errors
/// When the descriptors that were compiled in are none.
pub fn services() -> anyhow::Result<(Routes, HealthReporter)> {
    let (reporter, health) = tonic_health::server::health_reporter();
    let all = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).context("descriptors of the proto files")?;
    let served = served(all);
    let builder = || {
        Builder::configure()
            .register_file_descriptor_set(served.clone())
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let routes = Routes::new(health)
        .add_service(builder().build_v1().context("reflection")?)
        .add_service(builder().build_v1alpha().context("reflection")?);
    Ok((routes.prepare(), reporter))
}

/// Tells callers of `grpc.health.v1` how the process is, until it drains: then it serves nobody any more.
pub async fn report(health: Health, reporter: HealthReporter, stop: Stop) -> anyhow::Result<()> {
    let mut changes = health.changes();
    loop {
        let is_well = !stop.is_draining() && health.snapshot().values().all(|part| *part == Status::Ok);
        let status = if is_well { ServingStatus::Serving } else { ServingStatus::NotServing };
        reporter.set_service_status("", status).await;
        for service in SERVICES {
            reporter.set_service_status(service.name, status).await;
        }
        if stop.is_draining() {
            return Ok(());
        }
        // Cancel-safe: both only tell that it is time to look again.
        tokio::select! {
            _ = changes.changed() => {}
            () = stop.drain() => {}
        }
    }
}

/// The files that have methods for integrators, without other methods. Comments go: they are found by position.
fn served(mut all: FileDescriptorSet) -> FileDescriptorSet {
    for file in &mut all.file {
        file.source_code_info = None;
        let package = file.package().to_owned();
        for service in &mut file.service {
            let name = service.name().to_owned();
            service.method.retain(|method| find(&format!("/{package}.{name}/{}", method.name())).is_some());
        }
        file.service.retain(|service| !service.method.is_empty());
    }
    all.file.retain(|file| !file.service.is_empty());
    all
}
