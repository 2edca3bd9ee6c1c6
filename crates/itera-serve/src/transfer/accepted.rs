//! What people have accepted or corrected, as a training text.

use std::collections::{BTreeSet, HashSet};

use crate::store::{Rated, Store, StoreError};

/// What ends a document of a training text.
const END_OF_DOCUMENT: &str = "<|endoftext|>";

/// The texts of one of so many visitors are held out.
const HELD_OUT: usize = 10;

/// What people have accepted or corrected, oldest first, as a training text: of the records that an adaptation would
/// learn from, without its limit of all of them. The second text is that of every tenth visitor, if one is wanted, so that
/// what one of them has planted is not on both sides; of those whose records count in full, it is every tenth record.
pub(crate) async fn texts(store: &Store, holds_out: bool) -> Result<[String; 2], StoreError> {
    let records = store.latest(u32::MAX).await?;
    let texts = records
        .iter()
        .rev()
        .filter_map(|record| Some((giver(record), document(record)?)));
    let texts: Vec<_> = texts.collect();
    let givers: BTreeSet<&str> = texts.iter().map(|(giver, _)| *giver).collect();
    let held: HashSet<&str> = givers.into_iter().step_by(HELD_OUT).collect();
    let (others, rest): (Vec<_>, Vec<_>) = texts
        .into_iter()
        .partition(|(giver, _)| holds_out && held.contains(giver));
    // What several have accepted counts once, and is held out if one of them is.
    let mut known = HashSet::new();
    let [others, rest] = [others, rest].map(|texts| {
        let texts = texts.into_iter().map(|(_, text)| text);
        texts.filter(|text| known.insert(text.clone())).collect()
    });
    Ok([rest, others])
}

/// Whom a record counts as one of: whoever gave it, unless its records count in full, as those of a key that passes on
/// what many say.
fn giver(record: &Rated) -> &str {
    match &record.feedback.source {
        Some(source) if source.most.is_some() => &source.digest,
        _ => &record.feedback.id,
    }
}

/// A text that somebody has accepted or corrected, as a document of a training text; none of other records.
fn document(record: &Rated) -> Option<String> {
    let Rated {
        feedback, answer, ..
    } = record;
    let continued = match &feedback.correction {
        Some(correction) => correction,
        None if feedback.is_positive() => &answer.output,
        None => return None,
    };
    let text = format!("{}{continued}", answer.prompt);
    // A line of it that ends a document would make two of one.
    let is_document = !text.trim().is_empty() && !text.contains(END_OF_DOCUMENT);
    is_document.then(|| format!("{}\n{END_OF_DOCUMENT}\n", text.trim_end()))
}
