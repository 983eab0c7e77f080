// Owns the thread on which large writes enter the page cache.
// Refuses to own syncing, and which bytes go where.
// Invariant: it writes to the file that was named when it was opened, or not at all.
/// <reference no-default-lib="true" />
/// <reference lib="deno.worker" />
import fs from "node:fs";
import type { WriteAnswer, WriteRequest } from "./write_messages.ts";

const open = new Map<number, number>();

self.onmessage = ({ data }: MessageEvent<WriteRequest>) => {
  if (data.type === "close") return close(data.handle);
  self.postMessage(answer(data));
};

function answer(request: Extract<WriteRequest, { type: "write" }>): WriteAnswer {
  const { id, memory, offset, length, position } = request;
  try {
    const fd = open.get(request.handle) ?? opened(request);
    const bytes = new Uint8Array(memory, offset, length);
    return { id, written: fs.writeSync(fd, bytes, 0, length, position) };
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    const code = error instanceof Error && "code" in error ? String(error.code) : null;
    return { id, message, code };
  }
}

function opened({ handle, path, device, inode }: Extract<WriteRequest, { type: "write" }>): number {
  const fd = fs.openSync(path, fs.constants.O_RDWR);
  const { dev, ino } = fs.fstatSync(fd);
  if (dev !== device || ino !== inode) {
    fs.closeSync(fd);
    throw new Error(`${path} is another file than the one that was opened`);
  }
  open.set(handle, fd);
  return fd;
}

function close(handle: number): void {
  const fd = open.get(handle);
  if (fd === undefined) return;
  open.delete(handle);
  fs.closeSync(fd);
}
