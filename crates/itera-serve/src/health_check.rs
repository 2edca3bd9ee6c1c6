//! `health`: the health check of an image that has no other program.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    time::Duration,
};

use itera_cli::{ExitStatus, note};

/// How long the server may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks `/health` of the server at an address of this machine.
#[expect(clippy::unnecessary_wraps, reason = "as every command")]
pub(crate) fn run(host: IpAddr, port: u16) -> anyhow::Result<ExitStatus> {
    let host = match host {
        any if !any.is_unspecified() => any,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    let address = SocketAddr::new(host, port);
    Ok(match ask(address) {
        Ok(status) if status.contains(" 200 ") => ExitStatus::Done,
        Ok(status) => {
            note(format!("the server answers `{}`", status.trim_end()));
            ExitStatus::CheckFailed
        }
        Err(error) => {
            note(format!("no server answers at {address}: {error}"));
            ExitStatus::CheckFailed
        }
    })
}

/// The first line of the answer.
fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut status = String::new();
    BufReader::new(stream).read_line(&mut status)?;
    Ok(status)
}
