// Owns the tests of JSON Web Tokens: what opens the API, what does not, keys of an issuer and their rotation.
// Refuses to own what a principal may do.
import assert from "node:assert/strict";
import { exportJWK, generateKeyPair, type JWTPayload, SignJWT, UnsecuredJWT } from "jose";
import type { Access } from "../api/auth/access.ts";
import { type JwtOptions, JwtVerifier } from "../api/auth/jwt.ts";
import { ConfigError, readConfig } from "../ops/config.ts";
import { hasCredential, tokenVerifierOf } from "../ops/token_verifier.ts";
import { apiUnderTest } from "./support/api_app.ts";
import { VirtualClock } from "./support/virtual_time.ts";

const SECRET = "0123456789abcdef0123456789abcdef";
const JWKS_URL = "https://id.example/keys";
const ISSUER = "https://id.example/";

function options(time: VirtualClock, more: Partial<JwtOptions> = {}): JwtOptions {
  return {
    key: { secret: SECRET },
    issuer: ISSUER,
    audience: "waybill",
    clockSkewMs: 5_000,
    tenantClaim: "tenant",
    clock: time,
    ...more,
  };
}

/** Claims that open; undefined takes one out. */
function claims(time: VirtualClock, more: JWTPayload = {}): JWTPayload {
  const now = Math.floor(time.now() / 1_000);
  const whole = { sub: "billing", iss: ISSUER, aud: "waybill", iat: now, exp: now + 60, ...more };
  return JSON.parse(JSON.stringify(whole));
}

const secretKey = (secret: string) => new TextEncoder().encode(secret);

function signed(payload: JWTPayload, { secret = SECRET, alg = "HS256" } = {}): Promise<string> {
  return new SignJWT(payload).setProtectedHeader({ alg }).sign(secretKey(secret));
}

async function refused(verifier: JwtVerifier, token: string, code = "UNAUTHENTICATED") {
  await assert.rejects(async () => await verifier.verify(token), (error: Error) => {
    assert.equal((error as { code?: string }).code, code, error.message);
    for (const part of token.split(".").filter((part) => part.length > 8)) {
      assert.equal(error.message.includes(part), false, error.message);
    }
    return true;
  });
}

Deno.test("a token signed with the secret opens as its subject and tenant", async () => {
  const time = new VirtualClock();
  const verifier = new JwtVerifier(options(time));
  const access = await verifier.verify(await signed(claims(time, { tenant: "acme" })));
  assert.deepEqual([access.principal, access.tenant, access.isAdministrator], [
    "billing",
    "acme",
    false,
  ]);
  assert.equal((await verifier.verify(await signed(claims(time)))).tenant, "default");
});

Deno.test("a token that was verified lately is known at once, until it expires", async () => {
  const time = new VirtualClock();
  const verifier = new JwtVerifier(options(time));
  const token = await signed(claims(time, { exp: Math.floor(time.now() / 1_000) + 30 }));
  const access = await verifier.verify(token);
  assert.equal(verifier.verify(token), access);
  await time.advance(34_999);
  assert.equal(verifier.verify(token), access);
  assert.equal(access.leftMs(), 1);
  await time.advance(1);
  assert.equal(access.ended(), "expired");
  await refused(verifier, token);
});

Deno.test("a token whose claims do not fit is refused", async () => {
  const time = new VirtualClock();
  const verifier = new JwtVerifier(options(time));
  const now = Math.floor(time.now() / 1_000);
  const wrong: Record<string, unknown>[] = [
    { sub: undefined },
    { sub: "" },
    { sub: "a b" },
    { sub: "*" },
    { sub: "admin" },
    { sub: "ADMIN" },
    { sub: "System:breaker" },
    { sub: "local-admin" },
    { sub: "system:breaker" },
    { sub: 7 },
    { iss: undefined },
    { iss: "https://evil.example/" },
    { aud: undefined },
    { aud: "another" },
    { aud: ["another"] },
    { exp: undefined },
    { exp: now - 5 },
    { exp: "tomorrow" },
    { nbf: now + 6 },
    { tenant: ".." },
    { tenant: 7 },
  ];
  for (const more of wrong) {
    await refused(verifier, await signed(claims(time, more as JWTPayload)));
  }
  for (const more of [{ exp: now - 4 }, { nbf: now + 5 }, { aud: ["another", "waybill"] }]) {
    assert.equal((await verifier.verify(await signed(claims(time, more)))).principal, "billing");
  }
});

Deno.test("a token of another secret, algorithm or form is refused", async () => {
  const time = new VirtualClock();
  const verifier = new JwtVerifier(options(time));
  const good = await signed(claims(time));
  const [header, payload, signature] = good.split(".") as [string, string, string];
  const unsigned = new UnsecuredJWT(claims(time)).encode();
  const forged = btoa(JSON.stringify(claims(time, { sub: "root" }))).replaceAll("=", "");
  const tokens = [
    await signed(claims(time), { secret: `${SECRET}x` }),
    await signed(claims(time), { alg: "HS512" }),
    unsigned,
    `${header}.${forged}.${signature}`,
    `${header}.${payload}.`,
    `${header}.${payload}`,
    "a.b.c",
    "nonsense",
  ];
  for (const token of tokens) await refused(verifier, token);
});

/** An issuer whose keys can be changed, and whose answers are counted. */
async function issuer(time: VirtualClock) {
  const make = async (kid: string, alg = "RS256") => {
    const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true });
    const privateJwk = await exportJWK(privateKey);
    return {
      jwk: { ...await exportJWK(publicKey), kid },
      sign: (payload: JWTPayload, more: object = {}) =>
        new SignJWT(payload).setProtectedHeader({ alg, kid, ...more }).sign(privateJwk),
    };
  };
  const first = await make("one");
  const state = {
    asked: [] as string[],
    answer: () => new Response(JSON.stringify({ keys: [first.jwk] })),
  };
  const verifier = new JwtVerifier(options(time, {
    key: { jwksUrl: JWKS_URL, algorithms: ["RS256"] },
    // deno-lint-ignore require-await -- as fetch does, it rejects rather than throws
    fetch: (async (url: string, init: RequestInit) => {
      assert.equal(init.redirect, "manual");
      state.asked.push(String(url));
      return state.answer();
    }) as typeof fetch,
  }));
  return { verifier, first, make, state };
}

Deno.test("a token of an issuer is verified with the keys it publishes, fetched from the configured address alone", async () => {
  const time = new VirtualClock();
  const { verifier, first, state } = await issuer(time);
  const elsewhere = { jku: "https://evil.example/keys", x5u: "https://evil.example/cert" };
  const token = await first.sign(claims(time), elsewhere);
  assert.equal((await verifier.verify(token)).principal, "billing");
  assert.deepEqual(state.asked, [JWKS_URL]);
});

Deno.test("a public key does not pass for a shared secret, nor a key that a token brings for the issuer's", async () => {
  const time = new VirtualClock();
  const { verifier, first, make } = await issuer(time);
  const jwk = JSON.stringify(first.jwk);
  const confused = await new SignJWT(claims(time)).setProtectedHeader({ alg: "HS256", kid: "one" })
    .sign(secretKey(jwk));
  await refused(verifier, confused);
  const stranger = await make("one");
  await refused(verifier, await stranger.sign(claims(time), { jwk: stranger.jwk }));
  await refused(verifier, await first.sign(claims(time), { alg: "RS512" }));
  const other = await make("one", "ES256");
  await refused(verifier, await other.sign(claims(time)));
});

/** jose keeps the age of fetched keys by the real clock: meanwhile that goes with the virtual one. */
async function withClockOfJose(run: (time: VirtualClock) => Promise<void>): Promise<void> {
  const time = new VirtualClock();
  const realNow = Date.now;
  const offset = realNow();
  Date.now = () => offset + time.monotonic();
  try {
    await run(time);
  } finally {
    Date.now = realNow;
  }
}

Deno.test("a token ends with the key it was signed with, and a new key opens without a restart", async () => {
  await withClockOfJose(async (time) => {
    const { verifier, first, make, state } = await issuer(time);
    const later = Math.floor(time.now() / 1_000) + 7_200;
    const token = await first.sign(claims(time, { exp: later }));
    await verifier.verify(token);
    const second = await make("two");
    state.answer = () => new Response(JSON.stringify({ keys: [second.jwk] }));
    await time.advance(30_001);
    const next = await second.sign(claims(time, { exp: later }));
    assert.equal((await verifier.verify(next)).principal, "billing");
    assert.equal(state.asked.length, 2);
    await time.advance(60_001);
    await refused(verifier, token);
    assert.equal((await verifier.verify(next)).principal, "billing");
  });
});

Deno.test("an issuer that cannot be asked is a fault that passes, not a bad token", async () => {
  const time = new VirtualClock();
  const answers: (() => Response)[] = [
    () => new Response("down", { status: 503 }),
    () => new Response(null, { status: 302, headers: { location: "https://evil.example" } }),
    () => new Response("no JSON"),
    () => new Response(JSON.stringify({ keys: "none" })),
    () => new Response("x".repeat(2_000_000)),
    () => {
      throw new TypeError("connection refused");
    },
  ];
  for (const [index, answer] of answers.entries()) {
    const { verifier, first, state } = await issuer(time);
    const good = state.answer;
    state.answer = answer;
    const token = await first.sign(claims(time));
    await assert.rejects(async () => await verifier.verify(token), (error: { code: string }) => {
      assert.equal(error.code, "IDENTITY_UNAVAILABLE", `answer ${index}`);
      return true;
    });
    state.answer = good;
    assert.equal((await verifier.verify(token)).principal, "billing");
  }
});

Deno.test("a token of a key made since the keys were fetched is told to come again, and then opens", async () => {
  await withClockOfJose(async (time) => {
    const { verifier, first, make, state } = await issuer(time);
    const later = Math.floor(time.now() / 1_000) + 7_200;
    await verifier.verify(await first.sign(claims(time, { exp: later })));
    const second = await make("two");
    const good = () => new Response(JSON.stringify({ keys: [first.jwk, second.jwk] }));
    state.answer = good;
    await time.advance(2_000);
    const token = await second.sign(claims(time, { exp: later }));
    await assert.rejects(async () => await verifier.verify(token), {
      code: "IDENTITY_UNAVAILABLE",
      retryable: true,
      details: { retryAfterMs: 3_000 },
    });
    assert.equal(state.asked.length, 1, "strangers cannot make the broker ask for each token");
    await time.advance(3_000);
    assert.equal((await verifier.verify(token)).principal, "billing");
    // Nobody's key, and the issuer was asked for it.
    await time.advance(5_000);
    await refused(verifier, await (await make("three")).sign(claims(time, { exp: later })));
    await time.advance(5_000);
    state.answer = () => new Response("down", { status: 500 });
    const third = await (await make("three")).sign(claims(time, { exp: later }));
    await refused(verifier, third, "IDENTITY_UNAVAILABLE");
  });
});

Deno.test("an issuer that cannot be asked is told to the operator once, and again when it can", async () => {
  const time = new VirtualClock();
  const { verifier, first, state } = await issuer(time);
  const news: { level: string; message: string; error?: unknown }[] = [];
  verifier.watch((one) => news.push(one));
  const good = state.answer;
  state.answer = () => new Response("down", { status: 500 });
  for (let times = 0; times < 3; times++) {
    await refused(verifier, await first.sign(claims(time)), "IDENTITY_UNAVAILABLE");
  }
  assert.equal(verifier.issuerFailures, 3);
  assert.equal(news.length, 1);
  assert.equal(news[0]!.level, "warning");
  assert.match(news[0]!.message, /https:\/\/id\.example\/keys/);
  assert.match(String(news[0]!.error), /the answer was 500/);
  await time.advance(300_000);
  await refused(verifier, await first.sign(claims(time)), "IDENTITY_UNAVAILABLE");
  assert.equal(news.length, 2, "told again while it lasts");
  state.answer = good;
  await verifier.verify(await first.sign(claims(time)));
  assert.deepEqual(news.slice(2).map(({ level }) => level), ["info"]);
  assert.match(news[2]!.message, /again, after 300 s/);
});

Deno.test("a token opens the API, and with a verifier alone nobody comes in without one", async () => {
  const time = new VirtualClock();
  const tokens = new JwtVerifier(options(time));
  const security = { adminToken: null, allowedOrigins: [], tokens };
  const api = await apiUnderTest({ time, app: { security } });
  const statusOf = async (token?: string) => {
    const headers: Record<string, string> = {};
    if (token !== undefined) headers.authorization = `Bearer ${token}`;
    return (await api.ask("GET", "/api/topics", { headers })).status;
  };
  const token = await signed(claims(time));
  assert.equal(await statusOf(token), 200);
  assert.equal(await statusOf(token), 200);
  assert.equal(await statusOf(), 401);
  assert.equal(await statusOf(`${token}x`), 401);
  const headers = { authorization: `Bearer ${token}` };
  assert.equal((await api.ask("GET", "/api/keys", { headers })).status, 403);
  await time.advance(65_000);
  assert.equal(await statusOf(token), 401);
  await api.close();
});

function config(args: readonly string[]) {
  const read = readConfig({ args, environment: {}, readFile: () => "" });
  assert.notEqual(read, "help");
  return read as Exclude<typeof read, "help">;
}

Deno.test("configuration of tokens is whole or refused", async () => {
  const time = new VirtualClock();
  const verifierOf = (...args: string[]) => tokenVerifierOf(config(args), time);
  const secret = `--jwt-secret=${SECRET}`;
  const named = ["--jwt-issuer=i", "--jwt-audience=a"];
  const url = "--jwt-jwks-url=https://id.example/keys";
  assert.equal(await verifierOf(), null);
  assert.equal(hasCredential(config([])), false);
  for (const args of [[secret], [secret, ...named], [url, ...named]]) {
    assert.ok(await verifierOf(...args));
    assert.equal(hasCredential(config(args)), true);
  }
  assert.ok(await verifierOf("--jwt-jwks-url=http://127.0.0.1:9/keys", ...named));
  const refusals = [
    [secret, url, ...named],
    named,
    [url],
    [url, "--jwt-issuer=i"],
    [url, "--jwt-audience=a"],
    ["--jwt-jwks-url=http://id.example/keys", ...named],
    ["--jwt-jwks-url=file:///etc/keys", ...named],
    ["--jwt-jwks-url=keys", ...named],
  ];
  for (const args of refusals) {
    await assert.rejects(verifierOf(...args), ConfigError, args.join(" "));
  }
  assert.throws(() => config(["--jwt-secret=short"]), (error: Error) => {
    return error instanceof ConfigError && !error.message.includes('short"');
  });
  assert.throws(() => config(["--jwt-algorithms=HS256"]), ConfigError);
  assert.throws(() => config(["--jwt-algorithms=none"]), ConfigError);
  const access = await (await verifierOf(secret))!.verify(await signed(claims(time))) as Access;
  assert.equal(access.principal, "billing");
});

Deno.test("a token that would hold for longer than a year, or as many hours as are configured, is refused", async () => {
  const time = new VirtualClock();
  const nowSeconds = Math.floor(time.now() / 1_000);
  const year = 365 * 86_400;
  const verifier = new JwtVerifier(options(time));
  await verifier.verify(await signed(claims(time, { exp: nowSeconds + year })));
  await refused(verifier, await signed(claims(time, { exp: nowSeconds + year + 60 })));
  // In ms, as some libraries have it.
  await refused(verifier, await signed(claims(time, { exp: time.now() })));
  const strict = (await tokenVerifierOf(
    config([`--jwt-secret=${SECRET}`, "--jwt-max-life-hours=1"]),
    time,
  ))!;
  await strict.verify(await signed(claims(time, { exp: nowSeconds + 3_600 })));
  await refused(strict as JwtVerifier, await signed(claims(time, { exp: nowSeconds + 3_700 })));
});
