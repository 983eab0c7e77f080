// Owns sending numbered messages to a broker and reading all of them back, for tests that kill it.
// Refuses to own judging what came back (ack_checker.ts).
// Invariant: each number is sent once and never again, whatever the answer, so any repetition is the broker's.
import type { AckChecker, Seen } from "../../ops/drills/ack_checker.ts";

const READ_MESSAGES = 10_000;
const REQUEST_TIMEOUT_MS = 30_000;

interface PublishAnswer {
  results: { partition: number; offset: number }[];
}

interface ReadAnswer {
  messages: { partition: number; offset: number; value: string }[];
  nextOffset: number;
  highWatermark: number;
}

/** One producer: it numbers on through all restarts of the broker, and always writes to one partition. */
export class NumberedProducer {
  #next = 0;

  constructor(
    readonly name: string,
    readonly partition: number,
    private readonly options: {
      topic: string;
      perRequest: number;
      acks: "all" | "none";
      /** Characters added to each value. */
      padding?: number;
    },
  ) {}

  /** Publishes until `stop` or until the broker is gone; gives back what acknowledgements contradict. */
  async run(url: string, checker: AckChecker, stop: AbortSignal): Promise<string[]> {
    const violations: string[] = [];
    const { topic, perRequest, acks } = this.options;
    const padding = `:${"x".repeat(this.options.padding ?? 0)}`;
    while (!stop.aborted) {
      const values = Array.from(
        { length: perRequest },
        () => `${this.name}:${this.#next++}${padding}`,
      );
      let answer: PublishAnswer;
      try {
        const response = await fetch(`${url}/api/messages:publish`, {
          method: "POST",
          headers: { "content-type": "application/json" },
          body: JSON.stringify({
            topic,
            acks,
            partition: this.partition,
            messages: values.map((value) => ({ key: this.name, value })),
          }),
          signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
        });
        if (!response.ok) {
          await response.body?.cancel();
          continue;
        }
        answer = await response.json();
      } catch {
        return violations;
      }
      answer.results.forEach(({ partition, offset }, index) => {
        violations.push(...checker.acknowledged({ partition, offset, value: values[index]! }));
      });
    }
    return violations;
  }
}

/** Everything readable of one partition from offset `from` on. */
export async function readPartition(
  url: string,
  topic: string,
  at: { partition: number; from: number },
): Promise<Seen[]> {
  const seen: Seen[] = [];
  let offset = at.from;
  while (true) {
    const response = await fetch(
      `${url}/api/topics/${topic}/partitions/${at.partition}/messages` +
        `?offset=${offset}&maxMessages=${READ_MESSAGES}&maxBytes=8388608`,
      { signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS) },
    );
    if (!response.ok) throw new Error(`read failed: ${await response.text()}`);
    const answer: ReadAnswer = await response.json();
    for (const { partition, offset, value } of answer.messages) {
      seen.push({ partition, offset, value });
    }
    if (answer.nextOffset >= answer.highWatermark) return seen;
    offset = answer.nextOffset;
  }
}

/** Makes the topic that the load goes to. */
export async function createTopic(url: string, body: Record<string, unknown>): Promise<void> {
  const response = await fetch(`${url}/api/topics`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  const text = await response.text();
  if (response.status !== 201) throw new Error(`topic not made: ${text}`);
}
