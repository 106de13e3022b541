// Threads of WebAssembly need a page that is isolated from other origins. Where the server does not send the headers
// for that, a service worker adds them, and the page is loaded once more. In a frame nothing can be done from inside.

const TRIED = "majl-isolation-tried";
const PATIENCE_MS = 3000; // where service workers are blocked, they may never be ready

/** Resolves when the page may start, maybe never, because it is loaded again. */
export async function isolated() {
  if (crossOriginIsolated || window.top !== window || !navigator.serviceWorker || sessionStorage[TRIED]) return;
  try {
    await navigator.serviceWorker.register(new URL("service_worker.js", import.meta.url));
    const patience = new Promise((_, reject) => setTimeout(reject, PATIENCE_MS));
    await Promise.race([navigator.serviceWorker.ready, patience]);
  } catch {
    return; // one thread
  }
  sessionStorage[TRIED] = "yes";
  location.reload();
  await new Promise(() => {});
}
