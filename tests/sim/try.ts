import { runSeed } from "./run_seed.ts";
const [from, count] = Deno.args.map(Number);
for (let s = from!; s < from! + count!; s++) {
  const t = performance.now();
  const r = await runSeed(s, { tailEvents: Number(Deno.env.get("TAIL") ?? 0) });
  console.log(
    s,
    r.violations.length,
    r.events,
    "starts",
    r.starts,
    (r.virtualMs / 1000).toFixed(1) + "s",
    (performance.now() - t).toFixed(0) + "ms",
    r.traceHash.slice(0, 8),
  );
  if (r.violations.length) {
    for (const l of r.tail) console.log(l);
    console.log(r.violations.join("\n"));
    if (Deno.env.get("STOP")) break;
  }
}
