//! Feedback that was acknowledged is there after `kill -9`.

use std::{
    collections::BTreeSet,
    fs,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use serde_json::{Value, json};

use crate::client::{Client, Server, command};

/// Acknowledged records over all servers, and how often one is killed on the way.
const RECORDS: usize = 1000;
const KILLS: usize = 4;
const CLIENTS: usize = 8;

#[test]
fn no_acknowledged_feedback_is_lost_by_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let acknowledged = Mutex::new(BTreeSet::new());
    for round in 1..=KILLS {
        let server = Server::start(dir.path(), "--role off");
        rate_until(&server, &acknowledged, RECORDS * round / KILLS);
        // The clients are still sending.
        server.kill();
    }
    let acknowledged = acknowledged.into_inner().unwrap();
    assert!(acknowledged.len() >= RECORDS);
    let export = command(dir.path())
        .args(["feedback", "export"])
        .output()
        .unwrap();
    assert!(export.status.success());
    let stored: BTreeSet<String> = String::from_utf8(export.stdout)
        .unwrap()
        .lines()
        .map(|line| {
            let record: Value = serde_json::from_str(line).unwrap();
            assert_eq!(record["comments"], record["output_text"], "{record}");
            record["feedback_id"].as_str().unwrap().to_owned()
        })
        .collect();
    let lost: Vec<_> = acknowledged.difference(&stored).collect();
    assert!(lost.is_empty(), "{} lost: {lost:?}", lost.len());
}

/// As docs/serving.md says how to.
#[test]
fn a_backup_that_was_made_while_a_server_runs_is_put_in_the_place_of_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), "--role off");
    let mut client = Client::new(&server.address);
    let first = rate(&mut client).unwrap();
    let backup = command(dir.path())
        .args(["backup", "copy.db"])
        .output()
        .unwrap();
    assert!(backup.status.success(), "{backup:?}");
    rate(&mut client).unwrap();
    server.kill();
    let path = |name: &str| dir.path().join(name);
    for rest in ["serve.db-wal", "serve.db-shm"] {
        let _ = fs::remove_file(path(rest));
    }
    fs::rename(path("copy.db"), path("serve.db")).unwrap();

    let server = Server::start(dir.path(), "--role off");
    assert_eq!(server.get("/stats")["adaptive"]["feedback_records"], 1);
    let again = json!({"feedback_id": first, "user_rating": 5});
    assert_eq!(server.post("/feedback", &again).0, 200);
}

/// Clients write and rate until `wanted` records are acknowledged in all; the last are sent after that,
/// so that there are some on their way when the server dies.
fn rate_until(server: &Server, acknowledged: &Mutex<BTreeSet<String>>, wanted: usize) {
    let after = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = Client::new(&server.address);
                while after.load(Ordering::Relaxed) < CLIENTS {
                    if let Some(id) = rate(&mut client) {
                        let mut acknowledged = acknowledged.lock().unwrap();
                        acknowledged.insert(id);
                        if acknowledged.len() >= wanted {
                            after.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
                // On its way when the server is killed; not acknowledged, so it may be lost.
                client.send("POST", "/feedback", Some(&json!({})));
            });
        }
    });
}

/// Writes something and rates it; the id if that was acknowledged.
fn rate(client: &mut Client) -> Option<String> {
    let body = json!({"input_text": "Once", "max_length": 2});
    let (status, reply) = client.ask("POST", "/infer", Some(&body))?;
    assert_eq!(status, 200, "{reply}");
    let body = json!({"feedback_id": reply["feedback_id"], "user_rating": 2,
        "correctness": false, "comments": reply["output_text"]});
    let (status, reply) = client.ask("POST", "/feedback", Some(&body))?;
    assert_eq!(status, 200, "{reply}");
    Some(reply["feedback_id"].as_str()?.to_owned())
}
