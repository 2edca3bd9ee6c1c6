//! What a session has read, as bytes: a line that names the model, its recurrent values, the logits of the next token.
//!
//! The Python package writes and reads the same, so that a text begun there can go on in a browser.

/// What the bytes of a state of a model begin with.
fn head(file_sha256: &str) -> String {
    format!("itera-state/1 {file_sha256}\n")
}

/// The bytes of some values of the model with this digest.
pub(crate) fn write(file_sha256: &str, values: impl Iterator<Item = f32>) -> Vec<u8> {
    let mut bytes = head(file_sha256).into_bytes();
    bytes.extend(values.flat_map(f32::to_le_bytes));
    bytes
}

/// The `len` values that [`write`] wrote; none if the bytes are of another model, or hold what is not finite.
pub(crate) fn read(file_sha256: &str, bytes: &[u8], len: usize) -> Option<Vec<f32>> {
    let rest = bytes.strip_prefix(head(file_sha256).as_bytes())?;
    let (floats, []) = rest.as_chunks::<4>() else {
        return None;
    };
    let values = floats.iter().map(|bytes| f32::from_le_bytes(*bytes));
    let values: Vec<f32> = values.filter(|value| value.is_finite()).collect();
    (floats.len() == len && values.len() == len).then_some(values)
}
