// The package against the native engine: logits and tokens have the digests of crates/itera-core/tests/exact.rs.
// Run by scripts/check-web.sh, which gives the folder that scripts/build-web.sh has made, and the kernel
// that it has to have:
//
//   node web/package/test.mjs OUTPUT [KERNEL]

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";

const output = resolve(process.argv[2] ?? "."), kernel = process.argv[3] ?? "simd128";
const { Model } = await import(pathToFileURL(output + "/package/index.js"));
const file = name => `${output}/models/${name}.safetensors`;

const TOKENS = 1000;
const TEXT = "Once upon a time there was a café at the sea 🐟.";

/** SHA-256 of the logits' bits and the tokens of a text, in turns. */
async function digest(model) {
  const seen = createHash("sha256");
  model.reset();
  model.sampleBy({ seed: 7 });
  for (let i = 0; i < TOKENS; i++) {
    const logits = model.logits(), id = model.draw();
    seen.update(new Uint8Array(logits.buffer)).update(Uint32Array.of(id));
    model.readTokens([id]);
  }
  return seen.digest("hex");
}

async function written(model, prompt, options) {
  const pieces = [];
  for await (const piece of model.generate(prompt, options)) pieces.push(piece);
  return pieces;
}
const textOf = pieces => pieces.map(piece => piece.text).join("");

test("integers give the bits of the native engine", async () => {
  const rust = await readFile(new URL("../../crates/itera-core/tests/exact.rs", import.meta.url), "utf8");
  const golden = [...rust.matchAll(/"([\w.-]+)",\s*"([0-9a-f]{64})"/g)];
  assert.ok(golden.length >= 3, `exact.rs has ${golden.length} digests`);
  for (const [, name, expected] of golden) {
    const model = await Model.load(file(name));
    assert.equal(model.about.kernel, kernel);
    assert.equal(await digest(model), expected, name);
  }
});

test("a text is written token by token, and the same with the same seed", async () => {
  const model = await Model.load(file("micro-tinystories.int4"));
  const options = { seed: 1n, temperature: 0.8, topK: 40, topP: 0.95, maxTokens: 60 };
  const pieces = await written(model, "Once upon a time", options);
  assert.ok(pieces.length > 10);
  assert.ok(pieces.every(({ probability }) => probability > 0 && probability <= 1));
  assert.deepEqual(await written(model, "Once upon a time", options), pieces);
  assert.notEqual(textOf(await written(model, "Once upon a time", { ...options, seed: 2 })), textOf(pieces));
  assert.equal((await written(model, "", { maxTokens: 0 })).length, 0);
});

test("a saved state goes on where it was", async () => {
  const model = await Model.load(file("nano-tinystories.int4"));
  const all = await written(model, "Once upon a time", { temperature: 0, maxTokens: 30 });
  const begun = await written(model, "Once upon a time", { temperature: 0, maxTokens: 10 });
  const saved = model.saveState();
  await written(model, "Something else", { maxTokens: 5 });
  model.restoreState(saved);
  const rest = await written(model, "", { temperature: 0, maxTokens: 20, goOn: true });
  assert.deepEqual([...begun, ...rest], all);
  const other = await Model.load(file("micro-tinystories.int4"));
  assert.throws(() => other.restoreState(saved), /no state of this model/);
});

test("a score covers every byte of its text", async () => {
  const model = await Model.load(await readFile(file("nano-tinystories.int8")));
  const score = model.score(TEXT);
  assert.equal(score.bytes, new TextEncoder().encode(TEXT).length);
  let end = 0;
  for (const token of score.tokens) {
    assert.equal(token.offset, end);
    end += token.bytes;
  }
  assert.equal(end, score.bytes);
  assert.ok(Math.abs(score.bitsPerByte - score.nats / Math.LN2 / score.bytes) < 1e-12);
  assert.equal(model.detokenize(model.tokenize(TEXT)), TEXT);
  // By two ways: the likelihood of each token as it comes.
  model.reset();
  let nats = 0;
  for (const { id } of score.tokens) {
    nats -= Math.log(model.probabilityOf(id));
    model.readTokens([id]);
  }
  assert.ok(Math.abs(nats - score.nats) < 1e-4, `${nats}, ${score.nats}`);
  assert.deepEqual(model.score(""), { nats: 0, bytes: 0, bitsPerByte: null, tokens: [] });
});

test("what cannot be done is refused in words, and nothing breaks", async () => {
  await assert.rejects(Model.load(new TextEncoder().encode("nothing")), /the bytes are no checkpoint: /);
  await assert.rejects(Model.load(file("missing")), /ENOENT/);
  const bytes = await readFile(file("nano-tinystories.int4"));
  // A damaged file is refused, or is a sound one of other values; it never traps.
  for (let at = 0; at < bytes.length; at += 997) {
    const damaged = Uint8Array.from(bytes);
    damaged[at] ^= 0x55;
    await Model.load(damaged).catch(error => assert.ok(!(error.cause instanceof WebAssembly.RuntimeError), `byte ${at}`));
  }
  const model = await Model.load(bytes);
  const outside = model.about.vocabSize;
  assert.throws(() => model.readTokens([outside]), /the token 1792 is outside the vocabulary of 1792/);
  assert.throws(() => model.detokenize([-1]), RangeError);
  assert.throws(() => model.probabilityOf(outside), /outside the vocabulary/);
  await assert.rejects(written(model, "", { temperature: -1 }), /temperature is -1/);
  await assert.rejects(written(model, "", { topK: 0 }), /top-k is 0/);
  await assert.rejects(written(model, "", { topP: 2 }), /top-p is 2/);
  await assert.rejects(written(model, "", { seed: -1 }), /seed is -1/);
  const first = model.generate("a"), second = model.generate("b");
  await first.next();
  await second.next();
  await assert.rejects(first.next(), /another text meanwhile/);
  assert.equal((await written(model, "Once", { maxTokens: 3 })).length, 3);
});
