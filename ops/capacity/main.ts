// Owns the capacity command: options in, a plan out. Refuses to own the plan (plan.ts).
// Invariant: with --json standard output holds one JSON value; exit code 2 for what is not understood.
import { type Figures, figuresOf, MEASURED } from "./figures.ts";
import { CAPACITY_HELP, type CapacityOptions, parseOptions } from "./options.ts";
import { planFor } from "./plan.ts";
import { renderPlan } from "./report.ts";

const EXIT_USAGE = 2;

async function figuresFor({ bench, diskMegabytesPerSecond }: CapacityOptions): Promise<Figures> {
  const figures = bench === null ? MEASURED : figuresOf(JSON.parse(await Deno.readTextFile(bench)));
  return diskMegabytesPerSecond === null ? figures : { ...figures, diskMegabytesPerSecond };
}

async function main(): Promise<number> {
  try {
    const options = parseOptions(Deno.args);
    if (options === "help") {
      console.log(CAPACITY_HELP);
      return 0;
    }
    const plan = planFor(options.demand, await figuresFor(options));
    console.log(options.json ? JSON.stringify(plan, null, 2) : renderPlan(plan));
    return 0;
  } catch (error) {
    console.error(`${(error as Error).message}\n\n${CAPACITY_HELP}`);
    return EXIT_USAGE;
  }
}

Deno.exit(await main());
