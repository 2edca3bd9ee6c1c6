//! The program over real sockets: streams, clients that go, ends of every kind. All on loopback.

mod abuse;
mod client;
mod crash;
#[cfg(feature = "adapt")]
mod learning;
mod serving;
