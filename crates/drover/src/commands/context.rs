//! `drover context`: the servers that `drover login` saved. Tokens are never shown.

use clap::Subcommand;
use serde_json::{Value, json};

use super::login::name;
use crate::client::Target;
use crate::contexts::{Contexts, file};
use crate::failure::Outcome;
use crate::output::{Column, Format, Output, field};

#[derive(Subcommand)]
pub enum ContextCommand {
    /// Saved servers; the one in use has a star
    List,
    /// Let later commands go to this one
    Use {
        #[arg(value_parser = name)]
        name: String,
    },
    /// Forget a server and its token
    Forget {
        #[arg(value_parser = name)]
        name: String,
    },
}

const COLUMNS: &[Column] = &[
    ("", |c| if c.pointer("/current") == Some(&Value::Bool(true)) { "*".to_owned() } else { String::new() }),
    ("NAME", |c| field(c, "/name")),
    ("URL", |c| field(c, "/url")),
    ("TENANT", |c| field(c, "/tenant")),
];

pub fn run(command: ContextCommand, target: &Target, output: Output) -> Outcome {
    let file = file(target.config_dir.as_deref())?;
    let mut contexts = Contexts::load(&file)?;
    match command {
        ContextCommand::List => {
            let item = |(name, context): (&String, &crate::contexts::Context)| {
                let current = contexts.current.as_ref() == Some(name);
                json!({ "name": name, "url": context.url, "tenant": context.tenant, "current": current })
            };
            let items: Vec<Value> = contexts.by_name.iter().map(item).collect();
            if items.is_empty() && output.format == Format::Table {
                output.note("drover: no server is saved: `drover login URL` saves one");
                return Ok(());
            }
            output.list(COLUMNS, items)
        }
        ContextCommand::Use { name } => {
            contexts.get(&name)?;
            contexts.current = Some(name);
            contexts.save(&file)
        }
        ContextCommand::Forget { name } => {
            contexts.get(&name)?;
            contexts.by_name.remove(&name);
            contexts.current.take_if(|current| *current == name);
            contexts.save(&file)
        }
    }
}
