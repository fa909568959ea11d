//! `drover doctor`: looks at this machine, the data directory and the server, and says of each finding what to do about it.

mod directory;
mod machine;
mod server;

use clap::Args;
use owo_colors::OwoColorize;
use serde_json::{Value, json};

use crate::client::Target;
use crate::failure::{Failure, Outcome};
use crate::output::{Format, Output};
use crate::setting_args::SettingArgs;

#[derive(Args)]
#[command(after_help = "\
Looks at ports, open files, speed of fsync, disk space, certificates, format and lock of the data directory, and at the health, clock,
version and ledger of the server that runs there or is named. Changes nothing; to measure fsync it writes a small file and removes it.
Exit code 1 when something fails; warnings alone are no failure.")]
pub struct DoctorArgs {
    #[command(flatten)]
    settings: SettingArgs,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    Ok,
    Warn,
    Fail,
}

/// What was looked at, what was found, and what to do.
#[derive(Debug)]
pub struct Finding {
    pub check: String,
    pub verdict: Verdict,
    pub found: String,
    pub remedy: Option<String>,
}

impl Finding {
    pub fn ok(check: impl Into<String>, found: impl Into<String>) -> Self {
        Self { check: check.into(), verdict: Verdict::Ok, found: found.into(), remedy: None }
    }

    pub fn warn(check: impl Into<String>, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warn, remedy: Some(remedy.into()), ..Self::ok(check, found) }
    }

    pub fn fail(check: impl Into<String>, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { verdict: Verdict::Fail, ..Self::warn(check, found, remedy) }
    }
}

pub async fn run(args: DoctorArgs, target: &Target, output: Output) -> Outcome {
    let directory = target.directory();
    // A server that was named may be on another machine; what is here says nothing of it.
    let is_here = target.url.is_none() || target.data_dir.is_some();
    let mut findings = Vec::new();
    if is_here {
        let settings = args.settings.read(&directory);
        findings.extend(directory::look(&directory, settings.as_ref().ok()));
        findings.extend(machine::look(&directory, &settings));
    }
    // A server that was killed left its address behind.
    let runs = directory::is_locked(&directory) && target.address("api").is_some();
    if !is_here || runs {
        findings.extend(server::look(target).await);
    }
    show(&findings, output)?;
    let failed = findings.iter().filter(|finding| finding.verdict == Verdict::Fail).count();
    if failed == 0 {
        return Ok(());
    }
    Err(Failure::failed(format!("{failed} of {} checks failed", findings.len())))
}

fn show(findings: &[Finding], output: Output) -> Outcome {
    if output.format != Format::Table {
        let worst = findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Ok);
        let checks: Vec<Value> = findings.iter().map(encoded).collect();
        return output.value(&json!({ "status": word(worst), "checks": checks }));
    }
    let titles = ["CHECK", "STATUS", "FOUND", "WHAT TO DO"].map(str::to_owned);
    let row = |finding: &Finding| {
        let status = coloured(finding.verdict, output.colours());
        vec![finding.check.clone(), status, finding.found.clone(), finding.remedy.clone().unwrap_or_default()]
    };
    output.rows(&titles, findings.iter().map(row).collect())
}

fn encoded(finding: &Finding) -> Value {
    let mut value =
        json!({ "check": finding.check, "status": word(finding.verdict), "found": finding.found });
    if let Some(remedy) = &finding.remedy {
        value["remedy"] = json!(remedy);
    }
    value
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Ok => "ok",
        Verdict::Warn => "warn",
        Verdict::Fail => "fail",
    }
}

fn coloured(verdict: Verdict, colours: bool) -> String {
    match (verdict, colours) {
        (_, false) => word(verdict).to_owned(),
        (Verdict::Ok, true) => word(verdict).green().to_string(),
        (Verdict::Warn, true) => word(verdict).yellow().bold().to_string(),
        (Verdict::Fail, true) => word(verdict).red().bold().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_has_a_remedy_only_when_there_is_something_to_do() {
        let fine = encoded(&Finding::ok("clock", "right"));
        assert_eq!(fine, json!({"check": "clock", "status": "ok", "found": "right"}));
        let bad = encoded(&Finding::fail("clock", "an hour off", "set it"));
        assert_eq!((&bad["status"], &bad["remedy"]), (&json!("fail"), &json!("set it")));
        assert!(coloured(Verdict::Warn, true).contains("\u{1b}["));
        assert_eq!(coloured(Verdict::Warn, false), "warn");
    }
}
