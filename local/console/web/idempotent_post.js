/** A form's POST request with an Idempotency-Key. */

import { call } from "./api.js";

// These refuse an attempt before it is processed, so they say nothing about an earlier one.
const UNPROCESSED = new Set([401, 403, 429]);
const FINAL = new Set([404, 409, 412, 422]);

/**
 * Create the sender of a form's request. While the outcome is unknown, the same request has the same key and takes
 * effect once. A changed form is a new request.
 *
 * @param {string} place  where the user sees whether a request took effect
 */
export function idempotentPost(place) {
  let request = null;
  const isSame = (path, body) => request?.path === path && JSON.stringify(request.body) === JSON.stringify(body);
  return {
    /** Return whether a request was sent whose outcome is not known yet. */
    isUnresolved: () => request !== null,
    /** Return what the user can do if the outcome of a request to `path` is unknown, or else an empty text. */
    hint(path, body) {
      if (request?.path !== path) return "";
      if (isSame(path, body)) return "The outcome is unknown. Send it again: it takes effect once.";
      return `The earlier request may have taken effect. Check the ${place}.`;
    },
    async send(path, body, user) {
      const earlier = request;
      if (!isSame(path, body)) request = { path, body, idempotencyKey: crypto.randomUUID() };
      const response = await call("POST", path, user, request);
      if (response.ok || FINAL.has(response.status)) request = null;
      else if (UNPROCESSED.has(response.status)) request = earlier;
      return response;
    },
  };
}
