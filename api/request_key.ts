// Owns the header by which a caller names a request, so that it is carried out once: its name and form.
// Refuses to own what is done about repeats (request_once.ts for publishes, job_request.ts for jobs).
// Invariant: what is returned is printable ASCII of a bounded length.
import { invalidRequest } from "./plain_data.ts";

export const REQUEST_KEY_HEADER = "Idempotency-Key";
const KEY = /^[ -~]{1,255}$/;

/** The key that a request has, null when it has none. Throws INVALID_REQUEST when it is malformed. */
export function requestKeyOf(headers: Headers): string | null {
  const key = headers.get(REQUEST_KEY_HEADER);
  if (key === null || KEY.test(key)) return key;
  throw invalidRequest([{
    path: REQUEST_KEY_HEADER,
    message: "must be 1 to 255 printable ASCII characters",
  }]);
}
