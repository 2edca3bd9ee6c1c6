//! `GET /quality`.

use super::*;
use crate::app::keep;

#[tokio::test]
async fn hours_outlive_the_server() {
    let server = Server::new("").await;
    let app = &server.app;
    assert_eq!(get(app, "/quality").await.json(), json!({"hours": []}));
    let id = answered(app).await;
    let verdict = json!({"feedback_id": id, "user_rating": 1});
    ok(app, "/feedback", &verdict).await;
    keep(app).await.unwrap();
    // Nothing new is nothing added.
    keep(app).await.unwrap();
    app.metrics
        .count_online(crate::metrics::Wanted::Corrected, 10, 5.0, 6.0);
    // Prompts that are like each other, and then are not.
    for number in 0..600 {
        let bits_per_byte = f64::from(number % 7) + if number < 500 { 0.0 } else { 9.0 };
        app.quality.prompt(bits_per_byte);
    }
    keep(app).await.unwrap();

    let file = server.dir.path().join("serve.db");
    let next = Server::new(&format!("--database {}", file.display())).await;
    let hours = get(&next.app, "/quality?days=1").await.json()["hours"].clone();
    // A full hour may pass in a test.
    let sum = |name: &str| -> f64 {
        let hours = hours.as_array().unwrap();
        hours.iter().filter_map(|hour| hour[name].as_f64()).sum()
    };
    for (name, expected) in [
        ("requests", 1.0),
        ("errors", 0.0),
        ("answers", 1.0),
        ("feedback", 1.0),
        ("negative", 1.0),
        ("corrected_bytes", 10.0),
        ("drift_alarms", 1.0),
    ] {
        assert!((sum(name) - expected).abs() < 1e-9, "{name}: {hours}");
    }
    let bits = |nats: f64| nats / std::f64::consts::LN_2 / 10.0;
    assert!((sum("corrected_bits_per_byte_served") - bits(5.0)).abs() < 1e-9);
    assert!((sum("corrected_bits_per_byte_base") - bits(6.0)).abs() < 1e-9);
    assert!(sum("mean_latency_ms") > 0.0);
}

#[tokio::test]
async fn days_are_a_number_in_a_range() {
    let Server { app, dir: _dir } = Server::new("").await;
    for days in ["0", "401", "-1", "x", "", "1&hours=2"] {
        let reply = get(&app, &format!("/quality?days={days}")).await;
        assert_eq!(reply.status, StatusCode::UNPROCESSABLE_ENTITY, "{days}");
        assert_eq!(reply.code(), "invalid_value");
    }
    assert_eq!(get(&app, "/quality?days=400").await.status, StatusCode::OK);
    let Server { app, dir: _dir } = Server::new("--database none").await;
    assert_eq!(get(&app, "/quality").await.code(), "no_database");
}
