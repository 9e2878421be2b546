// The workflows of workflow-app.ts written for Restate: run by peers.ts with the folder of Restate's SDK, and a port.

import { createRequire } from 'node:module'
import path from 'node:path'
import { pathToFileURL } from 'node:url'

/** What is used of the SDK; it is no dependency of Refold. */
type Context = {
  run(name: string, action: () => Promise<number>): Promise<number>
  sleep(ms: number): Promise<void>
  date: { now(): Promise<number> }
  promise(name: string): Promise<number> & { resolve(value: number): Promise<void> }
}
type Handlers = Readonly<Record<string, (context: Context, input: { count: number }) => Promise<number | void>>>
type Sdk = {
  service(of: { name: string; handlers: Handlers }): unknown
  workflow(of: { name: string; handlers: Handlers }): unknown
  serve(of: { services: unknown[]; port: number }): Promise<number>
  RestatePromise: { all(all: Promise<number>[]): Promise<number[]> }
}

const [folder = '', port = ''] = process.argv.slice(2)
const entry = createRequire(path.join(folder, 'package.json')).resolve('@restatedev/restate-sdk')
const { service, workflow, serve, RestatePromise } = (await import(pathToFileURL(entry).href)) as Sdk

const noop = async () => 1

await serve({
  port: Number(port),
  services: [
    service({
      name: 'bench',
      handlers: {
        three: async (context) => {
          await context.run('1', noop)
          await context.run('2', noop)
          return context.run('3', noop)
        },
        fan: async (context, { count }) => {
          const all = await RestatePromise.all(Array.from({ length: count }, (_, i) => context.run(`${i}`, noop)))
          return all.length
        },
        /** Answers how long a step took, ms. */
        steps: async (context, { count }) => {
          const began = performance.now()
          for (let i = 0; i < count; i++) await context.run(`${i}`, noop)
          return (performance.now() - began) / count
        },
        /** Answers how late it was, ms. */
        timer: async (context) => {
          const due = (await context.date.now()) + 1000
          await context.sleep(1000)
          return Date.now() - due
        },
      },
    }),
    workflow({
      name: 'signal',
      handlers: {
        run: (context) => context.promise('go'),
        go: (context) => context.promise('go').resolve(1),
      },
    }),
  ],
})
console.log('serves')
