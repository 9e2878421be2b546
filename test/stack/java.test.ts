import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { findNewest, requireJava } from '../../stack/java.ts'

/** A folder that looks like a JDK. */
function jdk(folder: string, version: string): string {
  mkdirSync(path.join(folder, 'bin'), { recursive: true })
  writeFileSync(path.join(folder, 'bin', 'java'), '')
  writeFileSync(path.join(folder, 'release'), `IMPLEMENTOR="x"\nJAVA_VERSION="${version}"\n`)
  return folder
}

t.test('the newest Java of JAVA_HOME, PATH and the usual folders is taken', async (t) => {
  const folder = t.testdir()
  const home = jdk(path.join(folder, 'home'), '21.0.2')
  const onPath = jdk(path.join(folder, 'path'), '1.8.0_402')
  const usual = path.join(folder, 'jvm')
  jdk(path.join(usual, 'a'), '17.0.9')
  const env = { JAVA_HOME: home, PATH: path.join(onPath, 'bin') }
  t.same(findNewest(env, [usual]), { path: path.join(home, 'bin', 'java'), version: 21 })
  jdk(path.join(usual, 'b'), '25')
  t.same(findNewest(env, [usual]), { path: path.join(usual, 'b', 'bin', 'java'), version: 25 })
  t.same(findNewest({ PATH: env.PATH }, []), { path: path.join(onPath, 'bin', 'java'), version: 8 })
  t.equal(findNewest({ JAVA_HOME: path.join(folder, 'nowhere') }, [path.join(folder, 'none')]), null)
})

t.test('a Java that is missing or too old is refused with what was found and what to type', async (t) => {
  t.throws(() => requireJava(21, 'The registry', null), {
    code: 'part-missing',
    message: /needs Java 21 .* none was found .* apt-get install/,
  })
  t.throws(() => requireJava(21, 'The registry', { path: '/j', version: 17 }), { message: /the newest found is 17 \(\/j\)/ })
  t.same(requireJava(17, 'Kafka', { path: '/j', version: 17 }), { path: '/j', version: 17 })
})
