/**
 * A value that tells when it changes.
 *
 * @template T
 * @param {T} initial
 */
export function signal(initial) {
  let value = initial;
  const listeners = new Set();
  return {
    get value() {
      return value;
    },
    set(next) {
      value = next;
      for (const listener of listeners) listener(value);
    },
    /** Tell that something inside of the value has changed. */
    touch() {
      this.set(value);
    },
    /** Call `listener` now, and at each change. */
    watch(listener) {
      listeners.add(listener);
      listener(value);
    },
  };
}
