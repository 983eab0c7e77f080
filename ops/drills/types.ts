// Owns the vocabulary of drills: what one is, what it finds, what its report says.
// Refuses to own how a drill goes (scenarios/) and when it passes (verdict.ts).
// Invariant: a report is plain data, and holds nothing that was not measured or observed.
import type { Scene } from "./scene.ts";

export interface RecoveryTargets {
  /** From the fault until what it broke works again, ms. */
  readonly rtoMs: number;
  /** How far before the fault the recovered state may lie, ms. */
  readonly rpoMs: number;
}

/** What a drill says of itself. */
export interface DrillStory {
  readonly name: string;
  readonly title: string;
  /** What is injected, and how. */
  readonly injects: string;
  /** What repairs it. */
  readonly repair: string;
  /** What `--repairs off` switches off, so that the drill fails. */
  readonly control: string;
  readonly targets: RecoveryTargets;
}

export interface Drill extends DrillStory {
  readonly run: (scene: Scene) => Promise<Findings>;
}

/** Something that has to hold at the end. */
export interface Check {
  readonly what: string;
  readonly isMet: boolean;
  /** The figures that it was judged by, in words. */
  readonly found: string;
}

export interface MessageCounts {
  readonly acknowledged: number;
  /** Acknowledged, and afterwards not readable. */
  readonly lost: number;
  /** Readable, and not handled by the group that was to: dead letters, say, or what was passed over. */
  readonly unhandled: number;
  /** Stored more often than sent. */
  readonly duplicated: number;
  /** Handed to consumers again: at-least-once delivery allows it. */
  readonly redelivered: number;
}

export interface Findings {
  readonly messages: MessageCounts;
  /** Null: it did not recover while the drill waited. */
  readonly rtoMs: number | null;
  readonly rpo: { readonly ms: number; readonly messages: number };
  readonly checks: readonly Check[];
  /** What else was measured, units last in the names. */
  readonly measured: Readonly<Record<string, number>>;
}

export type TimelineKind = "step" | "fault" | "alert" | "runbook" | "repair" | "recovered";

export interface TimelineEntry {
  /** Since the drill began. */
  readonly atMs: number;
  readonly kind: TimelineKind;
  readonly text: string;
}

/** An alert as the broker told it in the end; times are the broker's wall clock. */
export interface AlertSeen {
  readonly alertId: string;
  readonly name: string;
  readonly severity: string;
  readonly state: string;
  readonly resource: string;
  readonly limit: number;
  readonly worst: number;
  readonly since: number;
  readonly firedAt: number | null;
  readonly resolvedAt: number | null;
  readonly executionId: string | null;
}

/** An execution of a runbook as the broker told it in the end. */
export interface ExecutionSeen {
  readonly executionId: string;
  readonly name: string;
  readonly target: string;
  readonly mode: string;
  readonly state: string;
  readonly by: string;
  readonly startedAt: number;
  readonly endedAt: number | null;
  readonly rtoMs: number | null;
  readonly rpo: { readonly ms: number; readonly messages: number } | null;
  readonly outcome: string | null;
  readonly steps: readonly {
    readonly name: string;
    readonly state: string;
    readonly detail: string | null;
  }[];
}

export interface DrillReport {
  readonly drill: string;
  /** That makes such a report again. */
  readonly command: string;
  readonly title: string;
  readonly injects: string;
  readonly repair: string;
  readonly control: string;
  readonly repairs: "on" | "off";
  /** RFC 3339. */
  readonly startedAt: string;
  readonly durationMs: number;
  readonly passed: boolean;
  /** Why it failed; empty when it passed. */
  readonly failures: readonly string[];
  readonly messages: MessageCounts;
  readonly recovery: {
    readonly rtoMs: number | null;
    readonly rtoTargetMs: number;
    readonly rpoMs: number;
    readonly rpoMessages: number;
    readonly rpoTargetMs: number;
  };
  readonly checks: readonly Check[];
  readonly measured: Readonly<Record<string, number>>;
  readonly alerts: readonly AlertSeen[];
  readonly executions: readonly ExecutionSeen[];
  readonly timeline: readonly TimelineEntry[];
  readonly machine: {
    readonly cores: number;
    readonly os: string;
    readonly deno: string;
    readonly version: string;
  };
}
