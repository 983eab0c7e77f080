// Owns proof that the dashboard is served whole, as it was bundled from its sources, and under a policy that lets nothing else in.
// Refuses to own what it shows. Invariant: the committed bundle is what `deno task dashboard` makes now.
import assert from "node:assert/strict";
import { dashboardRoutes } from "../api/routes/dashboard.ts";
import { apiUnderTest } from "./support/api_app.ts";

const ROOT = new URL("../", import.meta.url).pathname;
const BUNDLE = "api/dashboard/bundle/app.js";

async function served() {
  const security = { adminToken: "s3cret", allowedOrigins: [] };
  return await apiUnderTest({ app: { routes: [dashboardRoutes], security } });
}

Deno.test("the committed bundle is the one that its sources make, and making it again changes nothing", async () => {
  const directory = await Deno.makeTempDir({ prefix: "waybill-test-" });
  try {
    const { tasks: { dashboard } } = JSON.parse(await Deno.readTextFile(`${ROOT}deno.json`));
    const made = `${directory}/app.js`;
    const args = dashboard.replace(/^deno /, "").replace(BUNDLE, made).split(" ");
    for (let time = 0; time < 2; time++) {
      const { success, stderr } = await new Deno.Command(Deno.execPath(), { args, cwd: ROOT })
        .output();
      assert.ok(success, new TextDecoder().decode(stderr));
      const isSame = await Deno.readTextFile(made) === await Deno.readTextFile(`${ROOT}${BUNDLE}`);
      assert.ok(isSame, "sources have changed: run `deno task dashboard` and commit its bundle");
    }
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("the page and all that it loads is served without a credential, and known again by its tag", async () => {
  const api = await served();
  const page = await api.app.request("/", { headers: { accept: "text/html" } });
  const html = await page.text();
  const loaded = [...html.matchAll(/(?:src|href)="(\/dashboard\/[^"]+)"/g)].map(([, path]) =>
    path!
  );
  assert.deepEqual(loaded.sort(), [
    "/dashboard/app.js",
    "/dashboard/icon.svg",
    "/dashboard/style.css",
  ]);
  for (const path of ["/", ...loaded]) {
    const response = await api.app.request(path);
    assert.equal(response.status, 200);
    assert.ok((await response.arrayBuffer()).byteLength > 100);
    const tag = response.headers.get("etag")!;
    assert.match(tag, /^"[\w-]{27}"$/);
    for (const [known, status] of [[tag, 304], [`"x", W/${tag}`, 304], ['"x"', 200]] as const) {
      const again = await api.app.request(path, { headers: { "if-none-match": known } });
      assert.equal(again.status, status);
      assert.equal(again.headers.get("etag"), tag);
      await again.body?.cancel();
    }
  }
  await api.close();
});

Deno.test("the page may load from its own broker alone, and nothing inline", async () => {
  const api = await served();
  const response = await api.app.request("/");
  const policy = response.headers.get("content-security-policy")!;
  assert.match(policy, /^default-src 'none'; script-src 'self'; style-src 'self';/);
  assert.match(policy, /require-trusted-types-for 'script'; trusted-types 'none'$/);
  assert.doesNotMatch(policy, /unsafe|\*|data:|https?:/);
  for (
    const [name, value] of [
      ["x-content-type-options", "nosniff"],
      ["x-frame-options", "DENY"],
      ["referrer-policy", "no-referrer"],
      ["cross-origin-opener-policy", "same-origin"],
    ] as const
  ) assert.equal(response.headers.get(name), value);
  const html = await response.text();
  assert.doesNotMatch(html, /<style|\sstyle=|<script(?![^>]*src=)|\son\w+=|https?:/);
  await api.close();
});

Deno.test("style sheet and script name no other place to load from", async () => {
  const style = await Deno.readTextFile(`${ROOT}api/dashboard/style.css`);
  assert.doesNotMatch(style, /@import|url\(/);
  const script = await Deno.readTextFile(`${ROOT}${BUNDLE}`);
  // Names of namespaces are no addresses.
  const addresses = [...script.matchAll(/https?:\/\/[^\s"'`)]+/g)].map(([address]) => address)
    .filter((address) => !address.startsWith("http://www.w3.org/"));
  assert.deepEqual(addresses, []);
});
