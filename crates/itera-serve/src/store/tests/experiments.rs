//! Experiments, their sums by unit, and versions that were made elsewhere.

use super::*;
use crate::experiments::Sums;

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
            // A correction takes the place of what was accepted, and not the other way.
            let accepted = ScoredText {
                kind: "accepted",
                bytes: 3,
                ..text.clone()
            };
            for text in [&accepted, &text, &text, &accepted] {
                store.add_scores("one", text).await.unwrap();
            }
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
