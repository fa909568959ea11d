//! Section `[runtime]`: where spans go, and how many.

use http::Uri;
use serde::Deserialize;

use crate::Section;
use crate::config::Range;

/// Section `[runtime]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceSettings {
    /// Where spans go by OTLP over HTTP; empty for nowhere.
    pub otlp_endpoint: String,
    /// The share of messages and requests without a trace context of their own that are traced.
    pub trace_ratio: f64,
}

impl Section for TraceSettings {
    const RANGES: &'static [Range] = &[];

    fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        if let Some(problem) = endpoint_problem(&self.otlp_endpoint) {
            problems.push(("otlp_endpoint", problem));
        }
        if !(0.0..=1.0).contains(&self.trace_ratio) {
            problems.push(("trace_ratio", format!("{} is out of range; use 0 to 1", self.trace_ratio)));
        }
        problems
    }
}

/// What is wrong with an endpoint. It is not repeated where it may hold a password.
fn endpoint_problem(endpoint: &str) -> Option<String> {
    if endpoint.is_empty() {
        return None;
    }
    let Ok(uri) = endpoint.parse::<Uri>() else {
        return Some(format!("{endpoint:?} is no URL like \"http://localhost:4318\""));
    };
    match (uri.scheme_str(), uri.authority()) {
        (Some("http" | "https"), Some(authority)) if authority.as_str().contains('@') => Some(
            "the URL has a user name; put what the collector wants into OTEL_EXPORTER_OTLP_HEADERS"
                .to_owned(),
        ),
        (Some("http" | "https"), Some(_)) if uri.query().is_none() => None,
        _ => Some(format!("{endpoint:?} is no URL like \"http://localhost:4318\"")),
    }
}

/// The path of traces below an endpoint (OTLP, "OTLP/HTTP Request").
pub(super) fn url_of(endpoint: &str) -> String {
    format!("{}/v1/traces", endpoint.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(otlp_endpoint: &str, trace_ratio: f64) -> Vec<String> {
        let settings = TraceSettings { otlp_endpoint: otlp_endpoint.to_owned(), trace_ratio };
        settings.problems().into_iter().map(|(key, problem)| format!("{key}: {problem}")).collect()
    }

    #[test]
    fn an_endpoint_is_a_url_without_secrets_and_a_ratio_a_share() {
        for endpoint in ["", "http://localhost:4318", "https://collector.example.org/otlp/"] {
            assert_eq!(problems(endpoint, 0.5), Vec::<String>::new(), "{endpoint}");
        }
        for endpoint in ["localhost", "localhost:4318", "grpc://localhost:4317", "http://a b", "http://a?b=c"]
        {
            assert!(problems(endpoint, 1.0)[0].contains("http://localhost:4318"), "{endpoint}");
        }
        let secret = problems("http://me:secret@localhost:4318", 0.0);
        assert!(secret[0].contains("OTEL_EXPORTER_OTLP_HEADERS") && !secret[0].contains("me:secret"));
        for ratio in [-0.1, 1.1, f64::NAN] {
            assert!(problems("", ratio)[0].starts_with("trace_ratio: "), "{ratio}");
        }
    }

    #[test]
    fn the_path_of_traces_follows_the_endpoint() {
        assert_eq!(url_of("http://localhost:4318"), "http://localhost:4318/v1/traces");
        assert_eq!(url_of("https://example.org/otlp/"), "https://example.org/otlp/v1/traces");
    }
}
