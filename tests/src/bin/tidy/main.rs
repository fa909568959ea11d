//! `make tidy`: the rules of the code base that neither the compiler nor clippy checks. Prints a line for each violation.
//! `tidy --renew-baseline` takes the proto files as they are for the contract.
//! Function length and argument count are clippy's (`clippy.toml`).

mod documents;
mod floors;
mod manifests;
mod protos;
mod sources;

use std::fmt;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};

/// Makes the proto files as they are what later changes are compared with.
const RENEW_BASELINE: &str = "--renew-baseline";

/// Something that breaks a rule, where it is, and what to do.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Violation {
    file: String,
    line: usize,
    message: String,
}

impl Violation {
    fn new(file: &str, line: usize, message: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line, message: message.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.message)
    }
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a tool for the terminal")]
fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(RENEW_BASELINE) {
        return match root().and_then(protos::renew_baseline) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("tidy: {error:#}");
                ExitCode::FAILURE
            }
        };
    }
    match check() {
        Ok((files, violations)) if violations.is_empty() => {
            println!("tidy: {files} files, nothing to say");
            ExitCode::SUCCESS
        }
        Ok((_, violations)) => {
            for violation in &violations {
                println!("{violation}");
            }
            eprintln!("tidy: {} violations", violations.len());
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("tidy: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn check() -> Result<(usize, Vec<Violation>)> {
    let root = root()?;
    let files = files(root)?;
    let mut violations = floors::check(&metadata(root)?)?;
    violations.extend(protos::check(root)?);
    for file in &files {
        // Pictures and other bytes have no lines.
        let Ok(text) = std::fs::read_to_string(root.join(file)) else { continue };
        violations.extend(sources::check_any(file, &text));
        if file.ends_with(".rs") {
            violations.extend(sources::check_rust(file, &text));
        } else if file.ends_with("Cargo.toml") && file != "Cargo.toml" {
            violations.extend(manifests::check(file, &text)?);
        } else if file.ends_with(".md") {
            let exists = |path: &str| root.join(path).exists();
            let has_function = |path: &str, name: &str| has_function(root, &files, path, name);
            violations.extend(documents::check(file, &text, exists, has_function));
        }
    }
    violations.sort();
    Ok((files.len(), violations))
}

fn root() -> Result<&'static Path> {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the package `tests` lies in the workspace")
}

/// Whether a file whose path ends like this has a function of this name.
fn has_function(root: &Path, files: &[String], path: &str, name: &str) -> bool {
    let definition = format!("fn {name}(");
    let mut meant = files.iter().filter(|file| Path::new(file).ends_with(path));
    meant.any(|file| std::fs::read_to_string(root.join(file)).is_ok_and(|text| text.contains(&definition)))
}

/// Everything that is in the repository or about to be.
fn files(root: &Path) -> Result<Vec<String>> {
    let text = output(root, "git", &["ls-files", "--cached", "--others", "--exclude-standard"])?;
    Ok(text.lines().filter(|file| root.join(file).is_file()).map(str::to_owned).collect())
}

fn metadata(root: &Path) -> Result<serde_json::Value> {
    let text = output(root, "cargo", &["metadata", "--format-version", "1", "--no-deps", "--offline"])?;
    serde_json::from_str(&text).context("cargo metadata is not JSON")
}

fn output(root: &Path, program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).current_dir(root).output();
    let output = output.with_context(|| format!("can't run {program}"))?;
    ensure!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).with_context(|| format!("{program} prints other than UTF-8"))
}
