//! How much is learnt from one source, so that nobody alone decides what the model learns.

/// Most records of a visitor that count for an adaptation, and that it learns from.
pub(crate) const MOST_OF_VISITOR: i64 = 10;

/// What a record weighs in an adaptation that learns from `records` of its source, of which `most` count: together
/// they weigh as much as a tenth of those, those of a visitor as one record.
#[cfg(feature = "adapt")]
pub(crate) fn weight(most: Option<i64>, records: usize) -> f64 {
    most.map_or(1.0, |most| (most as f64 / 10.0 / records as f64).min(1.0))
}

#[cfg(all(test, feature = "adapt"))]
mod tests {
    use super::*;

    #[test]
    fn a_visitor_weighs_as_one_record_however_much_comes_of_it() {
        for records in 1..=10 {
            let together = weight(Some(MOST_OF_VISITOR), records) * records as f64;
            assert!((together - 1.0).abs() < 1e-12, "{records}");
        }
        // A key with a limit weighs more, but never more than its records do without one.
        assert!((weight(Some(50), 50) - 0.1).abs() < 1e-12);
        assert!((weight(Some(50), 2) - 1.0).abs() < 1e-12);
        assert!((weight(None, 500) - 1.0).abs() < 1e-12);
    }
}
