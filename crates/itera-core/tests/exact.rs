//! At 8 and 4 bits, logits and sampled tokens are the same to the last bit on every kernel and machine: the digests
//! here were made on one, and hold on all.
//!
//! Whoever replaces a model that ships runs `cargo test -p itera-core --test exact`, which fails and prints the new digests
//! first (`left`), and copies these to [`EXPECTED`]. The next run compares them on every kernel, and
//! `scripts/check-targets.sh` and `scripts/check-web.sh` on other machines.

use itera_core::{
    checkpoint::Checkpoint,
    digest::sha256_hex,
    kernels::Kernel,
    model::Model,
    sampling::{Sampler, SamplingConfig},
};

/// Tokens that are written.
const TOKENS: usize = 1_000;

/// Digest of the logits and the tokens of a text that is sampled with a fixed seed.
fn digest(checkpoint: &Checkpoint, kernel: Kernel) -> String {
    let model = Model::with_kernel(checkpoint, kernel).expect("the model is sound");
    let (mut state, mut work) = (model.new_state(), model.new_workspace());
    let config = SamplingConfig {
        temperature: 1.0,
        seed: 7,
        ..SamplingConfig::default()
    };
    let mut sampler = Sampler::new(config).expect("the settings are sound");
    let mut token = checkpoint.tokenizer.end_of_text();
    let mut seen = Vec::new();
    for _ in 0..TOKENS {
        let logits = model.step(token, &mut state, &mut work);
        seen.extend(
            logits
                .iter()
                .flat_map(|logit| logit.to_bits().to_le_bytes()),
        );
        token = sampler.sample(logits);
        seen.extend(token.to_le_bytes());
    }
    sha256_hex(&seen)
}

/// A model that ships, its file compiled in so that targets without a file system have it.
macro_rules! shipped {
    ($name:literal) => {
        Checkpoint::from_bytes(include_bytes!(concat!(
            "../../../data/models/",
            $name,
            ".safetensors"
        )))
        .expect("a model that ships is sound")
    };
}

/// Digests by model.
const EXPECTED: [(&str, &str); 4] = [
    (
        "micro-tinystories.int4",
        "0e0aaf11620fa4db545d77712576129df2c1c7826f0d9cdb3210e7a2961fc0ba",
    ),
    (
        "micro-tinystories.int8",
        "b4090ec621b684b5ed5a2037b194f61412b8928e75ce977d4f7ce51ae96b5e01",
    ),
    (
        "nano-tinystories.int8",
        "3e91278ece8d96b7c8fc4cfac370c2ad726ffe1ed48d6d6eea6c1735bc3d4fee",
    ),
    (
        "nano-tinystories.int4",
        "0342c1900fbf3f373397014c37df0f52fcfc20b0bce31fa1f4b3b6164629d48b",
    ),
];

#[test]
fn integers_give_the_same_bits_on_every_kernel_and_machine() {
    let models = [
        shipped!("micro-tinystories.int4"),
        shipped!("micro-tinystories.int8"),
        shipped!("nano-tinystories.int8"),
        shipped!("nano-tinystories.int4"),
    ];
    for kernel in Kernel::available() {
        let found = models.iter().map(|model| digest(model, kernel));
        let found: Vec<_> = EXPECTED.iter().map(|(name, _)| *name).zip(found).collect();
        let expected = EXPECTED.map(|(name, digest)| (name, digest.to_owned()));
        assert_eq!(found, expected, "{kernel}");
    }
}
