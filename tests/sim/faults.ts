// Owns when which fault strikes, and that all of them end.
// Refuses to own what a fault does (machine.ts, timed_disk.ts, support/simulated_disk.ts).
// Invariant: after `heal` nothing more is wrong with the machine, and a broker runs or starts.
import { type DiskOperation, UNLIMITED_BYTES } from "../support/simulated_disk.ts";
import type { FaultKind } from "./plan.ts";
import type { Simulation } from "./simulation.ts";

const DAY_MS = 86_400_000;
const MAX_DOWN_MS = 1_500;
const MAX_FULL_MS = 3_000;
const MAX_METADATA_FAILURE_MS = 2_000;
/** Room that a full disk still has, at most. */
const MAX_LEFT_BYTES = 3_000;

const CRASH_OPERATIONS: readonly DiskOperation[] = [
  "create",
  "write",
  "sync",
  "truncate",
  "remove",
  "rename",
  "makeDirectory",
  "syncDirectory",
];

export class Faults {
  #isHealed = false;

  constructor(private readonly simulation: Simulation) {}

  async run(): Promise<void> {
    const { world } = this.simulation;
    const { faults, faultEveryMs } = world.plan;
    while (world.phase === "faults") {
      await world.sleep(world.between(0, 2 * faultEveryMs));
      if (world.phase === "faults") await this.#strike(world.chance.pick(faults));
    }
  }

  heal(): void {
    const { machine, world } = this.simulation;
    this.#isHealed = true;
    world.note("faults", "all is healed");
    machine.disk.capacityBytes = UNLIMITED_BYTES;
    machine.conditions.crashPoint = null;
    machine.conditions.slowSync = null;
    machine.conditions.failingSyncs = 0;
    machine.metadataFails = false;
  }

  async #strike(kind: FaultKind): Promise<void> {
    const { world, machine } = this.simulation;
    switch (kind) {
      case "kill":
        return machine.kill(this.#downMs());
      case "powerCut":
        return this.#cutPower();
      case "crashPoint":
        return this.#setCrashPoint(world.integer(1, 12));
      case "crashInRecovery":
        this.#cutPower();
        return this.#setCrashPoint(world.integer(1, 40));
      case "restart":
        return await machine.close(this.#downMs());
      case "failedSync":
        world.note("faults", "the next sync fails");
        machine.conditions.failingSyncs++;
        return;
      case "slowSync":
        return await this.#slowSyncs();
      case "diskFull":
        return await this.#fillDisk();
      case "metadataFailure":
        return await this.#failMetadata();
      case "wallJump":
        world.note("faults", "the wall clock jumps");
        return machine.jumpWall(world.chance.pick([-DAY_MS, DAY_MS]));
    }
  }

  #downMs(): number {
    return this.simulation.world.between(0, MAX_DOWN_MS);
  }

  #cutPower(): void {
    const { machine, messages } = this.simulation;
    machine.cutPower(this.#downMs());
    messages.forgetUnsynced();
  }

  #setCrashPoint(countdown: number): void {
    const { world, machine, messages } = this.simulation;
    const operation = world.oneIn(4) ? null : world.chance.pick(CRASH_OPERATIONS);
    const moment = world.chance.pick(["before", "after"] as const);
    const restartAfterMs = this.#downMs();
    const isPowerCut = !world.oneIn(4);
    world.note("faults", `crash ${moment} the ${countdown}. ${operation ?? "operation"}`);
    machine.conditions.crashPoint = {
      operation,
      moment,
      countdown,
      crash: () => {
        if (!isPowerCut) return machine.kill(restartAfterMs);
        machine.cutPower(restartAfterMs);
        messages.forgetUnsynced();
      },
    };
  }

  async #slowSyncs(): Promise<void> {
    const { world, machine } = this.simulation;
    const ms = world.between(1_000, 10_000);
    const path = world.oneIn(2) ? /./ : new RegExp(`/${world.integer(0, 2)}/`);
    world.note("faults", `syncs of ${path} take ${ms.toFixed()} ms`);
    const slow = machine.conditions.slowSync = { path, ms };
    await world.sleep(world.between(0, ms));
    if (machine.conditions.slowSync === slow) machine.conditions.slowSync = null;
  }

  async #failMetadata(): Promise<void> {
    const { world, machine } = this.simulation;
    machine.metadataFails = true;
    world.note("faults", "the metadata store fails");
    await world.sleep(world.between(0, MAX_METADATA_FAILURE_MS));
    machine.metadataFails = false;
    world.note("faults", "the metadata store works again");
  }

  async #fillDisk(): Promise<void> {
    const { world, machine } = this.simulation;
    const used = machine.disk.paths()
      .reduce((sum, path) => sum + machine.disk.contents(path).length, 0);
    machine.disk.capacityBytes = used + world.chance.integer(MAX_LEFT_BYTES);
    world.note("faults", `the disk is full at ${machine.disk.capacityBytes}`);
    await world.sleep(world.between(0, MAX_FULL_MS));
    if (this.#isHealed) return;
    machine.disk.capacityBytes = UNLIMITED_BYTES;
    world.note("faults", "the disk has space again");
  }
}
