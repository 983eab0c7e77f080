// Owns one instance of an application that consumes, transforms and produces, as a process of its own that may be killed.
// Refuses to own any proof (run.ts). Invariant: it holds nothing that outlives it: all it knows is in the broker.
import { WaybillClient } from "../../api/client.ts";

/** Time that each half of the work takes after it was sent: a kill is likely to find it there, uncommitted. */
const WORK_MS = 25;
const [url, transactionalId, group, input, output] = Deno.args as [
  string,
  string,
  string,
  string,
  string,
];

const client = new WaybillClient({ url });
const transformer = client.transform({
  group,
  topics: [input],
  transactionalId,
  instanceId: transactionalId,
  maxInFlight: 40,
  timeoutMs: 20_000,
  sessionTimeoutMs: 6_000,
  onError: (error) => console.error(`${transactionalId}: ${error.code} ${error.message}`),
  async transform(messages, transaction) {
    const middle = messages.length >> 1;
    for (const half of [messages.slice(0, middle), messages.slice(middle)]) {
      const doubled = half.map(({ key, value }) => ({
        key,
        value: { of: Number(value), doubled: 2 * Number(value) },
      }));
      await transaction.send(output, doubled);
      await new Promise((resolve) => setTimeout(resolve, WORK_MS));
    }
  },
});
await transformer.done;
