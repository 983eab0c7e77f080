// Owns how the outcome is shown: a table and a verdict for people, one object for machines.
// Refuses to own judging (proof.ts). Invariant: both show the same figures, and none that was not measured.
import Table from "cli-table3";
import type { Proof } from "./proof.ts";
import { count } from "./screen.ts";
import { type Accidents, seconds } from "./story.ts";

export interface Outcome {
  readonly proof: Proof;
  readonly accidents: Accidents;
  /** Deliveries by member, repeats included. */
  readonly deliveries: Readonly<Record<string, number>>;
  /** Messages that the group has not committed at the end. */
  readonly finalLag: number | null;
  readonly rebalances: number;
  readonly durationMs: number;
}

/** The outcome as one object, for `--json`. */
export function asJson({ proof, accidents, ...rest }: Outcome): string {
  return JSON.stringify({ ...proof, ...accidents, ...rest });
}

/** The outcome as lines for people. */
export function asTable(outcome: Outcome, colour: boolean): string {
  const { proof } = outcome;
  const table = new Table({
    colAligns: ["left", "right", "left"],
    style: { head: [], border: colour ? ["grey"] : [], compact: true },
  });
  for (const row of rowsOf(outcome)) table.push([...row]);
  const verdict = verdictOn(proof);
  const tone = proof.holds ? "32" : "31";
  return [table.toString(), colour ? `\x1b[1;${tone}m${verdict}\x1b[0m` : verdict].join("\n");
}

function verdictOn({ holds, acknowledged, origins, redelivered, faults }: Proof): string {
  if (!holds) return ["NOT PROVED:", ...faults].join("\n  ");
  return `PROVED: all ${
    count(acknowledged)
  } acknowledged flights arrived, none was lost, each of\n` +
    `the ${origins} airports in order; ${count(redelivered)} deliveries were repeats.`;
}

type Row = readonly [what: string, figure: string, meaning: string];

function rowsOf(
  { proof, accidents, deliveries, finalLag, rebalances, durationMs }: Outcome,
): Row[] {
  const { recoveries } = accidents;
  const members = Object.entries(deliveries).map(([name, own]) => `${name} ${count(own)}`);
  const takeover = `its partitions taken over after ${seconds(accidents.takeoverMs)}`;
  const times = recoveries.length === 0 ? "" : "by signal 9, while publishing";
  return [
    [
      "published",
      count(proof.published),
      `${proof.origins} airports, ${seconds(durationMs)} in all`,
    ],
    ["acknowledged", count(proof.acknowledged), "on disk, said the broker"],
    ["distinct consumed", count(proof.consumed), members.join(", ")],
    ["lost", count(proof.lost), "acknowledged and never received"],
    ["out of order", count(proof.outOfOrder), "after a later flight from the same airport"],
    ["altered", count(proof.altered), "not what was published at that offset"],
    ["redelivered", count(proof.redelivered), "same offset again, not committed before"],
    [
      "published twice",
      count(proof.publishedTwice),
      "at two offsets: sent again after a lost answer",
    ],
    [
      "lag at the end",
      finalLag === null ? "?" : count(finalLag),
      "messages not committed by the group",
    ],
    ["rebalances", count(rebalances), ""],
    ["members killed", count(accidents.memberKills), takeover],
    ["broker killed", count(accidents.brokerKills), times],
    ...recoveries.map(({ readyMs, publishingMs, consumingMs, caughtUpMs }, index): Row => [
      recoveries.length === 1 ? "  caught up" : `  caught up ${index + 1}`,
      caughtUpMs === null ? "never" : seconds(caughtUpMs),
      `ready ${seconds(readyMs)}, publishing ${seconds(publishingMs)}, consuming ${
        seconds(consumingMs)
      }`,
    ]),
  ];
}
