//! Query parameters. The parameters that a call knows are those of its documentation; others are refused, for all calls in one place.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::Arc;

use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use drover_model::Timestamp;
use http::Method;
use http::request::Parts;
use utoipa::openapi::path::{Operation, Parameter, ParameterIn};
use utoipa::openapi::{OpenApi, RefOr};

use crate::error::Problem;

/// Most pairs of one query.
const MAX_PAIRS: usize = 256;

/// Method and path.
type Call = (Method, String);

/// The query parameters of every call of a document; cheap to clone.
#[derive(Clone)]
pub struct Known(Arc<HashMap<Call, Vec<String>>>);

impl Known {
    pub fn of(document: &OpenApi) -> Self {
        let mut calls = HashMap::new();
        for (path, item) in &document.paths.paths {
            let operations = [
                (Method::GET, &item.get),
                (Method::POST, &item.post),
                (Method::PUT, &item.put),
                (Method::PATCH, &item.patch),
                (Method::DELETE, &item.delete),
            ];
            for (method, operation) in operations {
                if let Some(operation) = operation {
                    calls.insert((method, path.clone()), names(operation));
                }
            }
        }
        Self(Arc::new(calls))
    }

    fn check(&self, method: &Method, path: &str, query: &str) -> Result<(), Problem> {
        let method = if method == Method::HEAD { Method::GET } else { method.clone() };
        // A method that the path does not have is refused elsewhere.
        let Some(known) = self.0.get(&(method, path.to_owned())) else { return Ok(()) };
        match Pairs::parse(query)?.0.iter().find(|(name, _)| !known.contains(name)) {
            Some((name, _)) => Err(unknown(name, known)),
            None => Ok(()),
        }
    }
}

fn names(operation: &Operation) -> Vec<String> {
    let name = |parameter: &RefOr<Parameter>| match parameter {
        RefOr::T(parameter) if parameter.parameter_in == ParameterIn::Query => Some(parameter.name.clone()),
        RefOr::T(_) | RefOr::Ref(_) => None,
    };
    operation.parameters.iter().flatten().filter_map(name).collect()
}

/// Lets a request pass that has no parameter but those of its call.
pub async fn refuse_unknown(
    State(known): State<Known>,
    path: MatchedPath,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    if let Some(query) = request.uri().query() {
        known.check(request.method(), path.as_str(), query)?;
    }
    Ok(next.run(request).await)
}

/// Query parameters, already checked.
pub struct Query<T>(pub T);

/// A set of query parameters that can be read.
pub trait ReadQuery: Sized {
    fn read(pairs: &Pairs) -> Result<Self, Problem>;
}

impl<S: Send + Sync, T: ReadQuery> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let pairs = Pairs::parse(parts.uri.query().unwrap_or_default())?;
        T::read(&pairs).map(Self)
    }
}

/// The pairs of a query.
pub struct Pairs(Vec<(String, String)>);

impl Pairs {
    fn parse(query: &str) -> Result<Self, Problem> {
        let pairs: Vec<(String, String)> =
            form_urlencoded::parse(query.as_bytes()).into_owned().take(MAX_PAIRS + 1).collect();
        if pairs.len() > MAX_PAIRS {
            return Err(Problem::field("query", format!("more than {MAX_PAIRS} parameters")));
        }
        Ok(Self(pairs))
    }

    /// All values of a parameter that may be repeated.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The value of a parameter that may stand once.
    pub fn one<'a>(&'a self, name: &'a str) -> Result<Option<&'a str>, Problem> {
        let mut values = self.all(name);
        match (values.next(), values.next()) {
            (_, Some(_)) => Err(Problem::field(name, "is given more than once")),
            (value, None) => Ok(value),
        }
    }

    pub fn text(&self, name: &str) -> Result<String, Problem> {
        Ok(self.one(name)?.unwrap_or_default().to_owned())
    }

    /// A whole number from 1 to `max`.
    pub fn number(&self, name: &str, max: u32) -> Result<Option<u32>, Problem> {
        let Some(text) = self.one(name)? else { return Ok(None) };
        match text.parse() {
            Ok(number) if (1..=max).contains(&number) => Ok(Some(number)),
            Ok(_) => Err(Problem::field(name, format!("{text} is out of range; use 1 to {max}"))),
            Err(_) => Err(Problem::field(name, format!("{text:?} is not a number; use 1 to {max}"))),
        }
    }

    pub fn time(&self, name: &str) -> Result<Option<Timestamp>, Problem> {
        let parse = |text| Timestamp::parse(text).map_err(|error| Problem::field(name, error));
        self.one(name)?.map(parse).transpose()
    }

    /// Values separated by commas; no empty ones.
    pub fn separated<T>(&self, name: &str, max: usize) -> Result<Vec<T>, Problem>
    where
        T: FromStr,
        T::Err: std::fmt::Display,
    {
        let Some(text) = self.one(name)? else { return Ok(Vec::new()) };
        let values: Result<Vec<T>, Problem> = text
            .split(',')
            .filter(|item| !item.is_empty())
            .take(max + 1)
            .map(|item| item.parse().map_err(|error| Problem::field(name, error)))
            .collect();
        let values = values?;
        if values.len() > max {
            return Err(Problem::field(name, format!("has more than {max} values")));
        }
        Ok(values)
    }
}

fn unknown(name: &str, known: &[String]) -> Problem {
    let name: String = name.chars().take(64).collect();
    if known.is_empty() {
        return Problem::field(&name, "is not a parameter of this call, which takes none");
    }
    Problem::field(&name, format!("is not a parameter of this call; it knows {}", known.join(", ")))
}
