//! What the rest of the program relies on, on SQLite. `scripts/serve-postgres.sh` runs the same tests
//! on PostgreSQL, whose URL is then in `ITERA_TEST_POSTGRES`.

use tempfile::TempDir;

use super::*;

/// A new SQLite database, and an empty PostgreSQL one if there is a server for tests.
async fn stores() -> Vec<(Store, Option<TempDir>)> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a b%?#.db");
    let mut stores = vec![(
        Store::open(file.to_str().unwrap()).await.unwrap(),
        Some(dir),
    )];
    if let Ok(url) = std::env::var("ITERA_TEST_POSTGRES") {
        let name = format!("itera_{}", random_id());
        sqlx::any::install_default_drivers();
        let admin = AnyPool::connect(&url).await.unwrap();
        let create = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
        sqlx::query(create).execute(&admin).await.unwrap();
        let (server, _) = url.rsplit_once('/').unwrap();
        let store = Store::open(&format!("{server}/{name}")).await.unwrap();
        stores.push((store, None));
    }
    stores
}

fn answer(id: &str) -> Answer {
    Answer {
        id: id.to_owned(),
        created_ms: now_ms(),
        prompt: "a\0é".to_owned(),
        output: "out".to_owned(),
        ended: true,
        tokens: 3,
        variant: "int8".to_owned(),
        version: "v".to_owned(),
        parameters: "{}".to_owned(),
        latency_us: 5,
    }
}

fn verdict(id: &str, rating: i64) -> Feedback {
    Feedback {
        id: id.to_owned(),
        rating: Some(rating),
        correct: None,
        correction: None,
        comments: None,
    }
}

#[tokio::test]
async fn answers_and_feedback_come_back_as_they_were() {
    for (store, _dir) in stores().await {
        for number in 0..100 {
            assert!(store.log(answer(&format!("{number:03}"))));
        }
        let outcome = store.rate(verdict("042", 1)).await.unwrap();
        assert_eq!(outcome.stored, Some(Stored::Recorded));
        assert_eq!(outcome.new_negatives, 1);
        let outcome = store.rate(verdict("042", 4)).await.unwrap();
        assert_eq!(
            (outcome.stored, outcome.new_negatives),
            (Some(Stored::Updated), 0)
        );
        assert_eq!(store.rate(verdict("x", 4)).await.unwrap().stored, None);
        let records = store.after("", 10).await.unwrap();
        assert_eq!(records.len(), 1);
        assert_eq!(records[0].feedback, verdict("042", 4));
        let found = &records[0].answer;
        assert_eq!(
            (found.prompt.as_str(), found.ended, found.tokens),
            ("a\0é", true, 3)
        );
        // All but the latest ten are forgotten, and not the one with feedback.
        assert!(store.prune(10).await.unwrap() > 0);
        assert_eq!(store.after("", 10).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_database_belongs_to_one_model() {
    for (store, _dir) in stores().await {
        store.bind("one", "aaaaaaaaaaaaaaaa").await.unwrap();
        store.bind("one", "aaaaaaaaaaaaaaaa").await.unwrap();
        let other = store.bind("two", "bbbbbbbbbbbbbbbb").await.unwrap_err();
        assert!(other.to_string().contains("one (aaaaaaaaaaaa)"), "{other}");
        assert_eq!(store.active().await.unwrap(), "aaaaaaaaaaaaaaaa");
    }
}

#[tokio::test]
async fn one_server_has_the_lease() {
    for (store, _dir) in stores().await {
        assert!(store.lease("a", 60_000).await.unwrap());
        assert!(!store.lease("b", 60_000).await.unwrap());
        assert!(store.lease("a", -1).await.unwrap());
        assert_eq!(store.lease_holder().await.unwrap(), None);
        assert!(store.lease("b", 60_000).await.unwrap());
        store.release("a").await.unwrap();
        assert_eq!(store.lease_holder().await.unwrap().as_deref(), Some("b"));
        store.release("b").await.unwrap();
        assert!(store.lease("a", 60_000).await.unwrap());
    }
}

#[tokio::test]
async fn tables_of_a_later_form_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("serve.db");
    let place = file.to_str().unwrap();
    let store = Store::open(place).await.unwrap();
    sqlx::query("INSERT INTO form (number) VALUES (99)")
        .execute(&store.pool)
        .await
        .unwrap();
    let refused = Store::open(place).await.unwrap_err();
    assert!(
        matches!(refused, StoreError::Newer { found: 99, .. }),
        "{refused}"
    );
}

#[cfg(feature = "adapt")]
mod learning {
    use super::*;

    async fn ready(store: &Store) {
        store.bind("one", "base").await.unwrap();
        assert!(store.lease("s", 60_000).await.unwrap());
        for number in 0..3 {
            let id = format!("{number}");
            store.log(answer(&id));
            store.rate(verdict(&id, 1)).await.unwrap();
        }
    }

    fn version(name: &str) -> StoredVersion {
        StoredVersion {
            version: name.to_owned(),
            parent: Some("base".to_owned()),
            checkpoint: Some(vec![1, 2, 3]),
            quantized: None,
        }
    }

    #[tokio::test]
    async fn an_adaptation_begins_at_the_threshold_and_ends_with_a_version() {
        for (store, _dir) in stores().await {
            ready(&store).await;
            assert_eq!(store.claim("s", 4).await.unwrap(), None);
            assert_eq!(store.claim("s", 0).await.unwrap(), None);
            let entry = store.claim("s", 3).await.unwrap().unwrap();
            assert_eq!(
                (entry.trigger.as_str(), entry.status),
                ("automatic", EntryStatus::Running)
            );
            // The records are spoken for.
            assert_eq!(store.claim("s", 1).await.unwrap(), None);
            let new = version("new");
            store
                .finish(
                    &entry,
                    "s",
                    EntryStatus::Accepted,
                    "good",
                    Some("{}"),
                    Some(&new),
                    Some(0.5),
                )
                .await
                .unwrap();
            assert_eq!(store.active().await.unwrap(), "new");
            assert_eq!(store.learning_rate().await.unwrap(), Some(0.5));
            let stored = store.version("new").await.unwrap().unwrap();
            assert_eq!(stored.checkpoint, Some(vec![1, 2, 3]));
            let entry = store.entry(&entry.id).await.unwrap().unwrap();
            assert_eq!(
                (entry.status, entry.to_version.as_deref()),
                (EntryStatus::Accepted, Some("new"))
            );
            // A new verdict on an old answer counts anew.
            store.rate(verdict("1", 2)).await.unwrap();
            assert!(store.claim("s", 1).await.unwrap().is_some());
        }
    }

    #[tokio::test]
    async fn what_was_interrupted_changes_nothing_and_is_learnt_again() {
        for (store, _dir) in stores().await {
            ready(&store).await;
            let entry = store.claim("s", 3).await.unwrap().unwrap();
            assert_eq!(store.interrupted().await.unwrap(), 1);
            let (new, accepted) = (version("new"), EntryStatus::Accepted);
            let late = store.finish(&entry, "s", accepted, "", None, Some(&new), None);
            assert!(matches!(late.await, Err(StoreError::LeaseLost)));
            let entry = store.entry(&entry.id).await.unwrap().unwrap();
            assert_eq!(entry.status, EntryStatus::Interrupted);
            assert_eq!(store.active().await.unwrap(), "base");
            assert_eq!(store.counts().await.unwrap().new_negatives, 3);
            assert!(store.claim("s", 3).await.unwrap().is_some());
        }
    }

    #[tokio::test]
    async fn a_version_learnt_without_the_lease_or_too_late_is_not_used() {
        for (store, _dir) in stores().await {
            ready(&store).await;
            let entry = store.claim("s", 3).await.unwrap().unwrap();
            let (new, accepted) = (version("new"), EntryStatus::Accepted);
            let end = |server: &'static str| {
                store.finish(&entry, server, accepted, "", None, Some(&new), None)
            };
            assert!(matches!(end("t").await, Err(StoreError::LeaseLost)));
            store.roll_back("base", "other").await.unwrap();
            assert!(matches!(end("s").await, Err(StoreError::Superseded)));
            assert!(store.version("new").await.unwrap().is_none());
            assert_eq!(store.active().await.unwrap(), "other");
        }
    }

    #[tokio::test]
    async fn requests_come_before_the_threshold_and_can_be_withdrawn() {
        for (store, _dir) in stores().await {
            ready(&store).await;
            let id = store.request("manual").await.unwrap();
            assert!(store.withdraw(&id).await.unwrap());
            assert_eq!(store.claim("s", 0).await.unwrap(), None);
            let id = store.request("manual").await.unwrap();
            assert_eq!(store.claim("s", 0).await.unwrap().unwrap().id, id);
            assert!(!store.withdraw(&id).await.unwrap());
        }
    }

    #[tokio::test]
    async fn the_first_the_active_and_the_latest_versions_are_kept() {
        for (store, _dir) in stores().await {
            ready(&store).await;
            for number in 0..4 {
                store.request("manual").await.unwrap();
                let entry = store.claim("s", 0).await.unwrap().unwrap();
                let new = version(&format!("v{number}"));
                store
                    .finish(
                        &entry,
                        "s",
                        EntryStatus::Accepted,
                        "",
                        None,
                        Some(&new),
                        None,
                    )
                    .await
                    .unwrap();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            store.roll_back("v3", "v0").await.unwrap();
            store.prune_versions(2).await.unwrap();
            let left = store.versions().await.unwrap();
            let left: Vec<_> = left.iter().map(|row| row.version.as_str()).collect();
            assert_eq!(left, ["v3", "v2", "v0", "base"]);
        }
    }
}
