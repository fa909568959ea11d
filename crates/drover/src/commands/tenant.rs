//! `drover tenant`: tenants of an installation. For platform administrators.

use clap::Subcommand;
use drover_model::TenantId;
use reqwest::Method;
use serde_json::json;

use super::LIST_LIMIT;
use crate::client::{Query, Target};
use crate::failure::Outcome;
use crate::output::{Column, Output, field};

#[derive(Subcommand)]
pub enum TenantCommand {
    /// Make a tenant
    Create {
        id: TenantId,
        /// A name for people; the id when absent
        #[arg(long)]
        name: Option<String>,
    },
    /// All tenants by id
    List {
        /// The most to show
        #[arg(long, default_value_t = LIST_LIMIT, value_name = "N")]
        limit: usize,
    },
}

const COLUMNS: &[Column] =
    &[("ID", |t| field(t, "/id")), ("NAME", |t| field(t, "/name")), ("CREATED", |t| field(t, "/created"))];

pub async fn run(command: TenantCommand, target: &Target, output: Output) -> Outcome {
    let client = target.client()?;
    match command {
        TenantCommand::Create { id, name } => {
            let mut body = json!({ "id": id.as_str() });
            if let Some(name) = name {
                body["name"] = json!(name);
            }
            output.object(COLUMNS, &client.write(Method::POST, "/v1/tenants", &body).await?)
        }
        TenantCommand::List { limit } => {
            output.list(COLUMNS, client.list("/v1/tenants", &Query::new(), limit).await?)
        }
    }
}
