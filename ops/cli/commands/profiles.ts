// Owns showing the profiles. Refuses to own what stands in them (profiles.ts one level up).
// Invariant: where a credential comes from is shown, and never the credential.
import type { Command } from "../command.ts";

export const profiles: Command = {
  describes: "List the brokers of the profiles file",
  options: {},
  examples: [["", "names, addresses, where credentials come from"]],
  run: async ({ profiles: { path, default: standard, profiles: known }, output, broker }) => {
    const entries = Object.entries(known).map(([name, { url, tokenFile, tokenEnv }]) => ({
      name,
      url,
      credential: tokenFile ?? tokenEnv ?? null,
      default: name === standard,
    }));
    const { token: _, ...used } = broker;
    await output.result({ file: path, profiles: entries, used }, () => [
      output.table(
        ["PROFILE", "URL", "CREDENTIAL IN", "DEFAULT"],
        entries.map((each) => [
          each.name,
          each.url,
          each.credential,
          each.default ? "default" : "",
        ]),
        "there is no profiles file",
      ),
      "",
      `commands go to ${broker.url}, credential: ${broker.credential}`,
    ]);
  },
};
