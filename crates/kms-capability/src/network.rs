//! Addresses and networks.

use std::net::IpAddr;

/// An address, or all that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    first: IpAddr,
    bits: u8,
}

impl Network {
    /// Parses `10.0.0.1`, `10.0.0.0/8` or `2001:db8::/32`. `None` for anything else, also where bits after the prefix are
    /// set, and for an IPv4 address written as an IPv6 one.
    pub fn parse(text: &str) -> Option<Network> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let first: IpAddr = address.parse().ok()?;
        let width = if first.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => width,
            Some(digits) if digits.len() > 1 && digits.starts_with('0') => return None,
            Some(digits) if !digits.bytes().all(|digit| digit.is_ascii_digit()) => return None,
            Some(digits) => digits.parse().ok().filter(|bits| *bits <= width)?,
        };
        let network = Network { first, bits };
        let is_plain = first.to_canonical() == first && network.masked(first) == number(first);
        is_plain.then_some(network)
    }

    /// Whether an address is in it. An IPv4 address may come as an IPv6 one, as sockets for both have it.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.first.is_ipv4() && self.masked(address) == number(self.first)
    }

    fn masked(&self, address: IpAddr) -> u128 {
        let width = if address.is_ipv4() { 32 } else { 128 };
        let dropped = u32::from(width - self.bits);
        number(address).checked_shr(dropped).and_then(|high| high.checked_shl(dropped)).unwrap_or(0)
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_the_addresses_that_begin_as_it_does() {
        let has = |network: &str, address: &str| {
            Network::parse(network).unwrap().contains(address.parse().unwrap())
        };
        assert!(has("10.0.0.0/8", "10.255.0.1") && !has("10.0.0.0/8", "11.0.0.0"));
        assert!(has("10.0.0.1", "10.0.0.1") && !has("10.0.0.1", "10.0.0.2"));
        assert!(has("0.0.0.0/0", "255.1.2.3") && !has("0.0.0.0/0", "::1"));
        assert!(has("2001:db8::/32", "2001:db8:1::1") && !has("2001:db8::/32", "2001:db9::"));
        assert!(has("::/0", "::1") && !has("::/0", "10.0.0.1"));
        assert!(has("127.0.0.0/8", "::ffff:127.0.0.1"), "as a socket for both has it");
    }

    #[test]
    fn there_is_no_network_in_any_other_text() {
        let bad = [
            "",
            "10",
            "10.0.0",
            "10.0.0.1/",
            "10.0.0.1/33",
            "10.0.0.1/08",
            "10.0.0.1/8",
            "010.0.0.1",
            " 10.0.0.1",
            "10.0.0.1 ",
            "10.0.0.0/+8",
            "::ffff:10.0.0.1",
            "::1/129",
            "fe80::1%lo",
            "localhost",
            "*",
        ];
        for text in bad {
            assert_eq!(Network::parse(text), None, "{text}");
        }
    }
}
