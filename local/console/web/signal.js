/**
 * Create a value that notifies listeners of changes.
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
    /** Notify the listeners of a change inside the value. */
    touch() {
      this.set(value);
    },
    /** Call `listener` now and at each change. */
    watch(listener) {
      listeners.add(listener);
      listener(value);
    },
  };
}
