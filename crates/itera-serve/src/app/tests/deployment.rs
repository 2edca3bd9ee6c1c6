//! The files that deploy the server against the server: variables, ports and paths that they name are there.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use clap::{Command, CommandFactory as _};

use crate::{Args, app::document};

/// Read by the library that finds models, by the job script of Slurm, and by scripts/retrain.sh.
const NOT_OPTIONS: [&str; 3] = ["ITERA_BIN", "ITERA_MODELS_DIR", "ITERA_VALIDATE"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            below(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// All files that deploy, with their text.
fn files() -> Vec<(PathBuf, String)> {
    let root = root();
    let mut paths = vec![
        root.join("Dockerfile"),
        root.join("docker-compose.yml"),
        root.join("docker-compose.postgres.yml"),
    ];
    below(&root.join("deploy"), &mut paths);
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        (path, text)
    };
    paths.into_iter().map(read).collect()
}

/// What stands behind a key of YAML or Bicep, wherever that is on a line.
fn behind<'a>(text: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    let values = text.lines().flat_map(move |line| line.split(key).skip(1));
    values.map(|rest| {
        let rest = rest.trim_start_matches([' ', '\'', '"']);
        let end = rest.find([' ', '\'', '"', ',', '}']);
        &rest[..end.unwrap_or(rest.len())]
    })
}

#[test]
fn variables_are_options() {
    fn variables(command: &Command, found: &mut BTreeSet<String>) {
        for argument in command.get_arguments() {
            found.extend(
                argument
                    .get_env()
                    .and_then(|name| name.to_str())
                    .map(str::to_owned),
            );
        }
        for command in command.get_subcommands() {
            variables(command, found);
        }
    }
    let mut known = BTreeSet::new();
    variables(&Args::command(), &mut known);
    let mut seen = 0;
    for (path, text) in files() {
        let is_part = |letter: char| letter.is_ascii_uppercase() || letter == '_';
        for (start, _) in text.match_indices("ITERA_") {
            let rest = &text[start..];
            let name = &rest[..rest.find(|letter| !is_part(letter)).unwrap_or(rest.len())];
            seen += 1;
            assert!(
                known.contains(name) || NOT_OPTIONS.contains(&name),
                "{}: {name} is no option",
                path.display()
            );
        }
    }
    assert!(seen > 20, "{seen}");
}

#[test]
fn ports_and_paths_of_probes_are_those_of_the_server() {
    let paths = document().paths.paths;
    let port = <Args as clap::Parser>::try_parse_from(["itera-serve"])
        .unwrap()
        .serve
        .port;
    let (mut ports, mut probes) = (0, 0);
    for (file, text) in files() {
        for key in ["containerPort:", "ContainerPort:", "targetPort:", "EXPOSE "] {
            for value in behind(&text, key).filter(|value| *value != "http") {
                assert_eq!(value, port.to_string(), "{}: {key}", file.display());
                ports += 1;
            }
        }
        // Patches have paths of their own.
        for value in behind(&text, "path:").chain(behind(&text, "HealthCheckPath:")) {
            if value.starts_with('/') && !value.starts_with("/spec/") {
                assert!(paths.contains_key(value), "{}: {value}", file.display());
                probes += 1;
            }
        }
    }
    assert!(ports > 4 && probes > 8, "{ports} {probes}");
}

/// What `.dockerignore` leaves in the context of a build, beside what lies in the crates.
#[test]
fn images_are_built_with_all_that_they_are_made_of() {
    let rules = fs::read_to_string(root().join(".dockerignore")).unwrap();
    let kept: Vec<_> = rules
        .lines()
        .filter_map(|line| line.strip_prefix('!'))
        .collect();
    let is_kept = |path: &str| {
        let matches = |kept: &&str| match kept.split_once('*') {
            Some((start, end)) => path.starts_with(start) && path.ends_with(end),
            None => Path::new(path).starts_with(kept),
        };
        kept.iter().any(matches)
    };
    let mut seen = 0;
    let mut check = |by: &Path, path: &str| {
        assert!(
            is_kept(path),
            "{}: {path} is not in the context",
            by.display()
        );
        seen += 1;
    };
    for (file, text) in files() {
        for line in text.replace("\\\n", " ").lines() {
            let Some(words) = line.strip_prefix("COPY ") else {
                continue;
            };
            let mut words: Vec<_> = words.split_whitespace().collect();
            words.pop();
            let is_from_here = !line.contains("--from=") && words != ["."];
            for word in words.into_iter().filter(|_| is_from_here) {
                check(&file, word);
            }
        }
    }
    let mut sources = Vec::new();
    for folder in fs::read_dir(root().join("crates")).unwrap() {
        below(&folder.unwrap().path().join("src"), &mut sources);
    }
    for file in sources {
        // What is no text includes nothing.
        let text = fs::read_to_string(&file).unwrap_or_default();
        for include in ["include_str!(", "include_bytes!("] {
            for rest in text.split(include).skip(1) {
                let Some(path) = rest.trim_start().strip_prefix("\"../../../") else {
                    continue;
                };
                // Of a crate's `src` itself this leads out of the crates.
                if file.parent().unwrap().ends_with("src") {
                    check(&file, path.split('"').next().unwrap());
                }
            }
        }
    }
    assert!(seen > 8, "{seen}");
}
