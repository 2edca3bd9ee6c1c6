//! Clients that take and do not give.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use serde_json::json;

use crate::client::{PATIENCE, Server, wait_until};

/// Connections with the beginning of a request.
fn halves(server: &Server, count: usize, half: &str) -> Vec<TcpStream> {
    let open = |_| {
        let mut stream = TcpStream::connect(&server.address).unwrap();
        stream.write_all(half.as_bytes()).unwrap();
        stream
    };
    (0..count).map(open).collect()
}

const HALF_HEAD: &str = "GET /health HTTP/1.1\r\nhost: local";

const HALF_BODY: &str = "POST /infer HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                         content-length: 100\r\n\r\n{";

#[test]
fn half_requests_do_not_keep_others_out() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with_files(dir.path(), 64, "--max-connections 16 --role off");
    let held = halves(&server, 100, HALF_HEAD);
    assert_eq!(server.get("/health")["status"], "ok");
    assert_eq!(server.post("/infer", &json!({"input_text": "a"})).0, 200);
    drop(held);
}

#[test]
fn a_half_head_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), "--role off");
    let mut held = halves(&server, 1, HALF_HEAD).remove(0);
    held.set_read_timeout(Some(PATIENCE)).unwrap();
    // The other side has closed: there is nothing to read any more.
    assert_eq!(held.read(&mut [0; 16]).unwrap(), 0);
}

#[test]
fn the_end_does_not_wait_for_half_heads_and_not_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), "--role off");
    let _held = halves(&server, 3, HALF_HEAD);
    assert_eq!(server.get("/health")["status"], "ok");
    server.terminate();
    let (status, log) = server.end();
    assert_eq!(status, Some(0));
    assert!(!log.contains("cut off"), "{log}");

    let server = Server::start(dir.path(), "--role off");
    let _held = halves(&server, 1, HALF_BODY);
    assert_eq!(server.get("/health")["status"], "ok");
    server.terminate();
    // While a request runs, the server waits; told again, it does not.
    wait_until(|| TcpStream::connect(&server.address).is_err());
    server.terminate();
    let (status, log) = server.end();
    assert_eq!(status, Some(0));
    assert!(log.contains("told again"), "{log}");
}
