// What the notifier is told of the recorder, and when it waits.

import { test } from 'tap'
import { createNotifierNews } from '../../consumers/notifier-news.ts'

/** Whether a wait is over at once. */
const isNews = async (news: ReturnType<typeof createNotifierNews>) => {
  const waited = await Promise.race([news.wait(60_000).then(() => true), new Promise((resolve) => setImmediate(resolve, false))])
  if (waited === false) news.woken() // ends the wait
  return waited
}

test('what is told above what is known is news', async (t) => {
  const told = (places: string | undefined, known: number) => {
    const news = createNotifierNews()
    news.known(1, known)
    news.woken(places)
    return isNews(news)
  }
  t.equal(await told('1:5', 4), true)
  t.equal(await told('1:5', 5), false)
  t.equal(await told('0:1 1:5', 5), true, 'of a partition that is not known')
  t.equal(await told(undefined, 5), true, 'it may be anything')
  t.equal(await told('nonsense', 5), false)
  t.equal(await isNews(createNotifierNews()), false)
})

test('what Postgres tells of our own recorder is heard a little later', async (t) => {
  const news = createNotifierNews((partition) => partition === 1)
  news.listened('1:5')
  t.equal(await isNews(news), false)
  news.reading()
  news.known(1, 5)
  await new Promise((resolve) => setTimeout(resolve, 30))
  t.equal(await isNews(news), false, 'when it is known')
  news.listened('1:6')
  await news.wait(60_000)
  t.pass('it is heard all the same')
  for (const told of ['2:1', '1:9 2:1', undefined]) {
    const others = createNotifierNews((partition) => partition === 1)
    others.listened(told)
    t.equal(await isNews(others), true, `at once: ${told}`)
  }
})

test('what was told before the places were read is in them', async (t) => {
  const news = createNotifierNews()
  news.woken('1:9')
  news.woken()
  news.reading()
  // Less than what was told: the log was replaced.
  news.known(1, 3)
  t.equal(await isNews(news), false)
})

test('what is told while they are read is news where they do not have it', async (t) => {
  const news = createNotifierNews()
  news.reading()
  news.woken('1:9')
  news.known(1, 9)
  t.equal(await isNews(news), false)
  const other = createNotifierNews()
  other.reading()
  other.woken('1:9')
  other.known(1, 8)
  t.equal(await isNews(other), true)
})

test('an older word takes back no newer one', async (t) => {
  const news = createNotifierNews()
  news.known(0, 5)
  news.woken('0:7')
  news.woken('0:5')
  t.strictSame(news.unknown(), [[0, 7]])
  t.equal(await isNews(news), true)
  news.known(0, 7)
  t.strictSame(news.unknown(), [])
  news.woken()
  t.equal(news.unknown(), 'anything')
})

test('a wait ends with the first news', async (t) => {
  const news = createNotifierNews()
  const waiting = news.wait(60_000)
  news.woken('2:1')
  await waiting
  await news.wait(0)
  news.reading()
  news.known(2, 1)
  await news.wait(1)
  t.pass('and by itself')
})

test('what a transaction stored is heard together', async (t) => {
  const news = createNotifierNews()
  const stored = Promise.withResolvers<void>()
  for (let partition = 0; partition < 12; partition++)
    void (async () => {
      await stored.promise.then(() => undefined)
      news.woken(`${partition}:1`)
    })()
  const wait = news.wait(60_000)
  let isLate = false
  void stored.promise.then(() => process.nextTick(() => (isLate = true)))
  stored.resolve()
  await wait
  t.equal(news.unknown().length, 12)
  t.notOk(isLate, 'and before what is to be done next')
})
