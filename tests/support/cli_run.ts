// Owns running commands in this process, with what a terminal would show kept, and an environment of their own.
// Refuses to own brokers. Invariant: a command reaches files and variables that its test gave it, and no others.
import { COMMANDS } from "../../ops/cli/commands.ts";
import { runCli } from "../../ops/cli/run.ts";
import { pauseUnless, type Terminal } from "../../ops/cli/terminal.ts";

export interface CliWorld {
  readonly environment?: Readonly<Record<string, string>>;
  /** Texts by path. */
  readonly files?: Readonly<Record<string, string>>;
  readonly input?: string;
  /** At a terminal these are its answers; without them nobody is there. */
  readonly answers?: readonly string[];
  readonly outIsTerminal?: boolean;
  readonly now?: number;
}

export interface CliEnd {
  readonly code: number;
  readonly out: string;
  readonly err: string;
  /** Of standard output. */
  // deno-lint-ignore no-explicit-any -- what a test reads out of it is checked by its assertions
  json(): any;
  lines(): string[];
}

/** Runs `waybill <words>`. */
export async function cli(words: readonly string[], world: CliWorld = {}): Promise<CliEnd> {
  const kept = { out: "", err: "" };
  const code = await runCli(words, terminalOf(world, kept), COMMANDS);
  return {
    code,
    ...kept,
    json: () => JSON.parse(kept.out),
    lines: () => kept.out.split("\n").slice(0, -1),
  };
}

function terminalOf(world: CliWorld, kept: { out: string; err: string }): Terminal {
  const { environment = {}, files = {}, input = "" } = world;
  const answers = [...world.answers ?? []];
  const isThere = world.answers !== undefined;
  const { signal } = new AbortController();
  return {
    write: (text) => {
      kept.out += text;
      return Promise.resolve();
    },
    tell: (line) => void (kept.err += `${line}\n`),
    outIsTerminal: world.outIsTerminal ?? false,
    errIsTerminal: isThere,
    inIsTerminal: isThere,
    columns: 120,
    ask: (question) => {
      kept.err += `${question}\n`;
      return answers.shift() ?? null;
    },
    input: () => new Blob([input]).stream(),
    readText: (path) => {
      const text = files[path];
      return text === undefined
        ? Promise.reject(new Deno.errors.NotFound(path))
        : Promise.resolve(text);
    },
    readBytes: (path) => {
      const text = files[path];
      return Promise.resolve(text === undefined ? null : new Blob([text]).stream());
    },
    environment: (name) => environment[name],
    now: () => world.now ?? Date.now(),
    pause: (ms) => pauseUnless(signal, ms),
    interrupted: signal,
  };
}

/** Words as a shell would split them: quotes hold spaces together. */
export function wordsOf(line: string): string[] {
  const words = line.split(/ [<>] /)[0]!.matchAll(/'([^']*)'|"([^"]*)"|(\S+)/g);
  return [...words].map(([, single, double, bare]) => single ?? double ?? bare!);
}
