// Owns objects of which a test changes some members and leaves the rest to the object below.
// Refuses to own what is changed. Invariant: what is not changed runs on the object below as if nobody stood between.

/** `target` with the own members of `changed` for its own; getters are asked at each use. */
export function withMembers<T extends object>(target: T, changed: Partial<T>): T {
  return new Proxy(target, {
    get(below, property) {
      if (Object.hasOwn(changed, property)) return Reflect.get(changed, property);
      const value = Reflect.get(below, property, below) as unknown;
      return typeof value === "function" ? value.bind(below) : value;
    },
  });
}
