/** A URL, in Node also a path; or the bytes of a checkpoint file. */
export type Source = string | URL | ArrayBuffer | ArrayBufferView;

/** How tokens are drawn. */
export interface Sampling {
  /** Logits are divided by this; 0 always takes the most probable token. Default 1. */
  temperature?: number;
  /** Draws from this many of the most probable tokens only. Default: all. */
  topK?: number;
  /** Then draws from the fewest most probable tokens whose probabilities sum to at least this. Default: all. */
  topP?: number;
  /** Equal seeds give equal texts, on every machine. Default 0. */
  seed?: number | bigint;
}

export interface Generation extends Sampling {
  /** The most tokens that are written. Default 200. */
  maxTokens?: number;
  /** Whether the prompt comes behind what the model has read, and not at the beginning of a text. Default false. */
  goOn?: boolean;
}

/** A token that was written. */
export interface Piece {
  id: number;
  /** Its text; empty where it is only a part of a character, which is then in the next piece. */
  text: string;
  /** By the model's own distribution, at temperature 1. */
  probability: number;
}

/** What the model makes of a token of a text. */
export interface TokenScore {
  id: number;
  /** Where it begins in the UTF-8 of the text, and its length, in bytes. */
  offset: number;
  bytes: number;
  /** Negative log-likelihood. */
  nats: number;
}

export interface Score {
  /** Negative log-likelihood of the whole text. */
  nats: number;
  /** Bytes of its UTF-8. */
  bytes: number;
  /** `nats / ln 2 / bytes`; null for an empty text. */
  bitsPerByte: number | null;
  tokens: TokenScore[];
}

export interface About {
  parameters: number;
  precision: "fp32" | "int8" | "int4";
  /** The instructions of its products: `simd128`. */
  kernel: string;
  tokenizer: "bytes" | "char" | "bpe";
  vocabSize: number;
  /** Id of the token that begins and ends a text. */
  endOfText: number;
  /** Bytes of what the model remembers, however long the text. */
  stateBytes: number;
  /** Digest of the checkpoint file. */
  sha256: string;
}

/**
 * A model with its tokenizer, and the one text that it reads or writes. Methods throw an `Error` that says why they
 * cannot do something; the model is then as it was. All but `load` and `generate` are done when they return.
 */
export class Model {
  private constructor();
  /** Loads a checkpoint file. */
  static load(source: Source): Promise<Model>;
  readonly about: About;

  /** The tokens of a text; end-of-text is never among them. */
  tokenize(text: string): number[];
  /** The text of tokens. */
  detokenize(tokens: Iterable<number>): string;
  /** The same as bytes: a token may be a part of a character. */
  bytesOf(tokens: Iterable<number>): Uint8Array;
  /** The likelihood of a text from its beginning. What the model has read stays as it is. */
  score(text: string): Score;

  /** Writes on behind a prompt, token by token, until the model ends the text or `maxTokens`. */
  generate(prompt?: string, options?: Generation): AsyncGenerator<Piece, void, void>;

  /** Forgets what was read. */
  reset(): void;
  /** Reads a text behind what was read. */
  read(text: string): void;
  /** Reads tokens behind what was read. */
  readTokens(tokens: Iterable<number>): void;
  /** What was read, as bytes; the Python package reads and writes the same. */
  saveState(): Uint8Array;
  /** Takes over a state that the same model has saved. */
  restoreState(bytes: Uint8Array): void;

  /** Chooses how `draw` draws. */
  sampleBy(sampling?: Sampling): void;
  /** The next token, which is not read yet. */
  draw(): number;
  /** Probability of a next token. */
  probabilityOf(id: number): number;
  /** Logits of the next token, one for each of the vocabulary. */
  logits(): Float32Array;
}
