use std::path::Path;

use clap::{Args as _, Parser as _};

use super::*;
use crate::{TOOL, fit::settings::as_json};

#[derive(Debug, clap::Parser)]
#[command(name = "itera-train fit")]
struct Words {
    #[command(flatten)]
    run: RunConfig,
    #[arg(long)]
    output: PathBuf,
}

fn parse(words: &[String]) -> anyhow::Result<RunConfig> {
    Words::try_parse_from(words)?.run.checked()
}

/// A `micro` run with these arguments more.
fn run(more: &str) -> anyhow::Result<RunConfig> {
    let line = format!("fit --dataset sample --preset micro --output x.safetensors {more}");
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    parse(&words)
}

#[test]
fn the_warm_up_is_bounded_by_a_tenth_of_the_run() {
    let warmup = |line: &str, steps| {
        run(line)
            .unwrap()
            .train_config(steps)
            .unwrap()
            .schedule
            .warmup
    };
    assert_eq!(warmup("--steps 9", 9), 0);
    assert_eq!(warmup("--steps 1000", 1000), 100);
    assert_eq!(warmup("--steps 9000", 9000), 200);
    assert_eq!(warmup("--steps 9 --warmup 9", 9), 9);
    assert_eq!(warmup("--minutes 1 --warmup 7", 50), 7);
}

/// The command of these arguments gives the same run and the same command.
fn repeats(typed: &str) {
    let first = run(typed).unwrap();
    let command = first.command(50, Path::new("x.safetensors")).unwrap();
    let again = parse(&command[1..]).unwrap();
    assert_eq!(
        again.train_config(50).unwrap(),
        first.train_config(50).unwrap()
    );
    assert_eq!(
        again.command(50, Path::new("x.safetensors")).unwrap(),
        command
    );
    for word in typed
        .split_whitespace()
        .filter(|word| !word.starts_with("--"))
    {
        assert!(command.iter().any(|w| w == word), "{word} in {command:?}");
    }
}

#[test]
fn the_command_repeats_the_run() {
    repeats(
        "--steps 50 --vocab-size 300 --decay trapezoid --dense active --clip 0.5 --init x \
         --size d_state=16 --size routing=chosen --optimizer muon --dropout 0.1 --average 0.99",
    );
    repeats(
        "--steps 50 --init x --teacher x --teacher y --quantize int4 --tensor embedding.weight=int8 \
         --tensor final_norm.weight=fp32 --valid v.txt --tokenizer t.json --evaluate-every 9",
    );
}

#[test]
fn every_argument_is_a_field_of_the_record() {
    let fields = as_json(&run("--steps 5").unwrap()).unwrap();
    for argument in RunConfig::augment_args(clap::Command::new(TOOL)).get_arguments() {
        let name = argument.get_id().as_str();
        assert!(fields.get(name).is_some(), "{name}");
        assert_eq!(argument.get_long(), Some(&*name.replace('_', "-")));
    }
}

#[test]
fn contradictions_are_refused() {
    for (line, message) in [
        ("--steps 0", "the run has no step"),
        ("--minutes 0", "the run has no step"),
        ("--steps 5 --minutes 1", "cannot be used with"),
        ("", "required"),
        ("--steps 5 --batch 5", "expected a multiple of 2 replicas"),
        (
            "--steps 5 --batch 2000 --length 1500",
            "more than 262144 tokens a step",
        ),
        (
            "--steps 5 --batch 18446744073709551614",
            "more than 262144 tokens a step",
        ),
        ("--steps 5 --replicas 0", "`--replicas` is 0"),
        (
            "--steps 5 --replicas 1000 --batch 1000",
            "expected 1 to 256",
        ),
        ("--steps 5 --warmup 6", "expected at most the 5 steps"),
        ("--steps 5 --learning-rate 0", "expected above 0, at most 1"),
        (
            "--steps 5 --quantize int4 --optimizer muon",
            "leave out `--optimizer`",
        ),
        ("--steps 5 --quantize fp32", "possible values: int8, int4"),
        (
            "--steps 5 --tensor embedding.weight=int8",
            "required arguments were not provided",
        ),
        (
            "--steps 5 --distill 0.5",
            "required arguments were not provided",
        ),
        ("--steps 5 --beta-2 1", "expected from 0 to below 1"),
        (
            "--steps 5 --clip 0",
            "`--clip` is 0, expected a number above 0",
        ),
        (
            "--steps 5 --z-loss 11",
            "`--z-loss` is 11, expected 0 to 10",
        ),
        (
            "--steps 5 --blank-lines 2",
            "`--blank-lines` is 2, expected from 0 to 1",
        ),
        ("--steps 5 --dropout 1", "expected from 0 to below 1"),
        ("--steps 5 --average 1", "expected from 0 to below 1"),
        ("--steps 5 --size d_model=80", "more than its budget"),
        ("--steps 5 --size width=9", "there is no size `width`"),
        (
            "--steps 5 --tokenizer char --vocab-size 99",
            "leave it out for `char`",
        ),
        (
            "--steps 5 --tokenizer word",
            "no tokenizer is called `word`",
        ),
        (
            "--steps 5 --vocab-size 200",
            "a bpe vocabulary of 200 entries",
        ),
        (
            "--steps 5 --vocab-size 2048",
            "the largest vocabulary that fits has",
        ),
    ] {
        let error = format!("{:#}", run(line).unwrap_err());
        assert!(error.contains(message), "{line}: {error}");
    }
}
