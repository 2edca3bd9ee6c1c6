//! Second moments of the inputs of projections, summed while calibration text passes.

use std::collections::BTreeMap;

use super::{NotFinite, Square};
use crate::{
    kernels::Rows,
    model::observe::{Observer, Site},
};

/// Output probabilities below this do not count in the moments of the output head: together they
/// change them by less than the damping does.
const LEAST_PROBABILITY: f32 = 1e-3;

/// Sums `x x^T` over the inputs `x` of chosen sites.
#[derive(Debug)]
pub(crate) struct InputMoments {
    sums: BTreeMap<Site, Square>,
}

impl InputMoments {
    /// For sites with inputs of these sizes.
    pub(crate) fn of(sites: impl IntoIterator<Item = (Site, usize)>) -> Self {
        let sums = sites
            .into_iter()
            .map(|(site, size)| (site, Square::zeros(size)));
        Self {
            sums: sums.collect(),
        }
    }

    /// The sums, both triangles filled; an error if the activations overflow.
    pub(crate) fn into_sums(self) -> Result<BTreeMap<Site, Square>, NotFinite> {
        let sums = self.sums.into_iter();
        sums.map(|(site, sum)| Ok((site, mirrored(sum)?))).collect()
    }
}

impl Observer for InputMoments {
    fn see(&mut self, site: Site, x: Rows<'_>, chosen: Option<&[u32]>) {
        let Some(sum) = self.sums.get_mut(&site) else {
            return;
        };
        let size = sum.size;
        let mut row = |x: &[f32]| add_outer(sum, 1.0, x);
        match chosen {
            Some(chosen) => {
                for &index in chosen {
                    row(x.row(index as usize, size));
                }
            }
            None => (0..x.len).for_each(|index| row(x.row(index, size))),
        }
    }
}

/// The moments of the output head, one matrix for each row of the vocabulary: the second derivative
/// of the cross-entropy by that row is `sum_u p (1 - p) u u^T`, with `u` the inputs of the head and
/// `p` the probability that it gives to the entry (the Gauss-Newton matrix of softmax).
#[derive(Debug)]
pub(crate) struct HeadMoments {
    /// `[vocab_size]` of `[d_model, d_model]`.
    rows: Vec<Square>,
}

impl HeadMoments {
    pub(crate) fn new(vocab_size: usize, d_model: usize) -> Self {
        Self {
            rows: vec![Square::zeros(d_model); vocab_size],
        }
    }

    /// The sums, both triangles filled; an error if the activations overflow.
    pub(crate) fn into_rows(self) -> Result<Vec<Square>, NotFinite> {
        self.rows.into_iter().map(mirrored).collect()
    }
}

impl Observer for HeadMoments {
    fn see(&mut self, _: Site, _: Rows<'_>, _: Option<&[u32]>) {}

    fn see_prediction(&mut self, u: &[f32], logits: &[f32], log_sum_exp: f64) {
        for (sum, logit) in self.rows.iter_mut().zip(logits) {
            let p = (logit - log_sum_exp as f32).exp();
            if p > LEAST_PROBABILITY {
                add_outer(sum, f64::from(p * (1.0 - p)), u);
            }
        }
    }
}

/// `sum += weight x x^T`, upper triangle only.
fn add_outer(sum: &mut Square, weight: f64, x: &[f32]) {
    let size = sum.size;
    for (index, row) in sum.values.chunks_exact_mut(size).enumerate() {
        let factor = weight * f64::from(x[index]);
        for (entry, x) in row[index..].iter_mut().zip(&x[index..]) {
            *entry += factor * f64::from(*x);
        }
    }
}

fn mirrored(mut upper: Square) -> Result<Square, NotFinite> {
    if !upper.values.iter().all(|value| value.is_finite()) {
        return Err(NotFinite);
    }
    for row in 0..upper.size {
        for column in 0..row {
            upper.values[row * upper.size + column] = upper.at(column, row);
        }
    }
    Ok(upper)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_chosen_rows_of_the_wanted_site_are_summed() {
        let mut moments = InputMoments::of([(Site::ExpertIn(0, 1), 2)]);
        let x = Rows {
            values: &[1.0, 2.0, 9.0, 3.0, 4.0, 9.0, 5.0, 6.0, 9.0],
            stride: 3,
            len: 3,
        };
        moments.see(Site::ExpertIn(0, 1), x, Some(&[0, 2]));
        moments.see(Site::ExpertIn(0, 0), x, None);
        let sums = moments.into_sums().unwrap();
        assert_eq!(sums.len(), 1);
        assert_eq!(sums[&Site::ExpertIn(0, 1)].values, [26.0, 32.0, 32.0, 40.0]);
    }

    #[test]
    fn a_certain_prediction_weighs_nothing_and_an_even_one_a_quarter() {
        let mut moments = HeadMoments::new(2, 1);
        moments.see_prediction(&[2.0], &[0.0, -50.0], 0.0);
        moments.see_prediction(&[2.0], &[0.0, 0.0], f64::from(2.0_f32.ln()));
        for row in moments.into_rows().unwrap() {
            assert!((row.values[0] - 1.0).abs() < 1e-5, "{row:?}");
        }
    }

    #[test]
    fn what_overflows_has_no_moments() {
        for broken in [f32::NAN, f32::INFINITY] {
            let mut moments = InputMoments::of([(Site::Head, 2)]);
            let x = Rows {
                values: &[1.0, broken],
                stride: 2,
                len: 1,
            };
            moments.see(Site::Head, x, None);
            assert_eq!(moments.into_sums(), Err(NotFinite));
            let mut moments = HeadMoments::new(2, 1);
            moments.see_prediction(&[broken], &[0.0, 0.0], 0.0);
            assert_eq!(moments.into_rows(), Err(NotFinite));
        }
    }
}
