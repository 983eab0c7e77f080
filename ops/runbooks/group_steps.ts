// Owns the steps that several runbooks share: pausing a group, somebody's word that its consumers are mended, resuming it.
// Refuses to own what happens between. Invariant: a group that somebody had paused before is not resumed by undoing.
import type { GroupDescription } from "../../actors/group/types.ts";
import type { Facts, StepContext } from "../../actors/runbook/types.ts";
import { again, done, MINUTE_MS, type RunbookPorts, type Step } from "./definition.ts";
import { lagOf } from "./positions.ts";

const GROUP_TIMEOUT_MS = 30_000;

/** The group that is repaired: the target, or what the first step has found. */
export function groupOf({ target, facts }: Pick<StepContext, "target" | "facts">): string {
  return target.type === "group" ? target.name : String(facts.group);
}

export function describeGroup({ broker }: RunbookPorts, group: string): Promise<GroupDescription> {
  return broker.group({ type: "Describe", group });
}

/** What the first step notes of a group, for the others. */
export function noted(description: GroupDescription): Facts {
  return {
    group: description.groupId,
    pausedBefore: description.paused !== null,
    members: description.members.map(({ memberId }) => memberId),
    versions: [...new Set(versionsOf(description))],
  };
}

function versionsOf({ members }: GroupDescription): string[] {
  return members.flatMap(({ version }) => version === undefined ? [] : [version]);
}

/** Pauses the group. */
export function pauseStep(ports: RunbookPorts): Step {
  const { broker } = ports;
  return {
    name: "pause",
    title: "Pause the group",
    kind: "action",
    timeoutMs: GROUP_TIMEOUT_MS,
    undo: "resumes the group, unless it had been paused before",
    work: {
      async run(context) {
        const group = groupOf(context);
        const { paused } = await describeGroup(ports, group);
        if (paused === null) {
          const { reason, principal } = context;
          await broker.group({ type: "Pause", group, reason, principal });
        }
        return done(`group ${group} is paused: nothing of it is delivered`);
      },
      plan: (context) => Promise.resolve(`would pause group ${groupOf(context)}`),
      async undo(context) {
        const group = groupOf(context);
        if (context.facts.pausedBefore === true) return `group ${group} stays paused, as before`;
        await broker.group({ type: "Resume", group, principal: context.principal });
        return `group ${group} is resumed`;
      },
    },
  };
}

/**
 * Somebody says that the consumers are mended. In mode auto that is taken as given once none of the members is there any
 * more that the first step has seen, and others are; where members said their version, only once all of them say another:
 * the same program that has started anew is not mended.
 */
export function confirmStep(ports: RunbookPorts, title: string): Step {
  return {
    name: "confirm",
    title,
    kind: "approval",
    timeoutMs: 30 * MINUTE_MS,
    work: {
      async run(context) {
        const { isMended, detail } = await membersNow(ports, context);
        return isMended ? done(detail) : again(`${detail}; or until somebody approves it`);
      },
      awaits: async (context) => `${title}: ${(await membersNow(ports, context)).detail}`,
      plan: () => Promise.resolve("would wait until somebody confirms it"),
    },
  };
}

/** Whether others than the bad members are there, and what of that there is, in words. */
async function membersNow(
  ports: RunbookPorts,
  context: StepContext,
): Promise<{ readonly isMended: boolean; readonly detail: string }> {
  const before = new Set(context.facts.members as readonly string[]);
  const description = await describeGroup(ports, groupOf(context));
  const { members } = description;
  const not = (detail: string) => ({ isMended: false, detail });
  const left = members.filter(({ memberId }) => before.has(memberId)).length;
  if (left > 0) return not(`${left} of ${before.size} members of before are still there`);
  if (members.length === 0) return not("the members of before are gone, no other has come");
  const bad = (context.facts.versions ?? []) as readonly string[];
  const now = versionsOf(description);
  const isSame = now.length < members.length || now.some((version) => bad.includes(version));
  if (bad.length > 0 && isSame) {
    return not(`not all members say another version than ${bad.join(", ")}`);
  }
  const detail = `all ${before.size} members of before are gone, ${members.length} have come`;
  return { isMended: true, detail };
}

/** Resumes the group. */
export function resumeStep(ports: RunbookPorts): Step {
  const { broker } = ports;
  return {
    name: "resume",
    title: "Resume the group",
    kind: "action",
    timeoutMs: GROUP_TIMEOUT_MS,
    undo: "pauses the group again",
    work: {
      async run(context) {
        const group = groupOf(context);
        const { paused } = await describeGroup(ports, group);
        const lag = await lagOf(ports, group);
        if (paused !== null) {
          await broker.group({ type: "Resume", group, principal: context.principal });
        }
        return done(`group ${group} is resumed, ${lag} messages behind`, {
          facts: { lagAtResume: lag },
        });
      },
      plan: (context) => Promise.resolve(`would resume group ${groupOf(context)}`),
      async undo(context) {
        const { reason, principal } = context;
        await broker.group({ type: "Pause", group: groupOf(context), reason, principal });
        return `group ${groupOf(context)} is paused again`;
      },
    },
  };
}

/** Verified when what the group is behind has at least halved since it was resumed. */
export function lagFallsStep(ports: RunbookPorts): Step {
  return {
    name: "lag-falls",
    title: "See that the group catches up",
    kind: "verify",
    timeoutMs: 10 * MINUTE_MS,
    work: {
      async run(context) {
        const lag = await lagOf(ports, groupOf(context));
        const before = Number(context.facts.lagAtResume);
        const told = `${lag} messages behind, ${before} when it was resumed`;
        return lag === 0 || lag <= before / 2 ? done(told) : again(told);
      },
    },
  };
}
