// Owns tests of which broker commands go to, and of credentials that are used and never shown.
import assert from "node:assert/strict";
import { cli, type CliWorld } from "./support/cli_run.ts";

const TOKEN = "wbk_secret-credential";
const FILE = "/home/ann/.config/waybill/profiles.yaml";

/** A broker that says who asked: it answers with the credential that it was shown, as the name of a topic's leader. */
function askedServer() {
  const asked: (string | null)[] = [];
  const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen: () => {} }, (request) => {
    asked.push(request.headers.get("authorization"));
    return Response.json({ topics: [] });
  });
  const url = `http://127.0.0.1:${server.addr.port}`;
  return { asked, url, [Symbol.asyncDispose]: () => server.shutdown() };
}

function worldOf(profiles: string, more: Partial<CliWorld> = {}): CliWorld {
  return {
    ...more,
    environment: { HOME: "/home/ann", ...more.environment },
    files: { [FILE]: profiles, ...more.files },
  };
}

Deno.test("a profile names the broker and where its credential is; options win over it", async () => {
  await using first = askedServer();
  await using second = askedServer();
  const world = worldOf(
    `default: one
profiles:
  one: { url: "${first.url}", tokenFile: ~/one.token }
  two: { url: "${second.url}", tokenEnv: WAYBILLCTL_TWO }`,
    {
      files: { "/home/ann/one.token": `${TOKEN}\n`, "/other": "other-token" },
      environment: { WAYBILLCTL_TWO: "two-token" },
    },
  );
  const list = ["topics", "list"];
  assert.equal((await cli(list, world)).code, 0);
  assert.equal((await cli([...list, "--profile", "two"], world)).code, 0);
  assert.equal((await cli([...list, "-p", "two", "--token-file", "/other"], world)).code, 0);
  assert.equal((await cli([...list, "--url", second.url], world)).code, 0);
  assert.deepEqual(first.asked, [`Bearer ${TOKEN}`]);
  assert.deepEqual(second.asked, ["Bearer two-token", "Bearer other-token", null]);
});

Deno.test("the environment names a broker before the file's default does", async () => {
  await using server = askedServer();
  const environment = { WAYBILLCTL_URL: server.url, WAYBILLCTL_TOKEN: TOKEN };
  const world = worldOf(`default: one\nprofiles: { one: { url: "http://127.0.0.1:9" } }`, {
    environment,
  });
  assert.equal((await cli(["topics", "list"], world)).code, 0);
  assert.deepEqual(server.asked, [`Bearer ${TOKEN}`]);
});

Deno.test("of a cluster several brokers are named, and one that is not reached is passed over", async () => {
  await using server = askedServer();
  const gone = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const dead = `http://127.0.0.1:${gone.addr.port}`;
  gone.close();
  const url = `${dead},${server.url}/`;
  assert.equal((await cli(["topics", "list", "--url", url], {})).code, 0);
  assert.equal((await cli(["topics", "delete", "x", "--yes", "--url", url], {})).code, 0);
  assert.equal(server.asked.length, 2);
  const none = await cli(["topics", "list", "--url", `${dead},${dead}`], {});
  assert.notEqual(none.code, 0);
  assert.equal((await cli(["topics", "list", "--url", `${server.url},`], {})).code, 2);
});

Deno.test("a credential is shown nowhere, whatever goes wrong", async () => {
  await using server = askedServer();
  const environment = { WAYBILLCTL_URL: server.url, WAYBILLCTL_TOKEN: TOKEN };
  const lines = [["profiles"], ["profiles", "--json"], ["topics", "list"], [
    "topics",
    "delete",
    "x",
  ]];
  for (const words of lines) {
    const { out, err } = await cli(words, { environment });
    assert.ok(!`${out}${err}`.includes(TOKEN), words.join(" "));
  }
  const broken = { ...environment, WAYBILLCTL_TOKEN: `${TOKEN}\u0007` };
  const { code, err } = await cli(["topics", "list"], { environment: broken });
  assert.equal(code, 2);
  assert.ok(!err.includes(TOKEN));
});

Deno.test("profiles that cannot be used are refused before anything is asked", async () => {
  const cases: [string, string[], RegExp][] = [
    [`profiles: { one: { url: "http://h", token: x } }`, [], /a token does not stand here/],
    [`profiles: { one: { url: "http://h", colour: x } }`, [], /"colour" is not known/],
    [`profiles: { one: { tokenFile: x } }`, [], /needs a url/],
    [`profiles: { one: { url: "http://h", tokenEnv: HOME } }`, [], /starts with WAYBILLCTL_/],
    [`default: two\nprofiles: { one: { url: "http://h" } }`, [], /no profile "two"/],
    [`profiles: { one: { url: "http://a:b@h" } }`, ["-p", "one"], /holds no credential/],
    [`profiles: { one: { url: "ftp://h" } }`, ["-p", "one"], /no address/],
    [`profiles: { one: { url: "http://h", tokenFile: /none } }`, ["-p", "one"], /cannot be read/],
    [`profiles: {}`, ["-p", "constructor"], /no profile "constructor"/],
    [`[`, [], /no YAML/],
    [`profiles: {}`, ["--url", "http://h", "-p", "x"], /exclude each other/],
    [`profiles: {}`, ["--config", "/nowhere"], /no file \/nowhere/],
  ];
  for (const [profiles, words, says] of cases) {
    const { code, err } = await cli(["topics", "list", ...words], worldOf(profiles));
    assert.equal(code, 2, `${profiles}: ${err}`);
    assert.match(err, says);
  }
});

Deno.test("a credential is not carried to where a broker points", async () => {
  await using other = askedServer();
  const server = Deno.serve(
    { port: 0, hostname: "127.0.0.1", onListen: () => {} },
    () => Response.redirect(`${other.url}/api/topics`, 307),
  );
  const environment = {
    WAYBILLCTL_URL: `http://127.0.0.1:${server.addr.port}`,
    WAYBILLCTL_TOKEN: TOKEN,
  };
  const { code } = await cli(["topics", "list"], { environment });
  assert.equal(code, 3);
  assert.deepEqual(other.asked, []);
  await server.shutdown();
});
