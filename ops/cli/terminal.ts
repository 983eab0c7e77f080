// Owns what a command may touch of the world: its output, its input, files, the environment, time, being interrupted.
// Refuses to own what is said through it. Invariant: a command that runs in a test touches nothing else.

const MAX_ANSWER_BYTES = 1_024;

export interface Terminal {
  /** To standard output. Rejects with OutputClosed when nobody reads it any more. */
  write(text: string): Promise<void>;
  /** A line to standard error. */
  tell(line: string): void;
  readonly outIsTerminal: boolean;
  readonly errIsTerminal: boolean;
  readonly inIsTerminal: boolean;
  /** Width of the terminal in characters. */
  readonly columns: number;
  /** Asks at the terminal; null when the input has ended. */
  ask(question: string): string | null;
  input(): ReadableStream<Uint8Array>;
  readText(path: string): Promise<string>;
  /** Null when there is no such file. */
  readBytes(path: string): Promise<ReadableStream<Uint8Array> | null>;
  environment(name: string): string | undefined;
  /** Wall time, ms. */
  now(): number;
  /** Resolves after so many ms, or when the command is interrupted. */
  pause(ms: number): Promise<void>;
  /** Aborted when the user wants the command to end. */
  readonly interrupted: AbortSignal;
}

/** Whoever read our output has gone, as `head` does: no fault, and the end of the command. */
export class OutputClosed extends Error {
  override name = "OutputClosed";
}

/** The one this process runs in. `interrupted` is aborted by the first SIGINT or SIGTERM. */
export function processTerminal(): Terminal {
  const interruption = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    const onSignal = () => {
      // A second one ends the process as it does any other.
      Deno.removeSignalListener(signal, onSignal);
      interruption.abort();
    };
    Deno.addSignalListener(signal, onSignal);
  }
  const encoder = new TextEncoder();
  const [outIsTerminal, errIsTerminal] = [Deno.stdout.isTerminal(), Deno.stderr.isTerminal()];
  return {
    write: (text) => writeAll(encoder.encode(text)),
    tell: (line) => console.error(line),
    outIsTerminal,
    errIsTerminal,
    inIsTerminal: Deno.stdin.isTerminal(),
    columns: outIsTerminal ? Deno.consoleSize().columns : 120,
    ask: askAtTerminal,
    input: () => Deno.stdin.readable,
    readText: (path) => Deno.readTextFile(path),
    readBytes: openOrNull,
    environment: (name) => Deno.env.get(name),
    now: () => Date.now(),
    pause: (ms) => pauseUnless(interruption.signal, ms),
    interrupted: interruption.signal,
  };
}

/** Resolves after `ms`, or when `signal` is aborted. */
export function pauseUnless(signal: AbortSignal, ms: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(done, ms);
    function done() {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    }
    if (signal.aborted) done();
    else signal.addEventListener("abort", done);
  });
}

/** Beside standard output, which is for results. A terminal gives a line at a time. */
function askAtTerminal(question: string): string | null {
  Deno.stderr.writeSync(new TextEncoder().encode(`${question} `));
  const line = new Uint8Array(MAX_ANSWER_BYTES);
  const read = Deno.stdin.readSync(line);
  return read === null ? null : new TextDecoder().decode(line.subarray(0, read));
}

async function writeAll(bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) {
    try {
      at += await Deno.stdout.write(bytes.subarray(at));
    } catch (error) {
      if (error instanceof Deno.errors.BrokenPipe) throw new OutputClosed("nobody reads");
      throw error;
    }
  }
}

async function openOrNull(path: string): Promise<ReadableStream<Uint8Array> | null> {
  try {
    return (await Deno.open(path)).readable;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}
