//! Query parameters. The parameters that a call knows are those of its documentation; others are refused.

use std::str::FromStr;

use axum::extract::FromRequestParts;
use drover_model::Timestamp;
use http::request::Parts;
use utoipa::IntoParams;

use crate::error::Problem;

/// Most pairs of one query.
const MAX_PAIRS: usize = 256;

/// Query parameters, already checked.
pub struct Query<T>(pub T);

/// A set of query parameters that can be read.
pub trait ReadQuery: IntoParams + Sized {
    fn read(pairs: &Pairs) -> Result<Self, Problem>;
}

impl<S: Send + Sync, T: ReadQuery> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let pairs = Pairs::parse::<T>(parts.uri.query().unwrap_or_default())?;
        T::read(&pairs).map(Self)
    }
}

/// The pairs of a query.
pub struct Pairs(Vec<(String, String)>);

impl Pairs {
    fn parse<T: IntoParams>(query: &str) -> Result<Self, Problem> {
        let pairs: Vec<(String, String)> =
            form_urlencoded::parse(query.as_bytes()).into_owned().take(MAX_PAIRS + 1).collect();
        if pairs.len() > MAX_PAIRS {
            return Err(Problem::field("query", format!("more than {MAX_PAIRS} parameters")));
        }
        if !pairs.is_empty() {
            let known = T::into_params(|| None);
            for (name, _) in &pairs {
                if !known.iter().any(|parameter| parameter.name == *name) {
                    let names: Vec<_> = known.iter().map(|parameter| parameter.name.as_str()).collect();
                    return Err(unknown(name, &names));
                }
            }
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

fn unknown(name: &str, known: &[&str]) -> Problem {
    let name: String = name.chars().take(64).collect();
    if known.is_empty() {
        return Problem::field(&name, "is not a parameter of this call, which takes none");
    }
    Problem::field(&name, format!("is not a parameter of this call; it knows {}", known.join(", ")))
}
