//! The TDP model: energy from time, utilisation and the powers that a platform names.
//!
//! ```text
//! power            = idle + (tdp - idle) * utilisation
//! energy per token = power * time / tokens
//! tokens per joule = 1 / energy per token
//! ```
//!
//! That is a straight line between two powers, with the utilisation of the platform: busy threads over its
//! own cores. Real machines bend, and tools that estimate power disagree. The bounds are what `CodeCarbon`
//! 3.3.2 would say, by either of its modes, and full TDP, for where the boost lifts one busy core to the limit
//! of the whole package.

use itera_record::PowerPlatform;

/// Share of the TDP that `CodeCarbon`'s model of a machine draws at rest.
const CUBIC_FLOOR: f64 = 0.1;

/// How power follows from utilisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoadModel {
    /// A straight line from idle to TDP.
    Linear,
    /// `CodeCarbon` of a machine (`tracking_mode="machine"`): `tdp * (0.1 + 0.9 * utilisation^3)`.
    Machine,
    /// `CodeCarbon` of a process (`tracking_mode="process"`): `tdp * utilisation`.
    Process,
    /// TDP at any utilisation.
    Full,
}

impl LoadModel {
    /// All models, the one of the figure first.
    pub(crate) const ALL: [Self; 4] = [Self::Linear, Self::Machine, Self::Process, Self::Full];

    /// Power in watts at a utilisation from 0 to 1.
    pub(crate) fn power_watts(self, platform: &PowerPlatform, utilisation: f64) -> f64 {
        let (idle, tdp) = (platform.idle_watts, platform.tdp_watts);
        match self {
            Self::Linear => idle + (tdp - idle) * utilisation,
            Self::Machine => tdp * (CUBIC_FLOOR + (1.0 - CUBIC_FLOOR) * utilisation.powi(3)),
            Self::Process => tdp * utilisation,
            Self::Full => tdp,
        }
    }

    /// Power in watts above that at rest, by the model's own idea of rest.
    pub(crate) fn net_power_watts(self, platform: &PowerPlatform, utilisation: f64) -> f64 {
        let rest = match self {
            Self::Machine => CUBIC_FLOOR * platform.tdp_watts,
            Self::Process => 0.0,
            Self::Linear | Self::Full => platform.idle_watts,
        };
        (self.power_watts(platform, utilisation) - rest).max(0.0)
    }
}

/// Joules of one token, if `tokens` take `seconds` at this power.
pub(crate) fn energy_per_token(power_watts: f64, seconds: f64, tokens: f64) -> f64 {
    power_watts * seconds / tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    fn laptop() -> PowerPlatform {
        PowerPlatform {
            name: "laptop".into(),
            description: String::new(),
            cores: 4,
            tdp_watts: 15.0,
            idle_watts: 3.0,
            relative_speed: None,
            source: String::new(),
            date: String::new(),
        }
    }

    /// Bit-equal but for the order of operations.
    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-12 * b.abs().max(1.0)
    }

    #[test]
    fn powers_are_what_a_hand_computes() {
        let power = |model: LoadModel, u| model.power_watts(&laptop(), u);
        // 3 + 12 * 0.5
        assert!(near(power(LoadModel::Linear, 0.5), 9.0));
        // 15 * (0.1 + 0.9 / 8)
        assert!(near(power(LoadModel::Machine, 0.5), 3.1875));
        assert!(near(power(LoadModel::Process, 0.5), 7.5));
        assert!(near(power(LoadModel::Full, 0.5), 15.0));
        for model in LoadModel::ALL {
            assert!(near(power(model, 1.0), 15.0));
        }
        assert!(near(power(LoadModel::Linear, 0.0), 3.0));
        assert!(near(power(LoadModel::Machine, 0.0), 1.5));
        assert!(near(power(LoadModel::Process, 0.0), 0.0));
    }

    #[test]
    fn net_power_is_above_the_models_own_rest() {
        let net = |model: LoadModel, u| model.net_power_watts(&laptop(), u);
        assert!(near(net(LoadModel::Linear, 0.5), 6.0));
        assert!(near(net(LoadModel::Machine, 0.5), 15.0 * 0.9 / 8.0));
        assert!(near(net(LoadModel::Process, 0.5), 7.5));
        assert!(near(net(LoadModel::Full, 0.5), 12.0));
        assert!(near(net(LoadModel::Machine, 0.0), 0.0));
    }

    #[test]
    fn energy_per_token_is_power_times_time_over_tokens() {
        // 9 W for 10 ms over 100 tokens: 0.9 mJ a token, 1,111 tokens a joule.
        let joules = energy_per_token(9.0, 0.01, 100.0);
        assert!(near(joules, 0.0009));
        assert!(near(1.0 / joules, 1.0e4 / 9.0));
    }
}
