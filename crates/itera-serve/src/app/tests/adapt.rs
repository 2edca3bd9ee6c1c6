//! `/adapt` and what is under it, as far as nothing has to be learnt.

use super::*;

#[tokio::test]
async fn the_status_of_a_new_server() {
    let Server { app, dir: _dir } = Server::new("").await;
    let status = get(&app, "/adapt/status").await.json();
    assert_eq!(
        status["active_version"],
        *app.models.first().base.weights.version
    );
    assert_eq!(status["base_version"], status["active_version"]);
    assert_eq!(status["versions"][0]["active"], true);
    assert_eq!(status["versions"].as_array().unwrap().len(), 1);
    assert_eq!(status["journal"], json!([]));
    assert_eq!(status["adapt_after"], 50);
    assert_eq!(status["learns"], cfg!(feature = "adapt"));
}

#[tokio::test]
async fn there_is_nothing_before_the_first_version() {
    let Server { app, dir: _dir } = Server::new("").await;
    let reply = post(&app, "/adapt/rollback", &json!({})).await;
    assert_eq!(reply.status, StatusCode::CONFLICT);
    assert_eq!(reply.code(), "nothing_before");
    let version = app.models.first().base.weights.version.to_string();
    let reply = post(&app, "/adapt/rollback", &json!({"version": version})).await;
    assert_eq!(reply.code(), "already_active");
    for name in ["0123456789", &version[..4], ""] {
        let reply = post(&app, "/adapt/rollback", &json!({"version": name})).await;
        assert_eq!(reply.status, StatusCode::NOT_FOUND, "{name}");
        assert_eq!(reply.code(), "unknown_version");
    }
}

#[tokio::test]
async fn there_is_nothing_to_learn_without_feedback() {
    let Server { app, dir: _dir } = Server::new("").await;
    let reply = post(&app, "/adapt", &json!({})).await;
    let learns = cfg!(feature = "adapt");
    assert_eq!(
        reply.code(),
        if learns {
            "no_feedback"
        } else {
            "does_not_learn"
        }
    );
    let Server { app, dir: _dir } = Server::new("--role off").await;
    let reply = post(&app, "/adapt", &json!({})).await;
    assert_eq!(reply.code(), "does_not_learn");
}

#[tokio::test]
async fn requests_to_learn_are_one_until_it_has_begun() {
    let Server { app, dir: _dir } = Server::new("").await;
    let store = app.store.as_ref().unwrap();
    let first = store.request().await.unwrap();
    for _ in 0..40 {
        assert_eq!(store.request().await.unwrap(), first);
    }
    assert!(store.withdraw(&first).await.unwrap());
    assert_ne!(store.request().await.unwrap(), first);
}

#[tokio::test]
async fn learning_is_paused_and_goes_on() {
    let Server { app, dir: _dir } = Server::new("").await;
    let body = json!({"feedback_id": answered(&app).await, "user_rating": 1});
    ok(&app, "/feedback", &body).await;
    assert_eq!(
        ok(&app, "/adapt/pause", &json!({})).await,
        json!({"paused": true})
    );
    assert_eq!(get(&app, "/adapt/status").await.json()["paused"], true);
    let metrics = get(&app, "/metrics").await.text();
    assert!(metrics.contains("\nitera_adapt_paused 1\n"), "{metrics}");
    if cfg!(feature = "adapt") {
        assert_eq!(
            post(&app, "/adapt", &json!({})).await.code(),
            "learning_paused"
        );
    }
    assert_eq!(
        ok(&app, "/adapt/resume", &json!({})).await,
        json!({"paused": false})
    );
    assert_eq!(get(&app, "/adapt/status").await.json()["paused"], false);
}

#[tokio::test]
async fn what_is_no_candidate_is_neither_approved_nor_rejected() {
    let Server { app, dir: _dir } = Server::new("").await;
    let id = app.store.as_ref().unwrap().request().await.unwrap();
    for id in ["0123456789abcdef", &id] {
        for verb in ["approve", "reject"] {
            let reply = post(&app, &format!("/adapt/{id}/{verb}"), &json!({})).await;
            assert_eq!(reply.status, StatusCode::CONFLICT, "{verb} {id}");
            assert_eq!(reply.code(), "no_candidate");
        }
    }
}
