//! Answers, streams, clients that go, and a friendly end.

use serde_json::json;

use crate::client::{Server, command, wait_until};

#[test]
fn the_server_answers_and_ends_when_told() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), "");
    assert_eq!(server.get("/health")["status"], "ok");
    assert_eq!(server.get("/ready")["status"], "ok");
    let body = json!({"input_text": "Once upon a time", "max_length": 16, "temperature": 0.1});
    let (status, reply) = server.post("/infer", &body);
    assert_eq!(status, 200, "{reply}");
    assert_eq!(reply["tokens_generated"], 16);
    server.terminate();
    assert_eq!(server.wait(), Some(0));
}

#[test]
fn a_client_that_goes_frees_its_slot() {
    let dir = tempfile::tempdir().unwrap();
    // One slot: whoever comes next waits for it.
    let server = Server::start(dir.path(), "--workers 1 --slots 1");
    let before = server.get("/stats")["tokens_generated"].as_u64().unwrap();
    // Of eighty long streams only the beginnings are read.
    let long = json!({"prompt": "Once", "max_tokens": 512, "stream": true, "temperature": 0,
        "stop": ["never written"]});
    for _ in 0..80 {
        let mut client = server.connect();
        client.send("POST", "/v1/completions", Some(&long)).unwrap();
        assert_eq!(client.head().unwrap().0, 200);
        let event = std::iter::from_fn(|| client.line()).find(|line| line.starts_with("data: "));
        assert!(event.unwrap().contains("\"text\""));
    }
    wait_until(|| server.get("/stats")["queue"]["running"] == 0);
    let metrics = server.get("/stats");
    let written = metrics["tokens_generated"].as_u64().unwrap() - before;
    assert!(
        written < 80 * 512 / 2,
        "{written} tokens were written for nobody"
    );
    let (status, _) = server.post("/infer", &json!({"input_text": "a", "max_length": 1}));
    assert_eq!(status, 200);
}

#[test]
fn what_runs_is_finished_before_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), "");
    let mut client = server.connect();
    let body = json!({"prompt": "Once upon a time", "max_tokens": 512, "stream": true});
    client.send("POST", "/v1/completions", Some(&body)).unwrap();
    assert_eq!(client.head().unwrap().0, 200);
    server.terminate();
    let lines: Vec<String> = std::iter::from_fn(|| client.line()).collect();
    assert!(
        lines.iter().any(|line| line == "data: [DONE]"),
        "{:?}",
        lines.last()
    );
    drop(client);
    assert_eq!(server.wait(), Some(0));
}

#[test]
fn health_answers_while_all_slots_are_taken() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), "--workers 1 --slots 1 --queue 64");
    let long = json!({"prompt": "Once", "max_tokens": 512, "temperature": 0});
    let mut clients: Vec<_> = (0..40)
        .map(|_| {
            let mut client = server.connect();
            client.send("POST", "/v1/completions", Some(&long)).unwrap();
            client
        })
        .collect();
    let mut was_busy = false;
    for _ in 0..20 {
        assert_eq!(server.get("/health")["status"], "ok");
        let waiting = server.get("/stats")["queue"]["waiting"].as_u64().unwrap();
        was_busy |= waiting > 0;
    }
    assert!(was_busy, "the requests were done before health was asked");
    for client in &mut clients {
        assert_eq!(client.head().unwrap().0, 200);
    }
}

#[test]
fn a_database_moves_to_another_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), "--role off");
    let (_, answer) = server.post("/infer", &json!({"input_text": "a"}));
    let rating = json!({"feedback_id": answer["feedback_id"], "user_rating": 1});
    assert_eq!(server.post("/feedback", &rating).0, 200);
    server.terminate();
    assert_eq!(server.wait(), Some(0));
    let other = ["--checkpoint", "nano-tinystories"];
    let refused = command(dir.path()).args(other).output().unwrap();
    let message = String::from_utf8(refused.stderr).unwrap();
    assert!(message.contains("itera-serve rebase"), "{message}");
    let moved = command(dir.path()).arg("rebase").args(other).status();
    assert!(moved.unwrap().success());
    let server = Server::start(dir.path(), "--checkpoint nano-tinystories");
    let status = server.get("/adapt/status");
    assert_eq!(status["feedback_records"], 1);
    assert_eq!(status["journal"][0]["trigger"], "rebase");
}
