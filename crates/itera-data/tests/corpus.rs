//! Corpora as callers see them: samples, files, and the official texts where they are at hand.

use std::{
    env, fs,
    io::{self, Write as _},
    path::PathBuf,
};

use itera_data::{Corpus, Counts, DataError, Dataset, END_OF_TEXT, Layout, Places, Split, Verdict};

fn no_places() -> Places {
    Places::new(Vec::new())
}

fn load(name: &str) -> Result<Corpus, DataError> {
    Corpus::load(&name.parse()?, None, &no_places())
}

/// The corpus at `$ITERA_DATA_DIR`, or `None` and a visible line where it is not there.
fn official(dataset: &Dataset, split: Split) -> Option<Corpus> {
    let folder = env::var_os("ITERA_DATA_DIR").map(PathBuf::from);
    let found = folder.map(|folder| {
        // A relative folder is meant from the workspace, tests run in the crate.
        let workspace = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
        Corpus::load(
            dataset,
            Some(split),
            &Places::new(vec![workspace.join(folder)]),
        )
    });
    match found {
        Some(Ok(corpus)) => Some(corpus),
        Some(Err(DataError::Missing { .. })) | None => {
            // Not `eprintln!`, which the test runner hides when a test passes.
            let _ = writeln!(
                io::stderr(),
                "SKIPPED: no {split} split of {dataset} in ITERA_DATA_DIR"
            );
            None
        }
        Some(Err(error)) => panic!("{error}"),
    }
}

#[test]
fn the_official_wikitext2_splits_have_their_published_sizes() {
    let expected = [
        (
            Split::Test,
            Counts {
                bytes: 1_256_449,
                chars: 1_255_018,
                words: 245_569,
            },
        ),
        (
            Split::Valid,
            Counts {
                bytes: 1_121_681,
                chars: 1_120_192,
                words: 217_646,
            },
        ),
    ];
    for (split, counts) in expected {
        let Some(corpus) = official(&Dataset::WikiText2, split) else {
            continue;
        };
        assert_eq!(corpus.verdict, Verdict::OfficialWikiText2V1 { split });
        assert_eq!(corpus.counts, counts);
        assert_eq!(
            Counts::of(Layout::WikiText, &corpus.bytes),
            counts,
            "documents add up to the file"
        );
        assert_eq!(corpus.documents.len(), 60);
        assert_eq!(corpus.separator_bytes(), 0);
        assert!(corpus.is_utf8());
        assert!(corpus.texts().skip(1).all(|text| text.starts_with(b" = ")));
    }
}

#[test]
fn an_official_file_under_another_name_is_still_official() {
    let Some(by_name) = official(&Dataset::WikiText2, Split::Test) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("my.txt");
    fs::write(&path, &by_name.bytes).unwrap();
    let by_path = Corpus::load(&Dataset::File(path), None, &no_places()).unwrap();
    assert_eq!(by_path.documents, by_name.documents);
    assert_eq!(by_path.counts, by_name.counts);
    assert_eq!(
        (by_path.split, by_path.verdict),
        (by_name.split, by_name.verdict)
    );
}

#[test]
fn tiny_stories_divide_into_one_document_per_separator() {
    for split in [Split::Valid, Split::Train] {
        let Some(corpus) = official(&Dataset::TinyStories, split) else {
            continue;
        };
        let text = String::from_utf8_lossy(&corpus.bytes);
        let separators = text.lines().filter(|line| *line == END_OF_TEXT).count();
        assert!(
            corpus.documents.len().abs_diff(separators) <= 1,
            "{separators} separators"
        );
        assert!(
            corpus
                .texts()
                .all(|story| !story.is_empty() && !story.ends_with(b"\n<|endoftext|>"))
        );
        assert_eq!(corpus.verdict.name(), "unknown");
        assert_eq!(corpus.split, Some(split));
    }
}

#[test]
fn samples_need_no_file() {
    let wikitext = load("sample-wikitext2").unwrap();
    let stories = load("sample-tinystories").unwrap();
    let both = load("sample").unwrap();
    assert_eq!(
        (wikitext.documents.len(), stories.documents.len()),
        (10, 30)
    );
    assert_eq!(wikitext.separator_bytes(), 0);
    for sample in [&wikitext, &stories, &both] {
        assert!(sample.is_utf8());
        assert_eq!(
            (sample.verdict, sample.split, &sample.path),
            (Verdict::Sample, None, &None)
        );
    }
    assert!(wikitext.bytes.windows(5).any(|bytes| bytes == b"<unk>"));
    assert!(wikitext.bytes.windows(3).any(|bytes| bytes == b"@-@"));

    assert_eq!(both.counts, wikitext.counts + stories.counts);
    let apart: Vec<_> = wikitext.texts().chain(stories.texts()).collect();
    assert_eq!(both.texts().collect::<Vec<_>>(), apart);
    assert_eq!(
        Dataset::Sample.members(),
        [Dataset::SampleWikiText2, Dataset::SampleTinyStories]
    );
}

#[test]
fn a_file_of_the_users_own_is_one_document_or_its_stories() {
    let dir = tempfile::tempdir().unwrap();
    let corpus = |text: &[u8]| {
        let path = dir.path().join("own.txt");
        fs::write(&path, text).unwrap();
        Corpus::load(&Dataset::File(path), Some(Split::Train), &no_places())
    };
    let plain = corpus(b" = A = \n\none\xff two\n").unwrap();
    assert_eq!(plain.texts().collect::<Vec<_>>(), [&plain.bytes]);
    assert_eq!(
        plain.counts,
        Counts {
            bytes: 18,
            chars: 18,
            words: 5
        }
    );
    assert_eq!(
        (plain.is_utf8(), plain.first_invalid_utf8),
        (false, Some(12))
    );
    assert_eq!(
        plain.verdict,
        Verdict::Unknown {
            bytes: 18,
            same_size_as: None
        }
    );
    assert_eq!(plain.split, None);

    let stories = corpus(b"one\n<|endoftext|>\ntwo words\n").unwrap();
    assert_eq!(
        stories.texts().collect::<Vec<_>>(),
        [&b"one"[..], b"two words"]
    );
    assert_eq!(
        stories.counts,
        Counts {
            bytes: 12,
            chars: 12,
            words: 3
        }
    );
    assert_eq!(stories.separator_bytes(), 16);

    let empty = corpus(b"").unwrap_err().to_string();
    assert!(empty.ends_with("own.txt` holds no document (0 bytes); expected text, give another file or fetch it again"), "{empty}");
    assert!(matches!(
        corpus(b"<|endoftext|>\n"),
        Err(DataError::Empty { bytes: 14, .. })
    ));
}

#[test]
fn what_cannot_be_read_is_named() {
    let error = load("tinystory").unwrap_err().to_string();
    assert_eq!(
        error,
        "there is no file `tinystory`, and no data set of that name; names are \
         wikitext2, tinystories, sample, sample-wikitext2, sample-tinystories"
    );
    let dir = tempfile::tempdir().unwrap();
    let error = Corpus::load(&Dataset::File(dir.path().into()), None, &no_places()).unwrap_err();
    assert!(matches!(error, DataError::Read { .. }), "{error}");
    assert!(matches!(
        load("wikitext2"),
        Err(DataError::Missing {
            split: Split::Test,
            ..
        })
    ));
    assert!(matches!(
        load("tinystories"),
        Err(DataError::Missing {
            split: Split::Valid,
            ..
        })
    ));
}
