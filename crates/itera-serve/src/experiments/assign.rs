//! Who gets which arm: a function of the experiment's salt and of whom or what is assigned, so that every server says
//! the same and none has to remember.

use itera_core::digest::sha256_hex;

/// Where a name falls among all numbers, for an experiment of this salt.
pub(super) fn point(salt: &str, kind: &str, name: &str) -> u64 {
    let digest = sha256_hex(format!("{salt}\n{kind}\n{name}").as_bytes());
    // 16 hexadecimal digits always are such a number.
    u64::from_str_radix(&digest[..16], 16).unwrap_or_default()
}

/// The arm that a point belongs to. If the last arm's share grows, who had that arm keeps it.
pub(super) fn arm_of(point: u64, weights: &[u32]) -> usize {
    let total: u64 = weights.iter().copied().map(u64::from).sum();
    let mut at = ((u128::from(point) * u128::from(total)) >> 64) as u64;
    for (arm, weight) in weights.iter().copied().map(u64::from).enumerate() {
        if at < weight {
            return arm;
        }
        at -= weight;
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_those_of_the_weights_and_salts_divide_anew() {
        let weights = [5, 3, 2];
        let of = |salt: &str, name: usize| arm_of(point(salt, "user", &name.to_string()), &weights);
        let mut counts = [0; 3];
        let mut same = 0;
        for name in 0..10_000 {
            counts[of("a", name)] += 1;
            same += usize::from(of("a", name) == of("b", name));
            assert_eq!(of("a", name), of("a", name));
        }
        for (count, weight) in counts.into_iter().zip(weights) {
            let expected = f64::from(weight) * 1000.0;
            assert!(
                (f64::from(count) / expected - 1.0).abs() < 0.05,
                "{counts:?}"
            );
        }
        // 0.5^2 + 0.3^2 + 0.2^2 of chance.
        assert!((3600..4000).contains(&same), "{same}");
        assert_eq!(arm_of(u64::MAX, &weights), 2);
        assert_eq!(arm_of(0, &weights), 0);
    }

    #[test]
    fn who_has_the_candidate_keeps_it_while_its_share_grows() {
        for name in 0..1000 {
            let point = point("salt", "user", &name.to_string());
            let steps = [[95, 5], [75, 25]].map(|weights| arm_of(point, &weights));
            assert!(steps[0] <= steps[1], "{name}");
        }
    }
}
