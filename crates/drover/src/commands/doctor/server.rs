//! What a running server says of itself: reachable, healthy, of this version, with this clock, and with a ledger that balances.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::Finding;
use crate::client::{Client, Query, Target};
use crate::output::field;
use crate::period;

/// A clock that is off by more makes `from` and `to` of queries mean something else.
const CLOCK_WARNS: Duration = Duration::from_secs(2);
/// One that is off by more makes certificates and tokens look old or new.
const CLOCK_FAILS: Duration = Duration::from_secs(60);

pub async fn look(target: &Target) -> Vec<Finding> {
    let client = match target.client() {
        Ok(client) => client,
        Err(failure) => return vec![Finding::fail("server", failure.message, "see --url and --data-dir")],
    };
    let answer = match client.health().await {
        Ok(answer) => answer,
        Err(failure) => {
            let remedy = "start it with `drover up`, or see its log";
            return vec![Finding::fail("server", failure.message, remedy)];
        }
    };
    let mut findings = vec![health(&client, &answer.body)];
    findings.extend(clock(answer.date.as_deref(), period::now()));
    findings.push(version(&client).await);
    findings.push(ledger(&client).await);
    findings
}

fn health(client: &Client, body: &Value) -> Finding {
    let parts = body.get("parts").and_then(Value::as_object).into_iter().flatten();
    let sick: Vec<String> = parts
        .filter(|(_, part)| field(part, "/status") != "ok")
        .map(|(name, part)| format!("{name} is {}: {}", field(part, "/status"), field(part, "/detail")))
        .collect();
    let status = field(body, "/status");
    if status == "ok" && sick.is_empty() {
        return Finding::ok("server", format!("every part is well at {}", client.base()));
    }
    Finding::fail("server", format!("{status}; {}", sick.join("; ")), "do what its parts say; see its log")
}

/// The server's time by its answer's header, which counts whole seconds.
fn clock(date: Option<&str>, now: Timestamp) -> Option<Finding> {
    let date = jiff::fmt::rfc2822::parse(date?).ok()?.timestamp();
    let off = now.duration_since(date).as_secs_f64() - 0.5;
    let shown = format!("{:.0} s {} the server's", off.abs(), if off > 0.0 { "ahead of" } else { "behind" });
    let remedy = "let both machines take the time from the network (chrony, systemd-timesyncd)";
    Some(match Duration::from_secs_f64(off.abs()) {
        off if off > CLOCK_FAILS => Finding::fail("clock", shown, remedy),
        off if off > CLOCK_WARNS => Finding::warn("clock", shown, remedy),
        _ => Finding::ok("clock", "the same as the server's"),
    })
}

async fn version(client: &Client) -> Finding {
    let own = env!("CARGO_PKG_VERSION");
    match client.get("/openapi.json", &Query::new()).await {
        Ok(document) if field(&document, "/info/version") == own => {
            Finding::ok("version", format!("server and command line are drover {own}"))
        }
        Ok(document) => {
            let found = format!("the server is drover {}, this is {own}", field(&document, "/info/version"));
            Finding::warn("version", found, "use the drover of the server's version")
        }
        Err(failure) => Finding::warn("version", failure.message, "see the server's log"),
    }
}

async fn ledger(client: &Client) -> Finding {
    match client.get("/v1/ledger", &Query::new()).await {
        Ok(ledger) => balance(&ledger),
        Err(failure) => Finding::warn("ledger", failure.message, "give a token that may read"),
    }
}

fn balance(ledger: &Value) -> Finding {
    let count = |key: &str| ledger.get(key).and_then(Value::as_u64).unwrap_or(0);
    let (accepted, stored) = (count("accepted"), count("stored"));
    let (dead, pending) = (count("dead_lettered"), count("pending"));
    let shown = format!("{accepted} accepted = {stored} stored + {dead} dead-lettered + {pending} pending");
    if accepted != stored + dead + pending {
        return Finding::fail("ledger", shown.replace('=', "≠"), "keep the data directory and report it");
    }
    if dead > 0 {
        return Finding::warn("ledger", shown, "see why with `drover deadletters`");
    }
    Finding::ok("ledger", shown)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Verdict;
    use super::*;

    #[test]
    fn a_clock_that_is_off_is_told_with_the_direction() {
        let now: Timestamp = "2026-01-01T00:10:00.5Z".parse().unwrap();
        let look = |date| clock(Some(date), now).unwrap();
        assert_eq!(look("Thu, 01 Jan 2026 00:10:00 GMT").verdict, Verdict::Ok);
        assert_eq!(look("Thu, 01 Jan 2026 00:09:50 GMT").verdict, Verdict::Warn);
        let far = look("Thu, 01 Jan 2026 01:10:00 GMT");
        assert_eq!((far.verdict, far.found.as_str()), (Verdict::Fail, "3600 s behind the server's"));
        assert!(clock(None, now).is_none() && clock(Some("x"), now).is_none());
    }

    #[test]
    fn a_ledger_that_does_not_balance_fails() {
        let ledger = |accepted| json!({"accepted": accepted, "stored": 2, "dead_lettered": 0, "pending": 1});
        assert_eq!(balance(&ledger(3)).verdict, Verdict::Ok);
        assert_eq!(balance(&ledger(4)).verdict, Verdict::Fail);
    }
}
