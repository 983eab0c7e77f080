// Owns a producer of transactions through whichever broker answers, and the account of what became of each.
// Refuses to own reading back (cluster_reckoning.ts).
// Invariant: a transaction is committed or aborted only as a broker said it is; anything else is "maybe": all or nothing.
import { pause } from "../../demo/waiting.ts";
import { type Answer, ask, Unanswered } from "./broker_http.ts";
import { Silences } from "./silences.ts";

const EVERY_MS = 100;
const BACKOFF_MS = 50;
/** Longer than any request waits, so that what is left behind by a dead broker ends soon. */
const TRANSACTION_TIMEOUT_MS = 10_000;
const MAX_END_ATTEMPTS = 200;
/** So many transactions are aborted by the producer itself. */
const ABORT_EVERY = 4;

export type Fate = "committed" | "aborted" | "maybe";

export interface TransactionalTarget {
  readonly urls: readonly string[];
  readonly token: string;
  readonly topic: string;
  readonly partitions: number;
  readonly requestTimeoutMs: number;
  readonly padding: string;
}

interface Transaction {
  readonly values: readonly string[];
  fate: Fate;
}

export class TransactionalLoad {
  readonly transactions: Transaction[] = [];
  /** When transactions ended as they were asked to. */
  readonly silences = new Silences(1);
  /** Answers that were none, by what was asked and code. */
  readonly refusals = new Map<string, number>();
  readonly #stop = new AbortController();
  #broker = 0;
  #running: Promise<void> = Promise.resolve();

  constructor(private readonly target: TransactionalTarget) {}

  count(fate: Fate): number {
    return this.transactions.filter((transaction) => transaction.fate === fate).length;
  }

  start(): void {
    this.#running = this.#run().catch((error) => {
      if (!this.#stop.signal.aborted) throw error;
    });
    // Told by `stop`, which may come much later.
    this.#running.catch(() => undefined);
  }

  /** Resolves when the transaction that is open has its end, or is "maybe". */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    for (let number = 0; !this.#stop.signal.aborted; number++) {
      await this.#transaction(number);
      await pause(EVERY_MS, this.#stop.signal);
    }
  }

  async #transaction(number: number): Promise<void> {
    const { partitions, padding, topic } = this.target;
    const sentMs = performance.now();
    const begun = await this.#post("/api/transactions", {
      transactionalId: "drill",
      timeoutMs: TRANSACTION_TIMEOUT_MS,
    });
    if (begun?.status !== 200 && begun?.status !== 201) return await this.#next();
    const { transactionId } = begun.body;
    // Two partitions, which different brokers lead most of the time.
    const at = [number % partitions, (number + 1) % partitions];
    const values = at.map((partition) => `t${number}p${partition}:0`);
    const transaction: Transaction = { values, fate: "maybe" };
    this.transactions.push(transaction);
    let isPublished = true;
    for (const [index, partition] of at.entries()) {
      const messages = [{ value: values[index] + padding }];
      const answer = await this.#post("/api/messages:publish", {
        ...{ topic, partition, transactionId, messages },
      });
      if (answer?.status === 200) continue;
      isPublished = false;
      break;
    }
    const commits = isPublished && number % ABORT_EVERY !== 0;
    const isEnded = await this.#end(transactionId, commits ? "commit" : "abort");
    if (!isEnded) return;
    transaction.fate = commits ? "committed" : "aborted";
    this.silences.acknowledged(0, { sentMs, ackedMs: performance.now() });
  }

  /** Whether it has ended as it was asked to. */
  async #end(transactionId: string, verb: "commit" | "abort"): Promise<boolean> {
    const path = `/api/transactions/${encodeURIComponent(transactionId)}:${verb}`;
    for (let attempt = 1; attempt <= MAX_END_ATTEMPTS; attempt++) {
      const answer = await this.#post(path, {});
      if (answer?.status === 200) return true;
      if (answer !== null && answer.body.retryable !== true) return false;
      await this.#next();
      if (this.#stop.signal.aborted && attempt > MAX_END_ATTEMPTS / 4) return false;
    }
    return false;
  }

  async #next(): Promise<void> {
    this.#broker = (this.#broker + 1) % this.target.urls.length;
    await new Promise((resolve) => setTimeout(resolve, BACKOFF_MS));
  }

  async #post(path: string, body: unknown): Promise<Answer | null> {
    const { urls, token, requestTimeoutMs: timeoutMs } = this.target;
    let [answer, why]: [Answer | null, string] = [null, "UNANSWERED"];
    try {
      const url = `${urls[this.#broker]}${path}`;
      answer = await ask(url, { token, timeoutMs, method: "POST", body });
      why = answer.body.code;
    } catch (error) {
      if (!(error instanceof Unanswered)) throw error;
    }
    if (answer === null || answer.status >= 300) {
      const what = `${path.split(":")[1] ?? "begin"} ${why}`;
      this.refusals.set(what, (this.refusals.get(what) ?? 0) + 1);
    }
    return answer;
  }
}

/** What readers may not have been shown so, in words: `shown` are values by how often they are there (rule I3). */
export function transactionViolations(
  transactions: readonly Transaction[],
  shown: ReadonlyMap<string, number>,
): string[] {
  return transactions.flatMap(({ values, fate }) => {
    const counts = values.map((value) => shown.get(value) ?? 0);
    const name = values.join(" and ");
    if (counts.some((count) => count > 1)) return [`I4: ${name} of a transaction are there twice`];
    const there = counts.filter((count) => count === 1).length;
    if (fate === "committed" && there < values.length) {
      return [`I1: ${name} were committed, ${values.length - there} of them are lost`];
    }
    if (fate === "aborted" && there > 0) return [`I3: ${name} were aborted, and are shown`];
    const isPart = there > 0 && there < values.length;
    return isPart ? [`I3: ${there} of ${name} is shown, all or nothing was promised`] : [];
  });
}
