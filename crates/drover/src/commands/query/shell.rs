//! The shell for queries: lines with history and completion, a query up to its semicolon, Ctrl-C for one that takes too long.

use std::borrow::Cow;
use std::path::PathBuf;
use std::time::Instant;

use etcetera::{BaseStrategy, choose_base_strategy};
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Config, Context, Editor, Helper, Hinter};
use serde_json::Value;

use super::{answer, ask};
use crate::client::Client;
use crate::failure::{Code, Failure, Outcome};
use crate::output::{Output, note};

/// Queries that are remembered.
const HISTORY: usize = 1_000;
const HELP: &str = "\
A query ends with ; and may span lines. Ctrl-C ends a query that takes too long, Ctrl-D leaves.
  \\d           the tables
  \\d NAME      the columns of a table
  \\q           leave";
const TABLES: &str =
    "SELECT table_name AS \"table\" FROM information_schema.tables WHERE table_schema = 'tenant' ORDER BY 1";
const COLUMNS: &str = "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'tenant' ORDER BY 1, 2";
const WORDS: [&str; 48] = [
    "SELECT",
    "FROM",
    "WHERE",
    "GROUP BY",
    "ORDER BY",
    "LIMIT",
    "AS",
    "AND",
    "OR",
    "NOT",
    "IN",
    "BETWEEN",
    "LIKE",
    "JOIN",
    "LEFT JOIN",
    "USING",
    "ON",
    "WITH",
    "HAVING",
    "DISTINCT",
    "CASE",
    "WHEN",
    "THEN",
    "ELSE",
    "END",
    "NULL",
    "IS",
    "INTERVAL",
    "TIMESTAMP",
    "DESC",
    "ASC",
    "EXPLAIN",
    "DESCRIBE",
    "SHOW TABLES",
    "count(*)",
    "avg(",
    "min(",
    "max(",
    "sum(",
    "median(",
    "first(",
    "last(",
    "percentile(",
    "time_bucket(",
    "time_buckets(",
    "now()",
    "coalesce(",
    "date_trunc(",
];

/// Reads and answers until the end of input.
pub async fn run(client: &Client, output: Output, timeout: Option<u32>) -> Outcome {
    let names = names(client).await?;
    let config = Config::builder().max_history_size(HISTORY).map_err(|error| unusable(&error))?;
    let config = config.history_ignore_space(true).auto_add_history(true).build();
    let mut editor: Editor<Lines, FileHistory> =
        Editor::with_config(config).map_err(|error| unusable(&error))?;
    editor.set_helper(Some(Lines { names }));
    let history = history();
    if let Some(path) = &history {
        // There is none the first time.
        let _ = editor.load_history(path);
    }
    note(&format!("{}: \\? for help, \\q to leave", client.base()));
    loop {
        // The editor holds the thread; nothing else wants it meanwhile.
        let line = tokio::task::block_in_place(|| editor.readline("drover> "));
        match line {
            Ok(line) => {
                if !answered(client, output, timeout, line.trim()).await {
                    break;
                }
            }
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(unusable(&error)),
        }
        if let Some(path) = &history {
            // Without it the next shell only remembers less.
            let _ = editor.append_history(path);
        }
    }
    Ok(())
}

fn unusable(error: &ReadlineError) -> Failure {
    Failure::failed(format!("the terminal can't be used: {error}"))
}

/// Where queries are remembered.
fn history() -> Option<PathBuf> {
    let directory = choose_base_strategy().ok()?.data_dir().join("drover");
    std::fs::create_dir_all(&directory).ok()?;
    Some(directory.join("query_history"))
}

/// Names of tables and columns; asking for them shows too whether the server answers.
async fn names(client: &Client) -> Outcome<Vec<String>> {
    let columns = ask(client, COLUMNS, None).await?;
    let rows = columns.get("rows").and_then(Value::as_array);
    let values = rows.into_iter().flatten().filter_map(Value::as_object).flat_map(|row| row.values());
    let mut names: Vec<String> = values.filter_map(|name| name.as_str().map(str::to_owned)).collect();
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// Answers one input; whether there is to be another one.
async fn answered(client: &Client, output: Output, timeout: Option<u32>, input: &str) -> bool {
    let sql = match input.trim_end_matches(';').trim() {
        "" => return true,
        "\\q" | "exit" | "quit" => return false,
        "\\?" | "help" => {
            note(HELP);
            return true;
        }
        "\\d" => TABLES.to_owned(),
        other => match other.strip_prefix("\\d ") {
            Some(table) => format!("DESCRIBE {table}"),
            None => other.to_owned(),
        },
    };
    let started = Instant::now();
    // Cancel-safe: a request that is dropped ends the query.
    let outcome = tokio::select! {
        outcome = ask(client, &sql, timeout) => outcome,
        _ = tokio::signal::ctrl_c() => Err(Failure::failed("ended")),
    };
    let printed = outcome.and_then(|answer| {
        answer::print(output, &answer)?;
        let rows = answer::rows(&answer);
        let plural = if rows == 1 { "" } else { "s" };
        note(&format!("{rows} row{plural} in {:.3} s", started.elapsed().as_secs_f64()));
        Ok(())
    });
    match printed {
        Ok(()) => true,
        Err(failure) => {
            note(&format!("drover: {failure}"));
            failure.code != Code::Unreachable
        }
    }
}

/// How lines are read.
#[derive(Helper, Hinter)]
struct Lines {
    names: Vec<String>,
}

impl Validator for Lines {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let input = context.input().trim();
        let is_whole = input.is_empty()
            || input.ends_with(';')
            || input.starts_with('\\')
            || matches!(input, "exit" | "quit" | "help");
        Ok(if is_whole { ValidationResult::Valid(None) } else { ValidationResult::Incomplete })
    }
}

impl Highlighter for Lines {
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _: bool) -> Cow<'b, str> {
        Cow::Owned(format!("\u{1b}[1m{prompt}\u{1b}[0m"))
    }
}

impl Completer for Lines {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(completions(&self.names, line.get(..position).unwrap_or_default()))
    }
}

/// What may follow: where the word that was begun starts, and what it may become.
fn completions(names: &[String], typed: &str) -> (usize, Vec<String>) {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let start = typed.rfind(|c| !is_word(c)).map_or(0, |at| at + typed.get(at..).map_or(1, first_length));
    let word = typed.get(start..).unwrap_or_default();
    if word.is_empty() {
        return (start, Vec::new());
    }
    let begins =
        |candidate: &str| candidate.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word));
    let words = WORDS.iter().map(|word| (*word).to_owned());
    (start, names.iter().cloned().chain(words).filter(|candidate| begins(candidate)).collect())
}

fn first_length(text: &str) -> usize {
    text.chars().next().map_or(1, char::len_utf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_before_the_cursor_is_completed_whatever_its_case() {
        let names = vec!["device".to_owned(), "devices".to_owned(), "points".to_owned()];
        assert_eq!(completions(&names, "sel"), (0, vec!["SELECT".to_owned()]));
        assert_eq!(completions(&names, "SELECT dev"), (7, vec!["device".to_owned(), "devices".to_owned()]));
        assert_eq!(completions(&names, "… FROM po").1, ["points"]);
        assert_eq!(completions(&names, "SELECT "), (7, Vec::new()));
    }
}
