//! Corpora as callers see them: samples, files, and the official texts where they are at hand.

use std::{
    env,
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Write as _},
    path::PathBuf,
};

use itera_data::{
    Corpus, Counts, DataError, Dataset, END_OF_TEXT, Places, Split, Verdict, sha256_hex,
};

fn no_places() -> Places {
    Places::new(Vec::new())
}

fn load(name: &str) -> Result<Corpus, DataError> {
    Corpus::load(&name.parse()?, None, &no_places())
}

fn known(name: &str) -> Dataset {
    name.parse().unwrap()
}

fn verdict(name: &str, split: Split) -> Verdict {
    let text = known(name).known().unwrap();
    Verdict::Known { text, split }
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
        let Some(corpus) = official(&known("wikitext2"), split) else {
            continue;
        };
        assert_eq!(corpus.verdict, verdict("wikitext2", split));
        assert_eq!(corpus.counts(), counts);
        let file = corpus.texts().collect::<Vec<_>>().concat();
        assert_eq!(
            sha256_hex(&file),
            corpus.sha256,
            "every byte is in a document"
        );
        assert_eq!(corpus.n_documents(), 60);
        assert_eq!(corpus.first_invalid_utf8(), None);
        assert_eq!(corpus.warnings(), Vec::<String>::new());
        assert!(corpus.texts().skip(1).all(|text| text.starts_with(b" = ")));
    }
}

#[test]
fn an_official_file_under_another_name_is_still_official() {
    let Some(by_name) = official(&known("wikitext2"), Split::Test) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("my.txt");
    fs::copy(by_name.path.as_ref().unwrap(), &path).unwrap();
    let file = Dataset::File(path.clone());
    let by_path = Corpus::load(&file, None, &no_places()).unwrap();
    assert!(by_path.texts().eq(by_name.texts()));
    assert_eq!(by_path.counts(), by_name.counts());
    assert_eq!(
        (by_path.split, by_path.verdict),
        (by_name.split, by_name.verdict)
    );

    let other = Corpus::load(&file, Some(Split::Valid), &no_places()).unwrap_err();
    let expected = format!(
        "`{}` is the official test split by its digest, but valid was asked for; ask for test, or \
         delete the file and run `scripts/fetch-data.sh`",
        path.display()
    );
    assert_eq!(other.to_string(), expected);
}

#[test]
fn the_head_of_the_official_stories_is_known_by_name_and_by_path() {
    let Some(by_name) = official(&known("tinystories-head"), Split::Valid) else {
        return;
    };
    assert_eq!(
        (
            by_name.n_documents(),
            by_name.text_bytes(),
            by_name.file_bytes
        ),
        (219, 185_537, 188_822)
    );
    assert_eq!(by_name.verdict, verdict("tinystories-head", Split::Valid));
    let path = by_name.path.unwrap();
    let by_path = Corpus::load(&Dataset::File(path.clone()), None, &no_places()).unwrap();
    assert_eq!(
        (by_path.name.as_str(), by_path.split),
        ("tinystories-head", Some(Split::Valid))
    );

    // Under the name of another text it is refused, with the remedy.
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("tinystories");
    fs::create_dir(&folder).unwrap();
    fs::copy(path, folder.join("dev.txt")).unwrap();
    let places = Places::new(vec![dir.path().to_owned()]);
    let error = Corpus::load(&known("tinystories-dev"), None, &places).unwrap_err();
    assert!(matches!(error, DataError::OtherText { .. }), "{error}");
    assert!(error.to_string().contains("cannot be fetched"), "{error}");
}

#[test]
fn a_file_that_begins_like_an_article_is_divided_into_articles() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("train.txt");
    let article = " \n = One = \n \n some text \n";
    fs::write(&path, [article; 3].concat()).unwrap();
    let corpus = |path| Corpus::load(&Dataset::File(path), None, &no_places()).unwrap();
    let by_path = corpus(path);
    // As the same text under the name of the data set: articles, and a word for each line end.
    fs::create_dir(dir.path().join("wikitext-2")).unwrap();
    fs::write(
        dir.path().join("wikitext-2/train.txt"),
        [article; 3].concat(),
    )
    .unwrap();
    let places = Places::new(vec![dir.path().to_owned()]);
    let by_name = Corpus::load(&known("wikitext2"), Some(Split::Train), &places).unwrap();
    assert_eq!(by_path.n_documents(), 3);
    assert!(by_path.texts().eq(by_name.texts()));
    assert_eq!(by_path.counts(), by_name.counts());

    let stories = dir.path().join("stories.txt");
    fs::write(&stories, format!("{article}<|endoftext|>\n{article}")).unwrap();
    assert_eq!(corpus(stories).n_documents(), 2, "separators decide");
}

#[test]
fn the_beginning_of_a_split_is_read_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("tinystories")).unwrap();
    fs::write(
        dir.path().join("tinystories/train.txt"),
        "one\n<|endoftext|>\ntwo\n<|endoftext|>\nthree\n",
    )
    .unwrap();
    let places = Places::new(vec![dir.path().to_owned()]);
    let corpus = Corpus::beginning(&known("tinystories"), Split::Train, &places, 20).unwrap();
    assert_eq!(corpus.texts().collect::<Vec<_>>(), [&b"one"[..], b"tw"]);
    assert_eq!(corpus.file_bytes, 20);
    let whole = Corpus::beginning(&known("tinystories"), Split::Train, &places, 1 << 20).unwrap();
    assert_eq!(whole.n_documents(), 3);
}

#[test]
fn a_split_under_the_name_of_another_is_refused() {
    let Some(test) = official(&known("wikitext2"), Split::Test) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("wikitext-2");
    fs::create_dir(&folder).unwrap();
    fs::copy(test.path.unwrap(), folder.join("valid.txt")).unwrap();
    let places = Places::new(vec![dir.path().to_owned()]);
    let error = Corpus::load(&known("wikitext2"), Some(Split::Valid), &places).unwrap_err();
    assert!(
        matches!(
            error,
            DataError::OtherSplit {
                asked: Split::Valid,
                found: Split::Test,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn tiny_stories_divide_into_what_lies_between_separators() {
    for split in [Split::Valid, Split::Train] {
        let Some(corpus) = official(&known("tinystories"), split) else {
            continue;
        };
        let file = File::open(corpus.path.as_ref().unwrap()).unwrap();
        let (mut stories, mut is_story) = (0, false);
        for line in BufReader::new(file).split(b'\n').map(Result::unwrap) {
            let is_separator = line == END_OF_TEXT.as_bytes();
            stories += usize::from(is_separator && is_story);
            is_story = !is_separator && (is_story || !line.trim_ascii().is_empty());
        }
        assert_eq!(corpus.n_documents(), stories + usize::from(is_story));
        let mark = END_OF_TEXT.as_bytes();
        assert!(
            corpus
                .texts()
                .all(|story| !story.is_empty() && !story.ends_with(mark))
        );
        assert_eq!(corpus.split, Some(split));
        assert_eq!(corpus.warnings(), Vec::<String>::new());
    }
}

#[test]
fn samples_need_no_file() {
    let wikitext = load("sample-wikitext2").unwrap();
    let stories = load("sample-tinystories").unwrap();
    let both = load("sample").unwrap();
    assert_eq!((wikitext.n_documents(), stories.n_documents()), (10, 30));
    assert_eq!(wikitext.text_bytes(), wikitext.file_bytes);
    for sample in [&wikitext, &stories, &both] {
        assert_eq!(sample.first_invalid_utf8(), None);
        assert_eq!(sample.warnings(), Vec::<String>::new());
        assert_eq!(
            (sample.verdict, sample.split, &sample.path),
            (Verdict::Sample, None, &None)
        );
    }
    let text = wikitext.texts().collect::<Vec<_>>().concat();
    assert!(text.windows(5).any(|bytes| bytes == b"<unk>"));
    assert!(text.windows(3).any(|bytes| bytes == b"@-@"));

    assert_eq!(both.counts(), wikitext.counts() + stories.counts());
    let apart: Vec<_> = wikitext.documents().chain(stories.documents()).collect();
    assert_eq!(both.documents().collect::<Vec<_>>(), apart);
    assert_eq!(
        Dataset::Sample.members(),
        [Dataset::SampleWikiText2, Dataset::SampleTinyStories]
    );
}

/// The corpus in a file of these bytes, and the name that it has there.
fn own(bytes: &[u8]) -> (Result<Corpus, DataError>, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("own.txt");
    fs::write(&path, bytes).unwrap();
    let name = path.display().to_string();
    let corpus = Corpus::load(&Dataset::File(path), Some(Split::Train), &no_places());
    (corpus, name)
}

#[test]
fn a_file_of_the_users_own_is_one_document_or_its_stories() {
    let text = b" = A \n\n=one\xff two\n";
    let plain = own(text).0.unwrap();
    assert_eq!(plain.texts().collect::<Vec<_>>(), [text]);
    assert_eq!(
        plain.counts(),
        Counts {
            bytes: 17,
            chars: 17,
            words: 4
        }
    );
    assert_eq!(plain.first_invalid_utf8(), Some(11));
    assert_eq!(
        plain.verdict,
        Verdict::Unknown {
            bytes: 17,
            same_size_as: None
        }
    );
    assert_eq!(plain.split, None);

    let stories = own(b"one\n<|endoftext|>\ntwo words\n").0.unwrap();
    assert_eq!(
        stories.texts().collect::<Vec<_>>(),
        [&b"one"[..], b"two words"]
    );
    assert_eq!(
        stories.counts(),
        Counts {
            bytes: 12,
            chars: 12,
            words: 3
        }
    );
    assert_eq!((stories.file_bytes, stories.text_bytes()), (28, 12));

    let empty = own(b"").0.unwrap_err().to_string();
    assert!(empty.ends_with("own.txt` holds no document (0 bytes); expected text, give another file or fetch it again"), "{empty}");
    assert!(matches!(
        own(b"<|endoftext|>\n").0,
        Err(DataError::Empty { bytes: 14, .. })
    ));
}

#[test]
fn separators_that_nearly_are_separate_or_are_said() {
    // Text of a file, its documents, what the warnings begin with after the name.
    let slip = "holds <|endoftext|> 1 times as text";
    let cases: [(&str, &[&str], &[&str]); 10] = [
        ("a\n<|endoftext|> \nb\n", &["a", "b"], &[]),
        ("a\n  <|endoftext|>\nb\n", &["a", "b"], &[]),
        (
            "\u{feff}<|endoftext|>\na\n<|endoftext|>\nb\n",
            &["a", "b"],
            &[],
        ),
        ("\u{feff}a\n<|endoftext|>\nb\n", &["a", "b"], &[]),
        ("a<|endoftext|>b\n", &["a<|endoftext|>b\n"], &[slip]),
        ("a\n<|ENDOFTEXT|>\nb\n", &["a\n<|ENDOFTEXT|>\nb\n"], &[slip]),
        (
            "a\n<|endoftext|>\nb<|endoftext|>\n",
            &["a", "b<|endoftext|>"],
            &[slip],
        ),
        ("a\r\n<|endoftext|>\r\nb\r\n", &["a", "b"], &[]),
        (
            "a\r\nb\r\n<|endoftext|>\r\nc\r\nd",
            &["a\r\nb", "c\r\nd"],
            &["lines"],
        ),
        (
            "a\r<|endoftext|>\rb\r",
            &["a\r<|endoftext|>\rb\r"],
            &[slip, "lines"],
        ),
    ];
    for (text, documents, warnings) in cases {
        let (corpus, name) = own(text.as_bytes());
        let corpus = corpus.unwrap();
        let found: Vec<_> = corpus
            .texts()
            .map(|text| str::from_utf8(text).unwrap())
            .collect();
        assert_eq!(found, documents, "{text:?}");
        let said = corpus.warnings();
        let expected = |begin: &&str| match *begin {
            "lines" => format!("the lines of `{name}` end with carriage returns"),
            slip => format!("`{name}` {slip}"),
        };
        assert_eq!(said.len(), warnings.len(), "{text:?}: {said:?}");
        for (said, begin) in said.iter().zip(warnings) {
            assert!(said.starts_with(&expected(begin)), "{text:?}: {said}");
        }
    }
}

#[test]
fn what_is_no_plain_text_is_refused_by_its_name() {
    let wide = |text: &str, bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
        text.encode_utf16().flat_map(bytes).collect()
    };
    let cases: [(&str, Vec<u8>); 9] = [
        ("gzip data", b"\x1f\x8b\x08\0text".to_vec()),
        ("zstd data", b"\x28\xb5\x2f\xfd\0text".to_vec()),
        ("a zip archive", b"PK\x03\x04text".to_vec()),
        ("a Parquet file", b"PAR1\x15\0\x15\xc0text PAR1".to_vec()),
        ("UTF-16", wide("\u{feff}Once", u16::to_le_bytes)),
        ("UTF-16", wide("\u{feff}Once", u16::to_be_bytes)),
        ("UTF-16", wide("Once upon a time", u16::to_le_bytes)),
        ("UTF-16", wide("Once upon a time", u16::to_be_bytes)),
        (
            "JSON lines",
            b"{\"text\": \"a\"}\n{\"text\": \"b\"}\n".to_vec(),
        ),
    ];
    for (format, bytes) in cases {
        let (corpus, name) = own(&bytes);
        let error = corpus.unwrap_err().to_string();
        let expected = format!("`{name}` is {format}, expected plain text; ");
        assert!(error.starts_with(&expected), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
    for text in [
        "PAR1 is a gene",
        "{\"text\": unfinished\n",
        "{a} b\n",
        "PK",
        "a\0b\0\0c",
    ] {
        let corpus = own(text.as_bytes()).0.unwrap();
        assert_eq!(corpus.texts().collect::<Vec<_>>(), [text.as_bytes()]);
    }
}

#[test]
fn what_cannot_be_read_is_named() {
    let error = load("tinystory").unwrap_err().to_string();
    assert_eq!(
        error,
        "there is no file `tinystory`, and no data set of that name; names are \
         wikitext2, tinystories, tinystories-head, tinystories-dev, tinystories-v2, wikitext2-raw, wikitext103, enwik8, text8, lambada, sample, sample-wikitext2, \
         sample-tinystories"
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
