//! The subcommand `bench`: how fast the native engine runs, and how near that is to what the
//! machine can do.

mod limits;
pub(crate) mod memory;
mod report;
mod workload;

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, ensure};
use itera_cli::{ExitStatus, Files, Progress, envelope, model_info, note, print, results_folder};
use itera_core::{
    checkpoint::Precision,
    kernels::Kernel,
    model::Model,
    models::{LoadedCheckpoint, load_at_precision},
};
use itera_data::{Corpus, Dataset, Places};
use itera_record::{
    ContextCost, EngineBenchProtocol, EngineBenchRecord, EngineBenchRow, MachineLimits,
    Record as _, median,
};

use crate::{TOOL, args::BenchArgs, options::kernel, output::write};
use limits::Roof;
use workload::{Case, Kind, Text};

/// More samples than this are a typing error.
const MAX_SAMPLES: usize = 1000;

/// Contexts at which the cost of a token is measured.
const CONTEXTS: [usize; 4] = [128, 1024, 16_384, 65_536];

/// The command line, checked.
struct Plan {
    precisions: Vec<Precision>,
    kernels: Vec<Kernel>,
    samples: usize,
    sample: Duration,
    contexts: Vec<usize>,
    output: PathBuf,
}

/// A precision with its model for each kernel, in the order of the plan.
struct Variant {
    loaded: LoadedCheckpoint,
    models: Vec<Model>,
}

/// Measures, prints the table and writes the record.
pub(crate) fn run(args: &BenchArgs) -> anyhow::Result<ExitStatus> {
    let plan = Plan::new(args)?;
    let variants = load(args, &plan)?;
    let first = &variants[0].loaded;
    let paths = variants
        .iter()
        .filter_map(|variant| variant.loaded.path.as_ref());
    let files = paths.fold(Files::default(), |files, path| {
        files.read("`--checkpoint`", path)
    });
    files.write("`--output`", &plan.output).check()?;
    let text = text(first)?;
    let limits = limits::measure(&plan.kernels);
    note("measuring; other work on this machine makes the figures smaller");
    let rows = measure(&plan, &variants, &text, &limits);
    let context = variants.iter().flat_map(|v| contexts(v, &plan, &text));
    let context = context.collect();
    let memory = variants.iter().map(|variant| memory::of(args, variant));
    let record = EngineBenchRecord {
        envelope: envelope::<EngineBenchRecord>(
            TOOL,
            Some(model_info(
                &first.name,
                &first.file_sha256,
                &first.checkpoint,
            )),
        ),
        protocol: EngineBenchProtocol {
            samples: plan.samples as u64,
            sample_seconds: plan.sample.as_secs_f64(),
            text: text.name.clone(),
        },
        machine: limits,
        rows,
        context,
        memory: memory.collect::<anyhow::Result<_>>()?,
    };
    let json = record.to_json().context("cannot write the result")?;
    write(&plan.output, json.as_bytes())?;
    print(report::text(&record))?;
    Ok(ExitStatus::Done)
}

impl Plan {
    fn new(args: &BenchArgs) -> anyhow::Result<Self> {
        ensure!(
            (1..=MAX_SAMPLES).contains(&args.samples),
            "`--samples` is {}, expected 1 to {MAX_SAMPLES}",
            args.samples
        );
        ensure!(
            (1..=10_000).contains(&args.sample_ms),
            "`--sample-ms` is {}, expected 1 to 10000",
            args.sample_ms
        );
        let kernels = match args.kernel.as_str() {
            "all" => Kernel::available(),
            name => vec![kernel(name)?],
        };
        let output = match &args.output {
            Some(path) => path.clone(),
            None => results_folder()?.join("engine-bench.json"),
        };
        Files::default().write("`--output`", &output).check()?;
        Ok(Self {
            precisions: args.precision.list(),
            kernels,
            samples: args.samples,
            sample: Duration::from_millis(args.sample_ms),
            contexts: CONTEXTS
                .into_iter()
                .filter(|context| *context <= args.max_context)
                .collect(),
            output,
        })
    }
}

fn load(args: &BenchArgs, plan: &Plan) -> anyhow::Result<Vec<Variant>> {
    let variant = |precision: &Precision| {
        let loaded = load_at_precision(&args.checkpoint, *precision)?;
        let models = plan.kernels.iter().map(|kernel| {
            Model::with_kernel(&loaded.checkpoint, *kernel)
                .with_context(|| format!("cannot run {}", loaded.name))
        });
        let models = models.collect::<anyhow::Result<_>>()?;
        anyhow::Ok(Variant { loaded, models })
    };
    plan.precisions.iter().map(variant).collect()
}

/// What the models read: the sample text that is always there.
fn text(loaded: &LoadedCheckpoint) -> anyhow::Result<Text> {
    let corpus = Corpus::load(&Dataset::SampleTinyStories, None, &Places::of_environment())?;
    let bytes: Vec<u8> = corpus.texts().flat_map(<[u8]>::to_vec).collect();
    let tokens = loaded.checkpoint.tokenizer.encode(&bytes)?;
    Ok(Text {
        name: corpus.name.clone(),
        bytes: bytes.len(),
        tokens,
    })
}

/// Every case in turn, round after round.
fn measure(
    plan: &Plan,
    variants: &[Variant],
    text: &Text,
    limits: &[MachineLimits],
) -> Vec<EngineBenchRow> {
    let mut cases = Vec::new();
    for variant in variants {
        for (model, limits) in variant.models.iter().zip(limits) {
            for (kind, threads) in Kind::measured() {
                let case = Case::new(model, kind, threads, text, plan.sample);
                cases.push((
                    case,
                    variant.loaded.checkpoint.precision(),
                    limits,
                    Vec::new(),
                ));
            }
        }
    }
    let progress = Progress::new((plan.samples * cases.len()) as u64, "samples");
    for _ in 0..plan.samples {
        for (case, _, _, seconds) in &mut cases {
            seconds.push(case.run().as_secs_f64());
            progress.advance(1);
        }
    }
    let row = |(case, precision, limits, seconds)| row(&case, precision, limits, seconds);
    cases.into_iter().map(row).collect()
}

fn row(
    case: &Case<'_>,
    precision: Precision,
    limits: &MachineLimits,
    sample_seconds: Vec<f64>,
) -> EngineBenchRow {
    let median_seconds = median(&sample_seconds);
    let roof = Roof::of(case, limits);
    EngineBenchRow {
        workload: case.kind.name(),
        precision: precision.to_string(),
        kernel: limits.kernel.clone(),
        threads: case.threads as u64,
        tokens: case.tokens() as u64,
        text_bytes: case.text_bytes() as u64,
        median_seconds,
        tokens_per_s: case.tokens() as f64 / median_seconds,
        bytes_per_s: case.text_bytes() as f64 / median_seconds,
        sample_seconds,
        multiply_adds_per_token: roof.multiply_adds as u64,
        bytes_per_token: roof.bytes,
        roofline_tokens_per_s: roof.tokens_per_s,
        roofline_bound: roof.bound.to_owned(),
    }
}

/// The cost of a token at each context, with the first kernel of the plan.
fn contexts(variant: &Variant, plan: &Plan, text: &Text) -> Vec<ContextCost> {
    let model = &variant.models[0];
    let seconds = workload::seconds_at(model, text, &plan.contexts, plan.samples);
    let costs = plan.contexts.iter().zip(seconds);
    costs
        .map(|(&context, seconds_per_token)| ContextCost {
            precision: variant.loaded.checkpoint.precision().to_string(),
            context_tokens: context as u64,
            seconds_per_token,
        })
        .collect()
}
