//! What the rest of the program relies on, on SQLite. `scripts/serve-postgres.sh` runs the same tests
//! on PostgreSQL, whose URL is then in `ITERA_TEST_POSTGRES`.

use sqlx::Row as _;
use tempfile::TempDir;

use super::*;
use crate::experiments::Sums;

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
async fn one_experiment_runs_and_none_twice() {
    for (store, _dir) in stores().await {
        store.bind("one", "base").await.unwrap();
        assert_eq!(store.running_experiment().await.unwrap(), None);
        let begin = async |id: &str| store.begin_experiment(id, &definition()).await.unwrap();
        // At once, from several servers.
        let begun = futures_util::future::join_all(["1", "2", "3"].map(&begin)).await;
        assert_eq!(
            begun.iter().filter(|begun| **begun == Begun::Yes).count(),
            1
        );
        let running = store.running_experiment().await.unwrap().unwrap();
        assert_eq!(begin("4").await, Begun::Running(running.id.clone()));
        assert_eq!(begin(&running.id).await, Begun::NameTaken);
        assert!(store.end_experiment(&running, "enough").await.unwrap());
        assert!(!store.end_experiment(&running, "again").await.unwrap());
        let ended = store.experiment(&running.id).await.unwrap().unwrap();
        assert_eq!(ended.message.as_deref(), Some("enough"));
        assert_eq!(begin(&running.id).await, Begun::NameTaken);
        assert_eq!(begin("4").await, Begun::Yes);
        assert_eq!(store.experiments().await.unwrap().len(), 2);
        // Another checkpoint has none of its arms.
        store.rebase("two", "bbbbbbbbbbbb").await.unwrap();
        assert_eq!(store.running_experiment().await.unwrap(), None);
    }
}

#[tokio::test]
async fn arms_are_counted_by_unit() {
    for (store, _dir) in stores().await {
        let of = |arm: &str, unit: &str| {
            Some(ArmOf {
                experiment: "one".to_owned(),
                arm: arm.to_owned(),
                unit: unit.to_owned(),
            })
        };
        // Ann gets three answers, of which she finds two bad; Bob one, which is good.
        for (id, arm, unit, rating) in [
            ("1", "a", "ann", Some(1)),
            ("2", "a", "ann", Some(2)),
            ("3", "a", "ann", Some(5)),
            ("4", "a", "bob", Some(4)),
            ("5", "a", "cid", None),
            ("6", "b", "dan", Some(1)),
        ] {
            let user = Some(store.user_digest(unit));
            let arm = of(arm, unit);
            store.log(Answer {
                user,
                arm,
                ..answer(id)
            });
            if let Some(rating) = rating {
                store.rate(verdict(id, rating)).await.unwrap();
            }
        }
        store.flush().await;
        let sums = store.arm_sums("one", "a").await.unwrap();
        assert_eq!((sums.units, sums.answers), (3.0, 5.0));
        let negatives = Sums {
            units: 2.0,
            x: 2.0,
            y: 4.0,
            xx: 4.0,
            xy: 6.0,
            yy: 10.0,
        };
        assert_eq!(sums.negatives, negatives);
        assert_eq!(store.times("one", "a").await.unwrap(), [(5.0, 3.0); 5]);
        assert_eq!(
            store.rated("6").await.unwrap().unwrap().answer.arm,
            of("b", "dan")
        );
        for (unit, nats) in [
            ("ann", [8.0, 7.0]),
            ("ann", [9.0, 5.0]),
            ("bob", [4.0, 4.5]),
        ] {
            let text = ScoredText {
                answer: random_id(),
                unit: unit.to_owned(),
                kind: "corrected",
                bytes: 10,
                nats: vec![("a".to_owned(), nats[0]), ("b".to_owned(), nats[1])],
            };
            store.add_scores("one", &text).await.unwrap();
            store.add_scores("one", &text).await.unwrap();
        }
        let pairs = store.pair_sums("one", "corrected", "b", "a").await.unwrap();
        assert_eq!((pairs.texts, pairs.bytes, pairs.nats), (3.0, 30.0, 16.5));
        let differences = Sums {
            units: 2.0,
            x: -4.5,
            y: 30.0,
            xx: 25.25,
            xy: -95.0,
            yy: 500.0,
        };
        assert_eq!(pairs.differences, differences);
        assert_eq!(
            store.pair_sums("one", "accepted", "b", "a").await.unwrap(),
            PairSums::default()
        );
        // Forgotten with the user, and counted no longer.
        store.forget(Which::User("ann".to_owned())).await.unwrap();
        let left = store.arm_sums("one", "a").await.unwrap();
        assert_eq!((left.units, left.negatives.units), (2.0, 1.0));
    }
}

fn imported(name: &str) -> StoredVersion {
    StoredVersion {
        version: name.to_owned(),
        parent: None,
        checkpoint: Some(vec![1, 2, 3]),
        quantized: None,
    }
}

/// Version and status of what was imported, by the journal.
async fn imports(store: &Store) -> Vec<(String, EntryStatus)> {
    let journal = store.journal(20).await.unwrap().into_iter();
    let imports = journal.filter(|entry| entry.trigger == "import");
    let mut imports: Vec<_> = imports
        .map(|entry| (entry.to_version.unwrap(), entry.status))
        .collect();
    imports.sort_by(|a, b| a.0.cmp(&b.0));
    imports
}

#[tokio::test]
async fn an_imported_version_is_served_or_goes_step_by_step() {
    for (store, _dir) in stores().await {
        store.bind("one", "base").await.unwrap();
        let import = |name, as_canary| store.import_version(imported(name), Some("{}"), as_canary);
        let served = import("a", false).await.unwrap();
        assert_eq!(served, Imported::Served("base".to_owned()));
        assert_eq!(import("a", true).await.unwrap(), Imported::Already);
        // The later of two takes the place of the one that has not come through.
        assert_eq!(import("b", true).await.unwrap(), Imported::Canary);
        assert_eq!(import("c", true).await.unwrap(), Imported::Canary);
        for share in [5, 25] {
            assert_eq!(store.active().await.unwrap(), "a");
            let step = store.running_experiment().await.unwrap().unwrap();
            let candidate = &step.definition.arms[1];
            assert_eq!((&*candidate.version, candidate.weight), ("c", share));
            assert!(store.advance(&step, "not worse").await.unwrap());
        }
        assert_eq!(store.active().await.unwrap(), "c");
        let expected = [
            ("a".to_owned(), EntryStatus::Accepted),
            ("b".to_owned(), EntryStatus::Rejected),
            ("c".to_owned(), EntryStatus::Accepted),
        ];
        assert_eq!(imports(&store).await, expected);
        // What does not do well is as if it had not come.
        import("d", true).await.unwrap();
        let step = store.running_experiment().await.unwrap().unwrap();
        store.end_experiment(&step, "worse").await.unwrap();
        assert_eq!(store.active().await.unwrap(), "c");
        assert_eq!(imports(&store).await[3].1, EntryStatus::Rejected);
        // An operator's experiment goes on.
        store.begin_experiment("one", &definition()).await.unwrap();
        let refused = import("e", true).await.unwrap();
        assert_eq!(refused, Imported::Running("one".to_owned()));
        assert!(store.version("e").await.unwrap().is_none());
    }
}

#[cfg(feature = "adapt")]
mod learning {
    use super::*;
    use crate::store::{FinishError, learning::GIVES_UP_AFTER};

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
    async fn a_lease_of_a_clock_that_was_ahead_can_be_taken() {
        for (store, _dir) in stores().await {
            assert!(store.lease("a", 60_000).await.unwrap());
            sqlx::query("UPDATE lease SET expires_ms = expires_ms + 3600000")
                .execute(&store.own)
                .await
                .unwrap();
            assert!(store.lease("b", 60_000).await.unwrap());
            assert!(!store.lease("a", 60_000).await.unwrap());
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
                    Some((0.5, 0.1)),
                )
                .await
                .unwrap();
            assert_eq!(store.active().await.unwrap(), "new");
            assert_eq!(store.learning_rate(0.1).await.unwrap(), Some(0.5));
            // Settings that have changed since are not overruled.
            assert_eq!(store.learning_rate(0.2).await.unwrap(), None);
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
            assert_eq!(
                store.interrupted(EntryStatus::Interrupted).await.unwrap(),
                1
            );
            let (new, accepted) = (version("new"), EntryStatus::Accepted);
            let late = store.finish(&entry, "s", accepted, "", None, Some(&new), None);
            assert!(matches!(late.await, Err(FinishError::LeaseLost)));
            let entry = store.entry(&entry.id).await.unwrap().unwrap();
            assert_eq!(entry.status, EntryStatus::Interrupted);
            assert_eq!(store.active().await.unwrap(), "base");
            assert_eq!(store.counts().await.unwrap().new_negatives, 3);
            assert!(store.claim("s", 3).await.unwrap().is_some());
        }
    }

    #[tokio::test]
    async fn learning_that_fails_again_and_again_waits_to_be_asked() {
        for (store, _dir) in stores().await {
            ready(&store).await;
            for _ in 0..GIVES_UP_AFTER {
                assert!(store.has_work(3).await.unwrap());
                store.claim("s", 3).await.unwrap().unwrap();
                store.interrupted(EntryStatus::Interrupted).await.unwrap();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            assert!(!store.has_work(3).await.unwrap());
            assert_eq!(store.claim("s", 3).await.unwrap(), None);
            store.request().await.unwrap();
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
            assert!(matches!(end("t").await, Err(FinishError::LeaseLost)));
            let mut tx = store.begin().await.unwrap();
            versions::insert(&mut tx, &version("other"), None)
                .await
                .unwrap();
            tx.commit().await.unwrap();
            assert!(store.roll_back("base", "other").await.unwrap().is_some());
            assert!(matches!(end("s").await, Err(FinishError::Superseded)));
            assert!(store.version("new").await.unwrap().is_none());
            assert_eq!(store.active().await.unwrap(), "other");
            // What is not kept is not served.
            assert!(store.roll_back("other", "gone").await.unwrap().is_none());
            assert_eq!(store.active().await.unwrap(), "other");
        }
    }

    #[tokio::test]
    async fn requests_come_before_the_threshold_and_can_be_withdrawn() {
        for (store, _dir) in stores().await {
            ready(&store).await;
            let id = store.request().await.unwrap();
            assert!(store.withdraw(&id).await.unwrap());
            assert_eq!(store.claim("s", 0).await.unwrap(), None);
            let id = store.request().await.unwrap();
            assert_eq!(store.claim("s", 0).await.unwrap().unwrap().id, id);
            assert!(!store.withdraw(&id).await.unwrap());
        }
    }

    #[tokio::test]
    async fn the_first_the_active_and_the_latest_versions_are_kept() {
        for (store, _dir) in stores().await {
            ready(&store).await;
            for number in 0..4 {
                store.request().await.unwrap();
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

    #[tokio::test]
    async fn a_canary_goes_step_by_step_and_one_server_takes_each() {
        for (store, _dir) in stores().await {
            ready(&store).await;
            let entry = store.claim("s", 3).await.unwrap().unwrap();
            let (new, canary) = (version("new"), EntryStatus::Canary);
            let ended = store.finish(&entry, "s", canary, "good", None, Some(&new), None);
            ended.await.unwrap();
            store.rate(verdict("1", 1)).await.unwrap();
            for share in [5, 25] {
                assert_eq!(store.active().await.unwrap(), "base");
                let step = store.running_experiment().await.unwrap().unwrap();
                assert_eq!(step.definition.arms[1].weight, share);
                // Nothing is learnt while it runs, and several servers that act at once take one step.
                assert!(!store.has_work(1).await.unwrap());
                let acts = [(); 3].map(|()| store.advance(&step, "not worse"));
                let acted = futures_util::future::try_join_all(acts).await.unwrap();
                assert_eq!(acted.iter().filter(|acted| **acted).count(), 1);
            }
            assert_eq!(store.active().await.unwrap(), "new");
            assert_eq!(store.running_experiment().await.unwrap(), None);
            let entry = store.entry(&entry.id).await.unwrap().unwrap();
            assert_eq!(entry.status, EntryStatus::Accepted);
            assert!(store.has_work(1).await.unwrap());
        }
    }

    #[tokio::test]
    async fn a_canary_does_not_begin_beside_an_experiment() {
        for (store, _dir) in stores().await {
            ready(&store).await;
            let entry = store.claim("s", 3).await.unwrap().unwrap();
            store.begin_experiment("one", &definition()).await.unwrap();
            let (new, canary) = (version("new"), EntryStatus::Canary);
            let ended = store.finish(&entry, "s", canary, "good", None, Some(&new), None);
            assert!(matches!(ended.await, Err(FinishError::Superseded)));
            store.request().await.unwrap();
            assert_eq!(store.claim("s", 0).await.unwrap(), None);
        }
    }

    fn ids(records: &[Rated]) -> Vec<&str> {
        let mut ids: Vec<_> = records
            .iter()
            .map(|record| record.answer.id.as_str())
            .collect();
        ids.sort_unstable();
        ids
    }

    #[tokio::test]
    async fn of_a_source_as_much_counts_and_is_learnt_as_it_may() {
        for (store, _dir) in stores().await {
            store.bind("one", "base").await.unwrap();
            let rate = async |id: String, digest: &str, most: Option<i64>| {
                store.log(answer(&id));
                let digest = digest.to_owned();
                let said = Feedback {
                    source: Some(Source { digest, most }),
                    ..verdict(&id, 1)
                };
                store.rate(said).await.unwrap().new_negatives
            };
            let mut count = 0;
            for number in 0..51 {
                count = rate(format!("a{number}"), "a", Some(10)).await;
            }
            assert_eq!(count, 10);
            assert!(!store.has_work(50).await.unwrap());
            assert_eq!(store.latest(500).await.unwrap().len(), 10);
            assert_eq!(store.counts().await.unwrap().new_negatives, 10);
            // Others are not kept out by it, and a source without a limit counts in full.
            assert_eq!(rate("b".to_owned(), "b", Some(10)).await, 11);
            for number in 0..39 {
                count = rate(format!("c{number}"), "c", None).await;
            }
            assert_eq!(count, 50);
            assert!(store.has_work(50).await.unwrap());
            assert_eq!(store.latest(500).await.unwrap().len(), 50);
            // All that one of them has said is set aside at once, and taken in again.
            assert_eq!(store.set_aside("c7", true, true).await.unwrap(), 39);
            assert_eq!(store.latest(500).await.unwrap().len(), 11);
            assert_eq!(store.counts().await.unwrap().new_negatives, 11);
            assert_eq!(store.set_aside("c7", false, true).await.unwrap(), 39);
            assert_eq!(store.latest(500).await.unwrap().len(), 50);
        }
    }

    #[tokio::test]
    async fn what_is_set_aside_is_not_learnt_whatever_is_said_of_it() {
        for (store, _dir) in stores().await {
            ready(&store).await;
            assert_eq!(store.set_aside("1", true, false).await.unwrap(), 1);
            assert_eq!(ids(&store.latest(9).await.unwrap()), ["0", "2"]);
            assert_eq!(store.counts().await.unwrap().new_negatives, 2);
            store.rate(verdict("1", 2)).await.unwrap();
            assert_eq!(ids(&store.latest(9).await.unwrap()), ["0", "2"]);
            assert!(!store.has_work(3).await.unwrap());
            store.set_aside("1", false, false).await.unwrap();
            assert!(store.has_work(3).await.unwrap());
            assert_eq!(store.set_aside("x", true, true).await.unwrap(), 0);
            // What was imported has no source, and is not all of one.
            assert_eq!(store.set_aside("1", true, true).await.unwrap(), 1);
        }
    }

    /// Learns a candidate from all that is there; gives its entry.
    async fn candidate(store: &Store, name: &str) -> Entry {
        store.request().await.unwrap();
        let entry = store.claim("s", 0).await.unwrap().unwrap();
        let (new, status) = (version(name), EntryStatus::Candidate);
        let ended = store.finish(&entry, "s", status, "good", Some("{}"), Some(&new), None);
        ended.await.unwrap();
        store.entry(&entry.id).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn a_candidate_waits_for_an_operator() {
        for (store, _dir) in stores().await {
            ready(&store).await;
            let entry = candidate(&store, "new").await;
            assert_eq!(
                (entry.status, entry.ended_ms, entry.to_version.as_deref()),
                (EntryStatus::Candidate, None, Some("new"))
            );
            assert_eq!(store.active().await.unwrap(), "base");
            assert_eq!(store.counts().await.unwrap().candidates, 1);
            // It outlives the server that made it, and house-keeping.
            assert_eq!(
                store.interrupted(EntryStatus::Interrupted).await.unwrap(),
                0
            );
            store.prune_versions(0).await.unwrap();
            // Meanwhile nothing is learnt by itself.
            for id in ["3", "4", "5"] {
                store.log(answer(id));
                store.rate(verdict(id, 1)).await.unwrap();
            }
            assert!(!store.has_work(3).await.unwrap());
            // Of two who decide at once, one does.
            let (first, second) = tokio::join!(
                store.approve(&entry.id, false),
                store.approve(&entry.id, false)
            );
            let served = [first.unwrap(), second.unwrap()];
            let served = served.iter().filter(|of| **of == Approval::Served);
            assert_eq!(served.count(), 1);
            assert_eq!(store.active().await.unwrap(), "new");
            assert_eq!(
                store.approve(&entry.id, false).await.unwrap(),
                Approval::None
            );
            assert_eq!(store.decline(&entry.id).await.unwrap(), None);
            let entry = store.entry(&entry.id).await.unwrap().unwrap();
            assert!(entry.status == EntryStatus::Accepted && entry.ended_ms.is_some());
            assert!(store.has_work(3).await.unwrap());
            assert_eq!(store.latest(9).await.unwrap().len(), 6);
        }
    }

    #[tokio::test]
    async fn a_candidate_that_is_approved_may_begin_as_a_canary() {
        for (store, _dir) in stores().await {
            ready(&store).await;
            let entry = candidate(&store, "new").await;
            store.begin_experiment("one", &definition()).await.unwrap();
            let running = Approval::Running("one".to_owned());
            assert_eq!(store.approve(&entry.id, true).await.unwrap(), running);
            let other = store.running_experiment().await.unwrap().unwrap();
            store.end_experiment(&other, "stopped").await.unwrap();
            // It has waited.
            let approved = store.approve(&entry.id, true).await.unwrap();
            assert_eq!(approved, Approval::Canary);
            assert_eq!(store.active().await.unwrap(), "base");
            for _ in [5, 25] {
                let status = store.entry(&entry.id).await.unwrap().unwrap().status;
                assert_eq!(status, EntryStatus::Canary);
                let step = store.running_experiment().await.unwrap().unwrap();
                assert!(store.advance(&step, "not worse").await.unwrap());
            }
            assert_eq!(store.active().await.unwrap(), "new");
            let status = store.entry(&entry.id).await.unwrap().unwrap().status;
            assert_eq!(status, EntryStatus::Accepted);
        }
    }

    #[tokio::test]
    async fn what_a_declined_candidate_has_learnt_is_not_learnt_again() {
        for (store, _dir) in stores().await {
            ready(&store).await;
            let entry = candidate(&store, "new").await;
            let declined = store.decline(&entry.id).await.unwrap().unwrap();
            assert_eq!(declined.status, EntryStatus::Declined);
            assert_eq!(store.active().await.unwrap(), "base");
            assert!(store.version("new").await.unwrap().is_none());
            assert!(store.latest(9).await.unwrap().is_empty());
            store.rate(verdict("1", 2)).await.unwrap();
            assert_eq!(ids(&store.latest(9).await.unwrap()), ["1"]);
        }
    }

    #[tokio::test]
    async fn a_later_candidate_takes_the_place_of_the_one_that_waits() {
        for (store, _dir) in stores().await {
            ready(&store).await;
            let first = candidate(&store, "first").await;
            store.log(answer("3"));
            store.rate(verdict("3", 1)).await.unwrap();
            let second = candidate(&store, "second").await;
            let first = store.entry(&first.id).await.unwrap().unwrap();
            assert_eq!(first.status, EntryStatus::Withdrawn);
            assert!(store.version("first").await.unwrap().is_none());
            // It answers for what the first had learnt, too.
            store.decline(&second.id).await.unwrap().unwrap();
            assert!(store.latest(9).await.unwrap().is_empty());
        }
    }

    #[tokio::test]
    async fn a_candidate_of_a_version_that_is_served_no_longer_is_withdrawn() {
        for (store, _dir) in stores().await {
            ready(&store).await;
            let one = candidate(&store, "one").await;
            store.approve(&one.id, false).await.unwrap();
            store.log(answer("3"));
            store.rate(verdict("3", 1)).await.unwrap();
            let two = candidate(&store, "two").await;
            store.roll_back("one", "base").await.unwrap().unwrap();
            assert_eq!(store.approve(&two.id, false).await.unwrap(), Approval::None);
            let two = store.entry(&two.id).await.unwrap().unwrap();
            assert_eq!(two.status, EntryStatus::Withdrawn);
            // What it had learnt is new again; what the version before it had is not wanted.
            assert_eq!(ids(&store.latest(9).await.unwrap()), ["3"]);
            assert_eq!(store.counts().await.unwrap().new_negatives, 1);
        }
    }

    #[tokio::test]
    async fn while_learning_is_paused_nothing_begins_and_nothing_comes_of_what_runs() {
        for (store, _dir) in stores().await {
            ready(&store).await;
            let entry = store.claim("s", 3).await.unwrap().unwrap();
            store.set_paused(true).await.unwrap();
            assert!(store.counts().await.unwrap().is_paused);
            // What runs is still to be ended.
            assert!(store.has_work(0).await.unwrap());
            let (new, accepted) = (version("new"), EntryStatus::Accepted);
            let ended = store.finish(&entry, "s", accepted, "", None, Some(&new), None);
            assert!(matches!(ended.await, Err(FinishError::Paused)));
            assert_eq!(store.active().await.unwrap(), "base");
            store.interrupted(EntryStatus::Withdrawn).await.unwrap();
            store.request().await.unwrap();
            assert!(!store.has_work(3).await.unwrap());
            assert_eq!(store.claim("s", 3).await.unwrap(), None);
            store.set_paused(false).await.unwrap();
            assert!(store.has_work(3).await.unwrap());
            assert!(store.claim("s", 3).await.unwrap().is_some());
        }
    }

    #[tokio::test]
    async fn what_was_rolled_back_is_not_learnt_again() {
        for (store, _dir) in stores().await {
            ready(&store).await;
            let learn = async |name: &str| {
                store.request().await.unwrap();
                let entry = store.claim("s", 0).await.unwrap().unwrap();
                let (new, accepted) = (version(name), EntryStatus::Accepted);
                let ended = store.finish(&entry, "s", accepted, "", None, Some(&new), None);
                ended.await.unwrap();
            };
            let rate = async |id: &str| {
                store.log(answer(id));
                store.rate(verdict(id, 1)).await.unwrap();
            };
            let back = async |from: &str, to: &str| {
                store.roll_back(from, to).await.unwrap().unwrap();
            };
            learn("one").await;
            rate("3").await;
            learn("two").await;
            assert_eq!(ids(&store.latest(9).await.unwrap()), ["0", "1", "2", "3"]);
            back("two", "one").await;
            assert_eq!(ids(&store.latest(9).await.unwrap()), ["0", "1", "2"]);
            back("one", "base").await;
            assert!(store.latest(9).await.unwrap().is_empty());
            rate("4").await;
            learn("three").await;
            assert_eq!(ids(&store.latest(9).await.unwrap()), ["4"]);
            // A new verdict is one, and the way back is open.
            rate("3").await;
            assert_eq!(ids(&store.latest(9).await.unwrap()), ["3", "4"]);
            back("three", "one").await;
            assert_eq!(ids(&store.latest(9).await.unwrap()), ["0", "1", "2", "3"]);
            // A new checkpoint has learnt nothing yet, and what its former one was made of is good for it.
            store.rebase("other", "bbbbbbbbbbbb").await.unwrap();
            assert_eq!(ids(&store.latest(9).await.unwrap()), ["0", "1", "2", "3"]);
        }
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
