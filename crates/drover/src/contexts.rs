//! Saved contexts: servers that `drover login` was told of, each with its token, in one file of the user's that only they may read.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;
use toml::{Table, Value};

use crate::failure::{Code, Failure, Outcome};

/// The file in the user's folder of settings.
const FILE: &str = "contexts.toml";

/// A server and as whom to speak to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    pub url: String,
    pub token: String,
    pub tenant: Option<String>,
}

/// All that are saved, and which of them is in use.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Contexts {
    pub current: Option<String>,
    pub by_name: BTreeMap<String, Context>,
}

/// The file: in `directory` when that is given, else where the user's settings are (`XDG_CONFIG_HOME`, or `~/.config`).
pub fn file(directory: Option<&Path>) -> Outcome<PathBuf> {
    if let Some(directory) = directory {
        return Ok(directory.join(FILE));
    }
    let strategy = etcetera::choose_base_strategy().map_err(|error| {
        Failure::failed(format!("no folder for settings is known ({error}): name one with DROVER_CONFIG_DIR"))
    })?;
    Ok(strategy.config_dir().join("drover").join(FILE))
}

impl Contexts {
    /// What a file holds; nothing when there is none.
    pub fn load(file: &Path) -> Outcome<Self> {
        match fs::read_to_string(file) {
            Ok(text) => {
                Self::parse(&text).map_err(|detail| Failure::failed(format!("{}: {detail}", file.display())))
            }
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                Ok(Self::default())
            }
            Err(error) => Err(Failure::failed(format!("can't read {}: {error}", file.display()))),
        }
    }

    /// Writes the file anew, whole or not at all, readable by its owner only.
    pub fn save(&self, file: &Path) -> Outcome {
        let written = || -> std::io::Result<()> {
            let folder = file.parent().unwrap_or_else(|| Path::new("."));
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            let temporary = file.with_extension(format!("{}.tmp", std::process::id()));
            let _ = fs::remove_file(&temporary);
            let mut open = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
            open.write_all(self.text().as_bytes())?;
            open.sync_all()?;
            fs::rename(&temporary, file)
        };
        written().map_err(|error| Failure::failed(format!("can't write {}: {error}", file.display())))
    }

    /// One by its name.
    pub fn get(&self, name: &str) -> Outcome<&Context> {
        self.by_name.get(name).ok_or_else(|| {
            Failure::new(
                Code::NotFound,
                format!(
                    "there is no context {name}: see `drover context list`, or make it with `drover login`"
                ),
            )
        })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let table: Table = text.parse().map_err(|error: toml::de::Error| error.message().to_owned())?;
        let current = table.get("current").and_then(Value::as_str).map(str::to_owned);
        let mut by_name = BTreeMap::new();
        for (name, context) in table.get("context").and_then(Value::as_table).into_iter().flatten() {
            let text = |key: &str| context.get(key).and_then(Value::as_str).map(str::to_owned);
            let (Some(url), Some(token)) = (text("url"), text("token")) else {
                return Err(format!("context {name} has no url or no token"));
            };
            by_name.insert(name.clone(), Context { url, token, tenant: text("tenant") });
        }
        Ok(Self { current, by_name })
    }

    fn text(&self) -> String {
        let mut table = Table::new();
        if let Some(current) = &self.current {
            table.insert("current".into(), Value::String(current.clone()));
        }
        let contexts = self.by_name.iter().map(|(name, context)| {
            let pairs = [
                ("url", Some(&context.url)),
                ("token", Some(&context.token)),
                ("tenant", context.tenant.as_ref()),
            ];
            let pairs = pairs.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
            (name.clone(), Value::Table(pairs.map(|(key, value)| (key, value.clone().into())).collect()))
        });
        let contexts: Table = contexts.collect();
        if !contexts.is_empty() {
            table.insert("context".into(), Value::Table(contexts));
        }
        format!("# Servers and tokens that `drover login` saved; see `drover context`.\n{table}")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn two() -> Contexts {
        let context = |url: &str, tenant| Context { url: url.into(), token: "drv_\"x\"".into(), tenant };
        let by_name =
            [("lab", context("http://lab:8080", None)), ("a.b", context("https://a", Some("acme".into())))];
        Contexts {
            current: Some("lab".into()),
            by_name: by_name.map(|(name, context)| (name.to_owned(), context)).into(),
        }
    }

    #[test]
    fn what_was_saved_is_loaded_and_only_the_owner_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deep/drover").join(FILE);
        assert_eq!(Contexts::load(&file).unwrap(), Contexts::default());
        two().save(&file).unwrap();
        two().save(&file).unwrap();
        assert_eq!(Contexts::load(&file).unwrap(), two());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn a_file_that_is_not_ours_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE);
        for text in ["x = [", "[context.a]\nurl = \"x\""] {
            fs::write(&file, text).unwrap();
            assert!(Contexts::load(&file).unwrap_err().message.contains(FILE));
        }
    }
}
