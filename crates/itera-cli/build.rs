//! Notes the commit that is checked out, for the field `tool.commit` of every record.
//!
//! The order is: `ITERA_COMMIT` (packagers), git, `unknown`. Runs again only when the checkout
//! moves, and never fails a build.

use std::{env, path::Path, process::Command};

fn main() {
    println!("cargo::rerun-if-env-changed=ITERA_COMMIT");
    println!("cargo::rerun-if-changed=build.rs");
    // The log of HEAD changes with every commit and checkout; HEAD itself with a checkout only.
    for file in ["HEAD", "logs/HEAD"] {
        if let Some(path) = git(&["rev-parse", "--git-path", file])
            && Path::new(&path).exists()
        {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    let commit = env::var("ITERA_COMMIT")
        .ok()
        .filter(|commit| !commit.is_empty());
    let commit = commit.or_else(checked_out).unwrap_or("unknown".to_owned());
    println!("cargo::rustc-env=ITERA_BUILD_COMMIT={commit}");
}

/// The commit of the repository that this crate belongs to; a copy of the sources inside another
/// repository has none.
fn checked_out() -> Option<String> {
    git(&["ls-files", "--error-unmatch", "build.rs"])?;
    git(&["rev-parse", "HEAD"])
}

/// The line that git prints; nothing if there is no git, or it refuses.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty() && !text.contains('\n')).then_some(text)
}
