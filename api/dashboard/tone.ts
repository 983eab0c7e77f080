// Owns the tones in which states are told. Refuses to own drawing them (components/badge.tsx).
// Invariant: pure, so that what knows states knows nothing of components.

export type Tone = "ok" | "warn" | "bad" | "info" | "quiet";
