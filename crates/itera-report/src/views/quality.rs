//! How well models predict texts.

use itera_core::config::MICRO_PARAMETER_BUDGET;
use itera_record::{
    Form::{self, Fixed, Signed, Times},
    ModelInfo, QuantizationRecord, Table, ValidationRow, Value, ci95, columns,
    columns::{BASELINES, DIVERGENCES, GAINS, PROTOCOLS, SCORES},
};

use super::{View, rank_of_precision};
use crate::input::{Inputs, Of, items};

/// Rows on one text by one protocol.
pub(crate) type Group<'i> = Vec<&'i Of<ValidationRow>>;

/// The file that `itera-validate` without options writes: the models that ship.
const SHIPPED: &str = "results/validation.json";

/// A model of others, scored by us on a text of ours.
const REFERENCE: &str = "stories260K";

/// Whether a row is about the reference of the size of `micro`.
pub(crate) fn is_reference(row: &ValidationRow) -> bool {
    row.model.name == REFERENCE
}

/// Official texts first, stories before articles: what anyone can obtain leads.
fn rank_of_text(row: &ValidationRow) -> (bool, bool) {
    (!row.is_official(), !row.dataset.starts_with("tinystories"))
}

/// Whether the row is about a model alone, which does not learn from the text that it reads.
pub(crate) fn is_static(row: &ValidationRow) -> bool {
    row.static_score.is_none()
}

/// All rows of models alone, those on one text by one protocol together, official texts and the best score first.
pub(crate) fn groups(inputs: &Inputs) -> Vec<Group<'_>> {
    let rows = inputs.validation.iter();
    let mut rows: Vec<&Of<ValidationRow>> = rows.filter(|row| is_static(&row.item)).collect();
    let text = |row: &ValidationRow| {
        (
            rank_of_text(row),
            row.text_name(),
            row.dataset_sha256.clone(),
            row.protocol.to_string(),
        )
    };
    rows.sort_by_cached_key(|row| text(&row.item));
    let mut groups: Vec<Group<'_>> = rows
        .chunk_by(|a, b| text(&a.item) == text(&b.item))
        .map(<[_]>::to_vec)
        .collect();
    for group in &mut groups {
        group.sort_by(|a, b| {
            let order = a.item.bits_per_byte.total_cmp(&b.item.bits_per_byte);
            order.then(a.item.model.name.cmp(&b.item.model.name))
        });
    }
    groups
}

/// The data set without the part of it: `tinystories` for `tinystories-head`.
fn kind(row: &ValidationRow) -> &str {
    row.dataset.split('-').next().unwrap_or_default()
}

/// A text in words, with what it is.
pub(crate) fn text_label(row: &ValidationRow) -> String {
    let documents = Form::Whole.text(row.documents as f64);
    let label = format!("{}, {documents} documents", row.text_name());
    let has_official = ["tinystories", "wikitext2"].contains(&kind(row));
    if row.is_official() {
        label
    } else if has_official {
        format!("{label} (selection; not the official split)")
    } else {
        format!("{label} (not an official text)")
    }
}

/// Whether the model is beyond the budget of `micro`, as a teacher is.
pub(crate) fn is_large(row: &ValidationRow) -> bool {
    row.model.params > MICRO_PARAMETER_BUDGET as u64
}

/// The lowest complete score of a group, of a model within the budget of `micro` where there is one.
pub(crate) fn best<'i>(group: &Group<'i>) -> Option<&'i Of<ValidationRow>> {
    let complete = group
        .iter()
        .copied()
        .filter(|row| row.item.is_complete() && !is_reference(&row.item));
    complete.min_by(|a, b| {
        let bits = a.item.bits_per_byte.total_cmp(&b.item.bits_per_byte);
        is_large(&a.item).cmp(&is_large(&b.item)).then(bits)
    })
}

/// Rows of the models that ship, by the native engine; all rows where none are told apart.
pub(crate) fn shipped(inputs: &Inputs) -> Vec<&Of<ValidationRow>> {
    let native = inputs
        .validation
        .iter()
        .filter(|row| row.item.engine == "native");
    let is_shipped = |row: &&Of<ValidationRow>| inputs.source(*row).label == SHIPPED;
    let mut rows: Vec<_> = native.filter(is_shipped).collect();
    rows.sort_by_key(|row| {
        let row = &row.item;
        (
            row.model.base_name().to_owned(),
            rank_of_precision(&row.precision),
        )
    });
    rows
}

/// Rows of the models that ship, official stories first, without those on texts that others cannot obtain where there are some on
/// official text of the same kind.
pub(crate) fn leading(inputs: &Inputs) -> Vec<&Of<ValidationRow>> {
    let rows = shipped(inputs);
    let is_official = |row: &ValidationRow| {
        let like = |other: &&&Of<ValidationRow>| {
            let other = &other.item;
            other.model.base_name() == row.model.base_name() && kind(other) == kind(row)
        };
        rows.iter()
            .filter(like)
            .any(|other| other.item.is_official())
    };
    let leads = |row: &&&Of<ValidationRow>| row.item.is_official() || !is_official(&row.item);
    let mut leading: Vec<_> = rows.iter().filter(leads).copied().collect();
    leading.sort_by_key(|row| rank_of_text(&row.item));
    leading
}

/// The same model on the same text, scored alike, at another precision.
pub(crate) fn at_precision<'i>(
    inputs: &'i Inputs,
    row: &ValidationRow,
    precision: &str,
) -> Option<&'i ValidationRow> {
    let mut rows = items(&inputs.validation);
    rows.find(|other| {
        other.precision == precision
            && other.model.base_name() == row.model.base_name()
            && other.dataset_sha256 == row.dataset_sha256
            && other.protocol == row.protocol
            && other.engine == row.engine
    })
}

/// What a precision costs, and where the cost may lie: bits per byte of the same documents, paired.
pub(crate) struct Cost {
    pub(crate) text: String,
    pub(crate) model: String,
    pub(crate) precision: String,
    pub(crate) exact: f64,
    pub(crate) rounded: f64,
    pub(crate) interval: Option<[f64; 2]>,
    pub(crate) smaller: f64,
}

impl Cost {
    fn new(exact: &ValidationRow, rounded: &ValidationRow) -> Self {
        Self {
            text: exact.text_name(),
            model: exact.model.base_name().to_owned(),
            precision: rounded.precision_label(),
            exact: exact.bits_per_byte,
            rounded: rounded.bits_per_byte,
            interval: paired_interval(exact, rounded),
            smaller: exact.model.bytes as f64 / rounded.model.bytes as f64,
        }
    }

    pub(crate) fn difference(&self) -> f64 {
        self.rounded - self.exact
    }

    /// Every row that has its model in floats beside it.
    pub(crate) fn all(inputs: &Inputs) -> Vec<Self> {
        let rounded = inputs
            .validation
            .iter()
            .filter(|row| row.item.precision != "fp32");
        let mut all: Vec<Self> = rounded
            .filter_map(|row| {
                Some(Self::new(
                    at_precision(inputs, &row.item, "fp32")?,
                    &row.item,
                ))
            })
            .collect();
        all.sort_by_key(|cost| {
            (
                cost.text.clone(),
                cost.model.clone(),
                rank_of_precision(&cost.precision),
            )
        });
        all
    }
}

/// The 95 % interval of a difference in bits per byte over documents that both were scored on.
fn paired_interval(a: &ValidationRow, b: &ValidationRow) -> Option<[f64; 2]> {
    let (one, two) = (&a.per_document, &b.per_document);
    if one.document_bytes != two.document_bytes {
        return None;
    }
    let pairs = one.document_nll_nats.iter().zip(&two.document_nll_nats);
    let differences: Vec<f64> = pairs.map(|(a, b)| b - a).collect();
    ci95(&differences, &one.document_bytes, a.protocol.bootstrap)
}

/// A model as a point of size and quality.
struct Sized<'i> {
    row: &'i ValidationRow,
    is_on_front: bool,
    smaller: f64,
}

/// The rows that no other one betters in size without being worse in quality, smallest first.
pub(crate) fn front<'i>(group: &Group<'i>) -> Vec<&'i ValidationRow> {
    let mut rows: Vec<&ValidationRow> = group.iter().map(|row| &row.item).collect();
    rows.sort_by(|a, b| {
        let bits = a.bits_per_byte.total_cmp(&b.bits_per_byte);
        a.model.bytes.cmp(&b.model.bytes).then(bits)
    });
    let mut best = f64::INFINITY;
    rows.retain(|row| {
        let is_better = row.bits_per_byte < best;
        best = best.min(row.bits_per_byte);
        is_better
    });
    rows
}

fn sizes<'i>(groups: &[Group<'i>]) -> Vec<Sized<'i>> {
    let mut all = Vec::new();
    for group in groups {
        let front = front(group);
        let largest = group.iter().map(|row| row.item.model.bytes).max();
        all.extend(group.iter().map(|of| {
            let row = &of.item;
            Sized {
                row,
                is_on_front: front.iter().any(|other| std::ptr::eq(*other, row)),
                smaller: largest.unwrap_or(0) as f64 / row.model.bytes as f64,
            }
        }));
    }
    all
}

fn model(record: &QuantizationRecord) -> Option<&ModelInfo> {
    record.envelope.model.as_ref()
}

/// Tensors of a file of 4 bits that keep 8.
fn exceptions(record: &QuantizationRecord) -> u64 {
    let is_int4 = model(record).is_some_and(|model| model.precision == "int4");
    let kept = record
        .tensors
        .iter()
        .filter(|tensor| is_int4 && tensor.precision == "int8");
    kept.count() as u64
}

/// Scores, costs of precisions, how both came about, and sizes.
pub(super) fn views(inputs: &Inputs) -> Vec<View> {
    let groups = groups(inputs);
    let rows: Vec<ValidationRow> = groups
        .iter()
        .flatten()
        .map(|row| row.item.clone())
        .collect();
    let sources = Inputs::files(&inputs.validation);
    let table =
        |columns, rows: Vec<&ValidationRow>| Table::of(columns, rows).without_empty(&["engine"]);
    let all = |is_shown: fn(&&ValidationRow) -> bool| rows.iter().filter(is_shown).collect();
    let costs = columns! { Cost:
        text   "text"       "text"                  ""          |cost| &cost.text;
        text   "model"      "model"                 ""          |cost| Value::code(&cost.model);
        text   "precision"  "precision"             ""          |cost| &cost.precision;
        number "fp32"       "fp32"                  "bits/byte" |cost| Fixed(4).of(cost.exact);
        number "difference" "difference"            ""          |cost| Signed(4).of(cost.difference());
        number "ci95"       "95 % interval, paired" ""          |cost| Signed(4).bounds(cost.interval);
        number "smaller"    "weights smaller"       ""          |cost| Times.of(cost.smaller);
    };
    let points = columns! { Sized<'_>:
        text   "text"            "text"                     ""      |of| of.row.text_name();
        text   "model"           "model"                    ""      |of| Value::code(of.row.model.base_name());
        text   "precision"       "precision"                ""      |of| of.row.precision_label();
        number "params"          "parameters"               ""      |of| of.row.model.params;
        number "active_params"   "active per token"         ""      |of| of.row.model.active_params;
        number "bytes"           "weights"                  "bytes" |of| of.row.model.bytes;
        number "smaller"         "smaller than the largest" ""      |of| Times.of(of.smaller);
        number "bits_per_weight" "bits/weight"              ""      |of| Fixed(2).of(of.row.model.bits_per_weight);
        number "bits_per_byte"   "bits/byte"                ""      |of| Fixed(4).of(of.row.bits_per_byte);
        text   "front"           "on the front"             ""      |of| if of.is_on_front { "yes" } else { "no" };
    };
    let files = columns! { QuantizationRecord:
        text   "model"      "model"             ""          |of| Value::code(of.source.base_name());
        text   "precision"  "to"                ""          |of| model(of).map(|model| &model.precision);
        text   "method"     "method"            ""          |of| format!("{}{}", of.method, if of.tuned_sha256.is_some() { ", after training for it" } else { "" });
        number "file_bytes" "file"              "bytes"     |of| of.file_bytes;
        number "exceptions" "tensors at 8 bits" ""          |of| exceptions(of);
        number "before"     "before"            "bits/byte" |of| Fixed(4).of(of.validation.as_ref().map(|cost| cost.bits_per_byte_before));
        number "after"      "after"             "bits/byte" |of| Fixed(4).of(of.validation.as_ref().map(|cost| cost.bits_per_byte_after));
        text   "text"       "on"                ""          |of| of.validation.as_ref().map(|cost| format!("{}, {} documents", columns::name_of_text(&cost.sha256).unwrap_or(&cost.text), cost.documents));
    };
    let mut views = views! { &sources;
        "scores" "Scores" table(SCORES, all(|_| true));
        "baselines" "What no model reaches" table(BASELINES, all(|_| true));
        "precision-cost" "What a precision costs" Table::of(&costs, &Cost::all(inputs));
        "protocols" "How texts were scored" table(PROTOCOLS, all(|_| true));
        "divergences" "What a precision changes" table(DIVERGENCES, all(|row| row.divergence.is_some()));
        "gains" "Learning while reading" table(GAINS, items(&inputs.validation).filter(|row| !is_static(row)).collect());
        "sizes" "Quality and size" Table::of(&points, &sizes(&groups));
    };
    views.extend(views! { &Inputs::files(&inputs.quantization);
        "quantization" "How quantised files were made" Table::of(&files, items(&inputs.quantization));
    });
    views
}
