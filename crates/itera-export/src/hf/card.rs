//! The model card, `README.md`: what the model is, and the figures that `itera-validate` has measured.

use std::{fmt::Write as _, fs};

use anyhow::Context as _;
use itera_cli::results_folder;
use itera_core::models::LoadedCheckpoint;
use itera_record::{Record as _, ValidationRecord, ValidationRow};
use serde_json::Value;

/// Name of the result in the folder of the results.
const RESULT: &str = "validation.json";

/// The text of the card.
///
/// # Errors
/// The result with the figures is there and broken.
pub(super) fn text(loaded: &LoadedCheckpoint) -> anyhow::Result<String> {
    let (name, config) = (&loaded.name, &loaded.checkpoint.config);
    let experts = match config.n_experts {
        1 => "a dense feed-forward".to_owned(),
        experts => format!("{experts} experts, {} chosen for each token", config.top_k),
    };
    let mut card = format!(
        "---\n\
         library_name: transformers\n\
         pipeline_tag: text-generation\n\
         license: [mit, apache-2.0]\n\
         ---\n\n\
         # {name}\n\n\
         A language model of {parameters} parameters, {active} of them active for each token: {layers} blocks of a \
         Mamba-2 mixer and {experts}. It was made by Itera-Lite and converted by `itera-export hf` from the \
         checkpoint with SHA-256 `{sha256}`. The last layer is an identity that transformers needs for its cache.\n\n\
         ```python\n\
         from transformers import AutoModelForCausalLM, AutoTokenizer\n\n\
         tokenizer = AutoTokenizer.from_pretrained(\".\")\n\
         model = AutoModelForCausalLM.from_pretrained(\".\")\n\
         start = tokenizer(\"Once upon a time\", return_tensors=\"pt\")\n\
         print(tokenizer.decode(model.generate(**start)[0], skip_special_tokens=True))\n\
         ```\n",
        parameters = config.parameters(),
        active = config.active_parameters(),
        layers = config.n_layers,
        sha256 = loaded.file_sha256,
    );
    let training = &loaded.checkpoint.training;
    let facts = ["dataset", "steps", "tokens", "command"];
    let facts = facts.map(|name| (name, training.get(name)));
    if facts.iter().any(|(_, value)| value.is_some()) {
        card += "\n## Training\n\n";
    }
    for (name, value) in facts {
        let value = value.map(|value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        });
        if let Some(value) = value {
            writeln!(card, "- {name}: `{value}`")?;
        }
    }
    card += "\n## Figures\n\n";
    let rows = rows(loaded)?;
    if rows.is_empty() {
        card += "Not measured; `itera-validate` measures them.\n";
    } else {
        card += "Whole documents, read by the native engine in fp32.\n\n\
                 | text | documents | bits/byte | word perplexity |\n| --- | ---: | ---: | ---: |\n";
    }
    for row in rows {
        let perplexity = row.word_perplexity;
        let perplexity = perplexity.map_or_else(String::new, |value| format!("{value:.2}"));
        writeln!(
            card,
            "| {} {} | {} | {:.4} | {perplexity} |",
            row.dataset, row.split, row.documents, row.bits_per_byte
        )?;
    }
    Ok(card)
}

/// Rows of the result that are about this very file.
fn rows(loaded: &LoadedCheckpoint) -> anyhow::Result<Vec<ValidationRow>> {
    let path = results_folder()?.join(RESULT);
    if !path.is_file() {
        return Ok(Vec::new());
    }
    let context = || {
        format!(
            "`{}` is not what `itera-validate` writes; remove it",
            path.display()
        )
    };
    let json = fs::read(&path).with_context(context)?;
    let record = ValidationRecord::from_json(&json).with_context(context)?;
    let is_ours = |row: &ValidationRow| {
        row.model.file_sha256 == loaded.file_sha256
            && row.precision == "fp32"
            && row.engine == "native"
    };
    Ok(record.rows.into_iter().filter(is_ours).collect())
}
