// Owns how figures are shown: a table for people, JSON for machines.
// Refuses to own measuring. Invariant: nothing is rounded in JSON.
import Table from "cli-table3";
import type { Limits } from "./limits.ts";
import type { Latency } from "./quantiles.ts";

/** One line of the result; what does not apply is left out. */
export interface Figure {
  readonly name: string;
  readonly messagesPerSecond?: number;
  readonly megabytesPerSecond?: number;
  readonly latency?: Latency | null;
  readonly ms?: number;
  readonly bytes?: number;
  readonly ratio: { readonly value: number; readonly to: string };
  readonly refused?: number;
}

export interface Machine {
  readonly deno: string;
  readonly cores: number;
  readonly os: string;
}

/** The whole result as lines for a terminal, without colour. */
export function renderTable(machine: Machine, limits: Limits, figures: readonly Figure[]): string {
  const table = new Table({
    head: ["figure", "messages/s", "MB/s", "p50 ms", "p99 ms", "p99.9 ms", "other", "ratio", "to"],
    colAligns: ["left", "right", "right", "right", "right", "right", "right", "right", "left"],
    style: { head: [], border: [], compact: true },
  });
  for (const figure of figures) {
    const { latency } = figure;
    table.push([
      figure.name,
      whole(figure.messagesPerSecond),
      whole(figure.megabytesPerSecond),
      fine(latency?.p50),
      fine(latency?.p99),
      fine(latency?.p999),
      other(figure),
      figure.ratio.value.toFixed(2),
      figure.ratio.to,
    ]);
  }
  return [
    `Deno ${machine.deno}, ${machine.cores} cores, ${machine.os}. Limits of this machine in this run: ` +
    `disk ${whole(limits.diskMegabytesPerSecond)} MB/s in 1 MiB writes with sync, ` +
    `4 KiB write and sync ${fine(limits.syncMs.p50)} ms (p99 ${fine(limits.syncMs.p99)}), ` +
    `loopback ${whole(limits.loopbackMegabytesPerSecond)} MB/s.`,
    table.toString(),
  ].join("\n");
}

function other({ ms, bytes, refused }: Figure): string {
  const parts = [
    ms === undefined ? "" : `${whole(ms)} ms`,
    bytes === undefined ? "" : `${whole(bytes / 1_000_000)} MB`,
    refused ? `${refused} refused` : "",
  ];
  return parts.filter((part) => part !== "").join(", ");
}

function whole(value: number | undefined): string {
  return value === undefined ? "" : Math.round(value).toLocaleString("en-US");
}

function fine(value: number | undefined): string {
  return value === undefined ? "" : value.toFixed(2);
}
