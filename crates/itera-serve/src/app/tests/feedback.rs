//! `POST /feedback`.

use super::*;
use crate::{
    metrics::Wanted,
    store::{Place, Store},
};

fn store(app: &App) -> &Store {
    app.store.as_ref().unwrap()
}

#[tokio::test]
async fn feedback_is_recorded_then_updated() {
    let Server { app, dir: _dir } = Server::new("--adapt-after 2").await;
    let id = answered(&app).await;
    let body = json!({"feedback_id": id, "user_rating": 5, "correctness": true});
    let first = ok(&app, "/feedback", &body).await;
    assert_eq!(
        (&first["status"], &first["new_negatives"]),
        (&json!("recorded"), &json!(0))
    );
    let body = json!({"feedback_id": id, "user_rating": 1, "correctness": false,
        "correction": "cd", "comments": "no"});
    let second = ok(&app, "/feedback", &body).await;
    assert_eq!(
        (&second["status"], &second["new_negatives"]),
        (&json!("updated"), &json!(1))
    );
    assert_eq!(second["adaptation_triggered"], false);
    let records = store(&app).after("", 10).await.unwrap();
    assert_eq!(records.len(), 1);
    let record = &records[0].feedback;
    assert_eq!((record.rating, record.correct), (Some(1), Some(false)));
    assert_eq!(record.correction.as_deref(), Some("cd"));
    assert_eq!(record.comments.as_deref(), Some("no"));
    assert_eq!(records[0].answer.prompt, "ab");
    let third = json!({"feedback_id": answered(&app).await, "user_rating": 2});
    let third = ok(&app, "/feedback", &third).await;
    assert_eq!(third["new_negatives"], 2);
    assert_eq!(third["adaptation_triggered"], cfg!(feature = "adapt"));
}

#[tokio::test]
async fn unknown_ids_get_404() {
    let Server { app, dir: _dir } = Server::new("").await;
    let body = json!({"feedback_id": "0123456789abcdef", "user_rating": 5});
    let reply = post(&app, "/feedback", &body).await;
    assert_eq!(reply.status, StatusCode::NOT_FOUND);
    assert_eq!(reply.code(), "unknown_feedback_id");
    assert_eq!(store(&app).counts().await.unwrap().records, 0);
}

#[tokio::test]
async fn bad_feedback_is_named_and_not_stored() {
    let Server { app, dir: _dir } = Server::new("").await;
    let id = answered(&app).await;
    let with = |name: &str, value: Value| {
        let mut body = json!({"feedback_id": id, "user_rating": 3});
        body[name] = value;
        body
    };
    for (body, word) in [
        (json!({"user_rating": 3}), "feedback_id"),
        (json!({"feedback_id": id}), "at least one"),
        (json!({"feedback_id": id, "comments": "x"}), "at least one"),
        (with("feedback_id", json!("")), "feedback_id"),
        (with("feedback_id", json!("a\0")), "feedback_id"),
        (with("user_rating", json!(0)), "1 to 5"),
        (with("user_rating", json!(6)), "1 to 5"),
        (with("user_rating", json!(2.5)), "user_rating"),
        (with("correctness", json!("yes")), "correctness"),
        (with("correction", json!("")), "correction"),
        (with("correction", json!("x".repeat(20_000))), "correction"),
        (with("comments", json!("x".repeat(5000))), "comments"),
        (with("rating", json!(3)), "rating"),
    ] {
        let reply = post(&app, "/feedback", &body).await;
        assert_eq!(
            reply.status,
            StatusCode::UNPROCESSABLE_ENTITY,
            "{}",
            reply.text()
        );
        assert_eq!(reply.code(), "invalid_value");
        assert!(reply.text().contains(word), "{}", reply.text());
    }
    assert_eq!(store(&app).counts().await.unwrap().records, 0);
}

#[tokio::test]
async fn of_what_a_visitor_says_little_counts() {
    for (arguments, expected) in [("--token 0123456789abcdef", 10), ("", 12)] {
        let Server { app, dir: _dir } = Server::new(arguments).await;
        let mut count = Value::Null;
        for _ in 0..12 {
            let body = json!({"feedback_id": answered(&app).await, "correction": "planted"});
            count = ok(&app, "/feedback", &body).await["new_negatives"].clone();
        }
        assert_eq!(count, expected, "{arguments}");
    }
}

#[tokio::test]
async fn of_a_key_counts_as_much_as_its_file_says_and_sources_are_digests() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys.json");
    let entry = |name: &str, more: &str| {
        let sha256 = itera_core::digest::sha256_hex(name.as_bytes());
        format!(
            "{{\"name\": \"{name}\", \"sha256\": \"{sha256}\", \"roles\": [\"feedback\"]{more}}}"
        )
    };
    let keys = [entry("site", ", \"feedback_records\": 2"), entry("all", "")];
    std::fs::write(&file, format!("{{\"keys\": [{}]}}", keys.join(", "))).unwrap();
    let Server { app, dir: _dir } = Server::new(&format!("--keys {}", file.display())).await;
    let mut count = Value::Null;
    for (key, expected) in [("site", 2), ("all", 6)] {
        for _ in 0..4 {
            let body = json!({"feedback_id": answered(&app).await, "correction": "planted"});
            let request = Request::post("/feedback")
                .header(header::CONTENT_TYPE, "application/json")
                .header(header::AUTHORIZATION, format!("Bearer {key}"))
                .body(Body::from(body.to_string()));
            count = send(&app, request.unwrap()).await.json()["new_negatives"].clone();
        }
        assert_eq!(count, expected, "{key}");
    }
    let records = store(&app).after("", 10).await.unwrap();
    let sources = records
        .iter()
        .map(|record| record.feedback.source.clone().unwrap());
    let sources: std::collections::BTreeSet<String> = sources.map(|of| of.digest).collect();
    assert_eq!(sources.len(), 2);
    for digest in sources {
        // Salted: another database has other digests of the same names.
        assert!(digest.len() == 64 && digest != itera_core::digest::sha256_hex(b"key site"));
        assert!(!digest.contains("site"));
    }
}

#[tokio::test]
async fn feedback_is_excluded_and_taken_in_again() {
    let Server { app, dir: _dir } = Server::new("").await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        let id = answered(&app).await;
        ok(
            &app,
            "/feedback",
            &json!({"feedback_id": id, "user_rating": 1}),
        )
        .await;
        ids.push(id);
    }
    let path = format!("/feedback/{}/exclude", ids[0]);
    let negatives = async || store(&app).counts().await.unwrap().new_negatives;
    let reply = ok(&app, &path, &json!({})).await;
    assert_eq!(reply, json!({"excluded": true, "records": 1}));
    assert_eq!(negatives().await, 2);
    // All of them came from this machine.
    let reply = ok(&app, &path, &json!({"whole_source": true})).await;
    assert_eq!(reply["records"], 3);
    assert_eq!(negatives().await, 0);
    let back = json!({"whole_source": true, "excluded": false});
    assert_eq!(
        ok(&app, &path, &back).await,
        json!({"excluded": false, "records": 3})
    );
    assert_eq!(negatives().await, 3);
    for (id, code) in [
        ("0123", "unknown_feedback_id"),
        (&"x".repeat(200), "invalid_value"),
    ] {
        let reply = post(&app, &format!("/feedback/{id}/exclude"), &json!({})).await;
        assert_eq!(reply.code(), code);
    }
    assert_eq!(
        post(&app, &path, &json!({"exclude": true})).await.code(),
        "invalid_value"
    );
}

#[tokio::test]
async fn a_nul_in_feedback_is_stored_as_it_is() {
    let Server { app, dir: _dir } = Server::new("").await;
    let id = answered(&app).await;
    let body = json!({"feedback_id": id, "correction": "a\0b", "comments": "\0"});
    ok(&app, "/feedback", &body).await;
    let record = store(&app).after("", 1).await.unwrap().remove(0).feedback;
    assert_eq!(record.correction.as_deref(), Some("a\0b"));
    assert_eq!(record.comments.as_deref(), Some("\0"));
}

#[tokio::test]
async fn a_locked_database_refuses_feedback_and_recovers() {
    let Server { app, dir } = Server::new("").await;
    let id = answered(&app).await;
    store(&app).flush().await;
    let place = Place::new(dir.path().join("serve.db").to_str().unwrap());
    let (other, _) = Store::open(place).await.unwrap();
    let lock = other.lock().await.unwrap();
    let body = json!({"feedback_id": id, "user_rating": 1});
    let reply = post(&app, "/feedback", &body).await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(reply.code(), "store_unavailable");
    assert!(reply.headers.contains_key(header::RETRY_AFTER));
    // Writing text goes on meanwhile, and its answers are kept for when the lock is gone.
    let meanwhile = answered(&app).await;
    drop(lock);
    assert_eq!(ok(&app, "/feedback", &body).await["status"], "recorded");
    let body = json!({"feedback_id": meanwhile, "user_rating": 4});
    assert_eq!(ok(&app, "/feedback", &body).await["status"], "recorded");
}

#[tokio::test]
async fn a_database_that_is_gone_is_told_and_nothing_panics() {
    let Server { app, dir: _dir } = Server::new("").await;
    let id = answered(&app).await;
    store(&app).flush().await;
    store(&app).close().await;
    let body = json!({"feedback_id": id, "user_rating": 1});
    for (path, body) in [("/feedback", body), ("/adapt/rollback", json!({}))] {
        let reply = post(&app, path, &body).await;
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert_eq!(reply.code(), "store_unavailable");
    }
    // Text is written on, so requests may be sent here.
    let ready = get(&app, "/ready").await;
    assert_eq!(ready.status, StatusCode::OK);
    assert_eq!(ready.json()["database"], "failing");
    assert_eq!(get(&app, "/adapt/status").await.code(), "store_unavailable");
    assert_eq!(get(&app, "/health").await.status, StatusCode::OK);
    let metrics = get(&app, "/stats").await.json();
    assert_eq!(metrics["adaptive"]["feedback_records"], Value::Null);
    ok(&app, "/infer", &json!({"input_text": "ab"})).await;
}

#[tokio::test]
async fn an_answer_is_forgotten_with_its_feedback() {
    let Server { app, dir: _dir } = Server::new("").await;
    let id = answered(&app).await;
    let body = json!({"feedback_id": id, "user_rating": 1});
    ok(&app, "/feedback", &body).await;
    let forget = || {
        let request = Request::delete(format!("/feedback/{id}"));
        send(&app, request.body(Body::empty()).unwrap())
    };
    let reply = forget().await;
    assert_eq!(reply.json(), json!({"answers": 1, "feedback": 1}));
    assert_eq!(forget().await.code(), "unknown_feedback_id");
    assert_eq!(
        post(&app, "/feedback", &body).await.code(),
        "unknown_feedback_id"
    );
    assert_eq!(store(&app).counts().await.unwrap().records, 0);
}

#[tokio::test]
async fn what_is_not_to_be_stored_is_not() {
    let Server { app, dir: _dir } = Server::new("").await;
    let body = json!({"input_text": "ab", "max_length": 2, "store": false});
    assert_eq!(ok(&app, "/infer", &body).await["feedback_id"], Value::Null);
    let body = json!({"prompt": "ab", "max_tokens": 2, "store": false});
    let reply = ok(&app, "/v1/completions", &body).await;
    assert_eq!(reply["choices"][0]["feedback_id"], Value::Null);
    let long = json!({"prompt": "ab", "user": "x".repeat(300)});
    assert_eq!(
        post(&app, "/v1/completions", &long).await.code(),
        "invalid_value"
    );
}

#[tokio::test]
async fn a_server_without_a_database_writes_and_says_what_it_does_not() {
    let Server { app, dir } = Server::new("--database none").await;
    let reply = ok(&app, "/infer", &json!({"input_text": "ab"})).await;
    assert_eq!(reply["feedback_id"], Value::Null);
    let body = json!({"feedback_id": "a", "user_rating": 1});
    for (path, body) in [
        ("/feedback", body),
        ("/adapt", json!({})),
        ("/adapt/rollback", json!({})),
        ("/adapt/pause", json!({})),
        ("/adapt/x/approve", json!({})),
        ("/adapt/x/reject", json!({})),
        ("/feedback/x/exclude", json!({})),
    ] {
        let reply = post(&app, path, &body).await;
        assert_eq!(reply.status, StatusCode::NOT_IMPLEMENTED, "{path}");
        assert_eq!(reply.code(), "no_database");
    }
    let ready = get(&app, "/ready").await;
    assert_eq!(
        (ready.status, &ready.json()["database"]),
        (StatusCode::OK, &json!("none"))
    );
    assert_eq!(get(&app, "/stats").await.status, StatusCode::OK);
    assert!(!dir.path().join("serve.db").exists());
}

#[tokio::test]
async fn what_people_want_is_scored_by_the_served_and_the_first_weights() {
    let Server { app, dir: _dir } = Server::new("").await;
    // It waits for requests for scores.
    let seat = app.scoring.acquire().await.unwrap();
    let verdicts = [
        (json!({"correction": "cd ef"}), 5),
        (json!({"user_rating": 1}), 0),
        (json!({"user_rating": 3}), 0),
    ];
    let mut expected = 0;
    for (mut verdict, bytes) in verdicts {
        verdict["feedback_id"] = answered(&app).await.into();
        ok(&app, "/feedback", &verdict).await;
        // Said again, it is not counted again.
        ok(&app, "/feedback", &verdict).await;
        expected += bytes;
    }
    // A correction counts where there was a rating, too.
    let id = answered(&app).await;
    for verdict in [json!({"user_rating": 2}), json!({"correction": "gh"})] {
        let mut verdict = verdict;
        verdict["feedback_id"] = id.clone().into();
        ok(&app, "/feedback", &verdict).await;
    }
    expected += 2;
    assert_eq!(app.metrics.online(Wanted::Corrected).bytes, 0);
    drop(seat);
    let online = loop {
        let online = app.metrics.online(Wanted::Corrected);
        if online.bytes >= expected {
            break online;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    };
    assert_eq!(online.bytes, expected);
    assert!(online.served_nats > 0.0 && (online.served_nats - online.base_nats).abs() < 1e-12);
    let metrics = get(&app, "/metrics").await.text();
    assert!(
        metrics.contains("itera_online_bytes_total{kind=\"corrected\"} 7\n"),
        "{metrics}"
    );
    assert!(
        metrics.contains("itera_online_nats_total{kind=\"corrected\",weights=\"base\"} "),
        "{metrics}"
    );
}
