// Owns the drill of offsets that somebody commits by mistake: once far back, once to the end.
// Refuses to own putting them back: the runbook does.
// Invariant: both mistakes are commits that the broker has to take, since they come with a reason or go forward.
import { Book, Crew, type Handle } from "../group_members.ts";
import { Load } from "../load.ts";
import { reckon } from "../reckoning.ts";
import type { Scene } from "../scene.ts";
import type { Drill, Findings } from "../types.ts";

const TOPIC = "invoices";
const GROUP = "billing";
const PARTITIONS = 2;
const RUNBOOK = "mistaken-commit";
const MEMBERS = 2;
/** Of one partition, below what the mistake makes of it, above what waits while the consumers are away. */
const LAG_LIMIT = 700;
const FAST = 1_000;
const SLOW = 20;
const FILL_MS = 2_500;
const BACKLOG_MS = 1_000;
const REPAIR_LIMIT_MS = 30_000;
/** Handled and not yet committed when the consumers left, at most: what the deploy itself delivers again. */
const MAX_REDELIVERED = 100;

export const mistakenCommit: Drill = {
  name: "mistaken-commit",
  title: "Mistaken commit",
  injects: "while its consumers are away, a group's offsets are committed by hand: first to the " +
    "beginning, then, with a backlog, to the end",
  repair: "runbook mistaken-commit: started by the alert consumer-lag, then by an operator",
  control: "alerts start no runbook, and the operator starts none",
  targets: { rtoMs: 600_000, rpoMs: 60_000 },
  run,
};

async function run(scene: Scene): Promise<Findings> {
  await scene.startBroker();
  const client = scene.client();
  await client.topics.create({ name: TOPIC, partitions: PARTITIONS });
  await scene.setThreshold("consumer-lag", { limit: LAG_LIMIT, runbook: RUNBOOK });
  const book = new Book();
  const load = new Load(client, { topic: TOPIC, perSecond: FAST, keys: 16 });
  scene.onClose(() => load.stop(0));
  const crew = new Crew(client, { group: GROUP, topic: TOPIC });
  scene.onClose(() => crew.leave());
  const handle: Handle = ({ value }) => book.write(String(value));
  crew.join("billing", MEMBERS, handle);
  load.start();
  await scene.pause(FILL_MS);
  load.perSecond = SLOW;
  await allHandled(scene, { load, book });
  await crew.leave();

  const back = await mistake(scene, "to the beginning", () => 0);
  const backMs = await scene.recovered(
    () => scene.watch.execution(RUNBOOK)?.state === "verified",
    { ...back, what: "the runbook has put the offsets back" },
  );
  crew.join("billing", MEMBERS, handle);
  await allHandled(scene, { load, book });
  await scene.settled(
    () => scene.watch.alert("consumer-lag", "resolved") !== null,
    "the alert to be resolved",
    REPAIR_LIMIT_MS,
  );
  const redelivered = book.handled - book.distinct;
  await crew.leave();

  load.perSecond = FAST;
  await scene.pause(BACKLOG_MS);
  load.perSecond = SLOW;
  await scene.pause(200);
  const end = await mistake(scene, "to the end", (highWatermark) => highWatermark);
  if (scene.repairs) await orderRunbook(scene);
  crew.join("billing", MEMBERS, handle);
  await load.stop();
  const endMs = await scene.recovered(
    () => book.missing(load.acknowledged) === 0,
    { ...end, what: "the group has handled all that was skipped" },
  );
  await crew.leave();

  const { messages, checks } = await reckon(client, TOPIC, { load, book });
  const executions = scene.watch.executions.filter(({ name }) => name === RUNBOOK);
  const rpoMs = Math.max(0, ...executions.map(({ rpo }) => rpo?.ms ?? 0));
  return {
    messages,
    rtoMs: backMs === null || endMs === null ? null : Math.max(backMs, endMs),
    rpo: { ms: rpoMs, messages: messages.lost },
    checks: [...checks, {
      what: "what was handled before the mistake is not handled again",
      isMet: redelivered <= MAX_REDELIVERED,
      found: `${redelivered} messages were handled again, ${MAX_REDELIVERED} are allowed`,
    }],
    measured: { backToBeginningRtoMs: backMs ?? -1, skippedToEndRtoMs: endMs ?? -1 },
  };
}

async function allHandled(
  scene: Scene,
  { load, book }: { load: Load; book: Book },
): Promise<void> {
  const acknowledged = [...load.acknowledged];
  await scene.until(() => book.missing(acknowledged) === 0, "the group to handle what is there");
}

/** Somebody commits all partitions of the group by hand. */
async function mistake(
  scene: Scene,
  where: string,
  offsetOf: (highWatermark: number) => number,
): Promise<{ sinceMs: number; limitMs: number }> {
  const api = scene.api();
  const { partitions } = await api.get(`/api/groups/${GROUP}/lag`);
  const offsets = partitions.map((
    { topic, partition, highWatermark }: {
      topic: string;
      partition: number;
      highWatermark: number;
    },
  ) => ({ topic, partition, offset: offsetOf(highWatermark) }));
  const body = { groupId: GROUP, offsets, allowRewind: true, reason: "meant for another group" };
  const sinceMs = await scene.inject(
    `offsets of group ${GROUP} are committed by hand ${where}`,
    async () => void await api.post("/api/offsets:commit", body),
  );
  return { sinceMs, limitMs: REPAIR_LIMIT_MS };
}

/** Nobody but a person can know that messages were skipped: the operator starts the runbook. */
async function orderRunbook(scene: Scene): Promise<void> {
  scene.tell("repair", `an operator starts runbook ${RUNBOOK}`);
  const { executionId } = await scene.api().post(`/api/runbooks/${RUNBOOK}:execute`, {
    target: { type: "group", name: GROUP },
    mode: "auto",
    reason: "invoices are missing since a commit by hand",
  });
  await scene.settled(
    () =>
      scene.watch.executions.some((execution) =>
        execution.executionId === executionId && execution.endedAt !== null
      ),
    "the runbook to end",
    REPAIR_LIMIT_MS,
  );
}
