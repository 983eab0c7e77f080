// Owns a door in front of an S3-speaking server that lets only requests with a right AWS Signature Version 4 through.
// Refuses to share code with the client under test: written from the description of the signature.
// Invariant: what is forwarded is what was signed, headers and path alike.
//
// The S3 server used in tests speaks S3 but takes any version 4 signature for a good one.
import { createHash, createHmac, timingSafeEqual } from "node:crypto";

export interface SigningDoor {
  readonly endpoint: string;
  /** Requests refused so far. */
  readonly refused: number;
  close(): Promise<void>;
}

const AUTHORIZATION =
  /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/s3\/aws4_request, ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})$/;

/** Opens the door on a free port of loopback; `secrets` are by access key id. */
export function openSigningDoor(
  behind: string,
  secrets: Readonly<Record<string, string>>,
): SigningDoor {
  let refused = 0;
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    async (request) => {
      const url = new URL(request.url);
      if (!isSigned(request, url, secrets)) {
        refused++;
        await request.body?.cancel();
        return new Response("<Error><Code>SignatureDoesNotMatch</Code></Error>", {
          status: 403,
          headers: { "content-type": "application/xml" },
        });
      }
      // Bodies go whole and with headers of their own, so that no connection of one side ties up the other.
      const answer = await fetch(behind + url.pathname + url.search, {
        method: request.method,
        headers: { "content-type": request.headers.get("content-type") ?? "text/plain" },
        body: request.method === "PUT" ? await request.bytes() : null,
      });
      const body = await answer.bytes();
      const hasBody = answer.status !== 204 && request.method !== "HEAD";
      return new Response(hasBody ? body : null, {
        status: answer.status,
        headers: { "content-type": answer.headers.get("content-type") ?? "text/plain" },
      });
    },
  );
  return {
    endpoint: `http://127.0.0.1:${server.addr.port}`,
    get refused() {
      return refused;
    },
    close: () => server.shutdown(),
  };
}

function isSigned(
  request: Request,
  url: URL,
  secrets: Readonly<Record<string, string>>,
): boolean {
  const parts = AUTHORIZATION.exec(request.headers.get("authorization") ?? "");
  const secret = parts === null ? undefined : secrets[parts[1]!];
  if (parts === null || secret === undefined) return false;
  const [, , day, region, signedHeaders, signature] = parts as unknown as string[];
  const canonical = [
    request.method,
    url.pathname.split("/").map((part) => encoded(decodeURIComponent(part))).join("/"),
    [...url.searchParams].map(([name, value]) => `${encoded(name)}=${encoded(value)}`).sort()
      .join("&"),
    ...signedHeaders!.split(";").map((name) =>
      `${name}:${(request.headers.get(name) ?? "").trim().replace(/ +/g, " ")}`
    ),
    "",
    signedHeaders,
    request.headers.get("x-amz-content-sha256"),
  ].join("\n");
  const scope = `${day}/${region}/s3/aws4_request`;
  const toSign = [
    "AWS4-HMAC-SHA256",
    request.headers.get("x-amz-date"),
    scope,
    createHash("sha256").update(canonical).digest("hex"),
  ].join("\n");
  let key: string | Uint8Array = `AWS4${secret}`;
  for (const part of scope.split("/")) key = createHmac("sha256", key).update(part).digest();
  const expected = createHmac("sha256", key).update(toSign).digest("hex");
  return timingSafeEqual(new TextEncoder().encode(expected), new TextEncoder().encode(signature));
}

function encoded(text: string): string {
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}
