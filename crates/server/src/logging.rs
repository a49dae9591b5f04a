//! Log lines go to standard error: what happened to the node, never what a single request did (that is `debug`).

use std::str::FromStr as _;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::registry::Registry;

use crate::LogFormat;

/// Begins to log; what is wrong with the filter otherwise. A second call in one process changes nothing.
pub fn start(filter: &str, format: LogFormat) -> Result<(), String> {
    let filter = Targets::from_str(filter)
        .map_err(|error| format!("--log {filter}: {error}; try `info`, or `info,broker=debug`"))?;
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let layer = match format {
        LogFormat::Text => layer.with_ansi(crate::styled()).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    let subscriber = Registry::default().with(layer.with_filter(filter));
    // Somebody who logs already (a test) goes on as he does.
    drop(tracing::subscriber::set_global_default(subscriber));
    Ok(())
}
