//! Prints the answer to a query, its columns in their order.

use serde_json::Value;

use crate::failure::Outcome;
use crate::output::{Format, Output, note, plain, shortened};

/// As a table, or as the server gave it.
pub fn print(output: Output, answer: &Value) -> Outcome {
    let missing: Vec<String> = list(answer, "incomplete").iter().map(plain).collect();
    if !missing.is_empty() {
        note(&format!("drover: the answer is incomplete, these could not be read: {}", missing.join(", ")));
    }
    if output.format != Format::Table {
        return output.value(answer);
    }
    let (titles, rows) = table(answer);
    if titles == ["plan_type", "plan"] {
        // A plan has lines of its own.
        let mut plans = list(answer, "rows").iter().filter_map(|row| row.get("plan").and_then(Value::as_str));
        return plans.try_for_each(|plan| output.line(plan.trim_end()));
    }
    output.rows(&titles, rows)
}

pub fn rows(answer: &Value) -> usize {
    list(answer, "rows").len()
}

fn table(answer: &Value) -> (Vec<String>, Vec<Vec<String>>) {
    let columns = list(answer, "columns").iter();
    let names: Vec<String> =
        columns.filter_map(|column| Some(column.get("name")?.as_str()?.to_owned())).collect();
    let cell = |row: &Value, name: &String| match row.get(name) {
        None | Some(Value::Null) => String::new(),
        Some(value) => shortened(&plain(value)),
    };
    let rows = list(answer, "rows").iter().map(|row| names.iter().map(|name| cell(row, name)).collect());
    let rows = rows.collect();
    (names, rows)
}

fn list<'a>(answer: &'a Value, name: &str) -> &'a [Value] {
    answer.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_keep_the_order_of_the_query_and_null_is_empty() {
        let answer = json!({
            "columns": [{"name": "z", "type": "text"}, {"name": "a", "type": "number"}],
            "rows": [{"a": 1.5, "z": "x"}, {"a": null, "z": "y"}]
        });
        let (titles, cells) = table(&answer);
        assert_eq!(titles, ["z", "a"]);
        assert_eq!(cells, [["x", "1.5"], ["y", ""]]);
        assert_eq!(rows(&answer), 2);
    }
}
