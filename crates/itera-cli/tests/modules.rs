//! The order of modules inside the two largest crates: a module imports only from modules below its
//! own, so that each crate can be read from the bottom up. In a folder, where no order is stated,
//! modules must not import each other in a circle.
//!
//! Only imports of the code count, not those of its tests.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Modules of itera-core, from the bottom up. A new one needs a line here.
const CORE: &[&str] = &[
    "unique",
    "digest",
    "text",
    "files",
    "config",
    "tokenizer",
    "container",
    "checkpoint",
    "kernels",
    "model",
    "calibration",
    "quant",
    "prune",
    "models",
    "sampling",
];

/// Modules of itera-learn, from the bottom up.
const LEARN: &[&str] = &[
    "setting",
    "backend",
    "host",
    "muon",
    "schedule",
    "predictions",
    "fused",
    "model",
    "scoring",
    "teacher",
    "loss",
    "average",
    "optimizer",
    "learner",
    "grid",
    "trainer",
    "resume",
    "baseline",
    "dynamic",
    "adapt",
    "imported",
];

/// A module by the names from the root of its crate to its own.
type Module = Vec<String>;

/// What each module imports from other modules of its crate.
type Imports = BTreeMap<Module, BTreeSet<Module>>;

#[test]
fn modules_of_core_import_only_from_below() {
    check("itera-core", CORE);
}

#[test]
fn modules_of_learn_import_only_from_below() {
    check("itera-learn", LEARN);
}

#[test]
fn imports_are_found_in_every_form() {
    let text = "
        use std::fmt; // use crate::comment;
        use crate::{a, b::{self, c::D as E}, f};
        use super::g;
        fn x() { crate::h::y(super::super::i::Z) }
        #[cfg(test)]
        mod tests {
            use crate::only_for_tests;
        }";
    let module = ["p", "q"].map(str::to_owned);
    let found: Vec<_> = paths(text, &module).iter().map(|p| p.join(".")).collect();
    let expected = ["a", "b.self", "b.c.D", "f", "h.y", "p.g", "i.Z"];
    assert_eq!(found, expected);
}

#[test]
fn an_import_from_the_root_is_one_from_the_module_that_has_it() {
    let module = |name: &str| vec![name.to_owned()];
    let texts = BTreeMap::from([
        (
            vec![],
            "mod low;\npub mod high;\n\npub use high::{self, A};".to_owned(),
        ),
        (module("low"), "use crate::{A, low::B};".to_owned()),
        (module("high"), String::new()),
    ]);
    let expected = BTreeSet::from([module("high"), module("low")]);
    assert_eq!(imports_of(&texts)[&module("low")], expected);
}

#[test]
fn circles_are_found() {
    let module = |name: &str| vec!["folder".to_owned(), name.to_owned()];
    let mut imports = Imports::from([
        (module("a"), BTreeSet::from([module("b")])),
        (module("b"), BTreeSet::from([module("c")])),
    ]);
    assert_eq!(circle(&imports), None);
    imports.insert(module("c"), BTreeSet::from([module("a")]));
    assert_eq!(circle(&imports).unwrap(), "folder: a -> b -> c -> a");
}

fn check(krate: &str, order: &[&str]) {
    let imports = imports(krate);
    let found: BTreeSet<_> = imports.keys().filter_map(|module| module.first()).collect();
    let found: BTreeSet<_> = found.into_iter().map(String::as_str).collect();
    let listed: BTreeSet<_> = order.iter().copied().collect();
    assert_eq!(
        found, listed,
        "modules of {krate}, and those listed in this test"
    );
    let height = |module: &Module| {
        order
            .iter()
            .position(|name| module.first().is_some_and(|m| m == name))
    };
    for (importer, imported) in &imports {
        for imported in imported {
            assert!(
                height(imported) <= height(importer) || importer.is_empty(),
                "{krate}: {} imports {}, which is above it",
                importer.join("::"),
                imported.join("::")
            );
        }
    }
    assert_eq!(circle(&imports), None, "modules of {krate} in a circle");
}

/// The imports of each module of a crate.
fn imports(krate: &str) -> Imports {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(krate)
        .join("src");
    let mut texts = BTreeMap::new();
    read(&sources, &mut Vec::new(), &mut texts);
    imports_of(&texts)
}

/// The imports of each module, given the texts of all. What the root re-exports is imported from the module that has it.
fn imports_of(texts: &BTreeMap<Module, String>) -> Imports {
    let modules: BTreeSet<Module> = texts.keys().cloned().collect();
    let mut at_root = Vec::new();
    for part in texts[&Module::new()].split("\npub use ").skip(1) {
        expand(&mut Module::new(), part, &mut at_root);
    }
    let imported = |(module, text): (&Module, &String)| {
        let items = paths(text, module).into_iter().map(|item| {
            let mut exported = at_root.iter();
            let exported = exported.find(|path| path.last() == item.first());
            exported.cloned().unwrap_or(item)
        });
        let imported = items.filter_map(|item| {
            let lengths = (0..=item.len()).rev();
            let mut prefixes = lengths.map(|length| item[..length].to_vec());
            prefixes.find(|prefix| modules.contains(prefix))
        });
        (module.clone(), imported.collect())
    };
    texts.iter().map(imported).collect()
}

/// Reads the modules below a folder, but for those of tests.
fn read(folder: &Path, module: &mut Module, texts: &mut BTreeMap<Module, String>) {
    let entries = fs::read_dir(folder).unwrap();
    let mut entries: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if name == "tests" {
            continue;
        }
        let is_root = ["lib", "mod"].contains(&name.as_str());
        if !is_root {
            module.push(name);
        }
        if path.is_dir() {
            read(&path, module, texts);
        } else {
            texts.insert(module.clone(), fs::read_to_string(&path).unwrap());
        }
        if !is_root {
            module.pop();
        }
    }
}

/// The paths from the root of the crate that the text of a module names.
fn paths(text: &str, module: &[String]) -> Vec<Module> {
    let code = text.split("#[cfg(test)]\n");
    let code = code.filter(|part| {
        let first = part.lines().next().unwrap_or_default();
        !(first.trim_start().starts_with("mod ") && first.ends_with('{'))
    });
    let code: String = code.collect();
    let lines = code
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default());
    let code = lines.collect::<Vec<_>>().join(" ");
    let mut named = Vec::new();
    for part in code.split("crate::").skip(1) {
        expand(&mut Vec::new(), part, &mut named);
    }
    let mut rest = code.as_str();
    while let Some(at) = rest.find("super::") {
        let mut base = module.to_vec();
        rest = &rest[at..];
        while let Some(after) = rest.strip_prefix("super::") {
            base.pop();
            rest = after;
        }
        expand(&mut base, rest, &mut named);
    }
    named
}

/// Adds the paths of a tree as `use` has it, `a::{b, c::D}`, from the beginning of a text. Gives the rest
/// of the text.
fn expand<'a>(base: &mut Module, text: &'a str, named: &mut Vec<Module>) -> &'a str {
    let depth = base.len();
    let mut rest = text.trim_start();
    if let Some(group) = rest.strip_prefix('{') {
        rest = group.trim_start();
        while !rest.is_empty() && !rest.starts_with('}') {
            rest = expand(base, rest, named);
            let next = rest.find([',', '}']).unwrap_or(rest.len());
            rest = rest[next..].trim_start_matches(',').trim_start();
        }
        return rest.strip_prefix('}').unwrap_or(rest);
    }
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
    let (name, after) = rest.split_at(end.unwrap_or(rest.len()));
    base.push(name.to_owned());
    let after = if let Some(below) = after.strip_prefix("::") {
        expand(base, below, named)
    } else {
        named.push(base.clone());
        after
    };
    base.truncate(depth);
    after
}

/// A circle of imports among the modules of one folder, if there is one.
fn circle(imports: &Imports) -> Option<String> {
    let mut folders: BTreeMap<&[String], BTreeMap<&str, BTreeSet<&str>>> = BTreeMap::new();
    for (importer, imported) in imports {
        for imported in imported {
            let names = importer.iter().zip(imported);
            let common = names.take_while(|(one, other)| one == other).count();
            if let (Some(from), Some(to)) = (importer.get(common), imported.get(common)) {
                let folder = folders.entry(&importer[..common]).or_default();
                folder.entry(from).or_default().insert(to);
            }
        }
    }
    folders.iter().find_map(|(folder, edges)| {
        let walked = edges
            .keys()
            .find_map(|start| walk(edges, &mut vec![start]))?;
        Some(format!("{}: {}", folder.join("::"), walked))
    })
}

/// Follows imports from the last module of a way; gives the circle that leads back to its first.
fn walk<'a>(
    edges: &BTreeMap<&'a str, BTreeSet<&'a str>>,
    way: &mut Vec<&'a str>,
) -> Option<String> {
    for next in edges.get(way.last()?)? {
        if *next == way[0] {
            return Some([way.as_slice(), &[next]].concat().join(" -> "));
        }
        if !way.contains(next) {
            way.push(next);
            if let Some(circle) = walk(edges, way) {
                return Some(circle);
            }
            way.pop();
        }
    }
    None
}
