//! The constants of Cephes' `expf` (Moshier 1992): `e^x = 2^n e^r` with `x = n ln 2 + r` and
//! `e^r = 1 + r + r^2 p(r)` for `|r| <= ln(2) / 2`.

/// `ln 2` in two parts, the first with few enough bits that `n` times it is exact.
pub const LN_2_HIGH: f32 = 0.693_359_4;

/// The rest of `ln 2`.
pub const LN_2_LOW: f32 = -2.121_944_4e-4;

/// Coefficients of `p`, highest power first.
pub const POLYNOMIAL: [f32; 6] = [
    1.987_569_1e-4,
    1.398_2e-3,
    8.333_452e-3,
    4.166_579_6e-2,
    1.666_666_5e-1,
    5e-1,
];
