// Owns the least that a durable JSON publish over HTTP can be on this runtime: parse, write, one sync for all that waits.
// Refuses everything that makes a broker: no checks, no record format, no offsets, nothing can be read back.
// Invariant: it answers after fdatasync, as the broker does; prints its port when it listens. Argument: the file.
interface Waiting {
  readonly bytes: Uint8Array;
  readonly done: () => void;
}

const file = await Deno.open(Deno.args[0]!, { create: true, write: true });
const encoder = new TextEncoder();
let waiting: Waiting[] = [];
let busy = false;

Deno.serve({
  hostname: "127.0.0.1",
  port: 0,
  onListen: ({ port }) => console.log(port),
}, async (request) => {
  const { topic, messages } = await request.json();
  await append(encoder.encode(messages.map(({ value }: { value: string }) => value).join("\n")));
  const results = messages.map((_: unknown, offset: number) => ({ partition: 0, offset }));
  return Response.json({ topic, results });
});

function append(bytes: Uint8Array): Promise<void> {
  return new Promise((done) => {
    waiting.push({ bytes, done });
    if (!busy) void flush();
  });
}

async function flush(): Promise<void> {
  busy = true;
  while (waiting.length > 0) {
    const group = waiting;
    waiting = [];
    for (const { bytes } of group) {
      for (let at = 0; at < bytes.length;) at += await file.write(bytes.subarray(at));
    }
    await file.syncData();
    for (const { done } of group) done();
  }
  busy = false;
}
