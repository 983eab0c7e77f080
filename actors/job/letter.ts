// Owns reading where a dead letter came from and why, out of its headers.
// Refuses to own writing dead letters (the group's part).
// Invariant: headers come from whoever can write to the topic: what is not wholly right is no letter.
import type { DecodedRecord } from "../../storage/format/decode.ts";
import type { LetterFilter } from "./types.ts";

export const ORIGIN_TOPIC = "waybill-origin-topic";
export const ORIGIN_PARTITION = "waybill-origin-partition";
export const ORIGIN_OFFSET = "waybill-origin-offset";
export const ORIGIN_GROUP = "waybill-origin-group";
export const LETTER_REASON = "waybill-reason";
export const LETTER_CODE = "waybill-code";
export const LETTER_ATTEMPTS = "waybill-attempts";

const INTEGER = /^\d{1,16}$/;
const decoder = new TextDecoder();

export interface Letter {
  /** Null when the headers do not tell. */
  readonly origin: {
    readonly topic: string;
    readonly partition: number;
    readonly offset: number;
  } | null;
  readonly group: string | null;
  readonly code: string | null;
  readonly reason: string | null;
}

/** What the headers of `record` say of it as a dead letter. */
export function letterOf(record: Pick<DecodedRecord, "headers">): Letter {
  const texts = new Map<string, string>();
  for (const [name, value] of record.headers) {
    if (name.startsWith("waybill-") && value !== null) texts.set(name, decoder.decode(value));
  }
  const topic = texts.get(ORIGIN_TOPIC);
  const partition = integer(texts.get(ORIGIN_PARTITION));
  const offset = integer(texts.get(ORIGIN_OFFSET));
  const whole = topic !== undefined && partition !== null && offset !== null;
  return {
    origin: whole ? { topic, partition, offset } : null,
    group: texts.get(ORIGIN_GROUP) ?? null,
    code: texts.get(LETTER_CODE) ?? null,
    reason: texts.get(LETTER_REASON) ?? null,
  };
}

/** Whether `letter` is one of those that `filter` means; `group`: only letters of this group. */
export function isMeant(letter: Letter, filter: LetterFilter, group: string | null): boolean {
  if (group !== null && letter.group !== group) return false;
  if (filter.code !== undefined && letter.code !== filter.code) return false;
  if (filter.originPartition !== undefined && letter.origin?.partition !== filter.originPartition) {
    return false;
  }
  if (filter.originOffset !== undefined && letter.origin?.offset !== filter.originOffset) {
    return false;
  }
  const { reason } = filter;
  return reason === undefined ||
    (letter.reason ?? "").toLowerCase().includes(reason.toLowerCase());
}

function integer(text: string | undefined): number | null {
  const number = text !== undefined && INTEGER.test(text) ? Number(text) : NaN;
  return Number.isSafeInteger(number) ? number : null;
}
