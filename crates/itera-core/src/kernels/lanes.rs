//! The vector that every kernel is written over: sixteen lanes, in one register or several.

/// Lanes of a vector. All layouts are in multiples of it.
pub(crate) const WIDTH: usize = 16;

/// A block of sixteen floats in memory.
pub(crate) type Block = [f32; WIDTH];

/// Bytes that hold four 8-bit weights for each of sixteen rows: `[16, 4]`.
pub(crate) type Weights = [i8; 4 * WIDTH];

/// Most calls of [`Lanes::dot8`] between [`Lanes::begin_halves`] and [`Lanes::finish_halves`].
pub(super) const HALVES: usize = 4;

/// Sixteen lanes of arithmetic. A value of an implementing type proves that this processor has
/// the instructions, which is why the methods are safe.
///
/// [`Scalar`](super::scalar::Scalar) is the meaning of every method. The others differ from it in
/// one thing only: their [`fma`](Lanes::fma) rounds once, not twice. So integer results are equal
/// to the last bit on every kernel, float results are on all kernels with a fused `fma`, and without it
/// ([`Kernel::exact`](super::Kernel::exact)) they are on all.
pub(crate) trait Lanes: Copy {
    /// Sixteen floats.
    type F: Copy;
    /// Sixteen running integer sums, in whatever parts the implementation keeps them.
    type Sums: Copy;
    /// Sixteen running sums of products with weights of 4 bits, of at most [`HALVES`] calls of [`dot8`](Lanes::dot8).
    type Halves: Copy;
    /// Four 8-bit weights for each of sixteen rows.
    type W: Copy;

    /// Blocks in a panel of a matrix, up to 4: vectors of outputs that are computed together.
    const PANEL: usize;
    /// Vectors that the registers hold.
    const REGISTERS: usize;
    /// Added to the integers of inputs, because the instruction takes unsigned ones.
    const INPUT_OFFSET: i32;
    /// Whether [`finish_halves`](Lanes::finish_halves) takes the sum of the inputs.
    const NEEDS_TOTALS: bool;

    /// The same value in every lane.
    fn splat(self, x: f32) -> Self::F;
    /// Sixteen floats from memory.
    fn load(self, from: &Block) -> Self::F;
    /// Sixteen floats to memory.
    fn store(self, x: Self::F, to: &mut Block);
    /// `a + b`.
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a - b`.
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b`.
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a / b`.
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    /// The smaller of each pair; NaN where `b` is NaN. A NaN in `a` alone may be lost.
    fn min(self, a: Self::F, b: Self::F) -> Self::F;
    /// The larger of each pair; NaN where `b` is NaN. A NaN in `a` alone may be lost.
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`.
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// The nearest integer, ties to even, for magnitudes below 2^22; a zero of either sign.
    fn round(self, x: Self::F) -> Self::F;
    /// `x * 2^n` for integers `n` from -126 to 127.
    fn scale_by_exp2(self, x: Self::F, n: Self::F) -> Self::F;
    /// The sum of all lanes: lane `i` and `i + 8` first, then `i` and `i + 4`, and so on.
    fn sum(self, x: Self::F) -> f32;
    /// The largest lane; NaN lanes may be passed over.
    fn max_of_lanes(self, x: Self::F) -> f32;

    /// The nearest integers plus [`INPUT_OFFSET`](Lanes::INPUT_OFFSET) as bytes, ties to even, of
    /// lanes from -127 to 127.
    fn store_bytes(self, x: Self::F, to: &mut [u8; WIDTH]);
    /// Four weights for each of sixteen rows from memory.
    fn load_weights(self, from: &Weights) -> Self::W;
    /// The low half of each byte as a signed number, times 16.
    fn low_nibbles(self, w: Self::W) -> Self::W;
    /// The high half of each byte as a signed number, times 16.
    fn high_nibbles(self, w: Self::W) -> Self::W;
    /// Sixteen sums to begin with.
    fn load_sums(self, from: &[i32; WIDTH]) -> Self::Sums;
    /// `sums[row] += sum_k w[row][k] * x[k]`, exactly, with inputs as `store_bytes` writes them.
    fn dot4(self, sums: Self::Sums, w: Self::W, x: [u8; 4]) -> Self::Sums;
    /// What sums of [`dot8`](Lanes::dot8) begin with.
    fn begin_halves(self, sums: Self::Sums) -> Self::Halves;
    /// [`dot4`](Lanes::dot4) of the low halves of `w` with `low` and of the high ones with `high`, times 16.
    fn dot8(self, halves: Self::Halves, w: Self::W, low: [u8; 4], high: [u8; 4]) -> Self::Halves;
    /// `sums` and what was added to `halves` since they began with them. `total` is the sum of the inputs, or 0 where
    /// [`NEEDS_TOTALS`](Lanes::NEEDS_TOTALS) is false.
    fn finish_halves(self, sums: Self::Sums, halves: Self::Halves, total: i32) -> Self::Sums;
    /// The sums as floats.
    fn finish_sums(self, sums: Self::Sums) -> Self::F;

    /// Zero in every lane.
    #[inline(always)]
    fn zero(self) -> Self::F {
        self.splat(0.0)
    }

    /// Up to sixteen floats from memory, zeros after them.
    #[inline(always)]
    fn load_part(self, from: &[f32]) -> Self::F {
        let mut block = [0.0; WIDTH];
        block[..from.len()].copy_from_slice(from);
        self.load(&block)
    }

    /// The first lanes to memory, as many as there is room for.
    #[inline(always)]
    fn store_part(self, x: Self::F, to: &mut [f32]) {
        let mut block = [0.0; WIDTH];
        self.store(x, &mut block);
        to.copy_from_slice(&block[..to.len()]);
    }
}

/// What of [`Lanes`] is about weights of 4 bits, for kernels that take each half of a byte as a weight of 8 bits.
macro_rules! halves_by_dot4 {
    () => {
        type Halves = Self::Sums;

        const NEEDS_TOTALS: bool = false;

        #[inline(always)]
        fn begin_halves(self, sums: Self::Sums) -> Self::Halves {
            sums
        }

        #[inline(always)]
        fn dot8(
            self,
            halves: Self::Halves,
            w: Self::W,
            low: [u8; 4],
            high: [u8; 4],
        ) -> Self::Halves {
            let halves = self.dot4(halves, self.low_nibbles(w), low);
            self.dot4(halves, self.high_nibbles(w), high)
        }

        #[inline(always)]
        fn finish_halves(self, _: Self::Sums, halves: Self::Halves, _: i32) -> Self::Sums {
            halves
        }
    };
}
pub(super) use halves_by_dot4;

/// Methods that are those of the lanes in `self.0`.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! same {
    ($($name:ident($($argument:ident: $kind:ty),*) -> $output:ty;)+) => {$(
        #[inline(always)]
        fn $name(self, $($argument: $kind),*) -> $output {
            self.0.$name($($argument),*)
        }
    )+};
}
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(super) use same;

/// What of [`Lanes`] is about floats, but for [`fma`](Lanes::fma): as the lanes in `self.0` have it.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! floats_of {
    ($lanes:ty) => {
        type F = <$lanes as Lanes>::F;

        same! {
            splat(x: f32) -> Self::F;
            load(from: &Block) -> Self::F;
            store(x: Self::F, to: &mut Block) -> ();
            add(a: Self::F, b: Self::F) -> Self::F;
            sub(a: Self::F, b: Self::F) -> Self::F;
            mul(a: Self::F, b: Self::F) -> Self::F;
            div(a: Self::F, b: Self::F) -> Self::F;
            min(a: Self::F, b: Self::F) -> Self::F;
            max(a: Self::F, b: Self::F) -> Self::F;
            round(x: Self::F) -> Self::F;
            scale_by_exp2(x: Self::F, n: Self::F) -> Self::F;
            sum(x: Self::F) -> f32;
            max_of_lanes(x: Self::F) -> f32;
            store_bytes(x: Self::F, to: &mut [u8; WIDTH]) -> ();
            zero() -> Self::F;
            load_part(from: &[f32]) -> Self::F;
            store_part(x: Self::F, to: &mut [f32]) -> ();
        }
    };
}
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(super) use floats_of;

/// An expression for each of the four registers of a vector.
#[cfg(any(
    target_arch = "aarch64",
    all(target_arch = "wasm32", target_feature = "simd128")
))]
macro_rules! four {
    ($i:ident => $value:expr) => {
        [
            {
                let $i = 0;
                $value
            },
            {
                let $i = 1;
                $value
            },
            {
                let $i = 2;
                $value
            },
            {
                let $i = 3;
                $value
            },
        ]
    };
}
#[cfg(any(
    target_arch = "aarch64",
    all(target_arch = "wasm32", target_feature = "simd128")
))]
pub(super) use four;
