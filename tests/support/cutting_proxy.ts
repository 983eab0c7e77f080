// Owns a TCP proxy on loopback that can break every connection at once.
// Refuses to understand what goes through it. Invariant: nothing of it outlives `close`.

export interface CuttingProxy {
  readonly url: string;
  /** Connections that were accepted so far. */
  readonly accepted: number;
  /** Breaks every connection that is open now; new ones are let through. */
  cut(): void;
  close(): Promise<void>;
}

/** A proxy to `port` of this machine. */
export function cuttingProxy(port: number): CuttingProxy {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const open = new Set<Deno.Conn>();
  let accepted = 0;
  const cut = () => {
    for (const connection of open) closeQuietly(connection);
    open.clear();
  };
  const serving = (async () => {
    for await (const near of listener) {
      accepted++;
      open.add(near);
      void join(near, port, open);
    }
  })();
  return {
    url: `http://127.0.0.1:${listener.addr.port}`,
    get accepted() {
      return accepted;
    },
    cut,
    async close() {
      listener.close();
      await serving.catch(() => {});
      cut();
    },
  };
}

async function join(near: Deno.Conn, port: number, open: Set<Deno.Conn>): Promise<void> {
  try {
    const far = await Deno.connect({ hostname: "127.0.0.1", port });
    open.add(far);
    const pipes = [near.readable.pipeTo(far.writable), far.readable.pipeTo(near.writable)];
    await Promise.allSettled(pipes);
    open.delete(far);
    closeQuietly(far);
  } catch {
    // The other side is gone: this one goes as well.
  }
  open.delete(near);
  closeQuietly(near);
}

function closeQuietly(connection: Deno.Conn): void {
  try {
    connection.close();
  } catch {
    // Closed already.
  }
}
