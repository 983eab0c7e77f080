import { runSeed } from "./run_seed.ts";
import { MUTANTS } from "./mutants/mutants.ts";
for (const m of MUTANTS) {
  if (Deno.args[0] && !m.name.includes(Deno.args[0])) continue;
  const t = performance.now();
  let r;
  let s = 1;
  for (; s <= 20; s++) {
    r = await runSeed(s, { mutant: m, tailEvents: Number(Deno.env.get("TAIL") ?? 0) });
    if (r.violations.length) break;
  }
  console.log(m.name, s, (performance.now() - t).toFixed(0) + "ms", r!.violations[0]);
  for (const l of r!.tail) console.log(l);
}
