//! The address of a broker.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use thiserror::Error;

/// Whether the connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// It is not.
    Mqtt,
    /// Yes, with TLS.
    Mqtts,
}

impl Scheme {
    const ALL: [Self; 2] = [Self::Mqtt, Self::Mqtts];

    const fn prefix(self) -> &'static str {
        match self {
            Self::Mqtt => "mqtt://",
            Self::Mqtts => "mqtts://",
        }
    }

    /// The port that IANA gives to it.
    const fn default_port(self) -> u16 {
        match self {
            Self::Mqtt => 1883,
            Self::Mqtts => 8883,
        }
    }
}

/// A broker's host and port, written `mqtt://host:port` or `mqtts://host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerAddress {
    /// Whether the connection is encrypted.
    pub scheme: Scheme,
    /// Name or address; an IPv6 address is in brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

/// A text is not a broker address.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("expected mqtt://HOST or mqtts://HOST, optionally with :PORT, without user or path")]
pub struct BrokerAddressError;

impl FromStr for BrokerAddress {
    type Err = BrokerAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (scheme, place) = Scheme::ALL
            .into_iter()
            .find_map(|scheme| Some((scheme, text.strip_prefix(scheme.prefix())?)))
            .ok_or(BrokerAddressError)?;
        let place = place.strip_suffix('/').unwrap_or(place);
        // The colons of an IPv6 address are within its brackets.
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().map_err(|_| BrokerAddressError)?)
            }
            _ => (place, scheme.default_port()),
        };
        let name = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_address = name.is_some_and(|name| name.parse::<std::net::Ipv6Addr>().is_ok());
        let is_name = !host.is_empty()
            && host.chars().all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | '_'));
        if port == 0 || !(is_address || is_name) {
            return Err(BrokerAddressError);
        }
        Ok(Self { scheme, host: host.to_owned(), port })
    }
}

impl Display for BrokerAddress {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}:{}", self.scheme.prefix(), self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_it_is_written() {
        for (text, expected) in [
            ("mqtt://broker", Some("mqtt://broker:1883")),
            ("mqtt://broker.lab:18830/", Some("mqtt://broker.lab:18830")),
            ("mqtt://192.168.1.7", Some("mqtt://192.168.1.7:1883")),
            ("mqtt://[::1]:1884", Some("mqtt://[::1]:1884")),
            ("mqtt://[::1]", Some("mqtt://[::1]:1883")),
            ("broker", None),
            ("mqtts://broker", Some("mqtts://broker:8883")),
            ("mqtts://broker:1883", Some("mqtts://broker:1883")),
            ("mqttss://broker", None),
            ("mqtt://", None),
            ("mqtt://:1883", None),
            ("mqtt://broker:0", None),
            ("mqtt://broker:mqtt", None),
            ("mqtt://user:word@broker", None),
            ("mqtt://broker/topic", None),
            ("mqtt://::1", None),
        ] {
            let parsed = text.parse::<BrokerAddress>();
            assert_eq!(parsed.ok().map(|address| address.to_string()).as_deref(), expected, "{text}");
        }
    }
}
