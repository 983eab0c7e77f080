// Owns what the door knows of requests under way: whose they are, since when, whether their body is still awaited.
// Refuses to own connections (connection.ts) and what is done about slow ones (guard.ts).
// Invariant: a request costs one small object and two changes of a set; everything else is looked at only when it lasts.
import type { Peer } from "../../api/peer.ts";
import { ipText, parseIp } from "../ip_address.ts";
import { endId } from "./kernel.ts";

type RemoteAddr = Deno.ServeHandlerInfo["remoteAddr"];

/** One request under way, or the WebSocket that it became. */
export class Visit implements Peer {
  /** Messages that have come whole, of a WebSocket. */
  messages = 0;
  /** The WebSocket was closed, and its client has not answered. */
  isCut = false;
  #bodyRead = false;
  #remoteAddr: RemoteAddr | undefined;
  #endId: string | null = null;

  constructor(
    private readonly request: Request,
    private readonly info: { readonly remoteAddr: RemoteAddr },
    /** Monotonic, ms; as of the last look of the guard. */
    readonly startedMs: number,
    readonly isMultiplexed = false,
  ) {}

  get remoteAddr(): RemoteAddr {
    return this.#remoteAddr ??= this.info.remoteAddr;
  }

  /** As `RemoteEnd.id`; empty when nobody knows any more. */
  get endId(): string {
    return this.#endId ??= idOf(this);
  }

  bodyRead(): void {
    this.#bodyRead = true;
  }

  messageArrived(): void {
    this.messages++;
  }

  cut(): void {
    this.isCut = true;
  }

  /** Bytes of body that are awaited, as declared; null when none is. Without a declared length: as if it were empty. */
  get awaitedBytes(): number | null {
    if (this.#bodyRead) return null;
    const { headers } = this.request;
    const declared = headers.get("content-length");
    if (declared === null) return headers.has("transfer-encoding") ? 0 : null;
    return Number(declared) > 0 ? Number(declared) : null;
  }
}

function idOf(visit: Visit): string {
  try {
    const address = visit.remoteAddr;
    if (!("hostname" in address)) return "";
    const bytes = parseIp(address.hostname);
    return bytes === null ? "" : endId(ipText(bytes), address.port);
  } catch {
    // The runtime forgets the address of a request that has ended.
    return "";
  }
}

type Fetch = (request: Request, peer: Peer) => Response | Promise<Response>;

/** All requests under way on one server. */
export class Visits {
  readonly underWay = new Set<Visit>();
  /** Hears of each WebSocket right before its client does. */
  onSocket: (visit: Visit) => void = () => {};
  /** Ends that asked since they were last taken; kept where the kernel's counters do not tell. */
  readonly #asked = new Set<string>();
  /** As of the guard's last look; close enough for what is measured in seconds. */
  nowMs = 0;

  constructor(private readonly fetch: Fetch, private readonly options: { noteAll: boolean }) {}

  /** The handler of a server. */
  handle(
    request: Request,
    info: { readonly remoteAddr: RemoteAddr },
  ): Response | Promise<Response> {
    // With TLS the runtime speaks HTTP/2 to whoever likes, and does not say to whom.
    const visit = new Visit(request, info, this.nowMs, this.options.noteAll);
    // The runtime forgets the address of a request that becomes a WebSocket.
    const mayUpgrade = request.method === "GET" && request.headers.has("upgrade");
    if (mayUpgrade || this.options.noteAll) {
      const { endId } = visit;
      if (this.options.noteAll) this.#asked.add(endId);
    }
    const answer = this.fetch(request, visit);
    if (!(answer instanceof Promise)) return answer;
    this.underWay.add(visit);
    // Beside the answer, not in its way: to await it here would cost each request a microsecond more.
    const done = () => void this.underWay.delete(visit);
    if (mayUpgrade) answer.then((response) => this.#upgraded(visit, response), () => {});
    answer.then(done, done);
    return answer;
  }

  /** The ends that asked since this was last asked; with `noteAll` only. */
  takeAsked(): string[] {
    const asked = [...this.#asked];
    this.#asked.clear();
    return asked;
  }

  #upgraded(visit: Visit, { status }: Response): void {
    if (status === 101) this.onSocket(visit);
  }
}
