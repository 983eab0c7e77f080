// Owns writing the chain: entries in groups, their head in the metadata store, and taking it up again after a failure.
// Refuses to own what is written (audit_log.ts) and the chain's rules (chain.ts).
// Invariant: one writer an epoch; an entry is durable in the log, then its head in the store, before whoever asked for it
// is answered. Where the chain stands is found out anew in each epoch: another broker may have led in between.
import { BrokerError } from "../../storage/broker_error.ts";
import type { MetadataStore } from "../../storage/metadata.ts";
import type { Clock, Crc32c } from "../../storage/ports.ts";
import { GroupCommit } from "../runtime/group_commit.ts";
import { keptNothing } from "../runtime/journal.ts";
import { auditBatch } from "./audit_batch.ts";
import { type AuditDraft, boundedDetail, canonicalJson, chained } from "./chain.ts";
import { brokenNote, unknownOutcome } from "./drafts.ts";
import { type KeptHead, KeptHeads, NO_HEAD } from "./kept_head.ts";
import { type OpenIntent, resumeChain } from "./resume.ts";
import type { AuditEntry } from "./types.ts";
import type { AuditPartition } from "./walk.ts";

/** Entries that may wait; more are refused with OVERLOADED. */
const MAX_WAITING = 10_000;
const MAX_WAITING_BYTES = 16 * 1_048_576;
/** Entries and bytes of one batch. */
const MAX_BATCH = 500;
const MAX_BATCH_BYTES = 1_048_576;
/** What an entry takes beside its details. */
const ENTRY_BYTES = 700;

/** Told as they are: they say by themselves that nothing was done, and what would help. */
const PASSED_ON: ReadonlySet<string> = new Set([
  "OVERLOADED",
  "SHUTTING_DOWN",
  "DISK_FULL",
  "NOT_LEADER",
]);

export interface ChainWriterPorts {
  readonly metadata: MetadataStore;
  readonly clock: Clock;
  readonly crc32c: Crc32c;
  /** Throws where it is not open. */
  partition(): AuditPartition;
  /**
   * How long an intent that was found in the log stays open, since whoever waits for its outcome may be at another broker.
   * Left out: it is of a process that has ended.
   */
  readonly orphanMs?: number;
  report(event: { level: "warning" | "error"; message: string; error?: unknown }): void;
}

export class ChainWriter {
  readonly kept: KeptHeads;
  /** Null asks for nothing but to know where the chain stands. */
  readonly #writes: GroupCommit<AuditDraft | null, AuditEntry | null>;
  #head: KeptHead = NO_HEAD;
  /** By sequence, oldest first. */
  #open = new Map<number, OpenIntent>();
  /** Outcomes that could not be written yet, by intent. */
  readonly #late = new Map<number, AuditDraft>();
  /** Until when intents stay open of which it is not known whether anybody waits; by sequence, monotonic ms. */
  readonly #orphans = new Map<number, number>();
  /** What the log says of itself, with the next entry. */
  #notes: AuditDraft[] = [];
  /** The log may hold entries that are not known here. */
  #stale = true;
  /** Leader epoch in which it was found out where the chain stands. */
  #knownInEpoch = -1;

  constructor(private readonly ports: ChainWriterPorts) {
    this.kept = new KeptHeads(ports.metadata);
    this.#writes = new GroupCommit<AuditDraft | null, AuditEntry | null>({
      name: "audit",
      maxWaiting: MAX_WAITING,
      maxWaitingBytes: MAX_WAITING_BYTES,
      maxDrain: MAX_BATCH,
      maxDrainBytes: MAX_BATCH_BYTES,
      run: (drafts) => this.#run(drafts),
    });
  }

  get head(): KeptHead {
    return this.#head;
  }

  /** Where the chain stands is not known just now. */
  get isStale(): boolean {
    return this.#stale;
  }

  /** Intents without an outcome, by sequence. */
  get open(): ReadonlyMap<number, OpenIntent> {
    return this.#open;
  }

  /** Takes the chain up where it ended. Rejects where the log cannot be used now: the next entry tries again. */
  async start(): Promise<void> {
    await this.#run([]);
  }

  /** Resolves when it is known which intents are open now: entries may have been written elsewhere. Errors of `write`. */
  async catchUp(): Promise<void> {
    await this.#submit(null, 0);
  }

  /** Resolves when the entry is durable. AUDIT_UNAVAILABLE with its cause, and what is passed on. */
  async write(draft: AuditDraft): Promise<AuditEntry> {
    const { facts } = draft;
    const [before, after] = [boundedDetail(facts.before), boundedDetail(facts.after)];
    const bytes = ENTRY_BYTES + canonicalJson([before, after, facts.reason]).length;
    return (await this.#submit({ ...draft, facts: { ...facts, before, after } }, bytes))!;
  }

  async #submit(draft: AuditDraft | null, bytes: number): Promise<AuditEntry | null> {
    try {
      return await this.#writes.submit(draft, bytes);
    } catch (error) {
      if (error instanceof BrokerError && this.#isPassedOn(error)) throw error;
      const message = "the audit log cannot be written just now";
      throw new BrokerError("AUDIT_UNAVAILABLE", message, {}, { cause: error });
    }
  }

  /** In a cluster another broker leads, or will. */
  #isPassedOn({ code }: BrokerError): boolean {
    const isInCluster = this.ports.orphanMs !== undefined;
    return PASSED_ON.has(code) || isInCluster && code === "LEADER_NOT_AVAILABLE";
  }

  /** Writes an outcome with the next entry, unless it was found in the log meanwhile. */
  writeLater(outcome: AuditDraft & { readonly intent: number }): void {
    if (this.#open.has(outcome.intent)) this.#late.set(outcome.intent, outcome);
  }

  /** Refuses new entries (SHUTTING_DOWN); resolves when those before are written. */
  async close(): Promise<void> {
    await this.#writes.finish(new BrokerError("SHUTTING_DOWN", "the broker is shutting down"));
  }

  async #run(asked: readonly (AuditDraft | null)[]): Promise<(AuditEntry | null)[]> {
    const wanted = asked.filter((draft) => draft !== null);
    const partition = this.ports.partition();
    // Before all that was acknowledged can be read the log would seem to end too early.
    if (partition.leads === false) throw partition.refusal!();
    const { leaderEpoch } = partition.info();
    if (this.#stale || leaderEpoch !== this.#knownInEpoch) await this.#resume(leaderEpoch);
    this.#endOrphans();
    // An outcome may have been taken over from the log since it was asked for.
    for (const intent of this.#late.keys()) {
      if (!this.#open.has(intent)) this.#late.delete(intent);
    }
    const notes = this.#notes;
    const late = [...this.#late.values()].slice(0, MAX_BATCH);
    const drafts = [...notes, ...late, ...wanted];
    if (drafts.length === 0) return asked.map(() => null);
    const entries = await this.#append(drafts);
    for (const { intent } of late) this.#late.delete(intent!);
    this.#notes = [];
    if (this.#late.size > 0) this.#writes.wake();
    let next = notes.length + late.length;
    return asked.map((draft) => draft === null ? null : entries[next++]!);
  }

  /** Nobody has said for long how these ended. */
  #endOrphans(): void {
    const now = this.ports.clock.monotonic();
    for (const [sequence, dueMs] of this.#orphans) {
      const open = this.#open.get(sequence);
      if (open !== undefined && now < dueMs) continue;
      this.#orphans.delete(sequence);
      if (open !== undefined) this.#late.set(sequence, unknownOutcome(open.entry));
    }
  }

  async #append(drafts: readonly AuditDraft[]): Promise<AuditEntry[]> {
    const { clock, crc32c } = this.ports;
    const partition = this.ports.partition();
    const leaderEpoch = this.#knownInEpoch;
    const stamp = { at: clock.now(), leaderEpoch };
    const entries: AuditEntry[] = [];
    for (const draft of drafts) entries.push(chained(entries.at(-1) ?? this.#head, draft, stamp));
    try {
      const batch = auditBatch(entries, crc32c);
      const { baseOffsets } = await partition.append([batch], { acks: "all", leaderEpoch });
      await this.#advance(entries, baseOffsets[0]!);
    } catch (error) {
      this.#stale ||= !keptNothing(error);
      throw error;
    }
    return entries;
  }

  async #advance(entries: readonly AuditEntry[], baseOffset: number): Promise<void> {
    const open = new Map(this.#open);
    for (const [index, entry] of entries.entries()) {
      if (entry.outcome === "intended") {
        open.set(entry.sequence, { entry, offset: baseOffset + index });
      } else if (entry.intent !== null) open.delete(entry.intent);
    }
    const { sequence, hash } = entries.at(-1)!;
    const offset = baseOffset + entries.length - 1;
    const [oldest] = open.values();
    const head = { sequence, hash, offset, openFrom: oldest?.offset ?? offset };
    try {
      await this.kept.moveHead(head);
    } catch (error) {
      // The entries are in the log, and will be found there.
      this.#stale = true;
      throw error;
    }
    this.#head = head;
    this.#open = open;
  }

  /** Finds where the chain stands. Intents of nobody who is still waiting have an unknown outcome. */
  async #resume(leaderEpoch: number): Promise<void> {
    const { crc32c, report } = this.ports;
    const kept = await this.kept.loadHead();
    const { head, open, broken } = await resumeChain(this.ports.partition(), kept, { crc32c });
    // Else each entry that is refused because the store is away would leave one more in the log.
    if (head.sequence > kept.sequence) await this.kept.moveHead(head);
    const { orphanMs, clock } = this.ports;
    for (const [sequence, { entry }] of open) {
      if (this.#open.has(sequence)) continue;
      if (orphanMs === undefined) this.#late.set(sequence, unknownOutcome(entry));
      else this.#orphans.set(sequence, clock.monotonic() + orphanMs);
    }
    this.#head = head;
    this.#open = new Map(open);
    this.#stale = false;
    this.#knownInEpoch = leaderEpoch;
    if (broken === null) return;
    report({ level: "error", message: `the audit log was altered: ${broken}` });
    this.#notes = [brokenNote(head, broken)];
  }
}
