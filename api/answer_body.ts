// Owns how the body of an answer is handed to the server: small ones whole, large ones piece by piece as they are read.
// Refuses to own what it says (the routes) and how much of it there may be (answer_budget.ts).
// Invariant: of a large body the budget holds what the caller has not taken; how it ends, all of it is given back.
import type { AnswerHold } from "./answer_budget.ts";

/** Up to this a body is handed over whole, and nobody knows when it has been read: there is one a connection at most. */
export const MAX_WHOLE_BYTES = 16_384;
/** The same where a connection may have two hundred at once. */
const MAX_MULTIPLEXED_WHOLE_BYTES = 1_024;
/** Of a large body, what is handed over at once. */
const SLICE_BYTES = 131_072;

/** Text, text in pieces, or bytes. */
export type AnswerContent = string | readonly string[] | Uint8Array<ArrayBuffer>;

export interface AnswerBody {
  readonly body: BodyInit;
  /** To be told in a header where the body itself does not know it. */
  readonly lengthBytes: number | null;
}

/**
 * The body of `content`. Of a large one `hold` is kept until it has been read, or given up. Throws OVERLOADED, unless the
 * answer must be told, when there is no room for a large one.
 */
export function answerBody(
  content: AnswerContent,
  { hold, mustTell, isMultiplexed = false }: {
    readonly hold: AnswerHold;
    readonly mustTell: boolean;
    readonly isMultiplexed?: boolean | undefined;
  },
): AnswerBody {
  if (sizeOf(content) <= (isMultiplexed ? MAX_MULTIPLEXED_WHOLE_BYTES : MAX_WHOLE_BYTES)) {
    const body = typeof content === "string" || content instanceof Uint8Array
      ? content
      : content.join("");
    return { body, lengthBytes: null };
  }
  const pieces = content instanceof Uint8Array ? [content] : encoded(content);
  const lengthBytes = pieces.reduce((sum, piece) => sum + piece.length, 0);
  if (!mustTell) hold.cover(lengthBytes);
  hold.settle(lengthBytes);
  hold.keep();
  return { body: pulled(pieces, hold), lengthBytes };
}

function sizeOf(content: AnswerContent): number {
  if (typeof content === "string" || content instanceof Uint8Array) return content.length;
  return content.reduce((sum, piece) => sum + piece.length, 0);
}

/** Small pieces together, so that each of the result is worth handing over. */
function encoded(content: string | readonly string[]): Uint8Array<ArrayBuffer>[] {
  const encoder = new TextEncoder();
  if (typeof content === "string") return [encoder.encode(content)];
  const pieces: Uint8Array<ArrayBuffer>[] = [];
  let text = "";
  for (const piece of content) {
    text += piece;
    if (text.length < SLICE_BYTES) continue;
    pieces.push(encoder.encode(text));
    text = "";
  }
  if (text !== "") pieces.push(encoder.encode(text));
  return pieces;
}

function pulled(
  pieces: (Uint8Array<ArrayBuffer> | null)[],
  hold: AnswerHold,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  let index = 0;
  let at = 0;
  return new ReadableStream({
    pull(controller) {
      const piece = pieces[index];
      if (piece === undefined || piece === null) {
        hold.release();
        return controller.close();
      }
      controller.enqueue(piece.subarray(at, at + SLICE_BYTES));
      at += SLICE_BYTES;
      if (at < piece.length) return;
      pieces[index++] = null;
      at = 0;
      hold.give(piece.length);
    },
    cancel() {
      pieces.length = 0;
      hold.release();
    },
  }, { highWaterMark: 0 });
}
