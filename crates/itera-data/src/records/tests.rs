//! Every form of a file gives the same documents, whole, in parts and in shards.

use std::{fs, io::Write as _, path::Path};

use ::parquet::{
    basic::{Compression, ZstdLevel},
    data_type::{ByteArray, ByteArrayType},
    file::{properties::WriterProperties, writer::SerializedFileWriter},
    schema::parser::parse_message_type,
};
use proptest::prelude::*;

use super::*;
use crate::{Corpus, Places};

const TEXTS: [&str; 4] = [
    "One day, Tim ran.\nHe fell.",
    "\"Été\", she said.",
    "",
    "third, \u{1f980}",
];

fn options() -> RecordOptions {
    RecordOptions::default()
}

/// The documents of a file, or the first error.
fn read(path: &Path, options: &RecordOptions) -> Result<Vec<(String, Vec<u8>)>, RecordError> {
    let input = Input::File {
        path: path.to_owned(),
        name: "f".to_owned(),
    };
    let mut documents: Vec<(String, Vec<u8>)> = Vec::new();
    let mut is_open = false;
    for part in Records::new(&[input], options.clone())? {
        let part = part?;
        assert_eq!(part.id.is_none(), is_open);
        is_open = !part.is_last;
        match part.id {
            Some(id) => documents.push((id, part.text)),
            None => documents.last_mut().unwrap().1.extend(part.text),
        }
    }
    assert!(!is_open, "a document without an end");
    Ok(documents)
}

fn file(bytes: impl AsRef<[u8]>) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes.as_ref()).unwrap();
    file
}

fn texts(bytes: impl AsRef<[u8]>, options: &RecordOptions) -> Vec<String> {
    let documents = read(file(bytes).path(), options).unwrap();
    let text = |(_, text)| String::from_utf8(text).unwrap();
    documents.into_iter().map(text).collect()
}

fn json_lines() -> String {
    let line =
        |text: &&str| serde_json::json!({"meta": {"text": 1}, "text": text, "n": 7}).to_string();
    TEXTS.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn parquet_file(texts: &[&str], group: usize, compression: Compression) -> Vec<u8> {
    let schema = parse_message_type(
        "message m { optional int64 n; optional binary text (UTF8); required binary key (UTF8); }",
    );
    let properties = WriterProperties::builder()
        .set_compression(compression)
        .build();
    let mut bytes = Vec::new();
    let mut writer =
        SerializedFileWriter::new(&mut bytes, schema.unwrap().into(), properties.into()).unwrap();
    for texts in texts.chunks(group) {
        let mut rows = writer.next_row_group().unwrap();
        let mut number = rows.next_column().unwrap().unwrap();
        let levels = vec![0; texts.len()];
        number
            .typed::<::parquet::data_type::Int64Type>()
            .write_batch(&[], Some(&levels), None)
            .unwrap();
        number.close().unwrap();
        for is_key in [false, true] {
            let mut column = rows.next_column().unwrap().unwrap();
            let values = texts.iter().map(|text| if is_key { "k" } else { *text });
            let values: Vec<ByteArray> = values.map(ByteArray::from).collect();
            let levels = vec![1; texts.len()];
            let levels = (!is_key).then_some(&levels[..]);
            column
                .typed::<ByteArrayType>()
                .write_batch(&values, levels, None)
                .unwrap();
            column.close().unwrap();
        }
        rows.close().unwrap();
    }
    writer.close().unwrap();
    bytes
}

#[test]
fn a_row_of_a_table_begins_behind_the_line_end_whatever_it_is() {
    for end in ["\n", "\r\n"] {
        let text = ["n,text", "1,\"one\nand\"", "2,two", ""].join(end);
        let found = read(file(&text).path(), &options()).unwrap();
        let starts = ["1,", "2,"].map(|row| format!("f:{}", text.find(row).unwrap()));
        let ids: Vec<_> = found.into_iter().map(|(id, _)| id).collect();
        assert_eq!(ids, starts, "{end:?}");
    }
}

#[test]
fn a_quotation_mark_that_is_missing_ends_the_table() {
    let mut text = "n,text\n1,one\n2,\"two\n".to_owned();
    text.push_str(&"3,three\n".repeat(LONGEST / 4));
    let said = match read(file(&text).path(), &options()) {
        Ok(documents) => panic!("{} documents", documents.len()),
        Err(error) => error.to_string(),
    };
    assert!(
        said.contains("line 3") && said.contains("quotation mark"),
        "{said}"
    );
}

#[test]
fn a_field_that_stands_twice_is_broken() {
    let error = read(file(r#"{"text": "a", "text": "b"}"#).path(), &options()).unwrap_err();
    assert!(error.to_string().contains("`text` stands twice"), "{error}");
}

#[test]
fn a_column_of_numbers_is_no_column_of_texts() {
    let bytes = parquet_file(&TEXTS, 2, Compression::UNCOMPRESSED);
    let numbers = RecordOptions {
        text_field: Some("n".to_owned()),
        ..options()
    };
    let error = read(file(bytes).path(), &numbers).unwrap_err().to_string();
    assert!(
        error.contains("no column of texts `n`; it has text, key"),
        "{error}"
    );
}

#[test]
fn a_corpus_has_the_texts_of_every_form() {
    let folder = tempfile::tempdir().unwrap();
    let whole: Vec<&str> = TEXTS.into_iter().filter(|text| !text.is_empty()).collect();
    let corpus = |name: &str| {
        let dataset = crate::Dataset::File(folder.path().join(name));
        Corpus::load_records(&dataset, None, &Places::new(Vec::new()))
    };
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    write("a.jsonl", json_lines().as_bytes());
    write("b.parquet", &parquet_file(&TEXTS, 2, Compression::SNAPPY));
    for name in ["a.jsonl", "b.parquet"] {
        let corpus = corpus(name).unwrap();
        assert!(corpus.texts().eq(whole.iter().map(|text| text.as_bytes())));
        let bytes = fs::read(folder.path().join(name)).unwrap();
        assert_eq!(corpus.sha256, crate::sha256_hex(&bytes));
        assert_eq!(corpus.file_bytes, bytes.len() as u64);
    }
    let of_folder = corpus("").unwrap();
    assert_eq!(of_folder.n_documents(), 2 * whole.len());
    assert_eq!(of_folder.path, None);
    write("broken.jsonl", b"{\"text\": \"a\"}\n{\"text\": 1}\n");
    let error = corpus("broken.jsonl").unwrap_err().to_string();
    assert!(error.contains("line 2"), "{error}");
    let error = Corpus::load_records(
        &crate::Dataset::File("-".into()),
        None,
        &Places::new(Vec::new()),
    );
    assert!(error.unwrap_err().to_string().contains("score -"));
}

#[test]
fn every_form_gives_the_same_texts() {
    assert_eq!(texts(json_lines(), &options()), TEXTS);
    for compression in [
        Compression::SNAPPY,
        Compression::UNCOMPRESSED,
        Compression::ZSTD(ZstdLevel::default()),
    ] {
        assert_eq!(
            texts(parquet_file(&TEXTS, 3, compression), &options()),
            TEXTS
        );
    }
    for delimiter in [b',', b'\t'] {
        let mut rows = csv::WriterBuilder::new()
            .delimiter(delimiter)
            .from_writer(Vec::new());
        rows.write_record(["n", "text"]).unwrap();
        for text in TEXTS {
            rows.write_record(["1", text]).unwrap();
        }
        assert_eq!(texts(rows.into_inner().unwrap(), &options()), TEXTS);
    }
    let stories = format!("{}\n<|endoftext|>\n{}\n", TEXTS[0], TEXTS[1]);
    assert_eq!(texts(stories, &options()), TEXTS[..2]);
}

fn packed(bytes: &[u8]) -> [(&'static str, Vec<u8>); 4] {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(bytes).unwrap();
    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    bzip2.write_all(bytes).unwrap();
    let mut xz = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::default()).unwrap();
    xz.write_all(bytes).unwrap();
    [
        ("gzip", gzip.finish().unwrap()),
        ("bzip2", bzip2.finish().unwrap()),
        ("xz", xz.finish().unwrap()),
        ("zstd", zstd::encode_all(bytes, 1).unwrap()),
    ]
}

#[test]
fn packed_files_are_unpacked_and_a_cut_is_seen() {
    let lines = json_lines();
    for (name, bytes) in packed(lines.as_bytes()) {
        assert_eq!(texts(&bytes, &options()), TEXTS, "{name}");
        let twice = [
            &bytes[..],
            &packed(format!("\n{lines}").as_bytes())
                .into_iter()
                .find(|(other, _)| *other == name)
                .unwrap()
                .1,
        ]
        .concat();
        assert_eq!(texts(twice, &options()).len(), 8, "{name}, two of them");
        for cut in [bytes.len() / 2, bytes.len() - 1] {
            let error = read(file(&bytes[..cut]).path(), &options());
            assert!(
                matches!(error, Err(RecordError::Read { .. })),
                "{name}, {cut} bytes: {error:?}"
            );
        }
    }
    let parquet = parquet_file(&TEXTS, 2, Compression::SNAPPY);
    for cut in [parquet.len() / 2, parquet.len() - 5] {
        let error = read(file(&parquet[..cut]).path(), &options());
        assert!(
            matches!(error, Err(RecordError::Read { .. })),
            "{cut} bytes: {error:?}"
        );
    }
}

#[test]
fn ids_are_fields_or_places() {
    let ids = |bytes: &str, options: &RecordOptions| {
        let documents = read(file(bytes).path(), options).unwrap();
        documents.into_iter().map(|(id, _)| id).collect::<Vec<_>>()
    };
    let with_id = RecordOptions {
        id_field: Some("id".to_owned()),
        ..options()
    };
    let lines = "{\"id\": \"a\", \"text\": \"x\"}\n\n{\"text\": \"y\", \"id\": 12}\n";
    assert_eq!(ids(lines, &with_id), ["a", "12"]);
    assert_eq!(ids(lines, &options()), ["f:0", "f:26"]);
    assert_eq!(ids("id,text\nq,x\nr,y\n", &with_id), ["q", "r"]);
    assert_eq!(ids("id,text\nq,x\nr,y\n", &options()), ["f:8", "f:12"]);
    assert_eq!(
        ids("one\n<|endoftext|>\ntwo\n", &options()),
        ["f:0", "f:18"]
    );
    assert_eq!(ids("\u{feff}one\n", &options()), ["f:3"]);
}

#[test]
fn a_json_line_may_be_longer_than_what_is_looked_at() {
    let text = "word ".repeat(HEAD);
    let line = serde_json::json!({"meta": {}, "text": text}).to_string();
    assert_eq!(texts(format!("\u{feff}{line}\n"), &options()), [&text[..]]);
    assert_eq!(texts("{\n", &options()), ["{\n"]);
    assert_eq!(texts("[1] One\n", &options()), ["[1] One\n"]);
}

#[test]
fn rules_divide_a_text() {
    let by = |rule, text: &str| {
        texts(
            text,
            &RecordOptions {
                rule: Some(rule),
                ..options()
            },
        )
    };
    let text = "a b\n\n \nc\r\nd\n";
    assert_eq!(by(DocumentRule::Line, text), ["a b", "c", "d"]);
    assert_eq!(by(DocumentRule::Paragraph, text), ["a b", "c\r\nd"]);
    assert_eq!(by(DocumentRule::Whole, text), [text]);
    assert_eq!(by(DocumentRule::Story, text), [text]);
    let articles = " \n = A = \n\n x \n = B = \n\n y \n";
    assert_eq!(
        texts(articles, &options()),
        [" \n = A = \n\n x \n", " = B = \n\n y \n"]
    );
    assert_eq!("line".parse(), Ok(DocumentRule::Line));
    assert!("verse".parse::<DocumentRule>().is_err());
}

#[test]
fn a_broken_record_has_its_place_and_the_next_is_read() {
    let lines = "{\"text\": \"a\"}\n{\"text\": \n{\"text\": null}\n{\"txt\": \"b\"}\n{\"text\": 7}\n{\"text\": \"c\"}\n";
    let input = file(lines);
    let input = Input::File {
        path: input.path().to_owned(),
        name: "f".to_owned(),
    };
    let path = match &input {
        Input::File { path, .. } => path.clone(),
        _ => unreachable!(),
    };
    fs::write(&path, lines).unwrap();
    let found: Vec<_> = Records::new(&[input], options()).unwrap().collect();
    let message = |index: usize| found[index].as_ref().unwrap_err().to_string();
    assert_eq!(found.len(), 6);
    assert!(
        message(1).starts_with("f, line 2: no JSON object with texts: EOF"),
        "{}",
        message(1)
    );
    assert!(
        message(2).contains("line 3") && message(2).contains("`text` is null"),
        "{}",
        message(2)
    );
    assert!(
        message(3).contains("no field `text`; it has txt"),
        "{}",
        message(3)
    );
    assert!(message(4).contains("a text in `text`"), "{}", message(4));
    assert_eq!(found[5].as_ref().unwrap().text, b"c");
    assert!(found[1].as_ref().unwrap_err().is_of_one_record());
    fs::remove_file(path).unwrap();
}

#[test]
fn what_is_no_text_is_refused_by_its_name() {
    let refused = |bytes: &[u8]| {
        read(file(bytes).path(), &options())
            .unwrap_err()
            .to_string()
    };
    for (bytes, name) in [
        (&b"\x89PNG\r\n\x1a\n...."[..], "a PNG picture"),
        (b"a\0b", "bytes that are 0"),
        (b"\xff\xfea\0b\0", "UTF-16"),
        (b"PK\x03\x04....", "a zip archive"),
    ] {
        let message = refused(bytes);
        assert!(message.contains(name), "{message}");
    }
    let mut archive = vec![b'x'; 257];
    archive.extend(b"ustar  ");
    let message = refused(&packed(&archive)[0].1);
    assert!(
        message.contains("an archive of several files in gzip data"),
        "{message}"
    );
    let other = RecordOptions {
        text_field: Some("body".to_owned()),
        ..options()
    };
    let message = read(
        file(parquet_file(&TEXTS, 2, Compression::SNAPPY)).path(),
        &other,
    );
    let message = message.unwrap_err().to_string();
    assert!(
        message
            .ends_with("no column of texts `body`; it has text, key; name it with `--text-field`"),
        "{message}"
    );
}

#[test]
fn a_long_document_comes_in_parts_that_join() {
    let text = "Tim and Sue went to the park. \n".repeat(3 * PART / 30);
    let input = Input::File {
        path: file("").path().to_owned(),
        name: "f".to_owned(),
    };
    let Input::File { path, .. } = &input else {
        unreachable!()
    };
    fs::write(path, &text).unwrap();
    let parts: Vec<_> = Records::new(std::slice::from_ref(&input), options())
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert!(parts.len() > 2);
    assert_eq!(
        parts
            .iter()
            .map(|part| &part.text[..])
            .collect::<Vec<_>>()
            .concat(),
        text.as_bytes()
    );
    for part in &parts[1..] {
        assert!(part.text[0].is_ascii_whitespace());
    }
    fs::remove_file(path).unwrap();
}

/// The documents of a text that is held as a whole, by a rule.
fn by_definition(text: &[u8], rule: DocumentRule) -> Vec<&[u8]> {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let documents = rule.documents(text, false).into_iter();
    documents.map(|document| &text[document]).collect()
}

proptest! {
    #[test]
    fn documents_are_those_of_the_definition_and_shards_divide_them(
        lines in prop::collection::vec("\u{feff}?( ?<\\|endoftext\\|> ?|| |xyz| = A = )\r?\n?", 0..20),
        count in 1_u64..5,
    ) {
        let text = lines.concat();
        let input = file(&text);
        for (_, rule) in DocumentRule::NAMED {
            let options = RecordOptions { rule: Some(rule), ..options() };
            let whole = read(input.path(), &options).unwrap();
            let found: Vec<&[u8]> = whole.iter().map(|(_, text)| &text[..]).collect();
            prop_assert_eq!(found, by_definition(text.as_bytes(), rule), "{}", rule);
            let shard = |index| {
                let options = RecordOptions { shard: Some((index, count)), ..options.clone() };
                read(input.path(), &options).unwrap()
            };
            let shards: Vec<_> = (1..=count).flat_map(shard).collect();
            prop_assert_eq!(shards, whole, "{}", rule);
        }
    }

    #[test]
    fn shards_divide_lines_and_row_groups(texts in prop::collection::vec("[a-z]{0,12}", 1..30), count in 1_u64..6) {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let lines: Vec<String> = texts.iter().map(|text| format!("{{\"text\": \"{text}\"}}\n")).collect();
        for bytes in [lines.concat().into_bytes(), parquet_file(&texts, 4, Compression::SNAPPY)] {
            let input = file(bytes);
            let whole = read(input.path(), &options()).unwrap();
            prop_assert_eq!(whole.len(), texts.len());
            let shard = |index| {
                read(input.path(), &RecordOptions { shard: Some((index, count)), ..options() }).unwrap()
            };
            prop_assert_eq!((1..=count).flat_map(shard).collect::<Vec<_>>(), whole);
        }
    }
}
