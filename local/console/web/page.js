/** Parts common to the console's pages: sign-in, the mark of the current page, and refreshes while it is visible. */

import { byId, setText } from "./dom.js";
import { isExpired, startSession, user } from "./session.js";

const POLL_MS = 3000;

/**
 * Start the page.
 *
 * @param {object} page
 * @param {string} page.role  of the user to sign in, unless another one was chosen
 * @param {() => unknown} page.start
 * @param {(options: {isPoll: boolean}) => unknown} page.refresh  reads what is shown again
 */
export function startPage(page) {
  run(page).catch((failure) => {
    byId("page-problem").hidden = false;
    setText(byId("page-problem"), String(failure.message ?? failure));
  });
}

async function run({ role, start, refresh }) {
  for (const link of document.querySelectorAll("nav a")) {
    if (link.pathname === location.pathname) link.setAttribute("aria-current", "page");
  }
  await start();
  await startSession(role);
  document.querySelector("main").inert = false;
  user.watch(() => void refreshIfVisible(false));
  // Catch up when the page becomes visible.
  document.addEventListener("visibilitychange", () => isExpired() || void refreshIfVisible(false));
  setTimeout(poll, POLL_MS);

  async function refreshIfVisible(isPoll) {
    if (document.visibilityState === "visible") await refresh({ isPoll });
  }

  async function poll() {
    try {
      if (!isExpired()) await refreshIfVisible(true);
    } finally {
      setTimeout(poll, POLL_MS);
    }
  }
}
