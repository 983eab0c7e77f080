// Owns running compaction's own suites over encrypted logs: what a crash within a swap may leave holds there too.
import { atRest } from "./support/simulated_logs.ts";

atRest.encryption = "aes-256-gcm";

await import("./compaction_crash_test.ts");
await import("./compaction_transactions_test.ts");
