//! Keys: who may infer, rate and operate, and how much of it.

use std::{
    fs,
    num::NonZero,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use anyhow::{Context as _, bail, ensure};
use arc_swap::ArcSwap;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use serde::Deserialize;

/// What a key gives the right to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Right {
    /// Generation, and what only reads.
    Infer,
    /// Feedback on any answer, as often as wanted, and its deletion.
    Feedback,
    /// Adaptation and rollback.
    Operate,
}

/// Name of the key that `--token` is.
const TOKEN_NAME: &str = "token";

/// The file of keys.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeysFile {
    keys: Vec<KeyEntry>,
}

/// A key as the file has it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyEntry {
    /// For limits and logs; none twice.
    name: String,
    /// SHA-256 of the key in hexadecimal digits.
    sha256: String,
    roles: Vec<Right>,
    #[serde(default)]
    requests_per_minute: Option<NonZero<u32>>,
    #[serde(default)]
    tokens_per_minute: Option<NonZero<u32>>,
    /// Most records of feedback that an adaptation learns from.
    #[serde(default)]
    feedback_records: Option<NonZero<u32>>,
}

/// A key with what it has left of this minute.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: Arc<str>,
    /// Requests of the last minute; none if only the server's own limit holds.
    pub(crate) requests: Option<(NonZero<u32>, DefaultDirectRateLimiter)>,
    pub(crate) tokens: Option<(NonZero<u32>, DefaultDirectRateLimiter)>,
    entry: KeyEntry,
}

/// The keys of a server: those of a file, which is read again when it changes, and the one token.
#[derive(Debug)]
pub(crate) struct Keys {
    file: Option<PathBuf>,
    /// Digest of the token, as an entry.
    token: Option<KeyEntry>,
    list: ArcSwap<Vec<Arc<Key>>>,
    read: Mutex<Option<SystemTime>>,
}

impl Key {
    fn new(entry: KeyEntry) -> Self {
        let limiter = |limit| (limit, RateLimiter::direct(Quota::per_minute(limit)));
        Self {
            name: entry.name.as_str().into(),
            requests: entry.requests_per_minute.map(limiter),
            tokens: entry.tokens_per_minute.map(limiter),
            entry,
        }
    }

    /// Most of its records of feedback that an adaptation learns from; none for all.
    pub(crate) fn feedback_records(&self) -> Option<i64> {
        self.entry.feedback_records.map(|most| most.get().into())
    }

    pub(crate) fn may(&self, right: Right) -> bool {
        self.entry.roles.contains(&right)
    }
}

impl Keys {
    /// Reads the file; a token is a key with every right.
    ///
    /// # Errors
    /// A file that cannot be read, or that is not as it should be.
    pub(crate) fn new(file: Option<PathBuf>, token: Option<&str>) -> anyhow::Result<Self> {
        let token = token.map(|token| KeyEntry {
            name: TOKEN_NAME.to_owned(),
            sha256: digest(token),
            roles: vec![Right::Infer, Right::Feedback, Right::Operate],
            requests_per_minute: None,
            tokens_per_minute: None,
            feedback_records: None,
        });
        let keys = Self {
            file,
            token,
            list: ArcSwap::default(),
            read: Mutex::default(),
        };
        keys.reload()?;
        Ok(keys)
    }

    /// Whether there are none, so that everything is open to whoever reaches the server.
    pub(crate) fn are_none(&self) -> bool {
        self.file.is_none() && self.token.is_none()
    }

    /// The key that a client has shown. Digests are compared, so that the time it takes tells nothing of a key.
    pub(crate) fn find(&self, shown: &str) -> Option<Arc<Key>> {
        let shown = digest(shown);
        let keys = self.list.load();
        keys.iter()
            .find(|key| key.entry.sha256.eq_ignore_ascii_case(&shown))
            .cloned()
    }

    /// Reads the file again if it has changed. Keys that are as before keep what they have used.
    ///
    /// # Errors
    /// As [`Keys::new`]; the former keys then hold.
    pub(crate) fn reload(&self) -> anyhow::Result<()> {
        let mut entries = Vec::from_iter(self.token.clone());
        let mut changed = None;
        if let Some(file) = &self.file {
            let shown = file.display();
            let metadata = fs::metadata(file).with_context(|| format!("cannot read `{shown}`"))?;
            changed = Some(metadata.modified()?);
            if changed == *self.read.lock().unwrap_or_else(PoisonError::into_inner) {
                return Ok(());
            }
            let json = fs::read(file).with_context(|| format!("cannot read `{shown}`"))?;
            let known: KeysFile = serde_json::from_slice(&json)
                .with_context(|| format!("`{shown}` is not a JSON object of `keys`"))?;
            entries.extend(known.keys);
            check(&entries).with_context(|| format!("in `{shown}`"))?;
        }
        let former = self.list.load();
        let keys = entries.into_iter().map(|entry| {
            let same = former.iter().find(|key| key.entry == entry).cloned();
            same.unwrap_or_else(|| Arc::new(Key::new(entry)))
        });
        self.list.store(Arc::new(keys.collect()));
        *self.read.lock().unwrap_or_else(PoisonError::into_inner) = changed;
        Ok(())
    }
}

fn check(entries: &[KeyEntry]) -> anyhow::Result<()> {
    for (index, entry) in entries.iter().enumerate() {
        let name = &entry.name;
        ensure!(!name.is_empty(), "key {} has no name", index + 1);
        let is_digest =
            entry.sha256.len() == 64 && entry.sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
        ensure!(
            is_digest,
            "`sha256` of the key `{name}` is not 64 hexadecimal digits; make them with \
             `printf %s KEY | sha256sum`"
        );
        ensure!(!entry.roles.is_empty(), "the key `{name}` has no role");
        if entries[..index].iter().any(|other| other.name == *name) {
            bail!("two keys are called `{name}`");
        }
    }
    Ok(())
}

/// SHA-256 in hexadecimal digits.
fn digest(text: &str) -> String {
    itera_core::digest::sha256_hex(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(dir: &tempfile::TempDir, json: &str) -> PathBuf {
        let path = dir.path().join("keys.json");
        fs::write(&path, json).unwrap();
        path
    }

    fn entry(name: &str, key: &str, more: &str) -> String {
        let sha256 = digest(key);
        format!("{{\"name\": \"{name}\", \"sha256\": \"{sha256}\"{more}}}")
    }

    #[test]
    fn a_file_is_read_again_when_it_changes_and_a_broken_one_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let web = entry(
            "web",
            "a",
            ", \"roles\": [\"infer\"], \"requests_per_minute\": 1",
        );
        let path = file(&dir, &format!("{{\"keys\": [{web}]}}"));
        let keys = Keys::new(Some(path.clone()), Some("t")).unwrap();
        let key = keys.find("a").unwrap();
        assert!(key.may(Right::Infer) && !key.may(Right::Operate));
        assert!(key.requests.as_ref().unwrap().1.check().is_ok());
        assert!(keys.find("t").unwrap().may(Right::Operate));
        assert!(keys.find("b").is_none());

        let change = |json: &str| {
            let path = file(&dir, json);
            let later = SystemTime::now() + std::time::Duration::from_secs(5);
            fs::File::options()
                .write(true)
                .open(path)
                .unwrap()
                .set_modified(later)
                .unwrap();
            keys.reload()
        };
        assert!(change("{\"keys\": [}").is_err());
        assert!(keys.find("a").is_some());
        let ops = entry("ops", "b", ", \"roles\": [\"operate\"]");
        change(&format!("{{\"keys\": [{web}, {ops}]}}")).unwrap();
        assert!(keys.find("b").unwrap().may(Right::Operate));
        // What the key has used stays used.
        assert!(
            keys.find("a")
                .unwrap()
                .requests
                .as_ref()
                .unwrap()
                .1
                .check()
                .is_err()
        );
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let good = entry("a", "a", ", \"roles\": [\"infer\"]");
        for (json, says) in [
            (
                format!("{{\"keys\": [{good}, {good}]}}"),
                "two keys are called `a`",
            ),
            (
                format!("{{\"keys\": [{}]}}", entry("a", "a", ", \"roles\": []")),
                "no role",
            ),
            (
                format!(
                    "{{\"keys\": [{}]}}",
                    entry("a", "a", ", \"roles\": [\"x\"]")
                ),
                "unknown variant",
            ),
            (
                "{\"keys\": [{\"name\": \"a\", \"sha256\": \"1\", \"roles\": [\"infer\"]}]}"
                    .to_owned(),
                "sha256sum",
            ),
        ] {
            let error = Keys::new(Some(file(&dir, &json)), None).unwrap_err();
            assert!(format!("{error:#}").contains(says), "{error:#}");
        }
    }
}
