// Owns certificate and key of the door: reading them from PEM files, checking that they can be used, noticing new ones.
// Refuses to own serving with them (door.ts).
// Invariant: a certificate that leaves this module has been tried with its key; no message of it holds anything of the key.
import { X509Certificate } from "node:crypto";
import type { Cancel, Timers } from "../../storage/ports.ts";

/** How often the files are looked at. New ones are used when they were the same at two looks: they change one by one. */
const LOOK_MS = 1_000;

export interface CertificateFiles {
  readonly certFile: string;
  readonly keyFile: string;
}

/** PEM texts. */
export interface Certificate {
  readonly cert: string;
  readonly key: string;
}

/** The files cannot be used; the message says which and why. */
export class CertificateError extends Error {
  override name = "CertificateError";
}

/** Reads and tries both files. Rejects with CertificateError. */
export async function loadCertificate(files: CertificateFiles): Promise<Certificate> {
  const certificate = await readFiles(files);
  tryOut(certificate, files);
  return certificate;
}

/** What a log may say of a certificate. */
export function describeCertificate({ cert }: Certificate): string {
  try {
    const { subject, validTo } = new X509Certificate(cert);
    return `${subject.replaceAll("\n", ", ") || "without subject"}, valid until ${validTo}`;
  } catch {
    // The server takes it, which is what counts.
    return "of a form that cannot be shown";
  }
}

/** Time before the end in which it is warned of. */
const EXPIRES_SOON_MS = 14 * 86_400_000;

/** What is to be warned of at `now`, wall time in ms: that it has expired, will soon, or does not count yet. Null: nothing. */
export function warningOf({ cert }: Certificate, now: number): string | null {
  const period = validityOf(cert);
  if (period === null) return null;
  const [from, to] = [period.fromMs, period.toMs].map((ms) => new Date(ms).toISOString());
  if (now >= period.toMs) return `the certificate expired at ${to}: clients refuse it`;
  if (now < period.fromMs) return `the certificate is not valid before ${from}: clients refuse it`;
  const days = Math.floor((period.toMs - now) / 86_400_000);
  return period.toMs - now < EXPIRES_SOON_MS
    ? `the certificate expires at ${to}, in ${days} days: put a new one into its place`
    : null;
}

/** Null: of a form that cannot be read. Of several in the file it is the first that is shown to clients. */
export function validityOf(cert: string): { fromMs: number; toMs: number } | null {
  try {
    const { validFrom, validTo } = new X509Certificate(cert);
    const [fromMs, toMs] = [Date.parse(validFrom), Date.parse(validTo)];
    return Number.isNaN(fromMs) || Number.isNaN(toMs) ? null : { fromMs, toMs };
  } catch {
    return null;
  }
}

async function readFiles({ certFile, keyFile }: CertificateFiles): Promise<Certificate> {
  const [cert, key] = await Promise.all([certFile, keyFile].map(async (path) => {
    try {
      return await Deno.readTextFile(path);
    } catch (error) {
      throw new CertificateError(`${path} cannot be read: ${(error as Error).message}`);
    }
  }));
  return { cert: cert!, key: key! };
}

/** A server of its own, for a moment, is what tells whether the runtime takes them. */
function tryOut(certificate: Certificate, { certFile, keyFile }: CertificateFiles): void {
  try {
    Deno.listenTls({ hostname: "127.0.0.1", port: 0, ...certificate }).close();
  } catch (error) {
    const { message } = error as Error;
    const why = message.includes("KeyMismatch") ? "they do not belong together" : message;
    throw new CertificateError(`certificate ${certFile} and key ${keyFile} cannot be used: ${why}`);
  }
}

export interface CertificateWatchOptions {
  readonly files: CertificateFiles;
  /** What is in use already. */
  readonly current: Certificate;
  readonly timers: Timers;
  /** May throw when the exchange cannot be made. */
  readonly onChange: (certificate: Certificate) => void;
  /** The files have changed and cannot be used; told once for each change. */
  readonly onBad: (error: Error) => void;
}

/** Looks at the files until it is stopped. */
export class CertificateWatch {
  #current: string;
  #seen: string;
  #told: string | null = null;
  #cancel: Cancel | null = null;
  #stopped = false;

  constructor(private readonly options: CertificateWatchOptions) {
    this.#current = this.#seen = textOf(options.current);
    this.#later();
  }

  stop(): void {
    this.#stopped = true;
    this.#cancel?.();
  }

  #later(): void {
    if (this.#stopped) return;
    this.#cancel = this.options.timers.after(LOOK_MS, () => {
      this.#look().finally(() => this.#later());
    });
  }

  async #look(): Promise<void> {
    const { files, onChange, onBad } = this.options;
    let text = "unreadable";
    try {
      const certificate = await readFiles(files);
      text = textOf(certificate);
      const isNew = text !== this.#current && text === this.#seen && text !== this.#told;
      this.#seen = text;
      if (!isNew || this.#stopped) return;
      tryOut(certificate, files);
      onChange(certificate);
      this.#current = text;
      this.#told = null;
    } catch (error) {
      const isKnown = this.#told === text || this.#seen !== text;
      this.#seen = text;
      if (isKnown) return;
      this.#told = text;
      onBad(error as Error);
    }
  }
}

function textOf({ cert, key }: Certificate): string {
  return `${cert}\n${key}`;
}
