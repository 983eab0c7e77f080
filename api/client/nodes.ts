// Owns reading which brokers an answer names: of the cluster, and of a topic.
// Refuses to own what is done with it. Invariant: what is not as it should be is left out, and nothing is thrown.
import type { LearnedBroker } from "./brokers.ts";

/** Node ids in the description of a topic: who leads, and who holds the same. */
export function nodesIn(description: unknown): Set<string> {
  const { partitions } = (description ?? {}) as { partitions?: unknown };
  const nodes = new Set<string>();
  for (const partition of Array.isArray(partitions) ? partitions : []) {
    const { leader, isr } = (partition ?? {}) as { leader?: unknown; isr?: unknown };
    const named = [leader, ...(Array.isArray(isr) ? isr : [])];
    for (const node of named) if (typeof node === "string") nodes.add(node);
  }
  return nodes;
}

/** Brokers in the description of a cluster. */
export function brokersIn(answer: unknown): LearnedBroker[] {
  const { brokers } = (answer ?? {}) as { brokers?: unknown };
  if (!Array.isArray(brokers)) return [];
  return brokers.filter((broker): broker is LearnedBroker => {
    const { nodeId, host, port } = (broker ?? {}) as Partial<Record<keyof LearnedBroker, unknown>>;
    return typeof nodeId === "string" && (host === null || typeof host === "string") &&
      (port === null || Number.isInteger(port));
  });
}
