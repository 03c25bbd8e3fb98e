//! Addresses and networks, in the forms that APR knows.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::words::lossy;

/// A set of addresses: those that equal `address` where `mask` has ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Of IPv4; the mask need not be contiguous.
    V4 {
        /// The address, masked.
        address: u32,
        /// The mask.
        mask: u32,
    },
    /// Of IPv6.
    V6 {
        /// The address, masked.
        address: u128,
        /// The mask.
        mask: u128,
    },
}

/// Why a word is no address and no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// It is neither IPv4 nor IPv6.
    #[error(
        "\"{0}\" is not an IP address or network; these look like 10.1.2.3, 10.1, 10.0.0.0/8, \
         10.0.0.0/255.0.0.0, fd00::1 or fd00::/8"
    )]
    Address(String),
    /// IPv6 is written in lower case here.
    #[error("the hexadecimal digits of \"{0}\" must be in lower case; write {1}")]
    UpperCase(String, String),
    /// An IPv4 address is written as one.
    #[error("write the IPv4 address \"{0}\" without the IPv6 notation around it")]
    MappedAddress(String),
    /// What follows the slash is neither a number of bits nor a mask.
    #[error("what follows the slash of \"{0}\" is not a number of bits from 1 to {1}")]
    Mask(String, u32),
}

/// The peers that are trusted to speak for a client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<Network>);

impl TrustedProxies {
    /// Adds a network.
    pub fn push(&mut self, network: Network) {
        self.0.push(network);
    }

    /// Whether `address`, in text form, is the address of a trusted proxy.
    pub fn contains(&self, address: &[u8]) -> bool {
        parse_ip(address).is_some_and(|ip| self.0.iter().any(|network| network.contains(ip)))
    }
}

impl Network {
    /// Reads an address, a network with a mask, or the leading octets of one (`10.1`).
    ///
    /// # Errors
    ///
    /// When the word is none of these.
    pub fn parse(word: &[u8]) -> Result<Self, NetworkError> {
        let text = lossy(word);
        check_characters(&text)?;
        match text.split_once('/') {
            None => Self::parse_whole(&text),
            Some((address, mask)) => Self::parse_masked(&text, address, mask),
        }
    }

    fn parse_whole(text: &str) -> Result<Self, NetworkError> {
        match text.parse() {
            Ok(IpAddr::V4(address)) => Ok(Self::v4(address, u32::MAX)),
            Ok(IpAddr::V6(address)) => Self::v6(text, address, u128::MAX),
            Err(_) => leading_octets(text).ok_or_else(|| NetworkError::Address(text.to_owned())),
        }
    }

    fn parse_masked(text: &str, address: &str, mask: &str) -> Result<Self, NetworkError> {
        let bits = mask.parse::<u32>().ok().filter(|&bits| bits > 0);
        match address.parse() {
            Ok(IpAddr::V4(address)) => bits
                .and_then(|bits| u32::MAX.checked_shl(32_u32.checked_sub(bits)?))
                .or_else(|| mask.parse::<Ipv4Addr>().ok().map(u32::from))
                .map(|mask| Self::v4(address, mask))
                .ok_or_else(|| NetworkError::Mask(text.to_owned(), 32)),
            Ok(IpAddr::V6(address)) => bits
                .and_then(|bits| u128::MAX.checked_shl(128_u32.checked_sub(bits)?))
                .ok_or_else(|| NetworkError::Mask(text.to_owned(), 128))
                .and_then(|mask| Self::v6(text, address, mask)),
            Err(_) => Err(NetworkError::Address(text.to_owned())),
        }
    }

    fn v4(address: Ipv4Addr, mask: u32) -> Self {
        Self::V4 {
            address: u32::from(address) & mask,
            mask,
        }
    }

    fn v6(text: &str, address: Ipv6Addr, mask: u128) -> Result<Self, NetworkError> {
        if address.to_ipv4_mapped().is_some() {
            return Err(NetworkError::MappedAddress(text.to_owned()));
        }
        Ok(Self::V6 {
            address: u128::from(address) & mask,
            mask,
        })
    }

    /// Whether `ip` lies in this network. An IPv4 address is the same in IPv6 notation.
    pub fn contains(self, ip: IpAddr) -> bool {
        match (self, ip.to_canonical()) {
            (Self::V4 { address, mask }, IpAddr::V4(ip)) => u32::from(ip) & mask == address,
            (Self::V6 { address, mask }, IpAddr::V6(ip)) => u128::from(ip) & mask == address,
            _ => false,
        }
    }
}

/// An address in a header or a variable.
fn parse_ip(text: &[u8]) -> Option<IpAddr> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Only digits and dots, or with a colon, lower-case hexadecimal digits and colons.
fn check_characters(text: &str) -> Result<(), NetworkError> {
    if !text.contains(':') {
        let is_v4 = |c: char| c.is_ascii_digit() || matches!(c, '.' | '/');
        return if text.chars().all(is_v4) {
            Ok(())
        } else {
            Err(NetworkError::Address(text.to_owned()))
        };
    }
    let is_v6 = |c: char| c.is_ascii_hexdigit() || matches!(c, ':' | '/');
    if text.contains('.') && text.contains(':') && text.parse::<Ipv6Addr>().is_ok() {
        Err(NetworkError::MappedAddress(text.to_owned()))
    } else if !text.chars().all(is_v6) {
        Err(NetworkError::Address(text.to_owned()))
    } else if text.contains(|c: char| c.is_ascii_uppercase()) {
        Err(NetworkError::UpperCase(
            text.to_owned(),
            text.to_ascii_lowercase(),
        ))
    } else {
        Ok(())
    }
}

/// The old form of a network: up to four octets, of which the missing ones may be anything.
fn leading_octets(text: &str) -> Option<Network> {
    /// What fits APR's buffer.
    const LONGEST: usize = "255.255.255.255".len();
    let digits = text.strip_suffix('.').unwrap_or(text);
    if text.len() > LONGEST || digits.is_empty() {
        return None;
    }
    let (mut address, mut mask, mut shift) = (0, 0, u32::BITS);
    for octet in digits.split('.') {
        shift = shift.checked_sub(8)?;
        address |= u32::from(octet.parse::<u8>().ok()?) << shift;
        mask |= 0xff << shift;
    }
    Some(Network::V4 { address, mask })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(network: &str, ip: &str) -> bool {
        Network::parse(network.as_bytes())
            .unwrap()
            .contains(ip.parse().unwrap())
    }

    #[test]
    fn networks_contain_their_addresses() {
        let cases = [
            ("1.2.3.4", "1.2.3.4", true),
            ("1.2.3.4", "1.2.3.5", false),
            ("1.2.3.4", "::ffff:1.2.3.4", true),
            ("10", "10.255.0.1", true),
            ("10.", "10.255.0.1", true),
            ("10.1", "10.1.255.1", true),
            ("10.1", "10.2.0.1", false),
            ("01.2.3.4", "1.2.3.4", true),
            ("0", "0.1.2.3", true),
            ("10.1.2.3/8", "10.255.0.1", true),
            ("1.2.3.4/016", "1.2.255.1", true),
            ("1.2.3.4/255.255.0.0", "1.2.255.1", true),
            ("1.2.3.4/255.0.255.0", "1.9.3.9", true),
            ("1.2.3.4/32", "1.2.3.5", false),
            ("::1", "::1", true),
            ("::1/64", "::1:2:3", true),
            ("::1/64", "::1:0:0:0:1", false),
            ("fe80::/128", "fe80::1", false),
            ("fd00::/8", "10.0.0.1", false),
        ];
        for (network, ip, expected) in cases {
            assert_eq!(contains(network, ip), expected, "{network} {ip}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        let words = [
            "",
            "localhost",
            "10.1/16",
            "10/8",
            "10/",
            "10..1",
            "/8",
            "0/0",
            "256.1.1.1",
            "300",
            "1.2.3.4.5",
            "1.2.3.4/",
            "1.2.3.4/0",
            "1.2.3.4/33",
            "1.2.3.4/8/8",
            "1.2.3.4/255.255",
            "1.2.3.4/255.255.255",
            "10.0.0.0/256.0.0.0",
            "1.2.3.4/99999999999",
            "::/0",
            "FE80::1/64",
            "fe80::1/129",
            "fe80::/ffff::",
            "fe80:::1",
            "::ffff:1.2.3.4",
            "::ffff:102:304",
            "1:2:3:4:5:6:7:8:9",
        ];
        for word in words {
            assert!(Network::parse(word.as_bytes()).is_err(), "{word}");
        }
    }

    #[test]
    fn the_remedy_is_named() {
        let cases = [
            (
                "FE80::1",
                "the hexadecimal digits of \"FE80::1\" must be in lower case; write fe80::1",
            ),
            (
                "::ffff:1.2.3.4",
                "write the IPv4 address \"::ffff:1.2.3.4\" without",
            ),
            (
                "1.2.3.4/33",
                "what follows the slash of \"1.2.3.4/33\" is not a number of bits from 1 to 32",
            ),
            ("localhost", "\"localhost\" is not an IP address or network"),
        ];
        for (word, message) in cases {
            let error = Network::parse(word.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }

    #[test]
    fn a_name_is_no_trusted_proxy() {
        let mut proxies = TrustedProxies::default();
        proxies.push(Network::parse(b"10").unwrap());
        assert!(proxies.contains(b"10.0.0.1"));
        assert!(!proxies.contains(b"localhost"));
        assert!(!proxies.contains(b"10.0.0.1 "));
        assert!(!proxies.contains(b"10"));
    }
}
