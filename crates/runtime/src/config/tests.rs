//! Layers of the configuration: order, origin, unknown keys.

use serde::Deserialize;

use super::*;

const MQTT: &str = "max_keep_alive_s = 0\nside = \"left\"\nname = \"x\"\nshare = 0.5\nupstream_password = \"\"\npassword_file = \"\"\n\
                    [anonymous]\nallow = false\ndeny = []\n";

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mqtt {
    max_keep_alive_s: u16,
    name: String,
    share: f64,
    upstream_password: String,
    password_file: String,
    anonymous: Anonymous,
    side: Side,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Side {
    Left,
    Right,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Anonymous {
    allow: bool,
    deny: Vec<String>,
}

impl Section for Mqtt {
    const RANGES: &'static [Range] = &[("max_keep_alive_s", 0, 65_535)];

    fn problems(&self) -> Vec<(&'static str, String)> {
        let is_bad = self.anonymous.deny.iter().any(String::is_empty);
        if is_bad { vec![("anonymous.deny", "a filter is empty".to_owned())] } else { Vec::new() }
    }
}

fn sources<'a>(variables: &[(&str, &str)]) -> Sources<'a> {
    let variables = variables.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    Sources { sections: &[("mqtt", MQTT)], variables, ..Sources::default() }
}

fn problems(variables: &[(&str, &str)]) -> String {
    Layers::load(sources(variables)).unwrap_err().to_string()
}

fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("drover.toml");
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

#[test]
fn without_anything_given_the_defaults_count() {
    let layers = Layers::load(sources(&[])).unwrap();
    let mqtt: Mqtt = layers.section("mqtt").unwrap();
    assert_eq!((mqtt.max_keep_alive_s, mqtt.anonymous.allow), (0, false));
    assert_eq!(layers.origin("mqtt.max_keep_alive_s"), None);
}

#[test]
fn variables_are_read_as_toml() {
    let layers = Layers::load(sources(&[
        ("DROVER_MQTT__ANONYMOUS__DENY", "[\"a/b\", \"c/#\"]"),
        ("DROVER_MQTT__MAX_KEEP_ALIVE_S", "60"),
        ("DROVER_MQTT__NAME", "17"),
        ("DROVER_MQTT__SHARE", "1"),
        ("DROVER_MQTT__ANONYMOUS__ALLOW", "true"),
    ]))
    .unwrap();
    let mqtt: Mqtt = layers.section("mqtt").unwrap();
    assert_eq!(mqtt.anonymous, Anonymous { allow: true, deny: vec!["a/b".to_owned(), "c/#".to_owned()] });
    assert_eq!((mqtt.max_keep_alive_s, mqtt.name.as_str(), mqtt.share), (60, "17", 1.0));
    let origin = layers.origin("mqtt.max_keep_alive_s").unwrap();
    assert_eq!(*origin, Origin::Variable("DROVER_MQTT__MAX_KEEP_ALIVE_S".to_owned()));
}

#[test]
fn a_flag_beats_a_variable_beats_the_file() {
    let (_folder, path) = file("[mqtt]\nmax_keep_alive_s = 1\nname = \"file\"\nshare = 0.25\n");
    let mut sources = sources(&[("DROVER_MQTT__MAX_KEEP_ALIVE_S", "2"), ("DROVER_MQTT__NAME", "variable")]);
    sources.search = vec![PathBuf::from("/nonexistent/drover.toml"), path.clone()];
    sources.flags = vec![("mqtt.max_keep_alive_s".to_owned(), Value::Integer(3), "--keep-alive".to_owned())];
    let layers = Layers::load(sources).unwrap();
    let mqtt: Mqtt = layers.section("mqtt").unwrap();
    assert_eq!((mqtt.max_keep_alive_s, mqtt.name.as_str(), mqtt.share), (3, "variable", 0.25));
    assert_eq!(layers.origin("mqtt.share"), Some(&Origin::File(path)));
}

#[test]
fn an_unknown_key_is_named_with_its_origin_and_what_may_have_been_meant() {
    let text = problems(&[("DROVER_MQTT__MAX_KEEPALIVE", "60")]);
    assert_eq!(
        text.split(", ").next().unwrap(),
        "unknown setting mqtt.max_keepalive (DROVER_MQTT__MAX_KEEPALIVE); nearest: mqtt.max_keep_alive_s"
    );
    let (_folder, path) = file("[mqtt.anonymous]\ndenny = []\n[mqt]\nname = \"x\"\n");
    let error = Layers::load(Sources { file: Some(path.clone()), ..sources(&[]) }).unwrap_err();
    assert_eq!(error.problems.len(), 2, "{error}");
    assert!(error.problems.iter().any(|line| line.starts_with("unknown section [mqt]")), "{error}");
    assert!(error.to_string().contains("mqtt.anonymous.deny"), "{error}");
    assert!(error.to_string().contains(&path.display().to_string()), "{error}");
}

#[test]
fn one_underscore_too_few_is_noticed() {
    let text = problems(&[("DROVER_MQTT_MAX_KEEP_ALIVE_S", "60")]);
    assert!(text.contains("DROVER_MQTT__MAX_KEEP_ALIVE_S"), "{text}");
}

#[test]
fn variables_of_the_command_line_are_no_settings() {
    let mine = [("DROVER_LISTEN_COAP", "127.0.0.1:0"), ("DROVER_URL", "x"), ("DROVER_TOKEN", "y")];
    assert!(Layers::load(sources(&mine)).unwrap().origins().is_empty());
}

#[test]
fn the_short_variable_of_a_listener_is_its_setting() {
    let layers = Layers::load(sources(&[("DROVER_LISTEN_MQTT", "127.0.0.1:7")])).unwrap();
    assert_eq!(layers.value("listen.mqtt").and_then(Value::as_str), Some("127.0.0.1:7"));
    assert_eq!(layers.origin("listen.mqtt").unwrap().to_string(), "DROVER_LISTEN_MQTT");
    assert!(problems(&[("DROVER_LISTEN_MQQT", "x")]).contains("DROVER_LISTEN_MQTT"));
}

#[test]
fn a_wrong_type_is_told_with_what_is_expected() {
    let text = problems(&[("DROVER_MQTT__MAX_KEEP_ALIVE_S", "soon"), ("DROVER_MQTT__ANONYMOUS", "1")]);
    assert!(
        text.contains("mqtt.max_keep_alive_s (DROVER_MQTT__MAX_KEEP_ALIVE_S): expected a whole number"),
        "{text}"
    );
    assert!(text.contains("mqtt.anonymous (DROVER_MQTT__ANONYMOUS): expected a table"), "{text}");
}

#[test]
fn a_value_that_makes_no_sense_is_told_with_its_origin() {
    let refused = |variable: (&str, &str)| {
        Layers::load(sources(&[variable])).unwrap().section::<Mqtt>("mqtt").unwrap_err().to_string()
    };
    for value in ["70000", "-1"] {
        assert_eq!(
            refused(("DROVER_MQTT__MAX_KEEP_ALIVE_S", value)),
            format!(
                "mqtt.max_keep_alive_s (DROVER_MQTT__MAX_KEEP_ALIVE_S): {value} is out of range; use 0 to 65535"
            )
        );
    }
    assert_eq!(
        refused(("DROVER_MQTT__ANONYMOUS__DENY", "[\"\"]")),
        "mqtt.anonymous.deny (DROVER_MQTT__ANONYMOUS__DENY): a filter is empty"
    );
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let (_folder, path) =
        file("[mqtt]\nmax_keep_alive_s = 70000\nside = \"top\"\nshare = \"much\"\ncolour = 1\n");
    let variables = sources(&[("DROVER_MQTT__ANONYMOUS__DENY", "[\"\"]")]);
    let mut problems = Vec::new();
    let layers = Layers::load_or(Sources { file: Some(path), ..variables }, &mut problems).unwrap();
    assert_eq!(layers.section_or::<Mqtt>("mqtt", &mut problems), None);
    for (told, expected) in problems.iter().zip([
        "unknown setting mqtt.colour",
        "mqtt.share",
        "mqtt.max_keep_alive_s",
        "mqtt.side",
        "mqtt.anonymous.deny (DROVER_MQTT__ANONYMOUS__DENY): a filter is empty",
    ]) {
        assert!(told.starts_with(expected), "{expected} in {problems:#?}");
    }
    assert_eq!(problems.len(), 5, "{problems:#?}");
    assert!(problems[3].contains("`top`") && problems[3].contains("drover.toml"), "{problems:#?}");
}

#[test]
fn a_file_that_was_named_must_be_there_and_be_toml() {
    let missing = PathBuf::from("/nonexistent/drover.toml");
    let error = Layers::load(Sources { file: Some(missing), ..sources(&[]) }).unwrap_err().to_string();
    assert!(error.starts_with("/nonexistent/drover.toml: "), "{error}");
    let (_folder, path) = file("[mqtt\n");
    assert!(Layers::load(Sources { file: Some(path), ..sources(&[]) }).is_err());
}

#[test]
fn what_is_shown_reads_back_with_origins_and_without_secrets() {
    let layers = Layers::load(sources(&[
        ("DROVER_MQTT__UPSTREAM_PASSWORD", "hunter2"),
        ("DROVER_MQTT__ANONYMOUS__DENY", "[\"a\"]"),
        ("DROVER_LOG", "debug"),
    ]))
    .unwrap();
    let shown = layers.show_masked();
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(shown.contains("deny = [\"a\"]  # from DROVER_MQTT__ANONYMOUS__DENY\n"), "{shown}");
    assert!(shown.contains("filter = \"debug\"  # from DROVER_LOG\n"), "{shown}");
    assert!(shown.contains("\n[mqtt.anonymous]\n") && shown.contains("max_keep_alive_s = 0\n"), "{shown}");
    let table: Table = shown.parse().unwrap();
    assert_eq!(table["mqtt"]["anonymous"]["deny"][0].as_str(), Some("a"));
}
