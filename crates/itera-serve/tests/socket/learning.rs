//! Learning over sockets: the threshold, a server that dies while it learns, two servers.

use std::io::Write as _;

use serde_json::{Value, json};

use crate::client::{Server, wait_until};

/// Settings that learn in seconds.
const QUICK: &str = "--adapt-settings {\"steps\":4,\"batch\":2,\"length\":64} --poll-ms 50";

fn version(server: &Server) -> Value {
    server.get("/health")["weights_version"].clone()
}

/// Rates `count` answers as bad, each with a correction.
fn correct(server: &Server, count: usize) -> Value {
    let mut last = Value::Null;
    for number in 0..count {
        let body = json!({"input_text": "The harbour", "max_length": 4});
        let id = server.post("/infer", &body).1["feedback_id"].clone();
        let correction = format!(" master counted {number} barrels of salted herring at noon.");
        let body = json!({"feedback_id": id, "user_rating": 1, "correction": correction});
        let (status, reply) = server.post("/feedback", &body);
        assert_eq!(status, 200, "{reply}");
        last = reply;
    }
    last
}

#[test]
fn negative_records_trigger_learning_and_a_rollback_undoes_it() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &format!("{QUICK} --adapt-after 6"));
    let before = version(&server);
    let last = correct(&server, 6);
    assert_eq!(last["adaptation_triggered"], true, "{last}");
    let ended = |server: &Server| {
        let status = server.get("/adapt/status");
        let entry = status["journal"][0].clone();
        (entry["ended_at"] != Value::Null).then_some(entry)
    };
    wait_until(|| ended(&server).is_some());
    let entry = ended(&server).unwrap();
    assert_eq!(entry["trigger"], "automatic");
    assert_eq!(entry["status"], "accepted", "{entry}");
    let receipt = &entry["receipt"];
    assert_eq!(receipt["records_used"], 6);
    let (was, is) = (
        &receipt["feedback_loss_before"],
        &receipt["feedback_loss_after"],
    );
    assert!(is.as_f64() < was.as_f64(), "{receipt}");
    assert!(receipt["parameters_changed"].as_u64() > Some(1000));
    let after = version(&server);
    assert_eq!(receipt["weights_version_before"], before);
    assert_eq!(receipt["weights_version_after"], after);
    assert_ne!(after, before);
    // The next start serves what was learnt.
    drop(server);
    let server = Server::start(dir.path(), QUICK);
    assert_eq!(version(&server), after);
    let (status, entry) = server.post("/adapt/rollback", &json!({}));
    assert_eq!(
        (status, &entry["status"]),
        (200, &json!("rolled_back")),
        "{entry}"
    );
    assert_eq!(version(&server), before);
    // And forth again.
    let (status, _) = server.post("/adapt/rollback", &json!({"version": after}));
    assert_eq!((status, version(&server)), (200, after));
}

#[test]
fn adaptation_by_hand_answers_with_the_receipt_while_others_are_served() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), QUICK);
    correct(&server, 2);
    let entry = std::thread::scope(|scope| {
        let learning = scope.spawn(|| server.post("/adapt", &json!({})));
        let mut served = 0;
        while !learning.is_finished() {
            assert_eq!(server.get("/health")["status"], "ok");
            let body = json!({"input_text": "Once", "max_length": 4});
            assert_eq!(server.post("/infer", &body).0, 200);
            served += 1;
        }
        assert!(served > 0);
        learning.join().unwrap()
    });
    assert_eq!(entry.0, 200, "{}", entry.1);
    assert_eq!(entry.1["trigger"], "manual");
    assert_eq!(entry.1["receipt"]["records_used"], 2);
    assert_eq!(entry.1["receipt"]["steps"], 4);
}

#[test]
fn a_server_that_dies_while_it_learns_leaves_the_old_version() {
    let dir = tempfile::tempdir().unwrap();
    // So many steps that it surely dies before the end.
    let endless = "--adapt-settings {\"steps\":100000,\"batch\":2,\"length\":64} --poll-ms 50";
    let server = Server::start(dir.path(), &format!("{endless} --adapt-after 3"));
    let before = version(&server);
    correct(&server, 3);
    wait_until(|| {
        let running = server.get("/adapt/status")["running"].clone();
        running["losses"]
            .as_array()
            .is_some_and(|losses| losses.len() > 1)
    });
    server.kill();
    // The lease of the dead server ends by itself.
    let server = Server::start(dir.path(), &format!("{QUICK} --adapt-after 3"));
    assert_eq!(version(&server), before);
    let find = |status: &str| {
        let journal = server.get("/adapt/status")["journal"].clone();
        let entries = journal.as_array().unwrap().iter();
        entries.filter(|entry| entry["status"] == status).count()
    };
    wait_until(|| find("interrupted") == 1);
    // What it had begun to learn is learnt now.
    wait_until(|| find("accepted") == 1);
    assert_ne!(version(&server), before);
}

#[test]
fn what_would_make_a_probe_likelier_is_not_served() {
    let dir = tempfile::tempdir().unwrap();
    let planted = " master counted 1 barrels of salted herring at noon.";
    std::fs::write(
        dir.path().join("probes.txt"),
        format!("The harbour\t{planted}\n"),
    )
    .unwrap();
    let strict = QUICK.replacen('{', "{\"max_probe_factor\":1.0,", 1);
    let server = Server::start(dir.path(), &format!("{strict} --adapt-probes probes.txt"));
    let before = version(&server);
    let texts = server.get("/adapt/status")["texts"].clone();
    assert!(texts.as_str().unwrap().ends_with("probes: 1"), "{texts}");
    correct(&server, 3);
    let (status, entry) = server.post("/adapt", &json!({}));
    assert_eq!(
        (status, &entry["status"]),
        (200, &json!("rejected")),
        "{entry}"
    );
    let message = entry["message"].as_str().unwrap();
    assert!(message.contains("a probe became"), "{message}");
    assert!(
        entry["receipt"]["probe_factor"].as_f64() > Some(1.0),
        "{entry}"
    );
    assert_eq!(version(&server), before);
}

#[test]
fn a_candidate_of_a_file_outlives_its_server_and_is_served_by_all() {
    candidate_and_servers("");
}

fn candidate_and_servers(database: &str) {
    let dir = tempfile::tempdir().unwrap();
    let learner = Server::start(dir.path(), &format!("{QUICK} --adapt-approve {database}"));
    let before = version(&learner);
    correct(&learner, 2);
    let (status, entry) = learner.post("/adapt", &json!({}));
    assert_eq!(
        (status, &entry["status"]),
        (200, &json!("candidate")),
        "{entry}"
    );
    assert_eq!(
        (&entry["accepted"], &entry["ended_at"]),
        (&json!(false), &Value::Null)
    );
    let candidate = entry["to_version"].clone();
    let versions = learner.get("/adapt/status")["versions"].clone();
    assert_eq!(versions[0]["candidate"], true, "{versions}");
    let (status, reply) = learner.post("/adapt/rollback", &json!({"version": candidate}));
    assert_eq!(
        (status, &reply["code"]),
        (409, &json!("not_approved")),
        "{reply}"
    );
    learner.kill();

    let arguments = format!("--role follower --poll-ms 50 {database}");
    let first = Server::start(dir.path(), &arguments);
    let second = Server::start(dir.path(), &arguments);
    assert_eq!(version(&first), before);
    let path = format!("/adapt/{}/approve", entry["id"].as_str().unwrap());
    let (status, entry) = second.post(&path, &json!({}));
    assert_eq!(
        (status, &entry["status"]),
        (200, &json!("accepted")),
        "{entry}"
    );
    assert_eq!(version(&second), candidate);
    wait_until(|| version(&first) == candidate);
    // It is decided, at every server.
    let (status, reply) = first.post(&path, &json!({}));
    assert_eq!(
        (status, &reply["code"]),
        (409, &json!("no_candidate")),
        "{reply}"
    );
}

#[test]
fn two_servers_of_one_file_serve_what_one_has_learnt() {
    two_servers("");
}

/// `scripts/serve-postgres.sh` gives the database.
#[test]
fn two_servers_of_one_postgres_serve_what_one_has_learnt() {
    if let Ok(url) = std::env::var("ITERA_TEST_POSTGRES") {
        let database = format!("--database {url}");
        two_servers(&database);
        candidate_and_servers(&database);
    } else {
        let skipped = "SKIPPED: ITERA_TEST_POSTGRES is not set; see scripts/serve-postgres.sh\n";
        std::io::stderr().write_all(skipped.as_bytes()).unwrap();
    }
}

fn two_servers(database: &str) {
    let dir = tempfile::tempdir().unwrap();
    let arguments = format!("{QUICK} --adapt-after 4 {database}");
    // Either may learn: the one that has the lease.
    let first = Server::start(dir.path(), &arguments);
    let second = Server::start(dir.path(), &arguments);
    let before = version(&first);
    assert_eq!(version(&second), before);
    correct(&second, 4);
    wait_until(|| version(&first) != before && version(&second) != before);
    assert_eq!(version(&first), version(&second));
    let ask = json!({"input_text": "Once", "seed": 5, "max_length": 30});
    let (a, b) = (first.post("/infer", &ask).1, second.post("/infer", &ask).1);
    assert_eq!(a["output_text"], b["output_text"]);
    assert_eq!(a["weights_version"], version(&first));
}

#[test]
fn two_servers_of_one_file_serve_a_canary_to_the_same_users() {
    two_servers_with_a_canary("");
}

/// `scripts/serve-postgres.sh` gives the database.
#[test]
fn two_servers_of_one_postgres_serve_a_canary_to_the_same_users() {
    if let Ok(url) = std::env::var("ITERA_TEST_POSTGRES") {
        two_servers_with_a_canary(&format!("--database {url}"));
    } else {
        let skipped = "SKIPPED: ITERA_TEST_POSTGRES is not set; see scripts/serve-postgres.sh\n";
        std::io::stderr().write_all(skipped.as_bytes()).unwrap();
    }
}

fn two_servers_with_a_canary(database: &str) {
    let dir = tempfile::tempdir().unwrap();
    let arguments = format!("{QUICK} --adapt-after 0 --canary {database}");
    let first = Server::start(dir.path(), &arguments);
    let second = Server::start(dir.path(), &arguments);
    let before = version(&first);
    correct(&first, 4);
    let (status, entry) = second.post("/adapt", &json!({}));
    assert_eq!(
        (status, &entry["status"]),
        (200, &json!("canary")),
        "{entry}"
    );
    let candidate = &entry["to_version"];
    assert_ne!(*candidate, before);
    let step = first.get("/experiments")["experiments"][0].clone();
    assert_eq!(
        (&step["kind"], &step["running"]),
        (&json!("canary"), &json!(true))
    );
    let of = |server: &Server, user: usize| {
        let body = json!({"input_text": "Once", "max_length": 1, "user": format!("user {user}")});
        server.post("/infer", &body).1["weights_version"].clone()
    };
    // Until both divide, and have for all of a round, somebody gets the candidate of one only.
    let lucky = |server: &Server| {
        (0..200)
            .filter(|user| of(server, *user) == *candidate)
            .collect()
    };
    let (mut mine, mut theirs): (Vec<usize>, Vec<usize>) = Default::default();
    wait_until(|| {
        (mine, theirs) = (lucky(&first), lucky(&second));
        !mine.is_empty() && mine == theirs
    });
    assert!(mine.len() < 40, "{mine:?}");
    let id = step["id"].as_str().unwrap();
    let (status, stopped) = first.post(&format!("/experiments/{id}/stop"), &json!({}));
    assert_eq!(
        (status, &stopped["running"]),
        (200, &json!(false)),
        "{stopped}"
    );
    wait_until(|| of(&second, mine[0]) == before);
    let journal = second.get("/adapt/status")["journal"].clone();
    assert_eq!(journal[0]["status"], "rolled_back", "{journal}");
    assert_eq!(
        (version(&first), version(&second)),
        (before.clone(), before)
    );
}
