// Owns tests of how command lines are read: names, options, help, the little languages of arguments.
import assert from "node:assert/strict";
import fc from "fast-check";
import { type Command, isGroup, optionsOf } from "../ops/cli/command.ts";
import { COMMANDS } from "../ops/cli/commands.ts";
import { UsageError } from "../ops/cli/failures.ts";
import { readGiven } from "../ops/cli/given.ts";
import {
  durationSeconds,
  instant,
  pairsFrom,
  pathOf,
  position,
  resetTarget,
} from "../ops/cli/grammar.ts";
import { counted, json, Output, printable, seconds } from "../ops/cli/output.ts";
import type { Terminal } from "../ops/cli/terminal.ts";
import { cli, wordsOf } from "./support/cli_run.ts";

const NOW = 1_700_000_000_000;
/** Control characters, line ends, and those that turn the direction of text. */
const STEERS = /[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/u;

function allCommands(): [string[], Command][] {
  return Object.entries(COMMANDS).flatMap(([name, entry]) =>
    isGroup(entry)
      ? Object.entries(entry.commands).map(([sub, command]): [string[], Command] => [
        [name, sub],
        command,
      ])
      : [[[name], entry] as [string[], Command]]
  );
}

/** No test here reaches a broker. */
const nowhere = ["--url", "http://127.0.0.1:9"];

Deno.test("every command takes --json, and its examples are understood", () => {
  for (const [path, command] of allCommands()) {
    assert.ok(command.examples.length > 0, `${path.join(" ")} has no example`);
    for (const [line] of command.examples) {
      const { many = [], takesRest = false } = command;
      const words = [...wordsOf(line), "--json"];
      const given = readGiven(words, optionsOf(command), { many, takesRest });
      assert.ok(given.flag("json"), `${path.join(" ")} ${line}`);
    }
  }
});

Deno.test("help of a command shows usage and examples, without colour off a terminal", async () => {
  for (const [path, command] of allCommands()) {
    const { code, out } = await cli([...path, "--help"]);
    assert.equal(code, 0);
    assert.ok(out.includes(command.describes), path.join(" "));
    assert.ok(out.includes(`EXAMPLES\n\n  waybill ${path.join(" ")}`), out);
    // deno-lint-ignore no-control-regex -- there must be none
    assert.doesNotMatch(out, /\x1b/);
  }
});

Deno.test("no words and --help show all commands and the exit codes", async () => {
  for (const words of [[], ["--help"], ["help"]]) {
    const { code, out } = await cli(words);
    assert.equal(code, 0);
    for (const name of Object.keys(COMMANDS)) assert.ok(out.includes(name), name);
    assert.match(out, /Exit codes/);
  }
});

Deno.test("what is not understood ends with 2 before any broker is asked", async () => {
  const cases: [string[], RegExp][] = [
    [["nope"], /no command nope/],
    [["topics"], /needs one of: list/],
    [["topics", "nope"], /no command topics nope/],
    [["topics", "list", "--nope"], /no option --nope/],
    [["topics", "list", "extra"], /"extra" is one word too many/],
    [["topics", "show"], /missing required positional argument: TOPIC/],
    [["topics", "list", "--limit"], /--limit needs a value/],
    [["topics", "list", "--limit", "many"], /whole number/],
    [["topics", "list", "--limit", "1", "--limit", "2"], /given twice/],
    [["topics", "list", "--json=yes"], /takes no value/],
    [["topics", "create", "t", "--durability", "maybe"], /invalid value/],
    [["topics", "alter", "t"], /nothing is to be changed/],
    [["offsets", "reset", "g", "--topic", "t", "--to", "soon", "--reason", "r"], /no offset/],
    [["offsets", "rollback", "g", "--reason", "r"], /one of --snapshot and --time/],
    [["offsets", "reset", "g", "--topic", "t", "--to", "1", "--yes"], /--reason is needed/],
    [["groups", "pause", "g"], /--reason is needed/],
    [["publish", "t", "v", "--file", "f"], /exclude each other/],
    [["publish", "t", "--tombstone"], /needs --key/],
    [["publish", "t", "--header", "nothing", "v"], /no header/],
    [["consume", "t", "--no-commit"], /needs --group/],
    [["consume", "t", "--follow", "--to", "9"], /exclude each other/],
    [["consume", "t", "-g", "g", "--from", "9"], /earliest or latest/],
    [["replay", "start", "t"], /--from is needed/],
    [["runbooks", "execute", "r", "--reason", "x", "--target", "billing"], /no target/],
    [["runbooks", "execute", "r", "--reason", "x", "--mode", "auto"], /give --yes/],
    [["thresholds", "set", "consumer-lag"], /nothing is to be changed/],
  ];
  for (const [words, says] of cases) {
    const { code, err, out } = await cli([...nowhere, ...words]);
    assert.equal(code, 2, `${words.join(" ")}: ${code} ${err}`);
    assert.match(err, says);
    assert.equal(out, "");
  }
});

Deno.test("where no broker answers the exit code is 3, as JSON when asked", async () => {
  const server = Deno.listen({ port: 0, hostname: "127.0.0.1" });
  const { port } = server.addr;
  server.close();
  const url = `http://127.0.0.1:${port}`;
  for (const words of [["topics", "list"], ["doctor"], ["publish", "t", "v"], ["consume", "t"]]) {
    const { code, err, out } = await cli([...words, "--url", url, "--json"]);
    assert.equal(code, 3, `${words.join(" ")}: ${err}`);
    assert.equal(JSON.parse(err).error.code, "NETWORK_ERROR");
    assert.equal(out, "");
  }
});

Deno.test("options of all commands may stand before the command", async () => {
  const { code, err } = await cli(["--url", "nonsense", "topics", "list"]);
  assert.equal(code, 2);
  assert.match(err, /"nonsense" is no address/);
});

Deno.test("offsets are numbers, ends, times, and in a reset steps", () => {
  assert.equal(position("0", NOW), 0);
  assert.equal(position("earliest", NOW), "earliest");
  assert.equal(position("@1700000000000", NOW), "@1700000000000");
  assert.equal(position("@2023-11-14T22:13:20Z", NOW), "@1700000000000");
  assert.equal(position("@15m", NOW), `@${NOW - 900_000}`);
  assert.equal(resetTarget("-5", NOW), "-5");
  assert.equal(resetTarget("+5", NOW), "+5");
  for (const wrong of ["", "-5", "+5", "1.5", "soon", "@", "@soon", "99999999999999999", "@1x"]) {
    assert.throws(() => position(wrong, NOW), UsageError, wrong);
  }
});

Deno.test("durations and times ago are of seconds, minutes, hours and days", () => {
  assert.deepEqual(["90", "90s", "2m", "3h", "1d"].map(durationSeconds), [
    90,
    90,
    120,
    10_800,
    86_400,
  ]);
  assert.equal(instant("1d", NOW), NOW - 86_400_000);
  for (const wrong of ["1w", "-1s", "m", "1 s"]) {
    assert.throws(() => durationSeconds(wrong), UsageError);
  }
});

Deno.test("headers keep all behind their first equals sign; names in paths are encoded", () => {
  assert.deepEqual(pairsFrom(["a=b=c", "d="], "header"), { a: "b=c", d: "" });
  assert.throws(() => pairsFrom(["=x"], "header"), UsageError);
  assert.equal(pathOf`/api/topics/${"a/../b?c"}`, "/api/topics/a%2F..%2Fb%3Fc");
});

Deno.test("what others published never steers the terminal", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => {
      assert.doesNotMatch(printable(text), STEERS);
    }),
    { numRuns: 50 },
  );
  assert.equal(printable("\x1b[2Jhé\n"), "\\u001b[2Jhé\\n");
});

Deno.test("durations keep their seconds, and one is no plural", () => {
  assert.deepEqual(
    [119.4, 119.6, 140, 7_199, 7_199.6, 9_000].map((value) => seconds(value)),
    ["119 s", "2 min", "2 min 20 s", "119 min 59 s", "2.0 h", "2.5 h"],
  );
  assert.deepEqual([1, 0, 2_000].map((value) => counted(value, "group")), [
    "1 group",
    "0 groups",
    "2,000 groups",
  ]);
});

Deno.test("JSON, remarks and refusals steer the terminal no more than tables do", async () => {
  const evil = "\x9b2Jé\x1b[31m\u202etxt\u2028\n\x7f";
  const told = json({ [evil]: [evil] }, 2);
  assert.doesNotMatch(told.replaceAll("\n", ""), STEERS);
  assert.deepEqual(JSON.parse(told), { [evil]: [evil] });
  assert.doesNotMatch(json({ evil }), /\n/);

  const end = await cli(["topics", evil]);
  assert.equal(end.code, 2);
  assert.doesNotMatch(end.err.trimEnd(), STEERS);
  const asJson = await cli(["topics", evil, "--json"]);
  assert.doesNotMatch(asJson.err.trimEnd(), STEERS);
  assert.match(JSON.parse(asJson.err).error.detail, /\x9b2J/);

  const lines: string[] = [];
  const terminal = { tell: (line: string) => void lines.push(line) } as unknown as Terminal;
  new Output(terminal, false, false).remark(evil);
  assert.doesNotMatch(lines.join(""), STEERS);
});
