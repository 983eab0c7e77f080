// Owns the vocabulary of runbooks: what one is, what an execution of it is, how a step is carried out, the port for the edges.
// Refuses to own any decision (decide.ts), carrying out (runner.ts), and what any runbook does (ops/runbooks/).
// Invariant: an execution is plain data, and ends once: verified, partial or aborted.
import type { AlertRunbooks, RunbookMode } from "../threshold/types.ts";

export type { RunbookMode };

export const TARGET_KINDS = Object.freeze(
  ["group", "topic", "partition", "tenant", "broker", "none"] as const,
);
export type TargetKind = (typeof TARGET_KINDS)[number];

/** What is repaired. `name` is the group, the topic, `topic/partition`, the tenant, the node's id; empty for none. */
export interface RunbookTarget {
  readonly type: TargetKind;
  readonly name: string;
}

/**
 * check: looks, changes nothing, and ends the execution where there is nothing to repair. action: changes something.
 * approval: waits for somebody. verify: looks again and again whether it has helped.
 */
export type StepKind = "check" | "action" | "approval" | "verify";

export interface StepDefinition {
  readonly name: string;
  readonly title: string;
  readonly kind: StepKind;
  /** Of one attempt to get through it, all its repetitions together. */
  readonly timeoutMs: number;
  /** What takes it back, in words; left out: nothing does. */
  readonly undo?: string;
}

/** Something that an operator may say when a runbook is started. */
export interface ParameterDefinition {
  readonly name: string;
  readonly describes: string;
  readonly required: boolean;
}

/** What a runbook is, as plain data. */
export interface RunbookDefinition {
  readonly name: string;
  readonly title: string;
  readonly describes: string;
  readonly targetKinds: readonly TargetKind[];
  readonly parameters: readonly ParameterDefinition[];
  readonly steps: readonly StepDefinition[];
  /** An alert starts it again for the same target only so long after it has ended. */
  readonly cooldownMs: number;
  /** What it is to keep; null: nothing was promised. */
  readonly targets: { readonly rtoMs: number | null; readonly rpoMs: number | null };
  /** False: declared with its steps, and cannot be executed: this broker is alone, or what they do is not built yet. */
  readonly available: boolean;
}

export type ExecutionState = "running" | "waiting" | "verified" | "partial" | "aborted";
export type StepState =
  | "pending"
  | "running"
  | "waiting"
  | "done"
  | "skipped"
  | "failed"
  | "undone";

export interface StepError {
  readonly code: string;
  readonly detail: string;
}

export interface ExecutionStep {
  readonly name: string;
  readonly title: string;
  readonly kind: StepKind;
  readonly state: StepState;
  /** Wall times, ms. */
  readonly startedAt: number | null;
  readonly endedAt: number | null;
  /** What it found or did, in words; while it waits, what for. */
  readonly detail: string | null;
  readonly error?: StepError;
  /** Of an approval, and of the first action in mode approve. */
  readonly approvedBy?: string;
  /** What taking it back did, in words. */
  readonly undone?: string;
}

/** How far back the recovered state lies before the fault, and how many messages cannot be had again. */
export interface RecoveryPoint {
  readonly ms: number;
  readonly messages: number;
}

/** What steps found and later ones need: plain data, bounded (MAX_FACTS_BYTES). */
export type Facts = Readonly<Record<string, unknown>>;

export interface Execution {
  readonly executionId: string;
  /** Of the runbook. */
  readonly name: string;
  readonly target: RunbookTarget;
  readonly mode: RunbookMode;
  readonly state: ExecutionState;
  readonly alertId: string | null;
  readonly startedAt: number;
  readonly endedAt: number | null;
  readonly steps: readonly ExecutionStep[];
  readonly parameters: Readonly<Record<string, string>>;
  readonly facts: Facts;
  /** What nobody else repairs meanwhile: `type:name`. */
  readonly holds: readonly string[];
  /** Since when the fault was there, by the alert; else when the execution was started. Wall time, ms. */
  readonly faultAt: number;
  /** From then until a step saw users served again, else until it was verified; null before, and where it never was. */
  readonly rtoMs: number | null;
  /** Null where no step could tell. */
  readonly rpo: RecoveryPoint | null;
  readonly targets: RunbookDefinition["targets"];
  /** How it ended, in words: `verified`, `partial: manual intervention required: …`, `partial: observed, …`, `aborted: …`. */
  readonly outcome: string | null;
  readonly reason: string;
  /** Principal who started it; `system:alerts` for an alert. */
  readonly by: string;
  /** Who approved that anything is changed, in mode approve. */
  readonly approvedBy: string | null;
}

export interface ExecutionRequest {
  readonly name: string;
  readonly target: RunbookTarget;
  readonly mode: RunbookMode;
  readonly reason: string;
  readonly by: string;
  readonly parameters?: Readonly<Record<string, string>>;
}

export interface ExecutionOrder {
  readonly executionId: string;
  readonly principal: string;
  readonly reason: string | null;
}

export interface ApprovalOrder extends ExecutionOrder {
  /** Name of the step that is approved: one that waits meanwhile is not. Left out: whichever waits. */
  readonly step?: string | undefined;
}

export interface ExecutionFilter {
  readonly name?: string | undefined;
  readonly state?: ExecutionState | undefined;
  /** Name of a target, or `type:name`. */
  readonly target?: string | undefined;
  readonly alertId?: string | undefined;
}

/** What a step is given. */
export interface StepContext {
  readonly executionId: string;
  readonly target: RunbookTarget;
  readonly mode: RunbookMode;
  readonly parameters: Readonly<Record<string, string>>;
  readonly facts: Facts;
  readonly faultAt: number;
  readonly startedAt: number;
  /** When this step began; wall time, ms. */
  readonly stepStartedAt: number;
  /** In whose name it is done: `runbook:<name>`. */
  readonly principal: string;
  /** Why, for histories: names the runbook and its execution. */
  readonly reason: string;
  /** Aborted when the step's time is over or the execution is aborted. */
  readonly signal: AbortSignal;
}

/**
 * What a step came to. `done`: on to the next. `again`: not yet, asked again until its time is over. `nothing`: there is
 * nothing to repair, the execution is aborted. `manual`: only somebody can go on, the execution ends partial.
 */
export interface StepResult {
  readonly outcome: "done" | "again" | "nothing" | "manual";
  /** In words, bounded (MAX_DETAIL_CHARS). */
  readonly detail: string;
  /** Added to the execution's. */
  readonly facts?: Facts;
  /** Further things that nobody else may repair meanwhile: `type:name`. */
  readonly holds?: readonly string[];
  readonly rpo?: RecoveryPoint;
  /** Users are served again as of now: the time to recovery ends here, whatever is still to be done. */
  readonly served?: true;
}

/**
 * How a step is carried out. After a crash, and after a retryable error, a step is carried out once more from its start,
 * so what was done already must not be done twice. Of an approval, `run` says whether it is given by itself in mode auto.
 */
export interface StepWork {
  run(context: StepContext): Promise<StepResult>;
  /** Of an approval that waits: what for, in words; looked at again and again meanwhile, and changes nothing. */
  awaits?(context: StepContext): Promise<string>;
  /** What it would do, where it is not to do it (mode observe), or not yet. */
  plan?(context: StepContext): Promise<string>;
  /** Takes back what it did, all or a part; in words. */
  undo?(context: StepContext): Promise<string>;
}

/** A runbook with what carries its steps out, by their names. */
export interface Runbook {
  readonly definition: RunbookDefinition;
  /** It changes nothing of its target's but what its parameters ask for: others may repair it meanwhile. */
  readonly onlyLooks?: boolean;
  /** Before an execution begins: rejects with a BrokerError what no execution of it could be for. */
  check?(request: Pick<ExecutionRequest, "target" | "parameters">): Promise<void>;
  readonly work: Readonly<Record<string, StepWork>>;
}

/**
 * Runbooks of a broker. Rejections are BrokerErrors: those named here, NOT_FOUND (runbook or execution), ACTOR_DOWN,
 * OVERLOADED, DISK_FULL, STORAGE_FAILED, SHUTTING_DOWN.
 */
export interface Runbooks extends AlertRunbooks {
  /** In the order in which they were handed in. */
  definitions(): readonly RunbookDefinition[];
  /**
   * Starts one; resolves when that is durable. INVALID_REQUEST (target or parameters), UNKNOWN_GROUP, UNKNOWN_TOPIC,
   * UNKNOWN_PARTITION, NOT_FOUND (no such target), INTERNAL_TOPIC, FORBIDDEN (not the runbook's to change), RUNBOOK_BUSY
   * (the target is being repaired; details name the execution), INVALID_EXECUTION_STATE (the runbook is declared only).
   */
  execute(request: ExecutionRequest): Promise<Execution>;
  execution(executionId: string): Promise<Execution>;
  /** Newest first. */
  executions(filter?: ExecutionFilter): Promise<readonly Execution[]>;
  /** Lets one that waits go on. INVALID_EXECUTION_STATE when it does not wait, or for another step than the one named. */
  approve(order: ApprovalOrder): Promise<Execution>;
  /** Stops it, and takes back what can be. INVALID_EXECUTION_STATE when it has ended. */
  abort(order: ExecutionOrder): Promise<Execution>;
  /** Ends one that has changed nothing and waits for approval; any other is left as it is. NOT_FOUND. */
  withdraw(executionId: string, why: string): Promise<Execution>;
  /** Calls back with each execution that has changed, until the returned function is called. */
  onChanged(listener: (execution: Execution) => void): () => void;
  /** What can be executed from now on; executions under way that waited for it go on. */
  use(runbooks: readonly Runbook[]): void;
}

/** Bounds. */
export const MAX_FACTS_BYTES = 65_536;
export const MAX_DETAIL_CHARS = 2_000;
export const MAX_STEPS = 20;
/** Executions that have not ended; more are refused. */
export const MAX_OPEN_EXECUTIONS = 64;
/** Of these, what alerts may have: the others are left to people. Those for the broker itself, one a runbook, do not count. */
export const MAX_OPEN_BY_ALERTS = 32;
/** Of these again, of one runbook, and for what belongs to one tenant. */
export const MAX_OPEN_BY_ALERTS_OF_RUNBOOK = 16;
export const MAX_OPEN_BY_ALERTS_OF_TENANT = 8;
/** Executions that have ended and are still shown. */
export const MAX_ENDED_EXECUTIONS = 500;
