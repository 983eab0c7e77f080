// Owns reading where a dead letter came from and why, out of its headers.
// Refuses to own writing dead letters (../group/retry/dead_letter_record.ts).
// Invariant: headers come from whoever can write to the topic: what is not wholly right is no letter.
import type { DecodedRecord } from "../../storage/format/decode.ts";
import { DEAD_LETTER_HEADERS as NAMES } from "../group/retry/dead_letter_record.ts";
import type { LetterFilter } from "./types.ts";

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
  /** The message was gone when its letter was written: there is nothing to send. */
  readonly isLost: boolean;
}

/** What the headers of `record` say of it as a dead letter. */
export function letterOf(record: Pick<DecodedRecord, "headers">): Letter {
  const texts = new Map<string, string>();
  for (const [name, value] of record.headers) {
    if (name.startsWith("waybill-") && value !== null) texts.set(name, decoder.decode(value));
  }
  const topic = texts.get(NAMES.topic);
  const partition = integer(texts.get(NAMES.partition));
  const offset = integer(texts.get(NAMES.offset));
  const whole = topic !== undefined && partition !== null && offset !== null;
  return {
    origin: whole ? { topic, partition, offset } : null,
    group: texts.get(NAMES.group) ?? null,
    code: texts.get(NAMES.code) ?? null,
    reason: texts.get(NAMES.reason) ?? null,
    isLost: texts.has(NAMES.payload),
  };
}

/** Whether `letter` is one of those that `filter` means. */
export function isMeant(letter: Letter, filter: LetterFilter): boolean {
  const { origin, group, code, reason } = letter;
  return (filter.group === undefined || filter.group === group) &&
    (filter.code === undefined || filter.code === code) &&
    (filter.partition === undefined || filter.partition === origin?.partition) &&
    (filter.offset === undefined || filter.offset === origin?.offset) &&
    (filter.reason === undefined || (reason ?? "").includes(filter.reason));
}

function integer(text: string | undefined): number | null {
  const number = text !== undefined && INTEGER.test(text) ? Number(text) : NaN;
  return Number.isSafeInteger(number) ? number : null;
}
