// Keeps what the page loaded, so that it opens without a network. The network comes first: a newer
// page or model is never hidden by an old one.
const KEPT = 'lenet-1';

self.addEventListener('install', () => self.skipWaiting());
self.addEventListener('activate', (event) => event.waitUntil(self.clients.claim()));

self.addEventListener('fetch', (event) => {
  const url = new URL(event.request.url);
  const ours = url.href.startsWith(self.registration.scope) && !url.pathname.startsWith('/v2');
  if (event.request.method === 'GET' && ours) event.respondWith(answer(event.request));
});

async function answer(request) {
  const kept = await caches.open(KEPT);
  try {
    const found = await fetch(request);
    if (found.ok) await kept.put(request, found.clone());
    return found;
  } catch (error) {
    const old = await kept.match(request);
    if (old) return old;
    throw error;
  }
}
