// The model, beside the page: whatever it computes, the page stays responsive.
//
// The page sends { id, call, ... }; answers have the same id. What is written comes in pieces of some milliseconds.

import { Model } from "./package/index.js";

/** A piece for about every frame of a screen. */
const FRAME_MS = 16;

let loaded = { file: null, model: null };
/** The text that the page has asked to stop. */
let stopped = null;

/** Lets messages of the page arrive. */
const channel = new MessageChannel();
const arrivals = [];
channel.port1.onmessage = () => arrivals.shift()();
const breathe = () => new Promise(done => { arrivals.push(done); channel.port2.postMessage(null); });

async function modelOf(file) {
  if (loaded.file !== file) {
    // The old one goes first: two would take twice the memory.
    loaded = { file: null, model: null };
    loaded = { file, model: await Model.load(new URL("models/" + file, import.meta.url)) };
  }
  return loaded.model;
}

const calls = {
  async about({ file }) {
    return (await modelOf(file)).about;
  },

  async score({ file, text }) {
    return (await modelOf(file)).score(text);
  },

  async write({ id, file, prompt, options }) {
    const model = await modelOf(file);
    let tokens = [], seconds = 0, count = 0, began = performance.now();
    const send = () => { seconds += (performance.now() - began) / 1000; postMessage({ id, tokens, seconds }); tokens = []; };
    for await (const { text, probability } of model.generate(prompt, options)) {
      tokens.push([text, probability]);
      count++;
      if (performance.now() - began >= FRAME_MS) {
        send();
        await breathe();
        if (stopped === id) return { end: "stopped" };
        began = performance.now();
      }
    }
    send();
    return { end: count < options.maxTokens ? "ended by itself" : "cut at the limit" };
  },
};

onmessage = async ({ data }) => {
  if (data.call === "stop") { stopped = data.id; return; }
  try { postMessage({ id: data.id, done: await calls[data.call](data) }); }
  catch (error) { postMessage({ id: data.id, error: error.message }); }
};
