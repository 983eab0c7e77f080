// Owns rule 10: for any replica that believes it leads, all below its high watermark is the same on all members of its
// in-sync set, and the same as any leader ever said was committed there.
// Refuses to own what clients see (../ledgers/). Invariant: after each step it has looked at everything that has changed.
import { readHeader } from "../../../storage/format/record_batch.ts";
import type { SimulatedCluster } from "./cluster.ts";
import type { NodeMachine, NodeProcess } from "./node_machine.ts";

/** What a replica that believes it leads holds to be so. */
export interface Leadership {
  readonly topicId: string;
  readonly partition: number;
  readonly leaderEpoch: number;
  readonly highWatermark: number;
  /** Those that count for its high watermark, itself included. */
  readonly inSync: readonly string[];
}

export interface LeadingProcess extends NodeProcess {
  /** With `seen`, those that may be other ones than when they were asked for with it before are enough. */
  leaderships(seen?: Map<object, unknown>): Iterable<Leadership>;
}

/** One committed batch: what tells it from any other at its place. */
interface Mark {
  readonly baseOffset: number;
  readonly endOffset: number;
  readonly text: string;
}

interface Committed {
  readonly marks: Mark[];
  startOffset: number;
  endOffset: number;
}

export class ReplicaWatch {
  readonly #committed = new Map<string, Committed>();
  /** By machine and partition: it has been found to hold all that is committed below. */
  readonly #verified = new Map<string, number>();
  /** By machine and partition: its disk was lost, and nobody may hold that against it until it has caught up once. */
  readonly #forgiven = new Set<string>();
  /** By process, what it was seen to hold. */
  readonly #seen = new Map<LeadingProcess, Map<object, unknown>>();
  /** Which process led in an epoch, by partition and epoch: a leader that starts anew must have raised it. */
  readonly #leaders = new Map<string, string>();

  constructor(private readonly cluster: SimulatedCluster<LeadingProcess>) {
    for (const machine of cluster.machines) {
      machine.logs.onCut = (name, offset) => this.#cut(machine, name, offset);
      machine.logs.onWiped = () => this.#wiped(machine);
    }
  }

  /** To be called after every step. */
  check(): void {
    for (const machine of this.cluster.machines) {
      if (machine.process === null) continue;
      const { process } = machine;
      let seen = this.#seen.get(process);
      if (seen === undefined) this.#seen.set(process, seen = new Map());
      for (const leadership of process.leaderships(seen)) this.#checkOne(machine, leadership);
    }
  }

  /** End of what was ever committed, by `topicId/partition`. */
  committedEnd(topicId: string, partition: number): number {
    return this.#committed.get(`${topicId}/${partition}`)?.endOffset ?? 0;
  }

  #checkOne(machine: NodeMachine<LeadingProcess>, leadership: Leadership): void {
    const { topicId, partition, highWatermark, inSync } = leadership;
    const key = `${topicId}/${partition}`;
    this.#checkEpoch(`process ${machine.starts} of ${machine.nodeId}`, key, leadership.leaderEpoch);
    let committed = this.#committed.get(key);
    if (committed === undefined) {
      committed = { marks: [], startOffset: 0, endOffset: 0 };
      this.#committed.set(key, committed);
    }
    if (highWatermark > committed.endOffset) this.#commit(machine, key, committed, highWatermark);
    for (const nodeId of inSync) {
      this.#verify(nodeId, key, { committed, highWatermark, leadership });
    }
  }

  #checkEpoch(who: string, key: string, leaderEpoch: number): void {
    const at = `${key} ${leaderEpoch}`;
    const known = this.#leaders.get(at);
    if (known === who) return;
    if (known !== undefined) {
      this.#broken(`${known} and ${who} both lead ${key} in epoch ${leaderEpoch}`);
    }
    this.#leaders.set(at, who);
  }

  /** The leader says that all below `highWatermark` is committed: from now on it is. */
  #commit(
    machine: NodeMachine,
    key: string,
    committed: Committed,
    highWatermark: number,
  ): void {
    const found = marksOf(machine, key, committed.endOffset);
    if (found.startOffset > committed.endOffset) {
      // Everything older was dropped before any leader said that it is committed: nothing to hold on to.
      committed.marks.length = 0;
      committed.startOffset = committed.endOffset = found.startOffset;
    }
    for (const mark of found.marks) {
      if (mark.endOffset > highWatermark) break;
      committed.marks.push(mark);
      committed.endOffset = mark.endOffset;
    }
    if (committed.endOffset < highWatermark) {
      this.#broken(
        `rule 10: ${machine.nodeId} leads ${key}, says that ${highWatermark} is committed, and ` +
          `has all up to ${committed.endOffset}`,
      );
      committed.endOffset = highWatermark;
    }
  }

  #verify(
    nodeId: string,
    key: string,
    against: { committed: Committed; highWatermark: number; leadership: Leadership },
  ): void {
    const { committed, highWatermark } = against;
    const at = `${nodeId} ${key}`;
    const verified = this.#verified.get(at) ?? 0;
    if (verified >= highWatermark) return;
    const machine = this.cluster.machine(nodeId);
    const { marks, startOffset, flushedOffset } = marksOf(machine, key, verified);
    if (this.#forgiven.has(at) && flushedOffset < highWatermark) return;
    this.#forgiven.delete(at);
    this.#verified.set(at, highWatermark);
    const difference = flushedOffset < highWatermark
      ? `has synced ${flushedOffset} of it`
      : differenceOf(marks, committed, {
        from: Math.max(verified, startOffset),
        to: highWatermark,
      });
    if (difference === null) return;
    const { leaderEpoch, inSync } = against.leadership;
    this.#broken(
      `rule 10: ${key} is committed up to ${highWatermark} by its leader in epoch ` +
        `${leaderEpoch} with ${inSync} in sync, but ${nodeId} ${difference}`,
    );
  }

  /** A log is less than it was: everything is looked at again. */
  #cut(machine: NodeMachine, name: string, offset: number): void {
    this.#seen.clear();
    const at = `${machine.nodeId} ${keyOf(name)}`;
    const verified = this.#verified.get(at);
    if (verified !== undefined && verified > offset) this.#verified.set(at, offset);
  }

  #wiped(machine: NodeMachine): void {
    this.#seen.clear();
    for (const key of this.#committed.keys()) {
      const at = `${machine.nodeId} ${key}`;
      this.#verified.delete(at);
      this.#forgiven.add(at);
    }
  }

  #broken(what: string): void {
    this.cluster.world.violation(what);
  }
}

/** `topicId/partition` of a log's name. */
function keyOf(name: string): string {
  return name.split("/").slice(-2).join("/");
}

/** What a machine's log holds from `from` on. */
function marksOf(machine: NodeMachine, key: string, from: number) {
  const stored = machine.logs.stored(`topics/${key}`);
  if (stored === null) return { marks: [] as Mark[], startOffset: 0, flushedOffset: 0 };
  const { batches, flushedOffset } = stored;
  const { startOffset, endOffset } = batches;
  if (from > endOffset) return { marks: [] as Mark[], startOffset, flushedOffset };
  const everything = { endOffset: Infinity, maxBytes: Infinity };
  const marks = batches.select(Math.max(from, startOffset), everything).map((entry): Mark => ({
    baseOffset: entry.baseOffset,
    endOffset: entry.endOffset,
    text: `${entry.baseOffset}-${entry.endOffset} of epoch ${entry.leaderEpoch} crc ${
      readHeader(entry.bytes, 0).crc
    }`,
  }));
  return { marks, startOffset, flushedOffset };
}

/** Null when `marks` are what is committed in the range. */
function differenceOf(
  marks: readonly Mark[],
  committed: Committed,
  { from, to }: { from: number; to: number },
): string | null {
  const inRange = (each: readonly Mark[]) =>
    each.filter((mark) => mark.endOffset > from && mark.baseOffset < to);
  const expected = inRange(committed.marks);
  const found = inRange(marks);
  for (const [index, mark] of expected.entries()) {
    const other = found[index];
    if (other?.text !== mark.text) return `holds ${other?.text ?? "nothing"} for ${mark.text}`;
  }
  return null;
}
