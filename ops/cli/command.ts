// Owns what a command is: its words, options, examples, and what it is handed to run.
// Refuses to own any command. Invariant: every command has an example and takes the options that all take.
import { type CommandDef, defineCommand } from "citty";
import type { BrokerApi } from "./broker_api.ts";
import type { Given, Options } from "./given.ts";
import type { Output } from "./output.ts";
import type { Broker, Profiles } from "./profiles.ts";
import type { Terminal } from "./terminal.ts";

/** What a command works with. */
export interface Context {
  readonly given: Given;
  readonly terminal: Terminal;
  readonly output: Output;
  readonly broker: Broker;
  readonly api: BrokerApi;
  readonly profiles: Profiles;
}

export interface Command {
  readonly describes: string;
  readonly options: Options;
  /** What follows `waybill` and the command's own words, with what it is for. */
  readonly examples: readonly (readonly [words: string, what: string])[];
  /** Options that may be written several times. */
  readonly many?: readonly string[];
  /** Any number of words may follow. */
  readonly takesRest?: boolean;
  /** Resolves to the exit code, nothing for 0. */
  run(context: Context): Promise<number | void>;
}

/** Commands under one word. */
export interface CommandGroup {
  readonly describes: string;
  readonly commands: Readonly<Record<string, Command>>;
  /** The one that is meant when none is named. */
  readonly byDefault?: string;
}

export type CommandTree = Readonly<Record<string, Command | CommandGroup>>;

/** What every command takes. */
export const COMMON_OPTIONS: Options = {
  profile: {
    type: "string",
    alias: "p",
    valueHint: "name",
    description: "Broker of this name in the profiles file",
  },
  config: { type: "string", valueHint: "file", description: "Another profiles file" },
  url: {
    type: "string",
    valueHint: "url",
    description: "Broker at this address, or several of a cluster with commas between",
  },
  "token-file": {
    type: "string",
    valueHint: "file",
    description: "File with the API key or JWT",
  },
  json: { type: "boolean", description: "JSON on standard output, errors too (on standard error)" },
  help: { type: "boolean", alias: "h", description: "Show this" },
};

/** Of commands that change or destroy. */
export const YES: Options = {
  yes: { type: "boolean", alias: "y", description: "Do not ask; needed where nobody can be asked" },
};

export const DRY_RUN: Options = {
  "dry-run": { type: "boolean", description: "Only tell what would be done" },
};

export const REASON: Options = {
  reason: { type: "string", valueHint: "text", description: "Why; it is kept in the audit log" },
};

export const LIMIT: Options = {
  limit: {
    type: "string",
    default: "100",
    valueHint: "entries",
    description: "Entries at most",
  },
};

/** A word that must be given, or may be left out. */
export function word(description: string, isRequired = true): Options[string] {
  return { type: "positional", required: isRequired, description };
}

/** An option with a value. */
export function option(valueHint: string, description: string): Options[string] {
  return { type: "string", valueHint, description };
}

export function flag(description: string): Options[string] {
  return { type: "boolean", description };
}

/** An option with one of a few values. */
export function oneOf(options: readonly string[], description: string): Options[string] {
  return { type: "enum", options: [...options], description };
}

export function isGroup(entry: Command | CommandGroup): entry is CommandGroup {
  return "commands" in entry;
}

/** All options of `command`, its own first. */
export function optionsOf(command: Command): Options {
  return { ...command.options, ...COMMON_OPTIONS };
}

/** `command` as the library for usage texts knows commands. */
export function definitionOf(name: string, entry: Command | CommandGroup): CommandDef {
  const meta = { name, description: entry.describes };
  if (!isGroup(entry)) return defineCommand({ meta, args: optionsOf(entry) });
  return defineCommand({ meta, subCommands: definitionsOf(entry.commands) });
}

export function definitionsOf(tree: CommandTree): Record<string, CommandDef> {
  return Object.fromEntries(
    Object.entries(tree).map(([name, entry]) => [name, definitionOf(name, entry)]),
  );
}
