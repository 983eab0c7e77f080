// Owns the runbook for a group that asks for so many deliveries again that it does little else.
// Refuses to own mending the consumers. Invariant: the policies that it slows down are noted before, and put back after.
import type { RetryPolicy } from "../../actors/group/retry/types.ts";
import type { Runbook, StepContext } from "../../actors/runbook/types.ts";
import { again, done, MINUTE_MS, runbook, type RunbookPorts, type Step } from "./definition.ts";
import { describeGroup, groupOf } from "./group_steps.ts";

/** How much longer every wait is, and the longest. */
const SLOWER = 8;
const MAX_WAIT_MS = 5 * MINUTE_MS;
/** Groups that are looked at. */
const MAX_GROUPS = 1_000;

export function retryStorm(ports: RunbookPorts): Runbook {
  return runbook(
    {
      name: "retry-storm",
      title: "Retry storm",
      describes:
        "A group retries faster than it can succeed: lengthens the waits until it is calm, then puts the " +
        "policy back.",
      targetKinds: ["group", "broker"],
    },
    [
      findStep(ports),
      slowStep(ports),
      calmStep(ports),
      {
        name: "restore",
        title: "Put the retry policies back",
        kind: "action",
        timeoutMs: MINUTE_MS,
        work: {
          run: async (context) => done(await setPolicies(ports, context, (policy) => policy)),
          plan: () => Promise.resolve("would put the policies back when it is calm"),
        },
      },
    ],
    { targets: { rtoMs: 10 * MINUTE_MS, rpoMs: 0 } },
  );
}

type NotedPolicy = { readonly topic: string | null; readonly policy: RetryPolicy };

function findStep(ports: RunbookPorts): Step {
  const { broker } = ports;
  return {
    name: "find",
    title: "Find the group with the most retries, and its policies",
    kind: "check",
    timeoutMs: MINUTE_MS,
    work: {
      async run({ target }) {
        const names = target.type === "group"
          ? [target.name]
          : (await broker.groups()).slice(0, MAX_GROUPS).map(({ groupId }) => groupId);
        let group = "";
        let retries = 0;
        for (const name of names) {
          const { retries: { waiting, inHand } } = await describeGroup(ports, name);
          if (waiting + inHand <= retries) continue;
          group = name;
          retries = waiting + inHand;
        }
        if (retries === 0) return { outcome: "nothing", detail: "no message waits for a retry" };
        const { policy, topics } = await broker.group({ type: "RetryPolicies", group });
        const policies: NotedPolicy[] = [{ topic: null, policy }, ...topics];
        return done(`group ${group} has ${retries} messages to be delivered again`, {
          facts: { group, retries, policies },
          holds: [`group:${group}`],
        });
      },
    },
  };
}

function slowStep(ports: RunbookPorts): Step {
  const slower = (policy: RetryPolicy): RetryPolicy => ({
    ...policy,
    baseMs: Math.min(policy.baseMs * SLOWER, MAX_WAIT_MS),
    maxMs: Math.max(policy.maxMs, Math.min(policy.maxMs * SLOWER, MAX_WAIT_MS)),
  });
  return {
    name: "slow-down",
    title: "Make the waits between retries longer",
    kind: "action",
    timeoutMs: MINUTE_MS,
    undo: "puts the retry policies back",
    work: {
      run: async (context) => done(await setPolicies(ports, context, slower)),
      plan: (context) =>
        Promise.resolve(`would make the waits of group ${groupOf(context)} ${SLOWER} times longer`),
      undo: (context) => setPolicies(ports, context, (policy) => policy),
    },
  };
}

/** Verified when half of what waited is done with. */
function calmStep(ports: RunbookPorts): Step {
  return {
    name: "calm",
    title: "See that retries become fewer",
    kind: "verify",
    timeoutMs: 10 * MINUTE_MS,
    work: {
      async run(context) {
        const { retries: { waiting, inHand } } = await describeGroup(ports, groupOf(context));
        const before = Number(context.facts.retries);
        const told = `${waiting + inHand} messages to be delivered again, ${before} before`;
        return waiting + inHand <= before / 2 ? done(told) : again(told);
      },
    },
  };
}

async function setPolicies(
  { broker }: RunbookPorts,
  context: StepContext,
  change: (policy: RetryPolicy) => RetryPolicy,
): Promise<string> {
  const group = groupOf(context);
  for (const { topic, policy } of context.facts.policies as readonly NotedPolicy[]) {
    await broker.group({
      type: "SetRetryPolicy",
      group,
      ...(topic === null ? {} : { topic }),
      policy: change(policy),
      principal: context.principal,
    });
  }
  const { policy } = await broker.group({ type: "RetryPolicies", group });
  return `group ${group} waits ${policy.baseMs} ms and doubling, ${policy.maxMs} ms at most`;
}
