//! Settings in layers: each section's `default.toml` < file < `DROVER_<SECTION>__<KEY>` < flags. What no default names is an error.
//! The environment is read here and nowhere else.

mod environment;
mod nearest;
mod section;
mod show;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use toml::{Table, Value};

pub use environment::environment;
use nearest::nearest;
pub use section::{Range, Section};

/// The runtime's own sections.
const RUNTIME_DEFAULTS: &str = include_str!("../default.toml");
/// Largest file that is read as settings.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Where a value was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A file.
    File(PathBuf),
    /// A variable of the environment.
    Variable(String),
    /// A flag of the command line.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// Everything that is wrong with the settings, one line each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", problems.join("\n"))]
pub struct ConfigError {
    /// Each names the key and where it was given.
    pub problems: Vec<String>,
}

impl ConfigError {
    fn one(problem: String) -> Self {
        Self { problems: vec![problem] }
    }
}

/// What the layers are made of, lowest first.
#[derive(Debug, Default)]
pub struct Sources<'a> {
    /// Sections of the parts: name and `default.toml`, which holds the section's keys without a header.
    pub sections: &'a [(&'a str, &'a str)],
    /// A file that must be there.
    pub file: Option<PathBuf>,
    /// Files of which the first that is there counts, when none was given.
    pub search: Vec<PathBuf>,
    /// Variables, as [`environment`] gives them.
    pub variables: Vec<(String, String)>,
    /// Dotted key, value and name of each flag.
    pub flags: Vec<(String, Value, String)>,
}

/// The settings in force and where each comes from.
#[derive(Debug, Clone)]
pub struct Layers {
    sections: Vec<String>,
    defaults: Table,
    values: Table,
    origins: BTreeMap<String, Origin>,
}

impl Layers {
    /// Puts the layers over one another.
    ///
    /// # Errors
    /// All unknown keys, wrong types and unreadable files at once.
    pub fn load(sources: Sources<'_>) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        let layers = Self::load_or(sources, &mut problems)?;
        if problems.is_empty() { Ok(layers) } else { Err(ConfigError { problems }) }
    }

    /// As [`Self::load`], for a caller who wants to know all that is wrong: it is added to `problems`, and the default
    /// stands in its place.
    ///
    /// # Errors
    /// A broken `default.toml`, which no user can mend.
    pub fn load_or(sources: Sources<'_>, problems: &mut Vec<String>) -> Result<Self, ConfigError> {
        let mut layers = Self::defaults(sources.sections)?;
        match read_file(sources.file, sources.search) {
            Ok(Some((path, table))) => layers.overlay(&table, "", &Origin::File(path), problems),
            Ok(None) => {}
            Err(error) => problems.extend(error.problems),
        }
        for (name, text) in sources.variables {
            match environment::setting(&name, &layers) {
                Ok(Some(key)) => layers.set_text(&key, &text, &Origin::Variable(name), problems),
                Ok(None) => {}
                Err(problem) => problems.push(problem),
            }
        }
        for (key, value, flag) in sources.flags {
            layers.set(&key, value, &Origin::Flag(flag), problems);
        }
        Ok(layers)
    }

    /// One section as its type, checked.
    ///
    /// # Errors
    /// Every number out of its range, every value of a wrong kind, and all that the section itself finds wrong.
    pub fn section<T: Section>(&self, name: &str) -> Result<T, ConfigError> {
        section::read(self, name).map_err(|problems| {
            let said = problems.into_iter().map(|(key, problem)| {
                let key = if key.is_empty() { format!("section [{name}]") } else { format!("{name}.{key}") };
                let origin = self.origin(&key).map(|origin| format!(" ({origin})")).unwrap_or_default();
                format!("{key}{origin}: {problem}")
            });
            ConfigError { problems: said.collect() }
        })
    }

    /// As [`Self::section`], for a caller who wants to know all that is wrong: it is added to `problems`.
    pub fn section_or<T: Section>(&self, name: &str, problems: &mut Vec<String>) -> Option<T> {
        self.section(name).map_err(|error| problems.extend(error.problems)).ok()
    }

    /// One value by its dotted key.
    pub fn value(&self, key: &str) -> Option<&Value> {
        at(&self.values, key)
    }

    /// Where a value was given; none for defaults.
    pub fn origin(&self, key: &str) -> Option<&Origin> {
        self.origins.get(key)
    }

    /// The settings in force as TOML: secrets masked, origins of what is not default as comments.
    pub fn show_masked(&self) -> String {
        show::show(&self.sections, &self.values, &self.origins)
    }

    /// The settings in force, secrets masked.
    pub fn masked(&self) -> Table {
        show::masked(&self.values)
    }

    /// Dotted key and origin of everything that is not default.
    pub fn origins(&self) -> &BTreeMap<String, Origin> {
        &self.origins
    }

    /// Every dotted key that there is.
    fn keys(&self) -> Vec<String> {
        let mut keys = Vec::new();
        for (name, value) in &self.values {
            collect_keys(name, Some(value), &mut keys);
        }
        keys
    }

    fn defaults(sections: &[(&str, &str)]) -> Result<Self, ConfigError> {
        let broken = |name: &str, error: toml::de::Error| {
            ConfigError::one(format!("default.toml of {name}: {}", error.message()))
        };
        let mut values: Table = RUNTIME_DEFAULTS.parse().map_err(|error| broken("runtime", error))?;
        let mut names: Vec<String> =
            ["listen", "log", "logging", "tls", "stop", "process", "runtime"].map(str::to_owned).into();
        for (name, text) in sections {
            let table: Table = text.parse().map_err(|error| broken(name, error))?;
            values.insert((*name).to_owned(), Value::Table(table));
            names.push((*name).to_owned());
        }
        Ok(Self { sections: names, defaults: values.clone(), values, origins: BTreeMap::new() })
    }

    fn overlay(&mut self, table: &Table, prefix: &str, origin: &Origin, problems: &mut Vec<String>) {
        for (name, value) in table {
            let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
            match (self.value(&key), value) {
                (Some(Value::Table(_)), Value::Table(inner)) => self.overlay(inner, &key, origin, problems),
                _ => self.set(&key, value.clone(), origin, problems),
            }
        }
    }

    /// A variable's text: a bare text where the default is one, TOML elsewhere.
    fn set_text(&mut self, key: &str, text: &str, origin: &Origin, problems: &mut Vec<String>) {
        let parsed =
            format!("value = {text}").parse::<Table>().ok().and_then(|mut table| table.remove("value"));
        let value = match (self.value(key), parsed) {
            (Some(Value::String(_)), Some(quoted @ Value::String(_))) => quoted,
            (Some(Value::String(_)), _) | (_, None) => Value::String(text.to_owned()),
            (_, Some(value)) => value,
        };
        self.set(key, value, origin, problems);
    }

    fn set(&mut self, key: &str, value: Value, origin: &Origin, problems: &mut Vec<String>) {
        let Some(default) = self.value(key) else {
            problems.push(self.unknown(key, &origin.to_string()));
            return;
        };
        match fit(default, value) {
            Some(value) => {
                if let Some(place) = self.place(key) {
                    *place = value;
                    self.origins.insert(key.to_owned(), origin.clone());
                }
            }
            None => problems.push(format!("{key} ({origin}): expected {}", expected(default))),
        }
    }

    fn place(&mut self, key: &str) -> Option<&mut Value> {
        place_in(&mut self.values, key)
    }

    fn unknown(&self, key: &str, origin: &str) -> String {
        let section = key.split('.').next().unwrap_or_default();
        let (what, candidates) = if self.values.contains_key(section) {
            let mut keys = Vec::new();
            collect_keys(section, self.values.get(section), &mut keys);
            (format!("unknown setting {key}"), keys)
        } else {
            (format!("unknown section [{section}]"), self.sections.clone())
        };
        let wanted = if self.values.contains_key(section) { key } else { section };
        format!("{what} ({origin}); nearest: {}", nearest(wanted, &candidates).join(", "))
    }
}

/// The value of a dotted key.
fn at<'a>(table: &'a Table, key: &str) -> Option<&'a Value> {
    let mut parts = key.split('.');
    let first = table.get(parts.next()?)?;
    parts.try_fold(first, |value, part| value.as_table()?.get(part))
}

fn place_in<'a>(table: &'a mut Table, key: &str) -> Option<&'a mut Value> {
    let mut parts = key.split('.');
    let first = table.get_mut(parts.next()?)?;
    parts.try_fold(first, |value, part| value.as_table_mut()?.get_mut(part))
}

fn collect_keys(prefix: &str, value: Option<&Value>, keys: &mut Vec<String>) {
    match value {
        Some(Value::Table(table)) => {
            for (name, inner) in table {
                collect_keys(&format!("{prefix}.{name}"), Some(inner), keys);
            }
        }
        _ => keys.push(prefix.to_owned()),
    }
}

/// The value when it has the default's type. A whole number serves as a fraction.
fn fit(default: &Value, value: Value) -> Option<Value> {
    match (default, value) {
        #[expect(clippy::cast_precision_loss, reason = "settings are far below 2^53")]
        (Value::Float(_), Value::Integer(whole)) => Some(Value::Float(whole as f64)),
        (Value::Table(known), Value::Table(_)) if !known.is_empty() => None,
        (Value::Array(known), Value::Array(given)) => {
            let fits = |item: &Value| known.first().is_none_or(|first| first.same_type(item));
            given.iter().all(fits).then_some(Value::Array(given))
        }
        (default, value) => default.same_type(&value).then_some(value),
    }
}

fn expected(default: &Value) -> String {
    match default {
        Value::String(_) => "a text".to_owned(),
        Value::Integer(_) => format!("a whole number like {default}"),
        Value::Float(_) => format!("a number like {default}"),
        Value::Boolean(_) => "true or false".to_owned(),
        Value::Array(_) => "a list like [\"a\", \"b\"]".to_owned(),
        Value::Table(_) => "a table of settings".to_owned(),
        Value::Datetime(_) => "a time".to_owned(),
    }
}

fn read_file(file: Option<PathBuf>, search: Vec<PathBuf>) -> Result<Option<(PathBuf, Table)>, ConfigError> {
    let Some(path) = file.or_else(|| search.into_iter().find(|path| path.is_file())) else {
        return Ok(None);
    };
    let problem = |detail: String| ConfigError::one(format!("{}: {detail}", path.display()));
    let length = match std::fs::metadata(&path) {
        Ok(file) if file.is_file() => file.len(),
        Ok(_) => return Err(problem("this is no file; name a file of settings with --config".to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let remedy =
                "there is no such file; name another with --config, or write one with `drover config show`";
            return Err(problem(remedy.to_owned()));
        }
        Err(error) => return Err(problem(error.to_string())),
    };
    if length > MAX_FILE_BYTES {
        return Err(problem(format!("{length} bytes are too many for a file of settings")));
    }
    let text = std::fs::read_to_string(&path).map_err(|error| problem(error.to_string()))?;
    let table =
        text.parse().map_err(|error: toml::de::Error| problem(error.to_string().trim().to_owned()))?;
    Ok(Some((path, table)))
}
