//! The inner loops of the forward pass, compiled for several instruction sets; the one place of
//! this crate with `unsafe` code.
//!
//! Every loop is written once, over the sixteen [`Lanes`](lanes::Lanes) of a vector, and each
//! instruction set says what a lane does. [`scalar`] is the specification: integer results of the
//! others equal it to the last bit, float results differ by the rounding of fused multiply-adds. A kernel
//! [without these](Kernel::exact) gives its float results too.
//! A result never depends on how many tokens were computed together, since each output is one
//! chain of additions in a fixed order.
//!
//! A [`Kernel`] is chosen once, when a model is loaded, and its value proves that the processor
//! has the instructions.

#![expect(
    unsafe_code,
    reason = "intrinsics and aligned memory; the proof values make them sound"
)]
#![expect(
    clippy::inline_always,
    reason = "code that is not inlined is compiled without the instructions of the kernel"
)]
#![expect(
    clippy::needless_range_loop,
    reason = "iterators take closures, which are not inlined for certain"
)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod buffer;
pub mod cephes;
pub mod double;
mod frequencies;
mod lanes;
mod math;
mod matrix;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "aarch64")]
mod neon_dotprod;
mod norm;
mod peak;
mod product;
mod quantize;
mod recurrence;
mod router;
mod rows;
mod scalar;
mod softmax;
mod ssd;
#[cfg(test)]
mod tests;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod unfused;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod wasm;
#[cfg(target_arch = "x86_64")]
mod x86;

use alloc::{borrow::ToOwned, string::String, vec::Vec};
use core::{fmt, str::FromStr};

use thiserror::Error;

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use self::unfused::WithoutFma;
pub(crate) use self::{
    buffer::Buffer,
    frequencies::Frequencies,
    matrix::Matrix,
    norm::{AddScaled, GatedNorm, LogSumExp, RmsNorm, SwiGlu},
    product::Product,
    quantize::{Quantize, Quantized},
    recurrence::{Hidden, Recurrence},
    router::{Route, Routes},
    rows::{Rows, RowsMut, Table},
    softmax::SoftmaxWeights,
    ssd::{Convolve, StepSizes},
};

/// Names of all kernels, fastest first.
const NAMES: [&str; 6] = [
    "avx512",
    "avx2",
    "neon-dotprod",
    "neon",
    "simd128",
    "scalar",
];

/// An instruction set that this processor has, and the inner loops compiled for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel {
    set: Set,
    /// Whether multiply-adds round twice on every processor.
    is_exact: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Set {
    Scalar(scalar::Scalar),
    #[cfg(target_arch = "x86_64")]
    Avx2(avx2::Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(avx512::Avx512),
    #[cfg(target_arch = "aarch64")]
    NeonDotprod(neon_dotprod::NeonDotprod),
    #[cfg(target_arch = "aarch64")]
    Neon(neon::Neon),
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    Simd128(wasm::Simd128),
}

/// Why there is no kernel of a name.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum KernelError {
    /// There is no kernel of this name.
    #[error("no kernel is called {name:?}; kernels of this processor are {}", .available.join(", "))]
    Unknown {
        /// The name asked for.
        name: String,
        /// Names of the kernels that would run here.
        available: Vec<&'static str>,
    },
    /// The processor lacks its instructions.
    #[error("this processor cannot run the kernel {name}; it has {}", .available.join(", "))]
    Unavailable {
        /// The name asked for.
        name: &'static str,
        /// Names of the kernels that would run here.
        available: Vec<&'static str>,
    },
}

impl Kernel {
    /// The fastest kernel of this processor.
    pub fn best() -> Self {
        Self::available()[0]
    }

    /// The specification, which runs everywhere.
    pub const fn scalar() -> Self {
        Self::of(Set::Scalar(scalar::Scalar))
    }

    const fn of(set: Set) -> Self {
        Self {
            set,
            is_exact: false,
        }
    }

    /// The same instructions without fused multiply-adds: results are those of [`Kernel::scalar`] to the last bit.
    pub(crate) const fn exact(self) -> Self {
        Self {
            is_exact: true,
            ..self
        }
    }

    /// Every kernel of this processor, fastest first.
    pub fn available() -> Vec<Self> {
        NAMES.into_iter().filter_map(Self::of_name).collect()
    }

    /// The name used on command lines and in results: `avx512`, `avx2`, `neon-dotprod`, `neon`, `simd128` or
    /// `scalar`.
    pub const fn name(self) -> &'static str {
        match self.set {
            Set::Scalar(_) => "scalar",
            #[cfg(target_arch = "x86_64")]
            Set::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Set::Avx512(_) => "avx512",
            #[cfg(target_arch = "aarch64")]
            Set::NeonDotprod(_) => "neon-dotprod",
            #[cfg(target_arch = "aarch64")]
            Set::Neon(_) => "neon",
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            Set::Simd128(_) => "simd128",
        }
    }

    /// The kernel of this name, where the processor has it.
    fn of_name(name: &str) -> Option<Self> {
        match name {
            "scalar" => Some(Self::scalar()),
            #[cfg(target_arch = "x86_64")]
            "avx2" => avx2::Avx2::new().map(|proof| Self::of(Set::Avx2(proof))),
            #[cfg(target_arch = "x86_64")]
            "avx512" => avx512::Avx512::new().map(|proof| Self::of(Set::Avx512(proof))),
            #[cfg(target_arch = "aarch64")]
            "neon-dotprod" => {
                neon_dotprod::NeonDotprod::new().map(|proof| Self::of(Set::NeonDotprod(proof)))
            }
            #[cfg(target_arch = "aarch64")]
            "neon" => neon::Neon::new().map(|proof| Self::of(Set::Neon(proof))),
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            "simd128" => Some(Self::of(Set::Simd128(wasm::Simd128))),
            _ => None,
        }
    }

    /// Runs `op` with the lanes of this kernel.
    #[inline]
    pub(crate) fn run<O: Op>(self, op: O) -> O::Output {
        match self.set {
            #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
            Set::Scalar(lanes) => op.run(lanes),
            // The bits are the same, and a second copy of every loop would be a fifth of what a browser loads.
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            Set::Scalar(_) => op.run(wasm::Simd128),
            #[cfg(target_arch = "x86_64")]
            Set::Avx2(lanes) if self.is_exact => lanes.run(WithoutFma(op)),
            #[cfg(target_arch = "x86_64")]
            Set::Avx2(lanes) => lanes.run(op),
            #[cfg(target_arch = "x86_64")]
            Set::Avx512(lanes) if self.is_exact => lanes.run(WithoutFma(op)),
            #[cfg(target_arch = "x86_64")]
            Set::Avx512(lanes) => lanes.run(op),
            #[cfg(target_arch = "aarch64")]
            Set::NeonDotprod(lanes) if self.is_exact => lanes.run(WithoutFma(op)),
            #[cfg(target_arch = "aarch64")]
            Set::NeonDotprod(lanes) => lanes.run(op),
            #[cfg(target_arch = "aarch64")]
            Set::Neon(lanes) if self.is_exact => lanes.run(WithoutFma(op)),
            #[cfg(target_arch = "aarch64")]
            Set::Neon(lanes) => lanes.run(op),
            // These have no fused multiply-add.
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            Set::Simd128(lanes) => op.run(lanes),
        }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Kernel {
    type Err = KernelError;

    fn from_str(name: &str) -> Result<Self, KernelError> {
        Self::of_name(name).ok_or_else(|| {
            let available = Self::available().into_iter().map(Self::name).collect();
            match NAMES.into_iter().find(|known| *known == name) {
                Some(name) => KernelError::Unavailable { name, available },
                None => KernelError::Unknown {
                    name: name.to_owned(),
                    available,
                },
            }
        })
    }
}

/// An inner loop with its arguments, written over any lanes; [`Kernel::run`] runs it.
///
/// `run` and all it calls must be `#[inline(always)]` and free of closures over vectors: code that is
/// not inlined is compiled without the instructions of the kernel.
pub(crate) trait Op {
    /// The result.
    type Output;

    /// Computes it.
    fn run<L: lanes::Lanes>(self, lanes: L) -> Self::Output;
}
