// Owns the help texts: usage, options and examples of a command, commands of a group, and of all.
// Refuses to own the commands. Invariant: what stands in an example is a command that exists.
import { renderUsage } from "citty";
import {
  type Command,
  type CommandGroup,
  type CommandTree,
  definitionOf,
  definitionsOf,
  isGroup,
} from "./command.ts";

const ABOUT = `What holds for all commands
  Broker      --url, --profile, WAYBILLCTL_PROFILE, WAYBILLCTL_URL, the profiles file's default,
              else http://127.0.0.1:8080 (the first of these that is there)
  Credential  --token-file; of a profile its tokenFile or tokenEnv; else WAYBILLCTL_TOKEN or
              WAYBILLCTL_TOKEN_FILE
  Profiles    $XDG_CONFIG_HOME/waybill/profiles.yaml, else ~/.config/waybill/profiles.yaml
  Offsets     12345, earliest, latest, @<ms>, @2026-11-22T08:00:00Z, @15m (15 minutes ago); in a
              reset +n and -n too
  Exit codes  0 done, 1 refused or not well, 2 not understood, 3 no broker answers`;

/** Help for the command, group or program that `words` lead to. */
export async function helpFor(
  words: readonly string[],
  tree: CommandTree,
  isColoured: boolean,
): Promise<string> {
  const entry = words.length === 0 ? null : entryAt(words, tree);
  const text = entry === null ? await programHelp(tree) : await entryHelp(words, entry);
  const whole = text.split("\n").map((line) => line.trimEnd()).join("\n");
  // deno-lint-ignore no-control-regex -- the library colours by the environment, not by where it writes
  return isColoured ? whole : whole.replace(/\x1b\[\d+m/g, "");
}

function entryAt(words: readonly string[], tree: CommandTree): Command | CommandGroup {
  const first = tree[words[0]!]!;
  return words.length > 1 && isGroup(first) ? first.commands[words[1]!]! : first;
}

async function programHelp(tree: CommandTree): Promise<string> {
  const usage = await renderUsage({
    meta: { name: "waybill", description: "Works with Waybill brokers" },
    subCommands: definitionsOf(tree),
  });
  return `${usage}\n\n${ABOUT}`;
}

async function entryHelp(
  words: readonly string[],
  entry: Command | CommandGroup,
): Promise<string> {
  const name = `waybill ${words.join(" ")}`;
  const usage = await renderUsage(definitionOf(name, entry));
  if (isGroup(entry)) return usage;
  const examples = entry.examples.map(([line, what]) =>
    `  ${name} ${line}`.trimEnd() + `\n      ${what}`
  );
  return `${usage.trimEnd()}\n\nEXAMPLES\n\n${examples.join("\n")}`;
}
