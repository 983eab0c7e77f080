// Owns the benchmark command: limits first, then the figures, as a table or as JSON.
// Refuses to own what is measured (cases.ts). Invariant: progress goes to standard error, results to standard output.
import { parseArgs } from "node:util";
import { BENCH_GROUPS, FULL_PLAN, SHORT_PLAN } from "./cases.ts";
import { measureLimits } from "./limits.ts";
import { type Figure, renderTable } from "./report.ts";

const HELP = `deno task bench [--full] [--json] [--only ${
  BENCH_GROUPS.map(({ name }) => name).join(",")
}] [--dir DIRECTORY]`;

const { values: options } = parseArgs({
  args: Deno.args,
  options: {
    full: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
    only: { type: "string" },
    dir: { type: "string", default: "." },
    help: { type: "boolean", default: false },
  },
});

if (options.help) console.log(HELP);
else await bench();

async function bench(): Promise<void> {
  const only = options.only?.split(",");
  const unknown = only?.find((name) => !BENCH_GROUPS.some((group) => group.name === name));
  if (unknown !== undefined) {
    console.error(`there is no group ${unknown}: ${HELP}`);
    Deno.exit(2);
  }
  const root = await Deno.makeTempDir({ dir: options.dir, prefix: "waybill-bench-" });
  const figures: Figure[] = [];
  try {
    say("measuring the limits of this machine");
    const limits = await measureLimits(root);
    const context = {
      plan: options.full ? FULL_PLAN : SHORT_PLAN,
      limits,
      newDirectory: () => Deno.makeTempDir({ dir: root }),
      onStep: say,
      onFigure: (figure: Figure) => void figures.push(figure),
    };
    for (const group of BENCH_GROUPS) {
      const isAsked = only?.includes(group.name) ?? (options.full || !group.isLong);
      if (isAsked) await group.run(context);
    }
    const machine = {
      deno: Deno.version.deno,
      cores: navigator.hardwareConcurrency,
      os: `${Deno.build.os} ${Deno.osRelease()}`,
    };
    console.log(
      options.json
        ? JSON.stringify({ machine, limits, figures })
        : renderTable(machine, limits, figures),
    );
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

function say(step: string): void {
  console.error(`bench: ${step}`);
}
