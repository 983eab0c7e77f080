// Owns a TCP proxy on loopback whose connections a test can shut, silence, or make answer no more.
// Refuses to understand what goes through it. Invariant: nothing of it outlives `close`.

/**
 * `open`: all goes through. `shut`: connections break, new ones too. `silent`: nothing goes through, and nobody is told.
 * `mute`: what is sent arrives, and no answer comes back.
 */
export type GateMode = "open" | "shut" | "silent" | "mute";

export interface GatedProxy extends Disposable {
  readonly url: string;
  set(mode: GateMode): void;
  /** The connections that are open now are silent for ever; new ones are as the mode says. */
  freeze(): void;
}

/** A proxy to the same place as `target`, `http://127.0.0.1:2379` for example. */
export function gatedProxy(target: string): GatedProxy {
  const { hostname, port, protocol } = new URL(target);
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const open = new Set<Deno.Conn>();
  const frozen = new WeakSet<Deno.Conn>();
  let mode: GateMode = "open";
  let changed = Promise.withResolvers<void>();

  const pump = async (from: Deno.Conn, to: Deno.Conn, holdsIn: readonly GateMode[]) => {
    const buffer = new Uint8Array(65_536);
    for (let count; (count = await from.read(buffer)) !== null;) {
      while (open.has(from) && (frozen.has(from) || holdsIn.includes(mode))) await changed.promise;
      for (let at = 0; at < count;) at += await to.write(buffer.subarray(at, count));
    }
  };
  const join = async (near: Deno.Conn) => {
    open.add(near);
    try {
      if (mode === "shut") throw new Error("shut");
      const far = await Deno.connect({ hostname, port: Number(port) });
      open.add(far);
      await Promise.race([pump(near, far, ["silent"]), pump(far, near, ["silent", "mute"])])
        .finally(() => drop(far));
    } catch {
      // One side is gone: the other goes as well.
    }
    drop(near);
  };
  const drop = (connection: Deno.Conn) => {
    if (open.delete(connection)) connection.close();
  };
  void (async () => {
    for await (const near of listener) void join(near);
  })().catch(() => {});
  const set = (next: GateMode) => {
    mode = next;
    changed.resolve();
    changed = Promise.withResolvers();
    if (mode === "shut") { for (const connection of open) drop(connection); }
  };
  return {
    url: `${protocol}//127.0.0.1:${listener.addr.port}`,
    set,
    freeze() {
      for (const connection of open) frozen.add(connection);
    },
    [Symbol.dispose]() {
      listener.close();
      set("shut");
    },
  };
}
