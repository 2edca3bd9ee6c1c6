// Speed and size of the model in WebAssembly: in Node, and in the worker of the page in a headless Chromium. Run by
// scripts/check-web.sh, which gives CHROMIUM, for OUTPUT=results/web.json:
//
//   node web-bench.mjs FOLDER RESULT.json
//
// `decode` reads one token after the other and computes its logits; `generate` also draws the token, tells its
// probability and decodes it, as the page does. Each is the median of five runs after one that counts for nothing.

import { execFileSync } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { cpus } from "node:os";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import puppeteer from "puppeteer-core";
import { serve } from "./web-server.mjs";

const RUNS = 5;
const TOKENS = 4000;

const folder = resolve(process.argv[2]), result = process.argv[3];
const text = await readFile("data/samples/tinystories-sample.txt", "utf8");

/** Measures a model. Sent to the browser as text, so that it uses nothing from outside. */
async function measure({ library, file, text, runs, most }) {
  const { Model } = await import(library);
  const model = await Model.load(file);
  async function speed(run) {
    const all = [];
    for (let i = 0; i <= runs; i++) {
      const began = performance.now();
      const tokens = await run();
      if (i > 0) all.push(tokens / (performance.now() - began) * 1000);
    }
    return Math.round(all.sort((a, b) => a - b)[all.length >> 1]);
  }
  const ids = model.tokenize(text.slice(0, 3 * most)).slice(0, most);
  const decode = await speed(() => {
    model.reset();
    for (const id of ids) model.readTokens([id]);
    return ids.length;
  });
  const generate = await speed(async () => {
    let tokens = 0;
    for (let seed = 0; tokens < most; seed++)
      for await (const _ of model.generate("Once upon a time", { seed, maxTokens: most - tokens })) tokens++;
    return tokens;
  });
  const score = await speed(() => model.score(text.slice(0, 20000)).tokens.length);
  const { precision, kernel, sha256 } = model.about;
  return { precision, kernel, sha256, decode_tokens_per_s: decode, generate_tokens_per_s: generate, score_tokens_per_s: score };
}

const rows = [];
async function row(runtime, model, run, library, file) {
  const measured = await run({ library, file, text, runs: RUNS, most: TOKENS });
  const bytes = (await readFile(`data/models/${model}.safetensors`)).length;
  rows.push({ runtime, model, file_bytes: bytes, ...measured });
  console.log(JSON.stringify(rows.at(-1)));
}

const { url, server } = await serve(folder);
const browser = await puppeteer.launch({ executablePath: process.env.CHROMIUM, args: ["--no-sandbox", "--disable-gpu"] });
try {
  const models = ["micro", "nano"].flatMap(size => [".int4", ".int8", ""].map(precision => `${size}-tinystories${precision}`));
  for (const model of models)
    await row("node", model, measure, pathToFileURL(folder + "/package/index.js").href, `data/models/${model}.safetensors`);
  const page = await browser.newPage();
  await page.goto(url, { waitUntil: "load" });
  await page.waitForFunction(() => document.getElementById("about").textContent.includes("parameters"));
  const [worker] = page.workers();
  // Models in floats do not come with the page.
  for (const model of models.filter(name => name.includes(".int")))
    await row("chromium", model, given => worker.evaluate(measure, given), url + "package/index.js", `${url}models/${model}.safetensors`);

  const wasm = folder + "/package/itera_web.wasm";
  const report = {
    schema: "itera.web/1",
    created_at: new Date().toISOString(),
    host: { cpu: cpus()[0].model, node: process.version, v8: process.versions.v8, chromium: await browser.version() },
    runs: RUNS,
    wasm_bytes: (await readFile(wasm)).length,
    wasm_gzip_bytes: execFileSync("gzip", ["-9", "-c", wasm]).length,
    rows,
  };
  await writeFile(result, JSON.stringify(report, null, 2) + "\n");
} finally {
  await browser.close();
  server.close();
}
