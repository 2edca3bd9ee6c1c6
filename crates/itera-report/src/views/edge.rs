//! What runs elsewhere: in a browser, on a controller, as a compressor, as three servers.

use itera_record::{
    Form::{Fixed, Short, Si},
    Table, Value, ZipRow, columns,
};
use serde_json::json;

use super::{View, rows_of};
use crate::input::{Cluster, Controller, Inputs, WebRow, items};

/// Speeds in WebAssembly, sizes on a controller, compressed texts.
pub(super) fn views(inputs: &Inputs) -> Vec<View> {
    let web = columns! { WebRow:
        text   "model"     "model"                       ""         |row| Value::code(row.base_name());
        text   "precision" "precision"                   ""         |row| &row.precision;
        text   "runtime"   "in"                          ""         |row| &row.runtime;
        number "file"      "file"                        "bytes"    |row| row.file_bytes;
        number "decode"    "read one by one"             "tokens/s" |row| Si.of(row.decode_tokens_per_s);
        number "generate"  "written, with probabilities" ""         |row| Si.of(row.generate_tokens_per_s);
        number "score"     "scored"                      ""         |row| Si.of(row.score_tokens_per_s);
    };
    let controller = columns! { Controller:
        text   "precision" "precision"                         ""         |of| &of.precision;
        number "flash"     "flash"                             "bytes"    |of| of.flash_bytes;
        number "weights"   "of these weights"                  ""         |of| of.weight_bytes;
        number "of_file"   "flash over file"                   ""         |of| Fixed(2).of(of.flash_bytes as f64 / of.file_bytes as f64);
        number "ram"       "RAM"                               "bytes"    |of| of.ram_bytes;
        number "m4"        "instructions a token, Cortex-M4"   ""         |of| of.instructions("cortex-m4").map(|count| Si.of(count));
        number "m0plus"    "Cortex-M0+"                        ""         |of| of.instructions("cortex-m0plus").map(|count| Si.of(count));
        number "nrf52840"  "projected: nRF52840 (M4, 64 MHz)"  "tokens/s" |of| of.speed("nRF52840").map(|speed| Short.of(speed));
        number "esp32s3"   "ESP32-S3 (240 MHz)"                ""         |of| of.speed("ESP32-S3").map(|speed| Short.of(speed));
        number "rp2040"    "RP2040 (M0+, 133 MHz)"             ""         |of| of.speed("RP2040").map(|speed| Short.of(speed));
    };
    let zip = columns! { ZipRow:
        text   "text"       "text"         ""      |row| &row.text;
        text   "model"      "model"        ""      |row| Value::code(row.model.base_name());
        number "bytes"      "bytes"        ""      |row| row.bytes;
        number "compressed" "itera-zip"    ""      |row| row.compressed_bytes;
        number "with_model" "with the model's file" "" |row| row.compressed_bytes.saturating_add(row.model_file_bytes);
        number "ppmd"       "PPMd"         ""      |row| row.ppmd_bytes;
        number "bzip2"      "bzip2 -9"     ""      |row| row.bzip2_bytes;
        number "xz"         "xz -9"        ""      |row| row.xz_bytes;
        number "zstd"       "zstd -19"     ""      |row| row.zstd_bytes;
        number "compress"   "compressed at" "B/s"  |row| Si.of(row.bytes as f64 / row.compress_seconds);
        number "restore"    "restored at"  "B/s"   |row| Si.of(row.bytes as f64 / row.restore_seconds);
    };
    let rows = rows_of(&inputs.web, |record| &record.rows);
    let mut views = views! { &Inputs::files(&inputs.web);
        "web" "In WebAssembly" Table::of(&web, rows.map(|(_, row)| row));
    };
    let rows = rows_of(&inputs.c_export, |record| &record.precisions);
    views.extend(views! { &Inputs::files(&inputs.c_export);
        "controller" "On a controller" Table::of(&controller, rows.map(|(_, row)| row));
    });
    let rows = rows_of(&inputs.zip, |record| &record.rows);
    views.extend(views! { &Inputs::files(&inputs.zip);
        "zip" "Compressed texts" Table::of(&zip, rows.map(|(_, row)| row));
    });
    views
}

/// For sentences.
pub(super) fn facts(inputs: &Inputs) -> serde_json::Value {
    let cluster = items(&inputs.cluster).next().map(Cluster::requests);
    json!({
        "web": items(&inputs.web).next(),
        "controller": items(&inputs.c_export).next(),
        "zip": items(&inputs.zip).next(),
        "cluster": cluster,
    })
}
