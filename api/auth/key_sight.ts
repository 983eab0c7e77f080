// Owns who is told the keys of messages in what the broker says of itself: whoever may read the topic, nobody else.
// Refuses to own finding hot keys (ops/measurement/, ops/runbooks/). Pure.
// Invariant: of a topic that one may not read, no alert, overview or execution holds a key.
import type { Execution } from "../../actors/runbook/types.ts";
import type { Alert } from "../../actors/threshold/types.ts";
import type { Access } from "./access.ts";
import type { Authorizer } from "./authorizer.ts";

/** Whether keys of the topic may be told. */
export type KeySight = (topic: string) => boolean;

/** The threshold and the runbook that name keys. */
const HOT_PARTITION = "hot-partition";
/** As the runbook says it; a key may hold anything. */
const NAMED_KEY = /\bkey .*(?= has \d+% of the bytes)/s;

/** What `access` may be told. */
export function keySight(authorizer: Pick<Authorizer, "allows">, access: Access): KeySight {
  return (topic) => authorizer.allows(access, "read", "topic", topic);
}

/** The alert, without the key where it may not be told. */
export function seenAlert(alert: Alert, mayRead: KeySight): Alert {
  const { name, resource: { labels }, detail } = alert;
  if (name !== HOT_PARTITION || detail === null || mayRead(labels.topic ?? "")) return alert;
  return { ...alert, detail: null };
}

/** The execution, without the key where it may not be told. */
export function seenExecution(execution: Execution, mayRead: KeySight): Execution {
  const { name, target, steps, facts, outcome } = execution;
  if (name !== HOT_PARTITION) return execution;
  if (mayRead(target.name.slice(0, target.name.lastIndexOf("/")))) return execution;
  const { key: _, advice: _advice, ...rest } = facts;
  return {
    ...execution,
    facts: rest,
    outcome: outcome && withoutKey(outcome),
    steps: steps.map((step) => ({ ...step, detail: step.detail && withoutKey(step.detail) })),
  };
}

/** Of a text that was cut within the key nothing behind is left. */
function withoutKey(text: string): string {
  return text.replace(NAMED_KEY.test(text) ? NAMED_KEY : /\bkey .*/s, "a key");
}
