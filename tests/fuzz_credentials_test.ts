// Owns proof that nothing but a credential opens the door, whatever stands where one should, and that none is told.
// Refuses to own single rules of tokens (jwt_test.ts, api_keys_test.ts).
// Invariant: 401 in the same words, whatever is wrong; no fault of the broker's own.
import assert from "node:assert/strict";
import fc from "fast-check";
import { SignJWT } from "jose";
import { JwtVerifier } from "../api/auth/jwt.ts";
import { type ApiUnderTest, apiUnderTest } from "./support/api_app.ts";
import { fuzzRuns } from "./support/fuzz_runs.ts";
import { type ByteSpoil, byteSpoil, hostileValue, spoiledBytes } from "./support/hostile_bytes.ts";
import { VirtualClock } from "./support/virtual_time.ts";

const SECRET = "0123456789abcdef0123456789abcdef";
const ADMIN_TOKEN = "the-administrators-token";
const RUNS = 150;

interface Scene {
  readonly api: ApiUnderTest;
  readonly time: VirtualClock;
  /** What opens. */
  readonly tokens: Readonly<Record<"admin" | "key" | "jwt", string>>;
}

function signed(claims: Record<string, unknown>, header: Record<string, unknown> = {}) {
  return new SignJWT(claims).setProtectedHeader({ alg: "HS256", ...header })
    .sign(new TextEncoder().encode(SECRET));
}

async function scene(): Promise<Scene> {
  const time = new VirtualClock();
  const tokens = new JwtVerifier({
    key: { secret: SECRET },
    issuer: "https://id.example/",
    audience: "waybill",
    clockSkewMs: 5_000,
    tenantClaim: "tenant",
    clock: time,
  });
  const security = { adminToken: ADMIN_TOKEN, allowedOrigins: [], tokens };
  const api = await apiUnderTest({ time, app: { security } });
  const headers = { authorization: `Bearer ${ADMIN_TOKEN}` };
  const { body } = await api.ask("POST", "/api/keys", { body: { principal: "billing" }, headers });
  const jwt = await signed(claimsAt(time));
  return { api, time, tokens: { admin: ADMIN_TOKEN, key: body.key, jwt } };
}

function claimsAt(time: VirtualClock): Record<string, unknown> {
  const now = Math.floor(time.now() / 1_000);
  const exp = now + 3_600;
  return { sub: "billing", iss: "https://id.example/", aud: "waybill", iat: now, exp };
}

/** As header values may be: the rest no HTTP client sends. */
function headerText(bytes: Uint8Array): string {
  return String.fromCharCode(...bytes).replaceAll(/[^\t\x20-\x7e\x80-\xff]/g, "?");
}

/** A token that differs from one that opens in bits only that its encoding leaves unused. */
function isSame(token: string, jwt: string): boolean {
  const [signedPart, signature] = [token, jwt].map((text) => text.lastIndexOf("."));
  const bytes = (text: string, at: number) => {
    try {
      return Uint8Array.fromBase64(text.slice(at + 1), { alphabet: "base64url" }).join();
    } catch {
      return null;
    }
  };
  return token.slice(0, signedPart) === jwt.slice(0, signature) &&
    bytes(token, signedPart!) === bytes(jwt, signature!);
}

async function checkRefused(api: ApiUnderTest, headers: Record<string, string>): Promise<void> {
  const { status, body } = await api.ask("GET", "/api/topics", { headers });
  const told = JSON.stringify([headers, status, body]);
  assert.deepEqual([status, body.code], [401, "UNAUTHENTICATED"], told);
  assert.deepEqual(api.faults, [], told);
  const said = JSON.stringify(body);
  for (const sent of Object.values(headers)) {
    for (const word of sent.split(/[\s,.]+/).filter((part) => part.length > 16)) {
      assert.ok(!said.includes(word), told);
    }
  }
}

const scheme = fc.constantFrom(
  "Bearer ",
  "Bearer ",
  "Bearer ",
  "bearer   ",
  "Basic ",
  "",
  "Bearer",
);

Deno.test("no token that was spoiled opens the door, and none is told", async () => {
  const { api, tokens } = await scene();
  const spoils = fc.array(byteSpoil, { minLength: 1, maxLength: 3 });
  const which = fc.constantFrom("admin", "key", "jwt");
  await fc.assert(
    fc.asyncProperty(
      scheme,
      which,
      spoils,
      async (prefix, kind: keyof typeof tokens, changes: readonly ByteSpoil[]) => {
        const good = tokens[kind];
        const token = headerText(spoiledBytes(new TextEncoder().encode(good), changes)).trim();
        if (token === good || (kind === "jwt" && isSame(token, good))) return;
        await checkRefused(api, { authorization: `${prefix}${token}` });
      },
    ),
    fuzzRuns(RUNS),
  );
  for (const token of Object.values(tokens)) {
    const headers = { authorization: `Bearer ${token}` };
    assert.equal((await api.ask("GET", "/api/topics", { headers })).status, 200);
  }
  await api.close();
});

Deno.test("a token that is signed well and claims rubbish is refused, or opens as what it says", async () => {
  const { api, time } = await scene();
  const claim = fc.constantFrom("sub", "iss", "aud", "iat", "exp", "nbf", "tenant", "jti", "crit");
  const header = fc.constantFrom("typ", "kid", "crit", "jku", "x5u", "jwk", "b64", "cty");
  const rubbish = (name: fc.Arbitrary<string>) =>
    fc.array(fc.tuple(name, hostileValue), { maxLength: 2 }).map(Object.fromEntries);
  await fc.assert(
    fc.asyncProperty(rubbish(claim), rubbish(header), async (claims, headers) => {
      let token: string;
      try {
        token = await signed({ ...claimsAt(time), ...claims }, headers);
      } catch {
        // Nobody can sign that.
        return;
      }
      const authorization = `Bearer ${token}`;
      const { status, body } = await api.ask("GET", "/api/topics", { headers: { authorization } });
      const told = JSON.stringify([claims, headers, status, body]).slice(0, 2_000);
      assert.ok(status === 200 || (status === 401 && body.code === "UNAUTHENTICATED"), told);
      assert.deepEqual(api.faults, [], told);
    }),
    fuzzRuns(RUNS),
  );
  await api.close();
});
