// Owns the tests of IP addresses as text and bytes.
import assert from "node:assert/strict";
import fc from "fast-check";
import { ipText, isWithin, parseIp } from "../ops/ip_address.ts";

Deno.test("an address has one form, however it is written", () => {
  const cases: [string, string | null][] = [
    ["127.0.0.1", "127.0.0.1"],
    ["::1", "0:0:0:0:0:0:0:1"],
    ["2001:DB8::00ff", "2001:db8:0:0:0:0:0:ff"],
    ["::", "0:0:0:0:0:0:0:0"],
    ["::ffff:10.1.2.3", "10.1.2.3"],
    ["::ffff:a01:203", "10.1.2.3"],
    ["64:ff9b::10.0.0.1", "64:ff9b:0:0:0:0:a00:1"],
    ["1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"],
  ];
  for (const [text, expected] of cases) {
    const bytes = parseIp(text);
    assert.equal(bytes === null ? null : ipText(bytes), expected, text);
  }
});

Deno.test("what only looks like an address is none", () => {
  const wrong = [
    "",
    "1.2.3",
    "1.2.3.4.5",
    "256.1.1.1",
    "01.2.3.4",
    "0x7f.1",
    "1.2.3.4 ",
    "a.b.c.d",
  ];
  const wrong6 = [":", ":::", "1::2::3", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "12345::", "g::"];
  const more = ["::1.2.3", "1.2.3.4::", "fe80::1%eth0", "[::1]", "1:2:3:4:5:6:7:8::", "::-1"];
  for (const text of [...wrong, ...wrong6, ...more]) assert.equal(parseIp(text), null, text);
});

Deno.test("every address comes back from its text", () => {
  const bytes = fc.oneof(
    fc.uint8Array({ minLength: 4, maxLength: 4 }),
    fc.uint8Array({ minLength: 16, maxLength: 16 }).filter((all) => all[0] !== 0),
  );
  fc.assert(fc.property(bytes, (address) => {
    assert.deepEqual(parseIp(ipText(address)), address);
  }));
});

Deno.test("a network holds what shares its first bits, and nothing of the other family", () => {
  const within = (address: string, network: string, bits: number) =>
    isWithin(parseIp(address)!, parseIp(network)!, bits);
  assert.ok(within("172.31.255.255", "172.16.0.0", 12));
  assert.ok(!within("172.32.0.0", "172.16.0.0", 12));
  assert.ok(within("fe80::1", "fe80::", 10));
  assert.ok(within("febf::1", "fe80::", 10));
  assert.ok(!within("fec0::1", "fe80::", 10));
  assert.ok(within("1.2.3.4", "0.0.0.0", 0));
  assert.ok(!within("::1", "0.0.0.0", 0));
});
