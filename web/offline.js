// A service worker: keeps the files of the page, so that it works without a network after the first visit. The network
// comes first, so that a new version is never missed.

const FILES = ["./", "index.html", "worker.js", "package/index.js", "package/itera_web.wasm",
  ...["micro", "nano"].flatMap(size => ["int4", "int8"].map(precision => `models/${size}-tinystories.${precision}.safetensors`))];

self.addEventListener("install", event => event.waitUntil(
  caches.open("itera-lite").then(cache => cache.addAll(FILES)).then(() => self.skipWaiting())));
self.addEventListener("activate", event => event.waitUntil(self.clients.claim()));
self.addEventListener("fetch", event => {
  const { request } = event;
  if (request.method !== "GET" || !request.url.startsWith(self.registration.scope)) return;
  event.respondWith(fetch(request)
    .then(async reply => {
      if (reply.ok) await (await caches.open("itera-lite")).put(request, reply.clone());
      return reply;
    })
    .catch(async error => (await caches.match(request)) ?? Promise.reject(error)));
});
