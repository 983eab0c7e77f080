// Owns the rules of the house: what may import what, and where the outside world may be touched.
import assert from "node:assert/strict";
import { walkSources } from "./support/sources.ts";

const LAYERS = ["storage", "actors", "api", "ops", "main.ts"] as const;
type Layer = (typeof LAYERS)[number];

/** Layers each layer may import from, itself apart. */
const MAY_IMPORT: Record<Layer, readonly Layer[]> = {
  storage: [],
  actors: ["storage"],
  api: ["actors", "storage"],
  ops: ["actors", "api", "storage"],
  "main.ts": ["storage", "actors", "api", "ops"],
};

/** Of storage, these may be imported from above: port types, errors and formats, never IO. */
const STORAGE_SURFACE = /^storage\/(?:[a-z_]+\.ts|format\/[a-z0-9_]+\.ts)$/;

/** What drills, benchmarks, the demo and the CLI may know of a broker: its public API. */
const OPS_OUTSIDERS = /^ops\/(?:bench|demo|cli|drills)\//;

const OUTSIDE_WORLD: readonly [string, RegExp][] = [
  ["Date.now", /\bDate\.now\b/],
  ["new Date()", /\bnew Date\(\)/],
  ["Math.random", /\bMath\.random\b/],
  ["crypto.randomUUID", /\bcrypto\.(?:randomUUID|getRandomValues)\b/],
  ["raw timers", /\b(?:setTimeout|setInterval)\s*\(/],
  ["performance.now", /\bperformance\.now\b/],
  ["Deno.*", /\bDeno\.[a-zA-Z]/],
  ["node:fs", /from "node:(?:fs|net|child_process)/],
];

const sources = walkSources();

function layerOf(path: string): Layer | null {
  return LAYERS.find((layer) => path === layer || path.startsWith(`${layer}/`)) ?? null;
}

/** Paths of our own files that `path` imports, types included. */
function importsOf(path: string, text: string): string[] {
  const specifiers = [...text.matchAll(/(?:from|import)\s*\(?\s*"(\.{1,2}\/[^"]+)"/g)]
    .map((match) => match[1]!);
  return specifiers.filter((specifier) => /\.tsx?$/.test(specifier)).map((specifier) =>
    new URL(specifier, `file:///${path}`).pathname.replace(/^\//, "")
  );
}

function code(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\//g, "").replace(/(^|[^:"'`])\/\/.*$/gm, "$1");
}

Deno.test("imports point down the layers only", () => {
  const wrong: string[] = [];
  for (const [path, text] of sources) {
    const layer = layerOf(path);
    if (layer === null) continue;
    for (const target of importsOf(path, text)) {
      const to = layerOf(target);
      if (to === null) wrong.push(`${path} imports ${target}, which is in no layer`);
      else if (to !== layer && !MAY_IMPORT[layer].includes(to)) {
        wrong.push(`${path} imports ${target}`);
      }
    }
  }
  assert.deepEqual(wrong, []);
});

Deno.test("actors and api know storage by its ports and formats only", () => {
  const wrong: string[] = [];
  for (const [path, text] of sources) {
    const layer = layerOf(path);
    if (layer !== "actors" && layer !== "api") continue;
    for (const target of importsOf(path, text)) {
      if (layerOf(target) === "storage" && !STORAGE_SURFACE.test(target)) {
        wrong.push(`${path} imports ${target}`);
      }
    }
  }
  assert.deepEqual(wrong, []);
});

Deno.test("benchmarks, demo and command line speak to a broker through the client SDK only", () => {
  const wrong: string[] = [];
  for (const [path, text] of sources) {
    if (!OPS_OUTSIDERS.test(path)) continue;
    for (const target of importsOf(path, text)) {
      const allowed = target.startsWith("ops/") || target.startsWith("storage/format/") ||
        target === "api/client.ts";
      if (!allowed) wrong.push(`${path} imports ${target}`);
    }
  }
  assert.deepEqual(wrong, []);
});

Deno.test("modules import each other without circles", () => {
  const graph = new Map<string, string[]>();
  for (const [path, text] of sources) {
    const withoutTypes = text.replace(/(?:import|export) type [\s\S]*?from "[^"]+";/g, "");
    graph.set(path, importsOf(path, withoutTypes));
  }
  const done = new Set<string>();
  const visit = (path: string, trail: readonly string[]): void => {
    if (trail.includes(path)) assert.fail(`circle: ${[...trail, path].join(" -> ")}`);
    if (done.has(path)) return;
    for (const target of graph.get(path) ?? []) visit(target, [...trail, path]);
    done.add(path);
  };
  for (const path of graph.keys()) visit(path, []);
});

Deno.test("actors and the pure parts of storage touch time, chance and disk through ports only", () => {
  const wrong: string[] = [];
  for (const [path, text] of sources) {
    const pure = path.startsWith("actors/") || STORAGE_SURFACE.test(path) ||
      path.startsWith("storage/memory/");
    if (!pure) continue;
    for (const [name, pattern] of OUTSIDE_WORLD) {
      if (pattern.test(code(text))) wrong.push(`${path} uses ${name}`);
    }
  }
  assert.deepEqual(wrong, []);
});

Deno.test("every source file opens by saying what it owns", () => {
  const silent = [...sources].filter(([, text]) => !/^(?:#!.*\n)?\/\/ \S/.test(text))
    .map(([path]) => path);
  assert.deepEqual(silent, []);
});

Deno.test("only the house's own folders stand at the top level", () => {
  const top = new Set([...sources.keys()].map((path) => path.split("/")[0]));
  for (const name of top) {
    assert.ok(
      ["storage", "actors", "api", "ops", "main.ts"].includes(name!),
      `${name} stands there`,
    );
  }
});
