// Owns how a plan looks to people. Refuses to own planning. Invariant: nothing is shown that the plan does not say.
import Table from "cli-table3";
import type { Plan } from "./plan.ts";

/** The plan as lines for a terminal, without colour. */
export function renderPlan(plan: Plan): string {
  const { demand, perBroker, brokersBy, bound } = plan;
  const table = new Table({
    head: ["", "all", "each broker", "from"],
    colAligns: ["left", "right", "right", "left"],
    style: { head: [], border: [], compact: true },
  });
  const mbs = (value: number) => `${count(value)} MB/s`;
  const asks = (name: "event loop" | "disk" | "network") =>
    `${fine(brokersBy[name])} brokers${name === bound ? ", the bound" : ""}`;
  table.push(
    ["brokers", plan.brokers, "", `bound by the ${bound}`],
    ["messages/s", count(demand.rate), count(perBroker.messagesPerSecond), ""],
    ["event loop", "", `${count(perBroker.eventLoopShare * 100)} %`, asks("event loop")],
    [
      "disk writes",
      mbs(perBroker.diskMegabytesPerSecond * plan.brokers),
      mbs(perBroker.diskMegabytesPerSecond),
      asks("disk"),
    ],
    [
      "network in",
      mbs(perBroker.networkInMegabytesPerSecond * plan.brokers),
      mbs(perBroker.networkInMegabytesPerSecond),
      asks("network"),
    ],
    [
      "network out",
      mbs(perBroker.networkOutMegabytesPerSecond * plan.brokers),
      mbs(perBroker.networkOutMegabytesPerSecond),
      "",
    ],
    ["partitions", count(plan.partitions), count(perBroker.partitionReplicas), "copies counted"],
    [
      "members of a group",
      count(plan.members),
      "",
      demand.groups === 1 ? "1 group" : `${demand.groups} groups`,
    ],
    ["connections", "", count(perBroker.connections), "at most"],
    ["memory, process", "", bytes(perBroker.memoryBytes), "at most, by its bounds"],
    ["memory, page cache", "", bytes(perBroker.pageCacheBytes), "the last minute"],
    [
      "disk",
      bytes(perBroker.diskBytes * plan.brokers),
      bytes(perBroker.diskBytes),
      `${bytes(plan.keptBytes)} kept for ${fine(demand.retentionHours)} h, ${
        demand.diskFill * 100
      } % full`,
    ],
    ["file descriptors", "", count(perBroker.fileDescriptors), "ulimit -n, at least"],
  );
  const how =
    `${count(demand.rate)} messages/s of ${count(demand.bytes)} bytes, ${demand.replicas} ` +
    `copies, published as ${demand.publish}, read as ${demand.consume}, at ${
      demand.utilisation * 100
    } % of what was measured (${plan.source})`;
  return [how, table.toString(), ...plan.cautions.map((caution) => `- ${caution}`)].join("\n");
}

function count(value: number): string {
  return (value < 10 ? Math.round(value * 10) / 10 : Math.round(value)).toLocaleString("en-US");
}

function fine(value: number): string {
  return value.toLocaleString("en-US", { maximumSignificantDigits: 3 });
}

function bytes(value: number): string {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let [size, unit] = [value, 0];
  for (; size >= 1_000 && unit < units.length - 1; unit++) size /= 1_000;
  return `${fine(size)} ${units[unit]}`;
}
