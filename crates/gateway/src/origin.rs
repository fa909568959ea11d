//! Which web pages may connect over WebSocket. The browser says where a page is from; clients that are no browsers say nothing.

use std::net::IpAddr;

use http::uri::Authority;
use http::{HeaderMap, header};

/// Whether the page that the client is part of may connect; whoever is no page says no origin (RFC 6454, section 7).
pub fn may_connect(headers: &HeaderMap, allowed: &[String], trusts_names: bool) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let Ok(origin) = origin.to_str() else { return false };
    if !allowed.is_empty() {
        return allowed.iter().any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(origin));
    }
    let host = |authority: &str| Some(authority.parse::<Authority>().ok()?.host().to_ascii_lowercase());
    let page = origin.split_once("://").and_then(|(_, authority)| host(authority));
    let own = headers.get(header::HOST).and_then(|value| host(value.to_str().ok()?));
    let is_unforgeable = |name: &str| {
        name == "localhost" || name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok()
    };
    page.is_some_and(|page| Some(&page) == own.as_ref() && (trusts_names || is_unforgeable(&page)))
}

/// What is wrong with a setting that lists origins.
pub fn origin_problems(origins: &[String]) -> impl Iterator<Item = String> {
    origins.iter().filter(|origin| !is_origin(origin)).map(|origin| {
        format!("{origin:?} is no origin as browsers write it, https://app.example.com, and not \"*\"")
    })
}

/// Scheme, host and perhaps port, and nothing behind (RFC 6454, section 6.2).
fn is_origin(origin: &str) -> bool {
    let is_plain = |c: char| !c.is_whitespace() && !matches!(c, '/' | '?' | '#' | '@' | '*');
    origin == "*"
        || origin.split_once("://").is_some_and(|(scheme, host)| {
            !scheme.is_empty() && !host.is_empty() && host.chars().all(is_plain)
        })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn may(origin: Option<&'static str>, host: &'static str, allowed: &[&str], trusts_names: bool) -> bool {
        let mut headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static(host))]);
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
        }
        let allowed: Vec<String> = allowed.iter().map(|&origin| origin.to_owned()).collect();
        may_connect(&headers, &allowed, trusts_names)
    }

    #[test]
    fn by_default_pages_of_the_same_host_may_connect() {
        for origin in ["http://iot.example", "https://iot.example", "https://IOT.example:8443"] {
            assert!(may(Some(origin), "iot.example:8083", &[], true), "{origin}");
        }
        for origin in ["https://evil.example", "https://iot.example.evil.example", "null", "", "https://"] {
            assert!(!may(Some(origin), "iot.example:8083", &[], true), "{origin}");
        }
        assert!(may(None, "iot.example", &[], true));
        assert!(may(Some("http://[::1]:3000"), "[::1]:8083", &[], true));
    }

    #[test]
    fn a_name_that_anybody_may_point_here_is_not_enough_where_no_credentials_are_needed() {
        assert!(!may(Some("http://evil.example:8083"), "evil.example:8083", &[], false));
        for (origin, host) in [
            ("http://localhost:3000", "localhost:8083"),
            ("http://127.0.0.1", "127.0.0.1:8083"),
            ("http://[::1]", "[::1]:8083"),
        ] {
            assert!(may(Some(origin), host, &[], false), "{origin}");
        }
        assert!(may(Some("http://dev.example"), "dev.example", &["http://dev.example"], false));
    }

    #[test]
    fn a_list_of_origins_names_all_that_may() {
        let allowed = ["https://app.example", "http://localhost:3000"];
        assert!(may(Some("https://app.example"), "iot.example", &allowed, true));
        assert!(may(Some("http://localhost:3000"), "iot.example", &allowed, true));
        for origin in ["https://iot.example", "http://app.example", "https://app.example:444", "null"] {
            assert!(!may(Some(origin), "iot.example", &allowed, true), "{origin}");
        }
        assert!(may(Some("null"), "iot.example", &["*"], true));
        assert!(may(None, "iot.example", &allowed, true));
    }
}
