// Owns the course of a run: who is killed when, what is waited for, and how long each recovery took.
// Refuses to own processes (stage.ts), publishing (publisher.ts), and judging the outcome (proof.ts).
// Invariant: every accident happens while flights are being published, and the next only after all has recovered.
import type { GroupWatch } from "./group_watch.ts";
import { count, type Screen } from "./screen.ts";
import type { Publisher } from "./publisher.ts";
import type { Tally } from "./progress.ts";
import type { Stage } from "./stage.ts";
import { until, WaitedInVain } from "./waiting.ts";

/** Longest wait for any recovery. */
const RECOVERY_LIMIT_MS = 60_000;
/** Longest wait for the backlog: if something is lost it never ends, and the proof is to tell. */
const CATCH_UP_LIMIT_MS = 15_000;
/** Part of the flights that is handed in when each thing happens. */
const MEMBER_KILLED_AT = 0.2;
const MEMBER_BACK_AT = 0.4;
const FIRST_BROKER_KILL_AT = 0.55;
const LAST_BROKER_KILL_BEFORE = 0.9;
/** Publishing waits for the story when it has done this part of what then remains: something is left for the recovery. */
const MAX_AHEAD = 0.5;

/** From the kill, ms. */
export interface BrokerRecovery {
  /** To the ready line of the new process. */
  readonly readyMs: number;
  /** To the first flight acknowledged by it. */
  readonly publishingMs: number;
  /** To the first flight received from it. */
  readonly consumingMs: number;
  /** Until all that was published before it was ready had been acknowledged and received; null: not within the limit. */
  readonly caughtUpMs: number | null;
}

export interface Accidents {
  readonly memberKills: number;
  readonly brokerKills: number;
  /** From the kill of the member until others held all its partitions, ms. */
  readonly takeoverMs: number;
  readonly recoveries: readonly BrokerRecovery[];
}

export interface Cast {
  readonly stage: Stage;
  readonly publisher: Publisher;
  readonly watch: GroupWatch;
  readonly tally: Tally;
  readonly screen: Screen;
  readonly total: number;
  readonly partitions: number;
  readonly signal: AbortSignal;
}

/** Kills a member, lets it come back, then kills the broker `kills` times; resolves when all has recovered. */
export async function tellStory(
  cast: Cast,
  plan: { victim: string; kills: number },
): Promise<Accidents> {
  await reach(cast, MEMBER_KILLED_AT);
  const takeoverMs = await killMember(cast, plan.victim);
  await reach(cast, MEMBER_BACK_AT);
  await bringBack(cast, plan.victim);
  const recoveries: BrokerRecovery[] = [];
  const span = LAST_BROKER_KILL_BEFORE - FIRST_BROKER_KILL_AT;
  const partOf = (kill: number) => FIRST_BROKER_KILL_AT + span * kill / plan.kills;
  for (let kill = 0; kill < plan.kills; kill++) {
    await reach(cast, partOf(kill));
    openGate(cast, kill + 1 < plan.kills ? partOf(kill + 1) : 1);
    recoveries.push(await killBroker(cast));
  }
  openGate(cast, 1);
  return { memberKills: 1, brokerKills: plan.kills, takeoverMs, recoveries };
}

/** Lets publishing go on past this part of the flights, but not to the end before the story is there. */
function openGate({ publisher, total }: Cast, part: number): void {
  publisher.gate = Math.floor(total * (part + (1 - part) * MAX_AHEAD));
}

/** Waits until this part of the flights is handed in. */
async function reach(cast: Cast, part: number): Promise<void> {
  const { publisher, total, signal } = cast;
  openGate(cast, part);
  const threshold = Math.floor(total * part);
  // The pace is the user's choice, so this wait has no limit of its own but the run's.
  const what = `${count(threshold)} flights to be published`;
  await until(() => publisher.handedIn >= threshold, { limitMs: Infinity, signal, what });
}

async function killMember(cast: Cast, victim: string): Promise<number> {
  const { stage, watch, screen, partitions, signal } = cast;
  const started = performance.now();
  await stage.members.get(victim)!.kill();
  screen.event(`${victim} killed by signal 9`, "fault");
  const takenOver = () => {
    const held = [...watch.assignment].filter(([name]) => name !== victim);
    return held.length === watch.assignment.size && watch.settled &&
      held.reduce((sum, [, own]) => sum + own.length, 0) === partitions;
  };
  const what = `the other members to take over the partitions of ${victim}`;
  await until(takenOver, { limitMs: RECOVERY_LIMIT_MS, signal, what });
  const takeoverMs = performance.now() - started;
  screen.event(`its partitions taken over after ${seconds(takeoverMs)}`, "good");
  return takeoverMs;
}

async function bringBack(
  { stage, watch, screen, signal }: Cast,
  victim: string,
): Promise<void> {
  stage.startMember(victim);
  screen.event(`${victim} started again`);
  const isBack = () => (watch.assignment.get(victim)?.length ?? 0) > 0 && watch.settled;
  const what = `${victim} to be given partitions`;
  await until(isBack, { limitMs: RECOVERY_LIMIT_MS, signal, what });
}

async function killBroker(cast: Cast): Promise<BrokerRecovery> {
  const { stage, publisher, tally, screen, signal } = cast;
  const started = performance.now();
  const since = () => performance.now() - started;
  await stage.killBroker();
  screen.event("broker killed by signal 9", "fault");
  await stage.startBroker();
  const readyMs = since();
  screen.event(`broker back after ${seconds(readyMs)}`, "good");
  // Answers and messages of the old broker that were on their way have arrived by now.
  const acknowledged = publisher.acknowledgements.length;
  const { received } = tally;
  const { handedIn } = publisher;
  const timeOf = async (what: string, condition: () => boolean, limitMs = RECOVERY_LIMIT_MS) => {
    await until(condition, { limitMs, signal, what });
    return since();
  };
  const isCaughtUp = () =>
    publisher.settledThrough >= handedIn && tally.consumedThrough >= handedIn;
  const [publishingMs, consumingMs, caughtUpMs] = await Promise.all([
    timeOf("publishing to go on", () => publisher.acknowledgements.length > acknowledged),
    timeOf("consuming to go on", () => tally.received > received),
    timeOf("the backlog", isCaughtUp, CATCH_UP_LIMIT_MS).catch(nullWhenInVain),
  ]);
  const times = `publishing after ${seconds(publishingMs)}, ` +
    `consuming after ${seconds(consumingMs)}`;
  if (caughtUpMs === null) screen.event(`${times}, never caught up`, "fault");
  else screen.event(`${times}, caught up after ${seconds(caughtUpMs)}`, "good");
  return { readyMs, publishingMs, consumingMs, caughtUpMs };
}

function nullWhenInVain(error: unknown): null {
  if (error instanceof WaitedInVain) return null;
  throw error;
}

/** "1.2 s" */
export function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}
