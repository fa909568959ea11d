//! Listeners: bound before work starts, ports in use.

use super::*;

fn only_mqtt(address: &str) -> ListenSettings {
    ListenSettings { mqtt: address.to_owned(), ..ListenSettings::default() }
}

#[tokio::test]
async fn port_0_takes_any_free_port_and_an_empty_text_none() {
    let bound = bind(&only_mqtt("localhost:0")).await.unwrap();
    assert_eq!(bound.keys().copied().collect::<Vec<_>>(), ["mqtt"]);
    let address = bound["mqtt"].local_addr().unwrap();
    assert!(address.ip().is_loopback() && address.port() != 0);
}

#[tokio::test]
async fn a_port_in_use_is_refused_with_what_to_try() {
    let first = bind(&only_mqtt("127.0.0.1:0")).await.unwrap();
    let address = first["mqtt"].local_addr().unwrap();
    let error = bind(&only_mqtt(&address.to_string())).await.unwrap_err().to_string();
    assert_eq!(error, format!("mqtt: {address} is in use (try --listen-mqtt 127.0.0.1:0 for any free port)"));
}

#[test]
fn what_is_no_address_is_told_before_anything_is_bound() {
    for text in
        ["foo", "1883", ":1883", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:70000", "::1:x", "[::1]", "a b:1"]
    {
        let problems = only_mqtt(text).problems();
        assert!(problems.len() == 1 && problems[0].1.contains("127.0.0.1:1883"), "{text}: {problems:?}");
    }
    for text in ["", "127.0.0.1:0", "[::1]:1883", "localhost:1883", "drover.example:1"] {
        assert_eq!(only_mqtt(text).problems(), [], "{text}");
    }
}

#[tokio::test]
async fn an_address_that_is_none_is_named() {
    let error = bind(&only_mqtt("here")).await.unwrap_err().to_string();
    assert!(error.starts_with("mqtt: here: "), "{error}");
}
