// The suite's own origin, on loopback and a port of the system's choice. Prints `listening on 127.0.0.1:PORT`.

import http from 'node:http'

const server = new URL('./node_modules/http-cache-tests/server/', import.meta.url)
const handler = async name => (await import(new URL(`handle-${name}.mjs`, server))).default
const handlers = { config: await handler('config'), state: await handler('state'), test: await handler('test') }

const origin = http.createServer((request, response) => {
  const [, name, ...rest] = new URL(request.url, 'http://localhost/').pathname.split('/')
  const handle = handlers[name]
  if (handle) return handle(rest, request, response)
  response.writeHead(404).end()
})
origin.listen(0, '127.0.0.1', () => console.log(`listening on 127.0.0.1:${origin.address().port}`))
