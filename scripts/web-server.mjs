// A static server on loopback, for scripts that drive the page of the model.

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";

const KINDS = { ".html": "text/html", ".js": "text/javascript", ".wasm": "application/wasm" };

/** Serves a folder; its address and the server. */
export async function serve(folder) {
  const server = createServer(async (request, reply) => {
    const path = normalize(decodeURIComponent(new URL(request.url, "http://localhost").pathname));
    try {
      const content = await readFile(join(folder, path.endsWith("/") ? path + "index.html" : path));
      reply.writeHead(200, { "Content-Type": KINDS[extname(path)] ?? (path.endsWith("/") ? "text/html" : "application/octet-stream") });
      reply.end(content);
    } catch { reply.writeHead(404).end(); }
  });
  await new Promise(done => server.listen(0, "127.0.0.1", done));
  return { url: `http://127.0.0.1:${server.address().port}/`, server };
}
