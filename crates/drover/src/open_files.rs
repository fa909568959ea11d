//! How many connections fit into the files that the process may open. The log, the database and the store need theirs first: clients
//! that took the last one would keep what others send from being written.

use std::num::NonZeroU32;

use anyhow::bail;

use crate::config::Configs;

/// Fewest files with which Drover starts.
const LEAST: u64 = 128;
/// What is kept for everything but connections: a quarter, within these.
const RESERVE: (u64, u64) = (64, 1_024);
/// The API's share of the connections; MQTT has the rest.
const API_SHARE: u64 = 8;

/// Lowers the bounds of connections to what `open_files` (none: unlimited) allow; what is lowered, in words.
pub fn fit(configs: &mut Configs, open_files: Option<u64>) -> anyhow::Result<Option<String>> {
    let Some(files) = open_files else { return Ok(None) };
    if files < LEAST {
        bail!(
            "this process may open only {files} files, and needs {LEAST} at least: raise `ulimit -n` or LimitNOFILE"
        );
    }
    let connections = files - (files / 4).clamp(RESERVE.0, RESERVE.1);
    let for_api = connections / API_SHARE;
    let (mqtt, api) = (configs.mqtt.max_connections, configs.api.max_connections);
    let fits = |bound: u64| u32::try_from(bound).unwrap_or(u32::MAX);
    configs.api.max_connections = api.min(usize::try_from(for_api)?);
    configs.mqtt.max_connections =
        mqtt.min(NonZeroU32::new(fits(connections - for_api)).unwrap_or(NonZeroU32::MIN));
    let lowered = [
        ("mqtt", u64::from(mqtt.get()), u64::from(configs.mqtt.max_connections.get())),
        ("api", u64::try_from(api)?, u64::try_from(configs.api.max_connections)?),
    ];
    let lowered = lowered.into_iter().filter(|(_, asked, fitting)| asked > fitting);
    let lowered: Vec<_> = lowered
        .map(|(part, asked, fitting)| format!("{part}.max_connections is {fitting} instead of {asked}"))
        .collect();
    let why = "raise `ulimit -n` or LimitNOFILE to allow more";
    Ok((!lowered.is_empty())
        .then(|| format!("this process may open only {files} files, so {}; {why}", lowered.join(" and "))))
}

#[cfg(test)]
mod tests {
    use drover_runtime::{Layers, Sources};

    use super::*;
    use crate::config::SECTIONS;

    fn fitted(files: Option<u64>) -> (u32, usize, Option<String>) {
        let layers = Layers::load(Sources { sections: &SECTIONS, ..Sources::default() }).unwrap();
        let mut configs = Configs::read(&layers, Vec::new()).unwrap();
        let said = fit(&mut configs, files).unwrap();
        (configs.mqtt.max_connections.get(), configs.api.max_connections, said)
    }

    #[test]
    fn with_files_enough_nothing_changes() {
        for files in [None, Some(1_048_576)] {
            assert_eq!(fitted(files), (100_000, 4_096, None));
        }
    }

    #[test]
    fn few_files_leave_a_reserve_and_a_share_for_the_api() {
        let (mqtt, api, said) = fitted(Some(1_024));
        assert_eq!((mqtt, api), (672, 96));
        assert!(
            said.unwrap()
                .contains("mqtt.max_connections is 672 instead of 100000 and api.max_connections is 96")
        );
        assert_eq!(fitted(Some(LEAST)).0, 56);
    }

    #[test]
    fn too_few_files_are_refused() {
        let layers = Layers::load(Sources { sections: &SECTIONS, ..Sources::default() }).unwrap();
        let error = fit(&mut Configs::read(&layers, Vec::new()).unwrap(), Some(64)).unwrap_err().to_string();
        assert!(error.contains("only 64 files") && error.contains("ulimit -n"), "{error}");
    }
}
