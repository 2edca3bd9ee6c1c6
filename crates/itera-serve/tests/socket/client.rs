//! The program as a process, and the least that is a client.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde_json::Value;

/// Longest that anything may take before a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_mins(5);

/// A running server; it is killed when this is dropped.
pub(crate) struct Server {
    child: Child,
    /// Gives all that the server has said.
    log: Option<JoinHandle<String>>,
    pub(crate) address: String,
}

impl Server {
    /// Starts a server with the database `serve.db` of a folder, and waits until it listens.
    pub(crate) fn start(dir: &Path, arguments: &str) -> Self {
        Self::of(command(dir), arguments)
    }

    /// Starts one that can open so many files.
    pub(crate) fn start_with_files(dir: &Path, files: usize, arguments: &str) -> Self {
        let mut limited = Command::new("sh");
        let script = format!("ulimit -n {files}; exec \"$@\"");
        limited.args(["-c", &script, "limited", env!("CARGO_BIN_EXE_itera-serve")]);
        Self::of(in_folder(limited, dir), arguments)
    }

    fn of(mut command: Command, arguments: &str) -> Self {
        let mut child = command
            .args("--port 0 --rate-limit 0".split(' '))
            .env("ITERA_CHECKPOINT", "micro-tinystories")
            .args(arguments.split_whitespace())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, listens) = mpsc::channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let log = thread::spawn(move || {
            let mut log = String::new();
            for line in stderr.lines().map_while(Result::ok) {
                if let Some((_, address)) = line.split_once("http://") {
                    let _ = sender.send(address.to_owned());
                }
                log += &(line + "\n");
            }
            log
        });
        let address = listens
            .recv_timeout(PATIENCE)
            .expect("the server did not start");
        Self {
            child,
            log: Some(log),
            address,
        }
    }

    /// Ends it without a word, as a power cut would.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to end.
    pub(crate) fn terminate(&self) {
        let id = self.child.id().to_string();
        let told = Command::new("kill").args(["-TERM", &id]).status().unwrap();
        assert!(told.success());
    }

    /// Waits for its end; gives the exit status.
    pub(crate) fn wait(self) -> Option<i32> {
        self.end().0
    }

    /// As [`Self::wait`], with what the server has said.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                let log = self.log.take().expect("a server ends once");
                return (status.code(), log.join().unwrap());
            }
            assert!(began.elapsed() < PATIENCE, "the server does not end");
            thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn connect(&self) -> Client {
        Client::new(&self.address)
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        self.connect().ask("GET", path, None).expect("an answer").1
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.connect()
            .ask("POST", path, Some(body))
            .expect("an answer")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program in a folder.
pub(crate) fn command(dir: &Path) -> Command {
    in_folder(Command::new(env!("CARGO_BIN_EXE_itera-serve")), dir)
}

fn in_folder(mut command: Command, dir: &Path) -> Command {
    command
        .env("ITERA_DATABASE", dir.join("serve.db"))
        .current_dir(dir);
    command
}

/// A connection that is used again and again.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    pub(crate) fn new(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream: BufReader::new(stream),
        }
    }

    /// Sends a request; none if the server has gone.
    pub(crate) fn send(&mut self, method: &str, path: &str, body: Option<&Value>) -> Option<()> {
        let body = body.map_or(String::new(), Value::to_string);
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.stream.get_mut().write_all(request.as_bytes()).ok()
    }

    /// Status and whether the body comes in chunks, or its length.
    pub(crate) fn head(&mut self) -> Option<(u16, Option<usize>)> {
        let status = self.line()?;
        let status = status.split(' ').nth(1)?.parse().ok()?;
        let mut length = None;
        loop {
            let line = self.line()?.to_lowercase();
            if line.is_empty() {
                return Some((status, length));
            }
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().ok();
            }
        }
    }

    /// A line without its end.
    pub(crate) fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(len) if len > 0 && line.ends_with('\n') => Some(line.trim_end().to_owned()),
            _ => None,
        }
    }

    /// Status and JSON body; none if the server has gone before the answer was whole.
    pub(crate) fn ask(
        &mut self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Option<(u16, Value)> {
        self.send(method, path, body)?;
        let (status, length) = self.head()?;
        let mut body = vec![0; length?];
        self.stream.read_exact(&mut body).ok()?;
        Some((status, serde_json::from_slice(&body).ok()?))
    }
}

/// Waits until something holds.
pub(crate) fn wait_until(mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "it never came");
        thread::sleep(Duration::from_millis(10));
    }
}
