// Owns certificates for tests: self-signed, for localhost and 127.0.0.1, made on the spot with WebCrypto.
// Refuses to own anything that is not a test's. Invariant: DER as RFC 5280 has it, valid from an hour ago for a day,
// unless a test asks for another end.

export interface PemPair {
  readonly cert: string;
  readonly key: string;
}

const ECDSA = { name: "ECDSA", namedCurve: "P-256" };
const OID = {
  ecdsaWithSha256: [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02],
  commonName: [0x55, 0x04, 0x03],
  basicConstraints: [0x55, 0x1d, 0x13],
  subjectAltName: [0x55, 0x1d, 0x11],
};
const HOUR_MS = 3_600_000;

/** A new key and a certificate of it whose common name is `name`. */
export async function selfSigned(
  name: string,
  { endsInMs = 23 * HOUR_MS }: { readonly endsInMs?: number } = {},
): Promise<PemPair> {
  const { privateKey, publicKey } = await crypto.subtle.generateKey(ECDSA, true, [
    "sign",
    "verify",
  ]);
  const spki = new Uint8Array(await crypto.subtle.exportKey("spki", publicKey));
  const pkcs8 = new Uint8Array(await crypto.subtle.exportKey("pkcs8", privateKey));
  const body = certificateBody(name, spki, endsInMs);
  const raw = new Uint8Array(
    await crypto.subtle.sign({ name: "ECDSA", hash: "SHA-256" }, privateKey, body),
  );
  const signature = sequence(integer(raw.subarray(0, 32)), integer(raw.subarray(32)));
  const cert = sequence(body, algorithm(), tagged(0x03, bytes([0]), signature));
  return { cert: pem("CERTIFICATE", cert), key: pem("PRIVATE KEY", pkcs8) };
}

/** Writes the pair as `<directory>/cert.pem` and `key.pem`. */
export async function writePair(directory: string, { cert, key }: PemPair) {
  const files = { certFile: `${directory}/cert.pem`, keyFile: `${directory}/key.pem` };
  await Deno.writeTextFile(files.certFile, cert);
  await Deno.writeTextFile(files.keyFile, key);
  return files;
}

function certificateBody(
  name: string,
  spki: Uint8Array,
  endsInMs: number,
): Uint8Array<ArrayBuffer> {
  const commonName = sequence(oid(OID.commonName), tagged(0x0c, text(name)));
  const subject = sequence(tagged(0x31, commonName));
  const serial = crypto.getRandomValues(new Uint8Array(8));
  const alternatives = sequence(
    tagged(0x82, text("localhost")),
    tagged(0x87, bytes([127, 0, 0, 1])),
  );
  const extensions = sequence(
    sequence(oid(OID.basicConstraints), tagged(0x01, bytes([0xff])), tagged(0x04, sequence())),
    sequence(oid(OID.subjectAltName), tagged(0x04, alternatives)),
  );
  return sequence(
    tagged(0xa0, integer(bytes([2]))),
    integer(serial),
    algorithm(),
    subject,
    sequence(time(Date.now() - HOUR_MS), time(Date.now() + endsInMs)),
    subject,
    spki,
    tagged(0xa3, extensions),
  );
}

function algorithm(): Uint8Array {
  return sequence(oid(OID.ecdsaWithSha256));
}

/** UTCTime: `YYMMDDHHMMSSZ`. */
function time(ms: number): Uint8Array {
  const digits = new Date(ms).toISOString().replaceAll(/[-:T]/g, "").slice(2, 14);
  return tagged(0x17, text(`${digits}Z`));
}

/** Positive, in as few bytes as it takes. */
function integer(value: Uint8Array): Uint8Array {
  let at = 0;
  while (at < value.length - 1 && value[at] === 0) at++;
  const shortest = value.subarray(at);
  return shortest[0]! >= 0x80 ? tagged(0x02, bytes([0]), shortest) : tagged(0x02, shortest);
}

function oid(value: readonly number[]): Uint8Array {
  return tagged(0x06, bytes(value));
}

function sequence(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  return tagged(0x30, ...parts);
}

function tagged(tag: number, ...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  const size = length < 0x80
    ? [length]
    : length < 0x100
    ? [0x81, length]
    : [0x82, length >> 8, length & 0xff];
  return bytes([tag, ...size, ...parts.flatMap((part) => [...part])]);
}

function bytes(values: readonly number[]): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(values);
}

function text(value: string): Uint8Array {
  return new TextEncoder().encode(value);
}

function pem(label: string, der: Uint8Array): string {
  const lines = der.toBase64().match(/.{1,64}/g)!.join("\n");
  return `-----BEGIN ${label}-----\n${lines}\n-----END ${label}-----\n`;
}
