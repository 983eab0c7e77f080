// Owns the command that tells whether a broker is well. Refuses to own the checks (checks.ts).
// Invariant: exit code 1 when a check fails, 3 when no broker answers.
import { examine } from "../checks.ts";
import type { Command } from "../command.ts";
import { EXIT_FAILED, EXIT_OK } from "../failures.ts";
import { count } from "../output.ts";

export const doctor: Command = {
  describes:
    "Look whether a broker is well: reachable, ready, clock, TLS, credential, disk, groups",
  options: {},
  examples: [["", "every check, a line each"], ["--profile prod --json", "for a script"]],
  run: async ({ api, terminal, broker, output }) => {
    const { credential } = broker;
    const results = await examine({ api, now: () => terminal.now(), credential });
    const failed = results.filter(({ status }) => status === "fail").length;
    const warned = results.filter(({ status }) => status === "warn").length;
    await output.result({ broker: broker.url, ok: failed === 0, checks: results }, () => [
      output.table(
        ["CHECK", "STATUS", "WHAT"],
        results.map(({ check, status, detail }) => [check, status, detail]),
      ),
      "",
      failed + warned === 0 ? "it is well" : `${count(failed)} failed, ${count(warned)} to look at`,
    ]);
    return failed === 0 ? EXIT_OK : EXIT_FAILED;
  },
};
