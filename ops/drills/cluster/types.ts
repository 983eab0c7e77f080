// Owns the vocabulary of cluster drills: what one is, and how it may be run.
// Refuses to own reports (../types.ts) and how a drill goes (scenarios/).
// Invariant: a drill is plain data but for `run`.
import type { DrillStory, Findings } from "../types.ts";
import type { ClusterScene } from "./cluster_scene.ts";

export interface ClusterDrill extends DrillStory {
  /** It shows that the checker can fail: it passes when acknowledged messages are lost, and told of. */
  readonly isControl?: boolean;
  readonly run: (scene: ClusterScene) => Promise<Findings>;
}

/** How a drill is run. */
export interface ClusterRunOptions {
  /** "leader": acknowledged before replication, which the checker has to notice. */
  readonly acks: "all" | "leader";
  /** How often the drill of killed brokers kills one. */
  readonly kills: number;
  /** Messages a second that are published meanwhile. */
  readonly perSecond: number;
}
