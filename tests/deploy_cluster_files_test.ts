// Owns proof that the files for containers, systemd and Kubernetes say only what a broker understands, and fit each other.
// Refuses to own running them: there is neither a container runtime nor a Kubernetes here. Where systemd is, it judges its unit.
import assert from "node:assert/strict";
import { parse, parseAllDocuments } from "yaml";
import denoConfig from "../deno.json" with { type: "json" };
import { ENVIRONMENT_NAMES, readConfig } from "../ops/config.ts";
import { healthRoutes } from "../api/routes/health.ts";
import { works } from "./support/system_needs.ts";

const DEPLOY = new URL("../ops/deploy/", import.meta.url);
const BROKERS = 3;

interface Named {
  readonly name: string;
  readonly value?: string;
}

const read = (path: string) => Deno.readTextFile(new URL(path, DEPLOY));

/** Throws unless a broker would start with it. */
function assertConfigures(environment: Record<string, string>): void {
  for (const name of Object.keys(environment)) {
    assert.ok(ENVIRONMENT_NAMES.includes(name), `a broker knows no ${name}`);
  }
  const config = readConfig({ args: [], environment, readFile: () => "" });
  assert.notEqual(config, "help");
}

Deno.test("brokers of the compose file form one cluster, each with what a broker understands", async () => {
  const compose = parse(await read("compose/compose.yaml"), { merge: true });
  const services = Object.entries(compose.services) as [string, {
    environment: Record<string, string>;
    volumes: string[];
  }][];
  const brokers = services.filter(([name]) => name.startsWith("broker-"));
  assert.equal(brokers.length, BROKERS);
  const members = services.filter(([name]) => name.startsWith("etcd-"));
  for (const [name, { environment, volumes }] of services) {
    for (const volume of volumes) {
      assert.equal(volume.split(":")[0], name, "nobody shares a volume");
      assert.ok(Object.hasOwn(compose.volumes, name));
    }
    if (!name.startsWith("etcd-")) continue;
    assert.equal(environment.ETCD_NAME, name);
    assert.equal(Number(environment.ETCD_MAX_TXN_OPS), 1024);
  }
  for (const [name, { environment }] of brokers) {
    const { WAYBILL_ETCD, WAYBILL_PEER_HOST } = environment;
    assert.equal(WAYBILL_PEER_HOST, name);
    assert.deepEqual(
      WAYBILL_ETCD!.split(",").map((url) => new URL(url).hostname),
      members.map(([member]) => member),
    );
    const secrets = { WAYBILL_PEER_SECRET: "x".repeat(32), WAYBILL_ADMIN_TOKEN: "y".repeat(32) };
    assertConfigures({ ...environment, ...secrets, WAYBILL_HOST: "0.0.0.0" });
  }
  const ids = new Set(brokers.map(([, { environment }]) => environment.WAYBILL_NODE_ID));
  assert.equal(ids.size, BROKERS);
});

Deno.test("environment of the systemd unit is a broker's, and the unit starts the task that the README names", async () => {
  const lines = (await read("systemd/waybill.env")).split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"));
  assertConfigures(Object.fromEntries(lines.map((line) => {
    const at = line.indexOf("=");
    return [line.slice(0, at), line.slice(at + 1)];
  })));
  const unit = await read("systemd/waybill.service");
  assert.match(unit, /^ExecStart=\S*deno task --quiet start$/m);
  assert.ok(denoConfig.tasks.start);
});

Deno.test({
  name: "systemd finds nothing wrong with the unit but where Deno lies",
  ignore: !await works("systemd-analyze", "--version"),
  fn: async () => {
    const path = new URL("systemd/waybill.service", DEPLOY).pathname;
    const { stderr } = await new Deno.Command("systemd-analyze", {
      args: ["verify", "--man=no", path],
      stdout: "null",
      stderr: "piped",
    }).output();
    const said = new TextDecoder().decode(stderr).split("\n")
      .filter((line) => line.includes("waybill.service") && !/is not executable/.test(line));
    assert.deepEqual(said, []);
  },
});

Deno.test("brokers on Kubernetes are one StatefulSet, of which one may be away, asked where a broker answers", async () => {
  const documents = parseAllDocuments(await read("kubernetes/waybill.yaml"))
    .map((document) => document.toJS());
  const of = (kind: string) => documents.filter((document) => document.kind === kind);
  const [set] = of("StatefulSet");
  const [budget] = of("PodDisruptionBudget");
  assert.equal(set.spec.replicas, BROKERS);
  assert.equal(budget.spec.maxUnavailable, 1);
  const labels = set.spec.template.metadata.labels;
  assert.deepEqual(budget.spec.selector.matchLabels, labels);
  for (const service of of("Service")) assert.deepEqual(service.spec.selector, labels);
  const names = of("Service").map(({ metadata }) => metadata.name);
  assert.ok(names.includes(set.spec.serviceName));
  const [broker] = set.spec.template.spec.containers;
  const environment = Object.fromEntries(
    broker.env.map(({ name, value }: Named) => [name, value ?? "a-secret-of-its-own-here"]),
  );
  for (const [name, value] of Object.entries(environment)) {
    const inPlace = String(value).replace("$(WAYBILL_NODE_ID)", "waybill-0");
    environment[name] = inPlace;
  }
  assertConfigures({ ...environment, WAYBILL_NODE_ID: "waybill-0", WAYBILL_HOST: "0.0.0.0" });
  assert.equal(
    new URL(`http://${environment.WAYBILL_PEER_HOST}`).hostname.split(".")[1],
    set.spec.serviceName,
  );
  const answered = new Set(healthRoutes({} as never).map(({ path }) => path));
  for (const probe of ["startupProbe", "livenessProbe", "readinessProbe"]) {
    assert.ok(answered.has(broker[probe].httpGet.path), probe);
  }
});

Deno.test("the image runs the release of Deno that the README names, as nobody in particular", async () => {
  const file = await read("container/Containerfile");
  const readme = await Deno.readTextFile(new URL("../README.md", import.meta.url));
  const [, version] = /npx -y deno@(\S+) task start/.exec(readme)!;
  assert.ok(file.includes(`deno@${version}`));
  assert.match(file, /^USER waybill$/m);
});
