//! C for controllers: warnings are errors, and every number is that of the native engine to the last bit.

use std::{
    fmt::Write as _,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use itera_core::{
    checkpoint::{Checkpoint, Precision, Tensor},
    config::{ModelConfig, Preset, Routing},
    kernels::Kernel,
    model::Model,
    models::load_at_precision,
    sampling::{Sampler, SamplingConfig},
    tokenizer::{BpeTokenizer, CharTokenizer, Tokenizer},
};
use itera_testing::{bytes, random_checkpoint, skip, small_checkpoint, snapshot};

use crate::fixture::{CliTest, checkout, text};

/// Tokens whose logits are compared, and tokens that are drawn with each setting.
const TOKENS: usize = 1_000;
const DRAWN: usize = 100;

/// Programs of `tests/c`.
fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c")
}

/// Whether there is a compiler; says so if not.
fn has_compiler() -> bool {
    let has = Command::new("cc").arg("--version").output().is_ok();
    if !has {
        skip("there is no C compiler `cc`");
    }
    has
}

/// Writes a checkpoint as C called `model` and compiles a program with it.
fn compile(test: &CliTest, checkpoint: &str, precision: &str, program: &str, flags: &[&str]) {
    test.succeed(&format!(
        "c --checkpoint {checkpoint} --precision {precision} --name model --output ."
    ));
    let compiled = Command::new("cc")
        .args(["-std=c99", "-O1", "-ffp-contract=off"])
        .args(["-Wall", "-Wextra", "-Werror", "-pedantic", "-I."])
        .args(flags)
        .arg(sources().join(program))
        .args(["-o", "program"])
        .current_dir(test.path("."))
        .output()
        .unwrap();
    assert!(compiled.status.success(), "{}", text(&compiled.stderr));
}

/// What the compiled program writes, with the file `input` to read.
fn run(test: &CliTest, arguments: &[&str], input: Option<&str>) -> Vec<u8> {
    let input = input.map_or_else(Stdio::null, |name| {
        File::open(test.path(name)).unwrap().into()
    });
    let run = Command::new(test.path("program"))
        .args(arguments)
        .stdin(input)
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", text(&run.stderr));
    run.stdout
}

fn add(digest: u64, word: u64) -> u64 {
    (digest ^ word).wrapping_mul(0x100_0000_01b3)
}

/// What `tests/c/check.c` prints.
fn expected(checkpoint: &Checkpoint) -> String {
    let model = Model::with_kernel(checkpoint, Kernel::scalar()).unwrap();
    let end_of_text = checkpoint.tokenizer.end_of_text();
    let mut work = model.new_workspace();

    let mut state = model.new_state();
    let (mut random, mut logits) = (0_u64, 0xcbf2_9ce4_8422_2325);
    for _ in 0..TOKENS {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let token = (random >> 40) % checkpoint.config.vocab_size as u64;
        for logit in model.step(token as u32, &mut state, &mut work) {
            logits = add(logits, logit.to_bits().into());
        }
    }
    let mut lines = format!("logits 0x{logits:016x}\n");

    let mut draw = |name: &str, temperature, top_k, top_p, seed| {
        let config = SamplingConfig {
            temperature,
            top_k,
            top_p,
            seed,
        };
        let mut sampler = Sampler::new(config).unwrap();
        state.reset();
        let (mut digest, mut drawn, mut token) = (add(0, 0), Vec::new(), end_of_text);
        for _ in 0..DRAWN {
            token = sampler.sample(model.step(token, &mut state, &mut work));
            drawn.push(token);
            digest = add(digest, token.into());
        }
        state.reset();
        let nats = model.score(&mut state, &mut work, end_of_text, &drawn);
        let nats = nats.iter().fold(0.0, |sum, next| sum + next);
        digest = add(digest, nats.to_bits());
        writeln!(lines, "{name} 0x{digest:016x}").unwrap();
    };
    draw("drawn", 1.0, None, None, 1);
    draw("drawn of 40", 0.8, Some(40), None, 0x1234_5678_9abc_def0);
    draw("drawn of 0.9", 1.2, None, Some(0.9), 3);
    draw("drawn of 50 and 0.5", 2.0, Some(50), Some(0.5), 4);
    draw("greedy", 0.0, None, None, 5);

    let infinite = f32::INFINITY.to_bits();
    let roots = (1..infinite).step_by((infinite / 100_000) as usize);
    let roots = roots.map(|bits| f32::from_bits(bits).sqrt().to_bits());
    let roots = roots.fold(0, |digest, root| add(digest, root.into()));
    lines + &format!("square roots 0x{roots:016x}\n")
}

/// Compares all that `check.c` prints; `checkpoint` is a name or a path.
fn check(test: &CliTest, checkpoint: &str, path: &Path, precision: &str) {
    let tokens = [format!("-DTOKENS={TOKENS}"), format!("-DDRAWN={DRAWN}")];
    let flags = tokens.each_ref().map(String::as_str);
    compile(test, checkpoint, precision, "check.c", &flags);
    let loaded = load_at_precision(path.to_str().unwrap(), precision.parse().unwrap()).unwrap();
    let found = text(&run(test, &[], None));
    let expected = expected(&loaded.checkpoint);
    assert_eq!(found, expected, "{checkpoint} at {precision}");
    // The header promises the same.
    let digest = expected.lines().next().unwrap().replace("logits ", "");
    let header = fs::read_to_string(test.path("model.h")).unwrap();
    let promise = format!("#define MODEL_DIGEST_{TOKENS} UINT64_C({digest})");
    assert!(header.contains(&promise), "{promise}: {header}");
}

#[test]
fn models_of_all_forms_are_equal_to_the_last_bit() {
    if !has_compiler() {
        return;
    }
    let test = CliTest::new();
    let letters = CharTokenizer::train([&b"abcdefgh \xc3\xa9"[..]].into_iter()).unwrap();
    let letters = Tokenizer::Char(letters);
    let routed = ModelConfig {
        d_model: 32,
        d_inner: 48,
        d_state: 20,
        head_dim: 16,
        d_conv: 3,
        n_experts: 3,
        d_expert: 16,
        d_shared: 32,
        routing: Routing::Chosen,
        ..Preset::Test.config(letters.vocab_size())
    };
    let dense = ModelConfig {
        d_model: 64,
        d_conv: 1,
        n_experts: 1,
        top_k: 1,
        ..Preset::Test.config(257)
    };
    test.add_model("routed", &random_checkpoint(routed, letters, 2));
    test.add_model("dense", &random_checkpoint(dense, bytes(), 3));
    // Some matrices and norms as floats.
    let path = test.path("models/routed.safetensors");
    let mut mixed = load_at_precision(path.to_str().unwrap(), Precision::Int4)
        .unwrap()
        .checkpoint;
    for name in [
        "embedding.weight",
        "layers.0.mixer.in_proj.weight",
        "layers.1.moe.w_out",
        "layers.1.mixer_norm.weight",
    ] {
        let tensor = &mixed.tensors[name];
        let floats = Tensor::f32(tensor.shape.clone(), tensor.to_f32());
        mixed.tensors.insert(name.to_owned(), floats);
    }
    test.add_model("mixed", &mixed);
    for (name, precision) in [
        ("small", "int8"),
        ("mixed", "int4"),
        ("routed", "int8"),
        ("dense", "int4"),
    ] {
        let path = test.path(&format!("models/{name}.safetensors"));
        check(&test, name, &path, precision);
    }
}

#[test]
fn a_shipped_model_is_equal_to_the_last_bit() {
    if !has_compiler() {
        return;
    }
    let test = CliTest::new();
    let path = checkout().join("data/models/nano-tinystories.int4.safetensors");
    check(&test, path.to_str().unwrap(), &path, "int4");
}

/// What the program makes of a text must be what the tokenizer makes of it.
fn check_tokens(test: &CliTest, tokenizer: &Tokenizer, text: &[u8]) {
    test.write("text", text);
    let expected: Vec<u8> = match tokenizer.encode(text) {
        Ok(tokens) => tokens
            .iter()
            .flat_map(|&id| (id as u16).to_le_bytes())
            .collect(),
        Err(_) => b"not UTF-8".to_vec(),
    };
    assert!(run(test, &[], Some("text")) == expected, "{text:?}");
}

/// Texts at whose places tokenizers differ, and bytes of all kinds.
fn texts() -> Vec<Vec<u8>> {
    let mut random = 1_u64;
    let mut next = || {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (random >> 33) as u8
    };
    let mut texts: Vec<Vec<u8>> = [
        "",
        "'",
        " 's don't we'll I'd they've 're'",
        "a  b\n\n c\t\u{3000}d ",
        "  \u{a0}x\u{85}y 12 3\u{bd}",
        "caf\u{e9} \u{1f600}\u{5bd}",
        "   ",
        "x   ",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into();
    for invalid in [
        &b"a \xff b"[..],
        b"ab \xe2\x82",
        b" \xe2\x82 \xf0\x9f\x98x",
        b"\xed\xa0\x80\xf4\x90\x80\x80\xc0\x80",
        b"\xf0\x80\x80 \xe0\x80 \xc3",
    ] {
        texts.push(invalid.to_vec());
    }
    texts.push((0..20_000).map(|_| next()).collect());
    texts.push(
        (0..20_000)
            .map(|_| b"abe th'\n"[usize::from(next() % 8)])
            .collect(),
    );
    let stories = checkout().join("data/samples/tinystories-sample.txt");
    texts.push(fs::read(stories).unwrap());
    texts
}

#[test]
fn tokenizers_give_the_same_tokens() {
    if !has_compiler() {
        return;
    }
    let test = CliTest::new();
    let stories = fs::read(checkout().join("data/samples/tinystories-sample.txt")).unwrap();
    let bpe = BpeTokenizer::train([&stories[..]].into_iter(), 400).unwrap();
    let characters =
        CharTokenizer::train([&b"abehtTom .\xf0\x9f\x98\x80"[..]].into_iter()).unwrap();
    for (name, tokenizer, flags) in [
        ("bytes", bytes(), &[][..]),
        ("bpe", Tokenizer::Bpe(bpe), &[]),
        ("characters", Tokenizer::Char(characters), &["-DLOSES"]),
    ] {
        test.add_model(name, &small_checkpoint(tokenizer.clone(), 1));
        compile(&test, name, "int8", "encode.c", flags);
        for text in texts() {
            check_tokens(&test, &tokenizer, &text);
        }
    }
}

/// The class of every character, by the tokens of a tokenizer made for it.
#[test]
fn characters_have_the_classes_of_the_tokenizer() {
    if !has_compiler() {
        return;
    }
    // Merges of a letter, a sign and a digit with the bytes of characters beside them, if in one piece.
    let leads = 0xc2..=0xf4_u32;
    let mut merges: Vec<(u32, u32)> = leads.clone().map(|lead| (b'a'.into(), lead)).collect();
    merges.extend(leads.map(|lead| (b'!'.into(), lead)));
    merges.extend((0x80..=0xbf_u32).map(|last| (last, b'1'.into())));
    let bpe = BpeTokenizer::from_merges(merges).unwrap();
    let tokenizer = Tokenizer::Bpe(bpe);
    // Beyond these there are neither letters nor numbers.
    let end = 0x32400_u32;
    let class = |code: u32| {
        let c = char::from_u32(code).filter(|c| !c.is_ascii())?;
        let joins = |text: String| {
            let tokens = tokenizer.encode(text.as_bytes()).unwrap();
            tokens.len() < text.len()
        };
        Some(if joins(format!("a{c}")) {
            b'L'
        } else if joins(format!("{c}1")) {
            b'N'
        } else if joins(format!("!{c}")) {
            b'O'
        } else {
            b'S'
        })
    };
    let test = CliTest::new();
    test.add_model("classes", &small_checkpoint(tokenizer.clone(), 1));
    compile(&test, "classes", "int8", "encode.c", &["-DCLASSES"]);
    let found = run(&test, &[&end.to_string()], None);
    for (code, found) in (0..end).zip(found) {
        if let Some(expected) = class(code) {
            assert_eq!(char::from(found), char::from(expected), "U+{code:04X}");
        }
    }
}

#[test]
fn what_cannot_be_written_is_refused() {
    let test = CliTest::new();
    snapshot!(test, "c --checkpoint small --precision fp32 --output .", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: invalid value 'fp32' for '--precision <PRECISION>'
      [possible values: int8, int4]

    For more information, try '--help'.
    ");
    snapshot!(test, "c --checkpoint small --precision int8 --output missing", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: `--output missing` is no folder; make it first, or give another
    ");
    snapshot!(test, "c --checkpoint small --precision int8 --name 2-small --output .", @r#"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: functions cannot be called after "2-small"; give letters, digits and underscores, a letter first, with `--name`
    "#);
    test.add_model("9", &small_checkpoint(bytes(), 1));
    snapshot!(test, "c --checkpoint 9 --precision int8 --output .", @r#"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    9 has no int8 file made from it beside it, so its weights were rounded in memory; `itera-train quantize` makes a better one
    error: functions cannot be called after "9"; give letters, digits and underscores, a letter first, with `--name`
    "#);
    snapshot!(test, "c --checkpoint missing --precision int8 --output .", @r#"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: no checkpoint is called "missing"; looked for [PLACES]; models that exist: [MODELS]; give one of these, a path, or set ITERA_MODELS_DIR
    "#);
    assert!(!test.path("small.h").exists() && !test.path("small.c").exists());
}

#[test]
fn files_are_called_after_the_model() {
    let test = CliTest::new();
    test.add_model("a-small.one", &small_checkpoint(bytes(), 1));
    snapshot!(test, "c --checkpoint a-small.one --precision int4 --output .", @r"
    success: true
    exit_code: 0
    ----- stdout -----
    what        where  bytes
    checkpoint  file   48384
    weights     flash   8526
    tokenizer   flash      0
    state       RAM     2016
    scratch     RAM     1904

    ----- stderr -----
    a-small.one has no int4 file made from it beside it, so its weights were rounded in memory; `itera-train quantize` makes a better one
    wrote ./a_small_one.h
    wrote ./a_small_one.c
    ");
    let header = fs::read_to_string(test.path("a_small_one.h")).unwrap();
    assert!(header.contains("const float *a_small_one_step("));
    assert!(header.contains("#define A_SMALL_ONE_VOCAB_SIZE 257"));
}
