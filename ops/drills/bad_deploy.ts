// Owns the course of drills in which a bad version of a group's consumers is deployed, and rolled back once a runbook asks.
// Refuses to own what the bad version does, and putting right what it did: the runbook does.
// Invariant: a message counts as handled only when the good version had it.
import type { WaybillClient } from "../../api/client.ts";
import { Book, Crew, type Handle } from "./group_members.ts";
import { Load } from "./load.ts";
import type { Scene } from "./scene.ts";

const MEMBERS = 2;
const KEYS = 16;
const REPAIR_LIMIT_MS = 40_000;
/** With repairs off. */
const CONTROL_LIMIT_MS = 3_000;

export interface BadDeploy {
  readonly topic: string;
  readonly group: string;
  /** What the bad version does with its messages. */
  readonly bad: Handle;
  /** Lets members of the bad version go that are stuck. */
  readonly unstick?: () => void;
  /** Of the load, messages. */
  readonly perSecond: number;
  /** How long the good version runs before. */
  readonly goodMs: number;
  readonly alert: string;
  /** It asks for the good version in its step `confirm`. */
  readonly runbook: string;
  /** What there is to wait for: `the good version has …`. */
  readonly what: string;
}

export interface RolledBack {
  readonly load: Load;
  readonly book: Book;
  /** Null: it did not recover. */
  readonly rtoMs: number | null;
}

/** Deploys the bad version beside a load, rolls it back, and waits until the group has handled everything. */
export async function deployedAndRolledBack(
  scene: Scene,
  client: WaybillClient,
  options: BadDeploy,
): Promise<RolledBack> {
  const { topic, group, bad, unstick = () => {}, perSecond, goodMs, alert, runbook } = options;
  const book = new Book();
  const good: Handle = ({ value }) => book.write(String(value));
  const crew = new Crew(client, { group, topic });
  scene.onClose(() => crew.leave());
  crew.join("v1", MEMBERS, good);
  const load = new Load(client, { topic, perSecond, keys: KEYS });
  scene.onClose(() => load.stop(0));
  load.start();
  await scene.until(() => book.distinct > 0, "the first message to be handled");
  await scene.pause(goodMs);

  scene.onClose(() => Promise.resolve(unstick()));
  const sinceMs = await scene.inject("version 2 of the consumers is deployed", async () => {
    await crew.leave();
    crew.join("v2", MEMBERS, bad);
  });
  await scene.until(
    () =>
      scene.repairs
        ? scene.watch.step(runbook, "confirm") === "waiting"
        : scene.watch.alert(alert, "firing") !== null,
    scene.repairs ? "the runbook to ask for the good version" : "the alert",
  );
  scene.tell("repair", "an operator deploys version 1 of the consumers again");
  unstick();
  await crew.leave();
  crew.join("v1", MEMBERS, good);
  const rtoMs = await scene.recovered(
    () =>
      scene.watch.execution(runbook)?.state === "verified" &&
      book.missing(load.acknowledged) < perSecond,
    { sinceMs, limitMs: REPAIR_LIMIT_MS, what: options.what },
  );
  await load.stop();
  await scene.settled(
    () => book.missing(load.acknowledged) === 0,
    "the group to handle everything",
    scene.repairs ? REPAIR_LIMIT_MS : CONTROL_LIMIT_MS,
  );
  return { load, book, rtoMs };
}
