// Owns reading the repository's own sources for tests about the sources.
const ROOT = new URL("../../", import.meta.url);
const SKIPPED = new Set(["tests", "node_modules", "data", "coverage"]);

/** Text by path relative to the repository, of every TypeScript file outside `tests/`. */
export function walkSources(): Map<string, string> {
  const found = new Map<string, string>();
  const walk = (directory: string): void => {
    for (const entry of Deno.readDirSync(new URL(directory, ROOT))) {
      if (entry.name.startsWith(".") || (directory === "" && SKIPPED.has(entry.name))) continue;
      const path = `${directory}${entry.name}`;
      if (entry.isDirectory) walk(`${path}/`);
      else if (/\.tsx?$/.test(path)) found.set(path, Deno.readTextFileSync(new URL(path, ROOT)));
    }
  };
  walk("");
  return found;
}
