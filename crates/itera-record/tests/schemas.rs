//! The checked-in JSON Schemas are those of the types. `UPDATE_SCHEMAS=1` rewrites them.

use std::{fs, path::Path};

use itera_record::{
    AblationRecord, EngineBenchRecord, ExportRecord, PowerRecord, QuantizationRecord, Record,
    RetrainingRecord, ScoresRecord, ServeBenchRecord, SimulationRecord, TrainingRecord,
    ValidationRecord, ZipRecord,
};

/// Compares the schema of `R` with its file, or writes the file.
fn check<R: Record>() {
    let name = R::SCHEMA.replace('/', "-");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("schemas/{name}.json"));
    let schema = R::schema_json().unwrap();
    if std::env::var_os("UPDATE_SCHEMAS").is_some() {
        fs::write(&path, &schema).unwrap();
    }
    let file = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        file == schema,
        "{} is out of date; run `UPDATE_SCHEMAS=1 cargo test -p itera-record`",
        path.display()
    );
}

#[test]
fn validation_schema_is_checked_in() {
    check::<ValidationRecord>();
}

#[test]
fn ablations_schema_is_checked_in() {
    check::<AblationRecord>();
}

#[test]
fn training_schema_is_checked_in() {
    check::<TrainingRecord>();
}

#[test]
fn power_schema_is_checked_in() {
    check::<PowerRecord>();
}

#[test]
fn engine_bench_schema_is_checked_in() {
    check::<EngineBenchRecord>();
}

#[test]
fn quantization_schema_is_checked_in() {
    check::<QuantizationRecord>();
}

#[test]
fn retraining_schema_is_checked_in() {
    check::<RetrainingRecord>();
}

#[test]
fn scores_schema_is_checked_in() {
    check::<ScoresRecord>();
}

#[test]
fn export_schema_is_checked_in() {
    check::<ExportRecord>();
}

#[test]
fn simulation_schema_is_checked_in() {
    check::<SimulationRecord>();
}

#[test]
fn serve_bench_schema_is_checked_in() {
    check::<ServeBenchRecord>();
}

#[test]
fn zip_schema_is_checked_in() {
    check::<ZipRecord>();
}
