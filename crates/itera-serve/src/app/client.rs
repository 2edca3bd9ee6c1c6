//! Who asks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use axum::{
    extract::{ConnectInfo, Request},
    http::HeaderMap,
};

/// The address of the client: that of the connection, unless that is a proxy which is believed; then the
/// last address of `X-Forwarded-For` that is none. Addresses before it are the client's own words.
pub(super) fn address<T>(request: &Request<T>, trusted: &[IpAddr]) -> IpAddr {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let peer = peer.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |info| info.0.ip());
    if !trusted.contains(&peer) {
        return peer;
    }
    let mut forwarded = forwarded_for(request.headers()).into_iter().rev();
    forwarded
        .find(|address| !trusted.contains(address))
        .unwrap_or(peer)
}

/// What is limited together: a whole network of 2^64 addresses in IPv6, where a client has as many.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => IpAddr::V4(v4),
            None => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        },
    }
}

fn forwarded_for(headers: &HeaderMap) -> Vec<IpAddr> {
    let lines = headers.get_all("x-forwarded-for").into_iter();
    let lines = lines.filter_map(|line| line.to_str().ok());
    lines
        .flat_map(|line| line.split(','))
        .filter_map(|address| address.trim().parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(peer: &str, forwarded: &str) -> IpAddr {
        let mut request = Request::new(());
        let peer: SocketAddr = peer.parse().unwrap();
        request.extensions_mut().insert(ConnectInfo(peer));
        let value = forwarded.parse().unwrap();
        request.headers_mut().insert("x-forwarded-for", value);
        let trusted = ["10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()];
        address(&request, &trusted)
    }

    #[test]
    fn only_trusted_proxies_are_believed_and_only_their_last_words() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(from("192.0.2.7:1", "203.0.113.9"), ip("192.0.2.7"));
        assert_eq!(from("10.0.0.1:1", "203.0.113.9"), ip("203.0.113.9"));
        assert_eq!(
            from("10.0.0.1:1", "198.51.100.1, 203.0.113.9, 10.0.0.2"),
            ip("203.0.113.9")
        );
        assert_eq!(from("10.0.0.1:1", "nonsense"), ip("10.0.0.1"));
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let network = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(network("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(network("192.0.2.7"), "192.0.2.7");
    }
}
