// Owns running one command line: which command, what it is given, how it ends.
// Refuses to own what commands do (commands/). Invariant: every end is one of the exit codes, with its reason told.
import { BrokerApi } from "./broker_api.ts";
import { type Command, type CommandTree, COMMON_OPTIONS, isGroup, optionsOf } from "./command.ts";
import { asJson, describe, EXIT_OK, exitCodeOf, UsageError } from "./failures.ts";
import { flagsIn, readGiven } from "./given.ts";
import { helpFor } from "./help.ts";
import { json, Output, printable } from "./output.ts";
import { brokerFor, readProfiles } from "./profiles.ts";
import { OutputClosed, type Terminal } from "./terminal.ts";

/** Runs what `words` say; resolves to the exit code. Rejects for faults of this program alone. */
export async function runCli(
  words: readonly string[],
  terminal: Terminal,
  tree: CommandTree,
): Promise<number> {
  const isJson = words.includes("--json");
  try {
    return await runWords(words, terminal, tree);
  } catch (error) {
    if (error instanceof OutputClosed) return EXIT_OK;
    const code = exitCodeOf(error);
    if (code === null) throw error;
    if (isJson) terminal.tell(json(asJson(error)));
    else terminal.tell(printable(`waybill: ${describe(error)}`));
    return code;
  }
}

async function runWords(
  words: readonly string[],
  terminal: Terminal,
  tree: CommandTree,
): Promise<number> {
  const isColoured = terminal.outIsTerminal && !terminal.environment("NO_COLOR") &&
    terminal.environment("TERM") !== "dumb";
  const { path, rest } = splitPath(words, tree);
  const wantsHelp = rest.includes("--help") || rest.includes("-h") || rest[0] === "help";
  const command = commandAt(path, tree) ?? defaultAt(path, tree);
  if (wantsHelp || path.length === 0) {
    await terminal.write(`${await helpFor(path, tree, isColoured)}\n`);
    return EXIT_OK;
  }
  if (command === null) {
    const known = tree[path[0]!]!;
    const names = isGroup(known) ? Object.keys(known.commands).join(", ") : "";
    throw new UsageError(`waybill ${path.join(" ")} needs one of: ${names}`);
  }
  const { many = [], takesRest = false } = command;
  const given = readGiven(rest, optionsOf(command), { many, takesRest });
  const output = new Output(terminal, given.flag("json"), isColoured);
  const profiles = await readProfiles(given, terminal);
  const broker = await brokerFor(given, profiles, terminal);
  const api = new BrokerApi(broker, terminal);
  const context = { given, terminal, output, broker, api, profiles };
  return await command.run(context) ?? EXIT_OK;
}

/** The words that name the command, and all others. UsageError for a name that there is not. */
function splitPath(
  words: readonly string[],
  tree: CommandTree,
): { path: string[]; rest: string[] } {
  const path: string[] = [];
  const rest = [...words];
  for (let at = 0; at < rest.length;) {
    const word = rest[at]!;
    if (word === "help" || word === "--") break;
    if (word.startsWith("-")) {
      at += commonLength(rest, at);
      continue;
    }
    const inGroup = path.length === 0 ? null : tree[path[0]!]!;
    const names: Readonly<Record<string, unknown>> = inGroup === null
      ? tree
      : isGroup(inGroup)
      ? inGroup.commands
      : {};
    if (!Object.hasOwn(names, word)) {
      const known = Object.keys(names).join(", ");
      throw new UsageError(
        `there is no command ${[...path, word].join(" ")} (there are: ${known})`,
      );
    }
    path.push(word);
    rest.splice(at, 1);
    if (commandAt(path, tree) !== null) break;
  }
  return { path, rest };
}

/** How many words the option at `at` takes: before the command is known these are the common ones. */
function commonLength(words: readonly string[], at: number): number {
  const word = words[at]!;
  const isCommon = Object.entries(COMMON_OPTIONS).some(([name, option]) =>
    option.type === "string" && (word === `--${name}` || word === `-${option.alias}`)
  );
  if (isCommon) flagsIn(words.slice(at, at + 2), COMMON_OPTIONS);
  return isCommon ? 2 : 1;
}

function defaultAt(path: readonly string[], tree: CommandTree): Command | null {
  const entry = path.length === 1 ? tree[path[0]!]! : null;
  if (entry === null || !isGroup(entry) || entry.byDefault === undefined) return null;
  return entry.commands[entry.byDefault]!;
}

function commandAt(path: readonly string[], tree: CommandTree): Command | null {
  const entry = path.length === 0 ? undefined : tree[path[0]!];
  if (entry === undefined) return null;
  if (!isGroup(entry)) return entry;
  return path.length === 1 ? null : entry.commands[path[1]!] ?? null;
}
