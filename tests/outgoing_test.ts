// Owns the tests of calls that others name: whom they may reach, and that nothing on the way leads elsewhere.
import assert from "node:assert/strict";
import fc from "fast-check";
import { type GuardedFetch, guardedFetch } from "../ops/outgoing/guarded_fetch.ts";
import { isPublic, parseNetwork } from "../ops/outgoing/networks.ts";
import { OutgoingRefusedError, OutgoingRules } from "../ops/outgoing/rules.ts";
import { parseIp } from "../ops/ip_address.ts";
import { selfSigned } from "./support/self_signed.ts";

Deno.test("addresses that are not of the public internet are known as such", () => {
  const closed = [
    ...["0.0.0.0", "10.0.0.1", "100.64.1.1", "127.0.0.1", "127.255.1.2", "169.254.169.254"],
    ...[
      "172.16.0.1",
      "172.31.255.255",
      "192.168.1.1",
      "198.18.0.1",
      "224.0.0.1",
      "255.255.255.255",
    ],
    ...["192.0.2.1", "198.51.100.1", "203.0.113.1", "::", "::1", "fe80::1", "fd00::1", "ff02::1"],
    ...["::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2001:db8::1", "2002:a00:1::"],
    ...["2001::1", "fec0::1", "::10.0.0.1", "4000::1"],
  ];
  for (const address of closed) assert.ok(!isPublic(parseIp(address)!), address);
  const open = ["1.1.1.1", "172.15.255.255", "172.32.0.1", "192.169.0.1", "100.128.0.1", "9.9.9.9"];
  for (const address of [...open, "2606:4700::1111", "2a00::1", "::ffff:8.8.8.8"]) {
    assert.ok(isPublic(parseIp(address)!), address);
  }
});

Deno.test("a network has as many bits as its family, and none set behind its prefix", () => {
  for (const text of ["10.0.0.0/8", "10.1.2.3", "0.0.0.0/0", "fd00::/8", "::1/128"]) {
    assert.ok(parseNetwork(text) !== null, text);
  }
  const wrong = [
    "10.0.0.0/33",
    "10.0.0.1/8",
    "fd00::/129",
    "fd00::1/8",
    "10.0.0.0/",
    "10.0.0.0/-1",
  ];
  for (const text of [...wrong, "a/8", "10.0.0.0/8/8", ""]) {
    assert.equal(parseNetwork(text), null, text);
  }
});

/** What `rules` say of a URL whose name stands for `address`. */
function verdict(allowed: readonly string[], url: string, address: string): string {
  const rules = new OutgoingRules(allowed);
  try {
    rules.checkAddress(rules.target(url), address);
    return "called";
  } catch (error) {
    assert.ok(error instanceof OutgoingRefusedError, String(error));
    return error.message;
  }
}

Deno.test("a call goes to a listed host at a public address with TLS, or to a listed address", () => {
  const called: [string[], string, string][] = [
    [["hooks.example.com"], "https://hooks.example.com/a?b", "1.1.1.1"],
    [["hooks.example.com"], "https://HOOKS.example.com./", "2606:4700::1"],
    [["hooks.example.com:8443"], "https://hooks.example.com:8443/", "1.1.1.1"],
    [["*.example.com"], "https://a.b.example.com/", "1.1.1.1"],
    [["hooks.example.com", "10.1.0.0/16"], "http://hooks.example.com/", "10.1.2.3"],
    [["127.0.0.1"], "http://127.0.0.1:9000/", "127.0.0.1"],
    [["127.0.0.1"], "http://[::ffff:127.0.0.1]:9000/", "127.0.0.1"],
    [["fd00::/8"], "http://[fd00::1]/", "fd00::1"],
  ];
  for (const [allowed, url, address] of called) {
    assert.equal(verdict(allowed, url, address), "called", url);
  }
});

Deno.test("a call to anything else is refused with its reason", () => {
  const refused: [string[], string, string, RegExp][] = [
    [[], "https://hooks.example.com/", "1.1.1.1", /not on the list/],
    [["hooks.example.com"], "https://hooks.example.com.evil.com/", "1.1.1.1", /not on the list/],
    [["*.example.com"], "https://example.com/", "1.1.1.1", /not on the list/],
    [["*.example.com"], "https://evilexample.com/", "1.1.1.1", /not on the list/],
    [["hooks.example.com"], "https://hooks.example.com:22/", "1.1.1.1", /port 22 is not/],
    [["hooks.example.com"], "http://hooks.example.com/", "1.1.1.1", /https only/],
    [["hooks.example.com"], "https://hooks.example.com/", "169.254.169.254", /not public/],
    [["hooks.example.com"], "https://hooks.example.com/", "::ffff:127.0.0.1", /not public/],
    [["hooks.example.com"], "https://hooks.example.com/", "rubbish", /no address/],
    [["hooks.example.com"], "https://1.1.1.1/", "1.1.1.1", /not on the list/],
    [["hooks.example.com"], "https://user:pw@hooks.example.com/", "1.1.1.1", /password/],
    [["hooks.example.com"], "ftp://hooks.example.com/", "1.1.1.1", /neither http/],
    [["hooks.example.com"], "file:///etc/passwd", "1.1.1.1", /neither http/],
    [["10.0.0.0/8"], "http://0x7f.1/", "127.0.0.1", /not on the list/],
    [["10.0.0.0/8"], "http://2130706433/", "127.0.0.1", /not on the list/],
    [["10.0.0.0/8"], "rubbish", "10.0.0.1", /no URL/],
  ];
  for (const [allowed, url, address, why] of refused) {
    assert.match(verdict(allowed, url, address), why, url);
  }
});

Deno.test("nothing but http and https to a listed host is ever called, whatever the URL looks like", () => {
  const piece = fc.constantFrom(
    "https:",
    "http:",
    "//",
    "@",
    "hooks.example.com",
    "evil.com",
    ":443",
    "#",
    "?",
    "\\",
    "/",
    ".",
    "%2e",
    "\t",
    "[::1]",
    "127.0.0.1",
    "a",
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 9 }), (pieces) => {
      const url = pieces.join("");
      if (verdict(["hooks.example.com"], url, "1.1.1.1") !== "called") return;
      assert.equal(new URL(url).hostname.replace(/\.$/, ""), "hooks.example.com");
      assert.equal(new URL(url).protocol, "https:");
    }),
    { numRuns: 2_000 },
  );
});

Deno.test("a list with what is neither host nor network is refused whole", () => {
  for (
    const entry of ["", "http://a.com", "a.com/path", "10.0.0.0/99", "a b", "*.*", "a.com:0", "1.2"]
  ) {
    assert.throws(() => new OutgoingRules(["good.com", entry]), /neither a host/, entry);
  }
});

/** Runs `test` beside a server on loopback. */
async function withServer(
  handler: (request: Request) => Response | Promise<Response>,
  test: (port: number) => Promise<void>,
  pair?: { cert: string; key: string },
): Promise<void> {
  const options = { hostname: "127.0.0.1", port: 0, onListen() {}, ...pair ?? {} };
  await using server = Deno.serve(options, handler);
  await test((server.addr as Deno.NetAddr).port);
}

const toLoopback = (): GuardedFetch => guardedFetch({ rules: new OutgoingRules(["127.0.0.1"]) });

Deno.test("a call sends its body and headers, and brings the answer", async () => {
  await withServer(async (request) => {
    const { method, headers } = request;
    const body = await request.text();
    return Response.json({ method, body, host: headers.get("host"), mine: headers.get("x-mine") });
  }, async (port) => {
    const answer = await toLoopback()({
      url: `http://127.0.0.1:${port}/hook?a=b`,
      method: "POST",
      headers: { "x-mine": "1", host: "evil.com", "content-length": "99" },
      body: "grüße",
    });
    assert.equal(answer.status, 200);
    const said = JSON.parse(new TextDecoder().decode(answer.body));
    assert.deepEqual(said, { method: "POST", body: "grüße", host: `127.0.0.1:${port}`, mine: "1" });
  });
});

Deno.test("a redirect is not followed, wherever it leads", async () => {
  let asked = 0;
  await withServer(() => {
    asked++;
    return new Response(null, { status: 307, headers: { location: "http://169.254.169.254/" } });
  }, async (port) => {
    const answer = await toLoopback()({ url: `http://127.0.0.1:${port}/`, method: "POST" });
    assert.deepEqual([answer.status, asked], [307, 1]);
  });
});

Deno.test("the connection goes to the address that was checked, and the certificate has to be the name's", async () => {
  const pair = await selfSigned("localhost");
  await withServer(() => new Response("here"), async (port) => {
    let resolved = 0;
    const call = (host: string) =>
      guardedFetch({
        rules: new OutgoingRules([`${host}:${port}`, "127.0.0.1"]),
        trusted: [pair.cert],
        // A name that stands for another address the next time it is asked for.
        resolve: () => Promise.resolve([resolved++ === 0 ? "127.0.0.1" : "127.9.9.9"]),
      })({ url: `https://${host}:${port}/`, method: "GET" });
    assert.equal((await call("localhost")).status, 200);
    assert.equal(resolved, 1);
    resolved = 0;
    await assert.rejects(call("hooks.example.com"), /altnames/);
  }, pair);
});

Deno.test("a name is refused when any of its addresses is", async () => {
  const fetch = guardedFetch({
    rules: new OutgoingRules(["hooks.example.com"]),
    resolve: () => Promise.resolve(["1.1.1.1", "10.0.0.1"]),
  });
  const call = fetch({ url: "https://hooks.example.com/", method: "GET" });
  await assert.rejects(call, OutgoingRefusedError);
});

Deno.test("an answer is read up to its bound, and a call ends at its time-out", async () => {
  const silence = Promise.withResolvers<Response>();
  await withServer((request) => {
    if (request.url.endsWith("/silent")) return silence.promise;
    return new Response(new Uint8Array(1_000_000).fill(97));
  }, async (port) => {
    const fetch = toLoopback();
    const large = await fetch({ url: `http://127.0.0.1:${port}/large`, method: "GET" });
    assert.deepEqual([large.body.length, large.isCut], [65_536, true]);
    const silent = {
      url: `http://127.0.0.1:${port}/silent`,
      method: "GET",
      timeoutMs: 100,
    } as const;
    await assert.rejects(fetch(silent));
    silence.resolve(new Response("too late"));
  });
});
