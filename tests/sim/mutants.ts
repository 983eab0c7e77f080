// Owns brokers that are known to be bad: each breaks one promise by wrapping one port, and must be caught.
// Refuses to change production code. Invariant: but for its one fault, a mutant is the broker itself.
import type { Broker } from "../../actors/broker.ts";
import type { LogStore } from "../../storage/log.ts";
import type { Clock, Disk } from "../../storage/ports.ts";
import type { SnapshotStore } from "../../storage/snapshots.ts";
import type { Incarnation } from "./incarnation.ts";
import type { Machine } from "./machine.ts";
import type { Plan } from "./plan.ts";
import type { World } from "./world.ts";

export interface Mutant {
  readonly name: string;
  /** Which promise it breaks. */
  readonly fault: string;
  readonly machine?: (machine: Machine) => void;
  readonly disk?: (disk: Disk) => Disk;
  readonly clock?: (life: Incarnation, world: World) => Clock;
  readonly logs?: (logs: LogStore, machine: Machine) => LogStore;
  readonly snapshots?: (snapshots: SnapshotStore) => SnapshotStore;
  readonly broker?: (broker: Broker) => Broker;
  readonly onPowerCut?: (machine: Machine) => void;
  readonly plan?: (plan: Plan) => Plan;
}

export const MUTANTS: readonly Mutant[] = [
  {
    name: "sync-does-nothing",
    fault: "an append is acknowledged before it is synced",
    machine: ({ disk }) => disk.syncing = false,
  },
];
