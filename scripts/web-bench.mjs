// Speed and size of the model in WebAssembly, in Node. Writes results/web.json.
//
//   scripts/build-web.sh runs/web && node scripts/web-bench.mjs runs/web [RESULT.json]
//
// `decode` reads one token after the other and computes its logits; `generate` also draws the token, tells its
// probability and decodes it, as the page does. Each is the median of five runs after one that counts for nothing.

import { execFileSync } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { cpus } from "node:os";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

const RUNS = 5;
const TOKENS = 4000;

const output = resolve(process.argv[2] ?? "runs/web");
const result = process.argv[3] ?? "results/web.json";
const { Model } = await import(pathToFileURL(output + "/package/index.js"));

const median = values => values.sort((a, b) => a - b)[values.length >> 1];
const perSecond = values => Math.round(median(values));

async function speeds(run) {
  const all = [];
  for (let i = 0; i <= RUNS; i++) {
    const began = performance.now();
    const tokens = await run();
    if (i > 0) all.push(tokens / (performance.now() - began) * 1000);
  }
  return perSecond(all);
}

async function measure(name) {
  const bytes = await readFile(`data/models/${name}.safetensors`);
  const model = await Model.load(bytes);
  const text = await readFile("data/samples/tinystories-sample.txt", "utf8");
  const ids = model.tokenize(text.slice(0, 3 * TOKENS)).slice(0, TOKENS);
  const decode = await speeds(() => {
    model.reset();
    for (const id of ids) model.readTokens([id]);
    return ids.length;
  });
  const generate = await speeds(async () => {
    let tokens = 0;
    for (let seed = 0; tokens < TOKENS; seed++)
      for await (const _ of model.generate("Once upon a time", { seed, maxTokens: TOKENS - tokens })) tokens++;
    return tokens;
  });
  const score = await speeds(() => model.score(text.slice(0, 20000)).tokens.length);
  const row = { model: name, precision: model.about.precision, kernel: model.about.kernel, sha256: model.about.sha256,
    file_bytes: bytes.length, decode_tokens_per_s: decode, generate_tokens_per_s: generate, score_tokens_per_s: score };
  console.log(JSON.stringify(row));
  return row;
}

const wasm = output + "/package/itera_web.wasm";
const rows = [];
for (const size of ["micro", "nano"])
  for (const precision of [".int4", ".int8", ""]) rows.push(await measure(`${size}-tinystories${precision}`));

const report = {
  schema: "itera.web/1",
  created_at: new Date().toISOString(),
  host: { cpu: cpus()[0].model, node: process.version, v8: process.versions.v8 },
  runs: RUNS,
  wasm_bytes: (await readFile(wasm)).length,
  wasm_gzip_bytes: execFileSync("gzip", ["-9", "-c", wasm]).length,
  rows,
};
await writeFile(result, JSON.stringify(report, null, 2) + "\n");
