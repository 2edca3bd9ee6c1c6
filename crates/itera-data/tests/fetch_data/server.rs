//! A web server for one test: serves named bytes on 127.0.0.1, understands `Range: bytes=N-`, and
//! remembers what was asked for.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

pub(crate) type Files = Vec<(&'static str, Vec<u8>)>;

pub(crate) struct Server {
    pub(crate) base_url: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Serves until the test process ends.
    pub(crate) fn start(files: Files) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base_url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let request = answer(stream, &files);
                seen.lock().unwrap().push(request);
            }
        });
        Self { base_url, requests }
    }

    /// What was asked for since the last call, for example `valid.txt from 12`.
    pub(crate) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.requests.lock().unwrap())
    }
}

/// Answers one request and closes the connection.
fn answer(mut stream: TcpStream, files: &Files) -> String {
    let mut lines = BufReader::new(stream.try_clone().unwrap())
        .lines()
        .map_while(Result::ok);
    let request = lines.next().unwrap_or_default();
    let name = request
        .split(' ')
        .nth(1)
        .unwrap_or_default()
        .trim_start_matches('/')
        .to_owned();
    let start = lines
        .take_while(|line| !line.is_empty())
        .find_map(|line| {
            let range = line.to_ascii_lowercase();
            range
                .strip_prefix("range: bytes=")?
                .strip_suffix('-')?
                .parse::<usize>()
                .ok()
        })
        .unwrap_or(0);
    let (status, extra, body) = match files.iter().find(|(file, _)| *file == name) {
        None => ("404 Not Found", String::new(), &[][..]),
        Some((_, bytes)) if start == 0 => ("200 OK", String::new(), &bytes[..]),
        Some((_, bytes)) if start >= bytes.len() => (
            "416 Range Not Satisfiable",
            format!("Content-Range: bytes */{}\r\n", bytes.len()),
            &[][..],
        ),
        Some((_, bytes)) => {
            let range = format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len());
            (
                "206 Partial Content",
                format!("Content-Range: {range}\r\n"),
                &bytes[start..],
            )
        }
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\n{extra}Connection: close\r\n\r\n",
        body.len()
    );
    // A client that hangs up early is its own test's business.
    let _ = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(body));
    if start == 0 {
        name
    } else {
        format!("{name} from {start}")
    }
}
