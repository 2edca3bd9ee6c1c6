//! Who asks: the key of a request, or else the network that it comes from.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
    sync::Arc,
};

use axum::{
    extract::{ConnectInfo, Request},
    http::HeaderMap,
};
use ipnet::IpNet;

use crate::keys::Key;

/// What limits and queue tell apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ClientId {
    /// By the name of its key.
    Key(Arc<str>),
    /// By its network.
    Network(IpAddr),
}

/// The client of a request.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) address: IpAddr,
    pub(crate) key: Option<Arc<Key>>,
}

impl Client {
    pub(crate) fn id(&self) -> ClientId {
        match &self.key {
            Some(key) => ClientId::Key(Arc::clone(&key.name)),
            None => ClientId::Network(network(self.address)),
        }
    }

    /// The name of its key, for logs.
    pub(crate) fn key_name(&self) -> &str {
        self.key.as_ref().map_or("none", |key| &key.name)
    }
}

/// The address of the client: that of the connection, or behind a trusted proxy the last address of
/// `X-Forwarded-For` that is not one itself. The client can write any earlier entry, so the search ends at the
/// first entry that is not an address.
pub(crate) fn client_of<T>(proxies: &[IpNet], request: &Request<T>) -> IpAddr {
    let is_proxy = |address| proxies.iter().any(|network| network.contains(&address));
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let peer = peer.map_or(Ipv4Addr::LOCALHOST.into(), |info| info.0.ip());
    let mut last = peer.to_canonical();
    if !is_proxy(last) {
        return last;
    }
    for entry in forwarded_for(request.headers()).iter().rev() {
        match address(entry) {
            None => break,
            Some(address) if !is_proxy(address) => return address,
            Some(proxy) => last = proxy,
        }
    }
    last
}

/// A network in CIDR form, or a single address.
///
/// # Errors
/// Neither.
pub(crate) fn parse_network(text: &str) -> Result<IpNet, String> {
    let address = |text: &str| IpAddr::from_str(text).map(|address| address.to_canonical().into());
    IpNet::from_str(text)
        .ok()
        .or_else(|| address(text).ok())
        .ok_or_else(|| "expected an address or a network such as 10.0.0.0/8".to_owned())
}

/// What is limited together: a whole network of 2^64 addresses in IPv6, where a client has as many.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// Entries of all lines; a line that is no text is an entry that is no address.
fn forwarded_for(headers: &HeaderMap) -> Vec<&str> {
    let lines = headers.get_all("x-forwarded-for").into_iter();
    lines
        .flat_map(|line| line.to_str().unwrap_or("").split(','))
        .collect()
}

/// `1.2.3.4`, `1.2.3.4:80`, `::1`, `[::1]` or `[::1]:80`.
fn address(entry: &str) -> Option<IpAddr> {
    let entry = entry.trim();
    let bare = entry.trim_start_matches('[').trim_end_matches(']');
    let with_port = || entry.parse::<SocketAddr>().ok().map(|socket| socket.ip());
    let address = bare.parse().ok().or_else(with_port)?;
    Some(IpAddr::to_canonical(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn from(peer: &str, forwarded: &[&str]) -> IpAddr {
        let mut request = Request::new(());
        let peer: SocketAddr = peer.parse().unwrap();
        request.extensions_mut().insert(ConnectInfo(peer));
        for line in forwarded {
            let value = line.parse().unwrap();
            request.headers_mut().append("x-forwarded-for", value);
        }
        let trusted = ["10.0.0.1", "10.0.2.0/24", "fd00::/8"];
        client_of(&trusted.map(|text| parse_network(text).unwrap()), &request)
    }

    #[test]
    fn only_trusted_proxies_are_believed_and_only_their_last_words() {
        for (peer, forwarded, client) in [
            ("192.0.2.7:1", &["203.0.113.9"][..], "192.0.2.7"),
            ("10.0.0.1:1", &["203.0.113.9"], "203.0.113.9"),
            ("10.0.2.77:1", &["203.0.113.9"], "203.0.113.9"),
            ("10.0.3.1:1", &["203.0.113.9"], "10.0.3.1"),
            (
                "[::ffff:10.0.0.1]:1",
                &["::ffff:203.0.113.9"],
                "203.0.113.9",
            ),
            ("[fd00::1]:1", &["2001:db8::7"], "2001:db8::7"),
            (
                "10.0.0.1:1",
                &["198.51.100.1, 203.0.113.9, 10.0.2.2"],
                "203.0.113.9",
            ),
            (
                "10.0.0.1:1",
                &["198.51.100.1", "203.0.113.9"],
                "203.0.113.9",
            ),
        ] {
            assert_eq!(from(peer, forwarded), ip(client), "{peer} {forwarded:?}");
        }
    }

    #[test]
    fn ports_are_read_and_what_is_no_address_ends_the_search() {
        for (forwarded, client) in [
            ("1.2.3.4, 203.0.113.9:55012", "203.0.113.9"),
            ("1.2.3.4, [2001:db8::7]:55012", "2001:db8::7"),
            ("1.2.3.4, [2001:db8::7]", "2001:db8::7"),
            ("1.2.3.4, unknown", "10.0.0.1"),
            ("1.2.3.4, _hidden, 10.0.2.2", "10.0.2.2"),
            ("1.2.3.4,", "10.0.0.1"),
            ("nonsense", "10.0.0.1"),
        ] {
            assert_eq!(from("10.0.0.1:1", &[forwarded]), ip(client), "{forwarded}");
        }
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let network = |text: &str| network(ip(text)).to_string();
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(network("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(network("192.0.2.7"), "192.0.2.7");
        assert!(parse_network("10.0.0.0/33").is_err() && parse_network("host").is_err());
    }
}
