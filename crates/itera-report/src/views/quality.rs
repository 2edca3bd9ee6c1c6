//! How well models predict texts.

use itera_core::config::MICRO_PARAMETER_BUDGET;
use itera_record::{
    Form::{self, Fixed, Signed, Times},
    ModelInfo, QuantizationRecord, Table, ValidationRow, Value, columns,
    columns::{DIVERGENCES, GAINS, PROTOCOLS, SCORES},
};
use statrs::distribution::{ContinuousCDF as _, StudentsT};

use super::{View, rank_of_precision};
use crate::input::{Inputs, Of, items};

/// Rows on one text by one protocol.
pub(crate) type Group<'i> = Vec<&'i Of<ValidationRow>>;

/// The file that `itera-validate` without options writes: the models that ship.
const SHIPPED: &str = "results/validation.json";

/// Documents that an interval of a difference takes at least.
const LEAST_DOCUMENTS: usize = 10;

/// All rows, those on one text by one protocol together, the best score first.
pub(crate) fn groups(inputs: &Inputs) -> Vec<Group<'_>> {
    let mut rows: Vec<&Of<ValidationRow>> = inputs.validation.iter().collect();
    let text = |row: &ValidationRow| {
        (
            row.dataset.clone(),
            row.split.clone(),
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

/// A text in words, with what it is: `tinystories valid, a selection of 1,558 documents`.
pub(crate) fn text_label(row: &ValidationRow) -> String {
    let documents = Form::Whole.text(row.documents as f64);
    if row.is_official() {
        format!("{}, {documents} documents", row.text_name())
    } else {
        format!("{}, selection of {documents} documents", row.text_name())
    }
}

/// Whether the model is beyond the budget of `micro`, as a teacher is.
pub(crate) fn is_large(row: &ValidationRow) -> bool {
    row.model.params > MICRO_PARAMETER_BUDGET as u64
}

/// The lowest complete score of a group, of a model within the budget of `micro` where there is one.
pub(crate) fn best<'i>(group: &Group<'i>) -> Option<&'i Of<ValidationRow>> {
    let complete = group.iter().copied().filter(|row| row.item.is_complete());
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
            precision: rounded.precision.clone(),
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

/// The 95 % interval of a difference in bits per byte, by the linearised ratio over documents that both
/// were scored on.
fn paired_interval(a: &ValidationRow, b: &ValidationRow) -> Option<[f64; 2]> {
    let (one, two) = (&a.per_document, &b.per_document);
    let n = one.document_bytes.len();
    if n < LEAST_DOCUMENTS || one.document_bytes != two.document_bytes {
        return None;
    }
    let bits = |nats: f64| nats / std::f64::consts::LN_2;
    let mean = b.bits_per_byte - a.bits_per_byte;
    let pairs = one.document_nll_nats.iter().zip(&two.document_nll_nats);
    let rests = pairs
        .zip(&one.document_bytes)
        .map(|((a, b), bytes)| bits(b - a) - mean * *bytes as f64);
    let squares: f64 = rests.map(|rest| rest * rest).sum();
    let bytes: u64 = one.document_bytes.iter().sum();
    let error = (squares * n as f64 / (n - 1) as f64).sqrt() / bytes as f64;
    let half = student_t(n - 1) * error;
    Some([mean - half, mean + half])
}

/// The 97.5 % quantile of Student's t.
pub(super) fn student_t(degrees: usize) -> f64 {
    StudentsT::new(0.0, 1.0, degrees.max(1) as f64).map_or(f64::NAN, |t| t.inverse_cdf(0.975))
}

/// A model as a point of size and quality.
struct Sized<'i> {
    row: &'i ValidationRow,
    is_on_front: bool,
    smaller: f64,
}

/// Precision as a reader understands it: a file of 4 and 8 bits is not called int4.
pub(crate) fn precision_label(row: &ValidationRow) -> String {
    let bits = row.model.bits_per_weight;
    if row.precision == "int4" && bits > 5.5 {
        format!("{} bits", Fixed(1).text(bits))
    } else {
        row.precision.clone()
    }
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
        text   "precision"       "precision"                ""      |of| precision_label(of.row);
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
        text   "text"       "on"                ""          |of| of.validation.as_ref().map(|cost| format!("{}, {} documents", cost.text, cost.documents));
    };
    let mut views = views! { &sources;
        "scores" "Scores" table(SCORES, all(|_| true));
        "precision-cost" "What a precision costs" Table::of(&costs, &Cost::all(inputs));
        "protocols" "How texts were scored" table(PROTOCOLS, all(|_| true));
        "divergences" "What a precision changes" table(DIVERGENCES, all(|row| row.divergence.is_some()));
        "gains" "Learning while reading" table(GAINS, all(|row| row.static_score.is_some()));
        "sizes" "Quality and size" Table::of(&points, &sizes(&groups));
    };
    views.extend(views! { &Inputs::files(&inputs.quantization);
        "quantization" "How quantised files were made" Table::of(&files, items(&inputs.quantization));
    });
    views
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_student_are_those_of_a_table() {
        for (degrees, expected) in [(1, 12.706), (2, 4.303), (9, 2.262), (1557, 1.961)] {
            assert!((student_t(degrees) - expected).abs() < 1e-3, "{degrees}");
        }
    }
}
