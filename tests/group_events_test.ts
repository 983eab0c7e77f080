// Owns the rules of reading a group's journal and snapshots, whatever release wrote them.
// Refuses to own what the events do. Invariant: what is not understood is an error, never a guess.
import assert from "node:assert/strict";
import { type EventVersions, upcast, upcastGroupEvent } from "../actors/group/events.ts";
import { evolveGroup } from "../actors/group/evolve.ts";
import {
  decodeGroupState,
  encodeGroupState,
  initialGroup,
  NOTHING_VOLATILE,
} from "../actors/group/state.ts";
import { GROUP, GroupRun, replay } from "./support/group_run.ts";
import { ownersOf } from "./support/group_watch.ts";

type Upcaster = EventVersions["upcasters"] extends ReadonlyMap<string, infer U> ? U : never;

Deno.test("group event of today is read as it is", () => {
  const event = { type: "GroupDeleted", v: 1, at: 5 };
  assert.deepEqual(upcastGroupEvent(event), event);
});

Deno.test("group event of an unknown type or version is an error", () => {
  for (
    const stored of [
      { type: "GroupExploded", v: 1, at: 5 },
      { type: "GroupDeleted", v: 2, at: 5 },
      { type: "GroupDeleted", v: 0, at: 5 },
      { type: "GroupDeleted", at: 5 },
      { type: "toString", v: 1 },
      { type: "MemberSeen", v: 1, memberId: "a", deadlineAt: 4 },
      { v: 1 },
      [],
      null,
      "GroupDeleted",
      7,
    ]
  ) {
    assert.throws(() => upcastGroupEvent(stored), Error, JSON.stringify(stored));
  }
});

Deno.test("group event of an older release is lifted version by version", () => {
  const versions: EventVersions = {
    current: { Renamed: 3 },
    upcasters: new Map<string, Upcaster>([
      ["Renamed@1", (old) => ({ ...old, v: 2, to: old.name })],
      ["Renamed@2", (old) => ({ ...old, v: 3, by: "unknown" })],
    ]),
  };
  const lifted = upcast({ type: "Renamed", v: 1, name: "n" }, versions);
  assert.deepEqual(lifted, { type: "Renamed", v: 3, name: "n", to: "n", by: "unknown" });
  assert.equal(upcast({ type: "Renamed", v: 2 }, versions).by, "unknown");
  assert.throws(() => upcast({ type: "Renamed", v: 4 }, versions));
  const lazy = { ...versions, upcasters: new Map<string, Upcaster>([["Renamed@1", (old) => old]]) };
  assert.throws(() => upcast({ type: "Renamed", v: 1 }, lazy), "an upcast that stands still");
});

function busyGroup(): GroupRun {
  const run = new GroupRun();
  run.counts = { orders: 70, users: 3 };
  run.join("a", { instanceId: "one", topics: ["orders", "users"] });
  run.join("b");
  run.advance(500);
  run.commit([["orders", 0, 5], ["orders", 69, 6], ["users", 1, 7]]);
  run.join("c", { topics: ["users"] });
  run.advance(100);
  run.execute({ type: "Pause", group: GROUP, reason: "r", principal: "op" });
  run.leave("b");
  return run;
}

Deno.test("group state comes back from a snapshot as it comes back from the journal", () => {
  const run = busyGroup();
  const restored = decodeGroupState(JSON.parse(JSON.stringify(encodeGroupState(run.state))));
  assert.deepEqual(restored, { ...run.state, volatile: NOTHING_VOLATILE });
  assert.deepEqual(restored, { ...replay(run.journal), volatile: NOTHING_VOLATILE });
  assert.ok(!JSON.stringify(encodeGroupState(run.state)).includes("deadline"));
});

Deno.test("stored group state that is none is an error", () => {
  const { members: _, ...lacking } = encodeGroupState(busyGroup().state);
  for (const stored of [null, 5, "state", {}, lacking]) {
    assert.throws(() => decodeGroupState(stored));
  }
});

Deno.test("events that cannot be, as from a journal that was damaged, do not make evolve throw", () => {
  const run = busyGroup();
  const at = 5;
  const strange = [
    { type: "MemberLeft", v: 1, at, memberId: "x", reason: "left" },
    {
      type: "PartitionsHandedOver",
      v: 1,
      at,
      from: "x",
      reason: "released",
      handed: [{ to: "y", partitions: [{ topic: "orders", partitions: [0] }] }],
    },
    { type: "OffsetsDropped", v: 1, at, dropped: [{ topic: "x", fromPartition: 0 }] },
    { type: "GroupResumed", v: 1, at, principal: "op" },
  ];
  let state = initialGroup(GROUP);
  for (const event of [...strange, ...run.journal, ...strange]) {
    state = evolveGroup(state, upcastGroupEvent(event));
  }
  assert.deepEqual(state, { ...replay(run.journal), paused: null });
  for (const type of ["MemberSeen", "MemberConnected", "MemberDisconnected"] as const) {
    assert.equal(evolveGroup(state, { type, memberId: "x", deadlineAt: 9 }), state);
  }
});

Deno.test("partition that is handed to somebody who is no member belongs to nobody", () => {
  const run = new GroupRun();
  run.start("a");
  run.join("b");
  run.advance(100);
  const state = evolveGroup(run.state, {
    type: "PartitionsHandedOver",
    v: 1,
    at: 5,
    from: "a",
    reason: "released",
    handed: [{ to: "stranger", partitions: [{ topic: "orders", partitions: [1] }] }],
  });
  assert.deepEqual(
    ownersOf(state),
    new Map([["orders/0", "a"], ["orders/2", "a"], ["orders/3", "a"]]),
  );
});
