// Keeps the page, so that it opens without a network. The network comes first: a newer page or model is
// never hidden by an old one.
const KEPT = 'lenet-1';
const FILES = [
  './', 'index.html', 'page.css', 'page.js', 'lenet.js', 'lenet.wasm', 'model.json', 'model.pdmodel',
  'model.pdiparams', 'preprocess.json', '2-pen.jpg', '3-paper.jpg', '5-board.jpg', '7-shadow.jpg',
];

self.addEventListener('install', (event) => {
  self.skipWaiting();
  event.waitUntil(caches.open(KEPT).then((kept) => kept.addAll(FILES)));
});
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
