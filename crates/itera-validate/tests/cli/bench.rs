//! The subcommand `bench`: its record and its refusals. Speeds are not tested.

use std::fs;

use itera_core::kernels::Kernel;
use itera_record::{EngineBenchRecord, Record as _};
use itera_testing::snapshot;

use crate::fixture::CliTest;

#[test]
fn a_bench_covers_every_precision_kernel_and_workload() {
    let test = CliTest::new();
    let line =
        "bench --checkpoint small --samples 1 --sample-ms 1 --max-context 128 --output b.json";
    let run = test.command(line).output().unwrap();
    let talk = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{talk}");
    let table = String::from_utf8(run.stdout).unwrap();
    let record = fs::read(test.path("b.json")).unwrap();
    let record = EngineBenchRecord::from_json(&record).unwrap();
    let kernels = Kernel::available();
    assert_eq!(record.machine.len(), kernels.len());
    for precision in ["fp32", "int8", "int4"] {
        for kernel in &kernels {
            for workload in [
                "decode",
                "decode-batch-16",
                "prefill-128",
                "prefill-1024",
                "score",
            ] {
                let found = record.rows.iter().any(|row| {
                    row.precision == precision
                        && row.kernel == kernel.name()
                        && row.workload == workload
                });
                assert!(found, "{workload} {precision} {kernel}");
            }
        }
        let memory = record
            .memory
            .iter()
            .find(|cost| cost.precision == precision);
        let memory = memory.expect("every precision has its memory");
        assert!(memory.state_bytes > 0 && memory.matrix_bytes_per_token > 0);
        assert!(
            record
                .context
                .iter()
                .any(|cost| cost.precision == precision)
        );
    }
    assert!(record.rows.iter().any(|row| row.threads == 2));
    assert!(table.starts_with("workload"), "{table}");
}

#[test]
fn impossible_benches_are_refused() {
    let test = CliTest::new();
    snapshot!(test, "bench --samples 0", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: `--samples` is 0, expected 1 to 1000
    ");
    snapshot!(test, "bench --sample-ms 0", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: `--sample-ms` is 0, expected 1 to 10000
    ");
    snapshot!(test, "bench --checkpoint small --output stories.txt/b.json", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: cannot write `stories.txt/b.json`: Not a directory (os error 20); give another file for `--output`, or make its folder writable
    ");
}
