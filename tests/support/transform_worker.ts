// Owns one instance of an application that consumes, transforms and produces, as a process of its own that may be killed.
// Refuses to own any expectation. Invariant: it holds nothing that outlives it: all it knows is in the broker.
import { WaybillClient } from "../../api/client.ts";

const [url, transactionalId, input, output] = Deno.args as [string, string, string, string];
/** Time that each half of the work takes. */
const WORK_MS = 20;

const client = new WaybillClient({ url });
const transformer = client.transform({
  group: "doubler",
  topics: [input],
  transactionalId,
  instanceId: transactionalId,
  maxInFlight: 40,
  timeoutMs: 20_000,
  sessionTimeoutMs: 6_000,
  onError: (error) => console.error(`${transactionalId}: ${error.code} ${error.message}`),
  async transform(messages, transaction) {
    // In two requests, so that a kill finds transactions that hold a part of it.
    const middle = messages.length >> 1;
    for (const part of [messages.slice(0, middle), messages.slice(middle)]) {
      await new Promise((resolve) => setTimeout(resolve, WORK_MS));
      await transaction.send(
        output,
        part.map(({ key, value }) => ({
          key,
          value: { of: Number(value), doubled: 2 * Number(value) },
        })),
      );
    }
  },
});
console.log("running");
await transformer.done;
