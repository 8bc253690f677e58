// Runs a script, a JSON list of operations, one after another in one call of one Durable Object, and answers what each
// of them gave. Values travel in the tagged JSON of values.py. An error is recorded where it is raised, and the script
// goes on, in the body of a transaction too; only the operation "throw" leaves a body.

import { DurableObject } from "cloudflare:workers";

export default {
  async fetch(request, env) {
    const { namespace, object, ids, script } = await request.json();
    if (ids) return Response.json(ids.map((name) => env[namespace].idFromName(name).toString()));
    const stub = env[namespace].get(env[namespace].idFromName(object));
    return await stub.fetch("http://object/", { method: "POST", body: JSON.stringify(script) });
  },
};

export class Oracle extends DurableObject {
  alarm() {}

  async fetch(request) {
    const results = [];
    await run(await request.json(), { context: this.ctx, storage: this.ctx.storage, open: [], ended: [] }, results);
    return Response.json(results);
  }
}

export class Other extends Oracle {}

async function run(script, frame, results) {
  for (const op of script) {
    if (op.op === "throw") throw new Error("thrown by the script");
    const part = {};
    try {
      const value = await perform(op, frame, part);
      results.push({ ok: encode(value), ...part });
    } catch (error) {
      results.push({ error: failure(error), ...part });
    }
  }
}

function runSync(script, frame, results) {
  for (const op of script) {
    if (op.op === "throw") throw new Error("thrown by the script");
    const part = {};
    try {
      const value = performSync(op, frame, part);
      results.push({ ok: encode(value), ...part });
    } catch (error) {
      results.push({ error: failure(error), ...part });
    }
  }
}

// The handle that an operation is called on: "txn" is the innermost transaction or else the storage, "outer" the one
// around it, "ended" the one that ended last; "context" is that of the object. A script of which something was left out may have no such one.
function handle(op, frame) {
  const open = frame.open;
  switch (op.on ?? "txn") {
    case "txn":
      return open.at(-1) ?? frame.storage;
    case "outer":
      return open.at(-2);
    case "ended":
      return frame.ended.at(-1);
    case "storage":
      return frame.storage;
    case "context":
      return frame.context;
  }
  throw new Error(`no handle ${op.on}`);
}

async function perform(op, frame, part) {
  const on = handle(op, frame);
  if (on === undefined) return NO_HANDLE;
  switch (op.op) {
    case "get":
      return await on.get(decode(op.key));
    case "get_many":
      return await on.get(op.keys.map(decode));
    case "put_with":
      return await on.put(op.key, op.value, op.options);
    case "put":
      return "value" in op ? await on.put(decode(op.key), decode(op.value)) : await on.put(decode(op.key));
    case "put_many":
      return await on.put(entries(op.entries));
    case "delete":
      return await on.delete(decode(op.key));
    case "delete_many":
      return await on.delete(op.keys.map(decode));
    case "put_crowd":
      return await on.put(entries(crowd(op).map((key) => [key, Number(key.slice(-4))])));
    case "delete_crowd":
      return await on.delete(crowd(op));
    case "list":
      return await on.list(options(op.options));
    case "delete_all":
      return await on.deleteAll();
    case "flush":
      return await on.sync();
    case "get_alarm":
      return await on.getAlarm();
    case "set_alarm":
      return await on.setAlarm(op.as === "date" ? new Date(decode(op.when)) : decode(op.when));
    case "delete_alarm":
      return await on.deleteAlarm();
    case "rollback":
      return on.rollback();
    case "transaction":
      // Only the storage has it: inside a transaction it makes a nested one.
      part.body = [];
      return await frame.storage.transaction(async (txn) => {
        frame.open.push(txn);
        try {
          await run(op.body, frame, part.body);
        } finally {
          frame.ended.push(frame.open.pop());
        }
        return "returned";
      });
    case "same_parts": {
      const [one, other] = await on.get(op.key);
      return one === other;
    }
    case "has":
      return op.names.filter((name) => name in on);
  }
  return performSync(op, frame, part);
}

function performSync(op, frame, part) {
  const { kv, sql } = frame.storage;
  switch (op.op) {
    case "kv_get":
      return kv.get(decode(op.key));
    case "kv_put":
      return kv.put(decode(op.key), decode(op.value));
    case "kv_delete":
      return kv.delete(decode(op.key));
    case "kv_list":
      return [...kv.list(options(op.options))];
    case "kv_walk": {
      // operations in the midst of an iteration
      const seen = [];
      part.body = [];
      for (const [key] of kv.list(options(op.options))) {
        seen.push(key);
        if (key === decode(op.at)) runSync(op.body, frame, part.body);
      }
      return seen;
    }
    case "transaction_sync":
      part.body = [];
      return frame.storage.transactionSync(() => {
        runSync(op.body, frame, part.body);
        return "returned";
      });
    case "sql": {
      const cursor = sql.exec(op.query, ...op.bindings.map(decode));
      const columns = cursor.columnNames;
      const rows = {
        raw: () => [...cursor.raw()],
        dicts: () => cursor.toArray(),
        iterated: () => [...cursor],
        one: () => cursor.one(),
      };
      return { columns, rows: rows[op.form]() };
    }
    case "sql_counts": {
      const cursor = sql.exec(op.query);
      cursor.toArray();
      return cursor.rowsRead;
    }
    case "sql_next": {
      // the first row, the others, and what is left then
      const cursor = sql.exec(op.query);
      return [cursor.next().value, cursor.toArray(), cursor.toArray(), cursor.next().done];
    }
    case "database_size":
      return sql.databaseSize;
    case "sql_late": {
      // what a cursor shows of rows that are inserted after it was made
      const cursor = sql.exec(op.query);
      runSync(op.body, frame, (part.body = []));
      return [...cursor.raw()];
    }
  }
  throw new Error(`no operation ${op.op}`);
}

function crowd({ prefix, count, step = 1 }) {
  const keys = [];
  for (let number = 0; number < count; number += step) keys.push(prefix + String(number).padStart(4, "0"));
  return keys;
}

function entries(pairs) {
  const result = {};
  for (const [key, value] of pairs) define(result, decode(key), decode(value));
  return result;
}

function options(given) {
  if (given === undefined) return undefined;
  const result = {};
  for (const [name, value] of Object.entries(given)) result[name === "start_after" ? "startAfter" : name] = decode(value);
  return result;
}

function failure(error) {
  return { name: String(error?.name), message: String(error?.message) };
}

function define(object, key, value) {
  Object.defineProperty(object, key, { value, enumerable: true, configurable: true, writable: true });
}

function decode(form) {
  if (Array.isArray(form)) return form.map(decode);
  if (typeof form !== "object" || form === null) return form;
  const v = form.v;
  switch (form.$) {
    case "undefined":
      return undefined;
    case "number":
      return Number(v);
    case "bigint":
      return BigInt(v);
    case "bytes":
      return bytes(v);
    case "buffer":
      return bytes(v).buffer;
    case "date":
      return new Date(decode(v));
    case "set":
      return new Set(v.map(decode));
    case "map":
      return new Map(v.map(decode));
    case "object":
      return entries(v);
    case "function":
      return () => 1;
    case "surrogates":
      return String.fromCharCode(...v);
    case "example":
      return examples[v]();
  }
  throw new Error(`no value ${JSON.stringify(form)}`);
}

const NO_HANDLE = Symbol();

class Custom {
  own = 1;
}

const examples = {
  regexp: () => /a+b/gi,
  error: () => new TypeError("text"),
  boxed: () => new Number(5),
  uint16: () => new Uint16Array([1, 2]),
  hole: () => [1, , 3],
  cycle: () => {
    const list = [];
    list.push(list);
    return list;
  },
  instance: () => new Custom(),
  shared: () => {
    const part = [1];
    return [part, part];
  },
};

function bytes(hex) {
  const result = new Uint8Array(hex.length / 2);
  for (let at = 0; at < result.length; at++) result[at] = parseInt(hex.slice(2 * at, 2 * at + 2), 16);
  return result;
}

function encode(value) {
  if (value === NO_HANDLE) return { $: "no handle" };
  switch (typeof value) {
    case "undefined":
      return { $: "undefined" };
    case "bigint":
      return { $: "bigint", v: String(value) };
    case "number":
      if (Object.is(value, -0)) return { $: "number", v: "-0" };
      return Number.isFinite(value) ? value : { $: "number", v: String(value) };
    case "object":
      return value === null ? null : encodeObject(value);
    case "string":
    case "boolean":
      return value;
  }
  throw new Error(`no form for a ${typeof value}`);
}

function encodeObject(value) {
  const pair = ([key, item]) => [encode(key), encode(item)];
  if (Array.isArray(value)) return Array.from(value, encode);
  if (value instanceof Map) return { $: "map", v: [...value].map(pair) };
  if (value instanceof Set) return { $: "set", v: [...value].map(encode) };
  if (value instanceof Date) return { $: "date", v: encode(value.getTime()) };
  if (value instanceof Uint8Array) return { $: "bytes", v: hex(value) };
  if (value instanceof ArrayBuffer) return { $: "buffer", v: hex(new Uint8Array(value)) };
  if (Object.getPrototypeOf(value) === Object.prototype) return { $: "object", v: Object.entries(value).map(pair) };
  throw new Error(`no form for ${Object.prototype.toString.call(value)}`);
}

function hex(array) {
  return Array.from(array, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
