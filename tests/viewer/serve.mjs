// OHIF's files and Orthanc's DICOMweb under one address on loopback, as a hospital's web server
// gives them: then no rule about other origins is in the way.
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';

const TYPES = {
  '.css': 'text/css',
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.json': 'application/json',
  '.mjs': 'text/javascript',
  '.png': 'image/png',
  '.svg': 'image/svg+xml',
  '.wasm': 'application/wasm',
};
const HEADERS = {
  // what was compiled for the first page serves the next ones
  'cache-control': 'max-age=3600',
  // without these two a browser gives no SharedArrayBuffer
  'cross-origin-embedder-policy': 'require-corp',
  'cross-origin-opener-policy': 'same-origin',
};

function forward(request, response, orthanc) {
  const { method, headers } = request;
  const onward = http.request(orthanc + request.url, { method, headers }, (answer) => {
    response.writeHead(answer.statusCode, answer.headers);
    answer.pipe(response);
  });
  onward.on('error', (error) => response.writeHead(502).end(String(error)));
  request.pipe(onward);
}

function fileOf(pathname, { dist, configuration }) {
  if (pathname === '/app-config.js') return configuration;
  const file = path.join(dist, path.normalize(decodeURIComponent(pathname)));
  if (file.startsWith(dist + path.sep) && fs.statSync(file, { throwIfNoEntry: false })?.isFile()) {
    return file;
  }
  // the viewer's own routes, such as /viewer, are all its one page
  return path.extname(pathname) ? null : path.join(dist, 'index.html');
}

function send(file, response) {
  if (!file) return response.writeHead(404).end();
  const type = TYPES[path.extname(file)] ?? 'application/octet-stream';
  response.writeHead(200, { 'content-type': type, ...HEADERS });
  return fs.createReadStream(file).pipe(response);
}

// Serve on a port, a free one where none is named; returns the base address.
export function serve({ dist, configuration, orthanc, port = 0 }) {
  const server = http.createServer((request, response) => {
    const { pathname } = new URL(request.url, 'http://localhost');
    if (pathname.startsWith('/dicom-web/')) forward(request, response, orthanc);
    else send(fileOf(pathname, { dist, configuration }), response);
  });
  return new Promise((resolve) => {
    server.listen(port, '127.0.0.1', () => resolve(`http://127.0.0.1:${server.address().port}`));
  });
}
