//! Which Burn backend computes. Chosen once, in the binary.
#![expect(
    deprecated,
    reason = "the ndarray backend is deprecated in favour of flex, and still supported"
)]

use std::{fmt, str::FromStr};

use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Version of Burn in this build.
pub const BURN_VERSION: &str = "0.22.1";

/// A Burn backend of the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// `burn-flex`, the faster one.
    #[default]
    Flex,
    /// `burn-ndarray`.
    NdArray,
}

/// No backend has this name.
#[derive(Debug, Error)]
#[error("no backend is called `{0}`; backends are flex, ndarray")]
pub struct UnknownBackend(String);

impl Backend {
    /// Both backends.
    pub const ALL: [Self; 2] = [Self::Flex, Self::NdArray];

    /// The name used on command lines and in results.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Flex => "flex",
            Self::NdArray => "ndarray",
        }
    }

    /// Burn's device, without autodiff.
    pub fn device(self) -> Device {
        match self {
            Self::Flex => Device::flex(),
            Self::NdArray => Device::ndarray(),
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Backend {
    type Err = UnknownBackend;

    fn from_str(name: &str) -> Result<Self, UnknownBackend> {
        let found = Self::ALL.into_iter().find(|backend| backend.name() == name);
        found.ok_or_else(|| UnknownBackend(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_version_is_the_one_that_is_built() {
        let lock = include_str!("../../../Cargo.lock");
        let entry = format!("name = \"burn\"\nversion = \"{}\"\n", super::BURN_VERSION);
        assert!(lock.contains(&entry), "Cargo.lock has another version");
    }
}
