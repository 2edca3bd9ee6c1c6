//! `deploy/monitoring` against what the server emits: every metric, label and value that a rule or a panel names is there.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use promql_parser::{
    label::{MatchOp, Matcher},
    parser::{Expr, LabelModifier, VectorSelector, parse},
};

use super::*;
use crate::{adapt::Guarded, store::EntryStatus};

/// What Prometheus adds to every series, and says of a server that it cannot reach.
const OF_PROMETHEUS: [&str; 2] = ["job", "instance"];

/// The values of each label of a metric.
type Labels = BTreeMap<String, BTreeSet<String>>;

/// Labels by metric.
type Emitted = BTreeMap<String, Labels>;

fn read(file: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    fs::read_to_string(root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The metrics of a server on which everything has happened that makes one appear.
async fn emitted() -> Emitted {
    let Server { app, dir: _dir } = Server::new("").await;
    let guard = Guarded {
        served: 0.8,
        base: 0.8,
    };
    app.adapter.note_end(EntryStatus::Accepted, Some(guard));
    let mut all = Emitted::new();
    let mut text = get(&app, "/metrics").await.text();
    // What the database tells is left out where it takes long, as on a busy machine.
    while !text.contains("itera_new_negatives") {
        text = get(&app, "/metrics").await.text();
    }
    for line in text.lines() {
        if line.starts_with('#') {
            continue;
        }
        // A line reads as a selector of itself.
        let (series, _) = line.rsplit_once(' ').unwrap();
        let Expr::VectorSelector(series) = parse(series).unwrap() else {
            panic!("{line}");
        };
        let labels = all.entry(series.name.unwrap()).or_default();
        for Matcher { name, value, .. } in series.matchers.matchers {
            labels.entry(name).or_default().insert(value);
        }
    }
    all
}

/// The values of a key in the YAML of the rules, those that go on over further lines included.
fn values<'a>(yaml: &'a str, key: &str) -> Vec<String> {
    let mut lines = yaml.lines().peekable();
    let mut found = Vec::new();
    let indent = |line: &str| line.len() - line.trim_start().len();
    while let Some(line) = lines.next() {
        let start = line.trim_start().trim_start_matches("- ");
        let Some(value) = start
            .strip_prefix(key)
            .and_then(|rest| rest.strip_prefix(": "))
        else {
            continue;
        };
        let mut value: Vec<&'a str> = vec![value];
        if value[0] == ">-" {
            value.clear();
            while let Some(more) = lines.next_if(|next| indent(next) > indent(line)) {
                value.push(more.trim());
            }
        }
        found.push(value.join(" "));
    }
    found
}

/// Holds an expression against what is emitted; gives the labels that its result may have.
fn check(expression: &Expr, emitted: &Emitted) -> Result<BTreeSet<String>, String> {
    let all = |parts: &[&Expr]| -> Result<BTreeSet<String>, String> {
        let mut labels = BTreeSet::new();
        for part in parts {
            labels.extend(check(part, emitted)?);
        }
        Ok(labels)
    };
    match expression {
        Expr::Aggregate(sum) => {
            let labels = check(&sum.expr, emitted)?;
            let kept = match &sum.modifier {
                Some(LabelModifier::Include(kept)) => kept.labels.clone(),
                Some(LabelModifier::Exclude(gone)) => {
                    let gone: BTreeSet<_> = gone.labels.iter().cloned().collect();
                    return Ok(&labels - &gone);
                }
                None => Vec::new(),
            };
            match kept.iter().find(|label| !labels.contains(*label)) {
                Some(label) => Err(format!("nothing has the label {label}")),
                None => Ok(kept.into_iter().collect()),
            }
        }
        Expr::Unary(unary) => check(&unary.expr, emitted),
        Expr::Binary(binary) => all(&[&binary.lhs, &binary.rhs]),
        Expr::Paren(paren) => check(&paren.expr, emitted),
        Expr::Subquery(query) => check(&query.expr, emitted),
        Expr::Call(call) => {
            let arguments: Vec<&Expr> = call.args.args.iter().map(|each| &**each).collect();
            all(&arguments)
        }
        Expr::VectorSelector(series) => check_series(series, emitted),
        Expr::MatrixSelector(series) => check_series(&series.vs, emitted),
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) => Ok(BTreeSet::new()),
        other @ Expr::Extension(_) => Err(format!("what is {other:?}?")),
    }
}

fn check_series(series: &VectorSelector, emitted: &Emitted) -> Result<BTreeSet<String>, String> {
    let name = series.name.as_deref().ok_or("a selector without a name")?;
    let labels = emitted
        .get(name)
        .ok_or_else(|| format!("nothing emits {name}"))?;
    for Matcher {
        op,
        name: label,
        value,
    } in &series.matchers.matchers
    {
        if OF_PROMETHEUS.contains(&label.as_str()) {
            continue;
        }
        let values = labels
            .get(label)
            .ok_or_else(|| format!("{name} has no label {label}"))?;
        if matches!(op, MatchOp::Equal) && !values.contains(value) {
            return Err(format!("{label} of {name} is never {value}"));
        }
    }
    let own = labels.keys().map(String::as_str);
    Ok(own.chain(OF_PROMETHEUS).map(str::to_owned).collect())
}

/// Reads an expression and holds it against what is emitted.
fn check_text(text: &str, emitted: &Emitted) -> BTreeSet<String> {
    let filled = text.replace("$__rate_interval", "5m");
    let parsed = parse(&filled).unwrap_or_else(|error| panic!("{text}: {error}"));
    check(&parsed, emitted).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[tokio::test]
async fn rules_name_what_is_emitted_and_alarms_have_their_page() {
    let mut emitted = emitted().await;
    let (rules, page) = (read("deploy/monitoring/rules.yaml"), read("docs/alarms.md"));
    emitted.insert("up".to_owned(), Labels::new());
    for name in values(&rules, "record") {
        emitted.insert(name, Labels::new());
    }
    let expressions = values(&rules, "expr");
    assert_eq!(expressions.len(), rules.matches("expr:").count());
    for expression in &expressions {
        check_text(expression, &emitted);
    }
    let (alarms, links) = (values(&rules, "alert"), values(&rules, "runbook_url"));
    assert_eq!(alarms.len(), links.len());
    for (alarm, link) in alarms.iter().zip(links) {
        assert_eq!(link, format!("docs/alarms.md#{}", alarm.to_lowercase()));
        assert!(page.contains(&format!("\n## {alarm}\n")), "{alarm}");
        assert!(
            read("deploy/monitoring/rules-test.yaml").contains(alarm),
            "{alarm} has no test"
        );
    }
    assert_eq!(page.matches("\n## ").count(), alarms.len());
}

#[tokio::test]
async fn panels_name_what_is_emitted() {
    let emitted = emitted().await;
    let dashboard: Value = serde_json::from_str(&read("deploy/monitoring/dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut expressions = 0;
    for target in panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array())
        .flatten()
    {
        expressions += 1;
        let labels = check_text(target["expr"].as_str().unwrap(), &emitted);
        let legend = target["legendFormat"].as_str().unwrap();
        for label in legend.split("{{").skip(1) {
            let (label, _) = label.split_once("}}").unwrap();
            assert!(labels.contains(label), "{legend}: no label {label}");
        }
    }
    assert!(expressions > 20, "{expressions}");
}

#[tokio::test]
async fn what_is_not_emitted_is_found() {
    let emitted = emitted().await;
    for (text, complaint) in [
        (
            "rate(itera_request_total[5m])",
            "nothing emits itera_request_total",
        ),
        ("itera_problems_total{cause=\"x\"}", "has no label cause"),
        ("itera_problems_total{code=\"full\"}", "is never full"),
        ("sum by (endpoint) (itera_slots)", "the label endpoint"),
    ] {
        let found = check(&parse(text).unwrap(), &emitted).unwrap_err();
        assert!(found.contains(complaint), "{found}");
    }
}
