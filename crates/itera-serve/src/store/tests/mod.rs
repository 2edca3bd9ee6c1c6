//! What the rest of the program relies on, on SQLite. `scripts/serve-postgres.sh` runs the same tests
//! on PostgreSQL, whose URL is then in `ITERA_TEST_POSTGRES`.

#[cfg(feature = "adapt")]
mod candidates;
mod experiments;
#[cfg(feature = "adapt")]
mod learning;

use sqlx::Row as _;
use tempfile::TempDir;

use super::*;

async fn open(place: &str) -> Store {
    Store::open(Place::new(place)).await.unwrap().0
}

/// A new SQLite database, and an empty PostgreSQL one if there is a server for tests.
async fn stores() -> Vec<(Store, Option<TempDir>)> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a b%?#.db");
    let mut stores = vec![(open(file.to_str().unwrap()).await, Some(dir))];
    if let Ok(url) = std::env::var("ITERA_TEST_POSTGRES") {
        let name = format!("itera_{}", random_id());
        sqlx::any::install_default_drivers();
        let admin = AnyPool::connect(&url).await.unwrap();
        let create = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
        sqlx::query(create).execute(&admin).await.unwrap();
        let (address, settings) = url.split_once('?').unwrap_or((&url, ""));
        let (server, _) = address.rsplit_once('/').unwrap();
        let store = open(&format!("{server}/{name}?{settings}")).await;
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
        user: None,
        arm: None,
    }
}

fn verdict(id: &str, rating: i64) -> Feedback {
    Feedback {
        id: id.to_owned(),
        rating: Some(rating),
        correct: None,
        correction: None,
        comments: None,
        replaces: true,
        source: None,
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
            (Some(Stored::Updated { corrects: false }), 0)
        );
        for (correction, corrects) in [("a", true), ("a", false), ("b", true)] {
            let corrected = Feedback {
                correction: Some(correction.to_owned()),
                ..verdict("042", 4)
            };
            let outcome = store.rate(corrected).await.unwrap();
            assert_eq!(outcome.stored, Some(Stored::Updated { corrects }));
        }
        store.rate(verdict("042", 4)).await.unwrap();
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
async fn tables_of_a_later_form_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("serve.db");
    let place = file.to_str().unwrap();
    let store = open(place).await;
    sqlx::query("INSERT INTO form (number) VALUES (99)")
        .execute(&store.pool)
        .await
        .unwrap();
    let refused = Store::open(Place::new(place)).await.unwrap_err();
    assert!(
        matches!(refused, StoreError::Newer { found: 99, .. }),
        "{refused}"
    );
}

#[tokio::test]
async fn a_disk_error_heals_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path().join("serve.db").to_str().unwrap()).await;
    store.log(answer("a"));
    store.flush().await;
    // No connection may write a page more: SQLite then ends the transaction by itself.
    let mut connections = Vec::new();
    for _ in 0..OWN {
        let mut connection = store.own.acquire().await.unwrap();
        let full = "PRAGMA max_page_count = 1";
        sqlx::raw_sql(full).execute(&mut *connection).await.unwrap();
        connections.push(connection);
    }
    for mut connection in connections {
        connection.return_to_pool().await;
    }
    let large = Feedback {
        comments: Some("x".repeat(100_000)),
        ..verdict("a", 1)
    };
    assert!(store.rate(large.clone()).await.is_err());
    assert!(!store.is_healthy());
    // Each is thrown away as it fails; new ones can write.
    let mut stored = None;
    for _ in 0..OWN {
        stored = store.rate(large.clone()).await.ok();
    }
    assert!(stored.unwrap().stored.is_some());
    assert!(store.is_healthy());
    assert!(store.log(answer("b")));
    store.flush().await;
    assert_eq!(
        store.rate(verdict("b", 1)).await.unwrap().stored,
        Some(Stored::Recorded)
    );
}

#[cfg(unix)]
#[tokio::test]
async fn the_file_is_its_owners_alone_and_feedback_is_not_written_to_one_that_has_gone() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("serve.db");
    let store = open(file.to_str().unwrap()).await;
    let mode = file.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    store.log(answer("a"));
    store.flush().await;
    let away = dir.path().join("away.db");
    std::fs::rename(&file, &away).unwrap();
    assert!(store.rate(verdict("a", 1)).await.is_err());
    std::fs::rename(&away, &file).unwrap();
    assert!(store.rate(verdict("a", 1)).await.is_ok());
}

#[tokio::test]
async fn a_clock_that_is_set_back_does_not_make_new_answers_the_oldest() {
    for (store, _dir) in stores().await {
        let ahead = Rated {
            feedback: verdict("ahead", 1),
            created_ms: 0,
            updated_ms: 0,
            is_aside: false,
            answer: Answer {
                created_ms: now_ms() + 3_600_000,
                ..answer("ahead")
            },
        };
        store.log(answer("0"));
        store.flush().await;
        store.import(&[ahead]).await.unwrap();
        for id in ["1", "2", "3"] {
            store.log(answer(id));
            store.flush().await;
        }
        store.prune(4).await.unwrap();
        assert_eq!(store.rate(verdict("0", 1)).await.unwrap().stored, None);
        for id in ["1", "2", "3"] {
            assert!(
                store.rate(verdict(id, 1)).await.unwrap().stored.is_some(),
                "{id}"
            );
        }
    }
}

#[tokio::test]
async fn answers_are_forgotten_by_user_and_by_age() {
    for (store, _dir) in stores().await {
        for (id, user) in [("1", "ann"), ("2", "ann"), ("3", "bob")] {
            let user = Some(store.user_digest(user));
            store.log(Answer { user, ..answer(id) });
        }
        store.rate(verdict("1", 1)).await.unwrap();
        let forgotten = store.forget(Which::User("ann".to_owned())).await.unwrap();
        assert_eq!((forgotten.answers, forgotten.feedback), (2, 1));
        assert_eq!(store.rate(verdict("1", 1)).await.unwrap().stored, None);
        assert!(store.rate(verdict("3", 1)).await.unwrap().stored.is_some());
        let hour_ago = now_ms() - 3_600_000;
        assert_eq!(
            store.forget(Which::Before(hour_ago)).await.unwrap().answers,
            0
        );
        let soon = now_ms() + 3_600_000;
        assert_eq!(store.forget(Which::Before(soon)).await.unwrap().feedback, 1);
    }
}

#[tokio::test]
async fn the_prompts_that_others_are_compared_with_are_kept() {
    for (store, _dir) in stores().await {
        store.bind("one", "aaaaaaaaaaaaaaaa").await.unwrap();
        assert_eq!(store.reference().await.unwrap(), None);
        let values = [2.5, 0.1 + 0.2, 1e-9];
        store.keep_reference(&values).await.unwrap();
        assert_eq!(store.reference().await.unwrap().unwrap(), values);
        // Another checkpoint finds prompts likely or not in its own way.
        store.rebase("two", "bbbbbbbbbbbbbbbb").await.unwrap();
        assert_eq!(store.reference().await.unwrap(), None);
    }
}

#[tokio::test]
async fn records_of_the_former_form_keep_what_counts_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("serve.db");
    let store = open(file.to_str().unwrap()).await;
    for id in ["visitor", "key"] {
        store.log(answer(id));
        store.rate(verdict(id, 1)).await.unwrap();
    }
    for statement in [
        "DROP TABLE hours",
        "DROP TABLE experiments",
        "DROP TABLE experiment_units",
        "DROP TABLE experiment_scores",
        "DROP INDEX answers_experiment",
        "ALTER TABLE answers DROP COLUMN experiment",
        "ALTER TABLE answers DROP COLUMN arm",
        "ALTER TABLE answers DROP COLUMN unit",
        "DROP INDEX feedback_source",
        "ALTER TABLE feedback DROP COLUMN most",
        "ALTER TABLE feedback DROP COLUMN set_aside",
        "ALTER TABLE feedback RENAME COLUMN source TO visitor",
        "UPDATE feedback SET visitor = 'a' WHERE id = 'visitor'",
        "DELETE FROM form WHERE number >= 4",
    ] {
        sqlx::query(statement).execute(&store.own).await.unwrap();
    }
    let store = open(file.to_str().unwrap()).await;
    let limits = sqlx::query("SELECT most FROM feedback ORDER BY id")
        .fetch_all(&store.own)
        .await
        .unwrap();
    let limits: Vec<Option<i64>> = limits
        .iter()
        .map(|row| row.try_get("most").unwrap())
        .collect();
    assert_eq!(limits, [None, Some(10)]);
    assert_eq!(store.counts().await.unwrap().new_negatives, 2);
}

#[tokio::test]
async fn a_copy_has_what_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let (file, copy) = (dir.path().join("serve.db"), dir.path().join("copy.db"));
    let store = open(file.to_str().unwrap()).await;
    store.log(answer("a"));
    store.rate(verdict("a", 1)).await.unwrap();
    store.backup(&copy).await.unwrap();
    let copied = Store::open_existing(Place::new(copy.to_str().unwrap()))
        .await
        .unwrap();
    assert_eq!(copied.counts().await.unwrap().records, 1);
    assert!(store.backup(&copy).await.is_err(), "it is there already");
}

#[tokio::test]
async fn a_database_moves_to_another_checkpoint_with_its_feedback() {
    for (store, _dir) in stores().await {
        store.bind("one", "aaaaaaaaaaaaaaaa").await.unwrap();
        store.log(answer("a"));
        store.rate(verdict("a", 1)).await.unwrap();
        let former = store.rebase("two", "bbbbbbbbbbbbbbbb").await.unwrap();
        assert_eq!(former.as_deref(), Some("aaaaaaaaaaaaaaaa"));
        assert_eq!(store.rebase("two", "bbbbbbbbbbbbbbbb").await.unwrap(), None);
        store.bind("two", "bbbbbbbbbbbbbbbb").await.unwrap();
        assert_eq!(store.active().await.unwrap(), "bbbbbbbbbbbbbbbb");
        assert_eq!(store.versions().await.unwrap().len(), 1);
        assert_eq!(store.journal(9).await.unwrap()[0].trigger, "rebase");
        assert_eq!(store.counts().await.unwrap().records, 1);
    }
}

/// Two arms, divided by user.
fn definition() -> Definition {
    let arm = |name: &str| ArmSpec {
        name: name.to_owned(),
        weight: 1,
        model: "one".to_owned(),
        version: "base".to_owned(),
        precision: None,
        sampling: Sampling::default(),
    };
    Definition {
        by: By::User,
        salt: random_id(),
        arms: vec![arm("a"), arm("b")],
    }
}

#[tokio::test]
async fn hours_are_summed_over_servers() {
    for (store, _dir) in stores().await {
        assert_eq!(store.sums(24).await.unwrap(), []);
        let sums = HourSums {
            requests: 3.0,
            corrected_nats_served: 0.5,
            ..HourSums::default()
        };
        store.add_sums(sums).await.unwrap();
        store.add_sums(sums).await.unwrap();
        let hours = store.sums(24).await.unwrap();
        // The two may fall on both sides of a full hour.
        let total = hours.iter().map(|(_, hour)| hour.requests).sum::<f64>();
        let nats = hours.iter().map(|(_, hour)| hour.corrected_nats_served);
        assert_eq!((total, nats.sum::<f64>()), (6.0, 1.0));
        let (start, _) = hours[0];
        assert!((0..2 * 3_600_000).contains(&(now_ms() - start)), "{start}");
        // Hours that are too old go with the next addition.
        let old =
            "INSERT INTO hours SELECT hour - 9601, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 FROM hours";
        sqlx::query(old).execute(&store.pool).await.unwrap();
        let all = store.sums(10_000).await.unwrap().len();
        store.add_sums(sums).await.unwrap();
        assert!(store.sums(10_000).await.unwrap().len() < all);
    }
}
