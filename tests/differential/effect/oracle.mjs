// Runs scripts in Effect: one script a line on stdin, its results as one line on stdout.
//
// node oracle.mjs <folder of the package>
//
// A script is {stores, caches, ops}; ours.py reads the same. All of it goes by a test clock that starts at 0.

import { createInterface } from "node:readline"

const folder = process.argv[2]
const { Duration, Effect, Exit, Fiber, Layer, PrimaryKey, Schema } = await import(`${folder}/dist/index.js`)
const { KeyValueStore, Persistable, PersistedCache, PersistedQueue, Persistence } = await import(`${folder}/dist/persistence/index.js`)
const { TestClock } = await import(`${folder}/dist/testing/index.js`)

const primaryKey = (payload) => payload.key
class Num extends Persistable.Class()("Num", {
  primaryKey,
  success: Schema.Number,
  error: Schema.Struct({ code: Schema.Number })
}) {}
class Text extends Persistable.Class()("Text", { primaryKey, success: Schema.String }) {}
class Bare extends Persistable.Class()("Bare", { primaryKey }) {}
const kinds = { Num, Text, Bare }

const request = ({ kind, key }) => new kinds[kind]({ key })
const duration = (milliseconds) => Number.isFinite(milliseconds) ? Duration.millis(milliseconds) : Duration.infinity

const defect = ([name, message, properties]) => Object.assign(new Error(message), { name }, properties)

const exit = (spec) => {
  if ("success" in spec) return Exit.succeed(spec.success)
  return "fail" in spec ? Exit.fail({ code: spec.fail }) : Exit.die(defect(spec.die))
}

const reason = (it) => {
  switch (it._tag) {
    case "Fail":
      return "code" in it.error ? { fail: it.error.code } : { raised: it.error._tag }
    case "Die":
      return { die: [it.defect.name, it.defect.message] }
    default:
      return { interrupt: true }
  }
}
const plain = (it) => Exit.isSuccess(it) ? { success: it.value } : reason(it.cause.reasons[0] ?? { _tag: "None" })
const slot = (it) => it === undefined ? null : plain(it)

const ttlOf = (rule, it, key) => {
  if (PrimaryKey.value(key) in rule.keys) return rule.keys[PrimaryKey.value(key)]
  return Exit.isSuccess(it) ? rule.success : rule.failure
}

const bytes = (text) => new Uint8Array(Buffer.from(text, "latin1"))
const latin1 = (data) => data && Buffer.from(data).toString("latin1")
const joined = (...parts) => new Uint8Array(Buffer.concat(parts))

// An operation on text and bytes under keys; bytes are text in Latin-1 here.
const ofKeyValues = (store, { method, key, value }) => {
  switch (method) {
    case "get_bytes":
      return Effect.map(store.getUint8Array(key), latin1)
    case "set_bytes":
      return Effect.asVoid(store.set(key, bytes(value)))
    case "modify":
      return store.modify(key, (text) => text + value)
    case "modify_bytes":
      return Effect.map(store.modifyUint8Array(key, (data) => joined(data, bytes(value))), latin1)
    case "set":
      return Effect.asVoid(store.set(key, value))
    case "remove":
      return Effect.asVoid(store.remove(key))
    case "clear":
      return Effect.asVoid(store.clear)
    case "clear_prefix":
      return Effect.asVoid(store.clearPrefix(key))
    case "get":
    case "has":
      return store[method](key)
    default:
      return { size: store.size, keys: store.keys, is_empty: store.isEmpty }[method]
  }
}

const schemas = { Num: Schema.Number, Text: Schema.String }
const handled = {
  returns: (value, { id, attempts }) => Effect.succeed({ value, id, attempts }),
  fails: () => Effect.fail({ code: 5 }),
  interrupts: () => Effect.interrupt
}

// An operation on the one element of a queue; what is not due at once, is not waited for.
const ofQueue = (factory, store, { name, kind, method, value, delay, outcome, most, ages }) => Effect.gen(function*() {
  if (method === "cleanup") {
    const [timeToLive, failedTimeToLive] = ages.map((age) => age === null ? undefined : duration(age))
    return yield* store.cleanup({ timeToLive, failedTimeToLive })
  }
  const queue = yield* factory.make({ name, schema: schemas[kind], maxAttempts: most })
  if (method === "offer") return yield* queue.offer(value, { id: "one", delay: duration(delay) })
  const fiber = yield* Effect.forkChild(Effect.exit(queue.take(handled[outcome])), { startImmediately: true })
  for (let turn = 0; turn < 5; turn++) yield* Effect.yieldNow
  const ended = fiber.pollUnsafe()
  if (ended !== undefined) return plain(ended.value)
  yield* Fiber.interrupt(fiber)
  return "empty"
})

// What a script is run in: what was called since the last operation, and when rows expire.
class World {
  now = 0
  calls = []
  failing = new Set()
  rows = new Map()
  outcome = undefined
  looked = false
  until = Infinity

  note(name, run) {
    return Effect.suspend(() => {
      this.calls.push(name)
      if (this.failing.has(name)) return Effect.fail(new Persistence.PersistenceError({ message: "told to fail" }))
      return run()
    })
  }

  watched(id, store) {
    const written = (key, ttl) => this.rows.set(`${id}\0${key}`, ttl === undefined ? Infinity : this.now + Duration.toMillis(ttl))
    return {
      get: (key) => this.note("get", () => store.get(key)),
      getMany: (keys) => this.note("get_many", () => store.getMany(keys)),
      set: (key, value, ttl) => this.note("set", () => (written(key, ttl), store.set(key, value, ttl))),
      setMany: (entries) => this.note("set_many", () => {
        for (const [key, , ttl] of entries) written(key, ttl)
        return store.setMany(entries)
      }),
      remove: (key) => this.note("remove", () => store.remove(key)),
      clear: this.note("clear", () => store.clear)
    }
  }

  ttl(rule) {
    return (it, key) => {
      const milliseconds = ttlOf(rule, it, key)
      this.calls.push(["ttl", Object.keys(plain(it))[0], PrimaryKey.value(key)])
      this.until = milliseconds === null ? Infinity : this.now + milliseconds
      return duration(milliseconds)
    }
  }

  lookup(key) {
    this.calls.push(["lookup", PrimaryKey.value(key)])
    this.looked = true
    const { yields, ...spec } = this.outcome
    if (spec.throws) throw defect(spec.throws)
    const end = spec.interrupts ? Effect.interrupt : Effect.suspend(() => exit(spec))
    return yields ? Effect.andThen(Effect.yieldNow, end) : end
  }

  // Difference `memory`: what our memory tier does by itself, Effect does where it is told to.
  memory(id, milliseconds) {
    return (it, key) => {
      const until = this.looked ? this.until : this.rows.get(`${id}\0${PrimaryKey.value(key)}`)
      this.looked = false
      if (Exit.isFailure(it)) return Duration.zero
      return duration(Math.max(0, Math.min(milliseconds ?? Infinity, until - this.now)))
    }
  }
}

const program = (script) => Effect.gen(function*() {
  const world = new World()
  const backing = yield* Persistence.BackingPersistence
  const texts = yield* KeyValueStore.KeyValueStore
  const raw = {}
  const layer = Persistence.layer.pipe(Layer.provide(Layer.succeed(Persistence.BackingPersistence)(
    Persistence.BackingPersistence.of({
      make: (id) => Effect.map(backing.make(id), (store) => world.watched(id, store))
    })
  )))
  const persistence = yield* Effect.map(Layer.build(layer), (context) => context.mapUnsafe.get(Persistence.Persistence.key))
  const queues = yield* Layer.build(PersistedQueue.layer.pipe(Layer.provideMerge(PersistedQueue.layerStoreMemory)))
  const factory = queues.mapUnsafe.get(PersistedQueue.PersistedQueueFactory.key)
  const queueStore = queues.mapUnsafe.get(PersistedQueue.PersistedQueueStore.key)
  const stores = {}
  for (const { id, ttl } of script.stores) {
    stores[id] = yield* persistence.make({ storeId: id, timeToLive: world.ttl(ttl) })
    raw[id] = yield* backing.make(id)
  }
  const newCache = (at) => {
    const { store, ttl, memory_ttl, capacity, plain } = script.caches[at]
    return PersistedCache.make((key) => world.lookup(key), {
      storeId: store,
      timeToLive: world.ttl(ttl),
      inMemoryCapacity: capacity,
      ...(plain ? {} : { inMemoryTTL: world.memory(store, memory_ttl) })
    }).pipe(Effect.provideService(Persistence.Persistence, persistence))
  }
  const caches = []
  for (const at of script.caches.keys()) caches.push(yield* newCache(at))

  const perform = (op) => {
    const store = stores[op.store]
    const rows = raw[op.store]
    switch (op.op) {
      case "get":
        return Effect.map(store.get(request(op.request)), slot)
      case "get_many":
        return Effect.map(store.getMany(op.requests.map(request)), (all) => all.map(slot))
      case "set":
        return Effect.asVoid(store.set(request(op.request), exit(op.exit)))
      case "set_many":
        return Effect.asVoid(store.setMany(op.entries.map(([it, value]) => [request(it), exit(value)])))
      case "remove":
        return Effect.asVoid(store.remove(request(op.request)))
      case "clear":
        return Effect.asVoid(store.clear)
      case "row":
        return rows.get(op.key)
      case "set_row":
        return Effect.suspend(() => {
          world.rows.set(`${op.store}\0${op.key}`, op.ttl === null ? Infinity : world.now + op.ttl)
          return Effect.asVoid(rows.set(op.key, op.row, op.ttl === null ? undefined : duration(op.ttl)))
        })
      case "advance":
        return Effect.suspend(() => {
          world.now += op.by
          return TestClock.adjust(op.by)
        })
      case "fail":
        return Effect.sync(() => {
          world.failing = new Set(op.names)
        })
      case "new_cache":
        return Effect.map(newCache(op.cache), (cache) => {
          caches[op.cache] = cache
        })
      case "invalidate":
        return Effect.asVoid(caches[op.cache].invalidate(request(op.request)))
      case "ask":
        return Effect.suspend(() => {
          world.outcome = op.outcome
          world.looked = false
          return caches[op.cache].get(request(op.request))
        })
      case "ask_many":
        return Effect.suspend(() => {
          world.outcome = { ...op.outcome, yields: true }
          world.looked = false
          const asked = Array.from({ length: op.times }, () => Effect.exit(caches[op.cache].get(request(op.request))))
          return Effect.map(Effect.all(asked, { concurrency: "unbounded" }), (all) => all.map(plain))
        })
      case "ask_and_cancel": // several ask at a time, and the first of them is cancelled
        return Effect.gen(function*() {
          world.outcome = { ...op.outcome, yields: true }
          world.looked = false
          const ask = Effect.exit(caches[op.cache].get(request(op.request)))
          const first = yield* Effect.forkChild(ask, { startImmediately: true })
          const others = yield* Effect.forkChild(
            Effect.all(Array.from({ length: op.times - 1 }, () => ask), { concurrency: "unbounded" }),
            { startImmediately: true }
          )
          yield* Fiber.interrupt(first)
          return (yield* Fiber.join(others)).map(plain)
        })
      case "queue":
        return Effect.map(ofQueue(factory, queueStore, op), (is) => is ?? null)
      case "text":
        return ofKeyValues(op.prefixes.reduce((store, prefix) => KeyValueStore.prefix(store, prefix), texts), op)
      default:
        throw new Error(`no operation ${op.op}`)
    }
  }

  const results = []
  for (const op of script.ops) {
    world.calls = []
    const ended = yield* Effect.exit(perform(op))
    yield* Effect.yieldNow // what goes on in the background
    yield* Effect.yieldNow
    const is = Exit.isSuccess(ended) && !op.op.startsWith("ask") ? { ok: ended.value ?? null }
      : Exit.isSuccess(ended) && Array.isArray(ended.value) ? { ok: ended.value }
      : plain(ended)
    results.push({ is, calls: world.calls })
  }
  return results
}).pipe(Effect.scoped, Effect.provide([TestClock.layer(), Persistence.layerBackingMemory, KeyValueStore.layerMemory]))

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await Effect.runPromise(program(JSON.parse(line))))}\n`)
}
