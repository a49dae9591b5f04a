//! The API keys: names, versions, headers, listeners. From the table `schemas/api_versions.csv`.

use std::fmt;
use std::ops::RangeInclusive;

include!(concat!(env!("OUT_DIR"), "/api_keys.rs"));

struct ApiFacts {
    name: &'static str,
    oldest: i16,
    /// Below `oldest` where no version is stable.
    stable: i16,
    latest: i16,
    request_flexible: i16,
    response_flexible: i16,
    broker: bool,
    controller: bool,
    advertised_broker: Option<(i16, i16)>,
    advertised_controller: Option<(i16, i16)>,
    cluster_action: bool,
    forwardable: bool,
}

impl ApiKey {
    /// Its number.
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// Its name, as in `Fetch`.
    pub const fn name(self) -> &'static str {
        self.facts().name
    }

    /// The oldest version.
    pub const fn min_version(self) -> i16 {
        self.facts().oldest
    }

    /// The newest stable version.
    pub const fn max_version(self) -> i16 {
        self.facts().stable
    }

    /// The stable versions.
    pub const fn versions(self) -> RangeInclusive<i16> {
        self.facts().oldest..=self.facts().stable
    }

    /// The newest version, stable or not.
    pub const fn latest_version(self) -> i16 {
        self.facts().latest
    }

    /// Whether requests of this version have compact lengths and tagged fields.
    pub const fn is_flexible(self, version: i16) -> bool {
        version >= self.facts().request_flexible
    }

    /// The version of the header before a request of this version.
    pub const fn request_header_version(self, version: i16) -> i16 {
        if self.is_flexible(version) { 2 } else { 1 }
    }

    /// The version of the header before the response to a request of this version. ApiVersions answers with 0 always,
    /// so that a client that knows nothing yet can read it.
    pub const fn response_header_version(self, version: i16) -> i16 {
        if matches!(self, Self::ApiVersions) || version < self.facts().response_flexible { 0 } else { 1 }
    }

    /// Whether brokers serve it on their listeners.
    pub const fn on_broker_listener(self) -> bool {
        self.facts().broker
    }

    /// Whether controllers serve it on theirs.
    pub const fn on_controller_listener(self) -> bool {
        self.facts().controller
    }

    /// The versions that a broker of Kafka 4.3.1 names in its answer to ApiVersions.
    pub fn advertised_by_brokers(self) -> Option<RangeInclusive<i16>> {
        self.facts().advertised_broker.map(|(first, last)| first..=last)
    }

    /// The versions that a controller of Kafka 4.3.1 names in its answer to ApiVersions.
    pub fn advertised_by_controllers(self) -> Option<RangeInclusive<i16>> {
        self.facts().advertised_controller.map(|(first, last)| first..=last)
    }

    /// Whether only nodes of the cluster may ask.
    pub const fn is_cluster_action(self) -> bool {
        self.facts().cluster_action
    }

    /// Whether a broker hands it on to the controller in an Envelope.
    pub const fn is_forwardable(self) -> bool {
        self.facts().forwardable
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_codes_are_inverse_and_api_versions_answers_with_header_0() {
        for key in ApiKey::ALL {
            assert_eq!(ApiKey::from_code(key.code()), Some(*key));
        }
        assert_eq!(ApiKey::from_code(4), None);
        assert_eq!(ApiKey::ApiVersions.response_header_version(4), 0);
        assert_eq!(ApiKey::ApiVersions.request_header_version(3), 2);
        assert_eq!(ApiKey::Fetch.response_header_version(12), 1);
        assert_eq!(ApiKey::SaslHandshake.request_header_version(1), 1);
        assert_eq!(ApiKey::InitProducerId.versions(), 0..=5);
    }
}
