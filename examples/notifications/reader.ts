// A downstream service that reacts to notifications. Run it beside a notifier: node examples/notifications/reader.ts (Node 24 or newer)

import { type Notification, registerConsumer } from '../../reader/index.ts'

const url = process.env['REDIS_URL'] ?? 'redis://127.0.0.1:6379'

async function ship(notification: Notification): Promise<void> {
  process.stdout.write(`${notification.position} ${notification.eventName} ${notification.payloadJson}\n`)
}

// region reader
const consumer = await registerConsumer(
  'workflow:events:global',
  async (notification, { seen, delivery }) => {
    if (notification.eventName !== 'order.approved' || (await seen(notification.position))) return
    if (delivery > 1) process.stderr.write(`again, for the ${delivery}. time\n`)
    await ship(notification)
  },
  { url, group: 'shipping', from: '$' },
)
process.once('SIGTERM', () => void consumer.stop())
// endregion
