// The model in a browser or in Node. All that it computes is in itera_web.wasm, of which an instance holds one model.

const WASM = new URL("itera_web.wasm", import.meta.url);

let compiled;

/** The bytes of what a caller names: a URL, in Node also a path; or bytes as they are. */
async function bytesOf(source) {
  if (source instanceof ArrayBuffer) return new Uint8Array(source);
  if (ArrayBuffer.isView(source)) return new Uint8Array(source.buffer, source.byteOffset, source.byteLength);
  const name = String(source);
  const isInNode = typeof process !== "undefined" && process.versions?.node;
  if (isInNode && !/^(https?|data|blob):/.test(name)) {
    const { readFile } = await import("node:fs/promises");
    return readFile(name.startsWith("file:") ? new URL(name) : name);
  }
  const reply = await fetch(name);
  if (!reply.ok) throw new Error(`cannot fetch ${name}: ${reply.status} ${reply.statusText}`);
  return new Uint8Array(await reply.arrayBuffer());
}

/** The module, compiled once. */
function compile() {
  compiled ??= bytesOf(WASM).then(bytes => WebAssembly.compile(bytes));
  // What failed may be tried again.
  compiled.catch(() => { compiled = undefined; });
  return compiled;
}

const encoder = new TextEncoder();

/** 2^32 - 1 and NaN exclude no token. */
const ALL_TOKENS = 0xffffffff;

export class Model {
  #wasm;
  #isBroken = false;
  #endOfText;
  /** The bytes of tokens that were written before, by id. */
  #pieces = [];
  /** Counts what begins a new text, so that a generation that goes on beside it is noticed. */
  #turn = 0;

  /** Use `Model.load`. */
  constructor(wasm) {
    this.#wasm = wasm;
  }

  static async load(source) {
    const [module, file] = await Promise.all([compile(), bytesOf(source)]);
    const { exports } = await WebAssembly.instantiate(module);
    const model = new Model(exports);
    model.#give(file);
    const about = JSON.parse(new TextDecoder().decode(model.#call("itera_load")));
    model.about = Object.freeze(about);
    model.#endOfText = about.endOfText;
    return model;
  }

  tokenize(text) {
    this.#give(encoder.encode(text));
    return Array.from(new Uint32Array(this.#call("itera_tokenize").buffer));
  }

  detokenize(tokens) {
    return new TextDecoder().decode(this.bytesOf(tokens));
  }

  bytesOf(tokens) {
    this.#giveTokens(tokens);
    return this.#call("itera_detokenize");
  }

  score(text) {
    const bytes = encoder.encode(text);
    this.#give(bytes);
    const { buffer } = this.#call("itera_score");
    const count = buffer.byteLength / 16;
    const nats = new Float64Array(buffer, 0, count);
    const places = new Uint32Array(buffer, 8 * count);
    const tokens = Array.from(nats, (nats, i) => {
      const [id, offset] = places.subarray(2 * i, 2 * i + 2);
      const end = i + 1 < count ? places[2 * i + 3] : bytes.length;
      return { id, offset, bytes: end - offset, nats };
    });
    const total = nats.reduce((sum, next) => sum + next, 0);
    return { nats: total, bytes: bytes.length, bitsPerByte: bytes.length ? total / Math.LN2 / bytes.length : null, tokens };
  }

  reset() {
    this.#turn++;
    this.#call("itera_reset");
  }

  read(text) {
    this.readTokens(this.tokenize(text));
  }

  readTokens(tokens) {
    this.#turn++;
    this.#giveTokens(tokens);
    this.#call("itera_read");
  }

  async *generate(prompt = "", { maxTokens = 200, goOn = false, ...sampling } = {}) {
    if (!(maxTokens >= 0)) throw new RangeError(`maxTokens is ${maxTokens}, expected a number of at least 0`);
    this.sampleBy(sampling);
    if (!goOn) this.reset();
    this.read(prompt);
    const turn = this.#turn, decoder = new TextDecoder();
    for (let written = 0; written < maxTokens; written++) {
      const id = this.draw();
      if (id === this.#endOfText) return;
      const probability = this.probabilityOf(id);
      this.#run("itera_read_one", id);
      const piece = this.#pieces[id] ??= this.bytesOf([id]);
      yield { id, text: decoder.decode(piece, { stream: true }), probability };
      if (turn !== this.#turn) throw new Error("the model began another text meanwhile; load it twice to write two at once");
    }
  }

  sampleBy({ temperature = 1, topK, topP, seed = 0 } = {}) {
    for (const [name, value] of Object.entries({ temperature, topP: topP ?? 1 }))
      if (!Number.isFinite(value)) throw new RangeError(`${name} is ${value}, expected a number`);
    if (topK !== undefined && !(Number.isInteger(topK) && topK >= 0 && topK < ALL_TOKENS))
      throw new RangeError(`topK is ${topK}, expected a whole number of at least 1`);
    if (!(typeof seed === "bigint" || Number.isSafeInteger(seed)) || seed < 0 || seed >= 2n ** 64n)
      throw new RangeError(`seed is ${seed}, expected a whole number from 0 to 2^64 - 1; give those above 2^53 as a BigInt`);
    this.#call("itera_sample_by", temperature, topK ?? ALL_TOKENS, topP ?? NaN, BigInt(seed));
  }

  draw() {
    const id = this.#run("itera_draw");
    if (id < 0) throw new Error(this.#message());
    return id;
  }

  probabilityOf(id) {
    const nats = this.#run("itera_nats", id);
    if (Number.isNaN(nats) && this.#wasm.itera_output_len()) throw new RangeError(this.#message());
    return Math.exp(-nats);
  }

  logits() {
    return new Float32Array(this.#call("itera_logits").buffer);
  }

  saveState() {
    return this.#call("itera_save");
  }

  restoreState(bytes) {
    this.#turn++;
    this.#give(bytes);
    this.#call("itera_restore");
  }

  /** Runs an export; one that traps leaves the instance in an unknown state. */
  #run(name, ...values) {
    if (this.#isBroken) throw new Error("the model failed before; load it again");
    try {
      return this.#wasm[name](...values);
    } catch (cause) {
      this.#isBroken = true;
      throw new Error("the model failed, most likely for lack of memory; load it again", { cause });
    }
  }

  /** Runs an export that may refuse; a copy of its output. */
  #call(name, ...values) {
    if (this.#run(name, ...values)) throw new Error(this.#message());
    return this.#output();
  }

  #output() {
    // The memory may have grown, which makes its old buffer useless.
    const start = this.#wasm.itera_output();
    return new Uint8Array(this.#wasm.memory.buffer).slice(start, start + this.#wasm.itera_output_len());
  }

  #message() {
    return new TextDecoder().decode(this.#output());
  }

  #give(bytes) {
    const start = this.#run("itera_input", bytes.length) >>> 0;
    if (bytes.length && !start) throw new Error(`there is no memory for ${bytes.length} bytes`);
    new Uint8Array(this.#wasm.memory.buffer).set(bytes, start);
  }

  #giveTokens(tokens) {
    const ids = Uint32Array.from(tokens, id => {
      if (!(Number.isInteger(id) && id >= 0 && id < 2 ** 32)) throw new RangeError(`the token ${id} is no whole number of at least 0`);
      return id;
    });
    this.#give(new Uint8Array(ids.buffer));
  }
}
