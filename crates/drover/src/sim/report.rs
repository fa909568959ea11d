//! What a run came to, as a table for people and as JSON for CI. `docs/simulator.md` documents every member of the JSON.

use std::sync::Arc;
use std::time::Duration;

use drover_mqtt_codec::QoS;
use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use super::Plan;
use super::tally::Tally;
use crate::failure::{Failure, Outcome};
use crate::output::{Format, Output};

const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0)];

/// What was measured beside the messages.
pub struct Measured {
    /// From the start to the last acknowledgement.
    pub elapsed: Duration,
    /// CPU time that the server used, when it could be read.
    pub server_cpu: Option<Duration>,
    /// From write to acknowledgement, in microseconds.
    pub latency: Histogram<u64>,
}

/// A run.
pub struct Report {
    pub plan: Arc<Plan>,
    pub tally: Tally,
    pub measured: Measured,
    pub ended_early: bool,
}

impl Report {
    /// Prints it.
    pub fn print(&self, output: Output) -> Outcome {
        if output.format == Format::Table {
            return output.rows(&[], self.rows());
        }
        output.value(&self.value())
    }

    /// Whether the run shows that nothing is lost or doubled; else why it does not.
    pub fn verdict(&self) -> Outcome {
        let tally = &self.tally;
        if !tally.is_exact() {
            let message = format!("{} messages are lost, {} are doubled", tally.lost, tally.doubled);
            return Err(Failure::failed(message));
        }
        if let Some(reason) = &tally.reason {
            return Err(Failure::failed(format!("{} devices gave up: {reason}", tally.gave_up)));
        }
        let needs_answers = self.plan.qos != QoS::AtMostOnce;
        if tally.sent == 0 || (needs_answers && tally.acknowledged == 0) {
            return Err(Failure::failed("no message was sent and acknowledged, so nothing is shown"));
        }
        Ok(())
    }

    /// Messages that the server took: acknowledged, or sent where there are no acknowledgements.
    fn taken(&self) -> u64 {
        if self.plan.qos == QoS::AtMostOnce { self.tally.sent } else { self.tally.acknowledged }
    }

    fn rate(&self) -> f64 {
        as_f64(self.taken()) / self.measured.elapsed.as_secs_f64().max(f64::EPSILON)
    }

    fn cpu_us(&self) -> Option<f64> {
        let used = self.measured.server_cpu?;
        (self.taken() > 0).then(|| used.as_secs_f64() * 1e6 / as_f64(self.taken()))
    }

    fn latency(&self) -> Option<[(&'static str, f64); 4]> {
        let latency = &self.measured.latency;
        (!latency.is_empty())
            .then(|| QUANTILES.map(|(name, share)| (name, millis(latency.value_at_quantile(share)))))
    }

    fn value(&self) -> Value {
        let (plan, tally) = (&self.plan, &self.tally);
        let faults =
            plan.faults.iter().map(|fault| (fault.name().to_owned(), json!(tally.injected.of(*fault))));
        let latency = self.latency().map(|latency| {
            let members = latency.map(|(name, millis)| (name.to_owned(), json!(millis)));
            members.into_iter().collect::<Map<_, _>>()
        });
        json!({
            "run": plan.run,
            "seed": plan.seed,
            "devices": plan.schedule.devices,
            "qos": plan.qos.as_u8(),
            "ok": self.verdict().is_ok(),
            "ended_early": self.ended_early,
            "seconds": round(self.measured.elapsed.as_secs_f64()),
            "sent": tally.sent,
            "acknowledged": tally.acknowledged,
            "unacknowledged": tally.unacknowledged(),
            "refused": tally.refused,
            "found": tally.found,
            "lost": tally.lost,
            "doubled": tally.doubled,
            "sent_again": tally.sent_again,
            "repeated": tally.repeated,
            "messages_per_s": round(self.rate()),
            "latency_ms": latency,
            "server_cpu_us_per_message": self.cpu_us().map(round),
            "reconnects": tally.reconnects,
            "lost_connections": tally.lost_connections,
            "gave_up": tally.gave_up,
            "faults": faults.collect::<Map<_, _>>(),
        })
    }

    fn rows(&self) -> Vec<Vec<String>> {
        let (plan, tally) = (&self.plan, &self.tally);
        let mut rows = vec![
            ("devices", plan.schedule.devices.to_string()),
            ("sent", tally.sent.to_string()),
            ("acknowledged", tally.acknowledged.to_string()),
            ("found", tally.found.to_string()),
            ("lost", tally.lost.to_string()),
            ("doubled", tally.doubled.to_string()),
        ];
        let unusual = [
            ("not acknowledged", tally.unacknowledged()),
            ("refused", tally.refused),
            ("sent again", tally.sent_again),
            ("repeated, as QoS 1 allows", tally.repeated),
            ("reconnects", tally.reconnects),
            ("connections lost", tally.lost_connections),
            ("devices that gave up", tally.gave_up),
        ];
        rows.extend(
            unusual.into_iter().filter(|row| row.1 > 0).map(|(name, count)| (name, count.to_string())),
        );
        for fault in &plan.faults {
            let injected = tally.injected.of(*fault);
            let shown = injected.map_or("on every clock".to_owned(), |count| format!("{count} connections"));
            rows.push((fault_title(*fault), shown));
        }
        rows.push(("messages a second", format!("{:.0}", self.rate())));
        if let Some(latency) = self.latency() {
            let shown = latency.map(|(name, millis)| format!("{name} {millis:.1} ms"));
            rows.push(("latency", shown.join(", ")));
        }
        if let Some(micros) = self.cpu_us() {
            rows.push(("server's CPU a message", format!("{micros:.1} us")));
        }
        rows.push(("seed", plan.seed.to_string()));
        if self.ended_early {
            rows.push(("ended early", format!("after {:.1} s", self.measured.elapsed.as_secs_f64())));
        }
        rows.into_iter().map(|(name, text)| vec![name.to_owned(), text]).collect()
    }
}

fn fault_title(fault: super::faults::Fault) -> &'static str {
    use super::faults::Fault;
    match fault {
        Fault::Reconnect => "fault: broken in a message",
        Fault::Storm => "fault: storms",
        Fault::Gap => "fault: away for a while",
        Fault::Drift => "fault: drift",
    }
}

/// Microseconds as milliseconds.
pub fn millis(micros: u64) -> f64 {
    round(as_f64(micros) / 1_000.0)
}

fn round(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::super::faults::Fault;
    use super::super::models::Profile;
    use super::super::schedule::Schedule;
    use super::*;

    fn report(qos: QoS, tally: Tally) -> Report {
        let schedule =
            Schedule { devices: 2, rate: 10.0, ramp: Duration::ZERO, duration: Duration::from_secs(10) };
        let plan = Plan {
            schedule,
            qos,
            size: None,
            profile: Profile::Weather,
            faults: vec![Fault::Storm, Fault::Drift],
            seed: 7,
            run: "sim-abcdef".to_owned(),
            keep: false,
        };
        let mut latency = Histogram::new_with_bounds(1, 1_000_000, 3).unwrap();
        (1..=100).for_each(|millis| latency.record(millis * 1_000).unwrap());
        let elapsed = Duration::from_secs(10);
        let server_cpu = Some(Duration::from_millis(2));
        let measured = Measured { elapsed, server_cpu, latency };
        Report { plan: Arc::new(plan), tally, measured, ended_early: false }
    }

    fn all_found() -> Tally {
        Tally { sent: 100, acknowledged: 100, found: 100, ..Tally::default() }
    }

    #[test]
    fn a_run_without_loss_and_doubles_is_good() {
        let report = report(QoS::AtLeastOnce, all_found());
        assert!(report.verdict().is_ok());
        let value = report.value();
        assert_eq!((&value["ok"], &value["lost"]), (&json!(true), &json!(0)));
        assert_eq!(value["messages_per_s"], json!(10.0));
        assert_eq!(value["server_cpu_us_per_message"], json!(20.0));
        assert_eq!(value["faults"], json!({ "storm": 0, "drift": null }));
        assert!((99.0..100.0).contains(&value["latency_ms"]["p99"].as_f64().unwrap()), "{value}");
    }

    #[test]
    fn loss_doubles_and_devices_that_gave_up_are_failures() {
        let verdict = |tally| report(QoS::AtLeastOnce, tally).verdict().unwrap_err().message;
        assert_eq!(
            verdict(Tally { lost: 3, doubled: 1, ..all_found() }),
            "3 messages are lost, 1 are doubled"
        );
        let gave_up = Tally { gave_up: 2, reason: Some("refused".to_owned()), ..all_found() };
        assert_eq!(verdict(gave_up), "2 devices gave up: refused");
        assert!(verdict(Tally { sent: 5, ..Tally::default() }).contains("nothing is shown"));
    }

    #[test]
    fn at_qos_0_nothing_is_acknowledged_and_what_was_sent_counts() {
        let report = report(QoS::AtMostOnce, Tally { acknowledged: 0, ..all_found() });
        assert!(report.verdict().is_ok());
        assert_eq!(report.value()["unacknowledged"], json!(100));
        assert!((report.rate() - 10.0).abs() < 1e-9);
    }
}
