// recorder → [news] → notifier
//
// What is told of the recorder's checkpoints, until the notifier knows it. Only a hint: who hears nothing looks now and then.

/** What the recorder told: where it is in some partitions. */
export const placesTold = (told: string): { partition: number; next: number }[] =>
  told.split(' ').flatMap((place) => {
    const [partition, next] = place.split(':').map(Number)
    return partition === undefined || next === undefined ? [] : [{ partition, next }]
  })

/** What Postgres tells of our own recorder is heard so much later, ms: it is known by then. */
const OWN_FIRST = 10

export type NotifierNews = {
  /** With `<partition>:<next>`, any number with spaces between; nothing: it may be anything. */
  woken(told?: string): void
  /** The same, from Postgres: it may come before this process's own recorder has the answer to its commit. */
  listened(told?: string): void
  /** The checkpoints are about to be read: the answer has what was told before. */
  reading(): void
  /** How far the recorder is known to be in a partition. */
  known(partition: number, recorded: number): void
  /** What is told and not known. */
  unknown(): [number, number][] | 'anything'
  /**
   * Resolves when something is told that is not known, or after ms; 0: at once. What a transaction stored is told step by step before it does;
   * what else is to be done in the same callback (the recorder's next fetch, say) may come later: a reader waits for this.
   */
  wait(ms: number): Promise<void>
}

/** `isOurs`: whether a partition's recorder is in this process, and tells by itself. */
export function createNotifierNews(isOurs: (partition: number) => boolean = () => false): NotifierNews {
  const recorded = new Map<number, number>()
  let told = new Map<number, number>()
  let anything = false
  let bell = Promise.withResolvers<void>()

  const isAny = () => anything || [...told].some(([partition, next]) => next > (recorded.get(partition) ?? -1))

  function woken(places?: string): void {
    if (places === undefined) anything = true
    else for (const { partition, next } of placesTold(places)) told.set(partition, Math.max(next, told.get(partition) ?? -1))
    if (isAny()) bell.resolve()
  }

  return {
    woken,
    unknown: () => (anything ? 'anything' : [...told].filter(([partition, next]) => next > (recorded.get(partition) ?? -1))),
    listened(places) {
      const ours = places !== undefined && placesTold(places).every(({ partition }) => isOurs(partition))
      if (ours) setTimeout(woken, OWN_FIRST, places).unref()
      else woken(places)
    },
    reading() {
      told = new Map()
      anything = false
    },
    known: (partition, next) => void recorded.set(partition, next),
    async wait(ms) {
      if (ms === 0 || isAny()) return
      bell = Promise.withResolvers()
      const late = Promise.withResolvers<void>()
      const timer = setTimeout(late.resolve, ms)
      await Promise.race([bell.promise, late.promise])
      clearTimeout(timer)
    },
  }
}
