// Does one operation for each of the keys of a request, one after another, in one Durable Object. What is written is
// the request's value with a new id each time: equal bytes again would not be written.

import { DurableObject } from "cloudflare:workers";

export default {
  async fetch(request, { objects }) {
    return await objects.get(objects.idFromName("answers")).fetch(request);
  },
};

export class Loop extends DurableObject {
  written = 0;

  async fetch(request) {
    const { operation, keys, value } = await request.json();
    const storage = this.ctx.storage;
    const anew = () => ({ ...value, id: "chatcmpl-" + String(this.written++).padStart(12, "0") });
    switch (operation) {
      case "fill":
        for (const key of keys) storage.kv.put(key, anew());
        break;
      case "get":
        for (const key of keys) if (!(await storage.get(key))) throw new Error(`no ${key}`);
        break;
      case "put":
        for (const key of keys) await storage.put(key, anew());
        break;
      case "put_sync":
        for (const key of keys) {
          await storage.put(key, anew());
          await storage.sync();
        }
        break;
      case "list100":
        for (const key of keys) await storage.list({ start: key, limit: 100 });
        break;
      default:
        throw new Error(`no operation ${operation}`);
    }
    return new Response("done"); // sent when everything is committed
  }
}
