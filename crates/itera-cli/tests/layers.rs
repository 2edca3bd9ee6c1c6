//! The layers of the workspace, as ARCHITECTURE.md states them: a crate imports only from layers
//! below its own, one crate names Burn, and a first build of `itera-validate` does without it.
//!
//! Dependencies of every kind count, those of tests and build scripts too.

use std::{collections::BTreeSet, env, process::Command};

use serde_json::Value;

/// The layer of every crate. A new crate needs a line here and one in ARCHITECTURE.md.
const LAYERS: &[(&str, u8)] = &[
    ("itera-core", 0),
    ("itera-data", 0),
    ("itera-record", 0),
    ("itera-learn", 1),
    ("itera-chart", 1),
    ("itera-cli", 1),
    ("itera-testing", 1),
    ("itera-web", 2),
    ("itera-train", 2),
    ("itera-validate", 2),
    ("itera-power", 2),
    ("itera-report", 2),
    ("itera-export", 2),
    ("itera-serve", 2),
    ("itera-zip", 2),
];

/// The crate that names Burn.
const LEARN: &str = "itera-learn";

/// Its feature with Burn's importer, and the importer.
const IMPORT: &str = "import";
const IMPORTER: &str = "burn-onnx";

/// Crates that always build `itera-learn`, and with it a training framework.
const ALWAYS_LEARN: [&str; 1] = ["itera-train"];

/// Crates that build it only with their feature `burn`.
const MAY_LEARN: [&str; 2] = ["itera-validate", "itera-export"];

/// Crates that build it with a feature of their own that is on by default, and can do without.
const LEARN_BY_DEFAULT: [(&str, &str); 1] = [("itera-serve", "adapt")];

#[test]
fn every_crate_has_a_layer() {
    let known: BTreeSet<_> = LAYERS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let found: BTreeSet<_> = packages().iter().map(name).collect();
    assert_eq!(found, known, "found in the workspace, listed in this test");
}

#[test]
fn crates_import_only_from_layers_below_their_own() {
    for package in packages() {
        let importer = name(&package);
        for dependency in dependencies(&package) {
            let imported = name(dependency);
            if let (Some(here), Some(there)) = (layer(&importer), layer(&imported)) {
                assert!(
                    there < here,
                    "{importer} (layer {here}) imports {imported} (layer {there})"
                );
            }
        }
    }
}

#[test]
fn one_crate_names_burn() {
    let is_burn = |name: &str| name == "burn" || name.starts_with("burn-");
    let packages = packages();
    let names_burn = packages
        .iter()
        .filter(|package| dependencies(package).iter().any(|d| is_burn(&name(d))));
    let names_burn: Vec<_> = names_burn.map(name).collect();
    assert_eq!(names_burn, [LEARN]);
}

#[test]
fn burn_is_built_only_where_it_is_asked_for() {
    for package in packages() {
        let importer = name(&package);
        let links: Vec<_> = dependencies(&package)
            .iter()
            .filter(|dependency| name(dependency) == LEARN)
            .collect();
        let optional = links.iter().all(|link| link["optional"] == true);
        let by_default = LEARN_BY_DEFAULT.iter().find(|(name, _)| *name == importer);
        if let Some((_, feature)) = by_default {
            assert!(optional, "{importer} can do without {LEARN}");
            let features = &package["features"];
            assert_eq!(enabling(features, &format!("dep:{LEARN}")), [*feature]);
            assert_eq!(enabling(features, feature), ["default"]);
        } else if MAY_LEARN.contains(&importer.as_str()) {
            assert!(optional, "{importer} must not always build {LEARN}");
            check_feature_burn(&importer, &package["features"]);
        } else if !ALWAYS_LEARN.contains(&importer.as_str()) {
            assert!(links.is_empty(), "{importer} must not import {LEARN}");
        }
    }
}

#[test]
fn the_importer_is_built_only_for_the_round_trip() {
    for package in packages() {
        let (importer, features) = (name(&package), &package["features"]);
        let asks = |dependency: &Value| {
            let wanted = dependency["features"].as_array().unwrap();
            name(dependency) == LEARN && wanted.iter().any(|feature| feature == IMPORT)
        };
        let asked = dependencies(&package).iter().any(asks);
        assert!(!asked, "{importer} must not always build the importer");
        let by = enabling(features, &format!("{LEARN}/{IMPORT}"));
        let expected: &[&str] = match importer.as_str() {
            "itera-export" => &["burn"],
            _ => &[],
        };
        assert_eq!(by, expected, "{importer}");
        if importer == LEARN {
            assert!(enabling(features, IMPORT).is_empty());
            assert_eq!(enabling(features, &format!("dep:{IMPORTER}")), [IMPORT]);
        }
    }
}

/// The feature `burn`, and no other, turns `itera-learn` on; nobody turns `burn` on by default.
fn check_feature_burn(importer: &str, features: &Value) {
    let by_burn = enabling(features, &format!("dep:{LEARN}"));
    assert_eq!(by_burn, ["burn"], "{importer}");
    let by_others = enabling(features, "burn");
    assert!(by_others.is_empty(), "{importer}: {by_others:?} turn it on");
}

/// The features that turn something on.
fn enabling<'a>(features: &'a Value, wanted: &str) -> Vec<&'a str> {
    let enables = |list: &Value| list.as_array().unwrap().iter().any(|item| item == wanted);
    let features = features.as_object().unwrap().iter();
    let enabling = features.filter(|(_, list)| enables(list));
    enabling.map(|(feature, _)| feature.as_str()).collect()
}

/// The crates of the workspace, as cargo describes them.
fn packages() -> Vec<Value> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args("metadata --no-deps --format-version 1 --offline".split(' '))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo metadata: {message}");
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

fn dependencies(package: &Value) -> &[Value] {
    package["dependencies"].as_array().unwrap()
}

/// Name of a package, or of the package that a dependency means.
fn name(value: &Value) -> String {
    value["name"].as_str().unwrap().to_owned()
}

/// The layer of a crate of this workspace.
fn layer(name: &str) -> Option<u8> {
    let (_, layer) = LAYERS.iter().find(|(known, _)| *known == name)?;
    Some(*layer)
}
