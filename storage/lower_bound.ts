// Owns the one binary search: where in an order something stands.
// Refuses to own what is in order. Invariant: asks in the logarithm of the length.

/** First index of 0..length-1 that does not lie before what is sought; `length` when all do. */
export function lowerBound(length: number, liesBefore: (index: number) => boolean): number {
  let low = 0;
  let high = length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (liesBefore(middle)) low = middle + 1;
    else high = middle;
  }
  return low;
}
