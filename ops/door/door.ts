// Owns where clients come in: listening, with or without TLS, new certificates, and listening again should it ever break.
// Refuses to own which connections may stay (guard.ts) and what requests do.
// Invariant: one address from opening to shutdown; a new certificate touches no connection that exists.
import type { Peer } from "../../api/peer.ts";
import type { Cancel, Clock, Timers } from "../../storage/ports.ts";
import {
  type Certificate,
  type CertificateFiles,
  CertificateWatch,
  describeCertificate,
  loadCertificate,
  warningOf,
} from "./certificates.ts";
import type { DoorLimits } from "./connection.ts";
import { type DoorCounts, NOTHING_COUNTED } from "./counts.ts";
import { Guard } from "./guard.ts";
import { type Kernel, openKernel } from "./kernel.ts";
import { Visits } from "./visits.ts";

/** Wait before listening is tried again. */
const REOPEN_MS = 100;
/** The certificate's end is looked at again after this. */
const CERTIFICATE_LOOK_MS = 86_400_000;
/** Servers with earlier certificates whose connections go on; with more, those of the oldest are drained. */
const MAX_EARLIER_SERVERS = 8;
/** Where a listening socket is looked for. */
const MAX_DESCRIPTORS = 65_536;

export interface DoorOptions {
  readonly hostname: string;
  /** 0 picks a free one. */
  readonly port: number;
  /** Null: without TLS. */
  readonly tls: CertificateFiles | null;
  readonly limits: DoorLimits;
  readonly fetch: (request: Request, peer: Peer) => Response | Promise<Response>;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly report: (level: "info" | "warning" | "error", message: string, error?: unknown) => void;
}

/**
 * Opens the door. Rejects with CertificateError when the PEM files cannot be used, and with what the system says when it
 * cannot listen there.
 */
export async function openDoor(options: DoorOptions): Promise<Door> {
  const certificate = options.tls === null ? null : await loadCertificate(options.tls);
  return new Door(options, certificate);
}

export class Door {
  readonly port: number;
  readonly url: string;
  readonly #kernel: Kernel | null = openKernel();
  readonly #visits: Visits;
  readonly #guard: Guard | null;
  readonly #watch: CertificateWatch | null;
  #certificate: Certificate | null;
  #server: Deno.HttpServer;
  readonly #earlier: Deno.HttpServer[] = [];
  #isClosing = false;
  #cancelLook: Cancel | null = null;

  constructor(private readonly options: DoorOptions, certificate: Certificate | null) {
    const { hostname, fetch, limits, clock, timers, report } = options;
    const isSecure = certificate !== null;
    this.#certificate = certificate;
    this.#visits = new Visits(fetch, { noteAll: isSecure });
    this.#server = this.#serve(options.port);
    const { port } = this.#server.addr as Deno.NetAddr;
    this.port = port;
    const host = hostname.includes(":") ? `[${hostname}]` : hostname;
    this.url = `${isSecure ? "https" : "http"}://${host}:${port}`;
    if (this.#kernel === null) {
      report("warning", "connections are not watched: that takes Linux and its C library");
    }
    this.#guard = this.#kernel === null ? null : new Guard({
      ...{ kernel: this.#kernel, visits: this.#visits, port, isSecure, limits, clock, timers },
      report,
    });
    this.#watch = this.#watchFiles();
    this.#lookAtCertificate();
  }

  /** As far as connections are watched. */
  counts(): DoorCounts {
    return this.#guard?.counts() ?? NOTHING_COUNTED;
  }

  /** Accepts no more; resolves when every request under way is answered. */
  async shutdown(): Promise<void> {
    this.#isClosing = true;
    this.#watch?.stop();
    this.#cancelLook?.();
    await Promise.all([this.#server, ...this.#earlier].map((server) => server.shutdown()));
    this.#guard?.stop();
  }

  #serve(port: number): Deno.HttpServer {
    const { hostname, fetch, report } = this.options;
    const visits = this.#visits;
    const handler = this.#kernel === null
      ? (request: Request, info: Deno.ServeHandlerInfo) => fetch(request, info)
      : (request: Request, info: Deno.ServeHandlerInfo) => visits.handle(request, info);
    const onError = (error: unknown) => {
      report("error", "a request failed outside the application", error);
      return new Response("internal error", { status: 500 });
    };
    const server = Deno.serve(
      { hostname, port, onListen: () => {}, onError, ...this.#certificate ?? {} },
      handler,
    );
    server.finished.catch((error) => this.#broken(server, error));
    return server;
  }

  /** The runtime's server ends, with all its connections, when accepting one fails: out of descriptors, for example. */
  #broken(server: Deno.HttpServer, error: unknown): void {
    if (this.#isClosing) return;
    this.options.report("error", `the door broke and is opened again at ${this.url}`, error);
    if (server === this.#server) this.#reopen();
  }

  #reopen(): void {
    if (this.#isClosing) return;
    try {
      this.#server = this.#serve(this.port);
    } catch (error) {
      this.options.report("error", `cannot listen at ${this.url}, trying again`, error);
      this.options.timers.after(REOPEN_MS, () => this.#reopen());
    }
  }

  #watchFiles(): CertificateWatch | null {
    const { tls: files, timers, report } = this.options;
    if (files === null || this.#certificate === null) return null;
    report("info", `certificate ${describeCertificate(this.#certificate)}`);
    return new CertificateWatch({
      files,
      timers,
      current: this.#certificate,
      onChange: (certificate) => this.#exchange(certificate),
      onBad: (error) => report("error", `the certificate in use stays: ${error.message}`),
    });
  }

  #lookAtCertificate(): void {
    const { clock, timers, report } = this.options;
    if (this.#certificate === null) return;
    const warning = warningOf(this.#certificate, clock.now());
    if (warning !== null) report("warning", warning);
    this.#cancelLook?.();
    this.#cancelLook = timers.after(CERTIFICATE_LOOK_MS, () => this.#lookAtCertificate());
  }

  /**
   * The listener of the old certificate lets go of the address, its server keeps its connections; a new one takes the
   * address. Whoever connects within that millisecond is refused once.
   */
  #exchange(certificate: Certificate): void {
    const { report } = this.options;
    if (this.#isClosing) return;
    if (this.#kernel === null) {
      return report("warning", "a new certificate is used from the next start on");
    }
    for (const fd of listenersAt(this.port, this.#kernel)) this.#kernel.retireListener(fd);
    this.#certificate = certificate;
    this.#earlier.push(this.#server);
    if (this.#earlier.length > MAX_EARLIER_SERVERS) void this.#earlier.shift()!.shutdown();
    this.#reopen();
    report("info", `new certificate ${describeCertificate(certificate)}`);
    this.#lookAtCertificate();
  }
}

function listenersAt(port: number, kernel: Kernel): number[] {
  const found: number[] = [];
  const end = Math.min(MAX_DESCRIPTORS, kernel.maxOpenFiles());
  for (let fd = 0; fd < end; fd++) {
    if (kernel.localPort(fd) === port && kernel.isListening(fd)) found.push(fd);
  }
  return found;
}
