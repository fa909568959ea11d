//! The REST client of the command line: finds the server, carries the token, turns `problem+json` into a message with the next step.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use reqwest::header::{ACCEPT, DATE, LINK};
use reqwest::redirect;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;

use crate::contexts::{Contexts, file};
use crate::failure::{Code, Failure, Outcome};

/// Where `drover up` serves the API when nothing else is said.
const DEFAULT_URL: &str = "http://127.0.0.1:8080";
/// Where `drover up` keeps its state when nothing else is said.
pub const DEFAULT_DATA_DIR: &str = "drover-data";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Items a page when a list is followed.
const PAGE_SIZE: usize = 500;

/// What `--help` calls the options that all commands share.
pub const CONNECTION: &str = "Connection and output";

/// Which server, as whom.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = CONNECTION)]
pub struct Target {
    /// Address of the API; without it, see the end of `drover help`
    #[arg(long, global = true, env = "DROVER_URL", value_name = "URL")]
    pub url: Option<String>,
    /// Token; without it, that of the context, or the administrator's of the data directory
    #[arg(long, global = true, env = "DROVER_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Act in this tenant (platform administrators only)
    #[arg(long, global = true, env = "DROVER_TENANT")]
    pub tenant: Option<String>,
    /// Data directory of the local server [default: drover-data]
    #[arg(long, global = true, env = "DROVER_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// A server that `drover login` saved; without it, the one in use
    #[arg(long, global = true, env = "DROVER_CONTEXT", value_name = "NAME")]
    pub context: Option<String>,
    /// Where saved contexts are [default: drover in the user's folder of settings]
    #[arg(long, global = true, env = "DROVER_CONFIG_DIR", value_name = "DIR", hide_short_help = true)]
    pub config_dir: Option<PathBuf>,
}

impl Target {
    /// The directory in which a local server keeps its state.
    pub fn directory(&self) -> PathBuf {
        self.data_dir.clone().unwrap_or_else(|| DEFAULT_DATA_DIR.into())
    }

    /// With what a saved context says, unless something else names a server. `is_flag` tells what stands on the command line, which
    /// overrules the environment.
    pub fn with_context(mut self, is_flag: impl Fn(&str) -> bool) -> Outcome<Self> {
        let is_named = is_flag("context");
        if is_named && (is_flag("url") || is_flag("data_dir")) {
            let problem = "--context names a server already: leave out --url and --data-dir";
            return Err(Failure::new(Code::Usage, problem));
        }
        let is_local = |url: &String| {
            self.data_dir.as_ref().is_some_and(|directory| {
                address_in(directory, "api").is_some_and(|address| *url == format!("http://{address}"))
            })
        };
        if self.url.as_ref().is_some_and(|url| !is_local(url)) && !is_flag("data_dir") {
            // The token in a directory of the environment is not for a server that is not there.
            self.data_dir = None;
        }
        let file = file(self.config_dir.as_deref());
        if !is_named && (self.url.is_some() || self.data_dir.is_some() || file.is_err()) {
            self.context = None;
            return Ok(self);
        }
        let contexts = Contexts::load(&file?)?;
        let Some(name) = self.context.take().or_else(|| contexts.current.clone()) else { return Ok(self) };
        let saved = contexts.get(&name)?;
        // A token or tenant of the environment belongs to the server of the environment.
        let is_meant = |what| !is_named || is_flag(what);
        self.token = self.token.filter(|_| is_meant("token")).or_else(|| Some(saved.token.clone()));
        self.tenant = self.tenant.filter(|_| is_meant("tenant")).or_else(|| saved.tenant.clone());
        (self.url, self.data_dir, self.context) = (Some(saved.url.clone()), None, Some(name));
        Ok(self)
    }

    /// Addresses that the local server wrote down; `None` for a server named by URL.
    pub fn address(&self, name: &str) -> Option<String> {
        if self.url.is_some() {
            return None;
        }
        address_in(&self.directory(), name)
    }

    /// A client. The token file is read only for the server that wrote it: not for a URL, unless the directory is named too.
    pub fn client(&self) -> Outcome<Client> {
        let base = match &self.url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => self.local_api()?,
        };
        let is_local = self.url.is_none() || self.data_dir.is_some();
        let token = match &self.token {
            Some(token) => Some(token.clone()),
            None if is_local => token_in(&self.directory())?,
            None => None,
        };
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            // A token goes to the server that was named and to no other.
            .redirect(redirect::Policy::none())
            .user_agent(concat!("drover/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Failure::failed(format!("can't set up HTTP: {error}")))?;
        let looked_for = is_local.then(|| self.directory().join("admin.token"));
        let context = self.context.clone();
        Ok(Client { http, base, token, looked_for, context, tenant: self.tenant.clone() })
    }
}

impl Target {
    /// The API of the server in the data directory. A directory that was named must have one; without one in the usual
    /// directory, a server may still be at the usual address.
    fn local_api(&self) -> Outcome<String> {
        let directory = self.directory();
        if let Some(address) = self.address("api") {
            return Ok(format!("http://{address}"));
        }
        if self.data_dir.is_none() {
            return Ok(DEFAULT_URL.to_owned());
        }
        let shown = directory.display();
        let missing = match fs::metadata(directory.join("VERSION")).map_err(|error| error.kind()) {
            Ok(_) if directory.join("addresses.json").exists() => {
                format!("the server in {shown} serves no api: start it with --listen-api")
            }
            Ok(_) => format!("no server runs in {shown}: start it with `drover up --data-dir {shown}`"),
            Err(ErrorKind::NotFound) if directory.is_dir() => {
                format!("{shown} holds no data of Drover: name the directory of a server with --data-dir")
            }
            Err(ErrorKind::NotADirectory) => {
                format!("{shown} is a file: name the directory of a server with --data-dir")
            }
            Err(ErrorKind::NotFound) => {
                format!("there is no directory {shown}: name the directory of a server with --data-dir")
            }
            Err(kind) => format!("can't look into {shown} ({kind}): ask as the user who runs drover"),
        };
        Err(Failure::new(Code::Unreachable, format!("{missing}, or name a server with --url")))
    }

    /// The MQTT username of a device or an application of the tenant that is meant.
    pub fn username(&self, name: &str) -> String {
        match &self.tenant {
            Some(tenant) if tenant != "default" => format!("{name}@{tenant}"),
            _ => name.to_owned(),
        }
    }
}

/// An address from `addresses.json` of a data directory.
pub fn address_in(directory: &Path, name: &str) -> Option<String> {
    let text = fs::read_to_string(directory.join("addresses.json")).ok()?;
    let addresses: Value = serde_json::from_str(&text).ok()?;
    addresses.get(name)?.as_str().map(str::to_owned)
}

/// The administrator's token of a data directory; none where there is none.
fn token_in(directory: &Path) -> Outcome<Option<String>> {
    let path = directory.join("admin.token");
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.trim().to_owned()).filter(|token| !token.is_empty())),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => {
            let path = path.display();
            let message =
                format!("can't read {path} ({error}): ask as the user who runs drover, or give --token");
            Err(Failure::new(Code::Denied, message))
        }
    }
}

/// A connection to the API, for one command.
pub struct Client {
    http: reqwest::Client,
    base: String,
    token: Option<String>,
    /// The file in which there was no token, when none was given.
    looked_for: Option<PathBuf>,
    /// The saved context that named it.
    context: Option<String>,
    tenant: Option<String>,
}

/// What `/v1/health` answers.
pub struct Health {
    pub date: Option<String>,
    pub body: Value,
}

/// Query parameters.
pub type Query = Vec<(&'static str, String)>;

impl Client {
    pub fn base(&self) -> &str {
        &self.base
    }

    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    pub async fn get(&self, path: &str, query: &Query) -> Outcome<Value> {
        let response =
            self.send(self.request(Method::GET, path).query(query).timeout(ANSWER_TIMEOUT)).await?;
        self.json(response).await
    }

    /// The answer, and the path of what follows it when it is not all (RFC 8288).
    pub async fn get_linked(&self, path: &str) -> Outcome<(Value, Option<String>)> {
        let response = self.send(self.request(Method::GET, path).timeout(ANSWER_TIMEOUT)).await?;
        let link = response.headers().get(LINK).and_then(|link| link.to_str().ok());
        let next = link.filter(|link| link.ends_with("rel=\"next\""));
        let next =
            next.and_then(|link| link.strip_prefix('<')?.split_once('>')).map(|(path, _)| path.to_owned());
        Ok((self.json(response).await?, next))
    }

    pub async fn write(&self, method: Method, path: &str, body: &Value) -> Outcome<Value> {
        let response = self.send(self.request(method, path).json(body).timeout(ANSWER_TIMEOUT)).await?;
        self.json(response).await
    }

    pub async fn delete(&self, path: &str) -> Outcome {
        self.send(self.request(Method::DELETE, path).timeout(ANSWER_TIMEOUT)).await.map(drop)
    }

    /// A GET of a stream of events, without a deadline for the whole answer, behind an event of an earlier one if its id isn't empty. A
    /// server that has no room or is not ready is one that can't be reached: it may be later.
    pub async fn stream(&self, (path, query): (&str, &Query), last_id: &str) -> Outcome<Response> {
        let mut request = self.request(Method::GET, path).query(query);
        if !last_id.is_empty() {
            request = request.header("last-event-id", last_id);
        }
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let is_away = response.status() == StatusCode::SERVICE_UNAVAILABLE;
        let later = |failure: Failure| {
            if is_away { Failure::new(Code::Unreachable, failure.message) } else { failure }
        };
        self.checked(response).await.map_err(later)
    }

    /// A POST without a body and without a deadline for the whole answer.
    pub async fn begin(&self, path: &str) -> Outcome<Response> {
        self.send(self.request(Method::POST, path)).await
    }

    /// A POST whose answer is wanted in a form, without a deadline for the whole of it.
    pub async fn ask(&self, path: &str, body: &Value, form: &str) -> Outcome<Response> {
        self.send(self.request(Method::POST, path).json(body).header(ACCEPT, form)).await
    }

    /// The status and JSON of an answer whatever its status is.
    pub async fn probe(&self, path: &str) -> Outcome<(StatusCode, Value)> {
        let request = self.request(Method::GET, path).timeout(ANSWER_TIMEOUT);
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        Ok((status, self.json(response).await?))
    }

    /// The health, whatever it is, and the time that the server gives its answer.
    pub async fn health(&self) -> Outcome<Health> {
        let request = self.request(Method::GET, "/v1/health").timeout(ANSWER_TIMEOUT);
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let date = response.headers().get(DATE).and_then(|date| date.to_str().ok()).map(str::to_owned);
        Ok(Health { date, body: self.json(response).await? })
    }

    /// The items of a list, over as many pages as it takes to have `limit`.
    pub async fn list(&self, path: &str, query: &Query, limit: usize) -> Outcome<Vec<Value>> {
        self.list_of(path, query, limit, |item| item).await
    }

    /// As [`Self::list`], of which only what `keep` makes of an item is held.
    pub async fn list_of(
        &self,
        path: &str,
        query: &Query,
        limit: usize,
        keep: fn(Value) -> Value,
    ) -> Outcome<Vec<Value>> {
        let mut items = Vec::new();
        let mut token = None;
        while items.len() < limit {
            let mut query = query.clone();
            query.push(("page_size", PAGE_SIZE.min(limit - items.len()).to_string()));
            query.extend(token.take().map(|token| ("page_token", token)));
            let mut page = self.get(path, &query).await?;
            token = next_page(&page);
            if let Some(Value::Array(more)) = page.get_mut("items").map(Value::take) {
                items.extend(more.into_iter().map(keep));
            }
            if token.is_none() {
                break;
            }
        }
        items.truncate(limit);
        Ok(items)
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(tenant) = &self.tenant {
            request = request.header("x-drover-tenant", tenant);
        }
        request
    }

    async fn send(&self, request: RequestBuilder) -> Outcome<Response> {
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        self.checked(response).await
    }

    /// The answer, if the server did what was asked.
    async fn checked(&self, response: Response) -> Outcome<Response> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let problem = response.json().await.unwrap_or(Value::Null);
        Err(refusal(status, &problem, &self.tried()))
    }

    /// What became of the token, for a server that wants another.
    fn tried(&self) -> String {
        if let Some(context) = &self.context {
            return format!(
                "the server does not know the token (context {context}; `drover login` saves another)"
            );
        }
        match (&self.token, &self.looked_for) {
            (Some(_), _) => "the server does not know this token".to_owned(),
            (None, Some(path)) => format!("a token is needed, and there is none in {}", path.display()),
            (None, None) => "a token is needed".to_owned(),
        }
    }

    async fn json(&self, response: Response) -> Outcome<Value> {
        response.json().await.map_err(|error| {
            Failure::failed(format!("{} does not answer like Drover: {}", self.base, innermost(&error)))
        })
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        if error.is_builder() {
            return Failure::new(
                Code::Usage,
                format!("`{}` is not an address: give --url like {DEFAULT_URL}", self.base),
            );
        }
        let reason = if error.is_timeout() { "no answer in time".to_owned() } else { innermost(error) };
        Failure::new(
            Code::Unreachable,
            format!(
                "no Drover answers at {}{} ({reason}): start one with `drover up`, or name it with --url or --data-dir",
                self.base,
                self.context.as_ref().map(|name| format!(", context {name}")).unwrap_or_default()
            ),
        )
    }
}

/// The token of the page after this one.
pub fn next_page(page: &Value) -> Option<String> {
    let token = page.get("next_page_token").and_then(Value::as_str);
    token.filter(|token| !token.is_empty()).map(str::to_owned)
}

/// The first cause of an error, which says most.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

/// The message of an RFC 9457 problem, with what to do next.
fn refusal(status: StatusCode, problem: &Value, tried: &str) -> Failure {
    let text = |key: &str| problem.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let mut message =
        text("detail").or_else(|| text("title")).map_or_else(|| format!("answer {status}"), str::to_owned);
    message = in_commands(&message);
    let code = match status {
        StatusCode::NOT_FOUND => Code::NotFound,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Code::Denied,
        _ => Code::Failed,
    };
    if status == StatusCode::UNAUTHORIZED {
        message = format!("{tried}: give one with --token or DROVER_TOKEN, or name the server's --data-dir");
    }
    Failure::new(code, message)
}

/// What the API says, with the next step as a command.
fn in_commands(detail: &str) -> String {
    let without_header = detail.strip_prefix("X-Drover-Tenant: ").unwrap_or(detail);
    let said = without_header.split("; make it with POST").next().unwrap_or_default();
    let words: Vec<&str> = said.split(' ').collect();
    let next = match words.as_slice() {
        ["there", "is", "no", "device", _] => "see `drover device list`".to_owned(),
        ["there", "is", "no", "tenant", id] => {
            format!("see `drover tenant list`, or make it with `drover tenant create {id}`")
        }
        ["there", "is", "no", "API", "key", _] => "see `drover api-key list`".to_owned(),
        ["device", id, "has", "no", "credential", _] => format!("see `drover credential list {id}`"),
        ["device", id, "exists", "already"] => {
            format!("see `drover device get {id}`, or change it with `drover device update {id}`")
        }
        ["tenant", _, "exists", "already"] => "see `drover tenant list`".to_owned(),
        ["API", "key", id, "exists", "already"] => format!("see `drover api-key get {id}`"),
        _ => return detail.to_owned(),
    };
    format!("{said}: {next}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_problem_is_told_by_its_detail() {
        let problem = json!({"title": "Invalid", "detail": "id: has a character that is not allowed"});
        let failure = refusal(StatusCode::BAD_REQUEST, &problem, "");
        assert_eq!(
            (failure.code, failure.message.as_str()),
            (Code::Failed, "id: has a character that is not allowed")
        );
        assert_eq!(refusal(StatusCode::CONFLICT, &json!({"title": "Exists"}), "").message, "Exists");
    }

    #[test]
    fn the_next_step_is_a_command() {
        for (detail, expected) in [
            ("there is no device nope", "there is no device nope: see `drover device list`"),
            (
                "device pump exists already",
                "device pump exists already: see `drover device get pump`, or change it with `drover device update pump`",
            ),
            (
                "X-Drover-Tenant: there is no tenant x; make it with POST /v1/tenants, or see GET /v1/tenants",
                "there is no tenant x: see `drover tenant list`, or make it with `drover tenant create x`",
            ),
            ("there is no API key k", "there is no API key k: see `drover api-key list`"),
            ("limit: 0 is out of range", "limit: 0 is out of range"),
        ] {
            assert_eq!(in_commands(detail), expected);
        }
    }

    #[test]
    fn the_exit_code_tells_missing_from_denied() {
        assert_eq!(refusal(StatusCode::NOT_FOUND, &Value::Null, "").code, Code::NotFound);
        assert_eq!(refusal(StatusCode::FORBIDDEN, &Value::Null, "").code, Code::Denied);
        assert_eq!(refusal(StatusCode::CONFLICT, &Value::Null, "").code, Code::Failed);
    }

    #[test]
    fn without_a_token_the_refusal_says_how_to_give_one() {
        let failure = refusal(StatusCode::UNAUTHORIZED, &Value::Null, "a token is needed");
        assert_eq!(failure.code, Code::Denied);
        assert!(failure.message.contains("--token"), "{failure}");
    }

    #[test]
    fn the_token_file_is_not_sent_to_a_server_named_by_url_alone() {
        let target = Target { url: Some("http://127.0.0.1:1".into()), ..Target::default() };
        assert!(target.client().unwrap().token.is_none());
        assert!(target.address("mqtt").is_none());
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_told_with_the_next_step() {
        // Port 1 is bound by nobody without being root.
        let target = Target { url: Some("http://127.0.0.1:1".into()), ..Target::default() };
        let failure = target.client().unwrap().get("/v1/health", &Query::new()).await.unwrap_err();
        assert_eq!(failure.code, Code::Unreachable);
        assert!(failure.message.contains("drover up"), "{failure}");
    }

    #[test]
    fn an_address_comes_from_the_data_directory() {
        let directory = std::env::temp_dir().join(format!("drover-client-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("addresses.json"), r#"{"api":"127.0.0.1:4711"}"#).unwrap();
        fs::write(directory.join("admin.token"), "drv_x\n").unwrap();
        let target = Target { data_dir: Some(directory.clone()), ..Target::default() };
        let client = target.client().unwrap();
        assert_eq!((client.base(), client.token.as_deref()), ("http://127.0.0.1:4711", Some("drv_x")));
        fs::remove_dir_all(directory).unwrap();
    }
}
