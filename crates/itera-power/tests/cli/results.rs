//! What a run prints and writes.

use std::fs;

use itera_record::{PowerMode, SpeedBasis, Summary, UNAVAILABLE};

use crate::fixture::{CliTest, TINY};

#[test]
fn a_run_writes_the_record_and_all_samples() {
    let test = CliTest::new();
    let record = test.record(&format!("{TINY} --csv samples.csv"), "power.json");
    let modes: Vec<_> = record.rows.iter().map(|row| row.mode).collect();
    assert_eq!(modes, [PowerMode::Prefill, PowerMode::Decode]);
    assert_eq!(record.envelope.model.as_ref().unwrap().name, "small");
    let row = &record.rows[0];
    assert_eq!((row.passes_per_sample, row.tokens_per_sample), (1, 4));
    assert_eq!(row.samples.wall_seconds.len(), 4);
    for name in ["desktop", "laptop", "embedded"] {
        let method = format!("estimated(tdp:{name})");
        let figure = row
            .energy
            .iter()
            .find(|figure| figure.method == method)
            .unwrap();
        assert_eq!(figure.speed, SpeedBasis::ThisMachine);
        assert!(figure.gross_joules_per_token.unwrap().low > 0.0);
        assert!(figure.dominating_term.is_some());
    }
    for counter in &record.counters {
        assert_eq!(
            counter.reason.is_some(),
            counter.method == UNAVAILABLE,
            "{counter:?}"
        );
    }
    let samples = fs::read_to_string(test.path("samples.csv")).unwrap();
    assert_eq!(samples.lines().count(), 1 + 2 * 4);
    let header = samples.lines().next().unwrap();
    assert!(
        header.starts_with(
            "model,file_sha256,precision,mode,kernel,process,sample,tokens,wall_s,cpu_s"
        )
    );
    assert!(
        header.ends_with("joules_per_token estimated(tdp:embedded)"),
        "{header}"
    );
}

#[test]
fn the_tables_name_the_method_of_every_energy() {
    let test = CliTest::new();
    let run = test.run(&format!("{TINY} --mode decode --platform laptop"));
    assert!(run.status.success());
    let mut settings = test.settings();
    // Numbers, widths and what depends on the machine's counters.
    settings.add_filter(r"[-+]?\d+(\.\d+)?(e-?\d+)?", "#");
    settings.add_filter(r" {2,}", "  ");
    settings.add_filter(r"\n(rapl|perf):[^\n]*", "\n[COUNTER]");
    settings.add_filter(r"(\n\[COUNTER\])+", "\n[COUNTERS]");
    settings.add_filter(r"\nsmall [^\n]*measured\([^\n]*", "");
    settings.add_filter(r"n/a", "#");
    settings.add_filter(r"(avx#(vnni)?|scalar|neon|generic)[a-z#-]*", "[KERNEL]");
    settings.add_filter(r"note: [^\n]*\n", "");
    settings.add_filter(
        r"(cubic load model|no power at rest|full TDP|spread over repeats)",
        "[TERM]",
    );
    settings.bind(|| insta::assert_snapshot!(String::from_utf8(run.stdout).unwrap(), @r"
    model  precision  mode  kernel  tokens/s  median, ms/pass  mean, ms  sd, ms  min, ms  p#, ms  max, ms  CPU time, ms  busy threads  peak, MB  multiply-adds/token  weights, bytes
    small  fp#  decode  [KERNEL]  # k  #  #  #  #  #  #  #  #  #  #,#  #,#

    model  precision  mode  method  power, W  energy/token, µJ  net of idle, µJ  tokens/J  widest uncertainty  CO#e/million tokens, mg
    small  fp#  decode  estimated(tdp:laptop)  # [#, #]  # [#, #]  # [#, #]  #,# [#,#, #,#]  [TERM]  # [#, #]

    [COUNTERS]
    tdp:laptop: # W, # W at rest, # core(s), a projection at this machine's speed; assumption of this project: a common TDP class with its common number of cores, at rest a fifth (###)
    protocol: # processes of # samples, # tokens a pass, # thread(s), # s a row, # g CO#e/kWh
    "));
}

#[test]
fn every_precision_is_measured_and_smaller_than_the_last() {
    let test = CliTest::new();
    let arguments = "--checkpoint small --processes 1 --samples 2 --seq-len 2 --min-seconds 0 --mode prefill --threads 2";
    let record = test.record(arguments, "power.json");
    let precisions: Vec<_> = record
        .rows
        .iter()
        .map(|row| row.model.precision.as_str())
        .collect();
    assert_eq!(precisions, ["fp32", "int8", "int4"]);
    assert!(
        record
            .rows
            .is_sorted_by(|a, b| a.model.bytes > b.model.bytes)
    );
    assert_eq!(record.rows[0].tokens_per_sample, 4);
}

#[test]
fn platforms_of_ones_own_and_their_speed_are_used() {
    let test = CliTest::new();
    let table = "name,kind,cores,tdp_watts,idle_share,idle_watts,relative_speed,source,date\n\
                 board,a board,4,5,,1,0.5,a meter,2026-01-31\n";
    test.write("my.csv", table);
    let record = test.record(&format!("{TINY} --platforms my.csv"), "power.json");
    assert_eq!(record.platforms.len(), 1);
    let figure = record.rows[0]
        .energy
        .iter()
        .find(|figure| figure.source == "tdp:board")
        .unwrap();
    assert_eq!(figure.speed, SpeedBasis::RelativeSpeed);
    // The speed of the median sample, half as fast: exactly, however the samples vary.
    let row = &record.rows[0];
    let median = Summary::quantile(&row.samples.wall_seconds, 0.5).unwrap();
    let (here, there) = (
        row.tokens_per_sample as f64 / median,
        figure.tokens_per_s.unwrap(),
    );
    assert!((there / here - 0.5).abs() < 1e-9, "{here} {there}");
}

#[test]
fn emissions_are_appended_in_the_columns_of_the_file() {
    let test = CliTest::new();
    let append = |file: &str| {
        let run = test.run(&format!(
            "{TINY} --mode decode --platform laptop --emissions-csv {file}"
        ));
        assert!(
            run.status.success(),
            "{}",
            String::from_utf8_lossy(&run.stderr)
        );
        fs::read_to_string(test.path(file)).unwrap()
    };
    append("emissions.csv");
    let text = append("emissions.csv");
    assert_eq!(text.lines().count(), 3);
    assert!(text.starts_with("timestamp,project_name,run_id,experiment_id,duration,emissions,"));
    test.write(
        "old.csv",
        "timestamp,duration,emissions,energy_consumed,mine\n2026,1,2,3,4",
    );
    let text = append("old.csv");
    let row: Vec<&str> = text.lines().last().unwrap().split(',').collect();
    assert_eq!((text.lines().count(), row.len(), row[4]), (3, 5, ""));
    let number = |cell: &str| cell.parse::<f64>().unwrap();
    // Kilograms are kilowatt-hours times 475 g.
    assert!((number(row[2]) / number(row[3]) - 0.475).abs() < 1e-9);
}

#[test]
fn a_row_of_emissions_is_of_one_machine_and_one_mode() {
    let test = CliTest::new();
    // Three platforms by default, none of which is this machine.
    let run = test.run(&format!(
        "{TINY} --mode decode --emissions-csv emissions.csv"
    ));
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    if run.status.success() {
        let text = fs::read_to_string(test.path("emissions.csv")).unwrap();
        assert!(
            text.contains("measured(") || text.contains("this-machine"),
            "{text}"
        );
        return;
    }
    assert_eq!(run.status.code(), Some(2), "{said}");
    assert!(
        said.contains("name the one platform that stands for it"),
        "{said}"
    );
    assert!(!test.path("emissions.csv").exists());
    let line = format!("{TINY} --mode decode --platform laptop --emissions-csv emissions.csv");
    let record = test.record(&line, "power.json");
    let text = fs::read_to_string(test.path("emissions.csv")).unwrap();
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers().unwrap().clone();
    let row = reader.records().next().unwrap().unwrap();
    let cell = |name: &str| {
        let position = header.iter().position(|column| column == name).unwrap();
        row[position].to_owned()
    };
    assert_eq!(cell("experiment_id"), "estimated(tdp:laptop)");
    assert_eq!(cell("tracking_mode"), "process");
    assert_eq!(
        (cell("cpu_model"), cell("cpu_count")),
        ("generic laptop".into(), "4".into())
    );
    // What is not known stays empty.
    for name in ["os", "on_cloud", "country_name", "gpu_energy", "ram_energy"] {
        assert_eq!(cell(name), "", "{name}");
    }
    // 15 W times the CPU time over 4 cores, in kilowatt-hours.
    let cpu: f64 = record.rows[0].samples.cpu_seconds.iter().sum();
    let energy: f64 = cell("cpu_energy").parse().unwrap();
    assert!(
        (energy / (15.0 * cpu / 4.0 / 3.6e6) - 1.0).abs() < 1e-6,
        "{energy}"
    );
}

#[test]
fn no_row_of_emissions_is_lost_to_another_process() {
    let test = CliTest::new();
    let line = "--checkpoint small --processes 1 --samples 2 --seq-len 2 --min-seconds 0 --precision fp32 \
                --mode decode --platform laptop --emissions-csv emissions.csv";
    let runs: Vec<_> = (0..8)
        .map(|_| test.command(line).spawn().unwrap())
        .collect();
    for mut run in runs {
        assert!(run.wait().unwrap().success());
    }
    let text = fs::read_to_string(test.path("emissions.csv")).unwrap();
    assert_eq!(text.lines().count(), 1 + 8);
}

#[test]
fn the_memory_of_a_row_is_that_of_a_process_of_its_own() {
    if !cfg!(target_os = "linux") {
        return;
    }
    let test = CliTest::new();
    // A megabyte of weights, loaded before a few kilobytes.
    let tokenizer = itera_testing::bytes();
    let config = itera_core::config::Preset::Micro.config(tokenizer.vocab_size());
    let large = itera_testing::random_checkpoint(config, tokenizer, 1);
    test.add_model("large", &large);
    let line = "--checkpoint large --checkpoint small --processes 1 --samples 2 --seq-len 2 --min-seconds 0 \
                --precision fp32 --mode decode";
    let record = test.record(line, "power.json");
    let peak = |i: usize| record.rows[i].peak_resident_bytes.unwrap();
    assert!(peak(1) + 1_000_000 < peak(0), "{} and {}", peak(0), peak(1));
}

#[test]
fn the_power_of_a_slower_platform_is_its_own() {
    let test = CliTest::new();
    test.write(
        "slow.csv",
        "name,kind,cores,tdp_watts,idle_share,idle_watts,relative_speed,source,date\n\
         slow,a test,2,5,,1,0.1,a test,2026-11-23\n",
    );
    let run = test.run(&format!(
        "{TINY} --mode decode --platforms slow.csv --platform slow --emissions-csv emissions.csv"
    ));
    assert!(
        run.status.success(),
        "{}",
        String::from_utf8_lossy(&run.stderr)
    );
    let text = fs::read_to_string(test.path("emissions.csv")).unwrap();
    let (columns, cells) = text.split_once('\n').unwrap();
    let mut cells = columns.split(',').zip(cells.trim().split(','));
    let power = cells.find(|(column, _)| *column == "cpu_power").unwrap().1;
    let watts: f64 = power.parse().unwrap();
    // A counter goes before the model, where there is one. One thread of two cores, by its CPU time.
    assert!(
        text.contains("measured(") || (0.0..=5.0 / 2.0 * 1.1).contains(&watts),
        "{watts} W, of a processor with 2.5 for one core"
    );
}

#[test]
fn a_file_of_integers_is_measured_as_it_is() {
    let test = CliTest::new();
    let options = itera_core::quant::Options::data_free(itera_core::checkpoint::Precision::Int8);
    let small = itera_testing::small_checkpoint(itera_testing::bytes(), 1);
    let (integers, _) = itera_core::quant::quantize(&small, &options).unwrap();
    test.add_model("integers", &integers);
    let record = test.record(
        "--checkpoint integers --processes 2 --samples 2 --seq-len 4 --min-seconds 0 --mode decode",
        "power.json",
    );
    let precisions: Vec<_> = record
        .rows
        .iter()
        .map(|row| row.model.precision.as_str())
        .collect();
    assert_eq!(precisions, ["int8"]);
}
