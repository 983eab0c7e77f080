// Owns the parts of one simulated run and how they hear of each other.
// Refuses to own what any of them does. Invariant: one machine, one ledger a partition, group and topic.
import { CommitLedger } from "./ledgers/commit_ledger.ts";
import { MessageLedger } from "./ledgers/message_ledger.ts";
import { OwnerLedger } from "./ledgers/owner_ledger.ts";
import { TopicLedger } from "./ledgers/topic_ledger.ts";
import { GROUP_SETTINGS, Machine } from "./machine.ts";
import type { Mutant } from "./mutants/mutant.ts";
import type { GroupLedgers } from "./client_scene.ts";
import { World } from "./world.ts";

/** Disk operations before an append to a journal is durable: a roll and the append before it included. */
const STEPS_OF_AN_APPEND = 10;

/** The topic whose messages are acknowledged as soon as the operating system has them. */
export const WEAK_TOPIC = "weak";

export class Simulation {
  readonly machine: Machine;
  readonly messages: MessageLedger;
  readonly topics: TopicLedger;
  readonly groups: readonly GroupLedgers[];

  constructor(readonly world: World, mutant: Mutant | null) {
    const machine = this.machine = new Machine(world, mutant);
    this.messages = new MessageLedger(world, machine);
    this.topics = new TopicLedger(world);
    const graceMs = Math.max(0, GROUP_SETTINGS.revocationGraceMs - journalMs(world));
    this.groups = Array.from({ length: world.plan.groups }, (_, number) => {
      const group = `g${number}`;
      return {
        group,
        commits: new CommitLedger(world, group),
        owners: new OwnerLedger(world, group, graceMs),
      };
    });
    machine.onEnded(() => {
      for (const { owners } of this.groups) owners.allGone();
    });
    machine.conditions.onSyncFailed = () => this.messages.forgetUnsynced();
    machine.onStarted(() => {
      this.topics.settle(machine.broker!);
      this.topics.check(machine.broker!);
    });
    this.topics.onDelete(({ topicId, name }) => {
      for (const { commits, owners } of this.groups) {
        commits.topicMayBeDeleted(topicId);
        owners.topicMayBeDeleted(name);
      }
    });
  }

  /** Names of the topics of a run; those that exist come and go. */
  get topicNames(): readonly string[] {
    const { plan } = this.world;
    const names = Array.from({ length: plan.topics + 1 }, (_, number) => `t${number}`);
    return plan.weakTopic ? [...names, WEAK_TOPIC] : names;
  }
}

/** The grace of a revocation runs from its decision; the member hears of it when the journal has it. */
function journalMs({ plan }: World): number {
  if (plan.faults.includes("slowSync")) return Infinity;
  return STEPS_OF_AN_APPEND * (plan.maxDiskMs + plan.maxSyncMs);
}
