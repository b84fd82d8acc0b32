//! What a configuration asks for and this build does not do.

use crate::config::model::Config;

/// One sentence for each thing that this build does not do. Empty: everything will run.
#[must_use]
pub fn unsupported(config: &Config) -> Vec<String> {
    let pair = config.high_availability.is_some().then(|| {
        "high_availability: this version of lb runs on a single unit only; remove high_availability".to_owned()
    });
    pair.into_iter().collect()
}

#[cfg(test)]
mod tests;
