//! An environment by hand: embedded back ends in a directory of its own, a clock that stands still, and the control plane's parts.
#![allow(dead_code, reason = "each test uses a part of it")]

use drover_model::{ManualClock, Timestamp};
use drover_runtime::Env;
#[allow(unused_imports, reason = "each test uses a part of it")]
pub use drover_testkit::{ADMINISTRATOR_TOKEN as TOKEN, tenant};

/// 2026-11-24T19:00:00Z.
pub const NOW_MS: i64 = 1_795_546_800_000;

pub struct World {
    pub env: Env,
    pub clock: ManualClock,
    _dir: tempfile::TempDir,
}

impl World {
    /// With provisioning and devices, reachable through their links.
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(Timestamp::from_millis(NOW_MS));
        let env = drover_testkit::environment(dir.path(), &clock).await;
        let provisioning = drover_provisioning::build(drover_provisioning::Config {}, &env).await.unwrap();
        let devices = drover_devices::build(drover_devices::Config {}, &env).await.unwrap();
        provisioning.start(&env);
        devices.start(&env);
        Self { env, clock, _dir: dir }
    }
}
