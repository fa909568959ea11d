//! `drover sim`: its arguments, and what they may be together. The simulator itself is in `sim`.

use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use drover_mqtt_codec::QoS;
use drover_mqtt_codec::topic::TopicName;
use drover_runtime::{Rng, limits};
use jiff::SignedDuration;

use crate::client::Target;
use crate::failure::{Code, Failure, Outcome};
use crate::mqtt_address::{self, Security};
use crate::mqtt_connection::Server;
use crate::output::Output;
use crate::sim::faults::Fault;
use crate::sim::models::Profile;
use crate::sim::payloads::Size;
use crate::sim::schedule::{MOST_RATE_PER_DEVICE, Schedule};
use crate::sim::{
    Ground, MOST_DEVICES, MOST_MESSAGES, MOST_MESSAGES_PER_DEVICE, OTHER_FILES, Place, Plan, run_name,
};

const LONGEST: Duration = Duration::from_hours(24);
const SHORTEST: Duration = Duration::from_secs(1);
const LEAST_RATE: f64 = 0.001;
const MOST_RATE: f64 = 1_000_000.0;
/// Devices come in over this part of the run, and no longer than this, when nothing else is said.
const RAMP_PART: u32 = 6;
const USUAL_RAMP: Duration = Duration::from_secs(5);
const USUAL_TOPIC: &str = "drover-sim";

#[derive(Args)]
#[command(after_help = "\
Makes devices, has each of them send numbered measurements over MQTT, looks for every one of them afterwards, and removes the devices;
what they measured stays in the store. What was acknowledged and is not found is lost, what is found twice is doubled. What was never
acknowledged is no fault, found or not. Ctrl-C ends it early, with the report.

Exit code 0: nothing lost, nothing doubled. 1: something is, or devices gave up. Others as `drover help` says.

Examples:
  drover sim --devices 1000 --rate 5000 --duration 1m
  drover sim --faults reconnect,storm,gap,drift --qos 2 -o json
  drover sim --broker-only --broker localhost:1883 --qos 1")]
pub struct SimArgs {
    /// Devices
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=MOST_DEVICES), value_name = "N")]
    devices: u64,
    /// Messages a second, of all devices together
    #[arg(long, default_value_t = 100.0, value_parser = rate, value_name = "RATE")]
    rate: f64,
    /// Quality of service: 0, 1 or 2
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=2), value_name = "QOS")]
    qos: u8,
    /// Exact size of a message: bytes (32 to 60000), small (128), medium (512) or large (4096) [default: as long as its values are]
    #[arg(long, value_name = "SIZE")]
    payload: Option<Size>,
    /// What the devices are
    #[arg(long, value_enum, default_value_t = Profile::Weather, value_name = "KIND")]
    profile: Profile,
    /// How long to send, such as 30s, 5m or 2h
    #[arg(long, default_value = "30s", value_parser = duration, value_name = "TIME")]
    duration: Duration,
    /// Time over which the devices come in, part of the duration [default: a sixth of it, at most 5s]
    #[arg(long, value_parser = duration_or_none, value_name = "TIME")]
    ramp: Option<Duration>,
    /// What goes wrong with them, separated by commas
    #[arg(long, value_enum, value_delimiter = ',', value_name = "FAULTS")]
    faults: Vec<Fault>,
    /// The same number makes the same measurements and faults [default: another each time]
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Do not remove the devices afterwards
    #[arg(long, conflicts_with = "broker_only")]
    keep: bool,
    /// Address of MQTT [default: what the local server listens on; else 1883 on the host of --url]
    #[arg(long, value_name = "HOST:PORT", value_parser = host_and_port)]
    broker: Option<(String, NonZeroU16)>,
    /// Connect by TLS, to a server whose certificate this authority signed (PEM)
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Any MQTT 5 broker: no devices are made, and messages are looked for by subscribing
    #[arg(long, requires = "broker")]
    broker_only: bool,
    /// Username of all devices at a broker
    #[arg(long, requires = "broker_only", value_name = "NAME")]
    username: Option<String>,
    /// Password of all devices at a broker
    #[arg(long, requires = "username", env = "DROVER_SIM_PASSWORD", hide_env_values = true)]
    password: Option<String>,
    /// Topic at a broker below which devices publish [default: drover-sim]
    #[arg(long, requires = "broker_only", value_parser = topic)]
    topic: Option<String>,
}

pub async fn run(args: SimArgs, target: &Target, output: Output) -> Outcome {
    let plan = plan(&args, &Rng::system())?;
    allow_files(args.devices, limits::raise_open_files())?;
    let place = place(args, target)?;
    let report = crate::sim::run(plan, &place, output).await?;
    report.print(output)?;
    report.verdict()
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (LEAST_RATE..=MOST_RATE).contains(&rate) => Ok(rate),
        _ => Err(format!("give {LEAST_RATE} to {MOST_RATE} messages a second")),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let hint = || "give a time from 1s to 24h, such as 30s, 5m or 2h".to_owned();
    let parsed = text.parse::<SignedDuration>().ok().and_then(|parsed| Duration::try_from(parsed).ok());
    parsed.filter(|parsed| (SHORTEST..=LONGEST).contains(parsed)).ok_or_else(hint)
}

fn duration_or_none(text: &str) -> Result<Duration, String> {
    if matches!(text, "0" | "0s") { Ok(Duration::ZERO) } else { duration(text) }
}

fn host_and_port(text: &str) -> Result<(String, NonZeroU16), String> {
    let (host, port) = text.rsplit_once(':').unwrap_or_default();
    let port = port.parse().ok().filter(|_| !host.is_empty());
    port.map(|port| (host.to_owned(), port))
        .ok_or_else(|| "give host and port, such as localhost:1883".to_owned())
}

fn topic(text: &str) -> Result<String, String> {
    TopicName::parse(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

/// What the arguments come to, when they fit together.
fn plan(args: &SimArgs, rng: &Rng) -> Outcome<Plan> {
    let wrong = |message: String| Err(Failure::new(Code::Usage, message));
    let ramp = args.ramp.unwrap_or((args.duration / RAMP_PART).min(USUAL_RAMP));
    if ramp >= args.duration {
        return wrong("--ramp is part of --duration: give a shorter one".to_owned());
    }
    let schedule = Schedule { devices: args.devices, rate: args.rate, ramp, duration: args.duration };
    if 1.0 / schedule.period().as_secs_f64() > MOST_RATE_PER_DEVICE {
        return wrong(format!(
            "a device sends {MOST_RATE_PER_DEVICE} messages a second at most: give more --devices or a lower --rate"
        ));
    }
    if schedule.count(0) > MOST_MESSAGES_PER_DEVICE {
        return wrong(format!(
            "a device would send more than {MOST_MESSAGES_PER_DEVICE} messages: give more --devices, a lower --rate or a shorter --duration"
        ));
    }
    if schedule.total() > MOST_MESSAGES {
        return wrong(format!(
            "this would be more than {MOST_MESSAGES} messages: give a lower --rate or a shorter --duration"
        ));
    }
    let mut faults = args.faults.clone();
    faults.sort_unstable();
    if let Some([twice, _]) = faults.array_windows().find(|[one, other]| one == other) {
        return wrong(format!("--faults names {} twice", twice.name()));
    }
    Ok(Plan {
        schedule,
        qos: QoS::from_u8(args.qos).unwrap_or_default(),
        size: args.payload,
        profile: args.profile,
        faults,
        seed: args.seed.unwrap_or_else(|| u64::from(u32::from_le_bytes(rng.bytes()))),
        run: run_name(rng),
        keep: args.keep,
    })
}

/// Every device is an open file.
fn allow_files(devices: u64, allowed: Option<u64>) -> Outcome {
    match allowed {
        Some(files) if files < devices + OTHER_FILES => Err(Failure::new(
            Code::Usage,
            format!(
                "{devices} devices need {} open files, and this process may have {files}: raise `ulimit -n`, or give fewer --devices",
                devices + OTHER_FILES
            ),
        )),
        _ => Ok(()),
    }
}

fn place(args: SimArgs, target: &Target) -> Outcome<Place> {
    let (host, port, authority) = match &args.broker {
        Some((host, port)) => (host.clone(), port.to_string(), args.ca_file),
        None => usual_place(target, args.ca_file)?,
    };
    let address = format!("{host}:{port}");
    let mqtt = match authority {
        Some(file) => Server::tls(address.clone(), host.trim_matches(['[', ']']), &file)
            .map_err(|error| Failure::new(Code::Usage, error.0))?,
        None => Server::plain(address.clone()),
    };
    let ground = if args.broker_only {
        let topic = args.topic.unwrap_or_else(|| USUAL_TOPIC.to_owned());
        Ground::Broker { username: args.username, password: args.password, topic }
    } else {
        Ground::Drover { client: target.client()?, target: target.clone() }
    };
    Ok(Place { mqtt, address, ground })
}

/// Host, port and authority of the server that is meant.
fn usual_place(target: &Target, named: Option<PathBuf>) -> Outcome<(String, String, Option<PathBuf>)> {
    let Some(address) = mqtt_address::of(target) else {
        let message = "this server does not listen for MQTT: start it with --listen-mqtt, or give --broker";
        return Err(Failure::new(Code::Unreachable, message));
    };
    let authority = match (address.security, named) {
        (Security::Plain, Some(_)) => {
            let message = "--ca-file is for TLS, and this address is without: name that of TLS with --broker";
            return Err(Failure::new(Code::Usage, message));
        }
        (Security::TlsOfSomebody, None) => {
            let message = format!(
                "MQTT of {} is by TLS: name its certificate authority with --ca-file, or another address with --broker",
                address.host
            );
            return Err(Failure::new(Code::Usage, message));
        }
        (Security::Tls(own), None) => Some(own),
        (_, named) => named,
    };
    Ok((address.host, address.port, authority))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: SimArgs,
    }

    fn planned(line: &str) -> Result<Plan, String> {
        let words = std::iter::once("sim").chain(line.split_whitespace());
        let args = Line::try_parse_from(words).map_err(|error| error.to_string())?.args;
        plan(&args, &Rng::new(|bytes| bytes.fill(7))).map_err(|failure| {
            assert_eq!(failure.code, Code::Usage);
            failure.message
        })
    }

    #[test]
    fn without_arguments_there_is_a_small_fleet() {
        let plan = planned("").unwrap();
        assert_eq!((plan.schedule.devices, plan.qos), (10, QoS::AtLeastOnce));
        assert_eq!(plan.schedule.ramp, Duration::from_secs(5));
        assert!(plan.run.starts_with("sim-") && plan.run.len() == 10, "{}", plan.run);
        assert_eq!(planned("--seed 3 --faults gap,drift --payload small --ramp 0s").unwrap().seed, 3);
    }

    #[test]
    fn what_can_not_be_is_refused_with_what_can() {
        for (line, told) in [
            ("--rate 0", "0.001 to 1000000"),
            ("--rate NaN", "0.001 to 1000000"),
            ("--qos 3", "3 is not in 0..=2"),
            ("--devices 0", "0 is not in 1..=20000"),
            ("--payload 10", "32 bytes"),
            ("--duration 0s", "1s to 24h"),
            ("--duration 9999h", "1s to 24h"),
            ("--duration soon", "1s to 24h"),
            ("--duration 5s --ramp 5s", "--ramp is part of --duration"),
            ("--devices 1 --rate 200000", "more --devices"),
            ("--devices 1 --rate 90000 --duration 1h", "more than 5000000 messages"),
            ("--devices 20000 --rate 1000000 --duration 1h", "more than 500000000 messages"),
            ("--faults gap,gap", "gap twice"),
            ("--faults fire", "possible values"),
            ("--broker localhost", "localhost:1883"),
            ("--broker-only", "--broker"),
            ("--broker a:1 --username x", "--broker-only"),
            ("--broker a:1 --broker-only --topic a/#", "#"),
            ("--broker a:1 --broker-only --keep", "--keep"),
        ] {
            let refused = planned(line).unwrap_err();
            assert!(refused.contains(told), "{line}: {refused}");
        }
    }

    #[test]
    fn more_devices_than_files_are_refused_with_the_remedy() {
        assert!(allow_files(1_000, None).is_ok() && allow_files(1_000, Some(1_064)).is_ok());
        let refused = allow_files(1_000, Some(1_024)).unwrap_err();
        assert!(refused.message.contains("1064") && refused.message.contains("ulimit -n"), "{refused}");
    }

    #[test]
    fn an_authority_is_asked_for_where_only_the_user_knows_it() {
        let far = Target { url: Some("https://drover.example".into()), ..Target::default() };
        assert!(usual_place(&far, None).unwrap_err().message.contains("--ca-file"));
        assert_eq!(usual_place(&far, Some("ca.pem".into())).unwrap().1, "8883");
        let near = Target { url: Some("http://localhost:8080".into()), ..Target::default() };
        assert!(usual_place(&near, Some("ca.pem".into())).unwrap_err().message.contains("--broker"));
        assert_eq!(usual_place(&near, None).unwrap(), ("localhost".into(), "1883".into(), None));
    }
}
