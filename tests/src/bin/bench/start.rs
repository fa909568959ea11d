//! Starting: empty, and after a crash under load.

use std::time::Duration;

use drover_tests::load::fleet::{self, Job, Login};
use drover_tests::load::process;
use drover_tests::load::server::Plan;
use std::sync::Arc;

use crate::Bench;
use crate::load::as_f64;
use crate::table::Report;

pub(crate) async fn run(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let plan = Plan::new(&bench.program, &bench.folder.join("start"));
    plan.start().await?.stop()?;
    let server = plan.start().await?;
    report.at_most("ready, second start", "s", server.ready_after.as_secs_f64(), 1.0);
    tokio::time::sleep(Duration::from_secs(3)).await;
    report.at_most("idle `drover up`, resident", "MB", as_f64(process::resident(server.pid())?) / 1e6, 80.0);
    let rest = server.rest()?;
    let mut logins = Vec::new();
    for index in 0..100 {
        let device = format!("crash-{index}");
        logins.push(Login { token: Some(rest.register(&device).await?), device });
    }
    let job = Job {
        address: server.address("mqtt")?,
        logins,
        topic: "v1/telemetry".into(),
        qos: 1,
        window: 16,
        rate: None,
        duration: Duration::from_secs(20),
        payload: Arc::new(|_, number, out| {
            out.extend_from_slice(
                format!("{{\"a\":{number},\"b\":1.5,\"c\":2.5,\"d\":-3,\"e\":0.1}}").as_bytes(),
            );
        }),
        forgive: true,
        messages: None,
    };
    let load = fleet::start(job);
    tokio::time::sleep(Duration::from_secs(6)).await;
    server.kill()?;
    load.await?;
    let server = plan.start().await?;
    report.at_most("ready, after a crash under load", "s", server.ready_after.as_secs_f64(), 3.0);
    server.stop()
}
