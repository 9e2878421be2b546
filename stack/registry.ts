// Schema registry: Apicurio, spoken to through its Confluent API.

import { mkdirSync } from 'node:fs'
import path from 'node:path'
import { requireJava, serverFlags } from './java.ts'
import { dependency, fetchPart } from './parts.ts'
import type { Part } from './parts.ts'
import { HOST } from './ports.ts'
import { untilAnswers } from './server.ts'
import type { Server } from './server.ts'

export const VERSION = '3.3.3'

const PART: Part = {
  name: 'apicurio',
  version: VERSION,
  megabytes: 160,
  dependencies: dependency({
    group: 'io.apicurio',
    artifact: 'apicurio-registry-app',
    version: VERSION,
    type: 'tar.gz',
    classifier: 'all',
    alone: true,
  }),
  as: 'unpacked',
  fetched: ['io/apicurio'],
}

/** Wherever it runs, and wherever it keeps its data. */
export const SETTINGS = {
  'quarkus.http.access-log.enabled': false,
  'apicurio.datasource.jdbc.initial-size': 1,
  'apicurio.datasource.jdbc.min-size': 1,
  'apicurio.datasource.jdbc.max-size': 20,
  // Tests make a subject per topic prefix; the list of subjects ends at 1,000 otherwise.
  'apicurio.ccompat.max-subjects': 100_000,
}

export const registry: Server = {
  name: 'registry',
  env: 'SCHEMA_REGISTRY_URL',
  stop: { signal: 'SIGTERM', patience: 10_000 },
  async start({ folder, say, port, last, launch }) {
    const java = requireJava(21, 'The schema registry')
    const app = await fetchPart(PART, say)
    const chosen = await port(8081, last('registry'))
    const management = await port(chosen + 1000, chosen + 1000)
    const data = path.join(folder, 'data', 'registry')
    mkdirSync(data, { recursive: true })
    const settings = {
      ...SETTINGS,
      'quarkus.http.host': HOST,
      'quarkus.http.port': chosen,
      'quarkus.management.host': HOST,
      'quarkus.management.port': management,
      // A file of its own and not our Postgres: it starts beside it, and a Postgres that is stopped for a test stops nothing here.
      // Written through at once, since an id handed out is in the log for ever.
      'apicurio.datasource.url': `jdbc:h2:file:${path.join(data, 'registry')};WRITE_DELAY=0`,
      'java.io.tmpdir': data,
    }
    const address = `http://${HOST}:${chosen}/apis/ccompat/v7`
    const server = await launch(address, {
      command: java.path,
      args: [
        ...serverFlags(java, 320, data, 'start'),
        ...Object.entries(settings).map(([name, value]) => `-D${name}=${value}`),
        '-jar',
        path.join(app, 'quarkus-run.jar'),
      ],
      cwd: data,
    })
    await untilAnswers({ name: 'registry', process: server, ports: [chosen, management], answers: () => registry.answers(address) })
  },
  async answers(address) {
    try {
      const response = await fetch(`${address}/schemas/types`, { signal: AbortSignal.timeout(3000) })
      await response.arrayBuffer()
      return response.ok
    } catch {
      return false
    }
  },
}
