//! Which addresses are public: global unicast and nothing else (IANA special-purpose registries;
//! NET-4 of the security requirements).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

macro_rules! net4 {
    ($a:literal, $b:literal, $c:literal, $d:literal / $len:literal) => {
        Ipv4Net::new_assert(Ipv4Addr::new($a, $b, $c, $d), $len)
    };
}

macro_rules! net6 {
    ($($part:literal),* ; $len:literal) => {
        Ipv6Net::new_assert(Ipv6Addr::new($($part),*), $len)
    };
}

/// IPv4 networks that are not public.
const CLOSED_4: [Ipv4Net; 21] = [
    net4!(0, 0, 0, 0 / 8),
    net4!(10, 0, 0, 0 / 8),
    net4!(100, 64, 0, 0 / 10),
    net4!(127, 0, 0, 0 / 8),
    // Addresses of cloud providers that answer with credentials.
    net4!(168, 63, 129, 16 / 32),
    net4!(169, 254, 0, 0 / 16),
    net4!(172, 16, 0, 0 / 12),
    net4!(192, 0, 0, 0 / 24),
    net4!(192, 0, 2, 0 / 24),
    net4!(192, 31, 196, 0 / 24),
    net4!(192, 52, 193, 0 / 24),
    net4!(192, 88, 99, 0 / 24),
    net4!(192, 168, 0, 0 / 16),
    net4!(192, 175, 48, 0 / 24),
    net4!(198, 18, 0, 0 / 15),
    net4!(198, 51, 100, 0 / 24),
    net4!(203, 0, 113, 0 / 24),
    net4!(224, 0, 0, 0 / 4),
    net4!(240, 0, 0, 0 / 4),
    net4!(255, 255, 255, 255 / 32),
    net4!(100, 100, 100, 200 / 32),
];

/// The part of IPv6 that is global unicast …
const OPEN_6: Ipv6Net = net6!(0x2000, 0, 0, 0, 0, 0, 0, 0; 3);

/// … but for these.
const CLOSED_6: [Ipv6Net; 4] = [
    net6!(0x2001, 0, 0, 0, 0, 0, 0, 0; 23),
    net6!(0x2001, 0x0db8, 0, 0, 0, 0, 0, 0; 32),
    net6!(0x2002, 0, 0, 0, 0, 0, 0, 0; 16),
    net6!(0x3fff, 0, 0, 0, 0, 0, 0, 0; 20),
];

/// Forms of IPv6 that hold an IPv4 address in their last 32 bits.
const HOLDS_4: [Ipv6Net; 4] = [
    net6!(0, 0, 0, 0, 0, 0xffff, 0, 0; 96),
    net6!(0, 0, 0, 0, 0, 0, 0, 0; 96),
    net6!(0x0064, 0xff9b, 0, 0, 0, 0, 0, 0; 96),
    net6!(0, 0, 0, 0, 0xffff, 0, 0, 0; 96),
];

/// Whether an address is one of the public internet.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_4(address),
        IpAddr::V6(address) => is_public_6(address),
    }
}

fn is_public_4(address: Ipv4Addr) -> bool {
    !CLOSED_4.iter().any(|net| net.contains(&address))
}

fn is_public_6(address: Ipv6Addr) -> bool {
    let [.., a, b] = address.segments();
    let inner = Ipv4Addr::from((u32::from(a) << 16) | u32::from(b));
    // Mapped addresses and the translation prefix of RFC 6052 lead to what they hold; the other
    // forms are never sent.
    let translated = HOLDS_4.iter().position(|net| net.contains(&address));
    match translated {
        Some(0 | 2) => is_public_4(inner),
        Some(_) => false,
        None => OPEN_6.contains(&address) && !CLOSED_6.iter().any(|net| net.contains(&address)),
    }
}

/// The first and the last address of every network that is closed, in each of the forms that an
/// IPv6 address can hide it in.
#[cfg(test)]
pub(super) fn closed_addresses() -> Vec<IpAddr> {
    let mut all: Vec<IpAddr> = Vec::new();
    for net in CLOSED_4 {
        for address in [net.network(), net.broadcast()] {
            let bits = u128::from(address.to_bits());
            all.push(address.into());
            for prefix in [
                0xffff_u128 << 32,
                0x0064_ff9b_u128 << 96,
                0x0064_ff9b_0001_u128 << 80,
                0,
                0xffff_u128 << 48,
                0x2001_u128 << 112,
            ] {
                all.push(Ipv6Addr::from_bits(prefix | bits).into());
            }
            all.push(Ipv6Addr::from_bits((0x2002_u128 << 112) | (bits << 80)).into());
        }
    }
    for net in CLOSED_6 {
        all.extend([net.network(), net.broadcast()].map(IpAddr::from));
    }
    let others = ["::", "::1", "fe80::1", "fc00::1", "fdff::1", "ff02::1", "100::1", "4000::"];
    all.extend(others.iter().map(|text| text.parse::<IpAddr>().unwrap()));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_global_unicast_is_closed() {
        for address in closed_addresses() {
            assert!(!is_public(address), "{address}");
        }
    }

    #[test]
    fn the_neighbours_of_closed_networks_are_public() {
        for text in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.0.3.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700::1111",
            "2001:200::1",
            "2a00::1",
            "64:ff9b::808:808",
            "::ffff:8.8.8.8",
        ] {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
    }
}
