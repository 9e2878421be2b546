import t from 'tap'
import { readConfig } from '../config.ts'

t.test('addresses of servers are looked at before anything is asked of them', async (t) => {
  const good = {
    KAFKA_BROKERS: 'kafka-1:9092, [::1]:9094',
    SCHEMA_REGISTRY_URL: 'https://user:secret@registry/apis/ccompat/v7',
    DATABASE_URL: 'postgresql://user:secret@db.example:5432/refold?sslmode=require',
    REDIS_URL: 'rediss://:secret@redis:6380/1',
  }
  t.match(readConfig(good), { kafkaBrokers: good.KAFKA_BROKERS, databaseUrl: good.DATABASE_URL, redisUrl: good.REDIS_URL })
  t.equal(readConfig({ DATABASE_URL: '' }).databaseUrl, undefined, 'an empty value counts as unset')
  t.ok(readConfig({ DATABASE_URL: 'postgres:///refold?host=/run/postgresql' }), 'a socket')
  const bad: [string, string, RegExp][] = [
    ['KAFKA_BROKERS', 'kafka-1', /KAFKA_BROKERS=kafka-1: is not host:port/],
    ['KAFKA_BROKERS', 'kafka:9092,', /is not host:port/],
    ['KAFKA_BROKERS', 'http://kafka:9092', /is not host:port/],
    ['SCHEMA_REGISTRY_URL', 'registry:8081', /is not like http:/],
    ['DATABASE_URL', 'nonsense', /DATABASE_URL: is not like postgres:/],
    ['DATABASE_URL', 'mysql://user:secret@db/refold', /^(?!.*secret).*is not like postgres:/],
    ['REDIS_URL', 'localhost:6379', /is not like redis:/],
  ]
  for (const [name, value, detail] of bad)
    t.throws(() => readConfig({ ...good, [name]: value }), { code: 'config-invalid', detail }, `${name}=${value}`)
})
