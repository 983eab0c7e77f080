// Owns the audit log of this broker: chaining entries, writing them in groups, its head in the metadata store.
// Refuses to own the chain's rules (chain.ts), finding entries (query.ts), and what is audited (the edges).
// Invariant: one writer; an entry is durable in the log, then its head in the store, before whoever asked for it is answered.
import { BrokerError } from "../../storage/broker_error.ts";
import type { MetadataStore } from "../../storage/metadata.ts";
import type { Cancel, Clock, Crc32c, Timers } from "../../storage/ports.ts";
import { GroupCommit } from "../runtime/group_commit.ts";
import { keptNothing } from "../runtime/journal.ts";
import { auditBatch } from "./audit_batch.ts";
import { type AuditDraft, boundedDetail, canonicalJson, chained } from "./chain.ts";
import { type KeptHead, KeptHeads, NO_HEAD } from "./kept_head.ts";
import { queryAudit } from "./query.ts";
import { REFUSAL_WINDOW_MS, RefusalCounts } from "./refusals.ts";
import { type OpenIntent, resumeChain } from "./resume.ts";
import { dropOldEntries } from "./retention.ts";
import type {
  AuditEntry,
  AuditFacts,
  AuditHead,
  AuditLog,
  AuditPage,
  AuditQuery,
  AuditRefusal,
  AuditResult,
  AuditVerification,
} from "./types.ts";
import { verifyAudit } from "./verify.ts";
import type { AuditPartition } from "./walk.ts";

/** The internal topic that holds the log. */
export const AUDIT_TOPIC = "__audit";
/** Who writes what the audit log says of itself. */
const AUDITOR = "system:audit";
/** Entries that may wait; more are refused with OVERLOADED. */
const MAX_WAITING = 10_000;
const MAX_WAITING_BYTES = 16 * 1_048_576;
/** Entries and bytes of one batch. */
const MAX_BATCH = 500;
const MAX_BATCH_BYTES = 1_048_576;
/** Intents without outcome. */
const MAX_OPEN = 10_000;
/** What an entry takes beside its details. */
const ENTRY_BYTES = 700;
/** Verifying starts over when old entries are let go under it. */
const MAX_VERIFY_RETRIES = 3;

export interface AuditLogPorts {
  readonly metadata: MetadataStore;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly crc32c: Crc32c;
  /** Throws where it is not open. */
  partition(): AuditPartition;
  report(event: { level: "warning" | "error"; message: string; error?: unknown }): void;
}

export class LocalAuditLog implements AuditLog {
  readonly #ports: AuditLogPorts;
  readonly #kept: KeptHeads;
  readonly #writes: GroupCommit<AuditDraft, AuditEntry>;
  readonly #refusals = new RefusalCounts();
  #cancelRefusals: Cancel | null = null;
  #head: KeptHead = NO_HEAD;
  /** By sequence, oldest first. */
  #open = new Map<number, OpenIntent>();
  /** Outcomes that could not be written yet, by intent. */
  readonly #late = new Map<number, AuditDraft>();
  /** What the log says of itself, with the next entry. */
  #notes: AuditDraft[] = [];
  /** The log may hold entries that are not known here. */
  #stale = true;
  #verifying: Promise<unknown> = Promise.resolve();

  private constructor(ports: AuditLogPorts) {
    this.#ports = ports;
    this.#kept = new KeptHeads(ports.metadata);
    this.#writes = new GroupCommit<AuditDraft, AuditEntry>({
      name: "audit",
      maxWaiting: MAX_WAITING,
      maxWaitingBytes: MAX_WAITING_BYTES,
      maxDrain: MAX_BATCH,
      maxDrainBytes: MAX_BATCH_BYTES,
      run: (drafts) => this.#run(drafts),
    });
  }

  /** Takes the chain up where it ended. Where the log cannot be used now, it does so with the first entry. */
  static async open(ports: AuditLogPorts): Promise<LocalAuditLog> {
    const log = new LocalAuditLog(ports);
    try {
      await log.#run([]);
    } catch (error) {
      const message = "the audit log cannot be written: what is audited will be refused";
      ports.report({ level: "error", message, error });
    }
    return log;
  }

  async intend(facts: AuditFacts): Promise<number> {
    if (this.#open.size >= MAX_OPEN) {
      throw new BrokerError("OVERLOADED", `${MAX_OPEN} audited requests are under way`);
    }
    const draft = { facts, outcome: "intended" as const, code: null, intent: null };
    return (await this.#submit(draft)).sequence;
  }

  async conclude(intent: number, result: AuditResult): Promise<AuditHead> {
    const open = this.#open.get(intent);
    if (open === undefined) throw new Error(`there is no intent ${intent} without an outcome`);
    const draft = outcomeOf(open.entry, result);
    try {
      return headOf(await this.#submit(draft));
    } catch (error) {
      // Unless it was taken over from the log meanwhile.
      if (this.#open.has(intent)) this.#late.set(intent, draft);
      throw error;
    }
  }

  async record(
    facts: AuditFacts,
    result: { outcome: "success" | "failure"; code?: string } = { outcome: "success" },
  ): Promise<AuditHead> {
    const { outcome, code = null } = result;
    return headOf(await this.#submit({ facts, outcome, code, intent: null }));
  }

  refused(refusal: AuditRefusal): void {
    const { clock, timers } = this.#ports;
    const facts = this.#refusals.note(refusal, clock.now());
    if (facts !== null) this.#recordRefused(facts, refusal.code);
    this.#cancelRefusals ??= timers.after(REFUSAL_WINDOW_MS, () => this.#writeRefusals());
  }

  head(): AuditHead {
    return headOf(this.#head);
  }

  query(query: AuditQuery): Promise<AuditPage> {
    return queryAudit(this.#ports.partition(), query, this.#ports.crc32c);
  }

  /** One at a time: each reads the whole log. */
  verify(expected?: AuditHead): Promise<AuditVerification> {
    const verified = this.#verifying.then(() => this.#verify(expected));
    this.#verifying = verified.catch(() => undefined);
    return verified;
  }

  /** Lets go of whole segments of entries older than `windowMs`, after noting where the chain then begins. */
  async applyRetention(now: number, windowMs: number): Promise<void> {
    if (this.#stale) return;
    await dropOldEntries(this.#ports.partition(), {
      now,
      windowMs,
      kept: this.#kept,
      crc32c: this.#ports.crc32c,
      record: (after, action) => this.record({ ...OWN_FACTS, action, after }),
    });
  }

  /** Writes what was counted, refuses new entries (SHUTTING_DOWN), resolves when those before are written. */
  async close(): Promise<void> {
    this.#cancelRefusals?.();
    this.#writeRefusals();
    await this.#writes.finish(new BrokerError("SHUTTING_DOWN", "the broker is shutting down"));
  }

  async #submit(draft: AuditDraft): Promise<AuditEntry> {
    const { facts } = draft;
    const [before, after] = [boundedDetail(facts.before), boundedDetail(facts.after)];
    const bytes = ENTRY_BYTES + canonicalJson([before, after, facts.reason]).length;
    try {
      return await this.#writes.submit({ ...draft, facts: { ...facts, before, after } }, bytes);
    } catch (error) {
      if (error instanceof BrokerError && PASSED_ON.has(error.code)) throw error;
      const message = "the audit log cannot be written just now";
      throw new BrokerError("AUDIT_UNAVAILABLE", message, {}, { cause: error });
    }
  }

  async #run(asked: readonly AuditDraft[]): Promise<AuditEntry[]> {
    if (this.#stale) await this.#resume();
    // An outcome may have been taken over from the log since it was asked for.
    for (const intent of this.#late.keys()) {
      if (!this.#open.has(intent)) this.#late.delete(intent);
    }
    const notes = this.#notes;
    const late = [...this.#late.values()].slice(0, MAX_BATCH);
    const drafts = [...notes, ...late, ...asked];
    if (drafts.length === 0) return [];
    const entries = await this.#append(drafts);
    for (const { intent } of late) this.#late.delete(intent!);
    this.#notes = [];
    if (this.#late.size > 0) this.#writes.wake();
    return entries.slice(notes.length + late.length);
  }

  async #append(drafts: readonly AuditDraft[]): Promise<AuditEntry[]> {
    const { clock, crc32c } = this.#ports;
    const partition = this.#ports.partition();
    const stamp = { at: clock.now(), leaderEpoch: partition.info().leaderEpoch };
    const entries: AuditEntry[] = [];
    for (const draft of drafts) entries.push(chained(entries.at(-1) ?? this.#head, draft, stamp));
    const { leaderEpoch } = stamp;
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
      await this.#kept.moveHead(head);
    } catch (error) {
      // The entries are in the log, and will be found there.
      this.#stale = true;
      throw error;
    }
    this.#head = head;
    this.#open = open;
  }

  /** Finds where the chain stands. Intents of nobody who is still waiting have an unknown outcome. */
  async #resume(): Promise<void> {
    const { crc32c, report } = this.#ports;
    const kept = await this.#kept.loadHead();
    const { head, open, broken } = await resumeChain(this.#ports.partition(), kept, { crc32c });
    // Else each entry that is refused because the store is away would leave one more in the log.
    if (head.sequence > kept.sequence) await this.#kept.moveHead(head);
    for (const [sequence, { entry }] of open) {
      if (!this.#open.has(sequence)) this.#late.set(sequence, unknownOutcome(entry));
    }
    this.#head = head;
    this.#open = new Map(open);
    this.#stale = false;
    if (broken === null) return;
    report({ level: "error", message: `the audit log was altered: ${broken}` });
    this.#notes = [brokenNote(head, broken)];
  }

  async #verify(expected?: AuditHead): Promise<AuditVerification> {
    const { crc32c } = this.#ports;
    for (let tries = 0;; tries++) {
      try {
        const kept = await this.#kept.peekHead();
        const head = this.#stale || kept.sequence > this.#head.sequence ? kept : this.#head;
        const anchor = await this.#kept.loadAnchor();
        const pinned = [kept, ...expected === undefined ? [] : [expected]];
        return await verifyAudit(this.#ports.partition(), { anchor, head, pinned, crc32c });
      } catch (error) {
        const isDropped = error instanceof BrokerError && error.code === "OFFSET_OUT_OF_RANGE";
        if (!isDropped || tries >= MAX_VERIFY_RETRIES) throw error;
      }
    }
  }

  #writeRefusals(): void {
    this.#cancelRefusals = null;
    for (const { facts, code } of this.#refusals.take()) this.#recordRefused(facts, code);
  }

  #recordRefused(facts: AuditFacts, code: string): void {
    this.record(facts, { outcome: "failure", code }).catch((error) => {
      const message = `${facts.action} could not be audited`;
      this.#ports.report({ level: "warning", message, error });
    });
  }
}

/** Told as they are: they say by themselves that nothing was done, and what would help. */
const PASSED_ON: ReadonlySet<string> = new Set(["OVERLOADED", "SHUTTING_DOWN", "DISK_FULL"]);

const OWN_FACTS: AuditFacts = Object.freeze({
  actor: AUDITOR,
  tenant: null,
  remoteAddress: "local",
  action: "",
  resource: Object.freeze({ type: "audit", name: AUDIT_TOPIC }),
  before: null,
  after: null,
  reason: null,
  requestId: null,
});

function headOf({ sequence, hash }: AuditHead): AuditHead {
  return { sequence, hash };
}

function outcomeOf(intended: AuditEntry, result: AuditResult): AuditDraft {
  const { outcome, code = null } = result;
  const facts = {
    ...intended,
    action: result.action ?? intended.action,
    resource: result.resource === undefined ? intended.resource : result.resource,
    before: result.before === undefined ? intended.before : result.before,
    after: result.after === undefined ? intended.after : result.after,
  };
  return { facts, outcome, code, intent: intended.sequence };
}

function unknownOutcome(intended: AuditEntry): AuditDraft {
  return { facts: intended, outcome: "unknown", code: null, intent: intended.sequence };
}

function brokenNote({ sequence, hash }: AuditHead, reason: string): AuditDraft {
  const facts = { ...OWN_FACTS, action: "audit.broken", after: { sequence, hash }, reason };
  return { facts, outcome: "failure", code: "CORRUPT_LOG", intent: null };
}
