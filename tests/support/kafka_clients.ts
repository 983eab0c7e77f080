// Owns two independent clients' record batch encoders and decoders behind one shape, for checks against ours.
// Refuses to repair what they give: where one cannot do something, it says so in a field of `KafkaClient`.
// Invariant: nothing of ours takes part in what they encode or decode.
import { Buffer } from "node:buffer";
import { zstdCompressSync, zstdDecompressSync } from "node:zlib";
import { createRecordsBatch, Reader, readRecordsBatch } from "@platformatic/kafka";
import { CompressionCodecs, CompressionTypes } from "kafkajs";
import KafkajsDecoder from "kafkajs/src/protocol/decoder.js";
import kafkajsRecord from "kafkajs/src/protocol/recordBatch/record/v0/index.js";
import kafkajsBatch from "kafkajs/src/protocol/recordBatch/v0/index.js";
import kafkajsDecode from "kafkajs/src/protocol/recordBatch/v0/decoder.js";
import kafkajsSnappy from "kafkajs-snappy";
import lz4js from "lz4js";
import type { Compression } from "../../storage/format/compression.ts";
import type { DecodedRecord } from "../../storage/format/decode.ts";
import type { RecordInput } from "../../storage/format/encode.ts";
import { toBytes } from "./format_samples.ts";

export interface KafkaClient {
  readonly name: string;
  /** How far a record's time can be from the first one's before `encode` gets it wrong, ms. */
  readonly maxTimestampDelta: number;
  encode(records: readonly RecordInput[], compression: Compression): Promise<Uint8Array>;
  decode(batch: Uint8Array): Promise<DecodedRecord[]>;
}

type Encoded = { buffer: Buffer };

CompressionCodecs[CompressionTypes.Snappy] = kafkajsSnappy;
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: (encoder: Encoded) => Promise.resolve(Buffer.from(lz4js.compress(encoder.buffer))),
  decompress: (bytes: Uint8Array) => Promise.resolve(Buffer.from(lz4js.decompress(bytes))),
});
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: (encoder: Encoded) => Promise.resolve(zstdCompressSync(encoder.buffer)),
  decompress: (bytes: Uint8Array) => Promise.resolve(zstdDecompressSync(bytes)),
});

const KAFKAJS_CODECS = { none: 0, gzip: 1, snappy: 2, lz4: 3, zstd: 4 } as const;

export const kafkajs: KafkaClient = {
  name: "kafkajs",
  maxTimestampDelta: Infinity,
  async encode(records, compression) {
    const firstTimestamp = records[0]!.timestamp;
    const batch = await kafkajsBatch.RecordBatch({
      compression: KAFKAJS_CODECS[compression],
      firstTimestamp,
      maxTimestamp: Math.max(...records.map((record) => record.timestamp)),
      lastOffsetDelta: records.length - 1,
      records: records.map((record, offsetDelta) =>
        kafkajsRecord({
          offsetDelta,
          timestampDelta: record.timestamp - firstTimestamp,
          key: buffer(record.key),
          value: buffer(record.value),
          headers: Object.fromEntries(record.headers.map(([key, value]) => [key, buffer(value)])),
        })
      ),
    });
    return new Uint8Array(batch.buffer);
  },
  async decode(batch) {
    const decoded = await kafkajsDecode(new KafkajsDecoder(Buffer.from(batch)));
    return decoded.records.map((
      record: {
        offset: string;
        timestamp: string;
        key: Buffer | null;
        value: Buffer | null;
        headers: Record<string, Buffer | null>;
      },
    ) => ({
      offset: Number(record.offset),
      timestamp: Number(record.timestamp),
      key: view(record.key),
      value: view(record.value),
      headers: Object.entries(record.headers).map(([key, value]) => [key, view(value)]),
    }));
  },
};

export const platformatic: KafkaClient = {
  name: "@platformatic/kafka",
  // Its 64-bit zigzag of @platformatic/dynamic-buffer 0.3.1 shifts the sign by 31 bits.
  maxTimestampDelta: 2 ** 31 - 1,
  encode(records, compression) {
    const messages = records.map((record) => ({
      topic: "t",
      timestamp: BigInt(record.timestamp),
      // Null is what the format has; its types know only the missing key.
      key: buffer(record.key) ?? undefined,
      value: buffer(record.value) as Buffer,
      headers: new Map(
        record.headers.map(([key, value]) => [Buffer.from(key), buffer(value) as Buffer]),
      ),
    }));
    const options = { compression, partitionLeaderEpoch: -1, producerEpoch: -1 };
    return Promise.resolve(new Uint8Array(createRecordsBatch(messages, options).buffer));
  },
  decode(batch) {
    const decoded = readRecordsBatch(Reader.from(Buffer.from(batch)));
    return Promise.resolve(decoded.records.map((record) => ({
      offset: Number(decoded.firstOffset) + record.offsetDelta,
      timestamp: Number(decoded.firstTimestamp + record.timestampDelta),
      key: view(record.key),
      value: view(record.value),
      headers: record.headers.map(([key, value]) => [key!.toString("utf8"), view(value)]),
    })));
  },
};

function buffer(field: string | Uint8Array | null): Buffer | null {
  const bytes = toBytes(field);
  return bytes === null ? null : Buffer.from(bytes);
}

function view(bytes: Uint8Array | null): Uint8Array | null {
  return bytes === null ? null : new Uint8Array(bytes);
}
