// Owns reading the handbook: its pages, their headings, tables, links, commands and routes.
// Refuses to own what has to be in them. Invariant: text is taken as it stands; what cannot be read is a fault, never left out.
import { COMMANDS } from "../../ops/cli/commands.ts";
import { isGroup, optionsOf } from "../../ops/cli/command.ts";
import { readGiven } from "../../ops/cli/given.ts";
import { parseOptions } from "../../ops/drills/options.ts";
import config from "../../deno.json" with { type: "json" };

export const HANDBOOK = new URL("../../ops/handbook/", import.meta.url);

export interface Page {
  /** Within the handbook. */
  readonly path: string;
  readonly text: string;
}

/** Every page, in the order of their paths. */
export async function pagesOfHandbook(folder = ""): Promise<Page[]> {
  const pages: Page[] = [];
  for await (const { name, isDirectory } of Deno.readDir(new URL(folder, HANDBOOK))) {
    const path = `${folder}${name}`;
    if (isDirectory) pages.push(...await pagesOfHandbook(`${path}/`));
    else pages.push({ path, text: await Deno.readTextFile(new URL(path, HANDBOOK)) });
  }
  return pages.sort((a, b) => a.path < b.path ? -1 : 1);
}

/** Headings of the second level. */
export function headingsOf(text: string): string[] {
  return [...text.matchAll(/^## (.+)$/gm)].map(([, heading]) => heading!);
}

/** Anchors of all headings, as GitHub makes them. */
export function anchorsOf(text: string): string[] {
  return [...text.matchAll(/^#+ (.+)$/gm)].map(([, heading]) =>
    heading!.toLowerCase().replace(/[^\p{L}\p{N} _-]/gu, "").replaceAll(" ", "-")
  );
}

/** Rows of the first table below a heading of the second level (null: before any), without its head. */
export function tableUnder(text: string, heading: string | null): string[][] {
  const from = heading === null ? 0 : text.indexOf(`\n## ${heading}\n`) + 1;
  if (heading !== null && from === 0) throw new Error(`there is no heading ${heading}`);
  const next = text.indexOf("\n## ", from + 1);
  const lines = text.slice(from, next < 0 ? undefined : next).split("\n")
    .filter((line) => line.startsWith("|"));
  return lines.slice(2).map((line) => line.slice(1, -1).split("|").map((cell) => cell.trim()));
}

export function linksOf({ text }: Page): string[] {
  return [...withoutCode(text).matchAll(/\]\(([^)\s]+)\)/g)].map(([, link]) => link!);
}

function withoutCode(text: string): string {
  return text.replace(/^ *```[\s\S]*?^ *```$/gm, "").replace(/`[^`\n]*`/g, "");
}

/** Code, in blocks and between backticks; continued lines as one. */
function codeLines({ text }: Page): string[] {
  const blocks = [...text.matchAll(/^ *```sh\n([\s\S]*?)^ *```$/gm)].map(([, code]) => code!);
  const spans = [...text.replace(/^ *```[\s\S]*?^ *```$/gm, "").matchAll(/`([^`]+)`/g)]
    .map(([, code]) => code!.replace(/\s+/g, " "));
  const lines = blocks.join("\n").replace(/\\\n\s*/g, " ").split("\n").map((line) => line.trim());
  return [...lines, ...spans];
}

/** Command lines of `deno task`, without what they are piped into. */
export function commandLines(page: Page): string[] {
  return codeLines(page).filter((line) => line.startsWith("deno task "));
}

/** Words as a shell makes them; what follows `|`, `>` or a remark is left out. */
export function wordsOf(line: string): string[] {
  const words: string[] = [];
  for (const [word] of line.matchAll(/(?:"[^"]*"|'[^']*'|[^\s"'])+/g)) {
    if (word === "|" || word === ">" || word === "#") break;
    words.push(word.replace(/["']/g, ""));
  }
  return words;
}

/** Why `line` cannot be run as it stands; null: it can. */
export function commandFault(line: string): string | null {
  const [, , task, ...words] = wordsOf(line);
  if (task === undefined || !Object.hasOwn(config.tasks, task)) return `there is no task ${task}`;
  if (task === "drill") return drillFault(words);
  return task === "waybill" ? waybillFault(words) : null;
}

function drillFault(words: readonly string[]): string | null {
  if (words[0] === "NAME") return null;
  try {
    parseOptions(words);
    return null;
  } catch (error) {
    return (error as Error).message;
  }
}

function waybillFault(words: readonly string[]): string | null {
  // Spoken of in general: `deno task waybill …`.
  if (words[0] === "…") return null;
  const first = Object.hasOwn(COMMANDS, words[0] ?? "") ? COMMANDS[words[0]!]! : null;
  if (first === null) return `there is no command ${words[0]}`;
  const inGroup = isGroup(first);
  const isKnown = !inGroup || Object.hasOwn(first.commands, words[1] ?? "");
  if (!isKnown) return `there is no command ${words[0]} ${words[1]}`;
  const command = inGroup ? first.commands[words[1]!]! : first;
  const { many = [], takesRest = false } = command;
  try {
    readGiven(words.slice(inGroup ? 2 : 1), optionsOf(command), { many, takesRest });
    return null;
  } catch (error) {
    return (error as Error).message;
  }
}

export interface NamedRoute {
  /** In small letters; null: not said. */
  readonly method: string | null;
  readonly path: string;
}

const METHODS = "GET|POST|PUT|PATCH|DELETE";

/** Routes that curl asks for, and that are named between backticks. */
export function routesNamed(page: Page): NamedRoute[] {
  return codeLines(page).flatMap((line) => {
    const isCurl = line.startsWith("curl ");
    const pattern = isCurl
      ? /\$WAYBILLCTL_URL(\/[^\s"?]*)/g
      : new RegExp(`^(?:(?:${METHODS}) )?(/api/[^\\s?]*|/readyz|/livez|/metrics\\S*)$`, "g");
    return [...line.matchAll(pattern)].map(([whole, path]) => {
      const said = isCurl
        ? /-X (\w+)/.exec(line)?.[1] ?? "GET"
        : new RegExp(`^(?:${METHODS})`).exec(whole)?.[0];
      return { method: said?.toLowerCase() ?? null, path: path! };
    });
  });
}
