# workerd serve config.capnp config --directory-path=storage=DIR --socket-addr=http=127.0.0.1:0
using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "loop", worker = .loop),
    (name = "storage", disk = (writable = true)),
  ],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "loop")],
);

const loop :Workerd.Worker = (
  compatibilityDate = "2026-08-01",
  modules = [(name = "loop.mjs", esModule = embed "loop.mjs")],
  bindings = [(name = "objects", durableObjectNamespace = "Loop")],
  durableObjectNamespaces = [(className = "Loop", uniqueKey = "bench", enableSql = true)],
  durableObjectStorage = (localDisk = "storage"),
);
