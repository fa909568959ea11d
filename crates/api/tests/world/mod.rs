//! An environment by hand: embedded back ends in a directory of its own, a clock that stands still, and the control plane's parts.
#![allow(dead_code, reason = "each test uses a part of it")]

use drover_model::{ManualClock, Timestamp};
use drover_runtime::Env;
use drover_testkit::Erased;
#[allow(unused_imports, reason = "each test uses a part of it")]
pub use drover_testkit::{ADMINISTRATOR_TOKEN as TOKEN, tenant};
use tonic::service::Routes;

/// 2026-11-24T19:00:00Z.
pub const NOW_MS: i64 = 1_795_546_800_000;

pub struct World {
    pub env: Env,
    pub clock: ManualClock,
    pub erased: Erased,
    _dir: tempfile::TempDir,
}

impl World {
    /// With provisioning and devices, reachable through their links, and of the stream service what notes erasures.
    pub async fn start() -> Self {
        Self::start_with(|stream| stream).await
    }

    /// The same with more of the stream service.
    pub async fn start_with(add: impl FnOnce(Routes) -> Routes) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(Timestamp::from_millis(NOW_MS));
        let env = drover_testkit::environment(dir.path(), &clock).await;
        let erased = Erased::default();
        env.peers.serve("stream", add(Routes::new(erased.service())));
        let provisioning = drover_provisioning::build(drover_provisioning::Config {}, &env).await.unwrap();
        let devices = drover_devices::build(drover_devices::Config {}, &env).await.unwrap();
        provisioning.start(&env);
        devices.start(&env);
        Self { env, clock, erased, _dir: dir }
    }
}
