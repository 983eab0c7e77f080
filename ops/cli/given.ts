// Owns reading what was written after a command: strictly, with every word known.
// Refuses to own what the words mean to the command. Invariant: what is not understood is refused, never left out.
import { type ArgsDef, parseArgs } from "citty";
import { UsageError } from "./failures.ts";

/** An option may be written again when its command says so. */
export type Options = ArgsDef;

/** What was given to a command. Asking for a name that the command does not declare is a fault of the program. */
export class Given {
  constructor(
    private readonly declared: Options,
    private readonly values: Readonly<Record<string, unknown>>,
    private readonly repeated: ReadonlyMap<string, readonly string[]>,
    /** What followed the last declared word. */
    readonly rest: readonly string[],
  ) {}

  text(name: string): string | undefined {
    const value = this.#value(name);
    return value === undefined || value === "" ? undefined : String(value);
  }

  /** UsageError when it is missing. */
  need(name: string): string {
    const value = this.text(name);
    if (value === undefined) throw new UsageError(`--${name} is needed`);
    return value;
  }

  flag(name: string): boolean {
    this.#check(name);
    // As it was written: to the parser `--no-commit` says something of `commit`.
    return this.repeated.has(name);
  }

  /** A number from 0 on. UsageError for anything else. */
  integer(name: string): number | undefined {
    const value = this.text(name);
    if (value === undefined) return undefined;
    if (!/^\d{1,16}$/.test(value) || !Number.isSafeInteger(Number(value))) {
      throw new UsageError(`--${name} takes a whole number from 0 on, not "${value}"`);
    }
    return Number(value);
  }

  /** A number, `none` (null), or undefined when it is not given. */
  limit(name: string): number | null | undefined {
    if (this.text(name) === "none") return null;
    return this.number(name);
  }

  number(name: string): number | undefined {
    const value = this.text(name);
    if (value === undefined) return undefined;
    if (value.trim() === "" || !(Number(value) >= 0)) {
      throw new UsageError(`--${name} takes a number, not "${value}"`);
    }
    return Number(value);
  }

  /** Each value of an option that was written several times. */
  all(name: string): readonly string[] {
    this.#check(name);
    return this.repeated.get(name) ?? [];
  }

  #value(name: string): unknown {
    this.#check(name);
    return this.values[name];
  }

  #check(name: string): void {
    if (!Object.hasOwn(this.declared, name)) throw new Error(`no option ${name} is declared`);
  }
}

export interface Reading {
  /** May be written several times. */
  readonly many: readonly string[];
  /** Takes any number of words behind the declared ones. */
  readonly takesRest: boolean;
}

/** What `words` give to a command with `options`. UsageError for what it does not know. */
export function readGiven(words: readonly string[], options: Options, reading: Reading): Given {
  const repeated = new Map<string, string[]>();
  for (const { name, value } of flagsIn(words, options)) {
    const before = repeated.get(name);
    const isFlag = options[name]!.type === "boolean";
    if (before !== undefined && !isFlag && !reading.many.includes(name)) {
      throw new UsageError(`--${name} is given twice`);
    }
    repeated.set(name, [...before ?? [], value]);
  }
  const parsed = parsedBy(words, options);
  const places = Object.values(options).filter(({ type }) => type === "positional").length;
  const rest = parsed._.slice(places);
  if (rest.length > 0 && !reading.takesRest) {
    throw new UsageError(`"${rest[0]}" is one word too many`);
  }
  return new Given(options, parsed, repeated, rest);
}

function parsedBy(words: readonly string[], options: Options) {
  try {
    return parseArgs([...words], options);
  } catch (error) {
    // deno-lint-ignore no-control-regex -- the parser colours names
    const message = (error as Error).message.replace(/\x1b\[\d+m/g, "");
    throw new UsageError(message.charAt(0).toLowerCase() + message.slice(1));
  }
}

/** The options written in `words`, in their order. UsageError for unknown ones and for those that lack their value. */
export function flagsIn(
  words: readonly string[],
  options: Options,
): { name: string; value: string; at: number; length: number }[] {
  const found = [];
  for (let at = 0; at < words.length; at++) {
    const word = words[at]!;
    if (word === "--") break;
    if (!word.startsWith("-") || word === "-") continue;
    const [written, attached] = splitFlag(word);
    const name = nameOf(written, options);
    if (name === null) throw new UsageError(`there is no option ${written}`);
    if (options[name]!.type === "boolean") {
      if (attached !== undefined) throw new UsageError(`${written} takes no value`);
      found.push({ name, value: "true", at, length: 1 });
      continue;
    }
    const value = attached ?? words[at + 1];
    if (value === undefined) throw new UsageError(`${written} needs a value`);
    const length = attached === undefined ? 2 : 1;
    found.push({ name, value, at, length });
    at += length - 1;
  }
  return found;
}

function splitFlag(word: string): [string, string | undefined] {
  const equals = word.indexOf("=");
  return equals < 0 ? [word, undefined] : [word.slice(0, equals), word.slice(equals + 1)];
}

function nameOf(written: string, options: Options): string | null {
  const bare = written.replace(/^--?/, "");
  for (const [name, option] of Object.entries(options)) {
    if (option.type === "positional") continue;
    if (written === `--${name}`) return name;
    if (written.startsWith("--")) continue;
    if ("alias" in option && option.alias === bare) return name;
  }
  return null;
}
