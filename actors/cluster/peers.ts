// Owns the port through which brokers speak with each other.
// Refuses to own connections, secrets and bytes (ops/peer/), and what any method means.
// Invariant: an answer belongs to its call; arguments and answers are plain data (JSON's, and byte arrays), and whoever
// calls is known by its secret and says which of its registrations it is.

/** Who calls. */
export interface PeerCaller {
  readonly nodeId: string;
  readonly incarnation: number;
}

export interface PeerCallOptions {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
}

export type PeerHandler = (
  args: unknown,
  caller: PeerCaller,
  signal: AbortSignal,
) => Promise<unknown>;

/**
 * Errors of `call`: what the handler threw, as BrokerError; PEER_UNAVAILABLE when the call was not sent (nothing has
 * happened there), PEER_LOST when it was and no answer came (it may have happened): both are retryable. A handler's
 * `signal` is aborted when its caller is gone or has given up. Calls of one `lane` to one broker arrive in the order in
 * which they were made; large answers of one lane do not hold up another.
 */
export interface Peers {
  call<T>(to: string, request: PeerRequest, options: PeerCallOptions): Promise<T>;
  /** One handler a method. */
  handle(method: string, handler: PeerHandler): void;
}

export interface PeerRequest {
  readonly method: string;
  readonly args: unknown;
  /** Default "control": small and quick. "data": requests of clients. "replica": batches for followers. */
  readonly lane?: "control" | "data" | "replica";
}
