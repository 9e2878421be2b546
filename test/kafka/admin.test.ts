import t from 'tap'
import { createAdmin } from '../../kafka/admin.ts'
import { createClient } from '../../kafka/client.ts'

const logger = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined }

t.test('where no leader tells the bounds, it is said so, and not what the client stumbles over', async (t) => {
  const kafka = createClient({ brokers: ['127.0.0.1:9'], clientId: 'test', logger })
  let thrown: unknown = new TypeError("Cannot destructure property 'partitions' of 'high.pop(...)' as it is undefined.")
  const fake = {
    connect: async () => undefined,
    disconnect: async () => undefined,
    fetchTopicOffsets: async () => Promise.reject(thrown),
  }
  const admin = createAdmin(Object.assign(kafka, { admin: () => fake }), logger)
  t.teardown(() => admin.close())
  await t.rejects(admin.bounds('orders'), { code: 'log-unavailable', retryable: true, detail: /no leader of its partitions tells them/ })
  thrown = new Error('other')
  await t.rejects(admin.bounds('orders'), { code: 'log-unavailable', message: /other/ })
})
