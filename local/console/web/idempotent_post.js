/** A form's POST request with an Idempotency-Key. */

import { call } from "./api.js";

/**
 * Create the sender of a form's request. While the outcome is unknown, it sends the same request again, which takes
 * effect once. A changed form is a new request.
 *
 * @param {HTMLFormElement} form
 */
export function idempotentPost(form) {
  let request = null;
  for (const change of ["input", "reset"]) form.addEventListener(change, () => (request = null));
  return {
    /** Return whether a request was sent whose outcome is not known yet. */
    isUnresolved: () => request !== null,
    async send(path, body, user) {
      request ??= { path, body, idempotencyKey: crypto.randomUUID() };
      const response = await call("POST", request.path, user, request);
      // Without a response, or after a 5xx, the outcome is unknown.
      if (response.status !== 0 && response.status < 500) request = null;
      return response;
    },
  };
}
