//! `drover login`: tries a server and a token, and saves them as a context for later commands.

use std::io::{self, BufRead, IsTerminal, Read, Write};

use clap::Args;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use crate::client::{Query, Target};
use crate::contexts::{Context, Contexts, file};
use crate::failure::{Code, Failure, Outcome};
use crate::output::Output;

/// Longest token that is read.
const MAX_TOKEN_BYTES: u64 = 4_096;

#[derive(Args)]
#[command(after_help = "\
The token comes from --token, DROVER_TOKEN, --token-stdin, or is asked for. It is sent to this server only, and is saved in
contexts.toml of the user's settings (DROVER_CONFIG_DIR, else XDG_CONFIG_HOME/drover, else ~/.config/drover), mode 0600.

Examples:
  drover login https://drover.example.org --name plant
  drover login http://127.0.0.1:8080 --token-stdin < drover-data/admin.token
  drover login --data-dir /var/lib/drover")]
pub struct LoginArgs {
    /// Address of the API; without it, that of the server that runs in the data directory
    #[arg(value_name = "URL")]
    address: Option<String>,
    /// Read the token from standard input
    #[arg(long, conflicts_with = "token")]
    token_stdin: bool,
    /// What to call it [default: the name of the server]
    #[arg(long, value_name = "CONTEXT", value_parser = name)]
    name: Option<String>,
}

/// A context's name: what an id may be.
pub fn name(text: &str) -> Result<String, String> {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || "-_.:".contains(letter);
    if text.is_empty() || text.len() > 128 || !text.chars().all(fits) {
        return Err("use letters, digits, and - _ . :".to_owned());
    }
    Ok(text.to_owned())
}

pub async fn run(args: LoginArgs, target: &Target, output: Output) -> Outcome {
    let mut target = Target { context: None, ..target.clone() };
    if let Some(address) = args.address {
        if target.url.as_ref().is_some_and(|named| *named != address) {
            let problem = "--url or DROVER_URL names another server: leave it out";
            return Err(Failure::new(Code::Usage, problem));
        }
        (target.url, target.data_dir) = (Some(address), None);
    }
    let is_local = target.url.is_none();
    if args.token_stdin {
        target.token = Some(from_stdin()?);
    }
    let mut client = target.client()?;
    if client.token().is_none() {
        target.token = Some(ask(client.base())?);
        client = target.client()?;
    }
    let url = client.base().to_owned();
    check_address(&url)?;
    client.get("/v1/devices", &vec![("page_size", "1".to_owned())] as &Query).await?;

    let token = client.token().unwrap_or_default().to_owned();
    let name = args.name.unwrap_or_else(|| name_of(&url));
    if url.starts_with("http://") && !is_local && !is_this_machine(&url) {
        output.note(&format!(
            "drover: {url} is not encrypted: everyone between here and there can read the token"
        ));
    }
    let file = file(target.config_dir.as_deref())?;
    let mut contexts = Contexts::load(&file)?;
    contexts.by_name.insert(name.clone(), Context { url: url.clone(), token, tenant: target.tenant });
    contexts.current = Some(name.clone());
    contexts.save(&file)?;
    output.note(&format!("drover: commands now go to {url}, saved as context {name} in {}", file.display()));
    Ok(())
}

fn check_address(url: &str) -> Outcome {
    let parsed = reqwest::Url::parse(url).ok();
    let is_plain = |url: &reqwest::Url| {
        matches!(url.scheme(), "http" | "https") && url.username().is_empty() && url.query().is_none()
    };
    if parsed.as_ref().is_some_and(is_plain) {
        return Ok(());
    }
    Err(Failure::new(
        Code::Usage,
        format!("`{url}` is not an address: give one like https://drover.example.org"),
    ))
}

/// Host and port, as the name of a context.
fn name_of(url: &str) -> String {
    let parsed = reqwest::Url::parse(url).ok();
    let host = parsed.as_ref().and_then(|url| url.host_str()).unwrap_or("default");
    let port = parsed.as_ref().and_then(reqwest::Url::port).map(|port| format!(":{port}"));
    format!("{}{}", host.trim_matches(['[', ']']), port.unwrap_or_default())
}

fn is_this_machine(url: &str) -> bool {
    let host = reqwest::Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned));
    let host = host.unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

fn from_stdin() -> Outcome<String> {
    let mut text = String::new();
    io::stdin().lock().take(MAX_TOKEN_BYTES).read_to_string(&mut text)?;
    token(&text, "standard input holds no token")
}

fn token(text: &str, problem: &str) -> Outcome<String> {
    match text.trim() {
        "" => Err(Failure::new(Code::Usage, problem)),
        token => Ok(token.to_owned()),
    }
}

/// Asks on the terminal, without showing what is typed.
fn ask(url: &str) -> Outcome<String> {
    let input = io::stdin();
    if !input.is_terminal() {
        let problem = "a token is needed: give one with --token-stdin, --token or DROVER_TOKEN";
        return Err(Failure::new(Code::Usage, problem));
    }
    let before = tcgetattr(&input).map_err(io::Error::from)?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    let mut out = io::stderr();
    write!(out, "Token for {url}: ")?;
    out.flush()?;
    tcsetattr(&input, OptionalActions::Flush, &silent).map_err(io::Error::from)?;
    let mut line = String::new();
    let read = input.lock().take(MAX_TOKEN_BYTES).read_line(&mut line);
    tcsetattr(&input, OptionalActions::Flush, &before).map_err(io::Error::from)?;
    writeln!(out)?;
    read?;
    token(&line, "no token was given")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_is_called_by_its_server_unless_told() {
        for (url, expected) in [
            ("https://drover.example.org", "drover.example.org"),
            ("http://127.0.0.1:8080", "127.0.0.1:8080"),
            ("http://[::1]:80", "::1"),
        ] {
            assert_eq!(name_of(url), expected);
            assert!(name(&name_of(url)).is_ok());
        }
        assert!(name("a b").is_err() && name("").is_err());
    }

    #[test]
    fn only_addresses_of_the_web_are_saved() {
        assert!(check_address("https://drover.example.org/base").is_ok());
        for wrong in ["drover", "ftp://x", "https://me:secret@x", "https://x/?a=b"] {
            assert!(check_address(wrong).is_err(), "{wrong}");
        }
        assert!(is_this_machine("http://[::1]:8080") && is_this_machine("http://localhost:1"));
        assert!(!is_this_machine("http://10.0.0.1:8080"));
    }
}
