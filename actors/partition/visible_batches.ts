// Owns which batches of a committed read hold messages: neither control batches nor those of aborted transactions.
// Refuses to own reading. Invariant: the same answer as readers at the edge get.
import {
  type BatchHeader,
  CONTROL_BIT,
  TRANSACTIONAL_BIT,
} from "../../storage/format/record_batch.ts";
import type { FetchResult } from "../broker.ts";

/** Whether the batch of a `read_committed` fetch that has this header is for readers. */
export function isVisible(
  header: BatchHeader,
  { aborted = [] }: Pick<FetchResult, "aborted">,
): boolean {
  if ((header.attributes & CONTROL_BIT) !== 0) return false;
  if ((header.attributes & TRANSACTIONAL_BIT) === 0) return true;
  return !aborted.some(({ producerId, firstOffset, lastOffset }) =>
    producerId === header.producerId && header.baseOffset >= firstOffset &&
    header.baseOffset <= lastOffset
  );
}
