// Owns finding the messages of a trace: a table of runs of offsets by trace id, of a fixed size.
// Refuses to own what fills it (follower.ts) and what is at the offsets.
// Invariant: the newest `maxRuns` are found, each in constant time; the oldest go first, and whoever lost one is told.

/** Messages next to each other in one partition that carry one trace. */
export interface TraceRun {
  /** Of the partition: a small number that the follower gives. */
  readonly place: number;
  readonly firstOffset: number;
  readonly lastOffset: number;
  /** Timestamp of the first, ms. */
  readonly at: number;
}

const WORDS = 4;
const NONE = -1;

/** The columns: made when the first run comes, since most brokers of a test never see one. */
interface Columns {
  /** 128 bits of each trace id. */
  readonly ids: Uint32Array;
  readonly places: Uint32Array;
  readonly firsts: Float64Array;
  readonly spans: Uint32Array;
  readonly times: Float64Array;
  /** Number of the run before with the same hash; a number that is gone ends the chain. */
  readonly before: Float64Array;
  /** By hash, the number of the newest run. */
  readonly heads: Float64Array;
}

export class TraceIndex {
  #columns: Columns | null = null;
  /** Runs that ever were; the last `capacity` of them are here, at their number modulo that. */
  #count = 0;
  readonly #capacity: number;

  /** `maxRuns` is rounded up to a power of two. `onForgotten` hears of each run that made room. */
  constructor(maxRuns: number, private readonly onForgotten: (run: TraceRun) => void) {
    this.#capacity = 2 ** Math.ceil(Math.log2(Math.max(2, maxRuns)));
  }

  get size(): number {
    return Math.min(this.#count, this.#capacity);
  }

  add(traceId: string, { place, firstOffset, lastOffset, at }: TraceRun): void {
    const columns = this.#columns ??= columnsOf(this.#capacity);
    const slot = this.#count % this.#capacity;
    if (this.#count >= this.#capacity) this.onForgotten(runAt(columns, slot));
    const words = wordsOf(traceId);
    columns.ids.set(words, slot * WORDS);
    columns.places[slot] = place;
    columns.firsts[slot] = firstOffset;
    columns.spans[slot] = lastOffset - firstOffset;
    columns.times[slot] = at;
    const head = hashOf(words) % this.#capacity;
    columns.before[slot] = columns.heads[head]!;
    columns.heads[head] = this.#count;
    this.#count++;
  }

  /** Newest first, `max` at most, of the places that are wanted. */
  find(traceId: string, max: number, isWanted = (_place: number) => true): TraceRun[] {
    const columns = this.#columns;
    if (columns === null) return [];
    const words = wordsOf(traceId);
    const oldest = this.#count - this.size;
    const found: TraceRun[] = [];
    let number = columns.heads[hashOf(words) % this.#capacity]!;
    while (number >= oldest && number !== NONE && found.length < max) {
      const slot = number % this.#capacity;
      const from = slot * WORDS;
      const isIt = words.every((word, i) => columns.ids[from + i] === word);
      if (isIt && isWanted(columns.places[slot]!)) found.push(runAt(columns, slot));
      number = columns.before[slot]!;
    }
    return found;
  }
}

function columnsOf(capacity: number): Columns {
  return {
    ids: new Uint32Array(capacity * WORDS),
    places: new Uint32Array(capacity),
    firsts: new Float64Array(capacity),
    spans: new Uint32Array(capacity),
    times: new Float64Array(capacity),
    before: new Float64Array(capacity).fill(NONE),
    heads: new Float64Array(capacity).fill(NONE),
  };
}

function runAt({ places, firsts, spans, times }: Columns, slot: number): TraceRun {
  const firstOffset = firsts[slot]!;
  const lastOffset = firstOffset + spans[slot]!;
  return { place: places[slot]!, firstOffset, lastOffset, at: times[slot]! };
}

function wordsOf(traceId: string): number[] {
  return [0, 8, 16, 24].map((at) => parseInt(traceId.slice(at, at + 8), 16));
}

/** Whoever makes trace ids may choose them: all words count, mixed. */
function hashOf(words: readonly number[]): number {
  let hash = 0x9e3779b9;
  for (const word of words) {
    hash = Math.imul(hash ^ word, 0x85ebca6b);
    hash ^= hash >>> 15;
  }
  return hash >>> 0;
}
