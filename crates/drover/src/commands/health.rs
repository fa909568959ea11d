//! `drover health`: which parts of the server are well. A sick part is a failure, so that scripts can ask.

use serde_json::{Map, Value};

use crate::client::Target;
use crate::failure::{Failure, Outcome};
use crate::output::{Format, Output, field};

pub async fn run(target: &Target, output: Output) -> Outcome {
    let client = target.client()?;
    let (status, health) = client.probe("/v1/health").await?;
    if output.format == Format::Table {
        let titles = ["PART", "STATUS", "DETAIL"].map(str::to_owned);
        output.rows(&titles, rows(&health))?;
    } else {
        output.value(&health)?;
    }
    if status.is_success() {
        return Ok(());
    }
    Err(Failure::failed(format!("{} is {}", client.base(), field(&health, "/status"))))
}

fn rows(health: &Value) -> Vec<Vec<String>> {
    let empty = Map::new();
    let parts = health.get("parts").and_then(Value::as_object).unwrap_or(&empty);
    parts
        .iter()
        .map(|(name, part)| vec![name.clone(), field(part, "/status"), field(part, "/detail")])
        .collect()
}
