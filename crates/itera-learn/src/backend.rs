//! Which Burn backend computes. Chosen once, in the binary.
#![cfg_attr(
    feature = "ndarray",
    expect(
        deprecated,
        reason = "the ndarray backend is deprecated in favour of flex, and still supported"
    )
)]

use std::{fmt, str::FromStr};

use burn::tensor::Device;
#[cfg(feature = "cuda")]
use burn::tensor::DeviceType;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Version of Burn in this build.
pub const BURN_VERSION: &str = "0.22.1";

/// A Burn backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// `burn-flex`, the faster one.
    #[default]
    Flex,
    /// `burn-ndarray`.
    #[cfg(feature = "ndarray")]
    NdArray,
    /// `burn-cuda` with fusion, on the first NVIDIA card.
    #[cfg(feature = "cuda")]
    Cuda,
}

/// No backend of this build has this name.
#[derive(Debug, Error)]
#[error(
    "this build has no backend `{name}`, it has {}{}",
    Backend::names(),
    hint(name)
)]
pub struct UnknownBackend {
    name: String,
}

fn hint(name: &str) -> &'static str {
    match name {
        "cuda" => "; build with `--features cuda` for NVIDIA cards",
        _ => "",
    }
}

/// A backend of this build cannot be used here.
#[derive(Debug, Error)]
#[error(
    "no NVIDIA card can be used here; leave out `--backend cuda` or run `nvidia-smi` to find out why"
)]
pub struct NoDevice;

impl Backend {
    /// The backends of the host.
    pub const HOST: &[Self] = &[
        Self::Flex,
        #[cfg(feature = "ndarray")]
        Self::NdArray,
    ];

    /// All backends of this build.
    pub const ALL: &[Self] = &[
        Self::Flex,
        #[cfg(feature = "ndarray")]
        Self::NdArray,
        #[cfg(feature = "cuda")]
        Self::Cuda,
    ];

    /// The name used on command lines and in results.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Flex => "flex",
            #[cfg(feature = "ndarray")]
            Self::NdArray => "ndarray",
            #[cfg(feature = "cuda")]
            Self::Cuda => "cuda",
        }
    }

    fn names() -> String {
        Self::ALL
            .iter()
            .map(|backend| backend.name())
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// Whether its tensors lie in host memory.
    pub fn is_host(self) -> bool {
        Self::HOST.contains(&self)
    }

    /// Whether its device is there.
    ///
    /// # Errors
    /// [`NoDevice`] if not.
    pub fn check(self) -> Result<(), NoDevice> {
        #[cfg(feature = "cuda")]
        if self == Self::Cuda && Device::enumerate(DeviceType::Cuda).is_empty() {
            return Err(NoDevice);
        }
        Ok(())
    }

    /// Burn's device, without autodiff.
    pub fn device(self) -> Device {
        match self {
            Self::Flex => Device::flex(),
            #[cfg(feature = "ndarray")]
            Self::NdArray => Device::ndarray(),
            #[cfg(feature = "cuda")]
            Self::Cuda => Device::cuda(0),
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
        let found = Self::ALL.iter().find(|backend| backend.name() == name);
        found.copied().ok_or_else(|| UnknownBackend {
            name: name.to_owned(),
        })
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

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let error = "wgpu".parse::<super::Backend>().unwrap_err().to_string();
        assert!(
            error.starts_with("this build has no backend `wgpu`, it has flex"),
            "{error}"
        );
        if !cfg!(feature = "cuda") {
            let error = "cuda".parse::<super::Backend>().unwrap_err().to_string();
            assert!(
                error.ends_with("build with `--features cuda` for NVIDIA cards"),
                "{error}"
            );
        }
    }
}
