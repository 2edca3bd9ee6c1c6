//! Where a record comes from: program, machine, time.

use std::{env::consts, fs, process::Command, thread};

use itera_core::checkpoint::Checkpoint;
use itera_record::{Envelope, HostInfo, ModelInfo, Record, ToolInfo};
use jiff::Timestamp;

/// In place of a fact that the system does not give.
const UNKNOWN: &str = "unknown";

/// The opening fields of a record of type `R` that the program `tool` makes now, on this machine.
pub fn envelope<R: Record>(tool: &str, model: Option<ModelInfo>) -> Envelope {
    Envelope {
        schema: R::SCHEMA.to_owned(),
        created_at: created_at(),
        tool: self::tool(tool),
        host: host(),
        model,
    }
}

/// The program `name` of this workspace. Its commit is the one that was checked out when it was
/// built; changes that were not committed do not show.
pub fn tool(name: &str) -> ToolInfo {
    ToolInfo {
        name: name.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: env!("ITERA_BUILD_COMMIT").to_owned(),
    }
}

/// What records say about a model: its name, the digest of its file, its sizes.
pub fn model_info(name: &str, file_sha256: &str, checkpoint: &Checkpoint) -> ModelInfo {
    let (params, bytes) = (checkpoint.config.parameters(), checkpoint.weight_bytes());
    ModelInfo {
        name: name.to_owned(),
        file_sha256: file_sha256.to_owned(),
        params: params as u64,
        active_params: checkpoint.config.active_parameters() as u64,
        precision: checkpoint.precision().to_string(),
        bytes: bytes as u64,
        // Not by `Checkpoint::bits_per_weight`, which would pack all weights once more to count them.
        bits_per_weight: 8.0 * bytes as f64 / params as f64,
    }
}

/// The time now: RFC 3339, UTC, whole seconds.
pub fn created_at() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// This machine.
pub fn host() -> HostInfo {
    HostInfo {
        cpu: cpu().unwrap_or_else(|| UNKNOWN.to_owned()),
        cores: thread::available_parallelism().map_or(1, usize::from),
        os: format!("{} {}", consts::OS, consts::ARCH),
        simd: simd().into_iter().map(str::to_owned).collect(),
    }
}

/// The processor's name, from the file that Linux has or the program that macOS has.
fn cpu() -> Option<String> {
    if let Ok(info) = fs::read_to_string("/proc/cpuinfo") {
        return cpu_of_cpuinfo(&info);
    }
    let sysctl = Command::new("sysctl")
        .args(["-n", "machdep.cpu.brand_string"])
        .output()
        .ok()?;
    let name = String::from_utf8(sysctl.stdout).ok()?.trim().to_owned();
    (!name.is_empty()).then_some(name)
}

/// `model name` on x86; boards with other processors name themselves in `Model` or `Hardware`.
fn cpu_of_cpuinfo(info: &str) -> Option<String> {
    let value = |key: &str| {
        info.lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, value)| name.trim() == key && !value.trim().is_empty())
            .map(|(_, value)| value.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    ["model name", "Model", "Hardware"]
        .into_iter()
        .find_map(value)
}

/// Vector extensions of this processor, narrowest first: those that kernels use, and others that tell its age.
#[cfg(target_arch = "x86_64")]
fn simd() -> Vec<&'static str> {
    let mut found = Vec::new();
    macro_rules! detect {
        ($($feature:tt)*) => {
            $(if std::is_x86_feature_detected!($feature) {
                found.push($feature);
            })*
        };
    }
    detect!("sse4.1" "avx" "f16c" "fma" "avx2" "avxvnni" "avx512f" "avx512dq");
    detect!("avx512bw" "avx512vl" "avx512vnni" "avx512bf16");
    found
}

/// Vector extensions of this processor, narrowest first: those that kernels use, and others that tell its age.
#[cfg(target_arch = "aarch64")]
fn simd() -> Vec<&'static str> {
    let mut found = Vec::new();
    macro_rules! detect {
        ($($feature:tt)*) => {
            $(if std::arch::is_aarch64_feature_detected!($feature) {
                found.push($feature);
            })*
        };
    }
    detect!("neon" "fp16" "dotprod" "i8mm" "sve");
    found
}

/// No vector extension is looked for on other processors.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn simd() -> Vec<&'static str> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_rfc_3339() {
        let now = created_at();
        assert!(now.parse::<Timestamp>().is_ok(), "{now}");
        assert_eq!(now.len(), "2026-01-31T12:00:00Z".len());
    }

    #[test]
    fn processors_are_found_in_cpuinfo() {
        let x86 = "processor\t: 0\nmodel\t\t: 85\nmodel name\t: Some CPU  @ 2 GHz\n";
        assert_eq!(cpu_of_cpuinfo(x86).as_deref(), Some("Some CPU @ 2 GHz"));
        let board = "processor : 0\nBogoMIPS : 108.00\n\nModel : Some Board Rev 1\n";
        assert_eq!(cpu_of_cpuinfo(board).as_deref(), Some("Some Board Rev 1"));
        assert_eq!(cpu_of_cpuinfo("model name :\n"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_machine_is_the_one_that_the_system_describes() {
        let host = host();
        assert_eq!(host.os, format!("linux {}", consts::ARCH));
        let info = fs::read_to_string("/proc/cpuinfo").unwrap();
        let words = info.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(host.cpu == UNKNOWN || words.contains(&host.cpu), "{host:?}");
        // Detected by the program, listed by the kernel under other names at most.
        for feature in host.simd.iter().filter(|name| name.starts_with("avx")) {
            let listed = [
                feature.clone(),
                feature.replace("avxvnni", "avx_vnni"),
                feature.replace("avx512", "avx512_"),
            ];
            assert!(
                listed.iter().any(|name| words.contains(name)),
                "{feature} of {host:?}"
            );
        }
        let count = Command::new("nproc").output().unwrap().stdout;
        assert_eq!(
            host.cores.to_string(),
            String::from_utf8(count).unwrap().trim()
        );
    }

    #[test]
    fn the_commit_is_a_hash_or_unknown() {
        let commit = tool("any").commit;
        let is_hash = commit.len() >= 40 && commit.bytes().all(|b| b.is_ascii_hexdigit());
        assert!(
            is_hash || commit == UNKNOWN || option_env!("ITERA_COMMIT").is_some(),
            "{commit}"
        );
    }
}
