# Starts the oracle: workerd serve config.capnp config --directory-path storage=DIR --socket-addr http=127.0.0.1:0
using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "oracle", worker = .oracle),
    (name = "storage", disk = (writable = true)),
  ],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "oracle")],
);

const oracle :Workerd.Worker = (
  compatibilityDate = "2026-08-01",
  modules = [(name = "worker.mjs", esModule = embed "worker.mjs")],
  bindings = [
    (name = "differential", durableObjectNamespace = "Oracle"),
    (name = "other.key-2", durableObjectNamespace = "Other"),
  ],
  durableObjectNamespaces = [
    (className = "Oracle", uniqueKey = "differential", enableSql = true),
    (className = "Other", uniqueKey = "other.key-2", enableSql = true),
  ],
  durableObjectStorage = (localDisk = "storage"),
);
