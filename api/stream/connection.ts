// Owns one consuming client from open to close: its frames, and the parts that serve it.
// Refuses to own sockets (socket.ts), the sweep over all connections (hub.ts), the window (session.ts), delivery (reader.ts).
// Invariant: a connection that joined ends with exactly one of Leave, Disconnected, or having been removed.
import type { GroupNotification, JoinReply } from "../../actors/group/types.ts";
import { asBrokerError, BrokerError } from "../../storage/broker_error.ts";
import { endedError } from "../auth/access.ts";
import { consumingRefusal } from "../auth/lasting_rights.ts";
import type { Assignment } from "./assignment.ts";
import {
  type ConnectionOptions,
  type Joined,
  makeAssignment,
  makeJoined,
  makeReader,
  type Parts,
} from "./connection_parts.ts";
import { type ClientFrame, CLOSE, errorFrame, parseClientFrame } from "./frames.ts";
import { FrameInlet } from "./frame_inlet.ts";
import { MemberLink } from "./member_link.ts";
import { Outbox } from "./outbox.ts";
import type { Reader } from "./reader.ts";
import { Session } from "./session.ts";

/** A close reason is at most 123 bytes (RFC 6455, 5.5). */
const MAX_CLOSE_REASON_CHARS = 100;

export class Connection {
  readonly #options: ConnectionOptions;
  readonly #session: Session;
  readonly #outbox: Outbox;
  readonly #link: MemberLink;
  readonly #assignment: Assignment;
  readonly #reader: Reader;
  readonly #inlet: FrameInlet;
  readonly #acceptedAt: number;
  #opened = false;
  #joined: Joined | null = null;
  #ended = false;
  readonly #earlyFrames: ClientFrame[] = [];
  #earlyBytes = 0;
  #badFrames = 0;
  /** How often an operator has paused the group. */
  #pauses = 0;
  /** A frame of the client came that the group has not been told of. */
  #alive = false;
  #passedOnAt: number;
  #heartbeatAt: number;
  #autoCommitAt: number;
  #deliveredSinceSweep = false;
  /** When it was closed from this side, monotonic ms. */
  #closedAt: number | null = null;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    const { services, request, socket } = options;
    const { clock, limits, randomness, budget, broker, onError } = services;
    const { maxInFlight, format, group } = request;
    this.#acceptedAt = clock.monotonic();
    this.#passedOnAt = this.#heartbeatAt = this.#autoCommitAt = this.#acceptedAt;
    this.#session = new Session({ maxInFlight, asksForRetries: true });
    const onTooSlow = () => this.#shut(CLOSE.tooSlow, "the client does not read");
    this.#outbox = new Outbox({ socket, format, limits, budget, onTooSlow });
    this.#inlet = new FrameInlet({
      ...services,
      quota: request.quota,
      onFrame: (data) => this.#admit(data),
      onTooFast: () => this.#shut(CLOSE.tooFast, "the client sends too many frames"),
    });
    const onNotification = (notification: GroupNotification) => this.#hear(notification);
    this.#link = new MemberLink({ broker, randomness, group, onNotification, onError });
    this.#assignment = makeAssignment(options, this.#parts());
    this.#reader = makeReader(options, this.#parts());
  }

  get group(): string {
    return this.#options.request.group;
  }

  get tenant(): string {
    return this.#options.request.access.tenant;
  }

  get memberId(): string | null {
    return this.#link.memberId;
  }

  /** Joins the group and starts; to be called once the socket is open. Never rejects. */
  async open(): Promise<void> {
    this.#opened = true;
    // It was not there yet when it was closed.
    if (this.#ended) return this.#options.socket.close(CLOSE.tryAgain, "opened too late");
    try {
      const reply = await this.#link.join(this.#options.request);
      if (!this.#ended) this.#start(reply);
    } catch (error) {
      const failure = asBrokerError(error);
      this.#report(failure);
      this.#link.end();
      this.#outbox.send(errorFrame(failure));
      this.#shut(failure.retryable ? CLOSE.tryAgain : CLOSE.badFrames, failure.code);
    }
  }

  /** Whether the socket will not open any more. `nowMs` is monotonic. */
  neverOpened(nowMs: number): boolean {
    const { openTimeoutMs } = this.#options.services.limits;
    return !this.#opened && nowMs - this.#acceptedAt >= openTimeoutMs;
  }

  /** One frame of the client. */
  receive(data: string | Uint8Array): void {
    if (this.#ended) return;
    this.#alive = true;
    this.#inlet.push(data);
  }

  #admit(data: string | Uint8Array): void {
    if (this.#ended) return;
    let frame: ClientFrame;
    try {
      frame = parseClientFrame(data, this.#options.services.limits);
    } catch (error) {
      return this.#refuseFrame(asBrokerError(error));
    }
    this.#badFrames = 0;
    if (this.#joined !== null) this.#handle(frame, this.#joined);
    else if (this.#mayBeEarly(data.length)) this.#earlyFrames.push(frame);
    else this.#refuseFrame(new BrokerError("OVERLOADED", "wait for welcome before more frames"));
  }

  /** The socket is gone. Resolves when the group knows. Never rejects. */
  async closed(): Promise<void> {
    this.#options.request.quota?.end();
    this.#outbox.gone();
    await this.#disconnect();
  }

  /** Another connection goes on for this member. */
  replace(): void {
    this.#shut(CLOSE.replaced, "another connection goes on for this member");
  }

  /** Finishes what was committed and closes, so that the client comes back elsewhere or later. */
  async drain(): Promise<void> {
    await this.#disconnect();
    this.#outbox.close(CLOSE.restart, "the broker is shutting down");
  }

  /** Closes when the credential that opened this connection has ended, or may not do this any more. */
  recheck(): void {
    if (this.#ended) return;
    const { request, services: { authorizer } } = this.#options;
    const refusal = consumingRefusal(authorizer, request.access, request);
    if (refusal !== null) this.#refuse(refusal);
  }

  /** What time asks for; called for every connection, every `sweepMs`. `nowMs` is monotonic. */
  sweep(nowMs: number): void {
    this.#cutWhenOverdue(nowMs);
    const end = this.#ended ? null : this.#options.request.access.ended();
    if (end !== null) this.#refuse(endedError(end));
    if (this.#ended || this.#joined === null) return;
    const { services: { limits }, request: { sessionTimeoutMs } } = this.#options;
    if (nowMs - this.#heartbeatAt >= sessionTimeoutMs / 3) {
      this.#heartbeatAt = nowMs;
      this.#outbox.heartbeat();
    }
    if (this.#alive && nowMs - this.#passedOnAt >= sessionTimeoutMs * limits.heartbeatShare) {
      this.#passedOnAt = nowMs;
      void this.#passOnHeartbeat();
    }
    if (nowMs - this.#autoCommitAt >= limits.autoCommitMs) {
      this.#autoCommitAt = nowMs;
      this.#joined.autoCommit?.commit();
    }
    const late = this.#session.revokedBefore(nowMs - limits.revokingMs);
    if (late.length > 0) this.#assignment.giveUp(late);
    if (!this.#deliveredSinceSweep) this.#reader.release();
    this.#deliveredSinceSweep = false;
  }

  #start(reply: JoinReply): void {
    const { memberId, generation, resumed, assignment } = reply;
    const { sessionTimeoutMs } = this.#options.request;
    this.#joined = makeJoined(this.#options, { ...this.#parts(), memberId });
    this.#options.onJoined(memberId);
    this.#session.generation = generation;
    this.#outbox.send({ type: "welcome", memberId, generation, sessionTimeoutMs, resumed });
    if (resumed || assignment.length > 0) this.#assignment.assigned(generation, assignment);
    this.#link.listen();
    for (const frame of this.#earlyFrames.splice(0)) this.#handle(frame, this.#joined);
  }

  #hear(notification: GroupNotification): void {
    switch (notification.type) {
      case "assigned":
        return this.#assignment.assigned(notification.generation, notification.partitions);
      case "revoked":
        this.#assignment.revoked(notification.generation, notification.partitions);
        return this.#joined?.autoCommit?.commit();
      case "removed":
        return this.#removed(notification.reason);
      case "paused":
        this.#pauses++;
        this.#session.groupPaused = true;
        return this.#outbox.send(notification);
      case "withdrawn":
        return this.#outbox.send(notification);
      case "retries":
        this.#joined?.retries.nackedElsewhere(notification.nacked ?? []);
        if (notification.nacked !== undefined && notification.partitions.length === 0) return;
        return this.#joined?.retries.wake();
      case "resumed":
        if (this.#session.groupPaused) void this.#resume(notification);
        return;
    }
  }

  /** Delivery goes on where the group stands now, once this session's own commits have their answer. */
  async #resume(notification: { readonly type: "resumed" }): Promise<void> {
    const pauses = this.#pauses;
    await this.#joined?.commits.settled();
    await this.#assignment.recheck();
    if (this.#ended || pauses !== this.#pauses) return;
    this.#session.groupPaused = false;
    this.#outbox.send(notification);
    this.#joined?.retries.wake();
    this.#reader.pump();
  }

  #removed(reason: string): void {
    const { group } = this.#options.request;
    const detail = `no longer a member of group ${group}: ${reason}`;
    const { memberId } = this;
    this.#outbox.send(errorFrame(new BrokerError("UNKNOWN_MEMBER", detail, { memberId, reason })));
    // Coming back would only throw the newer one out again.
    const isReplaced = reason.startsWith("replaced");
    this.#shut(isReplaced ? CLOSE.replaced : CLOSE.removed, reason);
  }

  #handle(frame: ClientFrame, joined: Joined): void {
    if (this.#ended) return;
    try {
      this.#apply(frame, joined);
    } catch (error) {
      const failure = asBrokerError(error);
      this.#report(failure);
      this.#outbox.send(errorFrame(failure, "id" in frame ? { id: frame.id } : {}));
    }
  }

  #apply(frame: ClientFrame, joined: Joined): void {
    switch (frame.type) {
      case "commit":
        return joined.commits.push(frame);
      case "nack":
        return joined.retries.nack(frame);
      case "pause":
        return this.#session.setPaused(frame.partitions, true);
      case "resume":
        this.#session.setPaused(frame.partitions, false);
        joined.retries.wake();
        return this.#reader.pump();
      case "revoked":
        return this.#assignment.giveUp(frame.partitions);
      case "leave":
        return void this.#leave();
      case "heartbeat":
        return;
    }
  }

  #mayBeEarly(bytes: number): boolean {
    const { maxEarlyFrames, maxFrameBytes } = this.#options.services.limits;
    this.#earlyBytes += bytes;
    return this.#earlyFrames.length < maxEarlyFrames && this.#earlyBytes <= maxFrameBytes;
  }

  #refuseFrame(error: BrokerError): void {
    this.#outbox.send(errorFrame(error));
    if (error.code === "REQUEST_TOO_LARGE") return this.#shut(CLOSE.tooLarge, error.message);
    if (++this.#badFrames < this.#options.services.limits.maxBadFrames) return;
    this.#shut(CLOSE.badFrames, `${this.#badFrames} bad frames in a row`);
  }

  async #leave(): Promise<void> {
    await this.#finishCommits();
    await this.#link.leave();
    this.#shut(CLOSE.left, "left");
  }

  #refuse(error: BrokerError): void {
    this.#outbox.send(errorFrame(error));
    this.#shut(CLOSE.unauthenticated, error.message);
  }

  /** Closes from this side. Nothing waits for the socket to be gone: a client that does not read may never answer. */
  #shut(code: number, reason: string): void {
    this.#closedAt ??= this.#options.services.clock.monotonic();
    this.#outbox.close(code, reason.slice(0, MAX_CLOSE_REASON_CHARS));
    void this.#disconnect();
  }

  /** The last word waits behind what the client does not read: it would be there for as long as the client likes. */
  #cutWhenOverdue(nowMs: number): void {
    const { services: { limits }, socket } = this.#options;
    if (this.#closedAt !== null && nowMs - this.#closedAt >= limits.closeTimeoutMs) socket.cut?.();
  }

  /** Lets what was committed finish, then tells the group that nobody speaks for this member here any more. */
  async #disconnect(): Promise<void> {
    await this.#finishCommits();
    await this.#link.disconnect();
  }

  /** Ends everything but the commits that were begun, and waits for these. */
  async #finishCommits(): Promise<void> {
    if (!this.#ended) this.#joined?.autoCommit?.commit();
    this.#ended = true;
    this.#inlet.stop();
    this.#reader.stop();
    this.#assignment.stop();
    const { timers, limits } = this.#options.services;
    if (this.#joined === null) return;
    this.#joined.autoCommit?.stop();
    this.#joined.retries.stop();
    const { promise, resolve } = Promise.withResolvers<void>();
    const cancel = timers.after(limits.flushTimeoutMs, resolve);
    const settled = [this.#joined.commits.settled(), this.#joined.retries.settled()];
    await Promise.race([Promise.all(settled), promise]);
    cancel();
  }

  async #passOnHeartbeat(): Promise<void> {
    this.#alive = false;
    const reply = await this.#link.heartbeat();
    if (reply !== null && !this.#ended) this.#assignment.resync(reply);
  }

  /** Something is no longer in flight: there is room, and perhaps something to give up. */
  #settled(): void {
    if (this.#joined !== null) this.#assignment.releaseSettled();
    this.#joined?.retries.refresh();
    this.#reader.pump();
  }

  #report(error: BrokerError): void {
    if (error.code === "INTERNAL") this.#options.services.onError(error.cause ?? error);
  }

  #parts(): Parts {
    return {
      session: this.#session,
      outbox: this.#outbox,
      link: this.#link,
      onReady: () => {
        this.#joined?.retries.refresh();
        this.#reader.pump();
      },
      parked: (held, offsets) => this.#joined!.retries.parked(held, offsets),
      commitsSettled: async () => await this.#joined?.commits.settled(),
      onPassedSkips: () => this.#joined?.retries.refresh(),
      onRetryLost: (held, offset) => this.#joined!.retries.forget(held, offset),
      onSettled: () => this.#settled(),
      onDropped: (held) => this.#reader.drop(held),
      onDelivered: (held, nextOffset) => {
        this.#deliveredSinceSweep = true;
        this.#joined?.autoCommit?.delivered(held, nextOffset);
      },
      onRedelivered: (held, offset) => this.#joined?.autoCommit?.redelivered(held, offset),
      onOutOfRange: (held) => this.#assignment.restart(held),
      onLost: (partitions) => this.#assignment.giveUp(partitions),
      onFault: (held, error) => {
        this.#report(error);
        this.#outbox.send(
          { ...errorFrame(error), ...held.toJSON() } as ReturnType<typeof errorFrame>,
        );
      },
    };
  }
}
