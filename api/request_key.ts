// Owns the header by which a caller names a request, so that it is carried out once: its name and form.
// Refuses to own what is done about repeats (request_once.ts for publishes, job_request.ts for jobs).
// Invariant: what is returned is printable ASCII of a bounded length.
import type { BrokerError } from "../storage/broker_error.ts";
import { invalidRequest } from "./plain_data.ts";

export const REQUEST_KEY_HEADER = "Idempotency-Key";
const KEY = /^[ -~]{1,255}$/;
/** Several headers of one name are told as one, joined by this: two keys would be taken for a third. */
const JOINT = ", ";

/** The key that a request has, null when it has none. Throws INVALID_REQUEST when it is malformed. */
export function requestKeyOf(headers: Headers): string | null {
  const key = headers.get(REQUEST_KEY_HEADER);
  if (key === null) return null;
  if (!KEY.test(key)) throw malformed("must be 1 to 255 printable ASCII characters");
  if (key.includes(JOINT)) {
    throw malformed("must be there once; a key holds no comma with a space behind it");
  }
  return key;
}

function malformed(message: string): BrokerError {
  return invalidRequest([{ path: REQUEST_KEY_HEADER, message }]);
}
