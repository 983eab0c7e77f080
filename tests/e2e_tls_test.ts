// Owns proof that a broker speaks TLS, and goes on when its certificate is exchanged.
import assert from "node:assert/strict";
import { connect } from "node:tls";
import { eventually, pause } from "./support/api_calls.ts";
import { BrokerDidNotStart, startBrokerProcess, withDataDir } from "./support/broker_process.ts";
import { type PemPair, selfSigned, writePair } from "./support/self_signed.ts";

const EXCHANGE_TIMEOUT_MS = 15_000;
const HEADER_TIMEOUT_MS = 1_500;

/** Runs `test` beside a broker with the certificate of a new pair, whose files are in `directory`. */
async function withTls(
  test: (
    scene: Awaited<ReturnType<typeof startBrokerProcess>>,
    options: { first: PemPair; directory: string },
  ) => Promise<void>,
  more: readonly string[] = [],
): Promise<void> {
  await withDataDir(async (dataDir) => {
    const first = await selfSigned("first");
    const { certFile, keyFile } = await writePair(dataDir, first);
    const args = [`--tls-cert-file=${certFile}`, `--tls-key-file=${keyFile}`, ...more];
    await using broker = await startBrokerProcess({ dataDir: `${dataDir}/data`, args });
    await test(broker, { first, directory: dataDir });
  });
}

/** The common name of the certificate that new connections are shown. */
function shownName(url: string): Promise<string> {
  const { hostname, port } = new URL(url);
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const socket = connect({ host: hostname, port: Number(port), rejectUnauthorized: false }, () => {
    resolve(String(socket.getPeerCertificate().subject.CN));
    socket.destroy();
  });
  socket.on("error", reject);
  return promise;
}

/** One request on a connection that stays open. */
async function keptAlive(connection: Deno.TlsConn): Promise<string> {
  const request = "GET /livez HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n";
  await connection.write(new TextEncoder().encode(request));
  const buffer = new Uint8Array(4_096);
  const count = await connection.read(buffer);
  return new TextDecoder().decode(buffer.subarray(0, count ?? 0)).split("\r\n")[0]!;
}

/** The socket of a group's stream, of a topic made for it. */
async function consumerOfNewTopic(url: string, client: Deno.HttpClient): Promise<WebSocket> {
  const made = await fetch(`${url}/api/topics`, {
    client,
    method: "POST",
    headers: { "content-type": "application/json" },
    body: '{"name":"t"}',
  });
  assert.equal(made.status, 201);
  await made.body?.cancel();
  const stream = `${url.replace("https", "wss")}/api/groups/g/stream?topics=t`;
  return new WebSocket(stream, { client } as unknown as string[]);
}

Deno.test("broker speaks https and wss, and says so when it is ready", async () => {
  await withTls(async ({ url }, { first }) => {
    assert.match(url, /^https:\/\/127\.0\.0\.1:\d+$/);
    using client = Deno.createHttpClient({ caCerts: [first.cert] });
    const socket = await consumerOfNewTopic(url, client);
    const welcome = await new Promise<string>((resolve) =>
      socket.onmessage = ({ data }) => resolve(data)
    );
    assert.equal(JSON.parse(welcome).type, "welcome");
    const closed = new Promise((resolve) => socket.onclose = resolve);
    socket.close();
    await closed;
    await assert.rejects(fetch(url.replace("https", "http")));
  });
});

Deno.test("broker takes new certificates while it runs: connections go on, new ones see the new one, bad ones change nothing", async () => {
  await withTls(async ({ url, log }, { first, directory }) => {
    const port = Number(new URL(url).port);
    using kept = await Deno.connectTls({ hostname: "localhost", port, caCerts: [first.cert] });
    assert.equal(await keptAlive(kept), "HTTP/1.1 200 OK");
    assert.equal(await shownName(url), "first");
    using client = Deno.createHttpClient({ caCerts: [first.cert] });
    const socket = await consumerOfNewTopic(url, client);
    await new Promise((resolve) => socket.onmessage = resolve);

    await Deno.writeTextFile(`${directory}/cert.pem`, (await selfSigned("other")).cert);
    await eventually(EXCHANGE_TIMEOUT_MS, () => {
      assert.match(log(), /certificate in use stays.*do not belong together/);
      return Promise.resolve();
    });
    assert.equal(await shownName(url), "first");

    await writePair(directory, await selfSigned("second"));
    await eventually(EXCHANGE_TIMEOUT_MS, async () => assert.equal(await shownName(url), "second"));
    await writePair(directory, await selfSigned("third"));
    await eventually(EXCHANGE_TIMEOUT_MS, async () => assert.equal(await shownName(url), "third"));
    assert.equal(await keptAlive(kept), "HTTP/1.1 200 OK");
    for (let count = 0; count < 10; count++) assert.equal(await shownName(url), "third");
    assert.equal(socket.readyState, WebSocket.OPEN);
    const closed = new Promise<CloseEvent>((resolve) => socket.onclose = resolve);
    socket.send('{"type":"leave"}');
    assert.equal((await closed).code, 1000);
    assert.match(log(), /new certificate CN=third/);
  });
});

Deno.test("broker with TLS ends connections that shake hands, or half do, and then ask nothing", async () => {
  await withTls(async ({ url }, { first }) => {
    const port = Number(new URL(url).port);
    const secure = { hostname: "localhost", port, caCerts: [first.cert] };
    using asking = await Deno.connectTls(secure);
    using silent = await Deno.connect({ hostname: "127.0.0.1", port });
    using half = await Deno.connect({ hostname: "127.0.0.1", port });
    // The beginning of a ClientHello.
    await half.write(new Uint8Array([0x16, 0x03, 0x01, 0x02, 0x00, 0x01]));
    using shaken = await Deno.connectTls(secure);
    await shaken.handshake();
    const start = performance.now();
    const gone = Promise.all([silent, half, shaken].map(async (each) => {
      await each.read(new Uint8Array(100)).catch(() => null);
      return performance.now() - start;
    }));
    const closed = gone.then(() => true);
    while (!await Promise.race([closed, pause(300).then(() => false)])) {
      assert.equal(await keptAlive(asking), "HTTP/1.1 200 OK");
      assert.ok(performance.now() - start < EXCHANGE_TIMEOUT_MS, "they are still open");
    }
    for (const ms of await gone) assert.ok(ms >= HEADER_TIMEOUT_MS * 0.8, `closed after ${ms} ms`);
    assert.equal(await keptAlive(asking), "HTTP/1.1 200 OK");
  }, [`--header-timeout-ms=${HEADER_TIMEOUT_MS}`]);
});

Deno.test("broker with two exchanged certificates stops cleanly while old connections are open", async () => {
  await withTls(async (broker, { first, directory }) => {
    const port = Number(new URL(broker.url).port);
    using kept = await Deno.connectTls({ hostname: "localhost", port, caCerts: [first.cert] });
    assert.equal(await keptAlive(kept), "HTTP/1.1 200 OK");
    await writePair(directory, await selfSigned("second"));
    await eventually(
      EXCHANGE_TIMEOUT_MS,
      async () => assert.equal(await shownName(broker.url), "second"),
    );
    assert.equal((await broker.stop("SIGTERM")).code, 0);
    assert.match(broker.log(), /closed cleanly/);
  });
});

Deno.test("broker whose certificate cannot be used exits 2 with one clear line, and opens no door without TLS", async () => {
  await withDataDir(async (dataDir) => {
    const pair = await selfSigned("a");
    const { certFile, keyFile } = await writePair(dataDir, pair);
    const foreign = `${dataDir}/foreign.pem`;
    await Deno.writeTextFile(foreign, (await selfSigned("b")).key);
    const cases: [string[], RegExp][] = [
      [[`--tls-cert-file=${certFile}`], /tlsCertFile and tlsKeyFile go together/],
      [[`--tls-key-file=${keyFile}`], /tlsCertFile and tlsKeyFile go together/],
      [[`--tls-cert-file=${dataDir}/none`, `--tls-key-file=${keyFile}`], /none cannot be read/],
      [[`--tls-cert-file=${certFile}`, `--tls-key-file=${foreign}`], /do not belong together/],
      [[`--tls-cert-file=${keyFile}`, `--tls-key-file=${keyFile}`], /cannot be used/],
    ];
    for (const [args, says] of cases) {
      const refused = await startBrokerProcess({
        dataDir: `${dataDir}/data`,
        args: [...args, "--log-level=error"],
      }).then(() => assert.fail("it started"), (error) => error);
      assert.ok(refused instanceof BrokerDidNotStart, String(refused));
      assert.equal(refused.code, 2);
      assert.match(refused.output, says);
      assert.equal(refused.output.trim().split("\n").length, 1, refused.output);
      assert.doesNotMatch(refused.output, /PRIVATE KEY/);
    }
  });
});
